//! The engine against a small fleet: properties over any policy, fleet and run of events, then individual cases.

mod approval;
mod fleet;
mod gates;
mod observation;
mod offers;
mod orders;
mod promotion;
mod properties;
mod published;
mod scenarios;

use ks_protocol::time::UnixMs;

use self::fleet::{MODELS, SITES};
pub(super) use self::{fleet::random, properties::verdicts, scenarios::any_scenario, scenarios::run};
use super::{
    order::{InvalidTransition, Observed, OperatorOrder, Order},
    policy::{Action, Approval, Gate, Policy, Scope, Stage, WHOLE_BP, tests::playbook},
    step::{Event, State, Step, step},
    tally::{Cell, Tally},
    update::UpdateState,
};

/// When every scenario begins.
const BEGIN: UnixMs = UnixMs(1_800_000_000_000);
const MINUTE: u64 = 60_000;

/// An order for the current state of a rollout.
fn about(state: &State, order: &Order) -> OperatorOrder {
    OperatorOrder { order: order.clone(), seen: Some(Observed::of(state)), why: "a person ordered it".to_owned() }
}

pub(super) fn at(seconds: u64) -> UnixMs {
    UnixMs(BEGIN.0 + seconds * 1_000)
}

fn stage(share_bp: u16, min_executed: u32, bake_s: u64) -> Stage {
    Stage { share_bp, min_executed, min_executed_bp: None, bake_s, approval: Approval::Auto }
}

/// Raw, against a tenth, after ten devices; every failure counts.
pub(super) fn gate(scope: Scope, action: Action) -> Gate {
    Gate { threshold_bp: 1_000, min_executed: 10, scope, action, ..playbook().gates.remove(0) }
}

/// Two stages that ten outcomes and ten minutes pass, one gate over all, that aborts.
pub(super) fn small() -> Policy {
    Policy {
        stages: vec![stage(5_000, 10, 600), stage(WHOLE_BP, 10, 600)],
        gates: vec![gate(Scope::Cumulative, Action::Abort)],
        ..playbook()
    }
}

fn manual() -> Policy {
    let mut policy = small();
    policy.stages[0].approval = Approval::Manual;
    policy
}

pub(super) fn cell(stage: usize, of: (&str, &str), state: UpdateState, count: u32) -> Cell {
    Cell { stage, model: of.0.to_owned(), site: of.1.to_owned(), state, count }
}

/// Devices of the first stage, all of one model and site, in these states.
pub(super) fn seen(counts: &[(UpdateState, u32)]) -> Tally {
    let kind = (MODELS[0], SITES[0]);
    Tally { cells: counts.iter().map(|(state, count)| cell(0, kind, *state, *count)).collect(), ..Tally::default() }
}

/// A rollout in a test.
pub(super) struct Rollout {
    pub(super) policy: Policy,
    pub(super) state: State,
}

impl Rollout {
    pub(super) fn new(policy: Policy) -> Self {
        assert_eq!(policy.validate(), Vec::<String>::new());
        Self { state: State::new(BEGIN), policy }
    }

    pub(super) fn handle(&mut self, event: &Event<'_>, at: UnixMs) -> Result<Step, InvalidTransition> {
        let step = step(&self.policy, &self.state, event, at)?;
        self.state = step.state.clone();
        Ok(step)
    }

    pub(super) fn evaluate(&mut self, seconds: u64, tally: &Tally) -> Step {
        self.handle(&Event::Evaluation(tally), at(seconds)).unwrap()
    }

    /// Evaluates every minute in this period; gives the decisions with their times.
    pub(super) fn watch(&mut self, seconds: std::ops::RangeInclusive<u64>, tally: &Tally) -> Vec<(u64, &'static str)> {
        let mut decided = Vec::new();
        for second in seconds.step_by(60) {
            decided.extend(self.evaluate(second, tally).decisions.into_iter().map(|decision| (second, decision.what)));
        }
        decided
    }

    pub(super) fn order(&mut self, seconds: u64, order: &Order) -> Result<Step, InvalidTransition> {
        let order = about(&self.state, order);
        self.handle(&Event::Order(&order), at(seconds))
    }
}

pub(super) const NO_DECISION: [(u64, &str); 0] = [];

pub(super) fn decisions_of(step: &Step) -> Vec<&'static str> {
    step.decisions.iter().map(|decision| decision.what).collect()
}
