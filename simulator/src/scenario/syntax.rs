//! From bytes to parsed TOML: size, encoding and syntax, before anything is read as a scenario.

use toml::Spanned;
use toml::de::DeTable;

use super::diagnostic::Diagnostic;
use super::limits::{FILE_BYTES_MAX, SYNTAX_ERRORS_SHOWN_MAX};
use super::problem::{Problem, Problems, quoted};
use super::reader::Reader;
use super::source::Place;
use crate::number::grouped;
use ks_protocol::duration;

/// The text, without a byte order mark.
pub(super) fn decode<'a>(path: &str, bytes: &'a [u8]) -> Result<&'a str, Vec<Diagnostic>> {
    if bytes.len() > FILE_BYTES_MAX {
        let max = grouped(FILE_BYTES_MAX / 1024);
        let (message, expected) = (format!("the file is larger than {max} KiB"), format!("at most {max} KiB"));
        return Err(vec![Diagnostic::of_file(path, message, &expected)]);
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let start = error.valid_up_to();
        let wrong = bytes.get(start).copied().unwrap_or_default();
        // The text up to the wrong byte keeps its length, so the place is the same in the readable version.
        let readable = String::from_utf8_lossy(bytes);
        let place = Place { start, end: start + 1 };
        let problem = Problem::new(place, format!("the byte 0x{wrong:02X} is not UTF-8"));
        let help = "save the file in the encoding UTF-8";
        vec![Diagnostic::new(path, &readable, problem.expected("text in UTF-8").help(help))]
    })
}

/// The parsed file; none after a syntax error. Nesting is bounded by the parser.
pub(super) fn parse<'a>(text: &'a str, problems: &mut Problems) -> Option<Spanned<DeTable<'a>>> {
    let (file, errors) = DeTable::parse_recoverable(text);
    let line_ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
    let mut reported_lines = Vec::new();
    for error in &errors {
        let place = error.span().map_or(Place::FILE, |range| Place::from_range(&range));
        let line = line_ends.partition_point(|end| *end < place.start);
        if !reported_lines.contains(&line) {
            reported_lines.push(line);
            problems.push(syntax_problem(text, place, error.message()));
        }
        if reported_lines.len() == SYNTAX_ERRORS_SHOWN_MAX {
            break;
        }
    }
    errors.is_empty().then_some(file)
}

/// The whole file as a table.
pub(super) fn reader<'a>(file: &'a Spanned<DeTable<'a>>) -> Reader<'a> {
    Reader::new(Place::FILE, file.get_ref())
}

/// The parser's message as a problem, with a suggestion if possible.
fn syntax_problem(text: &str, place: Place, message: &str) -> Problem {
    let (message, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    let marked = text.get(place.start..place.end).unwrap_or_default();
    let problem = Problem::new(place, format!("this is not TOML: {message}")).expected(expected);
    if duration::parse(marked).is_ok() {
        return problem.expected("a duration in quotes").suggest(Some(format!("\"{marked}\"")));
    }
    if marked.trim().is_empty() && message.contains("must be quoted") {
        return Problem::new(place, "a value is missing").expected("a string in quotes, a number, `true` or `false`");
    }
    if message.contains("recurs") {
        return Problem::new(place, "tables and lists are nested too deeply").expected("a few levels");
    }
    match message {
        "duplicate key" => {
            Problem::new(place, format!("{} is given twice", quoted(marked))).expected("each key once in its table")
        }
        "string values must be quoted" => problem.expected("quotes").suggest(Some(format!("\"{marked}\""))),
        _ => problem,
    }
}
