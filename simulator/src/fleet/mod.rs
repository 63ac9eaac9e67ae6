//! The fleet: which devices and adversaries there are, where, and in which cohort; how each release behaves on them and when they fail
//! without one; how the factory provisions them; and the shards that run them.

mod adversaries;
pub mod by_device;
mod caller;
pub mod churn;
pub(crate) mod cohort_members;
mod devices;
pub mod ground_truth;
pub(crate) mod places;
mod provisioning;
mod replacements;
mod shard_run;

pub use adversaries::{AdversarySpec, abused_sites, adversaries, faulty_devices, named_victims};
pub use caller::Caller;
pub use devices::{DeviceSpec, FACTORY_COUNTER, device_number, devices, names};
pub(crate) use provisioning::INVENTORY_HEADER;
pub use provisioning::{Provisioned, provision};
pub use replacements::with_replacements;
pub use shard_run::{ShardPlan, ShardReport, run_shard};
