//! Names above a chart's first panel, of its flags and of its bands, placed so that none covers another.

use plotters::style::RGBColor;

use super::chart::{Chart, Flag};
use super::theme::{self, TEXT};
use crate::escape;

/// Longest name of a phase or code that is shown whole.
pub(crate) const NAME_MAX: usize = 28;
/// Rows of names of bands; what fits in none of them is left out.
const BAND_ROWS_MAX: u32 = 3;
/// Rows of names of flags.
const FLAG_ROWS_MAX: u32 = 4;
/// Room between two names of a row.
const APART: f64 = 10.0;
/// From a pole to the name that hangs on it.
const POLE: f64 = 5.0;

/// A name with its place.
pub(crate) struct Name {
    pub(crate) text: String,
    /// Its middle, pixels of the page.
    pub(crate) middle: f64,
    pub(crate) half_width: f64,
    /// Its row above the panel, from 0 right above it.
    pub(crate) row: u32,
    /// Where that which it names is.
    pub(crate) target: f64,
    /// Whether a stroke leads there.
    pub(crate) has_stroke: bool,
    /// Colour of the text.
    pub(crate) colour: RGBColor,
    pub(crate) stroke: RGBColor,
}

/// What is to be placed: text, position, whether it hangs on a pole there, and the two colours.
struct UnplacedName<'a> {
    text: &'a str,
    target: f64,
    is_flag: bool,
    colour: RGBColor,
    stroke: RGBColor,
}

/// The names of a chart between two edges: those of flags next to the panel, those of bands above them. Bands come first:
/// a later name covers the strokes of an earlier one.
pub(crate) fn above(chart: &Chart, left: f64, right: f64) -> Vec<Name> {
    let at = |value| left + chart.x.place(value) * (right - left);
    let flags = flags(&chart.flags, at, (left, right));
    let bands = chart.bands.iter().map(|(name, from, to)| UnplacedName {
        text: name,
        target: f64::midpoint(at(*from), at(*to)),
        is_flag: false,
        colour: theme::MUTED,
        stroke: theme::PHASE_EDGE,
    });
    let first_row = flags.iter().map(|flag| flag.row + 1).max().unwrap_or(0);
    let mut names = place(bands, (left, right), first_row);
    names.extend(flags);
    names
}

/// The names of flags, the last first: each hangs to the right of its pole, so an earlier one above it covers no pole. What
/// went against a release must not be left out for what did not: only when it would be, it comes before all others.
fn flags(flags: &[Flag], at: impl Fn(f64) -> f64, edges: (f64, f64)) -> Vec<Name> {
    let wanted = |flag: &'_ Flag| (flag.name.clone(), at(flag.at), flag.colour);
    let mut in_order: Vec<_> = flags.iter().map(wanted).collect();
    in_order.sort_by(|a, b| b.1.total_cmp(&a.1));
    let placed = |order: &[(String, f64, RGBColor)]| {
        let wanted = order.iter().map(|(text, target, colour)| UnplacedName {
            text,
            target: *target,
            is_flag: true,
            colour: *colour,
            stroke: *colour,
        });
        place(wanted, edges, 0)
    };
    let names = placed(&in_order);
    let loud = in_order.iter().filter(|(_, _, colour)| *colour == theme::ALARM).count();
    if names.iter().filter(|name| name.colour == theme::ALARM).count() == loud {
        return names;
    }
    in_order.sort_by_key(|(_, _, colour)| *colour != theme::ALARM);
    placed(&in_order)
}

/// Places names in rows from `first_row` on, each in the lowest that is free; one in a higher row gets a stroke.
fn place<'a>(wanted: impl Iterator<Item = UnplacedName<'a>>, (left, right): (f64, f64), first_row: u32) -> Vec<Name> {
    let mut placed: Vec<Name> = Vec::new();
    for UnplacedName { text, target, is_flag, colour, stroke } in wanted {
        let text = escape::label(text, NAME_MAX);
        let half_width = theme::text_width(&text, TEXT, false) / 2.0;
        let (first, last) = (left + half_width, right - half_width);
        if first > last {
            continue;
        }
        let beside = half_width + POLE;
        let middle = match is_flag {
            true if target + beside <= last => target + beside,
            true => (target - beside).max(first),
            false => target.clamp(first, last),
        };
        let is_free = |row: &u32| {
            placed
                .iter()
                .all(|other| other.row != *row || (other.middle - middle).abs() > other.half_width + half_width + APART)
        };
        let covers_pole =
            |row: u32| placed.iter().any(|other| other.row > row && (other.target - middle).abs() < half_width + POLE);
        let rows = || first_row..first_row + if is_flag { FLAG_ROWS_MAX } else { BAND_ROWS_MAX };
        let best = rows().find(|row| is_free(row) && !(is_flag && covers_pole(*row)));
        if let Some(row) = best.or_else(|| rows().find(is_free)) {
            let has_stroke = is_flag || row > first_row;
            placed.push(Name { text, middle, half_width, row, target, has_stroke, colour, stroke });
        }
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(at: f64, name: &str, colour: RGBColor) -> Flag {
        Flag { at, name: name.into(), colour }
    }

    #[test]
    fn flags_hang_beside_their_poles_and_cover_none() {
        let marks =
            [(100.0, "paused"), (110.0, "aborted"), (120.0, "resumed"), (50.0, "created"), (795.0, "completed")];
        let marks = marks.map(|(at, name)| flag(at, name, theme::DECISION));
        let names = flags(&marks, |at| at, (20.0, 800.0));
        let rows: Vec<_> = names.iter().map(|name| (name.text.as_str(), name.row)).collect();
        assert_eq!(rows, [("completed", 0), ("resumed", 0), ("aborted", 1), ("paused", 2), ("created", 3)]);
        for (name, pole) in names.iter().flat_map(|name| names.iter().map(move |other| (name, other))) {
            let is_covered = pole.row > name.row && (pole.target - name.middle).abs() < name.half_width;
            assert!(!is_covered, "{} covers the pole of {}", name.text, pole.text);
        }
    }

    #[test]
    fn where_many_flags_crowd_what_went_against_a_release_is_named() {
        let mut marks: Vec<Flag> =
            (0..10).map(|nth| flag(100.0 + f64::from(nth), "promoted", theme::DECISION)).collect();
        marks.insert(2, flag(101.5, "aborted", theme::ALARM));
        let names = flags(&marks, |at| at, (60.0, 800.0));
        assert_eq!(names.len(), 4);
        assert!(names.iter().any(|name| name.text == "aborted" && name.row == 0));
    }
}
