//! Diagnostics of a scenario, for people (in the style of compilers) or for programs (one line of JSON).

use std::fmt::Write as _;

use crate::number::counted;

use ks_protocol::text::printable;

use super::source::{Excerpt, locate};
use super::{problem::Problem, source::Place};

/// Columns at which the text below an excerpt is wrapped.
const WRAP_COLUMNS: usize = 110;

/// Most characters after an underline; a longer text goes below.
const LABEL_CHARS_MAX: usize = 100;
/// Most characters of a message: the server's message about a setting may quote all of it.
const MESSAGE_CHARS_MAX: usize = 400;

/// One problem of a scenario, and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file's name, as given by the caller.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What was expected instead; empty if the message is enough.
    pub expected: String,
    /// A replacement for the underlined text, if there is a likely one.
    pub suggestion: Option<String>,
    /// Further help; may be long.
    pub help: Option<String>,
    excerpt: Option<Excerpt>,
}

impl Diagnostic {
    /// Finds the problem's place in the text.
    pub(super) fn new(path: &str, text: &str, problem: Problem) -> Self {
        let location = locate(text, problem.at);
        let first = problem.first.map(|first| format!("the first one is on line {}", locate(text, first).line));
        Self {
            path: printable(path),
            line: location.line,
            column: location.column,
            message: printable(&problem.message).chars().take(MESSAGE_CHARS_MAX).collect(),
            expected: printable(&problem.expected),
            suggestion: problem.suggestion.as_deref().map(printable),
            help: problem.help.or(first).as_deref().map(printable),
            excerpt: location.excerpt,
        }
    }

    /// A diagnostic about a file as a whole.
    pub(super) fn of_file(path: &str, message: String, expected: &str) -> Self {
        Self::new(path, "", Problem::new(Place::FILE, message).expected(expected))
    }

    /// Message, place, the underlined source line, and help: several lines, each with its line end.
    pub fn render(&self, coloured: bool) -> String {
        let paint = Paint { coloured };
        let gutter = " ".repeat(self.line.to_string().len());
        let bar = paint.frame("|");
        let mut text = format!("{}{}\n", paint.error("error"), paint.strong(&format!(": {}", self.message)));
        let (path, line, column) = (&self.path, self.line, self.column);
        match &self.excerpt {
            Some(Excerpt { text: source, caret_column, caret_columns }) => {
                let underline = paint.error(format!("{} {}", "^".repeat(*caret_columns), self.label()).trim_end());
                let blanks = " ".repeat(*caret_column);
                put(&mut text, format_args!("{gutter}{} {path}:{line}:{column}", paint.frame("-->")));
                put(&mut text, format_args!("{gutter} {bar}"));
                put(
                    &mut text,
                    format_args!("{}", format!("{} {bar} {source}", paint.frame(&line.to_string())).trim_end()),
                );
                put(&mut text, format_args!("{gutter} {bar} {blanks}{underline}"));
            }
            None => put(&mut text, format_args!("{gutter}{} {path}", paint.frame("-->"))),
        }
        for (index, (kind, note)) in self.notes().into_iter().enumerate() {
            if index == 0 {
                put(&mut text, format_args!("{gutter} {bar}"));
            }
            let lines = wrapped(&note, WRAP_COLUMNS.saturating_sub(kind.len() + 4));
            let indent = " ".repeat(gutter.len() + 5 + kind.len());
            let note = lines.join(&format!("\n{indent}"));
            put(&mut text, format_args!("{gutter} {} {}: {note}", paint.frame("="), paint.strong(kind)));
        }
        text
    }

    /// As JSON: file, line, column, message, expected, suggestion, help.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "file": self.path,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "expected": self.expected,
            "suggestion": self.suggestion,
            "help": self.help,
        })
    }

    /// The text after the underline: the suggestion if there is one, else what was expected.
    fn label(&self) -> String {
        match (&self.suggestion, self.expected.as_str()) {
            (Some(suggestion), _) => format!("did you mean `{suggestion}`?"),
            (None, expected) if self.expectation_is_label() => format!("expected {expected}"),
            (None, _) => String::new(),
        }
    }

    /// Whether what was expected goes after the underline: it exists, there is no suggestion, and it fits.
    fn expectation_is_label(&self) -> bool {
        let fits = (1..=LABEL_CHARS_MAX).contains(&self.expected.chars().count());
        fits && self.suggestion.is_none() && self.excerpt.is_some()
    }

    /// The notes below the excerpt, with their kinds.
    fn notes(&self) -> Vec<(&'static str, String)> {
        let mut notes = Vec::new();
        if let (Some(suggestion), None) = (&self.suggestion, &self.excerpt) {
            notes.push(("help", format!("did you mean `{suggestion}`?")));
        }
        if !self.expected.is_empty() && !self.expectation_is_label() {
            notes.push(("expected", self.expected.clone()));
        }
        notes.extend(self.help.clone().map(|help| ("help", help)));
        notes
    }
}

/// One line for a log: `file:line:column: message; expected ...; did you mean ...?`
impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}: {}", self.path, self.line, self.column, self.message)?;
        if !self.expected.is_empty() {
            write!(f, "; expected {}", self.expected)?;
        }
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; did you mean `{suggestion}`?")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// All diagnostics of a file, one after the other, and their number.
pub fn render_all(diagnostics: &[Diagnostic], coloured: bool) -> String {
    let paint = Paint { coloured };
    let mut text = String::new();
    for diagnostic in diagnostics {
        text.push_str(&diagnostic.render(coloured));
        text.push('\n');
    }
    if let Some(first) = diagnostics.first() {
        let count = counted(diagnostics.len(), "problem");
        let sentence = format!(": {} has {count}, nothing was run", first.path);
        put(&mut text, format_args!("{}{}", paint.error("error"), paint.strong(&sentence)));
    }
    text
}

/// Writes a line; writing to a `String` cannot fail.
fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{line}");
}

/// Wraps a text at blanks into lines of at most `columns` characters; a longer word has its own line.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut columns_used = 0;
    for word in text.split(' ') {
        let word_columns = word.chars().count();
        match lines.last_mut() {
            Some(line) if columns_used + 1 + word_columns <= columns => {
                line.push(' ');
                line.push_str(word);
                columns_used += 1 + word_columns;
            }
            _ => {
                lines.push(word.to_owned());
                columns_used = word_columns;
            }
        }
    }
    lines
}

/// Colours for a terminal, or none.
#[derive(Clone, Copy)]
struct Paint {
    coloured: bool,
}

impl Paint {
    fn error(self, text: &str) -> String {
        self.with("1;31", text)
    }

    fn frame(self, text: &str) -> String {
        self.with("1;34", text)
    }

    fn strong(self, text: &str) -> String {
        self.with("1", text)
    }

    fn with(self, style: &str, text: &str) -> String {
        if self.coloured { format!("\u{1b}[{style}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
