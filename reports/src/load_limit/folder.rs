//! The folder of a search: `summary.json` after each step, and everything else drawn from it alone.

use std::path::Path;

use serde::Deserialize;

use super::{KIND, LOAD_LIMIT_FORMAT, LoadLimit, markdown, page};
use crate::{
    Artifacts, Drawn, JUNIT, JudgedCase, MARKDOWN, REPORT,
    error::ReportError,
    files, junit,
    page::draw_page,
    plot::{self, Figure},
    run_folder::SUMMARY,
};

/// Writes the result so far, and the JUnit file that agrees with it.
///
/// # Errors
/// The folder can't be written.
pub fn write_load_limit(dir: &Path, found: &LoadLimit) -> Result<(), ReportError> {
    files::replace_json(dir, SUMMARY, found)?;
    let why = found.reasons.join("; ");
    let case = JudgedCase { time_s: found.wall_s, ..JudgedCase::timeless("load limit".to_owned(), found.verdict, why) };
    files::replace(dir, JUNIT, junit::of_search(&found.scenario, &found.started_at, &case).as_bytes()).map(drop)
}

/// Whether a folder holds the result of a search rather than a run.
pub fn is_load_limit(dir: &Path) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        kind: String,
    }
    let kind = files::read(&dir.join(SUMMARY)).ok().and_then(|text| serde_json::from_slice::<Kind>(&text).ok());
    kind.is_some_and(|of| of.kind == KIND)
}

/// Draws the page, its pictures, and the short form from the `summary.json` of a folder.
///
/// # Errors
/// It is missing, damaged or too large, or the folder can't be written.
pub fn draw_load_limit(dir: &Path, artifacts: Artifacts) -> Result<Drawn, ReportError> {
    let found = &read_load_limit(dir)?;
    let charts = plot::OF_LOAD_LIMIT.into_iter().filter_map(|(name, chart)| Some((name, chart(found)?)));
    let short = markdown::summary(found);
    let page = (REPORT, |figures: &[Figure]| page::page(found, figures));
    draw_page(dir, charts, artifacts, Some((MARKDOWN, &short)), page)
}

/// Reads the `summary.json` of a search.
///
/// # Errors
/// It is missing, damaged, too large, or of another version.
pub fn read_load_limit(dir: &Path) -> Result<LoadLimit, ReportError> {
    let expected = "the result of a search for the load limit as one JSON object";
    files::read_versioned(dir.join(SUMMARY), LOAD_LIMIT_FORMAT, expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{load_limit::sample, run_folder::Verdict};

    #[test]
    fn a_search_is_drawn_from_its_folder_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_load_limit(folder.path()) && draw_load_limit(folder.path(), Artifacts::Full).is_err());
        let found = sample::found();
        write_load_limit(folder.path(), &found).unwrap();
        assert!(is_load_limit(folder.path()));
        assert_eq!(read_load_limit(folder.path()).unwrap(), found);
        let drawn = draw_load_limit(folder.path(), Artifacts::Full).unwrap();
        let page = std::fs::read_to_string(&drawn.report).unwrap();
        assert!(page.contains("480\u{a0}000") && page.matches("<svg").count() == 3, "{page}");
        assert!(!page.contains("<script>") && !page.contains("<90>"), "names are escaped");
        assert!(page.contains("share of the time in commits") && page.contains("unknown"), "the evidence");
        let names: Vec<_> = drawn.files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
        assert!(names.contains(&MARKDOWN) && names.contains(&"latency_against_load.svg"), "{names:?}");
        assert_eq!(draw_load_limit(folder.path(), Artifacts::Full).unwrap(), drawn, "and again the same");
    }

    #[test]
    fn junit_shows_a_failure_and_an_inconclusive_search_as_such() {
        let folder = tempfile::tempdir().unwrap();
        for (verdict, tag) in
            [(Verdict::Pass, "errors=\"0\""), (Verdict::Fail, "<failure"), (Verdict::Inconclusive, "<error")]
        {
            let found = LoadLimit { verdict, reasons: vec!["why <x>".to_owned()], ..sample::found() };
            write_load_limit(folder.path(), &found).unwrap();
            let junit = std::fs::read_to_string(folder.path().join(JUNIT)).unwrap();
            assert!(junit.contains(tag) && !junit.contains("<x>"), "{junit}");
        }
    }

    #[test]
    fn an_unfinished_search_without_a_step_is_drawn_too() {
        let folder = tempfile::tempdir().unwrap();
        let mut none = sample::found();
        none.steps.clear();
        none.interval = Default::default();
        write_load_limit(folder.path(), &none).unwrap();
        let drawn = draw_load_limit(folder.path(), Artifacts::Full).unwrap();
        assert!(!std::fs::read_to_string(drawn.report).unwrap().contains("<svg"));
    }
}
