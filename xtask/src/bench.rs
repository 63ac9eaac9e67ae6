//! Every published number again.

use crate::shell::{self, Failed, all_of, cargo, root, run_in};

/// The scenario for rehearsals.
const TWO_DAYS: &str = "scenarios/two-days.toml";
const TWELVE_THOUSAND: &str = "scenarios/twelve-thousand-terminals.toml";
const STORM: &str = "scenarios/download-storm.toml";

const FLOODS: &str = "scenarios/floods.toml";
const FAST_FLOODS: &str = "scenarios/fast-floods.toml";
const OVERLOAD: &str = "scenarios/overload-over-sockets.toml";
const RECONNECT: &str = "scenarios/reconnect-storm.toml";

/// Runs the benchmarks, then the scenarios that measure.
pub(crate) fn run() -> Result<(), Failed> {
    cargo(&["bench", "--profile", "dist", "--package", "ks-benches"])?;
    cargo(&[
        "run",
        "--profile",
        "dist",
        "--",
        "run",
        "scenarios/quickstart.toml",
        "--out",
        "reports/bench/quickstart",
    ])?;
    cargo(&["run", "--profile", "dist", "--", "run", "scenarios/steady.toml", "--out", "reports/bench/steady"])?;
    storm()?;
    floods()?;
    limits_over_sockets()?;
    per_core()?;
    let plain = TWO_DAYS.to_owned();
    let each_minute =
        variant("two-days-each-minute", TWO_DAYS, "heartbeat_interval = \"5m\"", "heartbeat_interval = \"60s\"")?;
    let idle = variant("idle", TWO_DAYS, "heartbeat_interval = \"5m\"", "heartbeat_interval = \"1h\"")?;
    let trial = ["--signatures", "modelled", "--trials", "1"];
    rehearse("two-days", &plain, &["--signatures", "real"])?;
    rehearse("two-days-modelled", &plain, &["--signatures", "modelled"])?;
    rehearse("two-days-trial", &plain, &trial)?;
    rehearse("two-days-each-minute-modelled", &each_minute, &["--signatures", "modelled"])?;
    rehearse("two-days-each-minute-trial", &each_minute, &trial)?;
    rehearse("idle", &idle, &["--signatures", "modelled", "--devices", "2", "--duration", "24h"])?;
    rehearse("ten-thousand", &plain, &["--signatures", "modelled", "--devices", "10000", "--duration", "72h"])?;
    let modelled = ["--signatures", "modelled"];
    rehearse("twelve-thousand", TWELVE_THOUSAND, &modelled)?;
    rehearse("twelve-thousand-without-log", TWELVE_THOUSAND, &[&modelled[..], &["--events", "none"]].concat())?;
    rehearse("twelve-thousand-trial", TWELVE_THOUSAND, &trial)
}

/// The effect of floods on honest devices: one run of about five minutes, and its table.
pub(crate) fn floods() -> Result<(), Failed> {
    build_all()?;
    let out = "reports/bench/floods";
    let run = cargo(&["run", "--profile", "dist", "--", "run", FLOODS, "--out", out]);
    all_of([run, cargo(&["run", "--profile", "dist", "--package", "ks-benches", "--example", "floods", out])])
}

/// What limits cost, and what they are for.
pub(crate) fn limits() -> Result<(), Failed> {
    cargo(&["bench", "--profile", "dist", "--package", "ks-benches", "--bench", "limits"])?;
    limits_over_sockets()
}

/// Floods as fast as the machine can send them, more writes than the disk can take with and without the limit on them, and 10,000
/// devices that reconnect at the same time: four minutes.
fn limits_over_sockets() -> Result<(), Failed> {
    build_all()?;
    let run = |scenario: &str, name: &str, flags: &[&str]| {
        let out = format!("reports/bench/{name}");
        cargo(&[&["run", "--profile", "dist", "--", "run", scenario, "--out", &out], flags].concat())
    };
    let out = "reports/bench/fast-floods";
    let floods = run(FAST_FLOODS, "fast-floods", &[]);
    let table = cargo(&["run", "--profile", "dist", "--package", "ks-benches", "--example", "floods", out]);
    let unlimited = variant("overload-unlimited", OVERLOAD, "OVERLOAD_TARGET_MS = 100", "OVERLOAD_TARGET_MS = 0")?;
    let slower = variant("reconnect", RECONNECT, "heartbeat_interval = \"1s\"", "heartbeat_interval = \"5s\"")?;
    all_of([
        floods,
        table,
        run(OVERLOAD, "overload", &[]),
        run(&unlimited, "overload-unlimited", &[]),
        run(&slower, "reconnect-10000", &["--devices", "10000"]),
    ])
}

/// The same heartbeats answered by another stack, beside each other: about fifteen minutes.
pub(crate) fn peers() -> Result<(), Failed> {
    let packages = root().join("benches/peers/express");
    if !packages.join("node_modules").exists() {
        run_in(&packages, "npm", &["ci", "--no-audit", "--no-fund"])?;
    }
    build_all()?;
    shell::run("target/dist/examples/peers", &["target/dist", "reports/bench/peers"])
}

/// What a heartbeat costs a server with one core, beside what it can't do without: two minutes.
pub(crate) fn per_core() -> Result<(), Failed> {
    build_all()?;
    shell::run("target/dist/examples/per_core", &["target/dist", "reports/bench/per-core"])
}

/// The programs, as they are shipped, and those that measure them.
fn build_all() -> Result<(), Failed> {
    // Not the examples of the other packages: each is optimised as a whole, which takes minutes.
    cargo(&["build", "--profile", "dist", "--bins", "--package", "ks-fleet", "--package", "ks-server"])?;
    cargo(&["build", "--profile", "dist", "--examples", "--package", "ks-benches"])
}

/// Heartbeat latency while the whole fleet downloads: the suite's scenario, with timing measured.
fn storm() -> Result<(), Failed> {
    let measured = variant("storm-measured", STORM, "timing = \"ignored\"", "timing = \"measured\"")?;
    let quick = "[[expect]]\nmetric = \"heartbeat.p99_ms\"\nmax = 100\nduring = \"storm\"\n\n";
    let first = "[[expect]]\nmetric = \"updated";
    let storm = variant("download-storm", &measured, first, &format!("{quick}{first}"))?;
    cargo(&["run", "--profile", "dist", "--", "run", &storm, "--out", "reports/bench/download-storm"])
}

/// How fast rehearsals are; `wall_s` and `generator.rss_bytes` of each summary, and of a trial its own output.
fn rehearse(name: &str, scenario: &str, flags: &[&str]) -> Result<(), Failed> {
    let out = format!("reports/bench/{name}");
    let run = ["run", "--profile", "dist", "--", "rehearse", scenario, "--out", &out];
    cargo(&[run.as_slice(), flags].concat())
}

/// Writes a scenario with one part changed; returns its path.
fn variant(name: &str, of: &str, part: &str, instead: &str) -> Result<String, Failed> {
    let failed = |error: std::io::Error| Failed(format!("cannot write the scenario {name}: {error}"));
    let text = std::fs::read_to_string(root().join(of)).map_err(failed)?;
    if !text.contains(part) {
        return Err(Failed(format!("{of} has no `{part}`")));
    }
    let path = format!("target/bench-{name}.toml");
    std::fs::write(root().join(&path), text.replace(part, instead)).map_err(failed)?;
    Ok(path)
}
