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

/// Writes the trials and their score into a folder.
///
/// # Errors
/// The folder can't be written.
pub fn write_score(dir: &Path, score: &Score, trials: &[Trial]) -> Result<(), ReportError> {
    let unwritten =
        |cause: serde_json::Error| ReportError::Unwritten { file: dir.join(SCORE), cause: cause.to_string() };
    let mut lines = Vec::new();
    for trial in trials {
        serde_json::to_writer(&mut lines, trial).map_err(unwritten)?;
        lines.push(b'\n');
    }
    files::replace(dir, TRIALS, &lines)?;
    files::replace(dir, SCORE, &serde_json::to_vec_pretty(score).map_err(unwritten)?).map(|_| ())
}

/// Draws the page and its pictures from the `score.json` of a folder.
///
/// # Errors
/// It is missing or damaged, or the folder can't be written.
pub fn draw_score(dir: &Path) -> Result<Drawn, ReportError> {
    let score = &read_score(dir)?;
    let mut files: Vec<PathBuf> = Vec::new();
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

fn read_score(dir: &Path) -> Result<Score, ReportError> {
    let file = dir.join(SCORE);
    let text = files::read(&file)?;
    serde_json::from_slice(&text).map_err(|cause| ReportError::Damaged {
        file,
        line: cause.line().max(1),
        expected: "the score of policies as one JSON object",
        cause: cause.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(policy: &str, bug_rate_bp: u32, seed: u64, outcome: TrialOutcome, broken_devices: u64) -> Trial {
        let is_found = outcome != TrialOutcome::Completed;
        Trial {
            policy: policy.to_owned(),
            bug_rate_bp,
            seed,
            outcome,
            devices: 100,
            broken_devices,
            updated_devices: 50,
            first_broken_at_s: None,
            detected_at_s: is_found.then_some(600.0 * (seed + 1) as f64),
            completed_at_s: (!is_found).then_some(7_200.0),
            broken_promises: 0,
            replay: "again".to_owned(),
        }
    }

    fn trials() -> Vec<Trial> {
        use TrialOutcome::{Aborted, Completed, Paused};
        vec![
            trial("b", 100, 0, Aborted, 3),
            trial("b", 100, 1, Paused, 9),
            trial("b", 100, 2, Completed, 40),
            trial("b", 0, 0, Completed, 0),
            trial("a", 0, 0, Completed, 0),
            // Stopped by a person, not by the engine: not found.
            Trial { detected_at_s: None, ..trial("a", 100, 1, Aborted, 5) },
        ]
    }

    #[test]
    fn trials_are_summed_up_by_policy_and_rate() {
        let score = Score::of("s", 7, "modelled", &trials());
        let names: Vec<&str> = score.policies.iter().map(|policy| policy.policy.as_str()).collect();
        assert_eq!(names, ["b", "a"], "in the order they were given");
        let cell = &score.policies[0].cells[1];
        assert_eq!((cell.bug_rate_bp, cell.trials, cell.detected, cell.completed), (100, 3, 2, 1));
        assert_eq!((cell.broken_median, cell.broken_p95), (9, 40));
        assert_eq!((cell.detection_median_s, cell.completion_median_s), (Some(600.0), Some(7_200.0)));
        assert_eq!(score.policies[1].cells[1].detected, 0);
    }

    #[test]
    fn a_score_is_drawn_from_its_folder_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(draw_score(folder.path()).is_err(), "there is none yet");
        let score = Score::of("<script>", 7, "modelled", &trials());
        write_score(folder.path(), &score, &trials()).unwrap();
        let drawn = draw_score(folder.path()).unwrap();
        let page = std::fs::read_to_string(&drawn.report).unwrap();
        assert!(page.contains("Signatures are modelled") && !page.contains("<script>"));
        assert!(page.contains(&crate::escape::html(&score.recommendation)) && page.matches("<svg").count() == 2);
        assert_eq!(draw_score(folder.path()).unwrap(), drawn, "and again the same");
        std::fs::write(folder.path().join(SCORE), "{}").unwrap();
        assert!(draw_score(folder.path()).unwrap_err().to_string().contains("score.json, line 1"));
    }
}
