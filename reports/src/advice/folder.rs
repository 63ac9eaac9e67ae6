//! The advice in a folder: `advice.json` as it is written, and the page that is drawn from it alone.

use std::path::{Path, PathBuf};

use serde::{Serialize, de::DeserializeOwned};

use super::{ADVICE, ADVICE_PAGE, Advice, page};
use crate::{
    Drawn,
    error::ReportError,
    files,
    plot::{self, Figure},
    score::SCORE_PAGE,
};

/// Writes the advice into a folder.
///
/// # Errors
/// The folder can't be written.
pub fn write_advice<P: Serialize>(dir: &Path, advice: &Advice<P>) -> Result<(), ReportError> {
    files::replace_json(dir, ADVICE, advice)
}

/// Reads the advice of a folder.
///
/// # Errors
/// It is missing, damaged or too large.
pub fn read_advice<P: DeserializeOwned>(dir: &Path) -> Result<Advice<P>, ReportError> {
    let file = dir.join(ADVICE);
    let text = files::read(&file)?;
    serde_json::from_slice(&text).map_err(|cause| ReportError::Damaged {
        file,
        line: cause.line().max(1),
        expected: "advice on rollout policies as one JSON object",
        cause: cause.to_string(),
    })
}

/// Draws the page and its pictures from the `advice.json` of a folder. The page has a link to that of the trials, if there is one.
///
/// # Errors
/// The advice is missing, damaged or too large, or the folder can't be written.
pub fn draw_advice(dir: &Path) -> Result<Drawn, ReportError> {
    let advice: Advice = read_advice(dir)?;
    let (mut files, mut figures): (Vec<PathBuf>, Vec<Figure>) = (Vec::new(), Vec::new());
    for (name, chart) in plot::OF_ADVICE {
        let figure = plot::figure(name, chart(&advice), false);
        let figure = figure.map_err(|cause| ReportError::Undrawable { file: dir.join(name), cause })?;
        files.push(files::replace(dir, &format!("{name}.svg"), figure.svg.as_bytes())?);
        files.push(files::replace(dir, &format!("{name}.png"), &figure.png)?);
        figures.push(figure);
    }
    let has_trials = dir.join(SCORE_PAGE).exists();
    let report = files::replace(dir, ADVICE_PAGE, page::page(&advice, &figures, has_trials).as_bytes())?;
    files.push(report.clone());
    Ok(Drawn { report, files })
}
