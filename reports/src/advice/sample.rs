//! Advice for tests: every number differs from every other one.

use super::{
    Advice, AdvisedPolicy, BugToFind, Canary, Chances, Commands, FoundAt, Group, Rehearsed, RehearsedPolicy, Share,
    Stage, Stages,
};

pub(crate) fn advised(name: &str, failures: u32, share_bp: &[u16]) -> AdvisedPolicy {
    let stage = |(number, share_bp): (u64, &u16)| Stage { share_bp: *share_bp, bake_s: 30_600 + 3_660 * number };
    let of = f64::from(failures);
    AdvisedPolicy {
        name: name.into(),
        canary: Canary { failures, needed: 200 * failures, share_bp: 612 * u16::try_from(failures).unwrap() },
        canary_devices: 733 * failures,
        canary_of_group: 223 * failures,
        found: 0.951_9 + of / 1_000.0,
        found_if_all_run: 0.961_1,
        found_after_s: 29_761 * u64::from(failures),
        hit: 3.34 * of,
        hit_at_most: 7 * failures,
        hit_if_missed: 54.4 + of,
        first_step: 113 + failures,
        first_step_stops_at: 1,
        duration_s: 81_900 + 120 * u64::from(failures),
        background: 0.001_5,
        false_alarms: 0.912 / of / of,
        tolerates: 0.000_1 * of,
        policy: Stages { stages: (0..).zip(share_bp).map(stage).collect() },
    }
}

pub(crate) fn rehearsed(name: &str, found: usize) -> RehearsedPolicy {
    let share = |count| Share { count, of: 23, limits: crate::score::limits(count, 23) };
    RehearsedPolicy {
        name: name.into(),
        found_in_canary: share(found),
        found: share(22),
        found_after_s: Some(26_640.0 + found as f64 * 60.0),
        broken: (found as u64 - 10, found as u64 + 9),
        false_alarms: share(21 - found),
        duration_s: Some(86_460.0 + found as f64 * 60.0),
    }
}

/// Three policies for a bug of one model, rehearsed.
pub(crate) fn advice() -> Advice {
    let policies = vec![
        advised("smallest-canary", 1, &[612, 10_000]),
        advised("few-false-alarms", 4, &[2_448, 10_000]),
        advised("in-steps", 5, &[319, 3_060, 10_000]),
    ];
    Advice {
        scenario: "spring".into(),
        question: BugToFind {
            detect_bp: 150,
            group: Group::Model("KS-200".into()),
            with_bp: 9_500,
            within_s: 172_800,
            false_alarms_bp: 600,
        },
        devices: 3_601,
        targets: 12_000,
        smallest: 199,
        fails: "with firmware 2.0.0 of the scenario, devices die about 6h after the update".into(),
        limits: "at most 5 updates in flight, 1 start a minute, 3 devices of a site out of service at a time, CONFIRMED after 15m"
            .into(),
        is_background_known: true,
        executed_bp: 9_000,
        canaries: policies.iter().map(|of| of.canary).collect(),
        chances: Chances {
            devices: vec![0, 199, 223, 1_200],
            at_most: vec![0.0, 0.950_6, 0.965, 1.0],
            found: [1, 4, 5]
                .map(|failures| FoundAt {
                    failures,
                    chances: vec![0.0, 0.9 / f64::from(failures), 0.95 / f64::from(failures), 0.99],
                })
                .into(),
        },
        rehearsed: Some(Rehearsed {
            state: "138 of 138 trials, finished".into(),
            policies: policies.iter().zip([20, 19, 18]).map(|(of, found)| rehearsed(&of.name, found)).collect(),
        }),
        commands: Commands {
            advise: "ks-fleet advise spring.toml --detect 1.5%".into(),
            rehearse: policies
                .iter()
                .map(|of| format!("ks-fleet rehearse spring.toml --policy a/{}.toml", of.name))
                .collect(),
            score: "ks-fleet rehearse spring.toml --trials 20".into(),
        },
        policies,
    }
}
