//! Every published number again.

use crate::shell::{Failed, cargo};

/// Runs the benchmarks, then the scenarios that measure.
pub(crate) fn run() -> Result<(), Failed> {
    cargo(&["bench", "--package", "ks-benches"])?;
    cargo(&["run", "--release", "--", "run", "scenarios/quickstart.toml", "--out", "reports/bench/quickstart"])?;
    cargo(&["run", "--release", "--", "run", "scenarios/steady.toml", "--out", "reports/bench/steady"])?;
    rehearse("two-days", &["--signatures", "real"])?;
    rehearse("two-days-modelled", &["--signatures", "modelled"])?;
    rehearse("two-days-trials", &["--signatures", "modelled", "--trials", "2"])?;
    rehearse("ten-thousand", &["--signatures", "modelled", "--devices", "10000", "--duration", "72h"])
}

/// How fast rehearsals are; `wall_s` and `generator.rss_bytes` of each summary.
fn rehearse(name: &str, flags: &[&str]) -> Result<(), Failed> {
    let out = format!("reports/bench/{name}");
    let run = ["run", "--release", "--", "rehearse", "scenarios/two-days.toml", "--out", &out];
    cargo(&[run.as_slice(), flags].concat())
}
