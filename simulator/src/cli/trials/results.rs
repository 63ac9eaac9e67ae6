//! The results of trials, in their folder, on standard output and on standard error.

use std::{path::Path, time::Duration};

use ks_protocol::duration;
use ks_reports::{
    Artifacts, JudgedCase,
    run_folder::Verdict,
    score::{self, Score, State, Trial},
};
use ks_server::clock::{Clock, SystemClock};
use serde_json::json;

use crate::{
    cli::{
        Options,
        execute::quoted,
        output::{complain, say, say_json},
    },
    failure::Failure,
    run::folder::RunFolder,
    trials::{Record, Trials},
};

/// The score of what is recorded, with how it ended or when it was drawn.
pub(super) fn score_of(trials: &Trials<'_>, record: &Record<Trial>, state: State, folder: &Path) -> Score {
    let is_running = state == State::Running;
    let asked = score::ScoreSetup {
        state,
        drawn_at: is_running.then(|| SystemClock.now().to_string()),
        resume: (!state.is_final())
            .then(|| format!("ks-fleet rehearse --resume {}", quoted(&folder.display().to_string()))),
        ..trials.setup()
    };
    Score::of(asked, &record.trials())
}

/// Draws the page of running trials.
pub(super) fn draw_page(folder: &Path, score: &Score) -> Result<(), Failure> {
    score::write_score(folder, score)?;
    score::draw_score(folder, Artifacts::Light)?;
    Ok(())
}

/// How many trials were made of how many, and how they ended, as this program writes numbers.
fn state(score: &Score) -> String {
    score::state(score).replace('\u{a0}', ",")
}

/// What is wrong with how they ended; none if all that were requested were made, or the goal was reached.
fn doubt(score: &Score, budget: Option<Duration>) -> Option<String> {
    let state = state(score);
    let resume = score.resume.as_deref().unwrap_or_default();
    match score.state {
        State::Running | State::Interrupted => Some(format!("{state}; to continue: {resume}")),
        State::OutOfTime => {
            let budget = budget.map(duration::format).unwrap_or_default();
            Some(format!("{state}, {budget}; to continue: {resume}"))
        }
        State::Finished if score.until.is_some() => {
            Some(format!("{state}; to continue: ks-fleet rehearse --resume with its folder and a greater --trials"))
        }
        State::GoalReached | State::Finished => None,
    }
}

/// Writes the results and prints them; returns the exit code: 99 if a trial that is judged failed or an invariant was violated, 4
/// if trials or the goal are missing.
pub(super) fn conclude(
    score: &Score,
    record: &Record<Trial>,
    (folder, name): (&RunFolder, &str),
    (options, budget, is_printed): (&Options, Option<Duration>, bool),
) -> Result<u8, Failure> {
    let trials = record.trials();
    let doubt = doubt(score, budget);
    let shown = match options.json {
        _ if !is_printed => Ok(()),
        true => say_json(&as_json(&trials, score), false),
        false if score.policies.is_empty() => Ok(()),
        false => say(format!("{}\n{}", score::table(score), score::comparisons(score)).trim_end()),
    };
    record.put_in_order()?;
    score::write_score(folder.path(), score)?;
    let drawn = score::draw_score(folder.path(), options.artifacts())?;
    let cases = cases(score, &trials, doubt.as_deref());
    ks_reports::write_trials(folder.path(), name, &SystemClock.now().to_string(), &cases)?;
    shown?; // only now: a standard output that can't be written must not prevent the files
    let (code, mut lines) = verdict(score, &trials, doubt);
    lines.insert(0, format!("report: {}", drawn.report.display()));
    if is_printed && !score.policies.is_empty() {
        lines.insert(0, format!("\n{}", score.recommendation));
    }
    // --quiet hides progress, not the reasons of a failure.
    if code != 0 || !options.quiet {
        complain(&lines.join("\n"));
    }
    Ok(code)
}

/// The exit code, and what is wrong.
fn verdict(score: &Score, trials: &[Trial], doubt: Option<String>) -> (u8, Vec<String>) {
    let (mut code, mut lines) = (0, Vec::new());
    if let Some(doubt) = doubt {
        lines.push(doubt);
        code = 4;
    } else if score.until.is_some() {
        lines.push(state(score));
    }
    if score.invariant_violations > 0 {
        lines.push(format!("INVARIANT VIOLATIONS: {}", score.invariant_violations));
        code = 99;
    }
    if let Some(passes) = score::passes(score) {
        lines.push(passes);
        lines.extend(not_passed(score));
        let has = |verdict: Verdict| trials.iter().any(|trial| trial.verdict == verdict);
        code = match (has(Verdict::Fail), has(Verdict::Inconclusive)) {
            (true, _) => 99,
            (false, true) => code.max(4),
            (false, false) => code,
        };
    }
    (code, lines)
}

/// Which trials did not pass, why, and how to repeat each.
fn not_passed(score: &Score) -> Vec<String> {
    let Some(passes) = &score.passes else { return Vec::new() };
    let line =
        |of: &score::FailedTrial| format!("  seed {}: {}\n    replay: {}", of.seed, of.reasons.join("; "), of.replay);
    let more = passes.trials.saturating_sub(passes.passed + passes.failed.len());
    let more = (more > 0).then(|| format!("  and {more} more"));
    passes.failed.iter().map(line).chain(more).collect()
}

fn as_json(trials: &[Trial], score: &Score) -> serde_json::Value {
    let failed: Vec<_> = trials
        .iter()
        .filter(|trial| trial.verdict != Verdict::Pass)
        .map(|trial| json!({ "seed": trial.seed, "reasons": trial.reasons, "replay": trial.replay }))
        .collect();
    json!({ "trials": trials.len(), "failed": failed, "score": score })
}

/// The test cases: each trial if they are judged, else each policy and rate, which fail only for a violated invariant; and
/// whether all trials were made. Each has the time of its trials.
fn cases(score: &Score, trials: &[Trial], doubt: Option<&str>) -> Vec<JudgedCase> {
    let why = |trial: &Trial| format!("{}; replay: {}", trial.reasons.join("; "), trial.replay);
    let all = JudgedCase::timeless(
        "all trials".to_owned(),
        doubt.map_or(Verdict::Pass, |_| Verdict::Inconclusive),
        doubt.unwrap_or_default().to_owned(),
    );
    if score.passes.is_some() {
        let of = |trial: &Trial| match trial.rollout {
            Some(_) => format!("{}, bug rate {} bp, seed {}", trial.policy, trial.bug_rate_bp, trial.seed),
            None => format!("seed {}", trial.seed),
        };
        let case = |trial: &Trial| JudgedCase {
            name: of(trial),
            verdict: trial.verdict,
            why: why(trial),
            time_s: trial.wall_s,
        };
        return trials.iter().map(case).chain(doubt.map(|_| all)).collect();
    }
    let cells = score.policies.iter().flat_map(|of| of.cells.iter().map(|cell| (of.policy.as_str(), cell.bug_rate_bp)));
    let case = |(policy, bug_rate_bp): (&str, u32)| {
        let own = || trials.iter().filter(|trial| trial.policy == policy && trial.bug_rate_bp == bug_rate_bp);
        let broken: Vec<String> =
            own().filter(|trial| trial.invariant_violations > 0).map(why).take(score::FAILED_MAX).collect();
        let verdict = if broken.is_empty() { Verdict::Pass } else { Verdict::Fail };
        let time_s = own().map(|trial| trial.wall_s).sum();
        JudgedCase { name: format!("{policy}, bug rate {bug_rate_bp} bp"), verdict, why: broken.join("\n"), time_s }
    };
    cells.map(case).chain([all]).collect()
}
