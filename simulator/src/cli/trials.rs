//! `ks-fleet rehearse --trials`: many seeds, several policies, several rates of bugs; the table, the page, the verdict.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ks_protocol::number::{canonical, within};
use ks_reports::{
    run_folder::Verdict,
    score::{Score, Trial, draw_score, table, write_score},
};
use ks_server::{
    clock::{Clock, SystemClock},
    rollout::policy::Policy,
};
use serde_json::json;

use super::{Options, complain, say, say_json};
use crate::{
    console::{grouped, span},
    drive::rehearse::Signatures,
    failure::Failure,
    folder::RunFolder,
    resources::Stopwatch,
    scenario::Plan,
    trials::{NamedPolicy, TrialResult, Trials},
};

/// Most failed trials that are printed.
const FAILED_SHOWN: usize = 10;
/// Largest policy file that is read.
const POLICY_BYTES_MAX: usize = 64 * 1024;

/// Options of `rehearse` for trials.
#[derive(Debug, Default, clap::Args)]
pub(super) struct TrialOptions {
    /// Rehearse this many seeds, on all cores, and report rates
    #[arg(long, value_name = "N", value_parser = within(1..=100_000_u32))]
    trials: Option<u32>,
    /// Score this rollout policy instead of the scenario's: a TOML file with the keys of a [[policy]]; may be repeated
    #[arg(long, value_name = "FILE", requires = "trials")]
    policy: Vec<PathBuf>,
    /// Make the firmware break these percentages of devices: 0,0.5,1,2
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
    let whole: u16 = canonical(whole).ok_or_else(bad)?;
    let parts: u16 = format!("{parts:0<2}").parse().map_err(|_| bad())?;
    whole.checked_mul(100).and_then(|bp| bp.checked_add(parts)).filter(|bp| *bp <= 10_000).ok_or_else(bad)
}

impl TrialOptions {
    /// Whether trials were requested.
    pub(super) fn are_given(&self) -> bool {
        self.trials.is_some()
    }
}

/// Runs the trials and returns the exit code: 99 if a trial failed and nothing is scored, or if an invariant was violated.
pub(super) fn run(
    plan: &Plan,
    replay: String,
    trials: &TrialOptions,
    (options, folder): (&Options, Option<&RunFolder>),
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
    let mut shown_s = 0;
    let results = trials.run(stop, |ended, of| {
        let elapsed = stopwatch.elapsed();
        if !options.quiet && (elapsed.as_secs() >= shown_s + if is_terminal { 1 } else { 10 } || ended == of) {
            shown_s = elapsed.as_secs();
            let (ended, of) = (grouped(ended), grouped(of));
            complain(&format!("{} | {ended} of {of} trials", span(elapsed.as_secs_f64())));
        }
    })?;
    let scored: Vec<Trial> = results.iter().filter_map(|result| result.trial.clone()).collect();
    let score = Score::of(trials.asked(Signatures::chosen().as_str()), &scored);
    let failed: Vec<&TrialResult> = results.iter().filter(|result| result.verdict != Verdict::Pass).collect();
    let shown = match options.json {
        true => say_json(&as_json(&results, &failed, &score), false),
        false if scored.is_empty() => Ok(()),
        false => say(table(&score).trim_end()),
    };
    let ended = stop
        .load(Ordering::Relaxed)
        .then(|| format!("interrupted after {} trials: too few for a result", results.len()));
    write(&results, &score, &scored, (is_scored, ended.as_deref()), (plan.name.as_str(), folder))?;
    shown?; // only now: a standard output that can't be written must not prevent the files
    if let Some(ended) = ended {
        complain(&ended);
        return Ok(4);
    }
    if score.invariant_violations > 0 {
        complain(&format!("INVARIANT VIOLATIONS: {}", score.invariant_violations));
        print_failed(&failed);
        return Ok(99);
    }
    if is_scored {
        return Ok(0); // a score compares policies; it does not judge the scenario's expectations
    }
    let passed = results.len() - failed.len();
    let (low, high) = ks_reports::score::limits(passed, results.len());
    complain(&format!(
        "{passed} of {} trials passed: {:.1} to {:.1} % of all would, with 95 % confidence",
        results.len(),
        (low * 1_000.0).floor() / 10.0, // rounded outwards: they claim no more than was shown
        (high * 1_000.0).ceil() / 10.0
    ));
    print_failed(&failed);
    Ok(if failed.is_empty() { 0 } else { 99 })
}

/// Refuses duplicates: both would be one line of the score, with trials that count twice.
fn refuse_twice<T>(given: &[T], flag: &str, called: impl Fn(&T) -> String) -> Result<(), Failure> {
    let mut names = BTreeSet::new();
    match given.iter().map(called).find(|name| !names.insert(name.clone())) {
        Some(name) => Err(Failure::BadRequest(format!("{flag} gives {name} twice; each line of a score has one"))),
        None => Ok(()),
    }
}

/// Prints which trials failed, why, and how to repeat each.
fn print_failed(failed: &[&TrialResult]) {
    for result in failed.iter().take(FAILED_SHOWN) {
        complain(&format!("  seed {}: {}", result.seed, result.reasons.join("; ")));
        complain(&format!("    replay: {}", result.replay));
    }
    if failed.len() > FAILED_SHOWN {
        complain(&format!("  and {} more", failed.len() - FAILED_SHOWN));
    }
}

fn as_json(results: &[TrialResult], failed: &[&TrialResult], score: &Score) -> serde_json::Value {
    let failed: Vec<_> = failed
        .iter()
        .map(|result| json!({ "seed": result.seed, "reasons": result.reasons, "replay": result.replay }))
        .collect();
    json!({ "trials": results.len(), "failed": failed, "score": score })
}

/// Writes the results of the trials and prints the paths: the score, if anything was rolled out, and JUnit, if they were
/// not run for a score, with the reason of an early end.
fn write(
    results: &[TrialResult],
    score: &Score,
    scored: &[Trial],
    (is_scored, ended): (bool, Option<&str>),
    (name, folder): (&str, Option<&RunFolder>),
) -> Result<(), Failure> {
    let now = SystemClock.now();
    let mut new = None;
    let folder = RunFolder::requested_or_new(folder, &mut new, &format!("{name}-trials"), now)?.path();
    if scored.is_empty() {
        let lines: Vec<String> = results.iter().map(|result| line(result).to_string() + "\n").collect();
        let path = folder.join(ks_reports::score::TRIALS);
        let cannot = |cause| Failure::File { what: "write", path: path.clone(), cause };
        ks_reports::create_new(&path).and_then(|mut file| file.write_all(lines.concat().as_bytes())).map_err(cannot)?;
        complain(&format!("\ntrials: {}", path.display()));
    } else {
        write_score(folder, score, scored)?;
        let drawn = draw_score(folder)?;
        complain(&format!("\n{}\nreport: {}", score.recommendation, drawn.report.display()));
    }
    let case = |result: &TrialResult| {
        let of = result
            .trial
            .as_ref()
            .map_or_else(String::new, |of| format!("{}, bug rate {} bp, ", of.policy, of.bug_rate_bp));
        let why = format!("{}; replay: {}", result.reasons.join("; "), result.replay);
        (format!("{of}seed {}", result.seed), result.verdict, why)
    };
    // A score has no failures: it compares policies.
    if !is_scored {
        let ended = ended.map(|why| ("all trials".to_owned(), Verdict::Inconclusive, why.to_owned()));
        let cases: Vec<_> = results.iter().map(case).chain(ended).collect();
        ks_reports::write_trials(folder, name, &now.to_string(), &cases)?;
    }
    Ok(())
}

/// A trial that was not scored, as a JSON line.
fn line(result: &TrialResult) -> serde_json::Value {
    json!({ "seed": result.seed, "verdict": result.verdict, "reasons": result.reasons, "replay": result.replay })
}

/// Reads a policy; its name is the file's name without the extension.
fn read_policy(path: &Path) -> Result<NamedPolicy, Failure> {
    let bad = |why: String| Failure::BadRequest(format!("{}: {why}", path.display()));
    let cannot = |cause| Failure::File { what: "read", path: path.to_owned(), cause };
    let text = super::read_start(path, POLICY_BYTES_MAX + 1).map_err(cannot)?;
    if text.len() > POLICY_BYTES_MAX {
        return Err(bad(format!("it is larger than {POLICY_BYTES_MAX} bytes")));
    }
    let text = String::from_utf8(text).map_err(|_| bad("it is not text in UTF-8".to_owned()))?;
    let mut table: BTreeMap<String, toml::Value> =
        toml::from_str(&text).map_err(|error| bad(in_one_line(&text, &error)))?;
    table.remove("name"); // a [[policy]] of a scenario has one
    let json = serde_json::to_value(table).map_err(|error| bad(error.to_string()))?;
    let policy: Policy = serde_path_to_error::deserialize(json).map_err(|error| bad(error.to_string()))?;
    let wrong = policy.validate();
    if !wrong.is_empty() {
        return Err(bad(wrong.join("; ")));
    }
    let name = path.file_stem().map_or_else(|| "policy".to_owned(), |stem| stem.to_string_lossy().into_owned());
    Ok((name, policy))
}

/// A TOML error with its line.
fn in_one_line(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
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
