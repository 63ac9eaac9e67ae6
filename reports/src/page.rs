//! Draws a page with its pictures, in one way for a score, advice and a sweep.

use std::path::{Path, PathBuf};

use crate::{
    Drawn,
    error::ReportError,
    files,
    plot::{self, Figure, canvas::chart::Chart},
    score::Drawing,
};

/// Draws the charts, and the page that shows them all. Unless only the page is wanted, each picture is a file of its own too, and so
/// is `beside`, a name and a text.
pub(crate) fn draw_page(
    dir: &Path,
    charts: impl Iterator<Item = (&'static str, Chart)>,
    drawing: Drawing,
    beside: Option<(&str, &str)>,
    (name, page): (&str, impl FnOnce(&[Figure]) -> String),
) -> Result<Drawn, ReportError> {
    let (mut files, mut figures): (Vec<PathBuf>, Vec<Figure>) = (Vec::new(), Vec::new());
    let is_everything = drawing == Drawing::Everything;
    for (name, chart) in charts {
        let undrawable = |cause| ReportError::Undrawable { file: dir.join(name), cause };
        let figure = plot::figure(name, chart, false).map_err(undrawable)?;
        if is_everything {
            files.push(files::replace(dir, &format!("{name}.svg"), figure.svg.as_bytes())?);
            files.push(files::replace(dir, &format!("{name}.png"), &figure.png().map_err(undrawable)?)?);
        }
        figures.push(figure);
    }
    if let Some((name, text)) = beside.filter(|_| is_everything) {
        files.push(files::replace(dir, name, text.as_bytes())?);
    }
    let report = files::replace(dir, name, page(&figures).as_bytes())?;
    files.push(report.clone());
    Ok(Drawn { report, files })
}
