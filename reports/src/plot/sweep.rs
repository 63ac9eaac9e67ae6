//! What each configuration of a sweep costs and lets through: a heat map over two settings, or lines over one.

use plotters::style::RGBColor;

use super::canvas::axis::Axis;
use super::canvas::chart::{Chart, Mark, Panel, Point, Series};
use super::canvas::pen::pens;
use super::canvas::theme::{self, INK, PAPER};
use crate::number::compact;
use crate::sweep::{Figures, Spread, Sweep, TriedConfiguration, VariedSetting, number, reacting_cohort, short};

/// More columns than this have no room for numbers.
const NUMBERED_MAX: usize = 12;
/// Height of a row, as a share of a panel.
const ROW: f64 = 0.115;
/// The deepest colour of cost and of load.
const COST: RGBColor = RGBColor(150, 30, 20);
const LOAD: RGBColor = RGBColor(0, 70, 130);
/// A configuration that was not tried.
const NONE: RGBColor = RGBColor(225, 228, 232);

/// A figure that is drawn: its title, the number of a configuration, and its colour.
struct DrawnFigure {
    title: String,
    number: fn(&Figures) -> Spread,
    colour: RGBColor,
}

/// None if the settings were not varied, or there is nothing to draw yet.
pub(crate) fn chart(of: &Sweep) -> Option<Chart> {
    if of.tried.iter().all(|tried| tried.figures.is_none()) {
        return None;
    }
    let cost = DrawnFigure { title: "honest requests refused, per cent".into(), number: refused, colour: COST };
    let load = if of.setup.has_attackers {
        DrawnFigure {
            title: "attackers' requests let through, per cent of those sent".into(),
            number: attacks,
            colour: LOAD,
        }
    } else {
        DrawnFigure { title: "requests let through at the peak, per second".into(), number: peak, colour: LOAD }
    };
    let mut shown = vec![cost, load];
    if of.setup.varied.iter().any(|of| reacting_cohort(&of.name).is_some()) {
        shown.push(DrawnFigure { title: "requests refused again".into(), number: again, colour: COST });
        shown.push(DrawnFigure {
            title: "sent again after a refusal, per second".into(),
            number: second_peak,
            colour: LOAD,
        });
    }
    match of.setup.varied.as_slice() {
        [] => None,
        [one] => Some(lines(of, one, &shown)),
        [across, up, ..] => Some(heat(of, (across, up), &shown)),
    }
}

fn scaled(of: Spread, by: f64) -> Spread {
    Spread { mean: of.mean * by, min: of.min * by, max: of.max * by }
}

fn refused(of: &Figures) -> Spread {
    scaled(of.refused_share, 100.0)
}

fn attacks(of: &Figures) -> Spread {
    scaled(of.attacks_let_through, 100.0 / of.attacks.mean.max(1.0))
}

fn peak(of: &Figures) -> Spread {
    of.let_through_per_s_max
}

fn again(of: &Figures) -> Spread {
    of.refused_again.unwrap_or_default()
}

fn second_peak(of: &Figures) -> Spread {
    of.second_peak_per_s.unwrap_or_default()
}

/// The value of a setting in a configuration.
fn value<'a>(tried: &'a TriedConfiguration, of: &VariedSetting) -> Option<&'a String> {
    tried.configuration.settings.get(&of.name)
}

/// Whether the other settings that are varied have the recommended values: a map shows two.
fn is_in_plane(of: &Sweep, tried: &TriedConfiguration) -> bool {
    let recommended = of.tried.iter().find(|own| of.recommended.as_ref() == Some(&own.configuration.name));
    let is_same = |own: &VariedSetting| recommended.is_none_or(|best| value(best, own) == value(tried, own));
    of.setup.varied.iter().skip(2).all(is_same)
}

/// Lines over one setting, with the least and the greatest of the trials.
fn lines(of: &Sweep, varied: &VariedSetting, shown: &[DrawnFigure]) -> Chart {
    let numbers: Vec<Option<f64>> = varied.values.iter().map(|value| number(value)).collect();
    let all_are_numbers = numbers.iter().all(|number| number.is_some_and(|number| number > 0.0));
    let place = |nth: usize| match numbers.get(nth) {
        Some(Some(number)) if all_are_numbers => *number,
        _ => nth as f64 + 0.5,
    };
    let x =
        if all_are_numbers { Axis::log(&varied.name, numbers.iter().copied().flatten()) } else { categories(varied) };
    let mut panels = Vec::new();
    let mut words = Vec::new();
    for (shown, pen) in shown.iter().zip(pens()) {
        let mut points = Vec::new();
        let mut most = 0.0_f64;
        for (nth, wanted) in varied.values.iter().enumerate() {
            let tried = of.tried.iter().find(|tried| value(tried, varied) == Some(wanted));
            let Some(figures) = tried.and_then(|tried| tried.figures.as_ref()) else { continue };
            let Spread { mean, min, max } = (shown.number)(figures);
            most = most.max(max);
            points.push(Point { at: place(nth), low: min, value: mean, high: max, text: compact(mean) });
            words.push(format!("{wanted}: {} {}", compact(mean), shown.title));
        }
        let series = vec![Series { pen, points, is_joined: true }];
        panels.push(Panel {
            y: Axis::from_zero(&shown.title, most),
            height: 0.75,
            marks: Vec::new(),
            series,
            empty: (most <= 0.0).then(|| "none in any trial".into()),
        });
    }
    frame(of, x, panels, &words, "The mean of the trials, with the least and the greatest")
}

/// An axis with a place for each value, in order.
fn categories(of: &VariedSetting) -> Axis {
    let ticks = of.values.iter().enumerate().map(|(nth, value)| (nth as f64 + 0.5, value.clone())).collect();
    Axis::with_ticks(&of.name, of.values.len() as f64, ticks)
}

/// Cells over two settings, the deeper the more.
fn heat(of: &Sweep, (across, up): (&VariedSetting, &VariedSetting), shown: &[DrawnFigure]) -> Chart {
    let mut panels = Vec::new();
    let mut words = Vec::new();
    for shown in shown {
        let numbers = of.tried.iter().filter(|tried| is_in_plane(of, tried));
        let most =
            numbers.filter_map(|tried| tried.figures.as_ref()).map(|of| (shown.number)(of).mean).fold(0.0, f64::max);
        let mut marks = Vec::new();
        for tried in of.tried.iter().filter(|tried| is_in_plane(of, tried)) {
            let place = |varied: &VariedSetting| varied.values.iter().position(|own| value(tried, varied) == Some(own));
            let (Some(column), Some(row)) = (place(across), place(up)) else { continue };
            let number = tried.figures.as_ref().map(|of| (shown.number)(of).mean);
            if let Some(number) = number {
                words.push(format!("{}: {} {}", tried.configuration.name, compact(number), shown.title));
            }
            marks.extend(cell((column, row), number, most, shown.colour, across.values.len()));
        }
        if let Some(best) = of.tried.iter().find(|own| of.recommended.as_ref() == Some(&own.configuration.name)) {
            let place = |varied: &VariedSetting| varied.values.iter().position(|own| value(best, varied) == Some(own));
            if let (Some(column), Some(row)) = (place(across), place(up)) {
                marks.extend(outline((column, row)));
            }
        }
        let mut y = categories(up);
        y.title = format!("{}; up: {}", shown.title, up.name);
        let height = (up.values.len() as f64 * ROW).max(0.3);
        panels.push(Panel { y, height, marks, series: Vec::new(), empty: None });
    }
    let how = "Each cell is a configuration, with the mean of its trials: the deeper, the more; the frame is the recommended one; grey was not tried";
    frame(of, categories(across), panels, &words, how)
}

/// A filled cell with its number.
fn cell((column, row): (usize, usize), number: Option<f64>, most: f64, deepest: RGBColor, columns: usize) -> Vec<Mark> {
    let (left, bottom) = (column as f64, row as f64);
    // The root shows small differences near zero, which matter most.
    let depth = number.map(|number| if most > 0.0 { (number / most).max(0.0).sqrt() } else { 0.0 });
    let colour = depth.map_or(NONE, |depth| mixed(deepest, depth));
    let (inside, edge) = (left + 1.0, 0.03);
    let points = vec![(left, bottom + edge, bottom + 1.0 - edge), (inside - edge, bottom + edge, bottom + 1.0 - edge)];
    let mut marks = vec![Mark::Area { points, colour }];
    let ink = if depth.is_some_and(|depth| depth > 0.68) { PAPER } else { INK };
    if columns <= NUMBERED_MAX {
        let text = number.map_or_else(|| "×".to_owned(), compact);
        marks.push(Mark::Label { at: (left + 0.5, bottom + 0.5), text, colour: ink });
    }
    marks
}

/// A frame around the recommended cell.
fn outline((column, row): (usize, usize)) -> [Mark; 2] {
    let (left, bottom, edge) = (column as f64, row as f64, 0.03);
    let (right, bottom, top) = (left + 1.0 - edge, bottom + edge, bottom + 1.0 - edge);
    let corners =
        [vec![(left, bottom), (left, top), (right, top)], vec![(left, bottom), (right, bottom), (right, top)]];
    corners.map(|points| Mark::Line { points, width: 3.0, colour: INK })
}

/// A colour between paper and the deepest.
fn mixed(deepest: RGBColor, depth: f64) -> RGBColor {
    let part = |paper: u8, deep: u8| {
        let value = f64::from(paper) + (f64::from(deep) - f64::from(paper)) * depth.clamp(0.04, 1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two bytes")]
        let byte = value.round() as u8;
        byte
    };
    RGBColor(part(PAPER.0, deepest.0), part(PAPER.1, deepest.1), part(PAPER.2, deepest.2))
}

fn frame(of: &Sweep, x: Axis, panels: Vec<Panel>, words: &[String], how: &str) -> Chart {
    let fixed: Vec<String> = of
        .tried
        .iter()
        .find(|own| of.recommended.as_ref() == Some(&own.configuration.name))
        .map(|best| {
            let others = of.setup.varied.iter().skip(2);
            others.filter_map(|own| Some(format!("{}={}", own.name, value(best, own)?))).collect()
        })
        .unwrap_or_default();
    let fixed = if fixed.is_empty() { String::new() } else { format!(" All with {}.", fixed.join(", ")) };
    let best = of.tried.iter().find(|own| of.recommended.as_ref() == Some(&own.configuration.name));
    let named =
        |best: &TriedConfiguration| (format!("recommended: {}", short(&of.setup, &best.configuration)), theme::INK);
    let legend = best.map(named).into_iter().collect();
    Chart {
        title: "What each limit costs and lets through".into(),
        subtitle: format!("{how}.{fixed}"),
        description: format!("{}.", words.join(", ")),
        x,
        bands: Vec::new(),
        flags: Vec::new(),
        panels,
        legend,
        pens: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plot,
        sweep::{Configuration, SweepSetup, sample},
    };

    /// A grid of two settings with the sample's trials.
    fn grid() -> Sweep {
        let names = ["2", "8", "24", "60"];
        let varied = |name: &str| VariedSetting { name: name.into(), values: names.map(str::to_owned).into() };
        let mut trials = Vec::new();
        let mut configurations = Vec::new();
        for a in names {
            for b in names {
                let name = format!("A={a} B={b}");
                trials.extend(
                    [1, 2].map(|seed| sample::trial(&name, seed, if a == "2" { 300 } else { 0 }, b.len() as u64)),
                );
                let settings = [("A".to_owned(), a.to_owned()), ("B".to_owned(), b.to_owned())].into();
                configurations.push(Configuration { name, settings, refused: None, warnings: Vec::new() });
            }
        }
        let asked = SweepSetup { varied: vec![varied("A"), varied("B")], configurations, ..sample::setup() };
        Sweep::of(asked, &trials)
    }

    #[test]
    fn a_map_has_a_cell_with_its_number_for_each_configuration_and_a_frame_for_the_recommended_one() {
        let chart = chart(&grid()).unwrap();
        assert_eq!(chart.panels.len(), 2);
        for panel in &chart.panels {
            let cells = panel.marks.iter().filter(|mark| matches!(mark, Mark::Area { .. })).count();
            let frames = panel.marks.iter().filter(|mark| matches!(mark, Mark::Line { .. })).count();
            assert_eq!((cells, frames), (16, 2), "a frame is two lines");
        }
        assert!(chart.description.contains("A=2 B=8: 30 honest requests refused"), "{}", chart.description);
        let figure = plot::figure("limits", chart, false).unwrap();
        assert!(!figure.svg.contains("NaN") && figure.png().unwrap().starts_with(b"\x89PNG"));
    }

    #[test]
    fn one_setting_gives_lines_and_none_gives_no_picture() {
        let chart = chart(&sample::sweep()).unwrap();
        assert!(chart.panels.iter().all(|panel| panel.series[0].points.len() == 4));
        let mut files = sample::sweep();
        files.setup.varied.clear();
        assert!(super::chart(&files).is_none());
        assert!(super::chart(&Sweep::of(sample::setup(), &[])).is_none(), "nothing was tried yet");
    }
}
