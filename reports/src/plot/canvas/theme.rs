//! Colours, sizes and fonts of every picture: one style, readable at 100 % and without distinguishing colours.
//!
//! The hues are those of Okabe and Ito, which are distinguishable with any common colour vision; lightness differs too.

use std::sync::OnceLock;

use plotters::style::{FontDesc, FontFamily, FontStyle, RGBColor, register_font};

/// Fonts in the order a browser tries them. The PNGs are drawn with the first, which this crate carries; Verdana has its widths.
pub(crate) const FONTS: &str = "DejaVu Sans, Verdana, Geneva, sans-serif";
/// Width of a picture, in pixels of the page.
pub(crate) const WIDTH: f64 = 900.0;
/// Height of a panel's plot area.
pub(crate) const PANEL_HEIGHT: f64 = 270.0;
/// Space around everything.
pub(crate) const MARGIN: f64 = 20.0;

pub(crate) const TITLE: f64 = 20.0;
/// Size of all other text; nothing is smaller.
pub(crate) const TEXT: f64 = 15.0;
/// Width of a line that shows a limit.
pub(crate) const LIMIT_LINE: f64 = 1.8;

/// Background of a picture, in dark mode too.
pub(crate) const PAPER: RGBColor = RGBColor(255, 255, 255);
/// Titles and labels.
pub(crate) const INK: RGBColor = RGBColor(28, 35, 43);
/// Explanations and axis labels.
pub(crate) const MUTED: RGBColor = RGBColor(82, 92, 105);
pub(crate) const GRID: RGBColor = RGBColor(214, 220, 227);
/// The two shades of phases, in turn.
pub(crate) const PHASES: [RGBColor; 2] = [RGBColor(243, 246, 250), RGBColor(229, 235, 243)];
/// Line between two phases.
pub(crate) const PHASE_EDGE: RGBColor = RGBColor(168, 180, 194);

/// Success: acknowledged, OK, the median.
pub(crate) const GOOD: RGBColor = RGBColor(0, 114, 178);
/// Area under a success line.
pub(crate) const GOOD_AREA: RGBColor = RGBColor(140, 190, 222);
/// Requested or offered values.
pub(crate) const OFFERED: RGBColor = RGBColor(240, 178, 76);
pub(crate) const TAIL: RGBColor = RGBColor(200, 82, 0);
pub(crate) const EXTREME: RGBColor = RGBColor(120, 128, 138);
/// Refusals and failures, the most frequent first; the last is for the rest together.
pub(crate) const REFUSALS: [RGBColor; 6] = [
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(230, 190, 40),
    RGBColor(0, 140, 105),
    RGBColor(74, 52, 128),
    RGBColor(150, 156, 164),
];

/// Rollout policies that are compared.
pub(crate) const POLICIES: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 140, 105),
    RGBColor(74, 52, 128),
    RGBColor(204, 121, 167),
];

/// Curves behind the marks of policies.
pub(crate) const CURVES: [RGBColor; 3] = [RGBColor(110, 175, 215), RGBColor(232, 160, 96), RGBColor(100, 184, 160)];

/// A decision that took a rollout on.
pub(crate) const DECISION: RGBColor = RGBColor(74, 84, 97);
/// A decision against a release, and a threshold.
pub(crate) const ALARM: RGBColor = RGBColor(176, 28, 46);
/// Updates on their way, the furthest first: confirmed is the strongest, pending the palest, halted and withdrawn without a hue.
pub(crate) const NORMAL: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(64, 148, 200),
    RGBColor(114, 178, 217),
    RGBColor(158, 203, 230),
    RGBColor(194, 221, 239),
    RGBColor(204, 212, 221),
    RGBColor(150, 156, 164),
    RGBColor(112, 118, 126),
];
/// Updates that went wrong.
pub(crate) const FAILED: [RGBColor; 7] = [
    RGBColor(213, 94, 0),
    RGBColor(96, 48, 150),
    RGBColor(240, 190, 30),
    RGBColor(218, 88, 165),
    RGBColor(128, 0, 32),
    RGBColor(255, 70, 70),
    RGBColor(60, 60, 60),
];
/// Firmware versions, the oldest first; the last is for the rest together.
pub(crate) const VERSIONS: [RGBColor; 6] = [
    RGBColor(190, 201, 213),
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 140, 105),
    RGBColor(204, 121, 167),
    RGBColor(110, 116, 124),
];

static REGULAR: &[u8] = include_bytes!("../../../fonts/dejavu-sans-regular.ttf");
static BOLD: &[u8] = include_bytes!("../../../fonts/dejavu-sans-bold.ttf");

/// plotters counts a font's size from its highest to its lowest point; DejaVu's is this many em.
pub(crate) const LINE_EM: f64 = (1_901.0 + 483.0) / 2_048.0;

/// Makes the fonts known to plotters, once.
pub(crate) fn register_fonts() -> Result<(), String> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let register = || {
        let one = |style, bytes| register_font(FONTS, style, bytes).is_ok();
        one(FontStyle::Normal, REGULAR) && one(FontStyle::Bold, BOLD)
    };
    if *REGISTERED.get_or_init(register) { Ok(()) } else { Err("a font of this program is not valid".into()) }
}

/// The font at a size that plotters understands.
pub(crate) fn font(size: f64, bold: bool) -> FontDesc<'static> {
    FontDesc::new(FontFamily::Name(FONTS), size, if bold { FontStyle::Bold } else { FontStyle::Normal })
}

/// Width of a text, in pixels of the page.
pub(crate) fn text_width(text: &str, size: f64, bold: bool) -> f64 {
    const FINER: f64 = 16.0; // plotters measures in whole pixels
    let measured = font(size * LINE_EM * FINER, bold).layout_box(text);
    measured
        .map_or(text.chars().count() as f64 * size * 0.65, |((left, _), (right, _))| f64::from(right - left) / FINER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fonts_are_small_valid_and_know_their_widths() {
        register_fonts().unwrap();
        assert!(REGULAR.len() < 60_000 && BOLD.len() < 60_000);
        let width = text_width("heartbeats", 15.0, false);
        assert!((70.0..95.0).contains(&width), "{width}");
        assert!(text_width("heartbeats", 15.0, true) > width);
        assert!(text_width("µ ≤ ≥ − – … ·", 15.0, false) > 50.0);
    }
}
