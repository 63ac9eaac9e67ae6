//! How a release reaches the fleet: by stages, each guarded by gates, every decision kept with the numbers it was made from.
//!
//! All but the driver is pure: [`policy`] (what is asked for, and why nonsense is refused), [`share`] (who comes when), [`update`]
//! (one device's way to its outcome), [`gate`], [`power`] and [`walk`] (what outcomes prove), [`step`] (what a rollout does next), [`plan`]
//! (all that can be said before anything happens). [`driver`] looks at every open rollout and has each step stored, with all
//! that follows from it, in one transaction: there is nothing in memory that a crash could lose.

pub mod driver;
pub mod gate;
pub mod plan;
pub mod policy;
pub mod power;
mod scaled;
pub mod share;
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
