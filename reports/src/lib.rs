//! Draws a run's folder: plots, one self-contained page, Markdown for a CI job, JUnit for a CI server.
//!
//! Data flows one way: [`run_folder`] defines what a run leaves behind, [`files`], [`event_log`] and [`latency_log`] read and write it,
//! `run.rs` holds one run as read, `plot/` draws its pictures, and `html.rs`, `markdown.rs` and `junit.rs` describe it in
//! words, with the help of `facts.rs`, `number.rs` and `escape.rs`. Nothing here runs, times or judges anything: the
//! verdict is the simulator's, and the same folder always gives the same report.

use std::path::{Path, PathBuf};

pub mod advice;
mod answers;
mod blast_radius;
pub mod bounded;
mod error;
mod escape;
pub mod event_log;
mod facts;
pub mod files;
mod html;
mod junit;
pub mod latency_log;
pub mod load_limit;
mod markdown;
mod moments;
mod number;
mod page;
mod plot;
pub mod reactions;
pub mod recovery;
pub mod review;
mod run;
pub mod run_folder;
#[cfg(test)]
mod sample;
pub mod score;
pub mod sweep;

pub use error::ReportError;
pub use event_log::{EventLogReader, EventLogWriter, LogEnd};
pub use files::{
    create_new, read_decisions, read_review, read_rollouts, read_summary, read_ticks, write_review, write_summary,
};
pub use latency_log::{LatencyLogWriter, read_latency};
pub use number::grouped_by;
pub use page::Artifacts;

use review::REVIEW;
use run_folder::{DECISIONS, EVENTS, LATENCY, ROLLOUTS, SEGMENT, SUMMARY, TICKS};

/// File name of the HTML page.
pub const REPORT: &str = "report.html";
/// File name of the short form for a CI job's summary.
pub const MARKDOWN: &str = "summary.md";
/// File name of the form for CI servers.
pub const JUNIT: &str = "junit.xml";

/// The files that [`draw`] wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    /// Path of `report.html`.
    pub report: PathBuf,
    /// Path of every file written, the report last.
    pub files: Vec<PathBuf>,
}

/// Names of all files that the folder of a run, of a score, of advice or of a sweep may have, including pictures and unfinished files.
pub fn file_names() -> Vec<String> {
    let data = [
        SUMMARY,
        TICKS,
        ROLLOUTS,
        DECISIONS,
        REVIEW,
        LATENCY,
        EVENTS,
        SEGMENT,
        score::SCORE,
        score::TRIALS,
        score::TRIALS_REQUEST,
        advice::ADVICE,
        sweep::SWEEP,
        sweep::SWEEP_TRIALS,
        sweep::SWEEP_REQUEST,
        sweep::SWEEP_CSV,
    ];
    let pages =
        [REPORT, MARKDOWN, JUNIT, score::SCORE_PAGE, score::SCORE_MARKDOWN, advice::ADVICE_PAGE, sweep::SWEEP_PAGE];
    let pictures = plot::ALL.iter().map(|plot| plot.name).chain(plot::OF_SCORE.map(|(name, _)| name));
    let pictures = pictures.chain(plot::OF_ADVICE.map(|(name, _)| name)).chain(plot::OF_SWEEP.map(|(name, _)| name));
    let pictures = pictures.chain(plot::OF_LOAD_LIMIT.map(|(name, _)| name));
    let pictures = pictures.flat_map(|name| [format!("{name}.svg"), format!("{name}.png")]);
    let named: Vec<String> = data.into_iter().chain(pages).map(str::to_owned).chain(pictures).collect();
    named.iter().cloned().chain(named.iter().map(|name| files::unfinished(name))).collect()
}

/// Writes `junit.xml` when no run took place, so that a CI server shows a failure and not a missing file. `at` is RFC 3339.
///
/// Errors: the folder cannot be written.
pub fn write_failure(dir: &Path, scenario: &str, at: &str, why: &str) -> Result<PathBuf, ReportError> {
    files::replace(dir, JUNIT, junit::of_failure(scenario, at, why).as_bytes())
}

/// A test case of `junit.xml`, if one run is not all that is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedCase {
    pub name: String,
    pub verdict: run_folder::Verdict,
    /// Why it did not pass, if it did not.
    pub why: String,
    /// How long it took in real time, in seconds; 0 if it took none of its own.
    pub time_s: f64,
}

impl JudgedCase {
    /// A case that took no time of its own.
    pub fn timeless(name: String, verdict: run_folder::Verdict, why: String) -> Self {
        Self { name, verdict, why, time_s: 0.0 }
    }
}

/// Writes `junit.xml` of many trials. They may have been made side by side: the time of all is the sum of theirs.
///
/// Errors: the folder cannot be written.
pub fn write_trials(dir: &Path, scenario: &str, at: &str, trials: &[JudgedCase]) -> Result<PathBuf, ReportError> {
    files::replace(dir, JUNIT, junit::of_trials(scenario, at, trials).as_bytes())
}

/// Writes the summary and the JUnit file together, so that the two agree even if nothing else is drawn.
///
/// # Errors
/// A file can't be written.
pub fn write_verdict(dir: &Path, summary: &run_folder::Summary) -> Result<(), ReportError> {
    write_summary(dir, summary)?;
    files::replace(dir, JUNIT, junit::suite(summary).as_bytes()).map(drop)
}

/// Draws the report of the run in `dir` from its `summary.json`, `ticks.ndjson` and `latency.hlog` alone, and from its
/// `rollouts.ndjson`, `decisions.ndjson` and `review.json` where there are any.
///
/// Writes each plot that has something to show as `.svg` and `.png` unless only the page is wanted, then `summary.md`, `junit.xml` and
/// `report.html`; each under a temporary name and then renamed, so that a reader sees the old file or the new one. Drawing again gives the same bytes.
///
/// Errors: the folder holds no finished run, a file is damaged or of a newer format, or the folder cannot be written.
pub fn draw(dir: &Path, artifacts: Artifacts) -> Result<Drawn, ReportError> {
    let run = run::Run::read(dir)?;
    let mut files = Vec::new();
    let mut figures = Vec::new();
    for plot in plot::ALL.iter().filter(|plot| plot.is_drawn(&run)) {
        let undrawable = |cause| ReportError::Undrawable { file: dir.join(plot.name), cause };
        let figure = plot.draw(&run).map_err(undrawable)?;
        files.extend(page::picture_files(dir, plot.name, &figure, artifacts)?);
        figures.push(figure);
    }
    files.push(files::replace(dir, MARKDOWN, markdown::summary(&run.summary, run.review.as_ref()).as_bytes())?);
    files.push(files::replace(dir, JUNIT, junit::suite(&run.summary).as_bytes())?);
    let report = files::replace(dir, REPORT, html::page(&run, &figures).as_bytes())?;
    files.push(report.clone());
    Ok(Drawn { report, files })
}
