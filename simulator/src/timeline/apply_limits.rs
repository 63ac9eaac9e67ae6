//! `do = "apply_limits"`: the operator changes the server's limits.

use std::{rc::Rc, sync::Arc, time::Duration};

use super::{Check, Kind, Step, StepBehavior, StepContext, kind};
use crate::{
    invariants::Witness,
    operator::Operator,
    scenario::{
        problem::{Problem, Problems},
        reader::{Field, Reader},
    },
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

/// How often the limits in force are looked at after an order that got no answer.
const READ_EVERY: Duration = Duration::from_secs(1);

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

impl StepBehavior for ApplyLimits {
    async fn act(&self, context: &mut StepContext<'_>) -> Result<(), String> {
        let run_context = context.run_context;
        if !run_context.orders_for_all() {
            return Ok(());
        }
        let applied = run_context.operator.apply_limits(&self.limits).await;
        if let (Err(_), Some(witness)) = (&applied, &run_context.witness) {
            actix::spawn(read_until_known(Rc::clone(&run_context.operator), Arc::clone(witness)));
        }
        applied.map_err(|error| error.to_string())
    }
}

/// An order that got no answer may have been carried out: looks what is in force, until that is known. The witness sees the answers.
async fn read_until_known(operator: Rc<Operator>, witness: Arc<Witness>) {
    while witness.oracle().are_limits_open() {
        tokio::time::sleep(READ_EVERY).await;
        let _ = operator.limits().await; // the server may be down
    }
}
