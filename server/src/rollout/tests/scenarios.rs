//! Any policy, fleet and run of events: drawn, and run as the driver does.

use ks_protocol::time::UnixMs;
use proptest::prelude::*;

use super::{
    BEGIN, MINUTE, about,
    fleet::{Fleet, SITES, random},
};
use crate::rollout::{
    gate::Test,
    order::{InvalidTransition, Order},
    outcome::Outcome,
    policy::{Action, Approval, Gate, Policy, Scope, Stage, WHOLE_BP, tests::playbook},
    step::{Decision, Effect, Event, GAP_MS, State, Step, step},
    tally::Tally,
};

/// The next input of a scenario.
#[derive(Debug, Clone)]
pub(super) enum Input {
    /// Time passes, the fleet moves on, and the rollout is evaluated.
    Evaluation {
        wait_ms: u64,
        seed: u64,
        suspects: u32,
    },
    Order(Order),
}

#[derive(Debug, Clone)]
pub(in crate::rollout) struct Scenario {
    pub(in crate::rollout) policy: Policy,
    pub(super) fleet: Fleet,
    pub(super) inputs: Vec<Input>,
}

/// One event of a scenario and its result.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::rollout) struct Transition {
    pub(in crate::rollout) at: UnixMs,
    pub(in crate::rollout) before: State,
    /// The tally, if it was an evaluation.
    pub(in crate::rollout) seen: Option<Tally>,
    pub(in crate::rollout) order: Option<Order>,
    pub(in crate::rollout) step: Result<Step, InvalidTransition>,
    /// Devices that were actually offered the release.
    pub(in crate::rollout) offered: u32,
    pub(in crate::rollout) after: State,
}

impl Transition {
    pub(in crate::rollout) fn decided(&self, what: &str) -> Option<&Decision> {
        self.decisions().iter().find(|decision| decision.what == what)
    }
    pub(in crate::rollout) fn decisions(&self) -> &[Decision] {
        self.step.as_ref().map_or(&[], |step| &step.decisions)
    }
    pub(in crate::rollout) fn effects(&self) -> &[Effect] {
        self.step.as_ref().map_or(&[], |step| &step.effects)
    }
}

/// The state as a restarted server reads it back.
fn reread(state: &State) -> State {
    serde_json::from_str(&serde_json::to_string(state).unwrap()).unwrap()
}

/// Runs a scenario as the driver does. `restarts`: the server is killed after every event.
pub(in crate::rollout) fn run(scenario: &Scenario, restarts: bool) -> Vec<Transition> {
    let Scenario { policy, mut fleet, inputs } = scenario.clone();
    let (mut at, mut state) = (BEGIN, State::new(BEGIN));
    let mut transitions = Vec::new();
    for input in inputs {
        let before = state.clone();
        let (seen, order, step, mut seed) = match input {
            Input::Evaluation { wait_ms, mut seed, suspects } => {
                at.0 += wait_ms;
                fleet.move_on(&mut seed);
                let tally = fleet.tally(suspects);
                let evaluated = step(&policy, &state, &Event::Evaluation(&tally), at);
                (Some(tally), None, evaluated, seed)
            }
            Input::Order(order) => {
                let ordered = step(&policy, &state, &Event::Order(&about(&state, &order)), at);
                (None, Some(order), ordered, 0)
            }
        };
        let mut offered = 0;
        if let Ok(step) = &step {
            state = step.state.clone();
            for effect in &step.effects {
                match effect {
                    // A site's budget, or offline devices, may reduce the number.
                    Effect::Offer(count) => {
                        let count = if random(&mut seed).is_multiple_of(4) { count / 2 } else { *count };
                        offered = fleet.offer(count, state.stage);
                        state.offered(offered);
                    }
                    Effect::Halt => fleet.halt(),
                    Effect::RollBack(_) | Effect::Close => {}
                }
            }
        }
        if random(&mut seed).is_multiple_of(16) {
            state.mark_offline([SITES[(seed % 2) as usize].to_owned()], at); // as the driver does
        }
        if restarts {
            state = reread(&state);
        }
        transitions.push(Transition { at, before, seen, order, step, offered, after: state.clone() });
    }
    transitions
}

fn any_gate() -> impl Strategy<Value = Gate> {
    let tests = vec![
        Test::Raw,
        Test::Raw,
        Test::ClopperPearson { confidence_bp: 7_000 },
        Test::Sprt { p0_bp: 500, p1_bp: 6_000, alpha_bp: 1_000, beta_bp: 1_000 },
    ];
    let scopes = vec![Scope::Stage, Scope::Cumulative, Scope::Model, Scope::Site, Scope::Stratum];
    let actions = vec![Action::Pause, Action::Abort, Action::AbortAndRollBack];
    let outcomes = vec![
        Outcome::ALL.into_iter().filter(|outcome| outcome.is_failure()).collect(),
        vec![Outcome::Lost, Outcome::RolledBack, Outcome::FalseSuccess],
    ];
    let select = prop::sample::select::<u16>;
    (
        prop::sample::select(tests),
        select(vec![1_000, 3_000, 5_000]),
        1_u32..=5,
        prop::sample::select(scopes),
        prop::sample::select(actions),
        prop::sample::select(outcomes),
    )
        .prop_map(|(test, threshold_bp, min_executed, scope, action, outcomes)| Gate {
            outcomes,
            threshold_bp,
            min_executed,
            min_executed_bp: None,
            test,
            scope,
            action,
        })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let stage = (1_u32..=4, prop::sample::select(vec![0_u64, 60, 300, 900]), prop::bool::weighted(0.25));
    (
        prop::collection::vec(stage, 1..=3),
        prop::collection::vec(any_gate(), 1..=2),
        1_u32..=20,
        1_u32..=20,
        prop::sample::select(vec![1_800_u64, 7_200, 86_400]),
        any::<bool>(),
        prop::sample::select(vec![0_u64, 600, 3_600]),
    )
        .prop_map(|(stages, gates, in_flight_max, starts_per_min, max_wait_s, can_roll_back, watch_s)| {
            let shares = [[WHOLE_BP, 0, 0], [2_500, WHOLE_BP, 0], [2_500, 5_000, WHOLE_BP]][stages.len() - 1];
            let stages = stages.into_iter().zip(shares).map(|((min_executed, bake_s, is_manual), share_bp)| Stage {
                share_bp,
                min_executed,
                min_executed_bp: None,
                bake_s,
                approval: if is_manual { Approval::Manual } else { Approval::Auto },
            });
            let roll_back_to = can_roll_back.then(|| "fw-back".parse().unwrap());
            Policy {
                stages: stages.collect(),
                gates,
                in_flight_max,
                starts_per_min,
                max_wait_s,
                watch_s: Some(watch_s),
                roll_back_to,
                ..playbook()
            }
        })
}

pub(super) fn any_input() -> impl Strategy<Value = Input> {
    let wait_ms = prop_oneof![
        40 => 0..90_000_u64,
        2 => (GAP_MS - 2)..=(GAP_MS + 2),
        2 => (GAP_MS + 1)..(20 * MINUTE),
    ];
    let suspects = prop_oneof![15 => Just(0_u32), 1 => 1..3_u32];
    let look = (wait_ms, any::<u64>(), suspects);
    prop_oneof![
        800 => look.prop_map(|(wait_ms, seed, suspects)| Input::Evaluation { wait_ms, seed, suspects }),
        40 => Just(Input::Order(Order::Resume)),
        60 => Just(Input::Order(Order::Approve)),
        15 => Just(Input::Order(Order::Pause)),
        1 => any::<bool>().prop_map(|roll_back| Input::Order(Order::Abort { roll_back })),
    ]
}

pub(in crate::rollout) fn any_scenario() -> impl Strategy<Value = Scenario> {
    let failing = || prop::sample::select(vec![0_u64, 0, 0, 2, 10, 40]);
    (any_policy(), 16_usize..64, failing(), failing(), prop::collection::vec(any_input(), 30..160)).prop_map(
        |(policy, count, one, other, inputs)| {
            let fleet = Fleet::new(count, policy.stages.len(), [one, other]);
            Scenario { policy, fleet, inputs }
        },
    )
}
