//! Every published number again.

use crate::shell::{Failed, cargo};

/// Runs the benchmarks, then the scenarios that measure.
pub(crate) fn run() -> Result<(), Failed> {
    cargo(&["bench", "--package", "ks-benches"])?;
    cargo(&["run", "--release", "--", "run", "scenarios/quickstart.toml", "--out", "reports/bench/quickstart"])?;
    cargo(&["run", "--release", "--", "run", "scenarios/steady.toml", "--out", "reports/bench/steady"])
}
