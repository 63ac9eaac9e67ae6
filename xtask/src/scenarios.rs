//! The scenario suite: what is shipped, run as a user runs it. Only scenarios whose verdict does not hang on how fast the
//! machine is; those that measure speed are run by `cargo xtask bench`.

use crate::shell::{self, Failed, cargo, say};

/// Each with the verb that runs it.
const SUITE: &[(&str, &str)] = &[
    ("rehearse", "scenarios/first-light.toml"),
    ("run", "scenarios/revoked-device.toml"),
    ("run", "scenarios/forged-and-replayed.toml"),
    ("run", "scenarios/commands.toml"),
    ("run", "scenarios/otrt-race.toml"),
    ("run", "scenarios/revoke-under-load.toml"),
    ("run", "scenarios/rotate-server-key.toml"),
    ("run", "scenarios/device-key-compromise.toml"),
    ("rehearse", "scenarios/offline-for-a-week.toml"),
    ("run", "scenarios/command-fanout.toml"),
    ("run", "scenarios/attendance-rush.toml"),
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

/// Builds, then runs the suite; fails at the first scenario that does not pass.
pub(crate) fn run() -> Result<(), Failed> {
    cargo(&["build", "--release"])?;
    for (verb, scenario) in SUITE {
        shell::run("target/release/ks-fleet", &[verb, scenario, "--out", "target/scenario-run"])?;
    }
    say(&format!("{} scenarios passed", SUITE.len()));
    Ok(())
}
