//! `ks-fleet rehearse --trials`: many seeds, several policies, several rates of bugs; the table, the page, the verdict.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ks_reports::{
    run_folder::Verdict,
    score::{Score, Trial, draw_score, table, write_score},
};
use ks_server::{
    clock::{Clock, SystemClock},
    rollout::policy::Policy,
};
use serde_json::json;

use super::{Options, complain, say};
use crate::{
    console::{grouped, span},
    failure::Failure,
    folder::place,
    rehearse::Signatures,
    scenario::Plan,
    self_watch::Stopwatch,
    trials::{NamedPolicy, Trials, Tried},
};

/// What is said of failed trials, at most.
const FAILED_TOLD: usize = 10;
/// Largest policy file that is read.
const POLICY_BYTES_MAX: usize = 64 * 1024;

/// What `rehearse` is told of trials.
#[derive(Debug, Default, clap::Args)]
pub(super) struct TrialOptions {
    /// Rehearse so many seeds, over every core, and give rates
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    trials: Option<u32>,
    /// Score this rollout policy, in the place of the scenario's: a TOML file with the keys of a [[policy]]; may be given often
    #[arg(long, value_name = "FILE", requires = "trials")]
    policy: Vec<PathBuf>,
    /// Have the firmware break so many devices, in per cent: 0,0.5,1,2
    #[arg(long, value_name = "RATES", requires = "trials", value_delimiter = ',', value_parser = rate_bp)]
    bug_rates: Vec<u16>,
}

/// `0.5` per cent is 50 basis points.
fn rate_bp(text: &str) -> Result<u16, String> {
    let bad = || format!("`{text}`: expected per cent from 0 to 100 with two decimals at most, such as 0.5");
    let (whole, parts) = text.trim().trim_end_matches('%').split_once('.').unwrap_or((text.trim_end_matches('%'), ""));
    if parts.len() > 2 || !(whole.to_owned() + parts).bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let whole: u16 = whole.parse().map_err(|_| bad())?;
    let parts: u16 = format!("{parts:0<2}").parse().map_err(|_| bad())?;
    whole.checked_mul(100).and_then(|bp| bp.checked_add(parts)).filter(|bp| *bp <= 10_000).ok_or_else(bad)
}

impl TrialOptions {
    /// Whether there is more than one rehearsal to be made.
    pub(super) fn are_given(&self) -> bool {
        self.trials.is_some()
    }
}

/// Makes the trials, and gives the exit code: 99 if a trial did not pass and nothing was to be scored, or a promise was broken.
pub(super) fn run(
    plan: &Plan,
    replay: String,
    trials: &TrialOptions,
    options: &Options,
    stop: &Arc<AtomicBool>,
) -> Result<u8, Failure> {
    let policies: Vec<NamedPolicy> = trials.policy.iter().map(|path| read_policy(path)).collect::<Result<_, _>>()?;
    refuse_twice(&trials.bug_rates, "--bug-rates", |rate_bp| format!("{} %", f64::from(*rate_bp) / 100.0))?;
    refuse_twice(&policies, "--policy", |(name, _)| name.clone())?;
    let is_scored = !policies.is_empty() || !trials.bug_rates.is_empty();
    if is_scored && !plan.has_rollouts() {
        return Err(Failure::BadRequest("the scenario rolls nothing out, so no policy can be scored by it".to_owned()));
    }
    let trials =
        Trials { plan, count: trials.trials.unwrap_or(1), policies, bug_rates_bp: trials.bug_rates.clone(), replay };
    let (stopwatch, is_terminal) = (Stopwatch::started(), std::io::stderr().is_terminal());
    let mut told_s = 0;
    let tried = trials.run(stop, |ended, of| {
        let elapsed = stopwatch.elapsed();
        if !options.quiet && (elapsed.as_secs() >= told_s + if is_terminal { 1 } else { 10 } || ended == of) {
            told_s = elapsed.as_secs();
            let (ended, of) = (grouped(ended), grouped(of));
            complain(&format!("{} | {ended} of {of} trials", span(elapsed.as_secs_f64())));
        }
    })?;
    let scored: Vec<Trial> = tried.iter().filter_map(|tried| tried.trial.clone()).collect();
    let score = Score::of(&plan.name, plan.seed, Signatures::chosen().as_str(), &scored);
    let failed: Vec<&Tried> = tried.iter().filter(|tried| tried.verdict != Verdict::Pass).collect();
    if options.json {
        say(&as_json(&tried, &failed, &score).to_string());
    } else if !scored.is_empty() {
        say(table(&score).trim_end());
    }
    if !scored.is_empty() {
        let folder = folder(options.out.as_deref(), &plan.name)?;
        write_score(&folder, &score, &scored)?;
        let drawn = draw_score(&folder)?;
        complain(&format!("\n{}\nreport: {}", score.recommendation, drawn.report.display()));
    }
    if stop.load(Ordering::Relaxed) {
        complain(&format!("ended by a person after {} trials: too few to tell", tried.len()));
        return Ok(4);
    }
    if score.broken_promises > 0 {
        complain(&format!("BROKEN PROMISES: {}", score.broken_promises));
        tell_failed(&failed);
        return Ok(99);
    }
    if is_scored {
        return Ok(0); // what policies do with bugs is what was asked, not whether the scenario's expectations are met
    }
    let passed = tried.len() - failed.len();
    let (low, high) = ks_reports::score::limits(passed, tried.len());
    complain(&format!(
        "{passed} of {} trials passed: {:.1} to {:.1} % of all would, with 95 % confidence",
        tried.len(),
        (low * 1_000.0).floor() / 10.0, // outwards: they promise no more than was shown
        (high * 1_000.0).ceil() / 10.0
    ));
    tell_failed(&failed);
    Ok(if failed.is_empty() { 0 } else { 99 })
}

/// Refuses what is given twice: both would be one line of the score, with trials that count double.
fn refuse_twice<T>(given: &[T], flag: &str, called: impl Fn(&T) -> String) -> Result<(), Failure> {
    let mut names = BTreeSet::new();
    match given.iter().map(called).find(|name| !names.insert(name.clone())) {
        Some(name) => Err(Failure::BadRequest(format!("{flag} gives {name} twice; each line of a score has one"))),
        None => Ok(()),
    }
}

/// Which trials did not pass, why, and how to have each again.
fn tell_failed(failed: &[&Tried]) {
    for tried in failed.iter().take(FAILED_TOLD) {
        complain(&format!("  seed {}: {}", tried.seed, tried.reasons.join("; ")));
        complain(&format!("    replay: {}", tried.replay));
    }
    if failed.len() > FAILED_TOLD {
        complain(&format!("  and {} more", failed.len() - FAILED_TOLD));
    }
}

fn as_json(tried: &[Tried], failed: &[&Tried], score: &Score) -> serde_json::Value {
    let failed: Vec<_> = failed
        .iter()
        .map(|tried| json!({ "seed": tried.seed, "reasons": tried.reasons, "replay": tried.replay }))
        .collect();
    json!({ "trials": tried.len(), "failed": failed, "score": score })
}

fn folder(out: Option<&Path>, name: &str) -> Result<PathBuf, Failure> {
    let folder = place(out, &format!("{name}-trials"), SystemClock.now());
    let cannot = |cause| Failure::File { what: "create", path: folder.clone(), cause };
    std::fs::create_dir_all(&folder).map_err(cannot)?;
    Ok(folder)
}

/// A policy by its file's name, without the extension.
fn read_policy(path: &Path) -> Result<NamedPolicy, Failure> {
    let bad = |why: String| Failure::BadRequest(format!("{}: {why}", path.display()));
    let cannot = |cause| Failure::File { what: "read", path: path.to_owned(), cause };
    let text = super::read_start(path, POLICY_BYTES_MAX + 1).map_err(cannot)?;
    if text.len() > POLICY_BYTES_MAX {
        return Err(bad(format!("it is larger than {POLICY_BYTES_MAX} bytes")));
    }
    let text = String::from_utf8(text).map_err(|_| bad("it is not text in UTF-8".to_owned()))?;
    let mut table: BTreeMap<String, toml::Value> = toml::from_str(&text).map_err(|error| bad(error.to_string()))?;
    table.remove("name"); // a [[policy]] of a scenario has one
    let json = serde_json::to_value(table).map_err(|error| bad(error.to_string()))?;
    let policy: Policy = serde_path_to_error::deserialize(json).map_err(|error| bad(error.to_string()))?;
    let nonsense = policy.nonsense();
    if !nonsense.is_empty() {
        return Err(bad(nonsense.join("; ")));
    }
    let name = path.file_stem().map_or_else(|| "policy".to_owned(), |stem| stem.to_string_lossy().into_owned());
    Ok((name, policy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_in_per_cent() {
        let rates = ["0", "0.5", "1", "2.25", "100", "3%"].map(|text| rate_bp(text).unwrap());
        assert_eq!(rates, [0, 50, 100, 225, 10_000, 300]);
        for wrong in ["", ".", "-1", "100.01", "0.125", "x", "1e2"] {
            assert!(rate_bp(wrong).unwrap_err().contains("expected per cent"), "{wrong}");
        }
    }
}
