//! Revokes the probe's devices, whatever ended it, and says how to revoke those that could not be.

use std::time::Duration;

use ks_protocol::id::DeviceId;
use serde_json::json;

use crate::operator::{Operator, OperatorError};

/// Pauses before each try.
const PAUSES: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];
/// The longest time for all of them.
const TIME_MAX: Duration = Duration::from_secs(20);
/// What the audit says.
const REASON: &str = "a probe of rate limits is over";

/// Devices that the probe could not revoke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnrevokedDevices {
    pub devices: Vec<DeviceId>,
    pub why: String,
}

impl UnrevokedDevices {
    /// A command that revokes them, for a shell with the admin token in `ADMIN_TOKEN`.
    pub fn command(&self, target: &str) -> String {
        let order = json!({ "which": { "device_ids": self.devices }, "reason": REASON });
        let url = format!("{}/api/devices/revoke", target.trim_end_matches('/'));
        format!(
            "curl -fsS -X POST -H \"Authorization: Bearer $ADMIN_TOKEN\" -H 'Content-Type: application/json' -d '{order}' '{}'",
            url.replace('\'', "%27")
        )
    }
}

/// Revokes devices, also if they are not known yet or are revoked already; tries for a while.
pub(super) async fn revoke(
    operator: &Operator,
    devices: &[DeviceId],
    is_import_known: bool,
    progress: &impl Fn(String),
) -> Option<UnrevokedDevices> {
    let mut why = String::new();
    let tried = tokio::time::timeout(TIME_MAX, until_revoked(operator, devices, is_import_known, &mut why, progress));
    if tried.await.unwrap_or(false) {
        return None;
    }
    let why = if why.is_empty() { format!("no answer within {} s", TIME_MAX.as_secs()) } else { why };
    Some(UnrevokedDevices { devices: devices.to_vec(), why })
}

/// Whether they are revoked in the end; `why` is the last error.
async fn until_revoked(
    operator: &Operator,
    devices: &[DeviceId],
    is_import_known: bool,
    why: &mut String,
    progress: &impl Fn(String),
) -> bool {
    for pause in PAUSES {
        tokio::time::sleep(pause).await;
        match operator.revoke_known(devices, REASON).await {
            // An import whose answer was lost may still be on its way.
            Ok(unknown) if unknown == 0 || is_import_known || pause > Duration::from_secs(1) => return true,
            Ok(_) => *why = String::from("the server does not know them, and may still import them"),
            Err(error) => {
                if why.is_empty() {
                    progress(format!(
                        "revoking the devices of the probe, for {} s at most ({error})",
                        TIME_MAX.as_secs()
                    ));
                }
                *why = error.to_string();
                if matches!(error, OperatorError::Refused { status: 400..=428, .. }) {
                    return false;
                }
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_every_device() {
        let devices = ["PROBE-1-1", "PROBE-1-2"].map(|name| name.parse().unwrap()).to_vec();
        let command = UnrevokedDevices { devices, why: String::new() }.command("http://127.0.0.1:3000/");
        assert_eq!(
            command,
            "curl -fsS -X POST -H \"Authorization: Bearer $ADMIN_TOKEN\" -H 'Content-Type: application/json' -d '{\"reason\":\"a probe of rate limits is over\",\"which\":{\"device_ids\":[\"PROBE-1-1\",\"PROBE-1-2\"]}}' 'http://127.0.0.1:3000/api/devices/revoke'"
        );
    }
}
