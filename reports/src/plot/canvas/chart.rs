//! A chart before it is laid out: what is shown, not where.

use plotters::style::RGBColor;

use super::axis::Axis;
use super::pen::Pen;
use super::theme;
use crate::run::Run;
use crate::run_folder::Mode;

/// A titled picture of one or more panels over the same horizontal axis.
pub(crate) struct Chart {
    pub(crate) title: String,
    /// How to read it, one or two sentences.
    pub(crate) subtitle: String,
    /// The picture in words with its main numbers, for those who cannot see it.
    pub(crate) description: String,
    pub(crate) x: Axis,
    /// Shaded spans of the horizontal axis: name, start, end.
    pub(crate) bands: Vec<(String, f64, f64)>,
    /// Moments of the horizontal axis, marked over all panels.
    pub(crate) flags: Vec<Flag>,
    /// Panels, from top to bottom.
    pub(crate) panels: Vec<Panel>,
    /// Meaning of each colour.
    pub(crate) legend: Vec<(String, RGBColor)>,
    /// Whose each pen is; after the colours.
    pub(crate) pens: Vec<(String, Pen)>,
}

/// A moment with a short name.
pub(crate) struct Flag {
    pub(crate) at: f64,
    pub(crate) name: String,
    pub(crate) colour: RGBColor,
}

/// One plot area.
pub(crate) struct Panel {
    /// The vertical axis, whose title stands above the panel.
    pub(crate) y: Axis,
    /// Share of the usual height.
    pub(crate) height: f64,
    /// Marks, from back to front.
    pub(crate) marks: Vec<Mark>,
    /// Series drawn on top of the marks.
    pub(crate) series: Vec<Series>,
    /// Said in the middle of a panel that has nothing to draw.
    pub(crate) empty: Option<String>,
}

/// Points of one policy, each with its whisker, distinguished by their pen.
pub(crate) struct Series {
    pub(crate) pen: Pen,
    /// From left to right.
    pub(crate) points: Vec<Point>,
    /// Whether a line goes through them.
    pub(crate) is_joined: bool,
}

/// A point with its whisker and its number, in values of the axes.
pub(crate) struct Point {
    /// Horizontal value.
    pub(crate) at: f64,
    /// Lower end of the whisker.
    pub(crate) low: f64,
    /// Vertical value.
    pub(crate) value: f64,
    /// Upper end of the whisker.
    pub(crate) high: f64,
    /// Its number; may be empty.
    pub(crate) text: String,
}

/// Something drawn in a panel, in values of its axes.
pub(crate) enum Mark {
    Line {
        points: Vec<(f64, f64)>,
        width: f64,
        colour: RGBColor,
    },
    /// The area between two lines over the same positions: horizontal value, lower and upper vertical value.
    Area {
        points: Vec<(f64, f64, f64)>,
        colour: RGBColor,
    },
    /// A text in the middle of a place.
    Label {
        at: (f64, f64),
        text: String,
        colour: RGBColor,
    },
    /// A dot with a text to its upper left.
    Spot {
        at: (f64, f64),
        text: String,
        colour: RGBColor,
    },
}

impl Series {
    /// A single point.
    pub(crate) fn of_point(pen: Pen, point: Point) -> Self {
        Self { pen, points: vec![point], is_joined: false }
    }
}

impl Point {
    /// Without a whisker or a number.
    pub(crate) fn bare(at: f64, value: f64) -> Self {
        Self { at, low: value, value, high: value, text: String::new() }
    }
}

impl Mark {
    /// A bound: a level line from the left edge on.
    pub(crate) fn level(to: f64, value: f64) -> Self {
        Self::Line { points: vec![(0.0, value), (to, value)], width: 1.8, colour: theme::ALARM }
    }
}

impl Chart {
    /// A chart over the time of a run, with its phases.
    pub(crate) fn over_time(run: &Run, title: &str) -> Chart {
        Chart {
            title: title.into(),
            subtitle: String::new(),
            description: String::new(),
            x: Axis::time(run.timeline.end_s, run.summary.mode == Mode::Rehearse),
            bands: run.phases.iter().map(|phase| (phase.name.clone(), phase.from_s, phase.to_s)).collect(),
            flags: Vec::new(),
            panels: Vec::new(),
            legend: Vec::new(),
            pens: Vec::new(),
        }
    }
}

impl Panel {
    /// Draws lines of one kind.
    pub(crate) fn add_lines(&mut self, lines: Vec<Vec<(f64, f64)>>, width: f64, colour: RGBColor) {
        self.marks.extend(lines.into_iter().map(|points| Mark::Line { points, width, colour }));
    }
}
