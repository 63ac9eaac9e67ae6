//! `do = "apply_limits"`: the operator changes the server's limits.

use super::{Act, Check, Kind, Step, StepContext, kind};
use crate::scenario::{
    problem::{Problem, Problems},
    reader::{Field, Reader},
};

/// The operator applies a limits file, which replaces the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyLimits {
    /// The limits file: TOML.
    pub limits: String,
}

pub(super) const KIND: Kind = kind! {
    "apply_limits", "an `apply_limits` step", order, read,
    "The operator applies limits, by `PUT /api/limits`: `[timeline.limits.device_requests]` with `per_min`, `per_day`, `burst` and `mode` as in a [limits file](rate-limits.md#changing-limits), checked by the server's own rules. It replaces what an earlier step applied; limits that it does not name have the values of `[server]`. Budgets keep what was spent.",
    "limits": "table", "none: back to `[server]`", "a table for each limit", "the limits, by name";
};

/// The limits file that leaves all limits to the settings.
const SETTINGS_ONLY: &str = "settings_only = true\n";

fn read(table: &Reader<'_>, problems: &mut Problems) -> Check {
    let limits = table.table("limits", "such as [timeline.limits.device_requests]", problems);
    let limits = match limits {
        Field::Given(limits) => Some((limits.at, limits.value.json_without(""))),
        Field::Absent => Some((table.at, serde_json::json!({}))),
        Field::Wrong => None,
    };
    Box::new(move |judge| {
        let (at, limits) = limits?;
        // Only a date has no TOML as text here, and no limit has one.
        let text = toml::to_string(&limits).unwrap_or_default();
        let text = if text.is_empty() { SETTINGS_ONLY.to_owned() } else { text };
        let wrong = judge.known.settings.wrong_limits(&judge.known.server, &text);
        for what in &wrong {
            judge.problems.push(Problem::new(at, what.clone()).expected("limits as docs/rate-limits.md has them"));
        }
        wrong.is_empty().then_some(Step::ApplyLimits(ApplyLimits { limits: text }))
    })
}

impl Act for ApplyLimits {
    async fn act(&self, context: &mut StepContext<'_>) -> Result<(), String> {
        if !context.run_context.orders_for_all() {
            return Ok(());
        }
        let operator = &context.run_context.operator;
        operator.apply_limits(&self.limits).await.map_err(|error| error.to_string())
    }
}
