//! `do = "revoke_server_key"`: the operator cuts off the server key that signs.

use super::{Act, Check, Kind, Scene, Step, kind};
use crate::scenario::{problem::Problems, reader::Reader};

/// The operator cuts off the server key that signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeServerKey;

pub(super) const KIND: Kind = kind! {
    "revoke_server_key", "a `revoke_server_key` step", order, read,
    "The operator cuts off the key that signs, as if it had leaked; the announced one takes its place. Fails if none is announced.",
};

fn read(_: &Reader<'_>, _: &mut Problems) -> Check {
    Box::new(|_| Some(Step::RevokeServerKey(RevokeServerKey)))
}

impl Act for RevokeServerKey {
    async fn act(&self, scene: &mut Scene<'_>) -> Result<(), String> {
        scene.stage.operator.revoke_server_key().await.map_err(|error| error.to_string())
    }
}
