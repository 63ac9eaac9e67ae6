//! What commands print: tables or JSON.

use ks_protocol::text::{printable, printable_json};
use serde::Serialize;

use crate::{edge, failure::StartError};

pub(super) fn json(value: &impl Serialize) -> Result<(), StartError> {
    edge::say(&as_json(value))
}

/// JSON as it is printed.
pub(super) fn as_json(value: &impl Serialize) -> String {
    printable_json(&serde_json::to_string_pretty(value).unwrap_or_default()) // texts and numbers always are JSON
}

/// The same on one line.
pub(super) fn as_json_line(value: &impl Serialize) -> String {
    printable_json(&serde_json::to_string(value).unwrap_or_default())
}

/// Prints lines that contain untrusted text; each stays one line, whatever it contains.
pub(super) fn lines(lines: &[String]) -> Result<(), StartError> {
    edge::say(&lines.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n"))
}

/// Prints a table, each column as wide as its widest entry; each row stays one line.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> Result<(), StartError> {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|entry| printable(entry)).collect()).collect();
    let width = |column: usize| {
        let entries = rows.iter().filter_map(|row| row.get(column)).map(|entry| entry.chars().count());
        entries.chain(heads.get(column).map(|head| head.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |entries: &mut dyn Iterator<Item = &str>| {
        let padded = entries.zip(&widths).map(|(entry, width)| format!("{entry:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut text = line(&mut heads.iter().copied());
    for row in &rows {
        text.push('\n');
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    edge::say(&text)
}

/// The error after tokens that could not be shown were revoked. A closed pipe counts too: the caller did not get them.
pub(super) fn tokens_not_shown(error: StartError) -> StartError {
    match error {
        StartError::Output { cause } => StartError::TokensNotShown { cause },
        other => other,
    }
}

/// A text, or `-`.
pub(super) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
