//! The chances themselves: walks through the outcomes of each group of devices, put together by scope.

use std::collections::{BTreeMap, BTreeSet};

use super::{BUG_RATES_BP, Bounds, GroupPower, PassChance, PowerRow, TogetherRow};
use crate::rollout::{
    policy::{Gate, Scope},
    stage::{PlannedStage, cumulative},
    walk::{Order, Walk},
};

/// The most groups of a gate that are shown, the weakest first.
const GROUPS_MAX: usize = 20;

/// Work between two yields to other tasks, in units of [`Walk::work`]: a few milliseconds.
const PIECE_WORK: u64 = 20_000_000;

/// Chances in the worst order, a mixed and the best one; by stage, by rate.
pub(super) type Table = Vec<Vec<[f64; 3]>>;

/// The limit of a computation's work, and the work since it last yielded; in units of [`Walk::work`].
pub(super) struct WorkBudget {
    pub(super) table_max: u64,
    pub(super) since_yield: u64,
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

pub(super) fn together(of_scopes: &[Table], stages: usize) -> Vec<TogetherRow> {
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
pub(super) struct ScopeGates {
    /// A bug that all devices have alike.
    pub(super) all: Table,
    /// The groups, and how many devices each stage adds to them. None where all devices are one group.
    groups: Vec<(String, Vec<u32>)>,
    /// A bug that one group alone has, by the devices that each stage adds to it.
    alone: BTreeMap<Vec<u32>, Table>,
}

impl ScopeGates {
    pub(super) async fn new(
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
    pub(super) fn weakest(mut self, headline_bp: u16) -> (Vec<GroupPower>, usize) {
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
                *added += devices;
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
            Scope::Stratum => {
                for ((model, site), devices) in &stage.by_stratum {
                    add(&format!("{model} at {site}"), *devices);
                }
                continue;
            }
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

pub(super) fn rows(table: &[Vec<[f64; 3]>]) -> Vec<PowerRow> {
    let through = |[worst, mixed, best]: &[f64; 3]| PassChance {
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
pub(super) fn bp(chance: f64) -> u16 {
    (chance.clamp(0.0, 1.0) * 10_000.0 + 0.5) as u16
}
