//! A small sweep for tests: four values of one setting, three seeds, and one that the server refuses.

use super::{Configuration, Sweep, SweepSetup, SweepTrial, VariedSetting};
use crate::run_folder::Verdict;

pub(crate) fn trial(configuration: &str, seed: u64, refused: u64, let_through: u64) -> SweepTrial {
    SweepTrial {
        configuration: configuration.to_owned(),
        seed,
        verdict: Verdict::Pass,
        reasons: Vec::new(),
        requests: 1_000,
        refused,
        served: 1_000 - refused,
        devices: 100,
        late_devices: Some(refused / 10),
        deadline_s: Some(120.0),
        attacks: 5_000,
        attacks_let_through: let_through,
        attacks_accepted: 0,
        let_through_per_s_max: 12.0,
        refused_again: refused / 2,
        second_peak_per_s: refused / 10,
        sent_per_wanted: None,
        recovery_p99_s: None,
        never_served: 0,
        fired: [("a".to_owned(), refused)].into(),
        writes_in_progress_max: Some(40),
        limit_memory_bytes: Some(76_000),
        invariant_violations: 0,
        replay: format!("ks-fleet rehearse s.toml --seed {seed}"),
    }
}

pub(crate) fn trials() -> Vec<SweepTrial> {
    let of = |seed: u64| {
        [
            trial("A=2", seed, 500 + seed, 100),
            trial("A=8", seed, 0, 400 + seed),
            trial("A=24", seed, 0, 900),
            trial("A=60", seed, seed % 2, 2_000),
        ]
    };
    (1..=3).flat_map(of).collect()
}

pub(crate) fn configuration(value: &str) -> Configuration {
    Configuration {
        name: format!("A={value}"),
        settings: [("A".to_owned(), value.to_owned())].into(),
        refused: (value == "0").then(|| "`A` is `0`, expected a number from 1".to_owned()),
        warnings: Vec::new(),
    }
}

pub(crate) fn setup() -> SweepSetup {
    let values = ["0", "2", "8", "24", "60"];
    SweepSetup {
        scenario: "<script>".to_owned(),
        devices: 100,
        simulated_s: 3_600.0,
        first_seed: 1,
        signatures: "modelled".to_owned(),
        varied: vec![VariedSetting { name: "A".to_owned(), values: values.map(str::to_owned).into() }],
        configurations: values.map(configuration).into(),
        trials: 3,
        has_attackers: true,
        ..SweepSetup::default()
    }
}

pub(crate) fn sweep() -> Sweep {
    Sweep::of(setup(), &trials())
}
