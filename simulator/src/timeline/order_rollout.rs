//! `do = "order_rollout"`: the operator gives an order about a rollout.

use ks_protocol::id::RolloutId;
use serde_json::json;

use super::{Check, Kind, Step, StepBehavior, StepContext, kind};
use crate::{
    operator::rollout_order::RolloutOrder,
    scenario::{
        check::value::{named, one_of},
        problem::Problems,
        reader::Reader,
    },
};

/// The operator gives an order about a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRollout {
    pub rollout_id: RolloutId,
    pub order: RolloutOrder,
}

pub(super) const KIND: Kind = kind! {
    "order_rollout", "an `order_rollout` step", order, read,
    "The operator gives an order about a rollout.",
    "rollout": "text", "required", "one that an earlier step starts", "which rollout";
    "order": "word", "required", "`pause`, `resume`, `approve`, `abort`, `abort_and_roll_back`", "what to order";
};

fn read(table: &Reader<'_>, problems: &mut Problems) -> Check {
    let rollout = table.text("rollout", problems);
    let order = table.text("order", problems);
    Box::new(move |judge| {
        let rollout = judge.required(rollout, "rollout", "rollout = \"rollout-1.1.0\"");
        let rollout: Option<RolloutId> = rollout.and_then(|rollout| {
            let started: Vec<String> = judge.seen.rollouts.iter().map(|started| started.value.to_string()).collect();
            let found = named(&rollout, "no earlier step starts a rollout", &started, judge.problems);
            found.and_then(|name| name.parse().ok())
        });
        let order = judge.required(order, "order", "order = \"abort\"");
        let choices = RolloutOrder::ALL.map(|order| (order.as_str(), order));
        let order = one_of("order", order.as_ref(), &choices, judge.problems);
        let (rollout_id, order) = rollout.zip(order)?;
        Some(Step::OrderRollout(OrderRollout { rollout_id, order }))
    })
}

impl StepBehavior for OrderRollout {
    async fn act(&self, context: &mut StepContext<'_>) -> Result<(), String> {
        context.note("rollout_id", json!(self.rollout_id));
        context
            .run_context
            .operator
            .order_rollout(&self.rollout_id, self.order)
            .await
            .map_err(|error| error.to_string())
    }
}
