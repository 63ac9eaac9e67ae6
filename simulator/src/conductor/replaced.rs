//! What an operator does about devices that others replace: revokes each of them when the other one is switched on.

use std::{slice, time::Duration};

use serde_json::json;

use crate::timeline::RunContext;

/// How long an operator waits before trying again.
const RETRY: Duration = Duration::from_mins(1);

/// Revokes the replaced devices of this process, each in its turn, and once more while the server does not answer.
pub(super) async fn revoke(context: &RunContext) {
    for by in &context.replacements {
        let Some(replaced) = by.replaces.as_ref().filter(|replaced| context.has(replaced)) else { continue };
        tokio::time::sleep_until(context.time.started + by.starts_after).await;
        context.revocations.add(slice::from_ref(replaced));
        let reason = format!("{} has taken its place", by.device_id);
        while context.operator.revoke_known(slice::from_ref(replaced), &reason).await.is_err() {
            tokio::time::sleep(RETRY).await;
        }
        let fields = [("device_id", json!(replaced)), ("by", json!(by.device_id))];
        context.log.borrow_mut().event_at_once(context.time.elapsed(), "replaced", &fields);
    }
}
