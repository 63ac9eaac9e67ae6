//! The power of gates before they are used: the chance that they let bad firmware through, and how many clean devices a PASS
//! requires.

use std::collections::{BTreeMap, BTreeSet};

use ks_protocol::text::{counted, plural};

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    gate::{EXECUTED_MAX, Test, Verdict, verdict},
    policy::{Gate, Policy, Scope, WHOLE_BP},
    stage::{PlannedStage, cumulative},
    walk::{Order, Walk, first},
};

/// Bug rates that a power table shows, in basis points.
pub const BUG_RATES_BP: [u16; 6] = [10, 50, 100, 200, 500, 1_000];

/// The most groups of a gate that are shown, the weakest first.
const GROUPS_MAX: usize = 20;
/// The most work for the power of a policy, in units of [`Walk::work`]: a few seconds.
const WORK_MAX: u64 = 24_000_000_000;
/// Work between two yields to other tasks, in the same units: a few milliseconds.
const PIECE_WORK: u64 = 20_000_000;
/// Confidence of the proof that a raw gate is compared with, in basis points.
const PROOF_BP: u16 = 9_500;
/// The sentence is about firmware this many times as bad as the threshold, as far as the table has it.
const BAD_TIMES: u16 = 4;

/// The chance to get through, by the order in which outcomes arrive; in basis points, rounded to nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Through {
    /// Failures arrive before the confirmations of up to `in_flight_max` devices that were offered the release at the same time,
    /// and are judged one by one: the worst order. Failed installations arrive like this.
    pub at_least_bp: u16,
    /// Failures are spread randomly among confirmations, and gates are judged after every outcome.
    pub mixed_bp: u16,
    /// Failures arrive last, or gates are judged only at each stage's end: the best order. Lost devices arrive like this.
    pub at_most_bp: u16,
}

/// The chance that a gate lets firmware through that breaks a share of the devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PowerRow {
    /// Share of devices that the firmware breaks, in basis points.
    pub bug_bp: u16,
    /// Chance that it gets through the first stage, the first two and so on; through the last means to the whole fleet.
    pub stages: Vec<Through>,
}

/// The power of a gate against a bug that only one group of devices has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GroupPower {
    /// The group: a model, a site, or both.
    pub of: String,
    /// Devices of the group that have the release by the end of each stage.
    pub devices: Vec<u32>,
    /// By rate of the bug among the devices of the group.
    pub rows: Vec<PowerRow>,
}

/// What a gate can prove. At most 100,000 devices are followed: of a larger group the chances are those of its first 100,000.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GatePower {
    /// Number of the gate, from 0.
    pub gate: usize,
    /// Devices that it is judged with in the first stage; of its largest group.
    pub executed: u32,
    /// By rate of a bug that all devices have alike, from the lowest; the highest are left out where they would take too long.
    pub rows: Vec<PowerRow>,
    /// For a gate by model, site or stratum: a bug that only one group has. The weakest come first, at most 20.
    pub groups: Vec<GroupPower>,
    /// Groups beyond those.
    pub groups_left_out: usize,
    /// Clean devices that the gate requires to pass; none if no number suffices.
    pub clean_needed: Option<u32>,
    /// The same in a sentence.
    pub sentence: String,
}

/// The chance to get through all gates together: bounds, because gates judge the same devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Bounds {
    /// The product of the chances of each scope, in the worst order: firmware that one gate lets through is not more likely to be
    /// stopped by another.
    pub at_least_bp: u16,
    /// The least chance among the scopes, in the best order.
    pub at_most_bp: u16,
}

/// The chance that all gates together let firmware through that breaks a share of all devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TogetherRow {
    /// Share of devices that the firmware breaks, in basis points.
    pub bug_bp: u16,
    /// Chance that it gets through the first stage, the first two and so on.
    pub stages: Vec<Bounds>,
}

/// Chances in the worst order, a mixed and the best one; by stage, by rate.
type Table = Vec<Vec<[f64; 3]>>;

/// What each gate of a policy can prove, and all of them together. It yields to other tasks every few milliseconds, and takes at
/// most a few seconds: a table that would take longer leaves out its highest rates.
pub async fn powers(policy: &Policy, stages: &[PlannedStage]) -> (Vec<GatePower>, Vec<TogetherRow>) {
    powers_within(WORK_MAX, policy, stages).await
}

async fn powers_within(work_max: u64, policy: &Policy, stages: &[PlannedStage]) -> (Vec<GatePower>, Vec<TogetherRow>) {
    // Gates of one scope judge the same devices in the same order: following them together is exact.
    let mut scopes: BTreeMap<Scope, Vec<usize>> = BTreeMap::new();
    for (number, gate) in policy.gates.iter().enumerate() {
        scopes.entry(gate.scope).or_default().push(number);
    }
    let several = scopes.values().filter(|gates| gates.len() > 1).count();
    let tables = u64::try_from(policy.gates.len() + several).unwrap_or(u64::MAX);
    let mut pace = WorkBudget { table_max: work_max / tables.max(1), since_yield: 0 };
    let mut of_gates = Vec::with_capacity(policy.gates.len());
    for gate in &policy.gates {
        of_gates.push(Scoped::new(gate.scope, &[gate], stages, policy.in_flight_max, &mut pace).await);
    }
    let mut of_scopes: Vec<Table> = Vec::with_capacity(scopes.len());
    for (scope, numbers) in scopes {
        of_scopes.push(match numbers.as_slice() {
            [alone] => of_gates.get(*alone).map_or_else(Table::new, |of| of.all.clone()),
            several => {
                let gates: Vec<&Gate> = several.iter().filter_map(|number| policy.gates.get(*number)).collect();
                Scoped::new(scope, &gates, stages, policy.in_flight_max, &mut pace).await.all
            }
        });
    }
    let together = together(&of_scopes, stages.len());
    let gates = policy.gates.iter().zip(of_gates).enumerate();
    (gates.map(|(number, (gate, of_gate))| gate_power(number, gate, of_gate, stages)).collect(), together)
}

/// The limit of a computation's work, and the work since it last yielded; in units of [`Walk::work`].
struct WorkBudget {
    table_max: u64,
    since_yield: u64,
}

impl WorkBudget {
    /// Accounts for work about to be done; yields when it is due.
    async fn before(&mut self, work: u64) {
        self.since_yield = self.since_yield.saturating_add(work);
        if self.since_yield >= PIECE_WORK {
            self.since_yield = 0;
            tokio::task::yield_now().await;
        }
    }
}

fn together(of_scopes: &[Table], stages: usize) -> Vec<TogetherRow> {
    let bounds = |rate: usize, stage: usize| {
        let of_each = of_scopes.iter().filter_map(|table| table.get(rate)?.get(stage));
        let (at_least, at_most) =
            of_each.fold((1.0, 1.0_f64), |(product, least), [worst, _, best]| (product * worst, least.min(*best)));
        Bounds { at_least_bp: bp(at_least), at_most_bp: bp(at_most) }
    };
    let row = |(rate, bug_bp)| TogetherRow { bug_bp, stages: (0..stages).map(|stage| bounds(rate, stage)).collect() };
    // A bound needs the rates of every scope.
    let rates = of_scopes.iter().map(Vec::len).min().unwrap_or(0);
    BUG_RATES_BP.into_iter().take(rates).enumerate().map(row).collect()
}

/// Gates of one scope.
struct Scoped {
    /// A bug that all devices have alike.
    all: Table,
    /// The groups, and how many devices each stage adds to them. None where all devices are one group.
    groups: Vec<(String, Vec<u32>)>,
    /// A bug that one group alone has, by the devices that each stage adds to it.
    alone: BTreeMap<Vec<u32>, Table>,
}

impl Scoped {
    async fn new(
        scope: Scope,
        gates: &[&Gate],
        stages: &[PlannedStage],
        in_flight_max: u32,
        pace: &mut WorkBudget,
    ) -> Self {
        let mut groups: Vec<(String, Vec<u32>)> = if scope == Scope::Stage {
            // Each stage is a group of its own, to be passed after those before it.
            stages.iter().map(|stage| (String::new(), vec![stage.adds])).collect()
        } else {
            groups(scope, stages).into_iter().collect()
        };
        let mut walk = Walk::new(gates);
        let alike: BTreeSet<&Vec<u32>> = groups.iter().map(|(_, added)| added).collect();
        let rates = walk.affordable(&alike, &BUG_RATES_BP, pace.table_max);
        let mut alone: BTreeMap<Vec<u32>, Table> = BTreeMap::new();
        let mut all: Option<Table> = None;
        for (_, added) in &groups {
            if !alone.contains_key(added) {
                alone.insert(added.clone(), table(&mut walk, added, rates, in_flight_max, pace).await);
            }
            let Some(of) = alone.get(added) else { continue }; // it was inserted above
            all = Some(match all {
                None => of.clone(),
                Some(before) if scope == Scope::Stage => one_after_the_other(before, of),
                // No device is in two groups, so that groups are independent.
                Some(all) => both(all, of),
            });
        }
        if matches!(scope, Scope::Cumulative | Scope::Stage) {
            groups.clear();
        }
        Self { all: all.unwrap_or_default(), groups, alone }
    }

    /// The weakest groups, and the number of the others. The group in which a bug of this rate gets through the first stage most
    /// often comes first: the sentence names it.
    fn weakest(mut self, headline_bp: u16) -> (Vec<GroupPower>, usize) {
        // The weakest is the one that lets the worst bug through most often.
        let missed = |(_, added): &(String, Vec<u32>)| {
            let rows = self.alone.get(added).into_iter().flatten().rev();
            std::cmp::Reverse(rows.map(|row| row.last().map_or(0, |[_, _, best]| bp(*best))).collect::<Vec<_>>())
        };
        self.groups.sort_by_cached_key(missed);
        let headline = BUG_RATES_BP.iter().position(|bug_bp| *bug_bp == headline_bp);
        let missed_first = |added: &Vec<u32>| {
            let row = headline.and_then(|rate| self.alone.get(added)?.get(rate));
            row.and_then(|row| row.first()).map_or(0, |[_, _, best]| bp(*best))
        };
        // Of several, the first.
        let named = self.groups.iter().enumerate().rev().max_by_key(|(_, (_, added))| missed_first(added));
        if let Some(front) = named.map(|(number, _)| number).and_then(|number| self.groups.get_mut(..=number)) {
            front.rotate_right(1);
        }
        let left_out = self.groups.len().saturating_sub(GROUPS_MAX);
        let group = |(of, added): (String, Vec<u32>)| {
            let rows = self.alone.get(&added).map_or_else(Vec::new, |table| rows(table));
            GroupPower { of, devices: cumulative(&added), rows }
        };
        (self.groups.into_iter().take(GROUPS_MAX).map(group).collect(), left_out)
    }
}

/// The groups that gates of a scope judge, and how many devices each stage adds to them.
pub fn groups(scope: Scope, stages: &[PlannedStage]) -> BTreeMap<String, Vec<u32>> {
    let mut groups: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (number, stage) in stages.iter().enumerate() {
        let mut add = |name: &str, devices: u32| {
            let added = groups.entry(name.to_owned()).or_insert_with(|| vec![0; stages.len()]);
            if let Some(added) = added.get_mut(number) {
                *added = devices;
            }
        };
        let by = match scope {
            Scope::Cumulative => {
                add("all", stage.adds);
                continue;
            }
            Scope::Stage => {
                add(&format!("stage {}", number + 1), stage.adds);
                continue;
            }
            Scope::Model => &stage.by_model,
            Scope::Site => &stage.by_site,
            Scope::Stratum => &stage.by_stratum,
        };
        for (name, devices) in by {
            add(name, *devices);
        }
    }
    groups
}

async fn table(walk: &mut Walk<'_>, added: &[u32], rates: &[u16], in_flight_max: u32, pace: &mut WorkBudget) -> Table {
    let mut table = Table::with_capacity(rates.len());
    if rates.is_empty() {
        return table;
    }
    walk.of(added);
    for bug_bp in rates {
        let mut row = vec![[0.0; 3]; added.len()];
        let orders = [Order::FailuresFirst { in_flight_max }, Order::Mixed, Order::FailuresLast];
        for (number, order) in orders.into_iter().enumerate() {
            pace.before(walk.work(added, *bug_bp)).await;
            for (chances, chance) in row.iter_mut().zip(walk.through(*bug_bp, order)) {
                if let Some(place) = chances.get_mut(number) {
                    *place = chance;
                }
            }
        }
        table.push(row);
    }
    table
}

fn times([worst, mixed, best]: [f64; 3], other: [f64; 3]) -> [f64; 3] {
    let [other_worst, other_mixed, other_best] = other;
    [worst * other_worst, mixed * other_mixed, best * other_best]
}

fn both(mut all: Table, of: &[Vec<[f64; 3]>]) -> Table {
    for (chances, of) in all.iter_mut().flatten().zip(of.iter().flatten()) {
        *chances = times(*chances, *of);
    }
    all
}

fn one_after_the_other(mut before: Table, next: &[Vec<[f64; 3]>]) -> Table {
    for (row, next) in before.iter_mut().zip(next) {
        let so_far = row.last().copied().unwrap_or([1.0; 3]);
        row.extend(next.iter().map(|chances| times(so_far, *chances)));
    }
    before
}

fn rows(table: &[Vec<[f64; 3]>]) -> Vec<PowerRow> {
    let through = |[worst, mixed, best]: &[f64; 3]| Through {
        at_least_bp: bp(*worst),
        mixed_bp: bp(*mixed),
        at_most_bp: bp(*best),
    };
    let row =
        |(bug_bp, chances): (u16, &Vec<[f64; 3]>)| PowerRow { bug_bp, stages: chances.iter().map(through).collect() };
    BUG_RATES_BP.into_iter().zip(table).map(row).collect()
}

/// A chance in basis points, rounded to nearest.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a chance is 0 to 1")]
fn bp(chance: f64) -> u16 {
    (chance.clamp(0.0, 1.0) * 10_000.0 + 0.5) as u16
}

fn gate_power(number: usize, gate: &Gate, of: Scoped, stages: &[PlannedStage]) -> GatePower {
    let first = groups(gate.scope, stages.get(..1).unwrap_or_default());
    let sizes: Vec<u32> = first.into_values().flatten().filter(|devices| *devices > 0).collect();
    let clean_needed = clean_needed(gate.test, gate.threshold_bp, gate.min_executed, EXECUTED_MAX);
    let rows = rows(&of.all);
    let (groups, groups_left_out) = of.weakest(headline(gate, &rows));
    let executed = sizes.iter().copied().max().unwrap_or(0);
    let later = match gate.scope {
        Scope::Cumulative | Scope::Stage => 0,
        Scope::Model | Scope::Site | Scope::Stratum => {
            self::groups(gate.scope, stages).len().saturating_sub(sizes.len())
        }
    };
    let sentence = sentence(gate, (&sizes, later), &rows, &groups, clean_needed);
    GatePower { gate: number, executed, rows, groups, groups_left_out, clean_needed, sentence }
}

/// The clean devices that the gate requires to pass; none if `most` do not suffice.
pub fn clean_needed(test: Test, threshold_bp: u16, min_executed: u32, most: u32) -> Option<u32> {
    let most = most.min(EXECUTED_MAX);
    let needed = first(most, |clean| verdict(test, threshold_bp, min_executed, 0, clean) == Verdict::Pass);
    (needed <= most).then_some(needed)
}

/// The rate of the bug that the sentence is about, as far as the table has it.
fn headline(gate: &Gate, rows: &[PowerRow]) -> u16 {
    let bad_bp = match gate.test {
        Test::Sprt { p1_bp, .. } => p1_bp,
        _ => gate.threshold_bp.saturating_mul(BAD_TIMES),
    };
    rows.iter().find(|row| row.bug_bp >= bad_bp).or(rows.last()).map_or(0, |row| row.bug_bp)
}

/// The power of a gate in a sentence. `sizes` are the devices of each of its groups in the first stage; `later` more groups have
/// none there.
fn sentence(
    gate: &Gate,
    (sizes, later): (&[u32], usize),
    rows: &[PowerRow],
    groups: &[GroupPower],
    clean_needed: Option<u32>,
) -> String {
    let threshold = percent(gate.threshold_bp);
    let shown_at = |confidence_bp: u16| format!("to show < {threshold} at {}", percent(confidence_bp));
    let (name, needed, purpose) = match gate.test {
        Test::Raw => {
            let proof = Test::ClopperPearson { confidence_bp: PROOF_BP };
            let needed = self::clean_needed(proof, gate.threshold_bp, 1, EXECUTED_MAX);
            (format!("raw ≤ {threshold}"), needed, shown_at(PROOF_BP))
        }
        Test::ClopperPearson { confidence_bp } => {
            let name = format!("clopper_pearson < {threshold}");
            (name, clean_needed, shown_at(confidence_bp))
        }
        Test::Sprt { p0_bp, p1_bp, .. } => {
            let name = format!("sprt {} against {}", percent(p0_bp), percent(p1_bp));
            (name, clean_needed, "to pass".to_owned())
        }
    };
    let first_stage = |row: &PowerRow| row.stages.first().map(|through| (row.bug_bp, *through));
    let headline_bp = headline(gate, rows);
    let bad = rows.iter().find(|row| row.bug_bp == headline_bp).and_then(first_stage);
    let promoted = bad.map_or_else(String::new, |(bug_bp, Through { at_most_bp, .. })| {
        let (bug, promoted) = (percent(bug_bp), rounded(at_most_bp));
        let alone = alone(groups, bug_bp);
        format!("firmware that breaks {bug} of devices is promoted {promoted} of the time at most{alone}, ")
    });
    let good = rows.first().and_then(first_stage);
    let stopped = good.map_or_else(String::new, |(bug_bp, Through { at_least_bp, .. })| {
        format!("one that breaks {} is stopped {} at most; ", percent(bug_bp), rounded(WHOLE_BP - at_least_bp))
    });
    let needed = match needed {
        Some(needed) => {
            let are = if needed == 1 { "is" } else { "are" };
            format!("{} {are} needed {purpose}", counted(needed, "clean device"))
        }
        None => format!("no number of clean devices up to {EXECUTED_MAX} suffices {purpose}"),
    };
    let left_out = BUG_RATES_BP.get(rows.len()).map_or_else(String::new, |rate_bp| {
        format!(
            "; chances of firmware that breaks {} or more are not computed: it would take too long",
            percent(*rate_bp)
        )
    });
    let first = if one_failure_stops(gate, sizes) { "the first failure in stage 1 stops it; " } else { "" };
    format!("with {} and {name}, {promoted}{stopped}{first}{needed}{left_out}", of_devices(sizes, later))
}

/// Whether one failure in the first stage always stops the release, even if all other devices there are clean by then.
fn one_failure_stops(gate: &Gate, sizes: &[u32]) -> bool {
    let fails =
        |executed: &u32| verdict(gate.test, gate.threshold_bp, gate.min_executed, 1, *executed) == Verdict::Fail;
    !sizes.is_empty() && sizes.iter().all(fails)
}

/// How many devices a gate judges in the first stage; of how many groups, if there are several, and how many have none there.
fn of_devices(sizes: &[u32], later: usize) -> String {
    let least = sizes.iter().copied().min().unwrap_or(0);
    let most = sizes.iter().copied().max().unwrap_or(0);
    let devices = plural(most, "device");
    let groups = match sizes.len() {
        0 => "no device".to_owned(),
        1 if later == 0 => format!("{most} {devices}"),
        1 => format!("1 group of {most} {devices}"),
        groups if least == most => format!("{groups} groups of {most} {devices}"),
        groups => format!("{groups} groups of {least} to {most} {devices}"),
    };
    match later {
        0 => groups,
        1 => format!("{groups} (1 more has none in stage 1, and is not tested there)"),
        later => format!("{groups} ({later} more have none in stage 1, and are not tested there)"),
    }
}

/// The chance of a bug that only one group has, for the group that misses it most often, which comes first.
fn alone(groups: &[GroupPower], bug_bp: u16) -> String {
    let [group, _, ..] = groups else { return String::new() };
    let row = group.rows.iter().find(|row| row.bug_bp == bug_bp);
    let missed_bp = row.and_then(|row| row.stages.first()).map_or(0, |through| through.at_most_bp);
    format!(" ({} if only those of {})", rounded(missed_bp), group.of)
}

/// A chance for display: whole percents, unless rounding would make a small chance zero or a large one certain.
pub fn rounded(bp: u16) -> String {
    percent(if (100..=9_900).contains(&bp) { (bp + 50) / 100 * 100 } else { bp })
}

fn percent(bp: u16) -> String {
    match (bp / 100, bp % 100) {
        (whole, 0) => format!("{whole} %"),
        (whole, part) if part % 10 == 0 => format!("{whole}.{} %", part / 10),
        (whole, part) => format!("{whole}.{part:02} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::policy::tests::playbook;

    const PROOF: Test = Test::ClopperPearson { confidence_bp: 9_500 };
    const WALD: Test = Test::Sprt { p0_bp: 50, p1_bp: 200, alpha_bp: 500, beta_bp: 500 };

    fn gate(test: Test, threshold_bp: u16, min_executed: u32, scope: Scope) -> Gate {
        Gate { threshold_bp, min_executed, test, scope, ..playbook().gates.remove(0) }
    }

    /// Stages that add this many devices of two models.
    fn stages(added: &[(u32, u32)]) -> Vec<PlannedStage> {
        let mut devices = 0;
        let stage = |(large, small): &(u32, u32)| {
            devices += large + small;
            let by = BTreeMap::from([("KS-100".to_owned(), *large), ("KS-200".to_owned(), *small)]);
            PlannedStage {
                share_bp: 0,
                adds: large + small,
                devices,
                by_model: by.clone(),
                by_site: by.clone(),
                by_stratum: by,
                ..PlannedStage::default()
            }
        };
        added.iter().map(stage).collect()
    }

    fn computed(policy: &Policy, stages: &[PlannedStage]) -> (Vec<GatePower>, Vec<TogetherRow>) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(powers(policy, stages))
    }

    fn powers_of(gates: &[Gate], added: &[(u32, u32)]) -> (Vec<GatePower>, Vec<TogetherRow>) {
        computed(&Policy { gates: gates.to_vec(), ..playbook() }, &stages(added))
    }

    fn at(rows: &[PowerRow], bug_bp: u16, stage: usize) -> [u16; 3] {
        let row = rows.iter().find(|row| row.bug_bp == bug_bp).unwrap();
        let Through { at_least_bp, mixed_bp, at_most_bp } = row.stages[stage];
        [at_least_bp, mixed_bp, at_most_bp]
    }

    #[test]
    fn fifty_canaries_promote_a_bug_of_two_percent_36_times_of_100() {
        let (power, _) = powers_of(&[gate(Test::Raw, 50, 50, Scope::Cumulative)], &[(50, 0)]);
        let power = &power[0];
        assert_eq!(at(&power.rows, 200, 0), [3_642; 3], "0.98^50, in whatever order: the first failure ends it");
        assert_eq!(power.clean_needed, Some(50));
        assert_eq!(power.rows.iter().map(|row| row.bug_bp).collect::<Vec<_>>(), BUG_RATES_BP);
        assert_eq!(
            power.sentence,
            "with 50 devices and raw ≤ 0.5 %, firmware that breaks 2 % of devices is promoted 36 % of the time at most, \
             one that breaks 0.1 % is stopped 5 % at most; the first failure in stage 1 stops it; 598 clean devices are \
             needed to show < 0.5 % at 95 %"
        );
    }

    #[test]
    fn clean_devices_are_counted_up_to_the_most() {
        assert_eq!(clean_needed(PROOF, 50, 1, 1_000), Some(598));
        assert_eq!((clean_needed(PROOF, 50, 1, 598), clean_needed(PROOF, 50, 1, 597)), (Some(598), None));
        assert_eq!((clean_needed(PROOF, 50, 700, 1_000), clean_needed(WALD, 0, 1, 1_000)), (Some(700), Some(194)));
        assert_eq!((clean_needed(Test::Raw, 0, 0, 9), clean_needed(PROOF, 0, 1, 1_000_000)), (Some(1), None));
        let (never, _) = powers_of(&[gate(Test::Raw, 0, 5, Scope::Cumulative)], &[(5, 0)]);
        assert!(never[0].sentence.contains("no number of clean devices"));
    }

    /// The small model of a gate by model is no safer for the large one being large.
    #[test]
    fn a_bug_that_one_model_alone_has_is_judged_by_the_devices_of_that_model() {
        let (power, _) = powers_of(&[gate(Test::Raw, 500, 5, Scope::Model)], &[(40, 8), (400, 80)]);
        let of = |group: usize| (power[0].groups[group].of.as_str(), power[0].groups[group].devices.clone());
        assert_eq!([of(0), of(1)], [("KS-200", vec![8, 88]), ("KS-100", vec![40, 440])], "the weakest first");
        assert_eq!(power[0].executed, 40);
        let expected = "with 2 groups of 8 to 40 devices and raw ≤ 5 %, firmware that breaks 10 % of devices is promoted 10 % of \
                    the time at most (43 % if only those of KS-200), one that breaks 0.1 % is stopped 5 % at most; 59";
        assert!(power[0].sentence.starts_with(expected), "{}", power[0].sentence);
        assert_eq!(at(&power[0].groups[0].rows, 1_000, 0), [4_305; 3], "0.9^8: one failure of 8 is above 5 %");
        let [_, _, large] = at(&power[0].groups[1].rows, 1_000, 0);
        assert_eq!(large, 2_228, "2 failures of 40 at most");
        assert_eq!(at(&power[0].rows, 1_000, 0)[2], 959, "both, if all devices have it: 0.43047 x 0.22281");
    }

    #[test]
    fn a_gate_by_stage_restarts_and_each_stage_must_be_passed() {
        let (power, _) = powers_of(&[gate(Test::Raw, 0, 10, Scope::Stage)], &[(10, 0), (20, 0)]);
        assert_eq!(at(&power[0].rows, 500, 0), [5_987; 3], "0.95^10");
        assert_eq!(at(&power[0].rows, 500, 1), [2_146; 3], "0.95^30");
        assert!(power[0].groups.is_empty());
    }

    #[test]
    fn gates_of_one_scope_are_one_walk_and_of_several_scopes_are_bounded() {
        let clean = |min_executed, scope| gate(Test::Raw, 0, min_executed, scope);
        let twice = [clean(10, Scope::Cumulative), clean(20, Scope::Cumulative)];
        let (_, together) = powers_of(&twice, &[(20, 0)]);
        assert_eq!(together[4].stages[0], Bounds { at_least_bp: 3_585, at_most_bp: 3_585 }, "0.95^20, once");
        let (_, together) = powers_of(&[clean(10, Scope::Cumulative), clean(10, Scope::Model)], &[(10, 10)]);
        assert_eq!(together[4].stages[0], Bounds { at_least_bp: 1_285, at_most_bp: 3_585 }, "0.95^40, 0.95^20");
    }

    #[test]
    fn groups_beyond_the_most_are_counted() {
        let by_site = (0..30).map(|site| (format!("s{site:02}"), 10 + site)).collect();
        let mut stages = stages(&[(500, 0)]);
        stages[0].by_site = by_site;
        let policy = Policy { gates: vec![gate(Test::Raw, 0, 1, Scope::Site)], ..playbook() };
        let (power, _) = computed(&policy, &stages);
        assert_eq!((power[0].groups.len(), power[0].groups_left_out), (20, 10));
        assert_eq!(
            (power[0].groups[0].of.as_str(), power[0].groups[19].of.as_str()),
            ("s00", "s19"),
            "the weakest stay"
        );
    }

    /// Many sites are too small to hold anything up in the first stage, and one of them is never judged: the table shows the one
    /// that the sentence names.
    #[test]
    fn the_group_that_the_sentence_names_comes_first() {
        let mut stages = stages(&[(500, 0), (500, 0)]);
        stages[0].by_site = (0..9).map(|site| (format!("s{site}"), 10)).chain([("tiny".to_owned(), 0)]).collect();
        stages[1].by_site = (0..9).map(|site| (format!("s{site}"), 1)).chain([("tiny".to_owned(), 100)]).collect();
        let policy = Policy { gates: vec![gate(Test::Raw, 0, 1, Scope::Site)], ..playbook() };
        let (power, _) = computed(&policy, &stages);
        let named = power[0].sentence.contains("(100 % if only those of tiny)");
        assert!(named && power[0].groups[0].of == "tiny" && power[0].groups[1].of == "s0", "{}", power[0].sentence);
        stages[0].by_site = (0..10).map(|site| (format!("s{site}"), 0)).collect();
        stages[1].by_site = (0..10).map(|site| (format!("s{site}"), 20)).collect();
        let (power, _) = computed(&policy, &stages);
        let first = power[0].sentence.contains("(100 % if only those of s0)") && power[0].groups[0].of == "s0";
        assert!(first, "of ten alike in the first stage the first: {}", power[0].sentence);
    }

    #[test]
    fn the_sentence_names_groups_without_a_canary_and_a_first_failure_that_stops() {
        let mut stages = stages(&[(210, 0), (500, 0)]);
        stages[0].by_site = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 20)]);
        stages[1].by_site = ["a", "b", "c", "d", "e"].map(|site| (site.to_owned(), 100)).into();
        let gates = vec![gate(Test::Raw, 50, 10, Scope::Site), gate(Test::Raw, 50, 10, Scope::Cumulative)];
        let (power, _) = computed(&Policy { gates, ..playbook() }, &stages);
        let expected = "with 2 groups of 1 to 20 devices (3 more have none in stage 1, and are not tested there) and raw ≤ 0.5 %, ";
        assert!(power[0].sentence.starts_with(expected), "{}", power[0].sentence);
        assert!(power[0].sentence.contains("; the first failure in stage 1 stops it; "), "{}", power[0].sentence);
        assert!(power[1].sentence.starts_with("with 210 devices and raw"), "{}", power[1].sentence);
        assert!(!power[1].sentence.contains("first failure"), "one of 210 is below 0.5 %: {}", power[1].sentence);
    }

    /// The largest policy: 20 stages, and 20 gates that tolerate many failures of 100,000 devices.
    fn largest() -> (Policy, Vec<PlannedStage>) {
        let of = |scope| gate(Test::ClopperPearson { confidence_bp: 9_500 }, 5_000, 100, scope);
        let scopes = [Scope::Cumulative, Scope::Model, Scope::Site, Scope::Stage];
        let gates = scopes.into_iter().cycle().take(20).map(of).collect();
        (Policy { gates, ..playbook() }, stages(&[(3_000, 2_000); 20]))
    }

    #[test]
    fn chances_that_would_take_too_long_are_left_out_and_named() {
        let (policy, stages) = largest();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (power, together) = runtime.block_on(powers_within(50_000_000, &policy, &stages));
        let expected = "chances of firmware that breaks 0.1 % or more are not computed: it would take too long";
        assert!(power[0].rows.is_empty() && power[0].sentence.ends_with(expected), "{}", power[0].sentence);
        assert!(together.is_empty(), "a bound that leaves out a gate is none: {together:?}");
        let small = [gate(Test::Raw, 50, 500, Scope::Cumulative)];
        let policy = Policy { gates: small.to_vec(), ..policy };
        let of = |work_max| runtime.block_on(powers_within(work_max, &policy, &stages)).0.remove(0);
        let (some, all) = (of(60_000_000), of(WORK_MAX));
        let rates: Vec<u16> = some.rows.iter().map(|row| row.bug_bp).collect();
        assert!(!rates.is_empty() && rates.len() < BUG_RATES_BP.len() && BUG_RATES_BP.starts_with(&rates), "{rates:?}");
        assert_eq!(some.rows[..], all.rows[..rates.len()], "what is computed is the same");
        assert!(all.rows.len() == BUG_RATES_BP.len() && !all.sentence.contains("not computed"), "{}", all.sentence);
    }

    #[test]
    fn other_tasks_run_while_chances_are_computed() {
        let (_, stages) = largest();
        let policy = Policy { gates: vec![gate(Test::Raw, 50, 500, Scope::Cumulative)], ..playbook() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let turns = runtime.block_on(async {
            let mut turns = 0_u32;
            let others = async {
                loop {
                    turns += 1;
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                () = others => {}
                _ = powers(&policy, &stages) => {}
            }
            turns
        });
        assert!(turns > 10, "{turns}");
    }

    #[test]
    fn percents_are_whole_unless_that_would_round_a_chance_away() {
        let shown = [3_642, 12, 0, 100, 9_996, 10_000, 150].map(rounded);
        assert_eq!(shown, ["36 %", "0.12 %", "0 %", "1 %", "99.96 %", "100 %", "2 %"]);
    }
}
