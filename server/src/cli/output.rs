//! What commands print: tables for people, JSON for machines.

use serde::Serialize;

use crate::edge;

/// Prints JSON.
pub(super) fn json(value: &impl Serialize) {
    edge::say(&serde_json::to_string_pretty(value).unwrap_or_default()); // texts and numbers always are JSON
}

/// Prints a table, each column as wide as its widest entry.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let entries = rows.iter().filter_map(|row| row.get(column)).map(|entry| entry.chars().count());
        entries.chain(heads.get(column).map(|head| head.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |entries: &mut dyn Iterator<Item = &str>| {
        let padded = entries.zip(&widths).map(|(entry, width)| format!("{entry:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    edge::say(&line(&mut heads.iter().copied()));
    for row in rows {
        edge::say(&line(&mut row.iter().map(String::as_str)));
    }
}

/// A text, or `-`.
pub(super) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
