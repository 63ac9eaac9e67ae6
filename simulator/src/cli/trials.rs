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

use ks_protocol::number::{in_one_form, within};
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
    #[arg(long, value_name = "N", value_parser = within(1..=100_000_u32))]
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
    let whole: u16 = in_one_form(whole).ok_or_else(bad)?;
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
    let score = Score::of(trials.asked(Signatures::chosen().as_str()), &scored);
    let failed: Vec<&Tried> = tried.iter().filter(|tried| tried.verdict != Verdict::Pass).collect();
    let shown = match options.json {
        true => say_json(&as_json(&tried, &failed, &score), false),
        false if scored.is_empty() => Ok(()),
        false => say(table(&score).trim_end()),
    };
    let ended = stop
        .load(Ordering::Relaxed)
        .then(|| format!("ended by a person after {} trials: too few to tell", tried.len()));
    write(&tried, &score, &scored, (is_scored, ended.as_deref()), (plan.name.as_str(), folder))?;
    shown?; // only now: a standard output that is full must not take the trials along
    if let Some(ended) = ended {
        complain(&ended);
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

/// Writes what came of the trials, and tells where: their score, if anything was rolled out, and a form for CI servers, if they were
/// not made for the score, with why they ended early, if they did.
fn write(
    tried: &[Tried],
    score: &Score,
    scored: &[Trial],
    (is_scored, ended): (bool, Option<&str>),
    (name, folder): (&str, Option<&RunFolder>),
) -> Result<(), Failure> {
    let now = SystemClock.now();
    let mut new = None;
    let folder = RunFolder::asked_or_new(folder, &mut new, &format!("{name}-trials"), now)?.path();
    if scored.is_empty() {
        let lines: Vec<String> = tried.iter().map(|tried| line(tried).to_string() + "\n").collect();
        let path = folder.join(ks_reports::score::TRIALS);
        let cannot = |cause| Failure::File { what: "write", path: path.clone(), cause };
        ks_reports::create_new(&path).and_then(|mut file| file.write_all(lines.concat().as_bytes())).map_err(cannot)?;
        complain(&format!("\ntrials: {}", path.display()));
    } else {
        write_score(folder, score, scored)?;
        let drawn = draw_score(folder)?;
        complain(&format!("\n{}\nreport: {}", score.recommendation, drawn.report.display()));
    }
    let case = |tried: &Tried| {
        let of = tried
            .trial
            .as_ref()
            .map_or_else(String::new, |of| format!("{}, bug rate {} bp, ", of.policy, of.bug_rate_bp));
        let why = format!("{}; replay: {}", tried.reasons.join("; "), tried.replay);
        (format!("{of}seed {}", tried.seed), tried.verdict, why)
    };
    // Of a score nothing fails: what policies do with bugs is what was asked.
    if !is_scored {
        let ended = ended.map(|why| ("all trials".to_owned(), Verdict::Inconclusive, why.to_owned()));
        let cases: Vec<_> = tried.iter().map(case).chain(ended).collect();
        ks_reports::write_trials(folder, name, &now.to_string(), &cases)?;
    }
    Ok(())
}

/// A trial that was not scored, as a line.
fn line(tried: &Tried) -> serde_json::Value {
    json!({ "seed": tried.seed, "verdict": tried.verdict, "reasons": tried.reasons, "replay": tried.replay })
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

/// What is wrong with a TOML file, and on which line.
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
