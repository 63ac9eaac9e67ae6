//! The power of gates before they are used: the chance that they let bad firmware through, and how many clean devices a PASS
//! requires.

mod chances;
mod sentence;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

pub use self::{chances::groups, sentence::rounded};
use self::{
    chances::{ScopeGates, Table, WorkBudget, rows, together},
    sentence::{headline, sentence},
};
use crate::rollout::{
    gate::{EXECUTED_MAX, Test, Verdict, verdict},
    policy::{Gate, Policy, Scope},
    stage::PlannedStage,
    walk::first,
};

/// Bug rates that a power table shows, in basis points.
pub const BUG_RATES_BP: [u16; 6] = [10, 50, 100, 200, 500, 1_000];

/// The most work for the power of a policy, in units of [`Walk::work`]: a few seconds.
const WORK_MAX: u64 = 24_000_000_000;

/// The chance to get through, by the order in which outcomes arrive; in basis points, rounded to nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PassChance {
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
    pub stages: Vec<PassChance>,
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
        of_gates.push(ScopeGates::new(gate.scope, &[gate], stages, policy.in_flight_max, &mut pace).await);
    }
    let mut of_scopes: Vec<Table> = Vec::with_capacity(scopes.len());
    for (scope, numbers) in scopes {
        of_scopes.push(match numbers.as_slice() {
            [alone] => of_gates.get(*alone).map_or_else(Table::new, |of| of.all.clone()),
            several => {
                let gates: Vec<&Gate> = several.iter().filter_map(|number| policy.gates.get(*number)).collect();
                ScopeGates::new(scope, &gates, stages, policy.in_flight_max, &mut pace).await.all
            }
        });
    }
    let together = together(&of_scopes, stages.len());
    let gates = policy.gates.iter().zip(of_gates).enumerate();
    (gates.map(|(number, (gate, of_gate))| gate_power(number, gate, of_gate, stages)).collect(), together)
}

fn gate_power(number: usize, gate: &Gate, of: ScopeGates, stages: &[PlannedStage]) -> GatePower {
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
                by_stratum: by.iter().map(|(name, devices)| ((name.clone(), "HQ".to_owned()), *devices)).collect(),
                by_model: by.clone(),
                by_site: by,
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
        let PassChance { at_least_bp, mixed_bp, at_most_bp } = row.stages[stage];
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
}
