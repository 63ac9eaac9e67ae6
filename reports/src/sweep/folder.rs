//! The folder of a sweep: written after the trials, drawn from `sweep.json` alone.

use std::path::Path;

use super::{SWEEP, SWEEP_CSV, SWEEP_FORMAT, SWEEP_PAGE, Sweep, csv, page};
use crate::{
    Artifacts, Drawn,
    error::ReportError,
    files,
    page::draw_page,
    plot::{self, Figure},
};

/// Writes a sweep into a folder.
///
/// # Errors
/// The folder can't be written.
pub fn write_sweep(dir: &Path, sweep: &Sweep) -> Result<(), ReportError> {
    files::replace_json(dir, SWEEP, sweep)
}

/// Draws the page, its pictures and the table for spreadsheets from the `sweep.json` of a folder.
///
/// # Errors
/// It is missing, damaged or too large, or the folder can't be written.
pub fn draw_sweep(dir: &Path, artifacts: Artifacts) -> Result<Drawn, ReportError> {
    let sweep = &read_sweep(dir)?;
    let charts = plot::OF_SWEEP.into_iter().filter_map(|(name, chart)| Some((name, chart(sweep)?)));
    let table = csv::csv(sweep);
    let page = (SWEEP_PAGE, |figures: &[Figure]| page::page(sweep, figures));
    draw_page(dir, charts, artifacts, Some((SWEEP_CSV, &table)), page)
}

/// Reads the sweep of a folder.
///
/// # Errors
/// It is missing, damaged, too large, or of a newer format.
pub fn read_sweep(dir: &Path) -> Result<Sweep, ReportError> {
    files::read_versioned(dir.join(SWEEP), SWEEP_FORMAT, "a sweep of limits as one JSON object")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::sample;

    #[test]
    fn a_sweep_is_drawn_from_its_folder_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(draw_sweep(folder.path(), Artifacts::Full).is_err(), "there is none yet");
        let sweep = sample::sweep();
        write_sweep(folder.path(), &sweep).unwrap();
        let read = read_sweep(folder.path()).unwrap(); // but for the last bit of a fraction
        assert_eq!((&read.setup, &read.recommendation), (&sweep.setup, &sweep.recommendation));
        assert_eq!(read.tried.len(), sweep.tried.len());
        let drawn = draw_sweep(folder.path(), Artifacts::Full).unwrap();
        let page = std::fs::read_to_string(&drawn.report).unwrap();
        assert!(page.contains("A=8") && !page.contains("<script>") && page.matches("<svg").count() == 2, "{page}");
        assert!(page.contains("expected a number from 1"), "why the server refuses one");
        assert_eq!(draw_sweep(folder.path(), Artifacts::Full).unwrap(), drawn, "and again the same");
        std::fs::write(folder.path().join(SWEEP), "{\"format\": 9}").unwrap();
        assert!(matches!(read_sweep(folder.path()), Err(ReportError::Newer { .. })));
    }
}
