//! What operators' orders are about, and what their lists show, as far as limits depend on it.

use serde::Deserialize;
use serde_json::Value;

/// What an order is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderKind {
    Limits,
    Commands,
    /// Rollouts, or releases that they roll out: one that is halted orders commands.
    Rollouts,
    Revocation,
    Other,
}

impl OrderKind {
    /// By its path below `/api/`.
    pub(super) fn of(order: &str) -> Self {
        match order {
            "commands" => Self::Commands,
            "devices/revoke" => Self::Revocation,
            _ if order == "limits" || order.starts_with("limits/") => Self::Limits,
            _ if order.starts_with("rollouts") => Self::Rollouts,
            _ if order.starts_with("releases/") && order.ends_with("/revoke") => Self::Rollouts,
            _ => Self::Other,
        }
    }
}

/// The devices that an order revokes.
pub(super) fn revoked_in(order: &[u8]) -> Vec<String> {
    let order: Value = serde_json::from_slice(order).unwrap_or_default();
    let named = order.pointer("/which/device_ids").and_then(Value::as_array).map(Vec::as_slice);
    named.unwrap_or_default().iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}

/// A page of the list of rollouts.
#[derive(Deserialize)]
struct Rollouts {
    items: Vec<Rollout>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Rollout {
    /// Whether its devices are still followed.
    open: bool,
}

/// Whether a list shows all rollouts, and each is over: no command is ordered for it any more.
pub(super) fn are_over(list: &[u8]) -> bool {
    let list: Result<Rollouts, _> = serde_json::from_slice(list);
    list.is_ok_and(|list| list.next_cursor.is_none() && list.items.iter().all(|rollout| !rollout.open))
}

#[cfg(test)]
mod tests {
    use super::{OrderKind as K, *};

    #[test]
    fn orders_are_known_by_their_paths_and_rollouts_by_what_the_list_says() {
        let kinds = ["limits", "limits/rollback", "commands", "rollouts/r/abort", "releases/1/revoke", "releases"];
        assert_eq!(kinds.map(OrderKind::of), [K::Limits, K::Limits, K::Commands, K::Rollouts, K::Rollouts, K::Other]);
        assert!(are_over(br#"{"items":[{"open":false}],"next_cursor":null}"#));
        for open in [r#"{"items":[{"open":true}],"next_cursor":null}"#, r#"{"items":[],"next_cursor":"9"}"#, "{}"] {
            assert!(!are_over(open.as_bytes()), "{open}");
        }
    }
}
