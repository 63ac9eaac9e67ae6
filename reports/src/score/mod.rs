//! Scores rollout policies by trials: how often each finds a bug, how many devices that costs, and how long a good release
//! takes.

mod interval;
mod page;
mod words;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    Drawn,
    error::ReportError,
    files,
    plot::{self, Figure},
};

pub use interval::limits;
pub(crate) use words::rate;
pub use words::{recommendation, table};

/// File name of the score.
pub const SCORE: &str = "score.json";
/// File name of the trials that it stands on, one a line.
pub const TRIALS: &str = "trials.ndjson";
/// File name of the page.
pub const SCORE_PAGE: &str = "score.html";

/// How a trial's rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialOutcome {
    /// Stopped for good.
    Aborted,
    /// Stopped for a person to look at.
    Paused,
    /// The release reached everybody.
    Completed,
    /// The scenario was over before the rollout was.
    Running,
}

/// One rehearsal of one policy with one rate of bugs. Times are virtual seconds since the start of the rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The policy's name.
    pub policy: String,
    /// Devices that the release really breaks, in basis points.
    pub bug_rate_bp: u32,
    /// Root seed.
    pub seed: u64,
    /// How the rollout ended.
    pub outcome: TrialOutcome,
    /// Devices of the fleet.
    pub devices: u64,
    /// Devices that it really broke.
    pub broken_devices: u64,
    /// Devices that had the release.
    pub updated_devices: u64,
    /// When the first device broke.
    pub first_broken_at_s: Option<f64>,
    /// When the engine first acted against the release.
    pub detected_at_s: Option<f64>,
    /// When the release had reached everybody.
    pub completed_at_s: Option<f64>,
    /// Promises of the server that were broken.
    pub broken_promises: u64,
    /// A command that runs the same again.
    pub replay: String,
}

/// The trials of one policy with one rate of bugs, summed up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Devices that the release really breaks, in basis points.
    pub bug_rate_bp: u32,
    /// Trials.
    pub trials: usize,
    /// Trials in which the engine acted against the release before it had reached everybody; of a good release, false alarms.
    pub detected: usize,
    /// Limits of the true share of those, with 95 % confidence.
    pub detected_limits: (f64, f64),
    /// Trials in which the release reached everybody.
    pub completed: usize,
    /// Devices broken, median.
    pub broken_median: u64,
    /// Devices broken, 95th percentile.
    pub broken_p95: u64,
    /// Time until the engine acted, median of the trials in which it did, seconds.
    pub detection_median_s: Option<f64>,
    /// Time until the release had reached everybody, median of the trials in which it did, seconds.
    pub completion_median_s: Option<f64>,
}

/// A policy's cells, by rising rate of bugs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyScore {
    /// Its name.
    pub policy: String,
    /// One for each rate.
    pub cells: Vec<Cell>,
}

/// Everything that the trials say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The scenario's name.
    pub scenario: String,
    /// Devices of the fleet.
    pub devices: u64,
    /// The first seed; each trial of a cell takes the next.
    pub first_seed: u64,
    /// How documents were signed: `real` or `modelled`.
    pub signatures: String,
    /// By policy, in the order they were given.
    pub policies: Vec<PolicyScore>,
    /// Promises of the server that were broken in any trial.
    pub broken_promises: u64,
    /// In words.
    pub recommendation: String,
}

impl Score {
    /// Sums trials up.
    pub fn of(scenario: &str, first_seed: u64, signatures: &str, trials: &[Trial]) -> Self {
        let mut names: Vec<&str> = Vec::new();
        let mut rates: Vec<u32> = Vec::new();
        for trial in trials {
            if !names.contains(&trial.policy.as_str()) {
                names.push(&trial.policy);
            }
            if !rates.contains(&trial.bug_rate_bp) {
                rates.push(trial.bug_rate_bp);
            }
        }
        rates.sort_unstable();
        let score = |name: &&str| PolicyScore {
            policy: (*name).to_owned(),
            cells: rates.iter().filter_map(|rate| cell(*rate, trials.iter().filter(|of| of.policy == *name))).collect(),
        };
        let policies: Vec<PolicyScore> = names.iter().map(score).collect();
        let recommendation = recommendation(&policies);
        Self {
            scenario: scenario.to_owned(),
            devices: trials.first().map_or(0, |trial| trial.devices),
            first_seed,
            signatures: signatures.to_owned(),
            policies,
            broken_promises: trials.iter().map(|trial| trial.broken_promises).sum(),
            recommendation,
        }
    }
}

/// The cell of one rate among one policy's trials; none if there are no such trials.
fn cell<'a>(bug_rate_bp: u32, of_policy: impl Iterator<Item = &'a Trial>) -> Option<Cell> {
    let trials: Vec<&Trial> = of_policy.filter(|trial| trial.bug_rate_bp == bug_rate_bp).collect();
    if trials.is_empty() {
        return None;
    }
    let count = |which: fn(&Trial) -> bool| trials.iter().filter(|trial| which(trial)).count();
    let detected = count(|trial| trial.detected_at_s.is_some() && trial.outcome != TrialOutcome::Completed);
    let mut broken: Vec<f64> = trials.iter().map(|trial| trial.broken_devices as f64).collect();
    let found = trials.iter().filter(|trial| trial.outcome != TrialOutcome::Completed);
    let mut detection: Vec<f64> = found.filter_map(|trial| trial.detected_at_s).collect();
    let mut completion: Vec<f64> = trials.iter().filter_map(|trial| trial.completed_at_s).collect();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "they are counts of devices")]
    let devices = |count: Option<f64>| count.unwrap_or(0.0) as u64;
    Some(Cell {
        bug_rate_bp,
        trials: trials.len(),
        detected,
        detected_limits: interval::limits(detected, trials.len()),
        completed: count(|trial| trial.outcome == TrialOutcome::Completed),
        broken_median: devices(quantile(&mut broken, 0.5)),
        broken_p95: devices(quantile(&mut broken, 0.95)),
        detection_median_s: quantile(&mut detection, 0.5),
        completion_median_s: quantile(&mut completion, 0.5),
    })
}

/// The value of the nearest rank; none of nothing.
fn quantile(values: &mut [f64], quantile: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank is at most the count")]
    let rank = (quantile * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied()
}

/// Writes the trials and their score into a folder, and draws the page and its pictures.
///
/// # Errors
/// The folder can't be written.
pub fn draw_score(dir: &Path, score: &Score, trials: &[Trial]) -> Result<Drawn, ReportError> {
    let unwritten =
        |cause: serde_json::Error| ReportError::Unwritten { file: dir.join(SCORE), cause: cause.to_string() };
    let mut files: Vec<PathBuf> = Vec::new();
    let mut lines = Vec::new();
    for trial in trials {
        serde_json::to_writer(&mut lines, trial).map_err(unwritten)?;
        lines.push(b'\n');
    }
    files.push(files::replace(dir, TRIALS, &lines)?);
    files.push(files::replace(dir, SCORE, &serde_json::to_vec_pretty(score).map_err(unwritten)?)?);
    let mut figures: Vec<Figure> = Vec::new();
    for (name, chart) in plot::of_score(score) {
        let figure = plot::figure(name, chart, false);
        let figure = figure.map_err(|cause| ReportError::Undrawable { file: dir.join(name), cause })?;
        files.push(files::replace(dir, &format!("{name}.svg"), figure.svg.as_bytes())?);
        files.push(files::replace(dir, &format!("{name}.png"), &figure.png)?);
        figures.push(figure);
    }
    let report = files::replace(dir, SCORE_PAGE, page::page(score, &figures).as_bytes())?;
    files.push(report.clone());
    Ok(Drawn { report, files })
}

/// Reads `score.json` of a folder.
///
/// # Errors
/// It is missing or damaged.
pub fn read_score(dir: &Path) -> Result<Score, ReportError> {
    let file = dir.join(SCORE);
    let text = files::read(&file)?;
    serde_json::from_slice(&text).map_err(|cause| ReportError::Damaged {
        file,
        line: cause.line().max(1),
        expected: "the score of policies as one JSON object",
        cause: cause.to_string(),
    })
}
