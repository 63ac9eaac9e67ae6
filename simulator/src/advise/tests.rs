//! Tests of the advice: against brute force, and against the server's own gates.

use ks_protocol::time::UnixMs;
use ks_server::rollout::{plan::RolloutRequest, stage::PlannedStage};

use super::*;
use crate::{
    fleet::{
        self, DeviceSpec,
        ground_truth::{GroundTruth, InstallOutcome, InstallingDevice},
    },
    scenario,
    scenario_settings::ScenarioSettings,
};

fn plan(devices: u32) -> Plan {
    let text = include_bytes!("../../../scenarios/twelve-thousand-terminals.toml");
    let plan = scenario::check("scenario", text, &ScenarioSettings).unwrap();
    let overrides = scenario::Overrides { devices: Some(devices), ..scenario::Overrides::default() };
    plan.with_overrides(overrides).unwrap()
}

fn question(change: impl Fn(&mut BugToFind)) -> BugToFind {
    let mut question = BugToFind {
        detect_bp: 150,
        group: Group::Model("KS-200".to_owned()),
        with_bp: 9_500,
        within_s: 48 * 3_600,
        false_alarms_bp: 500,
    };
    change(&mut question);
    question
}

/// The least devices for 1 to 5 failures of 1.5 % with 95 %: computed in Python with exact binomial coefficients.
#[test]
fn the_smallest_canaries_are_those_of_another_program() {
    let advice = advise(&plan(12_000), &question(|_| {})).unwrap();
    assert_eq!(advice.smallest, 199);
    let needed: Vec<u32> = advice.canaries.iter().take(5).map(|canary| canary.needed).collect();
    assert_eq!(needed, [199, 315, 418, 515, 608]);
}

/// The stages that are counted from places are those that the server plans, of any policy and of any fleet.
#[test]
fn stages_from_places_are_those_of_the_servers_plan() {
    for (devices, shares) in [(7, [1_500, 5_000]), (400, [319, 1_596]), (12_000, [1, 612])] {
        let plan = plan(devices);
        let population = Population::of(&plan, &Group::Fleet).unwrap();
        let steps = shares.into_iter().chain([10_000]).filter(|share_bp| population.targets_at(*share_bp) > 0);
        let steps: Vec<(u16, u32, u64)> = steps.map(|share_bp| (share_bp, 1, 900)).collect();
        let policy = population.draft(&steps, None, 0, 200);
        let (starts_at, start) = crate::trials::first_rollout(&plan).unwrap();
        let request = RolloutRequest { rollout_id: start.rollout_id.clone(), policy: policy.clone() };
        let fleet = fleet::devices(&plan).unwrap();
        let planned = scenario::planned_rollout(&plan, &fleet, &plan.firmware[0], &request, starts_at);
        let (planned, _) = planned.unwrap().unwrap();
        let counted = population.planned(&policy).unwrap();
        let timeless = planned.stages.iter().map(|stage| PlannedStage { expected_s: 0, ..stage.clone() });
        assert_eq!(counted, timeless.collect::<Vec<_>>(), "{devices} devices");
        assert_eq!(
            (population.targets(), planned.at_best_s),
            (planned.targets, counted.iter().map(|of| of.at_best_s).sum())
        );
    }
}

/// The curves of the picture are what another formula gives: sums of binomial terms by logarithms of factorials.
#[test]
fn the_chances_of_other_sizes_are_those_of_the_formula() {
    let advice = advise(&plan(12_000), &question(|_| {})).unwrap();
    let ln_factorial = |number: u32| (1..=number).map(|of| f64::from(of).ln()).sum::<f64>();
    let at_least = |devices: u32, failed: u32| {
        let term = |of: u32| {
            let ways = ln_factorial(devices) - ln_factorial(of) - ln_factorial(devices - of);
            (ways + f64::from(of) * 0.015_f64.ln() + f64::from(devices - of) * 0.985_f64.ln()).exp()
        };
        1.0 - (0..failed.min(devices + 1)).map(term).sum::<f64>()
    };
    let chances = &advice.chances;
    let failures: Vec<u32> = chances.found.iter().map(|of| of.failures).collect();
    assert!(failures == [1, 4] && chances.devices.len() > 60 && chances.devices.is_sorted());
    assert!(chances.devices.last() >= Some(&573), "{:?}", chances.devices);
    for (nth, size) in chances.devices.iter().enumerate() {
        assert!((chances.at_most[nth] - at_least(*size, 1)).abs() < 1e-9, "{size}");
        for of in &chances.found {
            assert!((of.chances[nth] - at_least(size * 9 / 10, of.failures)).abs() < 1e-9, "{size}");
        }
    }
}

/// For each number of failures, every share of the fleet is tried: the one that is advised is the first with enough devices.
#[test]
fn no_smaller_share_has_enough_devices() {
    let plan = plan(12_000);
    for group in [Group::Fleet, Group::Model("KS-300".to_owned()), Group::Site("store-01".to_owned())] {
        let population = Population::of(&plan, &group).unwrap();
        let advice = advise(&plan, &question(|question| (question.detect_bp, question.group) = (500, group.clone())));
        for canary in advice.unwrap().canaries {
            let first = (1..=10_000).find(|share_bp| executed(population.devices_at(*share_bp)) >= canary.needed);
            assert_eq!(first, Some(canary.share_bp), "{group}: {canary:?}");
        }
    }
}

#[test]
fn policies_find_the_bug_by_the_servers_own_gates_with_the_chance_that_is_wanted() {
    for (group, detect_bp) in [(Group::Fleet, 100), (Group::Model("KS-200".to_owned()), 150)] {
        let asked = question(|question| (question.detect_bp, question.group) = (detect_bp, group.clone()));
        let advice = advise(&plan(12_000), &asked).unwrap();
        let names: Vec<&str> = advice.policies.iter().map(|of| of.name.as_str()).collect();
        assert_eq!(names, [SMALLEST_CANARY, FEW_FALSE_ALARMS, IN_STEPS]);
        for of in &advice.policies {
            assert!(of.found >= 0.95 && of.found_if_all_run >= of.found, "{of:?}");
            assert!(of.found_after_s <= asked.within_s && of.policy.validate().is_empty(), "{of:?}");
            // One stage before all: the gate sees the canary as a whole, so that the walk and the sum must agree.
            if of.policy.stages.len() == 2 {
                let exact = binomial::Binomial::new(of.canary_of_group, share(detect_bp)).at_least(of.canary.failures);
                assert!((of.found_if_all_run - exact).abs() < 1e-9, "{} is not {exact}", of.found_if_all_run);
                assert!((of.hit - f64::from(of.canary_of_group) * share(detect_bp)).abs() < 1e-9);
            }
        }
        let [small, calm, steps] = advice.policies.as_slice() else { panic!("three") };
        assert!(calm.false_alarms <= 0.05 && small.false_alarms > calm.false_alarms);
        assert!(small.canary_devices < calm.canary_devices && small.hit_at_most < calm.hit_at_most);
        assert!(steps.first_step < calm.first_step && steps.hit < calm.hit);
        assert!(steps.duration_s > calm.duration_s);
        // At the chance that it tolerates, a policy has the wanted false alarms; a bit above it, more.
        assert!(calm.tolerates >= share(detect_bp) * BACKGROUND_PART);
    }
}

/// Goal: what is advised keeps the fleet's limits, and its times allow for them. Method: by hand for the limit of each site. A canary
/// of `few-false-alarms` at the largest site waits for one round of updates after the other; what is predicted is later by that.
#[test]
fn pace_and_limits_are_those_of_the_scenarios_policy() {
    let mut plan = plan(12_000);
    let free = advise(&plan, &question(|_| {})).unwrap();
    assert!(
        free.limits.contains("at most 500 updates in flight, 200 starts a minute, no limit by site"),
        "{}",
        free.limits
    );
    let policy = plan.policies.values_mut().next().unwrap();
    (policy.in_flight_max, policy.starts_per_min, policy.site_unavailable_max) = (100, 20, Some(5));
    (policy.confirm_window_s, policy.watch_s) = (1_800, Some(7_200));
    let limited = advise(&plan, &question(|_| {})).unwrap();
    let said = "at most 100 updates in flight, 20 starts a minute, 5 devices of a site out of service at a time, CONFIRMED after 30m";
    assert!(limited.limits.contains(said) && text(&limited).contains(said), "{}", text(&limited));
    let population = Population::of(&plan, &Group::Fleet).unwrap();
    for (own, other) in limited.policies.iter().zip(&free.policies).take(2) {
        let policy = &own.policy;
        assert_eq!((policy.in_flight_max, policy.starts_per_min, policy.site_unavailable_max), (100, 20, Some(5)));
        assert_eq!((policy.confirm_window_s, policy.watch_s), (1_800, Some(7_200)));
        let stages = population.planned(policy).unwrap();
        let rounds = u64::from((stages[0].by_site.values().max().unwrap() - 1) / 5);
        assert!(rounds > 10, "{rounds}");
        assert!(own.found_after_s >= other.found_after_s + rounds * 1_800, "{own:?}");
        assert!(policy.stages[0].bake_s > other.policy.stages[0].bake_s);
    }
}

/// Goal: a slow start is advised where failures show while most of the canary waits, with fewer devices hit; and not where devices die
/// hours later, when all of the canary have the release at any pace that ends within a week.
#[test]
fn a_slow_start_is_advised_where_pace_helps() {
    let mut plan = plan(12_000);
    let late = advise(&plan, &question(|_| {})).unwrap();
    assert!(late.policies.iter().all(|of| of.name != SLOW_START));
    for fault in &mut plan.firmware[0].faults {
        (fault.install_fails_bp, fault.dies_bp) = (fault.dies_bp, 0);
    }
    let asked = question(|_| {});
    let soon = advise(&plan, &asked).unwrap();
    let of = |name: &str| soon.policies.iter().find(|of| of.name == name).unwrap();
    let (slow, calm) = (of(SLOW_START), of(FEW_FALSE_ALARMS));
    assert_eq!((slow.canary, slow.false_alarms, calm.policy.starts_per_min), (calm.canary, calm.false_alarms, 200));
    assert!(slow.policy.starts_per_min < 100 && slow.found_after_s <= asked.within_s, "{slow:?}");
    assert!(slow.hit < calm.hit * (1.0 - SAVED_PART) && slow.hit_at_most <= calm.hit_at_most, "{slow:?}");
    assert!(slow.hit > f64::from(slow.canary.failures), "not less than those that stop it: {slow:?}");
    assert!(slow.found >= calm.found && slow.found_after_s > calm.found_after_s);
    let line = format!("; slow-start: {} starts a minute", slow.policy.starts_per_min);
    assert!(text(&soon).contains(&line), "{}", text(&soon));
}

/// Devices die after 6.6 hours at the latest, are lost an hour later, and are not judged before; the bake time covers it.
#[test]
fn bake_times_cover_the_latest_death() {
    let advice = advise(&plan(12_000), &question(|_| {})).unwrap();
    for stage in advice.policies.iter().flat_map(|of| &of.policy.stages) {
        assert!(stage.bake_s >= 6 * 3_960 + 3_600, "{stage:?}");
    }
}

#[test]
fn a_question_that_no_policy_can_answer_says_why_and_what_would_do() {
    let refused = |devices, change: &dyn Fn(&mut BugToFind)| match advise(&plan(devices), &question(change)) {
        Err(NoAdvice::NoPolicy { why, help }) => (why, help),
        other => panic!("{other:?}"),
    };
    // 1 - 0.99^36 = 30.4 %, and 1 - 0.05^(1 / 36) = 7.985 %.
    let (why, help) = refused(40, &|question| (question.detect_bp, question.group) = (100, Group::Fleet));
    assert!(why.contains("(1 - 0.01)^36") && why.contains("69.6 %") && why.contains("299 devices"), "{why}");
    assert!(help.contains("--detect 7.99%") && help.contains("--with 30%"), "{help}");
    let (why, help) = refused(12_000, &|question| question.within_s = 4 * 3_600);
    assert!(why.contains("devices die about 6h after the update") && why.contains("--in allows 4h"), "{why}");
    assert!(help.contains("--in 8h"), "{help}");
    assert!(advise(&plan(12_000), &question(|question| question.within_s = 8 * 3_600)).is_ok());
    let unknown = advise(&plan(12_000), &question(|question| question.group = Group::Model("KS-2".to_owned())));
    let Err(NoAdvice::Impossible(why)) = unknown else { panic!("{unknown:?}") };
    assert!(why.contains("no device of model KS-2"), "{why}");
}

/// Of all failures below the one that stops, none stops, and each group's chance is its own although others are as large.
#[test]
fn a_gate_stops_at_the_failure_that_is_predicted_and_judges_the_group_in_question() {
    let mut plan = plan(4_000);
    for devices in [400, 4_000] {
        plan.fleet.devices = devices;
        for number in [1, 7, 30] {
            let group = Group::Site(format!("store-{number:02}"));
            let asked = question(|question| (question.detect_bp, question.group) = (5_000, group.clone()));
            let Ok(advice) = advise(&plan, &asked) else { continue };
            for of in advice.policies.iter().filter(|of| of.policy.stages.len() == 2) {
                let gate = &of.policy.gates[0];
                let stops = |failures: u32| failures * 10_000 > u32::from(gate.threshold_bp) * of.canary_of_group;
                assert!(stops(of.canary.failures) && !stops(of.canary.failures - 1), "{of:?}");
                let exact = binomial::Binomial::new(of.canary_of_group, 0.5).at_least(of.canary.failures);
                assert!((of.found_if_all_run - exact).abs() < 1e-9, "{} is not {exact}: {of:?}", of.found_if_all_run);
            }
        }
    }
}

/// Whatever the fleet, what the help suggests can be asked.
#[test]
fn what_is_suggested_has_an_answer() {
    for devices in [5, 10, 40, 100, 333] {
        let plan = plan(devices);
        let asked = |detect_bp| question(|question| (question.detect_bp, question.group) = (detect_bp, Group::Fleet));
        let Err(NoAdvice::NoPolicy { help, .. }) = advise(&plan, &asked(50)) else { panic!("{devices}") };
        let smallest = help.split("--detect ").nth(1).unwrap().split('%').next().unwrap().replace('.', "");
        let smallest_bp = smallest.parse().unwrap();
        assert!(advise(&plan, &asked(smallest_bp)).is_ok(), "{devices}: {help}");
        assert!(advise(&plan, &asked(smallest_bp - 1)).is_err(), "{devices}: {help}");
    }
}

/// A threshold in whole basis points can't stop at the third failure of seventy thousand: such policies are not advised.
#[test]
fn no_policy_has_a_gate_finer_than_its_unit() {
    let asked = question(|question| (question.detect_bp, question.group) = (1, Group::Fleet));
    for of in advise(&plan(150_000), &asked).unwrap().policies.iter().filter(|of| of.policy.stages.len() == 2) {
        let gate = &of.policy.gates[0];
        let stops = |failures: u32| failures * 10_000 > u32::from(gate.threshold_bp) * of.canary_of_group;
        assert!(stops(of.canary.failures) && !stops(of.canary.failures - 1), "{of:?}");
    }
}

/// Goal: the tutorial's numbers about the playbook's policy are those of its fleet.
/// Method: the devices of each stage are counted, and chances computed from them.
#[test]
fn the_tutorial_says_what_the_playbooks_policy_finds() {
    let page = include_str!("../../../docs/canary-tutorial.md");
    let text = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let plan = scenario::check("spring.toml", text.as_bytes(), &ScenarioSettings).unwrap();
    let of = |group: Group| Population::of(&plan, &group).unwrap();
    let (own, all) = (of(Group::Model("KS-200".to_owned())), of(Group::Fleet));
    let (first, second) = (own.devices_at(100), own.devices_at(500));
    // A stage's gate fails if more than one in two hundred devices fails.
    let stops_at = |share_bp: u16| all.devices_at(share_bp) / 200 + 1;
    let spared = 0.985_f64.powi(i32::try_from(first).unwrap());
    assert_eq!(stops_at(100), 1, "the first one that dies in the first stage is seen");
    let later = binomial::Binomial::new(second - first, 0.015).at_least(stops_at(500));
    let found = 1.0 - spared * (1.0 - later);
    // What the bug does to each terminal with the seed of the report that is shown.
    let (truth, firmware) = (GroundTruth::of(&plan), &plan.firmware[0]);
    let seeded = Plan { seed: 2, ..plan.clone() };
    let is_killed = |device: &DeviceSpec| {
        let subject = InstallingDevice {
            device_id: &device.device_id,
            model: &seeded.fleet.models[device.model].name,
            site: &seeded.fleet.sites[device.site].name,
            version: &seeded.fleet.firmware_version,
            uptime: Duration::ZERO,
            now: UnixMs(0),
        };
        truth.install_outcome(firmware.release_counter, seeded.seed, &subject) != InstallOutcome::Good
    };
    let killed = fleet::devices(&seeded).unwrap().iter().filter(|device| is_killed(device)).count();
    for claim in [
        format!("With this seed the bug would have killed {killed} terminals"),
        format!("Of the 12,000 terminals {} are KS-200", crate::number::grouped(own.devices())),
        format!("gives the release to {first} of them"),
        format!("(1 - 0.015)^{first} = {:.0} %", spared * 100.0),
        format!("1 of {} devices is more than 0.5 %", all.devices_at(100)),
        format!("{} dead devices among {} to exceed 0.5 %", stops_at(500), all.devices_at(500)),
        format!("of the {} KS-200 that it adds so many die in {:.0} % of cases", second - first, later * 100.0),
        format!("chance of only {:.0} %", found * 100.0),
        format!("about {:.0} die", f64::from(own.devices()) * 0.015),
    ] {
        assert!(page.replace('\n', " ").contains(&claim), "not in the tutorial: {claim}");
    }
}
