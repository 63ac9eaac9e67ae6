//! `ks-fleet explore`: shows its progress and its finding.

use std::{
    io::IsTerminal,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use ks_protocol::number::within;
use serde_json::json;

use super::{complain, say_json};
use crate::{
    console::span,
    drive::rehearse::Signatures,
    explore::{self, Exploration, Finding, SCENARIO, Search},
    failure::Failure,
    number::counted,
    run::folder::RUNS,
};

/// Options of `explore`.
#[derive(Debug, clap::Args)]
pub(super) struct ExploreOptions {
    /// Minutes to explore
    #[arg(long, value_name = "M", default_value_t = 5, value_parser = within(0..=u64::MAX))]
    minutes: u64,
    /// The first seed; each scenario uses the next [default: random]
    #[arg(long, value_name = "S", value_parser = within(0..=u64::MAX))]
    from_seed: Option<u64>,
    /// Maximum number of scenarios
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true, value_parser = within(0..=u64::MAX))]
    count: u64,
    /// How documents are signed: `modelled` is a keyed hash, several times as fast
    #[arg(long, value_enum, default_value = "modelled")]
    signatures: Signatures,
    /// Keep a finding in a folder under this one
    #[arg(long, value_name = "DIR", default_value = RUNS)]
    out: PathBuf,
    /// Write the result as JSON to standard output
    #[arg(long)]
    json: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

/// Explores and returns the exit code: 99 if an invariant was violated, 4 if it was interrupted.
pub(super) fn run(options: &ExploreOptions, stop: &Arc<AtomicBool>) -> Result<u8, Failure> {
    options.signatures.choose();
    let from_seed = match options.from_seed {
        Some(seed) => seed,
        None => a_new_seed()?,
    };
    let time = Duration::from_secs(options.minutes.saturating_mul(60));
    let search = Search { from_seed, time, count: options.count };
    let is_terminal = std::io::stderr().is_terminal();
    if !options.quiet {
        complain(&format!("exploring from seed {from_seed}"));
    }
    let tell = |explored: &Exploration, elapsed: Duration| {
        if !options.quiet && (is_terminal || elapsed.as_secs().is_multiple_of(10)) {
            complain(&format!("{} | {}", span(elapsed.as_secs_f64()), totals(explored)));
        }
    };
    let explored = explore::explore(search, &options.out, stop, tell)?;
    let shown = if options.json { say_json(&as_json(&search, &explored), false) } else { Ok(()) };
    if let Some(found) = &explored.found {
        show(found); // also if standard output can't be written
        return shown.map(|()| 99);
    }
    shown?;
    if explored.is_stopped {
        complain(&format!("interrupted, and no invariant was violated so far: {}", totals(&explored)));
        return Ok(4);
    }
    if !options.quiet {
        complain(&format!("every invariant held: {}", totals(&explored)));
    }
    Ok(0)
}

fn a_new_seed() -> Result<u64, Failure> {
    let bytes = ks_server::edge::os_randomness().map_err(|error| Failure::Server(error.to_string()))?;
    // 32 bits are enough to be new, and short enough to type.
    Ok(bytes.iter().take(4).fold(0, |seed, byte| seed << 8 | u64::from(*byte)))
}

fn totals(explored: &Exploration) -> String {
    format!(
        "{}, {}, {} of virtual time",
        counted(explored.scenarios, "scenario"),
        counted(explored.heartbeats, "heartbeat"),
        span(explored.simulated_s)
    )
}

fn show(found: &Finding) {
    complain(&format!("INVARIANT VIOLATED, seed {}", found.seed));
    found.violations.iter().for_each(|what| complain(&format!("  - {what}")));
    if !found.events.is_empty() {
        complain("the last events of the run:");
        found.events.iter().for_each(|event| complain(&format!("  {event}")));
    }
    let commit = commit().unwrap_or_else(|| "not known".to_owned());
    complain(&format!("commit: {commit}"));
    let signatures = Signatures::chosen().as_str();
    let scenario = found.folder.join(SCENARIO);
    complain(&format!("replay: ks-fleet rehearse {} --signatures {signatures}", scenario.display()));
    complain(&format!(
        "    or: ks-fleet explore --from-seed {} --count 1   (with this version of the program)",
        found.seed
    ));
}

fn as_json(search: &Search, explored: &Exploration) -> serde_json::Value {
    let found = explored.found.as_ref().map(|found| {
        json!({
            "seed": found.seed,
            "violations": found.violations,
            "scenario": found.folder.join(SCENARIO),
            "events": found.events,
            "commit": commit(),
        })
    });
    json!({
        "from_seed": search.from_seed,
        "scenarios": explored.scenarios,
        "heartbeats": explored.heartbeats,
        "simulated_s": explored.simulated_s,
        "stopped": explored.is_stopped,
        "found": found,
    })
}

/// The commit that is checked out here: it identifies the version of this program.
fn commit() -> Option<String> {
    let output = std::process::Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}
