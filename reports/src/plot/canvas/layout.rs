//! Where each stroke of a chart goes: a list of shapes in pixels of the page.

use plotters::style::RGBColor;

use super::axis::Axis;
use super::chart::{Chart, Mark, Panel};
use super::names::{self, NAME_MAX, Name};
use super::pen::{self, Pen};
use super::series;
use super::theme::{self, INK, MARGIN, MUTED, TEXT, TITLE};
use crate::escape;

/// A picture ready to paint, in pixels of the page.
pub(crate) struct Picture {
    pub(crate) width: f64,
    pub(crate) height: f64,
    /// Strokes, from back to front.
    pub(crate) shapes: Vec<Shape>,
}

/// One stroke.
pub(crate) enum Shape {
    /// A line through corners.
    Line { points: Vec<(f64, f64)>, width: f64, colour: RGBColor },
    /// A filled shape.
    Area { points: Vec<(f64, f64)>, colour: RGBColor },
    /// A filled circle.
    Dot { at: (f64, f64), radius: f64, colour: RGBColor },
    /// A line of text, vertically centred on its position.
    Text { at: (f64, f64), text: String, size: f64, is_bold: bool, colour: RGBColor, anchor: Anchor },
}

/// Which part of a text is at its position.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A plot area in pixels.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
}

/// The symbol before a name in the legend.
enum Key {
    Colour(RGBColor),
    Pen(Pen),
}

/// Height of a line of text.
const LINE: f64 = 21.0;

/// Lays a chart out.
pub(crate) fn compose(chart: &Chart) -> Picture {
    let mut sheet = Sheet { shapes: Vec::new() };
    let labels =
        chart.panels.iter().flat_map(|panel| &panel.y.ticks).map(|(_, label)| theme::text_width(label, TEXT, false));
    let left = MARGIN + labels.fold(30.0, f64::max) + 10.0;
    let right = theme::WIDTH - MARGIN - 8.0;
    let mut y = sheet.heading(chart);
    let names = names::above(chart, left, right);
    let rows = names.iter().map(|name| name.row + 1).max().unwrap_or(0);
    for (nth, panel) in chart.panels.iter().enumerate() {
        sheet.text((MARGIN, y + LINE / 2.0), &panel.y.title, MUTED, Anchor::Start);
        y += LINE + 10.0;
        if nth == 0 {
            y += f64::from(rows) * LINE;
        }
        let frame = Frame { left, right, top: y, bottom: y + theme::PANEL_HEIGHT * panel.height };
        sheet.panel(chart, panel, frame);
        if nth == 0 {
            sheet.names(&names, frame);
        }
        y = frame.bottom + 14.0;
        if nth + 1 == chart.panels.len() {
            sheet.time_labels(&chart.x, frame);
        }
    }
    y += LINE * 2.0;
    Picture { width: theme::WIDTH, height: y + MARGIN / 2.0, shapes: sheet.shapes }
}

/// The shapes so far.
struct Sheet {
    shapes: Vec<Shape>,
}

impl Sheet {
    /// A line of ordinary text.
    fn text(&mut self, at: (f64, f64), text: &str, colour: RGBColor, anchor: Anchor) {
        let text = escape::label(text, 400);
        self.shapes.push(Shape::Text { at, text, size: TEXT, is_bold: false, colour, anchor });
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), width: f64, colour: RGBColor) {
        self.shapes.push(Shape::Line { points: vec![from, to], width, colour });
    }

    fn rectangle(&mut self, (left, top): (f64, f64), (right, bottom): (f64, f64), colour: RGBColor) {
        let points = vec![(left, top), (right, top), (right, bottom), (left, bottom)];
        self.shapes.push(Shape::Area { points, colour });
    }

    /// Title, explanation and legend; gives back where they end.
    fn heading(&mut self, chart: &Chart) -> f64 {
        let mut y = MARGIN + TITLE / 2.0;
        let (text, at) = (chart.title.clone(), (MARGIN, y));
        self.shapes.push(Shape::Text { at, text, size: TITLE, is_bold: true, colour: INK, anchor: Anchor::Start });
        y += LINE + 5.0;
        for line in wrap(&chart.subtitle, theme::WIDTH - 2.0 * MARGIN) {
            self.text((MARGIN, y), &line, MUTED, Anchor::Start);
            y += LINE;
        }
        if chart.legend.is_empty() && chart.pens.is_empty() {
            return y;
        }
        y += 6.0;
        let mut x = MARGIN;
        let colours = chart.legend.iter().map(|(name, colour)| (name, 16.0, Key::Colour(*colour)));
        let has_line = chart.panels.iter().flat_map(|panel| &panel.series).any(|series| series.is_joined);
        let pens = chart.pens.iter().map(|(name, pen)| (name, pen::key_width(has_line), Key::Pen(*pen)));
        for (name, key_width, key) in colours.chain(pens) {
            let name = escape::label(name, NAME_MAX + 8);
            let width = key_width + 8.0 + theme::text_width(&name, TEXT, false) + 24.0;
            if x + width > theme::WIDTH && x > MARGIN {
                x = MARGIN;
                y += LINE + 2.0;
            }
            match key {
                Key::Colour(colour) => self.rectangle((x, y - 6.0), (x + key_width, y + 6.0), colour),
                Key::Pen(pen) => self.shapes.extend(pen.key(x, y, has_line)),
            }
            self.text((x + key_width + 8.0, y), &name, INK, Anchor::Start);
            x += width;
        }
        y + LINE
    }

    /// Bands, grid, labels and marks of one panel.
    fn panel(&mut self, chart: &Chart, panel: &Panel, frame: Frame) {
        for (nth, (_, from, to)) in chart.bands.iter().enumerate() {
            let (from, to) = (frame.x(&chart.x, *from), frame.x(&chart.x, *to));
            let shade = if nth % 2 == 0 { theme::PHASES[0] } else { theme::PHASES[1] };
            self.rectangle((from, frame.top), (to, frame.bottom), shade);
            if nth > 0 {
                self.line((from, frame.top), (from, frame.bottom), 1.0, theme::PHASE_EDGE);
            }
        }
        for (value, label) in &panel.y.ticks {
            let y = frame.y(&panel.y, *value);
            self.line((frame.left, y), (frame.right, y), 1.0, theme::GRID);
            self.text((frame.left - 8.0, y), label, MUTED, Anchor::End);
        }
        for (value, label) in chart.x.ticks.iter().filter(|_| chart.bands.is_empty()) {
            let x = frame.x(&chart.x, *value);
            if !label.is_empty() {
                self.line((x, frame.top), (x, frame.bottom), 1.0, theme::GRID);
            }
        }
        for mark in &panel.marks {
            self.mark(mark, &chart.x, &panel.y, frame);
        }
        for flag in &chart.flags {
            let x = frame.x(&chart.x, flag.at);
            self.line((x, frame.top), (x, frame.bottom), 1.4, flag.colour);
        }
        self.spots(panel, &chart.x, frame);
        self.shapes.extend(series::shapes(panel, &chart.x, frame));
        self.line((frame.left, frame.bottom), (frame.right, frame.bottom), 1.4, MUTED);
        if let Some(words) = &panel.empty {
            let middle = (f64::midpoint(frame.left, frame.right), f64::midpoint(frame.top, frame.bottom));
            let half_width = theme::text_width(words, TEXT, false) / 2.0 + 14.0;
            self.rectangle(
                (middle.0 - half_width, middle.1 - 17.0),
                (middle.0 + half_width, middle.1 + 17.0),
                theme::PAPER,
            );
            self.text(middle, words, INK, Anchor::Middle);
        }
    }

    /// One mark in its panel; spots come later, above everything.
    fn mark(&mut self, mark: &Mark, x: &Axis, y: &Axis, frame: Frame) {
        match mark {
            Mark::Line { points, width, colour } => {
                let points: Vec<_> = points.iter().map(|(at, value)| (frame.x(x, *at), frame.y(y, *value))).collect();
                if let (Some(first), Some(last)) = (points.first(), points.last())
                    && last.0 - first.0 < 4.0
                {
                    self.shapes.push(Shape::Dot { at: *first, radius: width.max(3.0), colour: *colour });
                }
                self.shapes.push(Shape::Line { points, width: *width, colour: *colour });
            }
            Mark::Area { points, colour } => {
                let upper = points.iter().map(|(at, _, high)| (frame.x(x, *at), frame.y(y, *high)));
                let lower = points.iter().rev().map(|(at, low, _)| (frame.x(x, *at), frame.y(y, *low)));
                self.shapes.push(Shape::Area { points: upper.chain(lower).collect(), colour: *colour });
            }
            Mark::Label { at, text, colour } => {
                self.text((frame.x(x, at.0), frame.y(y, at.1)), text, *colour, Anchor::Middle);
            }
            Mark::Spot { .. } => {}
        }
    }

    /// Dots with their texts. On a rising curve both upper left and lower right of a dot are free of it; a text that would
    /// cover another at either place is left out.
    fn spots(&mut self, panel: &Panel, x: &Axis, frame: Frame) {
        let mut taken: Vec<(f64, f64, f64)> = Vec::new();
        let spots = panel.marks.iter().filter_map(|mark| match mark {
            Mark::Spot { at, text, colour } => Some((at, text, colour)),
            _ => None,
        });
        for (at, text, colour) in spots.collect::<Vec<_>>().into_iter().rev() {
            let (dot_x, dot_y) = (frame.x(x, at.0), frame.y(&panel.y, at.1));
            self.shapes.push(Shape::Dot { at: (dot_x, dot_y), radius: 4.5, colour: *colour });
            if text.is_empty() {
                continue;
            }
            let width = theme::text_width(text, TEXT, true);
            let upper_left = ((dot_x + 4.0 - width).max(frame.left + 6.0), (dot_y - 16.0).max(frame.top + 10.0));
            let lower_right = (dot_x + 4.0, dot_y + 18.0);
            let is_free = |(start, y): &(f64, f64)| {
                let covers = |other: &(f64, f64, f64)| {
                    *start < other.1 + 8.0 && start + width > other.0 - 8.0 && (y - other.2).abs() < LINE
                };
                start + width <= frame.right + 6.0 && y + 10.0 <= frame.bottom && !taken.iter().any(covers)
            };
            if let Some(at) = [upper_left, lower_right].into_iter().find(is_free) {
                taken.push((at.0, at.0 + width, at.1));
                let text = text.clone();
                self.shapes.push(Shape::Text {
                    at,
                    text,
                    size: TEXT,
                    is_bold: true,
                    colour: INK,
                    anchor: Anchor::Start,
                });
            }
        }
    }

    /// Names above the first panel; one that is not right above it has a stroke down to what it names, behind other names.
    fn names(&mut self, names: &[Name], frame: Frame) {
        let height = |name: &Name| frame.top - 12.0 - f64::from(name.row) * LINE;
        for name in names.iter().filter(|name| name.has_stroke) {
            self.line((name.target, height(name) - 8.0), (name.target, frame.top), 1.2, name.stroke);
        }
        for name in names {
            let (y, half_width) = (height(name), name.half_width + 3.0);
            self.rectangle((name.middle - half_width, y - 9.0), (name.middle + half_width, y + 9.0), theme::PAPER);
            self.text((name.middle, y), &name.text, name.colour, Anchor::Middle);
        }
    }

    /// Labels and title of the horizontal axis, under the last panel.
    fn time_labels(&mut self, axis: &Axis, frame: Frame) {
        let mut free_from = f64::MIN;
        for (value, label) in &axis.ticks {
            let (x, half_width) = (frame.x(axis, *value), theme::text_width(label, TEXT, false) / 2.0);
            self.line((x, frame.bottom), (x, frame.bottom + 5.0), 1.4, MUTED);
            let middle = x.min(theme::WIDTH - 4.0 - half_width);
            if middle - half_width > free_from {
                self.text((middle, frame.bottom + 18.0), label, MUTED, Anchor::Middle);
                free_from = middle + half_width + 8.0;
            }
        }
        let middle = f64::midpoint(frame.left, frame.right);
        self.text((middle, frame.bottom + 18.0 + LINE), &axis.title, MUTED, Anchor::Middle);
    }
}

impl Frame {
    /// Pixel of a value of the horizontal axis.
    pub(crate) fn x(&self, axis: &Axis, value: f64) -> f64 {
        self.left + axis.place(value) * (self.right - self.left)
    }

    /// Pixel of a value of the vertical axis.
    pub(crate) fn y(&self, axis: &Axis, value: f64) -> f64 {
        self.bottom - axis.place(value) * (self.bottom - self.top)
    }
}

/// Breaks a text into lines no wider than `width`.
fn wrap(text: &str, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if theme::text_width(&format!("{line} {word}"), TEXT, false) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
