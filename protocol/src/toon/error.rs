//! Why a document is refused: the field, the line, what was received and what was expected.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::tree::Node;
use crate::reading;

/// Why a document is refused.
#[derive(Debug)]
pub(crate) struct Error {
    /// The field, such as `acks[1].state`; empty for the document itself.
    field: String,
    /// The line, from 1, once it is known.
    line: Option<usize>,
    words: Words,
}

#[derive(Debug)]
enum Words {
    /// The whole sentence.
    Text(String),
    /// What was expected; what was received is added where it is known.
    Expected(String),
}

impl Error {
    /// A syntax error in that line.
    pub(super) fn in_line(line: usize, words: impl Into<String>) -> Self {
        Self { field: String::new(), line: Some(line), words: Words::Text(words.into()) }
    }

    fn message(words: String) -> Self {
        Self { field: String::new(), line: None, words: Words::Text(words) }
    }

    fn expected(what: String) -> Self {
        Self { field: String::new(), line: None, words: Words::Expected(what) }
    }

    /// Adds the value that the error is about, or is inside of.
    pub(crate) fn at(mut self, node: &Node<'_>) -> Self {
        if let Words::Expected(expected) = self.words {
            let quotes = node.quotes(&expected);
            self.words = Words::Text(format!("expected {expected}, got {}{quotes}", node.shown()));
        }
        self.line = self.line.or(node.line);
        self
    }

    /// Adds the field that the error is inside of.
    pub(super) fn under(mut self, field: &str) -> Self {
        let dot = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("{field}{dot}{}", self.field);
        self
    }

    /// Adds the row or list index that the error is inside of, from 0.
    pub(super) fn in_row(self, row: usize) -> Self {
        self.under(&format!("[{row}]"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        match &self.words {
            Words::Text(words) => f.write_str(words),
            Words::Expected(what) => write!(f, "expected {what}"),
        }
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(words: T) -> Self {
        Self::message(words.to_string())
    }
    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expected(reading::expected_in_words(&expected.to_string()).to_owned())
    }
    fn invalid_value(came: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(came, expected)
    }
    fn unknown_variant(_: &str, variants: &'static [&'static str]) -> Self {
        Self::expected(one_of(variants))
    }
    fn missing_field(field: &'static str) -> Self {
        Self::message(format!("the field `{field}` is missing"))
    }
}

/// The accepted values of a field, for an error message.
pub(super) fn one_of(words: &[&str]) -> String {
    let quoted = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    if words.len() == 1 { quoted } else { format!("one of {quoted}") }
}
