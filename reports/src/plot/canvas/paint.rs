//! Shapes made visible by plotters: an SVG document, and a PNG at twice the page's resolution.

use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoTextStyle, RGBColor};

use super::layout::{Anchor, Picture, Shape};
use super::theme;
use crate::escape;

/// plotters draws at whole positions; this many a page's pixel make curves smooth.
const FINE: f64 = 4.0;
/// plotters' SVG writes a font size smaller than requested by this factor.
const SVG_LINE_EM: f64 = 1.24;

/// A failure of plotters.
type Failed<DB> = DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>;

/// The differences between the two backends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Medium {
    Svg,
    Bitmap,
}

/// The picture as an SVG document with its own title and description.
pub(crate) fn svg(picture: &Picture, description: &str) -> Result<String, String> {
    let mut drawn = String::new();
    let backend = SVGBackend::with_string(&mut drawn, size(picture));
    paint(backend, picture, Medium::Svg).map_err(|cause| cause.to_string())?;
    let (_, body) = drawn.split_once('>').ok_or("the SVG has no opening tag")?;
    let (width, height) = size(picture);
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">{body}",
        picture.width.round(),
        picture.height.round(),
        escape::xml(description),
    ))
}

/// The picture as a PNG file: painted at four times the page's resolution, then halved, which smooths every edge.
pub(crate) fn png(picture: &Picture) -> Result<Vec<u8>, String> {
    let (width, height) = size(picture);
    let mut canvas = vec![255_u8; width as usize * height as usize * 3];
    let backend = BitMapBackend::with_buffer(&mut canvas, (width, height));
    paint(backend, picture, Medium::Bitmap).map_err(|cause| cause.to_string())?;
    let pixels = halved(&canvas, width as usize);
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width / 2, height / 2);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().map_err(|cause| cause.to_string())?;
    writer.write_image_data(&pixels).map_err(|cause| cause.to_string())?;
    writer.finish().map_err(|cause| cause.to_string())?;
    Ok(file)
}

/// Size of the fine canvas; even, so that it can be halved.
fn size(picture: &Picture) -> (u32, u32) {
    (fine(picture.width.ceil()).unsigned_abs(), fine(picture.height.ceil()).unsigned_abs())
}

/// A length of the page on the fine canvas.
fn fine(length: f64) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "a float cast saturates, and no picture is that large")]
    let fine = (length * FINE).round() as i32;
    fine
}

/// Averages squares of four pixels. `width` is that of the fine canvas.
fn halved(fine: &[u8], width: usize) -> Vec<u8> {
    let row = width * 3;
    let mut pixels = vec![0; fine.len() / 4];
    let mut next = pixels.as_chunks_mut::<3>().0.iter_mut();
    for (upper, lower) in fine.chunks_exact(row * 2).map(|rows| rows.split_at(row)) {
        let squares = upper.as_chunks::<6>().0.iter().zip(lower.as_chunks::<6>().0);
        // Hundreds of millions of bytes in a run of the tests: one plain loop, so that it is fast in every profile.
        for (([r0, g0, b0, r1, g1, b1], [r2, g2, b2, r3, g3, b3]), pixel) in squares.zip(next.by_ref()) {
            *pixel = [mean(*r0, *r1, *r2, *r3), mean(*g0, *g1, *g2, *g3), mean(*b0, *b1, *b2, *b3)];
        }
    }
    pixels
}

/// The mean of four bytes, rounded.
#[inline]
fn mean(a: u8, b: u8, c: u8, d: u8) -> u8 {
    // A mean of bytes is one.
    let [mean, _] = ((u16::from(a) + u16::from(b) + u16::from(c) + u16::from(d) + 2) / 4).to_le_bytes();
    mean
}

/// Paints all shapes on white.
fn paint<DB: DrawingBackend>(backend: DB, picture: &Picture, medium: Medium) -> Result<(), Failed<DB>> {
    let area = backend.into_drawing_area();
    area.fill(&theme::PAPER)?;
    for shape in &picture.shapes {
        match shape {
            Shape::Line { points, width, colour } => line(&area, points, *width, *colour, medium)?,
            Shape::Area { points, colour } => area.draw(&Polygon::new(corners(points), colour.filled()))?,
            Shape::Dot { at, radius, colour } => {
                area.draw(&Circle::new((fine(at.0), fine(at.1)), fine(*radius), colour.filled()))?;
            }
            Shape::Text { at, text, size, is_bold, colour, anchor } => {
                text_line(&area, *at, text, (*size, *is_bold, *colour, *anchor), medium)?;
            }
        }
    }
    area.present()
}

/// Corners on the fine canvas.
fn corners(points: &[(f64, f64)]) -> Vec<(i32, i32)> {
    points.iter().map(|(x, y)| (fine(*x), fine(*y))).collect()
}

/// A line: one path in an SVG; in a bitmap a rectangle per stretch with round joints, since plotters' own joints fray.
fn line<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    points: &[(f64, f64)],
    width: f64,
    colour: RGBColor,
    medium: Medium,
) -> Result<(), Failed<DB>> {
    if medium == Medium::Svg {
        return area.draw(&PathElement::new(corners(points), colour.stroke_width(fine(width).unsigned_abs())));
    }
    for (from, to) in points.iter().zip(points.iter().skip(1)) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy);
        if length > 0.0 {
            let (across, along) = (dx / length * width / 2.0, dy / length * width / 2.0);
            let stretch = [
                (from.0 - along, from.1 + across),
                (to.0 - along, to.1 + across),
                (to.0 + along, to.1 - across),
                (from.0 + along, from.1 - across),
            ];
            area.draw(&Polygon::new(corners(&stretch), colour.filled()))?;
        }
    }
    let joints = points.iter().skip(1).take(points.len().saturating_sub(2));
    for joint in joints {
        area.draw(&Circle::new((fine(joint.0), fine(joint.1)), (fine(width) - 1) / 2, colour.filled()))?;
    }
    Ok(())
}

/// A line of text; both media end up with the same size and height.
fn text_line<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    at: (f64, f64),
    text: &str,
    (size, is_bold, colour, anchor): (f64, bool, RGBColor, Anchor),
    medium: Medium,
) -> Result<(), Failed<DB>> {
    let (line_em, lower) = match medium {
        Medium::Svg => (SVG_LINE_EM, 0.0),
        Medium::Bitmap => (theme::LINE_EM, 0.157 * size), // plotters centres a bitmap's text that much higher
    };
    let position = match anchor {
        Anchor::Start => HPos::Left,
        Anchor::Middle => HPos::Center,
        Anchor::End => HPos::Right,
    };
    let font = theme::font(size * line_em * FINE, is_bold);
    let style = font.into_text_style(&(1, 1)).color(&colour).pos(Pos::new(position, VPos::Center));
    area.draw_text(text, &style, (fine(at.0), fine(at.1 + lower)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_averages_squares() {
        let fine = [0, 0, 0, 100, 0, 0, 0, 0, 0, 100, 0, 40];
        assert_eq!(halved(&fine, 2), [50, 0, 10]);
        // Two squares a row, three rows: each square of one value, and the last one rounded.
        let row = |left: u8, right: u8| [[left; 6], [right; 6]].concat();
        let mut fine = [row(1, 2), row(1, 2), row(3, 4), row(3, 4), row(255, 255), row(255, 253)].concat();
        assert_eq!(halved(&fine, 4), [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 255, 255, 255, 254, 254, 254]);
        fine.truncate(24);
        assert_eq!(halved(&fine, 4), [1, 1, 1, 2, 2, 2]);
    }
}
