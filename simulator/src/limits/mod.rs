//! Limits that are tried before they are turned on: which settings are varied, what the server says of them, and the same seeded
//! traffic against each; limits of a running server, measured from outside. The [`oracle`] predicts what limits have to do.

mod configurations;
pub mod oracle;
pub mod probe;
mod reaction;
mod request;
mod settings;
mod sweep;

pub use configurations::{CONFIGURATIONS_MAX, checked, grid, of_folder, with_settings, without_own_limits};
pub use reaction::{in_scenario, known_cohorts};
pub use request::SweepRequest;
pub use settings::{decides_refusals, environment, limits_of_environment, varied};
pub use sweep::LimitSweep;
