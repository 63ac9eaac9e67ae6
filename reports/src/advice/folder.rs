//! The advice in a folder: `advice.json` as it is written, and the page that is drawn from it alone.

use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};

use super::{ADVICE, ADVICE_PAGE, Advice, page};
use crate::{
    Artifacts, Drawn,
    error::ReportError,
    files,
    page::draw_page,
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
pub fn draw_advice(dir: &Path, artifacts: Artifacts) -> Result<Drawn, ReportError> {
    let advice: Advice = read_advice(dir)?;
    let charts = plot::OF_ADVICE.into_iter().map(|(name, chart)| (name, chart(&advice)));
    let has_trials = dir.join(SCORE_PAGE).exists();
    let page = (ADVICE_PAGE, |figures: &[Figure]| page::page(&advice, figures, has_trials));
    draw_page(dir, charts, artifacts, None, page)
}
