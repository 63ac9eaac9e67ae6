//! The scenario suite: what is shipped, run as a user runs it. Only scenarios whose verdict does not hang on how fast the
//! machine is; those that measure speed are run by `cargo xtask bench`.

use crate::{
    repeats::Elsewhere,
    shell::{self, Failed, cargo, say},
};

/// Each with the verb that runs it: rehearsed where nothing but the server's decisions is at stake, which takes seconds; over
/// sockets, in real time, where the sockets, the process or the load are.
const SUITE: &[(&str, &str)] = &[
    ("rehearse", "scenarios/first-light.toml"),
    ("rehearse", "scenarios/revoked-device.toml"),
    ("run", "scenarios/forged-and-replayed.toml"),
    ("rehearse", "scenarios/commands.toml"),
    ("rehearse", "scenarios/otrt-race.toml"),
    ("rehearse", "scenarios/revoke-under-load.toml"),
    ("run", "scenarios/rotate-server-key.toml"),
    ("rehearse", "scenarios/device-key-compromise.toml"),
    ("rehearse", "scenarios/offline-for-a-week.toml"),
    ("run", "scenarios/command-fanout.toml"),
    ("rehearse", "scenarios/attendance-rush.toml"),
    ("rehearse", "scenarios/canary-good-release.toml"),
    ("rehearse", "scenarios/canary-2pct-brick.toml"),
    ("rehearse", "scenarios/canary-late-failure.toml"),
    ("rehearse", "scenarios/canary-one-model.toml"),
    ("rehearse", "scenarios/lying-firmware.toml"),
    ("rehearse", "scenarios/site-outage-during-canary.toml"),
    ("rehearse", "scenarios/firmware-rollback.toml"),
    ("rehearse", "scenarios/abort-and-roll-back.toml"),
    ("run", "scenarios/download-storm.toml"),
];

/// What runs them, from the project's root.
const FLEET: &str = "target/release/ks-fleet";
/// The run folder.
const OUT: &str = "target/scenario-run";
/// Scenarios that broke something once; each is rehearsed for ever.
const ONCE_FAILED: &str = "scenarios/once-failed";
/// For how long random scenarios are explored, in minutes.
const EXPLORED_MIN: &str = "2";

/// Builds, runs the suite and what once failed, then explores from a new seed; fails at the first scenario that does not pass.
pub(crate) fn run() -> Result<(), Failed> {
    cargo(&["build", "--release"])?;
    let fleet = |arguments: &[&str]| shell::run(FLEET, arguments);
    let elsewhere = Elsewhere::on_this_machine();
    for (verb, scenario) in SUITE {
        if *verb == "rehearse" {
            elsewhere.repeats(FLEET, scenario, OUT)?;
        } else {
            fleet(&[verb, scenario, "--out", OUT])?;
        }
    }
    let once_failed = once_failed()?;
    for scenario in &once_failed {
        fleet(&["rehearse", scenario, "--signatures", "modelled", "--out", OUT])?;
    }
    say(&format!("{} scenarios passed", SUITE.len() + once_failed.len()));
    fleet(&["explore", "--minutes", EXPLORED_MIN, "--out", "target/explored"])
}

fn once_failed() -> Result<Vec<String>, Failed> {
    let unreadable = |error: std::io::Error| Failed(format!("cannot read {ONCE_FAILED}: {error}"));
    let entries = std::fs::read_dir(shell::root().join(ONCE_FAILED)).map_err(unreadable)?;
    let mut scenarios = Vec::new();
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        scenarios.push(format!("{ONCE_FAILED}/{}", name.to_string_lossy()));
    }
    scenarios.sort();
    Ok(scenarios)
}
