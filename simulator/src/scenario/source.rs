//! The text of a scenario file: from a byte range to line, column and an excerpt that is fit to print.

use ks_protocol::text::printable_char;

/// Columns of a source line that are shown; a longer line is cut around the place of the problem.
const EXCERPT_COLUMNS_MAX: usize = 120;
/// Columns kept before the place of the problem when a line is cut.
const EXCERPT_COLUMNS_BEFORE: usize = 40;
/// Columns that a tab takes in an excerpt.
const TAB_COLUMNS: usize = 4;

/// A byte range of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) start: usize,
    /// One past the last byte.
    pub(crate) end: usize,
}

impl Place {
    /// The file as a whole: shown with its name only.
    pub(crate) const FILE: Self = Self { start: 0, end: 0 };

    /// From a range of the parser.
    pub(crate) fn from_range(range: &std::ops::Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// A place in a form for readers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    /// The line and what to underline; none for the file as a whole.
    pub(crate) excerpt: Option<Excerpt>,
}

/// One source line, printable: tabs widened, control characters replaced, cut if it is long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    pub(crate) text: String,
    /// Columns before the underline.
    pub(crate) caret_column: usize,
    /// Columns of the underline, at least 1.
    pub(crate) caret_columns: usize,
}

/// The place's line, column and excerpt. Any range is accepted: one beyond the text means its end.
pub(crate) fn locate(text: &str, place: Place) -> Location {
    if place == Place::FILE {
        return Location { line: 1, column: 1, excerpt: None };
    }
    let start = text.floor_char_boundary(shown_start(text, place.start.min(text.len())));
    let (before, after) = text.split_at_checked(start).unwrap_or((text, ""));
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let line_before = before.rsplit('\n').next().unwrap_or_default();
    let line_after = after.split('\n').next().unwrap_or_default();
    let line_after = line_after.strip_suffix('\r').unwrap_or(line_after);
    let marked_end = line_after.floor_char_boundary(place.end.saturating_sub(start));
    let (marked, rest) = line_after.split_at_checked(marked_end).unwrap_or((line_after, ""));
    let column = line_before.chars().count() + 1;
    Location { line, column, excerpt: Some(excerpt(line_before, marked, rest)) }
}

/// For the end of the text, the end of its last line that is not empty.
fn shown_start(text: &str, start: usize) -> usize {
    match text.get(start..) {
        Some("") => text.trim_end().len(),
        _ => start,
    }
}

/// Lays out a line in columns, and cuts it if it is too long.
fn excerpt(before: &str, marked: &str, rest: &str) -> Excerpt {
    let (mut before, more_before) = printable(before.chars().rev());
    before.reverse();
    let (marked, more_marked) = printable(marked.chars());
    let (rest, more_rest) = printable(rest.chars());
    let width = |cells: &[Cell]| cells.iter().map(|cell| cell.columns).sum::<usize>();
    let columns_all = width(&before) + width(&marked) + width(&rest);
    let is_cut = more_before || more_marked || more_rest || columns_all > EXCERPT_COLUMNS_MAX;
    let mut line = Excerpt { text: String::new(), caret_column: 0, caret_columns: 0 };
    let mut skip_columns = if is_cut { width(&before).saturating_sub(EXCERPT_COLUMNS_BEFORE) } else { 0 };
    if skip_columns > 0 {
        line.text.push('…');
        line.caret_column = 1;
    }
    for cell in &before {
        if skip_columns > 0 {
            skip_columns = skip_columns.saturating_sub(cell.columns);
        } else {
            line.text.push_str(&cell.shown);
            line.caret_column += cell.columns;
        }
    }
    let mut columns_used = line.caret_column;
    for (index, cell) in marked.iter().chain(&rest).enumerate() {
        if columns_used + cell.columns > EXCERPT_COLUMNS_MAX {
            break;
        }
        line.text.push_str(&cell.shown);
        columns_used += cell.columns;
        line.caret_columns += if index < marked.len() { cell.columns } else { 0 };
    }
    if is_cut && columns_used < line.caret_column + width(&marked) + width(&rest) {
        line.text.push('…');
    }
    line.caret_columns = line.caret_columns.max(1);
    line
}

/// One character as it is printed.
struct Cell {
    shown: String,
    columns: usize,
}

/// The first characters as they are printed, no more than an excerpt can use; and whether there are more.
fn printable(mut chars: impl Iterator<Item = char>) -> (Vec<Cell>, bool) {
    let cells = chars.by_ref().take(2 * EXCERPT_COLUMNS_MAX).map(cell).collect();
    (cells, chars.next().is_some())
}

fn cell(c: char) -> Cell {
    match c {
        '\t' => Cell { shown: " ".repeat(TAB_COLUMNS), columns: TAB_COLUMNS },
        c => {
            let shown = printable_char(c);
            Cell { shown: shown.to_string(), columns: columns(shown) }
        }
    }
}

/// Columns that a terminal gives a character: the common wide and zero-width ranges, 1 for all others.
fn columns(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(text: &str, what: &str) -> (usize, usize, String, String) {
        let start = text.find(what).expect("the text holds it");
        let found = locate(text, Place { start, end: start + what.len() });
        let excerpt = found.excerpt.expect("not the whole file");
        let underline = " ".repeat(excerpt.caret_column) + &"^".repeat(excerpt.caret_columns);
        (found.line, found.column, excerpt.text, underline)
    }

    #[test]
    fn lines_and_columns_are_counted_in_characters_from_one() {
        let text = "a = 1\r\nb = \"é漢字\" # c\n";
        assert_eq!(located(text, "a"), (1, 1, "a = 1".into(), "^".into()));
        assert_eq!(located(text, "字"), (2, 8, "b = \"é漢字\" # c".into(), "        ^^".into()));
        assert_eq!(located(text, "# c").1, 11);
    }

    #[test]
    fn tabs_are_widened_and_control_characters_are_replaced() {
        let text = "\tx = \"\u{1b}[2J\u{202e}y\"";
        assert_eq!(located(text, "x"), (1, 2, "    x = \"�[2J�y\"".into(), "    ^".into()));
    }

    #[test]
    fn a_range_over_several_lines_is_underlined_to_the_end_of_its_first() {
        let text = "a = '''one\ntwo'''\n";
        assert_eq!(located(text, "'''one\ntwo'''"), (1, 5, "a = '''one".into(), "    ^^^^^^".into()));
    }

    #[test]
    fn the_end_of_the_text_is_shown_after_its_last_line() {
        let text = "a = [\n1,\n\n";
        let found = locate(text, Place { start: text.len(), end: text.len() });
        let excerpt = found.excerpt.expect("not the whole file");
        assert_eq!((found.line, found.column, excerpt.text.as_str(), excerpt.caret_column), (2, 3, "1,", 2));
    }

    #[test]
    fn a_long_line_is_cut_on_both_sides() {
        let text = format!("{}wrong{}", "a".repeat(500), "b".repeat(500));
        let (line, column, shown, underline) = located(&text, "wrong");
        assert_eq!((line, column), (1, 501));
        assert_eq!(shown, format!("…{}wrong{}…", "a".repeat(40), "b".repeat(74)));
        assert_eq!(underline, format!("{}^^^^^", " ".repeat(41)));
    }

    #[test]
    fn ranges_outside_of_the_text_or_inside_of_a_character_are_harmless() {
        let text = "é漢";
        for start in 0..9 {
            for end in 0..9 {
                let found = locate(text, Place { start, end });
                assert_eq!(found.line, 1);
            }
        }
    }
}
