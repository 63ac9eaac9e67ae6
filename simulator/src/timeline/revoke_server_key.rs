//! `do = "revoke_server_key"`: the operator revokes the server key that signs.

use super::{Check, Kind, Step, StepBehavior, StepContext, kind};
use crate::scenario::{problem::Problems, reader::Reader};

/// The operator revokes the server key that signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeServerKey;

pub(super) const KIND: Kind = kind! {
    "revoke_server_key", "a `revoke_server_key` step", order, read,
    "The operator revokes the key that signs, as if it had leaked; the announced one replaces it. Fails if none is announced.",
};

fn read(_: &Reader<'_>, _: &mut Problems) -> Check {
    Box::new(|_| Some(Step::RevokeServerKey(RevokeServerKey)))
}

impl StepBehavior for RevokeServerKey {
    async fn act(&self, context: &mut StepContext<'_>) -> Result<(), String> {
        context.run_context.operator.revoke_server_key().await.map_err(|error| error.to_string())
    }
}
