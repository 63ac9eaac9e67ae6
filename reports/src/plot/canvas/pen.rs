//! How the lines and points of one policy look: colour, marker and dash, so that they are distinguishable in black and white too.

use plotters::style::RGBColor;

use super::layout::Shape;
use super::theme::{self, PAPER};

/// The look of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pen {
    colour: RGBColor,
    marker: Marker,
    /// Lengths of strokes and of gaps in turn, pixels; none of a line without gaps.
    dash: &'static [u16],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    Disc,
    Square,
    Diamond,
    Triangle,
    Turned,
    Ring,
}

/// One more than there are colours, so that the first that has a colour again has another marker.
const MARKERS: [Marker; 6] =
    [Marker::Disc, Marker::Square, Marker::Triangle, Marker::Diamond, Marker::Turned, Marker::Ring];
const DASHES: [&[u16]; 4] = [&[], &[12, 5], &[3, 4], &[12, 4, 3, 4]];
/// Half the size of a marker, pixels.
const RADIUS: f64 = 6.0;
/// Width of a line.
const LINE: f64 = 2.4;
/// Width of a whisker.
const WHISKER: f64 = 1.8;
/// Half the width of a whisker's ends.
const CAP: f64 = 4.0;
/// Width of a legend's sample of a line.
const KEY_WIDTH: f64 = 58.0;
/// The same of a marker without a line.
const MARKER_WIDTH: f64 = 16.0;

/// A pen for each policy, in order, without end.
pub(crate) fn pens() -> impl Iterator<Item = Pen> {
    let looks = theme::POLICIES.into_iter().cycle().zip(MARKERS.into_iter().cycle()).zip(DASHES.into_iter().cycle());
    looks.map(|((colour, marker), dash)| Pen { colour, marker, dash })
}

/// Width of a series' sample in a legend.
pub(crate) fn key_width(has_line: bool) -> f64 {
    if has_line { KEY_WIDTH } else { MARKER_WIDTH }
}

impl Pen {
    pub(crate) fn colour(self) -> RGBColor {
        self.colour
    }

    /// A line through these corners, in pixels.
    pub(crate) fn line(self, points: &[(f64, f64)]) -> Vec<Shape> {
        if self.dash.is_empty() {
            return vec![self.stroke(points.to_vec(), LINE)];
        }
        dashed(points, self.dash).into_iter().map(|points| self.stroke(points, LINE)).collect()
    }

    /// A whisker with its two ends.
    pub(crate) fn whisker(self, x: f64, top: f64, bottom: f64) -> [Shape; 3] {
        let cap = |y| self.stroke(vec![(x - CAP, y), (x + CAP, y)], WHISKER);
        [self.stroke(vec![(x, top), (x, bottom)], WHISKER), cap(top), cap(bottom)]
    }

    /// A marker, with a rim of paper that parts it from what is behind.
    pub(crate) fn marker(self, at: (f64, f64)) -> [Shape; 2] {
        match self.marker {
            Marker::Ring => {
                let dot = |radius, colour| Shape::Dot { at, radius, colour };
                [dot(RADIUS, self.colour), dot(RADIUS - 2.6, PAPER)]
            }
            marker => [shape(marker, at, RADIUS + 1.6, PAPER), shape(marker, at, RADIUS, self.colour)],
        }
    }

    /// The series' sample in a legend, from `x` on: its marker, on its line where it has one.
    pub(crate) fn key(self, x: f64, y: f64, has_line: bool) -> Vec<Shape> {
        let width = key_width(has_line);
        let mut shapes = if has_line { self.line(&[(x, y), (x + width, y)]) } else { Vec::new() };
        shapes.extend(self.marker((x + width / 2.0, y)));
        shapes
    }

    fn stroke(self, points: Vec<(f64, f64)>, width: f64) -> Shape {
        Shape::Line { points, width, colour: self.colour }
    }
}

/// A filled marker around a position; of all kinds about the same area.
fn shape(marker: Marker, at: (f64, f64), radius: f64, colour: RGBColor) -> Shape {
    let corners: &[(f64, f64)] = match marker {
        Marker::Disc | Marker::Ring => return Shape::Dot { at, radius: radius * 0.92, colour },
        Marker::Square => &[(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
        Marker::Diamond => &[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
        Marker::Triangle => &[(0.0, -1.2), (1.2, 0.9), (-1.2, 0.9)],
        Marker::Turned => &[(0.0, 1.2), (1.2, -0.9), (-1.2, -0.9)],
    };
    let points = corners.iter().map(|(x, y)| (at.0 + x * radius, at.1 + y * radius)).collect();
    Shape::Area { points, colour }
}

/// The strokes of a dashed line. The dash goes on round a corner, as a pen would.
fn dashed(points: &[(f64, f64)], dash: &[u16]) -> Vec<Vec<(f64, f64)>> {
    let mut lengths = dash.iter().map(|length| f64::from(*length)).cycle();
    let (mut left, mut is_stroke) = (lengths.next().unwrap_or(f64::MAX), true);
    let mut strokes: Vec<Vec<(f64, f64)>> = points.first().map(|first| vec![*first]).into_iter().collect();
    for (from, to) in points.iter().zip(points.iter().skip(1)) {
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        let mut done = 0.0;
        while length - done > left {
            done += left;
            let share = done / length;
            let here = (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
            match strokes.last_mut().filter(|_| is_stroke) {
                Some(stroke) => stroke.push(here),
                None => strokes.push(vec![here]),
            }
            (left, is_stroke) = (lengths.next().unwrap_or(f64::MAX), !is_stroke);
        }
        left -= length - done;
        if let Some(stroke) = strokes.last_mut().filter(|_| is_stroke) {
            stroke.push(*to);
        }
    }
    strokes.retain(|stroke| stroke.len() > 1);
    strokes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dash_goes_on_round_a_corner() {
        let strokes = dashed(&[(0.0, 0.0), (10.0, 0.0), (10.0, 10.0)], &[6, 2]);
        assert_eq!(
            strokes,
            [vec![(0.0, 0.0), (6.0, 0.0)], vec![(8.0, 0.0), (10.0, 0.0), (10.0, 4.0)], vec![(10.0, 6.0), (10.0, 10.0)]]
        );
        assert!(dashed(&[], &[6, 2]).is_empty() && dashed(&[(1.0, 1.0)], &[6, 2]).is_empty());
    }

    #[test]
    fn no_two_policies_of_thirty_look_the_same() {
        let pens: Vec<Pen> = pens().take(30).collect();
        let marked = |one: &Pen, other: &Pen| (one.colour, one.marker) == (other.colour, other.marker);
        let alike = pens.iter().enumerate().any(|(nth, pen)| pens.iter().skip(nth + 1).any(|other| marked(pen, other)));
        assert!(!alike);
    }
}
