//! The folder of a score: written after the trials, drawn from `score.json` alone.

use std::path::Path;

use super::{SCORE, SCORE_MARKDOWN, SCORE_PAGE, Score, TRIALS, TRIALS_REQUEST, Trial, markdown, page};
use crate::{
    Artifacts, Drawn,
    error::ReportError,
    files,
    page::draw_page,
    plot::{self, Figure},
};

/// Writes the lines of the trials of a folder, all at once.
///
/// # Errors
/// The folder can't be written.
pub fn write_lines(dir: &Path, file: &str, lines: &[u8]) -> Result<(), ReportError> {
    files::replace(dir, file, lines).map(drop)
}

/// Reads the trials of a folder, in its order.
///
/// # Errors
/// They are missing, too large, or a line is damaged.
pub fn read_trials(dir: &Path) -> Result<Vec<Trial>, ReportError> {
    let file = dir.join(TRIALS);
    let text = files::read(&file)?;
    let lines = (1..).zip(text.split(|byte| *byte == b'\n')).filter(|(_, line)| !line.is_empty());
    let trial = |(line, text)| {
        serde_json::from_slice(text).map_err(|cause: serde_json::Error| ReportError::Damaged {
            file: file.clone(),
            line,
            expected: "a trial as one JSON object",
            cause: cause.to_string(),
        })
    };
    lines.map(trial).collect()
}

/// Writes what the trials of a folder were begun with.
///
/// # Errors
/// The folder can't be written.
pub fn write_request(dir: &Path, asked: &[u8]) -> Result<(), ReportError> {
    files::replace(dir, TRIALS_REQUEST, asked).map(drop)
}

/// Writes the score of the trials into a folder.
///
/// # Errors
/// The folder can't be written.
pub fn write_score(dir: &Path, score: &Score) -> Result<(), ReportError> {
    files::replace_json(dir, SCORE, score)
}

/// Draws the page, its pictures and the short form for a CI job from the `score.json` of a folder.
///
/// # Errors
/// It is missing, damaged or too large, or the folder can't be written.
pub fn draw_score(dir: &Path, artifacts: Artifacts) -> Result<Drawn, ReportError> {
    let score = &read_score(dir)?;
    let charts = plot::OF_SCORE.into_iter().filter(|_| !score.policies.is_empty());
    let charts = charts.map(|(name, chart)| (name, chart(score)));
    let summary = markdown::summary(score);
    let page = (SCORE_PAGE, |figures: &[Figure]| page::page(score, figures));
    draw_page(dir, charts, artifacts, Some((SCORE_MARKDOWN, &summary)), page)
}

/// Reads the score of a folder.
///
/// # Errors
/// It is missing, damaged or too large.
pub fn read_score(dir: &Path) -> Result<Score, ReportError> {
    let file = dir.join(SCORE);
    let damaged = |line, cause| ReportError::Damaged {
        file: file.clone(),
        line,
        expected: "the score of policies as one JSON object",
        cause,
    };
    let text = files::read(&file)?;
    serde_json::from_slice(&text).map_err(|cause| damaged(cause.line().max(1), cause.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::tally::sample::{setup, trials};
    use std::fs::File;

    #[test]
    fn a_score_is_drawn_from_its_folder_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(draw_score(folder.path(), Artifacts::Full).is_err(), "there is none yet");
        let score = Score::of(setup("<script>", "modelled"), &trials());
        write_score(folder.path(), &score).unwrap();
        let drawn = draw_score(folder.path(), Artifacts::Full).unwrap();
        let page = std::fs::read_to_string(&drawn.report).unwrap();
        assert!(page.contains("Signatures are modelled") && !page.contains("<script>"));
        assert!(page.contains(&crate::escape::html(&score.recommendation)) && page.matches("<svg").count() == 2);
        let markdown = std::fs::read_to_string(folder.path().join(SCORE_MARKDOWN)).unwrap();
        assert!(markdown.contains("Signatures are modelled") && !markdown.contains("<script>"));
        assert_eq!(draw_score(folder.path(), Artifacts::Full).unwrap(), drawn, "and again the same");
        std::fs::write(folder.path().join(SCORE), "{}").unwrap();
        assert!(draw_score(folder.path(), Artifacts::Full).unwrap_err().to_string().contains("score.json, line 1"));
    }

    #[test]
    fn a_score_that_an_earlier_program_wrote_is_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let score = Score::of(setup("s", "real"), &trials());
        let mut json = serde_json::to_value(&score).unwrap();
        json.as_object_mut().unwrap().remove("trials_per_cell");
        json["policies"][0]["cells"][0].as_object_mut().unwrap().remove("detection_p95_s");
        std::fs::write(folder.path().join(SCORE), json.to_string()).unwrap();
        draw_score(folder.path(), Artifacts::Full).unwrap();
    }

    #[test]
    fn a_score_that_is_too_large_is_refused_and_not_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join(SCORE)).unwrap();
        file.set_len(crate::bounded::FILE_BYTES_MAX + 1).unwrap(); // a hole, which takes no room on the disk
        let error = draw_score(folder.path(), Artifacts::Full).unwrap_err().to_string();
        assert!(error.contains("it is larger than 256 MiB"), "{error}");
    }
}
