//! The scenario suite: the shipped scenarios, run as a user runs them. Only scenarios whose verdict does not depend on the speed
//! of the machine, which a test below checks; `cargo xtask bench` runs those that measure speed.

use crate::{
    repeats::OtherEnvironment,
    shell::{self, Failed, all_of, say},
    steps::{Steps, beside},
};

/// How a scenario of the suite is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunMode {
    /// Over sockets in real time: where sockets, processes or load matter.
    Load,
    /// Under the virtual clock, where only the server's decisions matter.
    Rehearsal,
    /// The same with modelled signatures only: those in which real ones would take most of the time.
    Modelled,
}

/// Each scenario, and how it is run.
const SUITE: &[(RunMode, &str)] = &[
    (RunMode::Modelled, "scenarios/first-light.toml"),
    (RunMode::Rehearsal, "scenarios/revoked-device.toml"),
    (RunMode::Load, "scenarios/forged-and-replayed.toml"),
    (RunMode::Rehearsal, "scenarios/flooded-neighbor.toml"),
    (RunMode::Rehearsal, "scenarios/commands.toml"),
    (RunMode::Rehearsal, "scenarios/otrt-race.toml"),
    (RunMode::Modelled, "scenarios/revoke-under-load.toml"),
    (RunMode::Load, "scenarios/rotate-server-key.toml"),
    (RunMode::Rehearsal, "scenarios/device-key-compromise.toml"),
    (RunMode::Modelled, "scenarios/offline-for-a-week.toml"),
    (RunMode::Load, "scenarios/command-fanout.toml"),
    (RunMode::Modelled, "scenarios/attendance-rush.toml"),
    (RunMode::Modelled, "scenarios/canary-good-release.toml"),
    (RunMode::Modelled, "scenarios/canary-2pct-brick.toml"),
    (RunMode::Modelled, "scenarios/canary-late-failure.toml"),
    (RunMode::Modelled, "scenarios/late-failures-after-completion.toml"),
    (RunMode::Modelled, "scenarios/canary-one-model.toml"),
    (RunMode::Modelled, "scenarios/lying-firmware.toml"),
    (RunMode::Modelled, "scenarios/site-outage-during-canary.toml"),
    (RunMode::Modelled, "scenarios/background-failures.toml"),
    (RunMode::Modelled, "scenarios/firmware-rollback.toml"),
    (RunMode::Modelled, "scenarios/abort-and-roll-back.toml"),
    (RunMode::Load, "scenarios/download-storm.toml"),
    (RunMode::Rehearsal, "scenarios/behind-one-nat.toml"),
    (RunMode::Rehearsal, "scenarios/reconnect-storm-in-step.toml"),
    (RunMode::Rehearsal, "scenarios/reconnect-storm-with-jitter.toml"),
    (RunMode::Modelled, "scenarios/reconnect-storm-10000.toml"),
    (RunMode::Rehearsal, "scenarios/second-wave.toml"),
    (RunMode::Rehearsal, "scenarios/denied-registrations.toml"),
    (RunMode::Rehearsal, "scenarios/victim-named.toml"),
    (RunMode::Modelled, "scenarios/mad-device.toml"),
    (RunMode::Modelled, "scenarios/limits-at-work.toml"),
    (RunMode::Rehearsal, "scenarios/limits-of-devices.toml"),
    (RunMode::Rehearsal, "scenarios/botnet.toml"),
    (RunMode::Rehearsal, "scenarios/slow-leak.toml"),
    (RunMode::Rehearsal, "scenarios/window-edges.toml"),
    (RunMode::Rehearsal, "scenarios/shift-start.toml"),
    (RunMode::Rehearsal, "scenarios/restart-in-a-flood.toml"),
    (RunMode::Rehearsal, "scenarios/firmware-day.toml"),
];

/// The program that runs them, from the project's root.
pub(crate) const FLEET: &str = "target/debug/ks-fleet";
/// The run folder of rehearsals, and that of load runs.
const OUT: &str = "target/scenario-run";
const LOAD_OUT: &str = "target/scenario-load";
/// Regression scenarios: each of them failed once.
const ONCE_FAILED: &str = "scenarios/once-failed";
/// The first seed of the scenarios that are explored, and their number. Always the same: what passes here passes everywhere.
const EXPLORED: [&str; 2] = ["1", "150"];

/// Builds, then runs the suite, the regression scenarios and an exploration. Continues after a failure and lists all.
///
/// The development profile, in which the tests are built anyway: cryptography and the store are optimised in it too, so that a
/// second build of everything would take longer than it saves, and overflows are checked.
pub(crate) fn run() -> Result<(), Failed> {
    shell::build()?;
    // A rehearsal has one thread, and exploration what is left of the machine.
    beside_loads(|| beside(exploration, suite))
}

/// Runs the load runs of the suite beside other work: they mostly wait, and their verdict does not depend on speed.
pub(crate) fn beside_loads(other: impl FnOnce() -> Result<(), Failed>) -> Result<(), Failed> {
    beside(loads, other)
}

/// The load runs, one after the other; the output of each is printed when it has ended.
fn loads(steps: &mut Steps) -> Result<(), Failed> {
    let run = |scenario| shell::run_then_show(FLEET, &["run", scenario, "--out", LOAD_OUT]);
    let loads = SUITE.iter().filter(|(how, _)| *how == RunMode::Load);
    let done: Vec<_> = loads.map(|(_, scenario)| steps.run(scenario, || run(scenario))).collect();
    all_passed("load runs", done)
}

/// Says how many passed; fails if not all did.
fn all_passed(what: &str, done: Vec<Result<(), Failed>>) -> Result<(), Failed> {
    let passed = done.iter().filter(|done| done.is_ok()).count();
    say(&format!("{passed} of {} {what} passed", done.len()));
    all_of(done)
}

/// Explores the first seeds; the output is printed when it has ended.
pub(crate) fn exploration(steps: &mut Steps) -> Result<(), Failed> {
    let [first, count] = EXPLORED;
    let arguments = ["explore", "--out", "target/explored", "--from-seed", first, "--count", count, "--minutes", "30"];
    steps.run("exploring", || shell::run_then_show(FLEET, &arguments))
}

/// The rehearsals of the suite, each with its determinism check, and the regression scenarios, one after the other.
pub(crate) fn suite() -> Result<(), Failed> {
    let once_failed = once_failed()?;
    let elsewhere = OtherEnvironment::on_this_machine();
    let mut steps = Steps::default();
    let twice = |(how, scenario): &(RunMode, &str)| {
        let signatures = if *how == RunMode::Modelled { "modelled" } else { "real" };
        steps.run(scenario, || elsewhere.repeats(FLEET, scenario, signatures, OUT))
    };
    let mut done: Vec<_> = SUITE.iter().filter(|(how, _)| *how != RunMode::Load).map(twice).collect();
    let again =
        |scenario: &str| shell::run_then_show(FLEET, &["rehearse", scenario, "--signatures", "modelled", "--out", OUT]);
    done.extend(once_failed.iter().map(|scenario| steps.run(scenario, || again(scenario))));
    all_passed("rehearsals", done)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Metric names, or their suffixes, that measure a time or a rate.
    const TIMES: [&str; 4] = ["_ms\"", ".per_min\"", ".detection_s\"", "_s\""];

    /// Goal: no scenario of the suite fails because the machine is slow.
    /// Method: what runs in real time says that its timing is ignored, with which `ks-fleet check` refuses every expectation of
    /// a time; what is rehearsed expects no latency, which virtual time does not have.
    #[test]
    fn no_scenario_of_the_suite_depends_on_the_speed_of_the_machine() {
        for (how, scenario) in SUITE {
            let text = std::fs::read_to_string(shell::root().join(scenario)).expect(scenario);
            let expects = |what: &str| text.lines().any(|line| line.starts_with("metric") && line.contains(what));
            if *how != RunMode::Load {
                assert!(!expects("_ms\""), "{scenario} expects a latency of a rehearsal");
                continue;
            }
            let is_ignored = text.lines().any(|line| line == "timing = \"ignored\"");
            assert!(is_ignored, "{scenario} runs in real time without `timing = \"ignored\"`");
            assert!(!TIMES.iter().any(|what| expects(what)), "{scenario} expects a time or a rate");
        }
    }
}
