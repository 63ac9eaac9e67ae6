//! Where the points, whiskers and numbers of several series go, so that none hides another's.

use super::axis::Axis;
use super::chart::{Panel, Series};
use super::layout::{Anchor, Frame, Shape};
use super::theme::{self, INK, TEXT};

/// From one series to the next where they have the same position, pixels.
const APART: f64 = 15.0;
/// Maximum width of a group: many policies move closer together, and no group reaches the next rate.
const GROUP: f64 = 70.0;
/// Half the height of a number.
const HALF_TEXT: f64 = 8.0;
/// Space around a marker that no number may use.
const MARKER: f64 = 9.0;

/// A rectangle: left, right, top, bottom.
type Room = (f64, f64, f64, f64);

/// The shapes of a panel's series, from back to front.
pub(crate) fn shapes(panel: &Panel, x: &Axis, frame: Frame) -> Vec<Shape> {
    let shifts = shifts(&panel.series, x, frame);
    let place = |series: &Series, shift: f64| -> Vec<(f64, f64, f64, f64)> {
        let of = |value| frame.y(&panel.y, value);
        series
            .points
            .iter()
            .map(|point| (frame.x(x, point.at) + shift, of(point.high), of(point.value), of(point.low)))
            .collect()
    };
    let placed: Vec<_> =
        panel.series.iter().zip(shifts).map(|(series, shift)| (series, place(series, shift))).collect();
    let mut shapes = Vec::new();
    for (series, points) in placed.iter().filter(|(series, _)| series.is_joined) {
        shapes.extend(series.pen.line(&points.iter().map(|(x, _, y, _)| (*x, *y)).collect::<Vec<_>>()));
    }
    for (series, points) in &placed {
        shapes.extend(points.iter().flat_map(|(x, top, _, bottom)| series.pen.whisker(*x, *top, *bottom)));
    }
    for (series, points) in &placed {
        shapes.extend(points.iter().flat_map(|(x, _, y, _)| series.pen.marker((*x, *y))));
    }
    let mut taken: Vec<Room> = Vec::new();
    for (x, top, y, bottom) in placed.iter().flat_map(|(_, points)| points) {
        taken.push((x - MARKER, x + MARKER, y - MARKER, y + MARKER));
        taken.push((x - 5.0, x + 5.0, *top, *bottom));
    }
    for (series, points) in &placed {
        for (point, at) in series.points.iter().zip(points) {
            shapes.extend(number(&point.text, *at, frame, &mut taken));
        }
    }
    shapes
}

/// How far each series is shifted from its true position, evenly to both sides: not at all unless another one is at the
/// same place. Pixels, not values: on the axis a shift would say something else.
fn shifts(series: &[Series], x: &Axis, frame: Frame) -> Vec<f64> {
    let nearest = |one: &Series, other: &Series| {
        let pairs = one.points.iter().flat_map(|of| other.points.iter().map(move |and| (of, and)));
        pairs.map(|(of, and)| (frame.x(x, of.at) - frame.x(x, and.at)).abs()).fold(f64::MAX, f64::min)
    };
    // A group: each member is close to another one.
    let mut groups: Vec<usize> = (0..series.len()).collect();
    for (nth, one) in series.iter().enumerate() {
        for (mth, other) in series.iter().enumerate().skip(nth + 1) {
            if nearest(one, other) < APART
                && let (Some(keep), Some(drop)) = (groups.get(nth).copied(), groups.get(mth).copied())
            {
                groups.iter_mut().filter(|group| **group == drop).for_each(|group| *group = keep);
            }
        }
    }
    let shift = |(nth, group): (usize, &usize)| {
        let before = groups.iter().take(nth).filter(|other| *other == group).count();
        let all = groups.iter().filter(|other| *other == group).count();
        let gaps = all as f64 - 1.0;
        (before as f64 - gaps / 2.0) * APART.min(GROUP / gaps.max(1.0))
    };
    groups.iter().enumerate().map(shift).collect()
}

/// A number below its marker, next to it, or above its whisker; left out if all of these are taken.
fn number(text: &str, (x, top, y, bottom): (f64, f64, f64, f64), frame: Frame, taken: &mut Vec<Room>) -> Option<Shape> {
    if text.is_empty() {
        return None;
    }
    let half = theme::text_width(text, TEXT, true) / 2.0;
    let below = (x, bottom.max(y + MARKER) + HALF_TEXT + 2.0);
    let above = (x, top.min(y - MARKER) - HALF_TEXT - 3.0);
    let beside = [(x + half + MARKER + 2.0, y), (x - half - MARKER - 2.0, y)];
    let room = |(x, y): (f64, f64)| (x - half - 2.0, x + half + 2.0, y - HALF_TEXT, y + HALF_TEXT);
    let is_free = |at: &(f64, f64)| {
        let (left, right, top, bottom) = room(*at);
        let is_inside = left >= frame.left && right <= frame.right && top >= frame.top - 2.0 && bottom <= frame.bottom;
        is_inside && !taken.iter().any(|(l, r, t, b)| left < *r && *l < right && top < *b && *t < bottom)
    };
    let at = [below].into_iter().chain(beside).chain([above]).find(is_free)?;
    taken.push(room(at));
    Some(Shape::Text { at, text: text.to_owned(), size: TEXT, is_bold: true, colour: INK, anchor: Anchor::Middle })
}

#[cfg(test)]
mod tests {
    use super::super::chart::Point;
    use super::super::pen::pens;
    use super::*;

    const FRAME: Frame = Frame { left: 0.0, right: 800.0, top: 0.0, bottom: 200.0 };

    fn panel(ats: &[f64]) -> Panel {
        let point = |at| Point { at, low: 5.0, value: 5.0, high: 8.0, text: "5".into() };
        let series = ats.iter().zip(pens());
        let series = series.map(|(at, pen)| Series { pen, points: vec![point(*at)], is_joined: false }).collect();
        Panel { y: Axis::count("", 10.0), height: 0.5, marks: Vec::new(), series, empty: None }
    }

    #[test]
    fn only_who_stands_where_another_does_is_moved_and_all_by_as_much() {
        let x = Axis::with_ticks("", 80.0, Vec::new());
        assert_eq!(shifts(&panel(&[10.0, 40.0]).series, &x, FRAME), [0.0, 0.0]);
        assert_eq!(shifts(&panel(&[10.0, 40.0, 10.5, 10.0]).series, &x, FRAME), [-15.0, 0.0, 0.0, 15.0]);
    }

    #[test]
    fn no_number_covers_another() {
        theme::register_fonts().unwrap();
        let x = Axis::with_ticks("", 80.0, Vec::new());
        let shapes = shapes(&panel(&[40.0; 5]), &x, FRAME);
        let texts: Vec<f64> = shapes
            .iter()
            .filter_map(|shape| if let Shape::Text { at, .. } = shape { Some(at.0) } else { None })
            .collect();
        assert!(texts.len() >= 3 && texts.windows(2).all(|pair| pair[1] - pair[0] > 9.0), "{texts:?}");
    }
}
