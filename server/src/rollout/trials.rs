//! Compares the plan's chances with the engine itself: rollouts with random outcomes, evaluated by [`step`] after each outcome.
//!
//! The seeds are fixed, so that a trial always has the same result; the tolerance is four standard errors.

use std::collections::{BTreeMap, VecDeque};

use ks_protocol::time::UnixMs;

use super::{
    gate::Test,
    policy::{Action, Gate, Policy, Scope, Stage, tests::playbook},
    status::Status,
    step::{Event, State, step},
    tally::{Cell, Tally},
    tests::random,
    update::UpdateState,
    walk::{Order, Walk},
};

const TRIALS: u32 = 400;

/// Devices that each stage adds, by model.
type Added = [(&'static str, Vec<u32>)];

fn policy(gates: Vec<Gate>, added: &Added, in_flight_max: u32) -> Policy {
    let stages = added.first().map_or(0, |(_, added)| added.len());
    let of_stage = |stage: usize| added.iter().map(|(_, added)| added[stage]).sum();
    // Nothing is promoted before all devices of the stage have an outcome, and then immediately.
    let stage = |stage| Stage { min_executed: of_stage(stage), bake_s: 0, ..playbook().stages.remove(0) };
    Policy { stages: (0..stages).map(stage).collect(), gates, in_flight_max, ..playbook() }
}

fn gate(test: Test, threshold_bp: u16, min_executed: u32, scope: Scope) -> Gate {
    Gate { test, threshold_bp, min_executed, scope, action: Action::Abort, ..playbook().gates.remove(0) }
}

fn through(gate: &Gate, added: &[u32], bug_bp: u16, order: Order) -> f64 {
    let gates = [gate];
    let mut walk = Walk::new(&gates);
    walk.of(added);
    *walk.through(bug_bp, order).last().unwrap()
}

/// A rollout with random outcomes.
struct Trial<'a> {
    policy: &'a Policy,
    state: State,
    at: UnixMs,
    counts: BTreeMap<(usize, &'static str, UpdateState), u32>,
}

impl Trial<'_> {
    /// One more outcome, and an evaluation; false once the rollout is aborted or paused.
    fn outcome(&mut self, stage: usize, model: &'static str, fails: bool) -> bool {
        let (pending, outcome) =
            (UpdateState::Pending, if fails { UpdateState::Failed } else { UpdateState::Confirmed });
        *self.counts.get_mut(&(stage, model, pending)).unwrap() -= 1;
        *self.counts.entry((stage, model, outcome)).or_default() += 1;
        self.at = UnixMs(self.at.0 + 1_000);
        let cells = self.counts.iter().map(|((stage, model, state), count)| Cell {
            stage: *stage,
            model: (*model).to_owned(),
            site: String::new(),
            state: *state,
            count: *count,
        });
        let tally = Tally { cells: cells.filter(|cell| cell.count > 0).collect(), ..Tally::default() };
        self.state = step(self.policy, &self.state, &Event::Evaluation(&tally), self.at).unwrap().state;
        !matches!(self.state.status, Status::Aborted | Status::Paused)
    }

    /// Whether it gets through a stage of these devices, and whether each of them fails.
    fn stage(&mut self, stage: usize, devices: &[(&'static str, bool)], order: Order) -> bool {
        let at_a_time = match order {
            Order::FailuresFirst { in_flight_max } => in_flight_max,
            _ => 0,
        };
        // Failed installations are known immediately, and others once in_flight_max is reached.
        let mut in_flight = VecDeque::new();
        for (model, fails) in devices.iter().copied() {
            if fails && !self.outcome(stage, model, true) {
                return false;
            }
            in_flight.extend((!fails).then_some(model));
            while in_flight.len() > at_a_time as usize {
                let model = in_flight.pop_front().unwrap();
                if !self.outcome(stage, model, false) {
                    return false;
                }
            }
        }
        in_flight.into_iter().all(|model| self.outcome(stage, model, false))
            && (self.state.stage > stage || self.state.status == Status::Completed)
    }
}

/// The share of trials in which the firmware reaches the whole fleet; `bugs_bp` are the models' chances to fail.
fn completed(policy: &Policy, added: &Added, bugs_bp: &[u64], order: Order) -> f64 {
    let mut seed = 12;
    let mut completed = 0;
    for _ in 0..TRIALS {
        let stages = policy.stages.len();
        let pending =
            |stage| added.iter().map(move |(model, added)| ((stage, *model, UpdateState::Pending), added[stage]));
        let counts = (0..stages).flat_map(pending).collect();
        let at = UnixMs(1_800_000_000_000);
        let mut trial = Trial { policy, state: State::new(at), at, counts };
        let gets_through = (0..stages).all(|stage| {
            let mut devices: Vec<(&str, bool)> = Vec::new();
            for ((model, added), bug_bp) in added.iter().zip(bugs_bp) {
                devices.extend((0..added[stage]).map(|_| (*model, random(&mut seed) % 10_000 < *bug_bp)));
            }
            for left in (1..devices.len()).rev() {
                devices.swap(left, usize::try_from(random(&mut seed) % (left as u64 + 1)).unwrap());
            }
            trial.stage(stage, &devices, order)
        });
        completed += u32::from(gets_through);
    }
    f64::from(completed) / f64::from(TRIALS)
}

fn error_of(chance: f64) -> f64 {
    4.0 * (chance * (1.0 - chance) / f64::from(TRIALS)).sqrt() + 1.0 / f64::from(TRIALS)
}

/// Goal: of 601 devices of which one in a thousand (two hundred) fails, judged raw at 0.5 % from the 100th on, as many
/// rollouts survive as no failure has: 54.8 % (4.9 %), if failed installations come first. Mixed, 80 % (22 %).
#[test]
fn a_raw_gate_at_every_evaluation_lets_through_what_its_plan_says() {
    let gate = gate(Test::Raw, 50, 100, Scope::Cumulative);
    let added = [("KS-100", vec![601])];
    let policy = policy(vec![gate.clone()], &added, 601);
    let first = Order::FailuresFirst { in_flight_max: 601 };
    for (order, bug_bp, expected) in
        [(first, 10, 0.548_1), (first, 50, 0.049_2), (Order::Mixed, 10, 0.802_1), (Order::Mixed, 50, 0.224_6)]
    {
        let walked = through(&gate, &added[0].1, bug_bp, order);
        assert!((walked - expected).abs() < 0.000_1, "{order:?} {bug_bp}: the plan says {walked}");
        let seen = completed(&policy, &added, &[bug_bp.into()], order);
        assert!((seen - walked).abs() < error_of(walked), "{order:?} {bug_bp}: {seen} of the trials, {walked} planned");
    }
}

/// Goal: every kind of test over several stages, mixed: the plan's chance is that of the trials.
#[test]
fn every_test_over_several_stages_lets_through_what_its_plan_says() {
    let proof = Test::ClopperPearson { confidence_bp: 9_000 };
    let wald = Test::Sprt { p0_bp: 100, p1_bp: 1_000, alpha_bp: 500, beta_bp: 500 };
    for (gate, stages, bug_bp) in [
        (gate(Test::Raw, 500, 20, Scope::Cumulative), vec![30, 50, 100], 300),
        (gate(Test::Raw, 500, 25, Scope::Cumulative), vec![30, 90], 600),
        (gate(proof, 800, 1, Scope::Cumulative), vec![60, 120], 200),
        (gate(wald, 0, 1, Scope::Cumulative), vec![50, 100], 250),
        (gate(wald, 0, 45, Scope::Cumulative), vec![50, 100], 350),
    ] {
        let walked = through(&gate, &stages, bug_bp, Order::Mixed);
        assert!((0.02..0.98).contains(&walked), "{walked} would show little");
        let added = [("KS-100", stages)];
        let seen = completed(&policy(vec![gate.clone()], &added, 500), &added, &[bug_bp.into()], Order::Mixed);
        assert!((seen - walked).abs() < error_of(walked), "{gate:?}: {seen} of the trials, {walked} planned");
    }
}

/// Goal: in the worst order that `in_flight_max` allows, at least the planned chance gets through, and not more than in any other.
#[test]
fn the_worst_order_lets_through_what_its_plan_says_at_least() {
    let gate = gate(Test::Raw, 200, 40, Scope::Cumulative);
    let added = [("KS-100", vec![100, 300])];
    for in_flight_max in [1, 20, 60, 500] {
        let order = Order::FailuresFirst { in_flight_max };
        let walked = through(&gate, &added[0].1, 100, order);
        let seen = completed(&policy(vec![gate.clone()], &added, in_flight_max), &added, &[100], order);
        assert!(seen > walked - error_of(walked), "{in_flight_max}: {seen} of the trials, {walked} planned at least");
        assert!(seen < walked + error_of(walked) + 0.03, "{in_flight_max}: {seen} of the trials is far above {walked}");
    }
}

/// Goal: a bug of the small model alone is let through as its own devices say, and all gates together keep to their bounds.
#[test]
fn a_bug_of_one_model_alone_is_let_through_as_its_own_devices_say() {
    let (by_model, over_all) = (gate(Test::Raw, 500, 5, Scope::Model), gate(Test::Raw, 200, 40, Scope::Cumulative));
    let added = [("KS-100", vec![80, 200]), ("KS-200", vec![8, 20])];
    let chance = |gate: &Gate, added: &[u32], bug_bp| through(gate, added, bug_bp, Order::Mixed);
    let small = chance(&by_model, &added[1].1, 1_000);
    let alone = completed(&policy(vec![by_model.clone()], &added, 500), &added, &[0, 1_000], Order::Mixed);
    assert!((alone - small).abs() < error_of(small), "{alone} of the trials, {small} planned");
    // Both have it.
    let each = chance(&by_model, &added[0].1, 200) * chance(&by_model, &added[1].1, 200);
    let both = completed(&policy(vec![by_model.clone()], &added, 500), &added, &[200, 200], Order::Mixed);
    assert!((both - each).abs() < error_of(each), "{both} of the trials, {each} planned");
    // And a gate over all devices judges too.
    let all = chance(&over_all, &[88, 220], 200);
    let together = completed(&policy(vec![by_model, over_all], &added, 500), &added, &[200, 200], Order::Mixed);
    let (least, most) = (each * all, each.min(all));
    assert!(together > least - error_of(least) && together < most + error_of(most), "{least} < {together} < {most}");
}
