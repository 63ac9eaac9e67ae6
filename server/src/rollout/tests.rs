//! The engine against a small fleet: properties over any policy, fleet and run of events, then individual cases.

use std::collections::BTreeMap;

use ks_protocol::time::UnixMs;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::{
    gate::{Test, Verdict, judge},
    order::{InvalidTransition, Observed, OperatorOrder, Order},
    outcome::Outcome,
    policy::{Action, Approval, Gate, Policy, Scope, Stage, WHOLE_BP, tests::playbook},
    reading::read_gates,
    status::Status,
    step::{Decision, Effect, Event, GAP_MS, State, Step, step, suspects_matter},
    tally::{Cell, Tally},
    update::UpdateState,
};

/// When every scenario begins.
const BEGIN: UnixMs = UnixMs(1_800_000_000_000);
const MINUTE: u64 = 60_000;

// ---- The fleet -----------------------------------------------------------------------------------------------------

/// A device of the fleet.
#[derive(Debug, Clone)]
struct Device {
    stage: usize,
    model: &'static str,
    site: &'static str,
    state: UpdateState,
}

/// Devices that take offers and reach outcomes, so that every tally is a possible one.
#[derive(Debug, Clone)]
struct Fleet {
    devices: Vec<Device>,
    /// Percentage that fails, by model.
    failing: [u64; 2],
}

pub(super) const MODELS: [&str; 2] = ["KS-100", "KS-200"];
pub(super) const SITES: [&str; 2] = ["north", "south"];

/// The next pseudo-random number (SplitMix64).
pub(super) fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*seed ^ *seed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

/// The tally with up to so many of its confirmed devices silent, the last cells first.
fn silent(mut count: u32, tally: Tally) -> Tally {
    let mut suspects = Vec::new();
    for cell in tally.cells.iter().rev().filter(|cell| cell.state == UpdateState::Confirmed && cell.count > 0) {
        let of_cell = count.min(cell.count);
        if of_cell > 0 {
            suspects.push(Cell { count: of_cell, ..cell.clone() });
        }
        count -= of_cell;
    }
    Tally { suspects, ..tally }
}

/// The tally once its suspects are lost, device by device.
fn once_lost(tally: &Tally) -> Tally {
    let mut devices: Vec<Cell> = Vec::new();
    for cell in &tally.cells {
        let of_it = tally.suspects.iter().filter(|suspect| suspect.place() == cell.place());
        let mut silent: u32 = of_it.filter(|_| cell.state == UpdateState::Confirmed).map(|suspect| suspect.count).sum();
        for _ in 0..cell.count {
            let state = if silent > 0 { UpdateState::Lost } else { cell.state };
            silent = silent.saturating_sub(1);
            devices.push(Cell { state, count: 1, ..cell.clone() });
        }
    }
    Tally { cells: devices, ..Tally::default() }
}

impl Fleet {
    /// A quarter of the devices in each stage but the last, the rest there.
    fn new(count: usize, stages: usize, failing: [u64; 2]) -> Self {
        let device = |number: usize| Device {
            stage: (number % 4).min(stages - 1),
            model: MODELS[number / 4 % 2],
            site: SITES[number / 8 % 2],
            state: UpdateState::Pending,
        };
        Self { devices: (0..count).map(device).collect(), failing }
    }

    fn tally(&self, suspects: u32) -> Tally {
        let mut cells: BTreeMap<_, u32> = BTreeMap::new();
        for Device { stage, model, site, state } in &self.devices {
            *cells.entry((*stage, *model, *site, *state)).or_default() += 1;
        }
        let cells = cells.into_iter().map(|((stage, model, site, state), count)| Cell {
            stage,
            model: model.to_owned(),
            site: site.to_owned(),
            state,
            count,
        });
        silent(suspects, Tally { cells: cells.collect(), ..Tally::default() })
    }

    fn is_so(&mut self, so: impl Fn(&Device) -> bool) -> impl Iterator<Item = &mut Device> {
        self.devices.iter_mut().filter(move |device| so(device))
    }

    fn offer(&mut self, count: u32, stage: usize) -> u32 {
        let waiting = self.is_so(|device| device.state == UpdateState::Pending && device.stage <= stage);
        let offered = waiting.take(count as usize).map(|device| device.state = UpdateState::Offered);
        u32::try_from(offered.count()).unwrap()
    }

    fn halt(&mut self) {
        for device in self.is_so(|device| matches!(device.state, UpdateState::Pending | UpdateState::Offered)) {
            device.state = UpdateState::Halted;
        }
    }

    /// Some devices progress, some fail, and sometimes a person withdraws one.
    fn move_on(&mut self, seed: &mut u64) {
        use UpdateState as S;
        let failing = self.failing;
        // What breaks devices hours later, once all have it.
        let is_quiet = !self.devices.iter().any(|device| device.state == S::Pending || device.state.is_in_flight());
        for device in &mut self.devices {
            let is_final = device.state.outcome().is_some_and(Outcome::is_failure) || device.state == S::Halted;
            if random(seed).is_multiple_of(256) && !is_final {
                device.state = S::Withdrawn;
            }
            let fails = random(seed) % 100 < failing[usize::from(device.model == MODELS[1])];
            device.state = match (device.state, random(seed) % 8) {
                (S::Offered, 0) => S::Pending,
                (S::Offered, 1..=5) => S::Downloading,
                (S::Downloading, 0..=5) if fails => [S::Failed, S::Rejected, S::TimedOut][(random(seed) % 3) as usize],
                (S::Downloading, 0..=5) => S::Installing,
                (S::Installing, 0..=5) if fails => {
                    [S::RolledBack, S::FalseSuccess, S::Lost][(random(seed) % 3) as usize]
                }
                (S::Installing, 0..=5) => S::Confirming,
                (S::Confirming, 0..=5) => S::Confirmed,
                (S::Confirmed, 0) if fails && random(seed).is_multiple_of(8) => S::Lost,
                (S::Confirmed, 1) if is_quiet && random(seed).is_multiple_of(16) => S::Lost,
                (state, _) => state,
            };
        }
    }
}

// ---- Scenarios -----------------------------------------------------------------------------------------------------

/// The next input of a scenario.
#[derive(Debug, Clone)]
enum Input {
    /// Time passes, the fleet moves on, and the rollout is evaluated.
    Evaluation {
        wait_ms: u64,
        seed: u64,
        suspects: u32,
    },
    Order(Order),
}

#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub(super) policy: Policy,
    fleet: Fleet,
    inputs: Vec<Input>,
}

/// One event of a scenario and its result.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Transition {
    pub(super) at: UnixMs,
    pub(super) before: State,
    /// The tally, if it was an evaluation.
    pub(super) seen: Option<Tally>,
    pub(super) order: Option<Order>,
    pub(super) step: Result<Step, InvalidTransition>,
    /// Devices that were actually offered the release.
    pub(super) offered: u32,
    pub(super) after: State,
}

impl Transition {
    pub(super) fn decided(&self, what: &str) -> Option<&Decision> {
        self.decisions().iter().find(|decision| decision.what == what)
    }
    pub(super) fn decisions(&self) -> &[Decision] {
        self.step.as_ref().map_or(&[], |step| &step.decisions)
    }
    pub(super) fn effects(&self) -> &[Effect] {
        self.step.as_ref().map_or(&[], |step| &step.effects)
    }
}

/// The state as a restarted server reads it back.
fn reread(state: &State) -> State {
    serde_json::from_str(&serde_json::to_string(state).unwrap()).unwrap()
}

/// An order for the current state of a rollout.
fn about(state: &State, order: &Order) -> OperatorOrder {
    OperatorOrder { order: order.clone(), seen: Some(Observed::of(state)), why: "a person ordered it".to_owned() }
}

/// Runs a scenario as the driver does. `restarts`: the server is killed after every event.
pub(super) fn run(scenario: &Scenario, restarts: bool) -> Vec<Transition> {
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

fn any_input() -> impl Strategy<Value = Input> {
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

pub(super) fn any_scenario() -> impl Strategy<Value = Scenario> {
    let failing = || prop::sample::select(vec![0_u64, 0, 0, 2, 10, 40]);
    (any_policy(), 16_usize..64, failing(), failing(), prop::collection::vec(any_input(), 30..160)).prop_map(
        |(policy, count, one, other, inputs)| {
            let fleet = Fleet::new(count, policy.stages.len(), [one, other]);
            Scenario { policy, fleet, inputs }
        },
    )
}

/// The verdicts of a gate, computed independently: for each group its devices and the verdict.
pub(super) fn verdicts(gate: &Gate, stage: usize, tally: &Tally) -> Vec<(u32, Verdict)> {
    let mut groups: BTreeMap<(&str, &str), [u32; 3]> = BTreeMap::new();
    for cell in &tally.cells {
        let is_judged = if gate.scope == Scope::Stage { cell.stage == stage } else { cell.stage <= stage };
        if !is_judged {
            continue;
        }
        let of = match gate.scope {
            Scope::Stage | Scope::Cumulative => ("", ""),
            Scope::Model => (cell.model.as_str(), ""),
            Scope::Site => ("", cell.site.as_str()),
            Scope::Stratum => (cell.model.as_str(), cell.site.as_str()),
        };
        let [devices, executed, failed] = groups.entry(of).or_default();
        *devices += cell.count;
        *executed += cell.state.outcome().map_or(0, |_| cell.count);
        *failed += cell.state.outcome().filter(|outcome| gate.outcomes.contains(outcome)).map_or(0, |_| cell.count);
    }
    let judged = |[devices, executed, failed]: [u32; 3]| {
        (devices, judge(gate.test, gate.threshold_bp, gate.min_executed, failed, executed).unwrap().verdict)
    };
    groups.into_values().map(judged).collect()
}

/// The actions of the failed gates.
fn failing(policy: &Policy, stage: usize, tally: &Tally) -> Vec<Action> {
    let fails = |gate: &&Gate| verdicts(gate, stage, tally).iter().any(|(_, verdict)| *verdict == Verdict::Fail);
    policy.gates.iter().filter(fails).map(|gate| gate.action).collect()
}

fn executed(stage: usize, tally: &Tally) -> u32 {
    tally.count(|cell| cell.stage == stage && cell.state.outcome().is_some())
}

/// Goal: the scenarios are varied; otherwise the properties below would prove nothing.
#[test]
fn scenarios_reach_every_kind_of_decision() {
    let mut runner = TestRunner::deterministic();
    let mut decided: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..300 {
        let scenario = any_scenario().new_tree(&mut runner).unwrap().current();
        for transition in run(&scenario, false) {
            for decision in transition.decisions() {
                *decided.entry(decision.what).or_default() += 1;
            }
        }
    }
    for what in ["promoted", "completed", "aborted", "paused", "resumed", "waiting", "approved", "withdrawn", "gap"] {
        assert!(decided.get(what).is_some_and(|count| *count >= 30), "{what} of {decided:?}");
    }
    for what in ["watched", "late", "alert"] {
        assert!(decided.get(what).is_some_and(|count| *count >= 10), "{what} of {decided:?}");
    }
}

proptest! {
    /// Invariant (a): a share never shrinks, a stage never goes back, and only a promotion leads to the next, one at a time.
    #[test]
    fn a_share_never_shrinks_and_a_stage_never_goes_back(scenario in any_scenario()) {
        for Transition { before, after, step, .. } in run(&scenario, false) {
            prop_assert!(after.share_bp(&scenario.policy) >= before.share_bp(&scenario.policy));
            let promoted = step.map_or(0, |step| step.decisions.iter().filter(|decision| decision.what == "promoted").count());
            prop_assert!(promoted <= 1);
            prop_assert_eq!(after.stage, before.stage + promoted);
            prop_assert!(after.stage < scenario.policy.stages.len());
            prop_assert!(after.evaluated_at >= before.evaluated_at);
        }
    }

    /// Invariant (b): once it is aborted, it offers nothing, decides nothing but gaps and withdrawn devices, and accepts no order.
    #[test]
    fn an_aborted_rollout_offers_nothing_more(
        mut scenario in any_scenario(), cut in 0_usize..60, roll_back: bool, then in prop::collection::vec(any_input(), 1..60)
    ) {
        scenario.inputs.truncate(cut);
        let roll_back = roll_back && scenario.policy.roll_back_to.is_some(); // or it would be refused
        scenario.inputs.push(Input::Order(Order::Abort { roll_back }));
        scenario.inputs.extend(then);
        let transitions = run(&scenario, false);
        let aborted = transitions.iter().position(|transition| transition.decided("aborted").is_some());
        let over = transitions.iter().position(|transition| transition.after.status.is_over());
        prop_assert!(over.is_some(), "an order to abort ends what is not over yet");
        let Some(aborted) = aborted else { return Ok(()) }; // it had been completed
        let effects = transitions[aborted].effects();
        let halts = effects.iter().filter(|effect| **effect == Effect::Halt).count();
        prop_assert_eq!((halts, transitions[aborted].offered), (1, 0));
        prop_assert!(!effects.iter().any(|effect| matches!(effect, Effect::Offer(_))));
        let mut closed = usize::from(effects.contains(&Effect::Close));
        for transition in &transitions[aborted + 1..] {
            prop_assert_eq!(transition.after.status, Status::Aborted);
            prop_assert!(transition.order.is_none() || transition.step.is_err());
            prop_assert!(transition.decisions().iter().all(|decision| matches!(decision.what, "gap" | "withdrawn")));
            prop_assert!(transition.effects().iter().all(|effect| *effect == Effect::Close), "{:?}", transition.effects());
            closed += transition.effects().len();
        }
        prop_assert!(closed <= 1, "closed {closed} times");
        prop_assert_eq!(closed == 1, transitions.last().unwrap().after.is_closed);
    }

    /// Invariant (c): a stage is passed on enough outcomes, PASS of every gate, the whole bake time, and no silent device; a manual
    /// stage also requires an approval.
    #[test]
    fn nothing_is_promoted_without_evidence(scenario in any_scenario()) {
        let (mut evidence_at, mut gaps_ms, mut approved) = (None, 0, false);
        for transition in run(&scenario, false) {
            if transition.order == Some(Order::Approve) && transition.step.is_ok() {
                approved = true;
            }
            let passed = transition.decided("promoted").or(transition.decided("completed"));
            let Some(tally) = &transition.seen else {
                prop_assert!(passed.is_none(), "only an evaluation can promote");
                continue;
            };
            let stage_number = transition.before.stage;
            let stage = scenario.policy.stages[stage_number];
            let passed_ms = transition.at.since_ms(transition.before.evaluated_at);
            if evidence_at.is_some() && passed_ms > GAP_MS {
                gaps_ms += passed_ms;
            }
            if executed(stage_number, tally) >= stage.min_executed {
                evidence_at.get_or_insert(transition.at);
            }
            let Some(passed) = passed else { continue };
            prop_assert!(matches!(transition.before.status, Status::Running | Status::Waiting));
            prop_assert!(executed(stage_number, tally) >= stage.min_executed);
            let baked_ms = transition.at.since_ms(evidence_at.unwrap()).saturating_sub(gaps_ms);
            prop_assert!(baked_ms >= stage.bake_s * 1_000, "{baked_ms} of {} s", stage.bake_s);
            prop_assert!(stage.approval == Approval::Auto || approved);
            let lost = once_lost(tally);
            for (gate, tally) in scenario.policy.gates.iter().flat_map(|gate| [(gate, tally), (gate, &lost)]) {
                let said = verdicts(gate, stage_number, tally);
                prop_assert!(said.iter().any(|(_, verdict)| *verdict == Verdict::Pass), "{said:?}");
                prop_assert!(said.iter().all(|(_, verdict)| *verdict != Verdict::Fail), "{said:?}");
                let is_large = |devices: u32| devices >= gate.min_executed;
                prop_assert!(said.iter().all(|(devices, verdict)| !is_large(*devices) || *verdict == Verdict::Pass));
            }
            prop_assert_eq!(&passed.gates, &read_gates(&scenario.policy, stage_number, tally).unwrap(), "its numbers are kept");
            prop_assert_eq!(passed.stage, stage_number);
            if passed.what == "completed" {
                prop_assert_eq!(tally.count(|cell| cell.state.is_in_flight()), 0);
            }
            (evidence_at, gaps_ms, approved) = (None, 0, false);
        }
    }

    /// Invariant (c), the other way round: a stage with all of that is promoted in the same evaluation, or waits for an approval.
    #[test]
    fn silent_devices_change_nothing_where_they_need_not_be_counted(scenario in any_scenario()) {
        for transition in run(&scenario, false) {
            let Some(tally) = &transition.seen else { continue };
            if !suspects_matter(&scenario.policy, &transition.before, transition.at) {
                let with = |suspects| {
                    let tally = silent(suspects, tally.clone());
                    step(&scenario.policy, &transition.before, &Event::Evaluation(&tally), transition.at)
                };
                prop_assert_eq!(with(0), with(u32::MAX));
            }
        }
    }

    #[test]
    fn a_stage_with_all_its_evidence_is_promoted_immediately(scenario in any_scenario()) {
        for transition in run(&scenario, false) {
            let Transition { before, after, seen: Some(tally), .. } = &transition else { continue };
            let Some(evidence_at) = before.evidence_at else { continue };
            let stage = scenario.policy.stages[before.stage];
            let is_open = matches!(before.status, Status::Running | Status::Waiting);
            let is_last = before.stage + 1 == scenario.policy.stages.len();
            let passed_ms = transition.at.since_ms(before.evaluated_at);
            let gap_ms = if passed_ms > GAP_MS { passed_ms } else { 0 };
            let baked_ms = transition.at.since_ms(evidence_at).saturating_sub(before.unobserved_ms + gap_ms);
            let passes = scenario.policy.gates.iter().all(|gate| {
                verdicts(gate, before.stage, tally).iter().all(|(_, verdict)| *verdict == Verdict::Pass)
            });
            // Withdrawn devices may have left too few.
            let is_enough = executed(before.stage, tally) >= stage.min_executed;
            if is_open && !is_last && passes && is_enough && tally.suspects.is_empty() && baked_ms >= stage.bake_s * 1_000 {
                let failed = tally.count(|cell| cell.state.outcome().is_some_and(Outcome::is_failure));
                let is_approved = before.approved && failed <= before.failed_when_asked;
                if stage.approval == Approval::Auto || is_approved {
                    prop_assert!(transition.decided("promoted").is_some());
                } else {
                    prop_assert_eq!(after.status, Status::Waiting);
                }
            }
        }
    }

    /// Invariant (d): a server that is killed between any two events makes the same decisions as one that is not.
    #[test]
    fn a_restart_between_any_two_events_changes_nothing(scenario in any_scenario()) {
        let (whole, restarted) = (run(&scenario, false), run(&scenario, true));
        for (one, other) in whole.iter().zip(&restarted) {
            prop_assert_eq!(one, other);
        }
    }

    /// Invariant (e): a gap is time without observation, whatever the status: it is recorded, does not count as bake time, and
    /// silence counts from its end; without a gap none of that changes.
    #[test]
    fn a_gap_is_no_bake_time_and_excuses_silence(scenario in any_scenario()) {
        for transition in run(&scenario, false) {
            let Transition { before, after, .. } = &transition;
            let passed_ms = transition.at.since_ms(before.evaluated_at);
            let is_gap = transition.seen.is_some() && passed_ms > GAP_MS;
            prop_assert_eq!(transition.decided("gap").is_some(), is_gap);
            prop_assert_eq!(after.observing_since, if is_gap { transition.at } else { before.observing_since });
            if is_gap {
                prop_assert!(SITES.iter().all(|site| after.silence_counts_from(site) == transition.at));
            }
            if before.stage == after.stage {
                let lost_ms = if is_gap && before.evidence_at.is_some() { passed_ms } else { 0 };
                let is_completed = transition.decided("completed").is_some(); // its watch counts gaps anew
                prop_assert_eq!(after.unobserved_ms, if is_completed { 0 } else { before.unobserved_ms + lost_ms });
                prop_assert!(before.evidence_at.is_none() || after.evidence_at == before.evidence_at);
            } else {
                prop_assert_eq!((after.evidence_at, after.unobserved_ms, after.approved), (None, 0, false));
                prop_assert_eq!(after.stage_began_at, transition.at);
            }
        }
    }

    /// Invariant (f): a failed gate acts in the same evaluation, whatever the status of an open rollout; other gates do not act.
    #[test]
    fn a_failing_gate_acts_in_any_status(scenario in any_scenario()) {
        for transition in run(&scenario, false) {
            let Some(tally) = transition.seen.as_ref().filter(|_| !transition.before.status.is_over()) else { continue };
            let failing = failing(&scenario.policy, transition.before.stage, tally);
            if failing.is_empty() {
                prop_assert!(transition.decided("aborted").is_none());
                continue;
            }
            prop_assert_eq!((transition.offered, transition.after.stage), (0, transition.before.stage));
            prop_assert!(matches!(transition.after.status, Status::Paused | Status::Aborted));
            prop_assert!(!transition.effects().iter().any(|effect| matches!(effect, Effect::Offer(_))));
            if !failing.contains(&Action::Pause) {
                prop_assert_eq!(transition.after.status, Status::Aborted);
                prop_assert!(transition.effects().contains(&Effect::Halt));
            }
            let rolls_back = transition.effects().iter().any(|effect| matches!(effect, Effect::RollBack(_)));
            prop_assert!(!rolls_back || failing.contains(&Action::AbortAndRollBack));
        }
    }

    /// Invariant (i): the number of updates in flight and the number of starts in any minute stay within their limits.
    #[test]
    fn offers_respect_both_limits_in_every_scenario(scenario in any_scenario()) {
        let transitions = run(&scenario, false);
        for transition in &transitions {
            let Some(tally) = &transition.seen else { prop_assert_eq!(transition.offered, 0); continue };
            let in_flight = tally.count(|cell| cell.state.is_in_flight()) + transition.offered;
            prop_assert!(transition.offered == 0 || in_flight <= scenario.policy.in_flight_max, "{in_flight}");
            prop_assert!(transition.offered == 0 || matches!(transition.after.status, Status::Running | Status::Waiting));
        }
        for (first, begin) in transitions.iter().enumerate() {
            let within = transitions[first..].iter().take_while(|transition| transition.at.since_ms(begin.at) < MINUTE);
            let started: u32 = within.map(|transition| transition.offered).sum();
            prop_assert!(started <= scenario.policy.starts_per_min, "{started} within a minute of {:?}", begin.at);
        }
    }

    /// Invariant (k): the status and the release to roll back to decide whether an order is accepted; a refused one changes
    /// nothing.
    #[test]
    fn an_order_is_refused_unless_the_status_allows_it(scenario in any_scenario()) {
        use Status as S;
        let can_roll_back = scenario.policy.roll_back_to.is_some();
        for transition in run(&scenario, false) {
            let Some(order) = &transition.order else { continue };
            let status = transition.before.status;
            let fits = match order {
                Order::Pause => matches!(status, S::Running | S::Waiting),
                Order::Resume => status == S::Paused,
                Order::Approve => status == S::Waiting,
                Order::Abort { roll_back } => {
                    let is_watched = status == S::Completed && !transition.before.is_closed;
                    (!status.is_over() || is_watched) && (can_roll_back || !roll_back)
                }
            };
            prop_assert_eq!(transition.step.is_ok(), fits, "{:?} while {:?}", order, status);
            prop_assert!(!fits || transition.decisions().len() == 1, "every order is in the trace");
        }
    }

    /// Invariant (l): every decision has a revision of its own, one above the one before; an order for any other revision or
    /// stage is refused.
    #[test]
    fn an_order_is_about_the_revision_that_was_seen(scenario in any_scenario(), off_by in 1_u64..3) {
        let orders = [Order::Pause, Order::Resume, Order::Approve, Order::Abort { roll_back: false }];
        let mut revision = 1;
        for Transition { before, step: done, after, at, .. } in run(&scenario, false) {
            for decision in done.iter().flat_map(|step| &step.decisions) {
                revision += 1;
                prop_assert_eq!(decision.revision, revision);
            }
            prop_assert_eq!(after.revision, revision);
            let now = Observed::of(&before);
            let others = [
                Observed { revision: now.revision + off_by, ..now },
                Observed { revision: now.revision.wrapping_sub(off_by), ..now },
                Observed { stage: now.stage + 1, ..now },
            ];
            for order in &orders {
                for seen in others {
                    let stale = OperatorOrder { seen: Some(seen), ..about(&before, order) };
                    let refused = step(&scenario.policy, &before, &Event::Order(&stale), at);
                    prop_assert_eq!(refused, Err(InvalidTransition::Changed { order: order.as_str(), seen, now }));
                }
            }
        }
    }

    /// Invariant (m): all withdrawn devices are recorded in the trace, and count in no gate.
    #[test]
    fn withdrawn_devices_are_in_the_trace_and_in_no_gate(scenario in any_scenario()) {
        for transition in run(&scenario, false) {
            let Some(tally) = &transition.seen else { continue };
            let withdrawn = tally.count(|cell| cell.state == UpdateState::Withdrawn);
            prop_assert_eq!(transition.after.withdrawn, withdrawn);
            prop_assert_eq!(transition.decided("withdrawn").is_some(), withdrawn > transition.before.withdrawn);
            let stage = transition.before.stage;
            let others = tally.cells.iter().filter(|cell| cell.state != UpdateState::Withdrawn).cloned().collect();
            let without = Tally { cells: others, ..Tally::default() };
            prop_assert!(
                read_gates(&scenario.policy, stage, tally).unwrap().into_iter().filter(|reading| reading.judged.executed > 0).eq(
                    read_gates(&scenario.policy, stage, &without).unwrap().into_iter().filter(|reading| reading.judged.executed > 0)
                )
            );
        }
    }
}

// ---- Cases ---------------------------------------------------------------------------------------------------------

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

#[test]
fn a_stage_is_promoted_when_its_bake_time_is_over_and_not_a_millisecond_before() {
    let mut rollout = Rollout::new(small());
    assert_eq!(rollout.watch(0..=60, &seen(&[(UpdateState::Confirmed, 9)])), NO_DECISION);
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    assert_eq!(rollout.watch(120..=719, &good), NO_DECISION);
    assert_eq!(rollout.handle(&Event::Evaluation(&good), UnixMs(at(720).0 - 1)).unwrap().decisions, []);
    let promoted = rollout.evaluate(720, &good);
    assert_eq!(decisions_of(&promoted), ["promoted"]);
    let why = &promoted.decisions[0].why;
    assert!(why.contains("10 devices") && why.contains("600 s"), "{why}");
    assert_eq!((rollout.state.stage, rollout.state.share_bp(&rollout.policy)), (1, WHOLE_BP));
    assert_eq!(rollout.watch(721..=9_000, &good), NO_DECISION, "the outcomes of a stage promote no other");
}

#[test]
fn completion_alone_promotes_nothing() {
    let mut policy = small();
    policy.gates[0].test = Test::ClopperPearson { confidence_bp: 9_500 };
    let mut rollout = Rollout::new(policy);
    let all_done = seen(&[(UpdateState::Confirmed, 20)]);
    let readings = read_gates(&rollout.policy, 0, &all_done).unwrap();
    assert_eq!(readings[0].judged.verdict, Verdict::Inconclusive, "20 devices prove nothing about a tenth");
    assert_eq!(rollout.watch(0..=86_400, &all_done), NO_DECISION);
    assert_eq!((rollout.state.stage, rollout.state.status), (0, Status::Running));
    assert_eq!(rollout.watch(86_460..=86_460, &seen(&[(UpdateState::Confirmed, 40)])), [(86_460, "promoted")]);
}

#[test]
fn silent_devices_matter_once_the_bake_time_or_the_longest_time_is_over() {
    let policy = small();
    let mut state = State::new(at(0));
    let matters = |state: &State, seconds| suspects_matter(&policy, state, at(seconds));
    let (bake_s, longest_s) = (policy.stages[0].bake_s, policy.max_wait_s);
    assert!(bake_s > 0 && longest_s > 1 + bake_s);
    assert!(!matters(&state, longest_s - 1) && matters(&state, longest_s), "without evidence");
    state.evidence_at = Some(at(1));
    assert!(!matters(&state, bake_s) && matters(&state, 1 + bake_s), "with it");
}

#[test]
fn silent_devices_hold_a_promotion_that_would_not_be_if_they_were_lost() {
    let good = seen(&[(UpdateState::Confirmed, 12)]); // 10 % are tolerated: one of 12, not two
    let mut rollout = Rollout::new(small());
    rollout.watch(0..=540, &good);
    let promoted = rollout.evaluate(600, &silent(1, good.clone()));
    assert_eq!(decisions_of(&promoted), ["promoted"]);
    let why = &promoted.decisions[0].why;
    assert!(why.starts_with("every gate passes, even if 1 device that is silent is lost, 12 devices"), "{why}");
    let mut rollout = Rollout::new(small());
    let suspicious = silent(2, good);
    assert_eq!(rollout.watch(0..=7_200, &suspicious), NO_DECISION);
    assert_eq!(rollout.watch(7_260..=7_260, &Tally { suspects: Vec::new(), ..suspicious }), [(7_260, "promoted")]);
}

#[test]
fn devices_that_are_silent_while_they_install_hold_a_promotion_too() {
    let mut installing = seen(&[(UpdateState::Confirmed, 12), (UpdateState::Installing, 2)]);
    let mut rollout = Rollout::new(small());
    rollout.watch(0..=540, &installing);
    installing.suspects =
        installing.cells.iter().filter(|cell| cell.state == UpdateState::Installing).cloned().collect();
    assert_eq!(rollout.watch(600..=3_600, &installing), NO_DECISION, "two of 14 would be more than 10 %");
    installing.suspects.clear();
    assert_eq!(rollout.watch(3_660..=3_660, &installing), [(3_660, "promoted")], "both were heard again");
}

#[test]
fn an_overdue_last_stage_with_devices_still_updating_pauses() {
    let mut policy = small();
    policy.stages.remove(0);
    let longest_s = policy.max_wait_s;
    let mut rollout = Rollout::new(policy);
    let stuck = seen(&[(UpdateState::Confirmed, 30), (UpdateState::Installing, 1)]);
    assert_eq!(rollout.watch(0..=longest_s, &stuck), NO_DECISION);
    rollout.state.mark_offline(["north".to_owned()], at(longest_s));
    let paused = rollout.evaluate(longest_s + 60, &stuck);
    assert_eq!(decisions_of(&paused), ["paused"]);
    let why = format!(
        "the last stage is not complete after {} s: 1 device still updating, 1 site offline (north since {})",
        longest_s + 60,
        at(longest_s)
    );
    assert_eq!(paused.decisions[0].why, why);
}

#[test]
fn the_last_stage_waits_for_all_devices_and_then_completes_and_closes() {
    let mut policy = small();
    policy.stages.remove(0);
    let mut rollout = Rollout::new(policy);
    let one_left = |state| seen(&[(UpdateState::Confirmed, 30), (state, 1)]);
    assert_eq!(rollout.watch(0..=3_600, &one_left(UpdateState::Pending)), NO_DECISION);
    assert_eq!(rollout.watch(3_660..=7_200, &one_left(UpdateState::Confirming)), NO_DECISION);
    let done = one_left(UpdateState::Confirmed);
    assert_eq!(rollout.watch(7_260..=7_260, &done), [(7_260, "completed")]);
    assert_eq!(rollout.evaluate(7_290, &done).effects, [Effect::Close]);
    assert_eq!(rollout.evaluate(7_320, &done).effects, []);
}

#[test]
fn a_last_stage_that_never_reaches_a_device_completes_when_it_is_overdue_and_says_so() {
    let policy = Policy { max_wait_s: 7_200, stages: vec![stage(WHOLE_BP, 10, 600)], ..small() };
    let mut rollout = Rollout::new(policy);
    let one_away = seen(&[(UpdateState::Confirmed, 30), (UpdateState::Pending, 1)]);
    assert_eq!(rollout.watch(0..=7_200, &one_away), NO_DECISION);
    let completed = rollout.evaluate(7_201, &one_away);
    assert!(completed.decisions[0].why.contains("; 1 device never reached"), "{:?}", completed.decisions);
    assert_eq!((decisions_of(&completed), rollout.state.status), (vec!["completed"], Status::Completed));
}

#[test]
fn a_gap_is_no_bake_time_and_three_minutes_are_none() {
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    let gap_s = GAP_MS / 1_000;
    let mut rollout = Rollout::new(small());
    for second in [0, gap_s, 2 * gap_s, 3 * gap_s] {
        assert_eq!(decisions_of(&rollout.evaluate(second, &good)), Vec::<&str>::new(), "{second}");
    }
    assert_eq!(decisions_of(&rollout.evaluate(600, &good)), ["promoted"], "evaluations this far apart are not a gap");

    let mut rollout = Rollout::new(small());
    rollout.evaluate(0, &good);
    let gap = rollout.evaluate(10_000, &good);
    assert_eq!(decisions_of(&gap), ["gap"], "10,000 s without observation");
    assert!(gap.decisions[0].why.contains("10000 s"), "{:?}", gap.decisions);
    assert_eq!(rollout.state.silence_counts_from("north"), at(10_000));
    assert_eq!(rollout.watch(10_060..=10_599, &good), NO_DECISION);
    assert_eq!(decisions_of(&rollout.evaluate(10_600, &good)), ["promoted"]);
}

#[test]
fn silence_of_a_dark_site_counts_from_the_later_of_its_end_and_the_gap() {
    let mut rollout = Rollout::new(small());
    rollout.state.dark_until.insert("north".to_owned(), at(100));
    let from = |rollout: &Rollout| ["north", "south"].map(|site| rollout.state.silence_counts_from(site));
    assert_eq!(from(&rollout), [at(100), BEGIN]);
    rollout.evaluate(5_000, &Tally::default());
    assert_eq!(from(&rollout), [at(5_000); 2]);
    rollout.state.dark_until.insert("north".to_owned(), at(6_000));
    assert_eq!(from(&rollout), [at(6_000), at(5_000)]);
}

#[test]
fn gates_act_while_it_is_paused_or_waits() {
    let bad = seen(&[(UpdateState::Confirmed, 10), (UpdateState::Lost, 3)]);
    let mut paused = Rollout::new(small());
    paused.order(0, &Order::Pause).unwrap();
    assert_eq!(paused.watch(0..=600, &Tally::default()), NO_DECISION);
    let mut waiting = Rollout::new(manual());
    assert_eq!(waiting.watch(0..=600, &seen(&[(UpdateState::Confirmed, 10)])), [(600, "waiting")]);
    for rollout in [&mut paused, &mut waiting] {
        let aborted = rollout.evaluate(660, &bad);
        assert_eq!(aborted.effects, [Effect::Halt]);
        let [decision] = aborted.decisions.as_slice() else { panic!("{:?}", aborted.decisions) };
        assert_eq!((decision.what, decision.gates[0].judged.failed), ("aborted", 3));
        assert!(decision.why.contains("3 of 13") && decision.why.contains("10.00 %"), "{}", decision.why);
        assert_eq!(rollout.state.status, Status::Aborted);
    }
}

#[test]
fn an_aborted_rollout_is_watched_until_nothing_is_in_flight() {
    let mut rollout = Rollout::new(small());
    assert_eq!(rollout.order(0, &Order::Abort { roll_back: false }).unwrap().effects, [Effect::Halt]);
    let in_flight = seen(&[(UpdateState::Installing, 1), (UpdateState::Halted, 9)]);
    assert_eq!(rollout.evaluate(60, &in_flight).effects, []);
    assert_eq!(rollout.evaluate(120, &seen(&[(UpdateState::Confirmed, 1)])).effects, [Effect::Close]);
    assert_eq!(rollout.evaluate(180, &seen(&[(UpdateState::Confirmed, 1)])).effects, []);
}

#[test]
fn a_roll_back_hands_over_the_devices_immediately() {
    let mut policy = Policy { roll_back_to: Some("fw-back".parse().unwrap()), ..small() };
    policy.gates[0].action = Action::AbortAndRollBack;
    let back = [Effect::Halt, Effect::Close, Effect::RollBack("fw-back".parse().unwrap())];
    let bad = seen(&[(UpdateState::Confirmed, 8), (UpdateState::RolledBack, 5), (UpdateState::Installing, 2)]);
    let mut by_gate = Rollout::new(policy.clone());
    assert_eq!(by_gate.evaluate(60, &bad).effects, back);
    let mut by_order = Rollout::new(policy.clone());
    assert_eq!(by_order.order(60, &Order::Abort { roll_back: true }).unwrap().effects, back);
    for rollout in [&mut by_gate, &mut by_order] {
        assert!(rollout.state.is_closed);
        assert_eq!(rollout.evaluate(120, &bad).effects, [], "closed once");
    }
    let mut without = Rollout::new(policy);
    assert_eq!(without.order(60, &Order::Abort { roll_back: false }).unwrap().effects, [Effect::Halt]);
}

#[test]
fn a_manual_stage_waits_for_a_person_and_goes_on_when_one_approves() {
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    let mut rollout = Rollout::new(manual());
    assert_eq!(rollout.watch(0..=3_600, &good), [(600, "waiting")], "recorded once");
    assert_eq!((rollout.state.status, rollout.state.stage), (Status::Waiting, 0));
    let approved = rollout.order(3_601, &Order::Approve).unwrap();
    assert_eq!(
        (decisions_of(&approved), rollout.state.status, rollout.state.stage),
        (vec!["approved"], Status::Running, 0)
    );
    assert_eq!(rollout.watch(3_602..=3_602, &good), [(3_602, "promoted")]);
    assert!(!rollout.state.approved, "an approval is for one stage");
}

#[test]
fn an_approval_does_not_replace_evidence() {
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    let mut early = Rollout::new(manual());
    let refused = early.order(0, &Order::Approve).unwrap_err().to_string();
    assert!(refused.contains("RUNNING") && refused.contains("expected WAITING"), "{refused}");
    assert_eq!(early.watch(0..=660, &good), [(600, "waiting")], "a stage without evidence can't be approved");

    let mut late = Rollout::new(manual());
    late.watch(0..=600, &good);
    late.order(601, &Order::Approve).unwrap();
    let suspicious = silent(u32::MAX, good.clone());
    assert_eq!(late.watch(610..=1_200, &suspicious), NO_DECISION, "what passed at the request no longer does");
    assert_eq!(late.watch(1_260..=1_260, &good), [(1_260, "promoted")]);
}

#[test]
fn an_approval_covers_only_what_was_seen() {
    let with = |lost| seen(&[(UpdateState::Confirmed, 40), (UpdateState::Lost, lost)]);
    let mut rollout = Rollout::new(manual());
    assert_eq!(rollout.watch(0..=600, &with(1)), [(600, "waiting")]);
    let with_one_failure = about(&rollout.state, &Order::Approve);
    let asked_again = rollout.evaluate(660, &with(2));
    assert_eq!(decisions_of(&asked_again), ["waiting"]);
    assert!(asked_again.decisions[0].why.starts_with("1 more device failed since; "), "{asked_again:?}");
    assert!(
        rollout.handle(&Event::Order(&with_one_failure), at(661)).is_err(),
        "it is about one failure, and there are two"
    );
    rollout.order(662, &Order::Approve).unwrap();
    assert_eq!(rollout.watch(720..=720, &with(3)), [(720, "waiting")], "one more failed after the approval");
    assert_eq!((rollout.state.status, rollout.state.approved), (Status::Waiting, false));
    rollout.order(721, &Order::Approve).unwrap();
    assert_eq!(rollout.watch(780..=780, &with(3)), [(780, "promoted")]);
}

#[test]
fn a_stage_that_loses_its_evidence_no_longer_waits_for_approval() {
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    let fewer = seen(&[(UpdateState::Confirmed, 9), (UpdateState::Withdrawn, 1)]);
    let mut rollout = Rollout::new(manual());
    rollout.watch(0..=600, &good);
    assert_eq!(rollout.watch(660..=660, &fewer), [(660, "withdrawn"), (660, "lapsed")]);
    assert_eq!(rollout.state.status, Status::Running);
    assert!(rollout.order(661, &Order::Approve).is_err());
    let mut approved = Rollout::new(manual());
    approved.watch(0..=600, &good);
    approved.order(601, &Order::Approve).unwrap();
    assert_eq!(approved.watch(660..=660, &fewer), [(660, "withdrawn"), (660, "lapsed")]);
    let enough = seen(&[(UpdateState::Confirmed, 10), (UpdateState::Withdrawn, 1)]);
    assert_eq!(approved.watch(720..=720, &enough), [(720, "waiting")], "it is asked again");
}

#[test]
fn time_waiting_for_approval_does_not_count_for_the_stage() {
    let mut rollout = Rollout::new(Policy { max_wait_s: 3_600, ..manual() });
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    let silent = silent(u32::MAX, good.clone());
    assert_eq!(rollout.watch(0..=600, &good), [(600, "waiting")]);
    assert_eq!(rollout.watch(660..=9_000, &silent), NO_DECISION, "overdue by far, and waiting for a person");
    rollout.order(9_001, &Order::Approve).unwrap();
    assert_eq!(rollout.watch(9_060..=9_120, &silent), NO_DECISION);
    assert_eq!(rollout.watch(9_180..=9_180, &good), [(9_180, "promoted")]);
}

#[test]
fn a_group_that_loses_devices_does_not_become_too_small_to_hold_a_stage() {
    let mut policy = Policy { gates: vec![gate(Scope::Model, Action::Abort)], ..small() };
    policy.gates[0].test = Test::ClopperPearson { confidence_bp: 9_500 };
    policy.gates[0].min_executed = 29;
    let with = |executed: u32, withdrawn: u32| {
        let other = (MODELS[1], "north");
        let cells = vec![
            cell(0, (MODELS[0], "north"), UpdateState::Confirmed, 60),
            cell(0, other, UpdateState::Confirmed, executed - 2),
            cell(0, other, UpdateState::Lost, 2),
            cell(0, other, UpdateState::Withdrawn, withdrawn),
        ];
        Tally { cells, ..Tally::default() }
    };
    let mut rollout = Rollout::new(policy);
    assert_eq!(rollout.watch(0..=1_200, &with(30, 0)), NO_DECISION, "2 of 30 prove nothing");
    assert_eq!(rollout.watch(1_260..=3_000, &with(24, 6)), [(1_260, "withdrawn")]);
}

#[test]
fn an_overdue_stage_pauses_and_a_resume_restarts_its_time() {
    let mut rollout = Rollout::new(Policy { max_wait_s: 3_600, ..small() });
    let few = seen(&[(UpdateState::Confirmed, 9), (UpdateState::Pending, 1)]);
    assert_eq!(rollout.watch(0..=3_600, &few), NO_DECISION);
    let paused = rollout.evaluate(3_601, &few);
    assert_eq!((decisions_of(&paused), paused.effects.as_slice()), (vec!["paused"], [].as_slice()));
    assert!(paused.decisions[0].why.contains("not decided after 3601 s"), "{:?}", paused.decisions);
    assert_eq!(rollout.watch(3_660..=9_000, &few), NO_DECISION, "recorded once");
    assert_eq!(decisions_of(&rollout.order(9_001, &Order::Resume).unwrap()), ["resumed"]);
    assert_eq!(rollout.watch(9_060..=12_600, &few), NO_DECISION, "it has its time again");
    assert_eq!(rollout.watch(12_660..=12_720, &few), [(12_660, "paused")]);
}

#[test]
fn offers_respect_starts_per_min_and_in_flight_max() {
    let mut rollout = Rollout::new(Policy { starts_per_min: 60, in_flight_max: 100, ..small() });
    let fleet = |in_flight| seen(&[(UpdateState::Pending, 500), (UpdateState::Downloading, in_flight)]);
    assert_eq!(rollout.evaluate(0, &fleet(0)).effects, [Effect::Offer(60)], "all that a minute may see");
    rollout.state.offered(50);
    assert_eq!(rollout.evaluate(10, &fleet(50)).effects, [Effect::Offer(10)], "what was not offered is still there");
    rollout.state.offered(10);
    assert_eq!(rollout.evaluate(59, &fleet(60)).effects, [], "the minute is not over");
    assert_eq!(
        rollout.evaluate(60, &fleet(60)).effects,
        [Effect::Offer(40)],
        "50 may start, and in_flight_max leaves 40"
    );
    rollout.state.offered(40);
    assert_eq!(rollout.evaluate(130, &fleet(100)).effects, [], "in_flight_max is reached");
    assert_eq!(rollout.evaluate(100_000, &fleet(0)).effects, [Effect::Offer(60)], "a gap earns nothing");
    let waiting = seen(&[(UpdateState::Pending, 3)]);
    assert_eq!(rollout.evaluate(100_001, &waiting).effects, [Effect::Offer(3)], "only as many as there are");
    let later = Tally { cells: vec![cell(1, (MODELS[0], SITES[0]), UpdateState::Pending, 9)], ..Tally::default() };
    assert_eq!(rollout.evaluate(100_002, &later).effects, [], "the next stage's turn has not come");
}

#[test]
fn nothing_is_offered_while_it_is_paused() {
    let mut rollout = Rollout::new(Policy { starts_per_min: 60, ..small() });
    let waiting = seen(&[(UpdateState::Pending, 500)]);
    rollout.evaluate(0, &waiting);
    rollout.state.offered(60);
    rollout.order(1, &Order::Pause).unwrap();
    for second in [60, 120] {
        assert_eq!(rollout.evaluate(second, &waiting).effects, []);
    }
    rollout.order(121, &Order::Resume).unwrap();
    assert_eq!(rollout.evaluate(122, &waiting).effects, [Effect::Offer(60)]);
}

#[test]
fn a_clock_that_goes_back_adds_no_offers_and_no_bake_time() {
    let mut rollout = Rollout::new(small());
    let good = seen(&[(UpdateState::Confirmed, 10), (UpdateState::Pending, 500)]);
    rollout.evaluate(500, &good);
    rollout.state.offered(200);
    let back = rollout.evaluate(100, &good);
    assert_eq!((back.effects.as_slice(), decisions_of(&back).as_slice()), ([].as_slice(), ["gap"].as_slice()));
    assert_eq!(rollout.watch(120..=699, &good), NO_DECISION);
    assert_eq!(rollout.watch(700..=700, &good), [(700, "promoted")], "watched for the bake time since");
}

#[test]
fn a_small_step_back_changes_nothing() {
    let mut rollout = Rollout::new(small());
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    rollout.evaluate(60, &good);
    let before = rollout.state.clone();
    assert_eq!((decisions_of(&rollout.evaluate(30, &good)).len(), &rollout.state), (0, &before));
}

/// The clock ten days ahead for some minutes, and right again; the server may be down when it is set.
#[test]
fn a_clock_that_was_ahead_adds_no_bake_time_and_does_not_block() {
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    let ten_days = 10 * 24 * 3_600;
    for evidence_while_ahead in [false, true] {
        let mut rollout = Rollout::new(small());
        let at_first = if evidence_while_ahead { seen(&[(UpdateState::Confirmed, 9)]) } else { good.clone() };
        assert_eq!(rollout.watch(0..=120, &at_first), NO_DECISION);
        let ahead = rollout.watch(ten_days + 180..=ten_days + 300, &good);
        assert_eq!(ahead, [(ten_days + 180, "gap")], "ten days without observation");
        assert_eq!(rollout.watch(360..=959, &good), [(360, "gap")]);
        assert_eq!(rollout.watch(960..=960, &good), [(960, "promoted")]);
    }
}

#[test]
fn a_clock_that_was_behind_adds_no_bake_time() {
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    let ten_days = 10 * 24 * 3_600;
    let mut rollout = Rollout::new(small());
    rollout.state = State::new(at(ten_days));
    assert_eq!(rollout.watch(ten_days..=ten_days + 120, &good), NO_DECISION);
    assert_eq!(rollout.watch(180..=300, &good), [(180, "gap")]);
    let right = ten_days + 360;
    assert_eq!(rollout.watch(right..=right + 420, &good), [(right, "gap")], "only what was watched counts");
    assert_eq!(rollout.watch(right + 480..=right + 480, &good), [(right + 480, "promoted")]);
}

/// A fleet in which the second model, at the south, fails; the cumulative share stays low.
fn one_model_breaks(failed: u32) -> Tally {
    let (old, new) = ((MODELS[0], "north"), (MODELS[1], "south"));
    let cells = vec![
        cell(0, old, UpdateState::Confirmed, 180),
        cell(0, (MODELS[1], "north"), UpdateState::Confirmed, 20),
        cell(0, new, UpdateState::Confirmed, 20 - failed),
        cell(0, new, UpdateState::FalseSuccess, failed),
    ];
    Tally { cells, ..Tally::default() }
}

#[test]
fn a_gate_by_model_or_stratum_catches_what_breaks_one_kind() {
    let with =
        |scope| Policy { gates: vec![gate(Scope::Cumulative, Action::Abort), gate(scope, Action::Pause)], ..small() };
    let mut cumulative = Rollout::new(small());
    assert_eq!(cumulative.watch(0..=600, &one_model_breaks(6)), [(600, "promoted")], "6 of 220 are fine");
    for (scope, of, failed) in
        [(Scope::Model, "KS-200", 6), (Scope::Stratum, "KS-200 at south", 3), (Scope::Site, "south", 3)]
    {
        let mut rollout = Rollout::new(with(scope));
        let paused = rollout.evaluate(60, &one_model_breaks(failed));
        assert_eq!(decisions_of(&paused), ["paused"], "{scope:?}");
        let Decision { why, gates, .. } = &paused.decisions[0];
        assert!(why.starts_with(&format!("gate 2 of {of}: {failed} of")), "{why}");
        assert_eq!(gates[0].judged.verdict, Verdict::Pass, "the cumulative gate still passes");
        let is_fail = |reading: &&super::reading::GateReading| reading.judged.verdict == Verdict::Fail;
        assert_eq!(gates.iter().filter(is_fail).count(), 1);
    }
    let mut by_model = Rollout::new(with(Scope::Model));
    assert_eq!(by_model.watch(0..=600, &one_model_breaks(3)), [(600, "promoted")], "3 of 40 are a model's fine share");
}

#[test]
fn a_stage_gate_sees_the_stage_only() {
    let policy = Policy { gates: vec![gate(Scope::Stage, Action::Abort)], ..small() };
    let mut rollout = Rollout::new(policy.clone());
    rollout.state.stage = 1;
    let kind = (MODELS[0], SITES[0]);
    let cells = |failed| {
        vec![
            cell(0, kind, UpdateState::Confirmed, 500),
            cell(1, kind, UpdateState::Confirmed, 10),
            cell(1, kind, UpdateState::Failed, failed),
        ]
    };
    let read = |failed| read_gates(&policy, 1, &Tally { cells: cells(failed), ..Tally::default() }).unwrap().remove(0);
    assert_eq!((read(1).of.as_str(), read(1).judged.verdict), ("stage 2", Verdict::Pass));
    assert_eq!((read(2).judged.executed, read(2).judged.verdict), (12, Verdict::Fail));
}

#[test]
fn a_group_too_small_to_judge_can_only_fail() {
    let policy = Policy { gates: vec![gate(Scope::Model, Action::Abort)], ..small() };
    let with = |of_small: &[(UpdateState, u32)]| {
        let mut cells = vec![cell(0, (MODELS[0], "north"), UpdateState::Confirmed, 50)];
        cells.extend(of_small.iter().map(|(state, count)| cell(0, (MODELS[1], "north"), *state, *count)));
        Tally { cells, ..Tally::default() }
    };
    let watch = |tally: &Tally| Rollout::new(policy.clone()).watch(0..=600, tally);
    let (confirmed, failed, waiting) = (UpdateState::Confirmed, UpdateState::Failed, UpdateState::Pending);
    assert_eq!(watch(&with(&[(confirmed, 9)])), [(600, "promoted")], "9 can't be judged, and do not hold up the stage");
    assert_eq!(watch(&with(&[(waiting, 9)])), [(600, "promoted")]);
    assert_eq!(watch(&with(&[(confirmed, 8), (failed, 1)])), [(600, "promoted")], "one failure of ten would be fine");
    assert_eq!(watch(&with(&[(confirmed, 7), (failed, 2)])), [(0, "aborted")], "two are too many even of ten");
    assert_eq!(
        watch(&with(&[(confirmed, 9), (waiting, 1)])),
        NO_DECISION,
        "10 will prove something: it waits for them"
    );
    let small_only = Tally { cells: with(&[(confirmed, 9)]).cells.split_off(1), ..Tally::default() };
    let policy = Policy { stages: vec![stage(5_000, 5, 600), stage(WHOLE_BP, 5, 600)], ..policy.clone() };
    assert_eq!(Rollout::new(policy).watch(0..=7_200, &small_only), NO_DECISION, "one group must have proven something");
}

#[test]
fn only_the_outcomes_that_a_gate_names_count() {
    let mut policy = small();
    policy.gates[0].outcomes = vec![Outcome::Lost];
    let mut rollout = Rollout::new(policy);
    let others = seen(&[(UpdateState::Confirmed, 1), (UpdateState::TimedOut, 20), (UpdateState::Halted, 9)]);
    assert_eq!(rollout.watch(0..=60, &others), NO_DECISION);
    let lost = seen(&[(UpdateState::Confirmed, 10), (UpdateState::Lost, 2)]);
    assert_eq!(rollout.watch(120..=120, &lost), [(120, "aborted")]);
}

#[test]
fn an_invalid_order_is_refused_with_the_reason() {
    use Status as S;
    let orders = [Order::Pause, Order::Resume, Order::Approve, Order::Abort { roll_back: false }];
    for (status, fitting) in [
        (S::Running, [true, false, false, true]),
        (S::Waiting, [true, false, true, true]),
        (S::Paused, [false, true, false, true]),
        (S::Aborted, [false; 4]),
        (S::Completed, [false, false, false, true]), // as long as it is not closed
    ] {
        for (order, fits) in orders.iter().zip(fitting) {
            let mut rollout = Rollout::new(small());
            rollout.state.status = status;
            let done = rollout.order(60, order);
            assert_eq!(done.is_ok(), fits, "{order:?} while {status:?}");
            if let Err(refused) = done {
                let expected = format!("the rollout is {}: order to {} refused", status.as_str(), order.as_str());
                assert!(refused.to_string().starts_with(&expected), "{refused}");
            }
        }
    }
}

#[test]
fn a_second_approval_is_not_for_the_next_stage() {
    let mut policy = manual();
    policy.stages[1].approval = Approval::Manual;
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    let mut rollout = Rollout::new(policy);
    rollout.watch(0..=600, &good);
    let clicked = about(&rollout.state, &Order::Approve);
    rollout.handle(&Event::Order(&clicked), at(601)).unwrap();
    assert!(rollout.order(602, &Order::Approve).is_err(), "approved already, and not promoted yet");
    assert_eq!(rollout.watch(603..=603, &good), [(603, "promoted")]);
    let twice = rollout.handle(&Event::Order(&clicked), at(604)).unwrap_err().to_string();
    assert_eq!(
        twice,
        "the order to approve is for stage 1 at revision 2, but the rollout is in stage 2 at revision 4: check it again"
    );
    assert!(rollout.order(605, &Order::Approve).is_err(), "stage 2 has no outcome yet");
    assert!(!rollout.state.approved);
}

#[test]
fn only_orders_that_advance_the_release_require_a_revision() {
    for (order, fits) in [(Order::Pause, true), (Order::Abort { roll_back: false }, true), (Order::Approve, false)] {
        let mut rollout = Rollout::new(manual());
        rollout.watch(0..=600, &seen(&[(UpdateState::Confirmed, 10)]));
        let unseen = OperatorOrder { seen: None, ..about(&rollout.state, &order) };
        assert_eq!(rollout.handle(&Event::Order(&unseen), at(601)).is_ok(), fits, "{order:?}");
    }
}

#[test]
fn withdrawn_devices_are_neither_failures_nor_evidence() {
    let with = |withdrawn| seen(&[(UpdateState::Confirmed, 9), (UpdateState::Withdrawn, withdrawn)]);
    let mut rollout = Rollout::new(small());
    assert_eq!(rollout.evaluate(0, &with(0)).decisions, []);
    let taken_out = rollout.evaluate(60, &with(3));
    let why = "3 devices were revoked or re-provisioned before a failure was known; no gate counts 3 of this rollout";
    assert_eq!((decisions_of(&taken_out), taken_out.decisions[0].why.as_str()), (vec!["withdrawn"], why));
    assert_eq!(rollout.watch(120..=7_200, &with(3)), NO_DECISION, "9 outcomes are not 10");
    assert_eq!(rollout.watch(7_260..=7_260, &with(4)), [(7_260, "withdrawn")], "once for each that is new");
    let mut policy = small();
    policy.gates[0].min_executed = 5;
    let mut baked = Rollout::new(policy);
    assert_eq!(baked.watch(0..=540, &seen(&[(UpdateState::Confirmed, 10)])), NO_DECISION);
    let fewer = seen(&[(UpdateState::Confirmed, 9), (UpdateState::Withdrawn, 1)]);
    assert_eq!(baked.watch(600..=1_200, &fewer), [(600, "withdrawn")], "the stage has lost its evidence");
    let replaced = seen(&[(UpdateState::Confirmed, 8), (UpdateState::Lost, 2), (UpdateState::Withdrawn, 4)]);
    assert_eq!(rollout.watch(7_320..=7_320, &replaced), [(7_320, "aborted")], "a failure that was known stays one");
}

/// The policy's doc: "The most updates started within a minute."
#[test]
fn at_most_starts_per_min_begin_within_any_minute() {
    let mut rollout = Rollout::new(Policy { starts_per_min: 200, in_flight_max: 10_000, ..small() });
    let waiting = seen(&[(UpdateState::Pending, 10_000)]);
    let mut started = 0;
    for second in [0, 30, 59] {
        for effect in rollout.evaluate(second, &waiting).effects {
            let Effect::Offer(count) = effect else { panic!("{effect:?}") };
            rollout.state.offered(count);
            started += count;
        }
    }
    assert!(started <= 200, "{started} within 59 s");
}

/// A pause of one gate must not keep another from aborting.
#[test]
fn a_gate_that_aborts_is_not_shadowed_by_one_that_pauses() {
    let strict = Gate { threshold_bp: 5_000, ..gate(Scope::Cumulative, Action::Abort) };
    let policy = Policy { gates: vec![gate(Scope::Cumulative, Action::Pause), strict], ..small() };
    let mut rollout = Rollout::new(policy);
    assert_eq!(rollout.watch(0..=60, &seen(&[(UpdateState::Confirmed, 8), (UpdateState::Lost, 2)])), [(0, "paused")]);
    let disaster = seen(&[(UpdateState::Confirmed, 2), (UpdateState::Lost, 98)]);
    assert_eq!(rollout.watch(120..=240, &disaster), [(120, "aborted")]);
    assert_eq!(rollout.state.status, Status::Aborted);
}

/// A rollout that waits for an approval does not pause for being overdue.
#[test]
fn an_unapproved_stage_keeps_waiting() {
    let mut rollout = Rollout::new(Policy { max_wait_s: 3_600, ..manual() });
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    assert_eq!(rollout.watch(0..=7_200, &good), [(600, "waiting")]);
}
