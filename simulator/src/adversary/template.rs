//! A signed heartbeat that is written once and varied as text, so that a flood costs its server more than it costs the flood. Its
//! signature is sound in form, so a server can't tell that it is wrong without checking it.

use ks_protocol::{
    id::{DeviceId, Sequence},
    key::PrivateKey,
};

use super::heartbeat;
use crate::shard::Shard;

/// The name and the number that stand where others are put.
const NAME: &str = "NAME-TO-BE";
const SEQ: u64 = 9_007_199_254_740_001;

/// What stands around the name and the number.
pub(super) struct Template {
    before: String,
    between: String,
    after: String,
}

impl Template {
    /// A heartbeat that is far ahead of every device's own, signed with a stranger's key.
    pub(super) fn far_ahead(key: &PrivateKey, shard: &Shard) -> Option<Self> {
        let wire = heartbeat(&NAME.parse().ok()?, key, Sequence::new(1_000, SEQ), shard)?;
        let (before, rest) = wire.split_once(NAME)?;
        let (between, after) = rest.split_once(&SEQ.to_string())?;
        Some(Self { before: before.to_owned(), between: between.to_owned(), after: after.to_owned() })
    }

    /// The same by that name, with that number.
    pub(super) fn by(&self, device_id: &DeviceId, seq: u64) -> String {
        let Self { before, between, after } = self;
        format!("{before}{device_id}{between}{seq}{after}")
    }
}
