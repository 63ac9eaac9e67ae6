//! How a release reaches the fleet: in stages, each guarded by gates; every decision is recorded with its numbers.
//!
//! All of it is pure: [`policy`] (what is requested, and its validation), [`share`] (the order of devices), [`stage`],
//! [`update`] and [`outcome`] (one device's update up to its outcome), [`gate`], [`power`] and [`walk`] (what outcomes prove), [`tally`]
//! and [`reading`] (what an evaluation sees), [`order`] and [`step`] (what a rollout does next), [`watch`] and [`watched`] (what it does once it is complete), [`progress`] (what it waits for), [`offline`] (what is not judged),
//! [`plan`] (what is known before a rollout starts), [`duration`] (how long it takes), [`words`] (a policy in sentences).
//! [`crate::service::rollouts`] plans, creates and
//! evaluates rollouts; [`crate::rules::rollouts`] and [`crate::rules::updates`] apply the result of a step to the store.

mod counts;
pub mod duration;
pub mod gate;
pub mod offline;
pub mod order;
pub mod outcome;
pub mod plan;
pub mod policy;
pub mod power;
pub mod progress;
pub mod reading;
mod scaled;
pub mod share;
pub mod stage;
pub mod status;
pub mod step;
pub mod tally;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trials;
pub mod update;
pub mod walk;
pub mod watch;
pub mod watched;
pub mod words;
