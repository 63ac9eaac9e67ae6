//! How a release reaches the fleet: by stages, each guarded by gates, every decision kept with the numbers it was made from.
//!
//! All of it is pure: [`policy`] (what is requested, and why it is refused), [`share`] (which stage a device is in), [`stage`],
//! [`update`] and [`outcome`] (one device's way to its outcome), [`gate`], [`power`] and [`walk`] (what outcomes prove), [`step`]
//! (what a rollout does next), [`plan`] (all that can be said before anything happens). [`crate::service::rollouts`] plans, makes
//! and drives rollouts; what a step or an update comes to in the store is in [`crate::rules::rollouts`] and
//! [`crate::rules::updates`].

pub mod gate;
pub mod outcome;
pub mod plan;
pub mod policy;
pub mod power;
mod scaled;
pub mod share;
pub mod stage;
pub mod step;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trials;
pub mod update;
mod walk;

/// `1 device`, `11 devices`.
pub fn devices<N: std::fmt::Display + PartialEq + From<u8> + Copy>(count: N) -> String {
    if count == N::from(1) { "1 device".to_owned() } else { format!("{count} devices") }
}
