//! Draws a page with its pictures, in one way for a score, advice and a sweep.

use std::path::{Path, PathBuf};

use crate::{
    Drawn,
    error::ReportError,
    files,
    plot::{self, Figure, canvas::chart::Chart},
};

/// What is drawn beside the data of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Artifacts {
    /// The page, and each of its pictures as SVG and PNG.
    #[default]
    Full,
    /// The page with its pictures inside.
    Light,
}

impl Artifacts {
    /// What it is called on a command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Light => "light",
        }
    }
}

/// Writes a picture as files of its own, unless only the page is wanted.
pub(crate) fn picture_files(
    dir: &Path,
    name: &str,
    figure: &Figure,
    artifacts: Artifacts,
) -> Result<Vec<PathBuf>, ReportError> {
    if artifacts == Artifacts::Light {
        return Ok(Vec::new());
    }
    let png = figure.png().map_err(|cause| ReportError::Undrawable { file: dir.join(name), cause })?;
    let svg = files::replace(dir, &format!("{name}.svg"), figure.svg.as_bytes())?;
    Ok(vec![svg, files::replace(dir, &format!("{name}.png"), &png)?])
}

/// Draws the charts, and the page that shows them all. Unless only the page is wanted, each picture is a file of its own too.
/// `beside` is the name and the text of another file.
pub(crate) fn draw_page(
    dir: &Path,
    charts: impl Iterator<Item = (&'static str, Chart)>,
    artifacts: Artifacts,
    beside: Option<(&str, &str)>,
    (name, page): (&str, impl FnOnce(&[Figure]) -> String),
) -> Result<Drawn, ReportError> {
    let (mut files, mut figures): (Vec<PathBuf>, Vec<Figure>) = (Vec::new(), Vec::new());
    for (name, chart) in charts {
        let undrawable = |cause| ReportError::Undrawable { file: dir.join(name), cause };
        let figure = plot::figure(name, chart, false).map_err(undrawable)?;
        files.extend(picture_files(dir, name, &figure, artifacts)?);
        figures.push(figure);
    }
    if let Some((name, text)) = beside {
        files.push(files::replace(dir, name, text.as_bytes())?);
    }
    let report = files::replace(dir, name, page(&figures).as_bytes())?;
    files.push(report.clone());
    Ok(Drawn { report, files })
}
