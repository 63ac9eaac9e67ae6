//! The grammar of lines: fields, nested objects, tables and lists, by indentation, into a tree of values.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    iter::{Enumerate, Peekable},
    str::Split,
};

use crate::text::counted;

use super::{
    Error,
    value::{cells, shown, value},
};

/// Limit of nesting, in levels of indentation.
pub(super) const DEPTH_MAX: usize = 4;
/// Limit of a table's columns.
pub(super) const COLUMNS_MAX: usize = 32;
/// Spaces per level of indentation.
const INDENT: usize = 2;

/// A value and its position.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    /// Its line, from 1; none for the document itself.
    pub(super) line: Option<usize>,
    pub(super) value: Value<'a>,
}

/// The value of a field, a cell or a document.
#[derive(Debug)]
pub(super) enum Value<'a> {
    /// With or without quotes.
    Text(Cow<'a, str>),
    /// In canonical form, as text.
    Number(&'a str),
    Bool(bool),
    /// Values of one line, or the rows of a table.
    List(Vec<Node<'a>>),
    /// Fields in their order, with unique names.
    Object(Vec<(&'a str, Node<'a>)>),
}

impl Node<'_> {
    /// The value for an error message.
    pub(super) fn shown(&self) -> String {
        match &self.value {
            Value::Text(text) => shown(text),
            Value::Number(digits) => shown(digits),
            Value::Bool(is_true) => format!("`{is_true}`"),
            Value::List(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        }
    }

    /// A hint about quotes where they are the likely mistake.
    pub(super) fn quotes(&self, expected: &str) -> &'static str {
        match &self.value {
            Value::Number(_) | Value::Bool(_) if expected == "a text" => " without quotes",
            Value::Text(text) if !matches!(value(text), Ok(Value::Text(_))) => " in quotes",
            _ => "",
        }
    }
}

/// Parses a document without a trailing line feed; an empty one is an object without fields.
pub(super) fn parse(text: &str) -> Result<Node<'_>, Error> {
    let mut lines = Lines(text.split('\n').enumerate().peekable());
    let value = if text.is_empty() { Value::Object(Vec::new()) } else { fields(&mut lines, 0)? };
    Ok(Node { line: None, value })
}

/// A line without its indentation.
struct Line<'a> {
    number: usize,
    text: &'a str,
}

struct Lines<'a>(Peekable<Enumerate<Split<'a, char>>>);

impl<'a> Lines<'a> {
    /// The next line if it is indented by `depth` levels; none if it is indented less.
    fn next_at(&mut self, depth: usize) -> Result<Option<Line<'a>>, Error> {
        let Some((index, line)) = self.0.peek() else { return Ok(None) };
        let text = line.trim_start_matches(' ');
        let (number, indent) = (index + 1, line.len() - text.len());
        if indent < depth * INDENT {
            return Ok(None);
        }
        if indent > depth * INDENT {
            let expected = depth * INDENT;
            return Err(Error::in_line(number, format!("expected {expected} spaces at its start, got {indent}")));
        }
        self.0.next();
        Ok(Some(Line { number, text }))
    }
}

/// The fields of one object.
fn fields<'a>(lines: &mut Lines<'a>, depth: usize) -> Result<Value<'a>, Error> {
    let (mut fields, mut names) = (Vec::new(), BTreeSet::new());
    while let Some(line) = lines.next_at(depth)? {
        let end = line.text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(line.text.len());
        let (name, rest) = line.text.split_at(end);
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(no_field(&line));
        }
        let value = field(&line, rest, lines, depth).map_err(|error| error.under(name))?;
        if !names.insert(name) {
            return Err(Error::in_line(line.number, "the field occurs twice").under(name));
        }
        fields.push((name, Node { line: Some(line.number), value }));
    }
    Ok(Value::Object(fields))
}

fn no_field(line: &Line<'_>) -> Error {
    let got = if line.text.is_empty() { "an empty line".to_owned() } else { shown(line.text) };
    Error::in_line(line.number, format!("expected a field, such as `key: value`, got {got}"))
}

/// The value of a field, from the text after its name.
fn field<'a>(line: &Line<'a>, rest: &'a str, lines: &mut Lines<'a>, depth: usize) -> Result<Value<'a>, Error> {
    match rest {
        ":" => return fields(lines, deeper(line, depth)?),
        ": []" => return Ok(Value::List(Vec::new())),
        _ => {}
    }
    if let Some(text) = rest.strip_prefix(": ") {
        return value(text).map_err(|words| Error::in_line(line.number, words));
    }
    let Some((count, rest)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
        return Err(no_field(line));
    };
    let rows = match count.parse::<usize>() {
        Ok(rows) if rows.to_string() == count => rows,
        _ => return Err(Error::in_line(line.number, format!("expected a count in `[]`, got {}", shown(count)))),
    };
    let values = if let Some(columns) = rest.strip_prefix('{').and_then(|rest| rest.strip_suffix("}:")) {
        table(line, columns, lines, depth)?
    } else if rest == ":" {
        Vec::new()
    } else if let Some(text) = rest.strip_prefix(": ") {
        list(line, text)?
    } else {
        return Err(no_field(line));
    };
    if values.len() == rows {
        Ok(Value::List(values))
    } else {
        Err(Error::in_line(
            line.number,
            format!("expected as many values or rows as `[{rows}]` says, got {}", values.len()),
        ))
    }
}

/// The level below a line that opens a nested one.
fn deeper(line: &Line<'_>, depth: usize) -> Result<usize, Error> {
    if depth == DEPTH_MAX {
        return Err(Error::in_line(line.number, format!("expected at most {DEPTH_MAX} levels of indentation")));
    }
    Ok(depth + 1)
}

fn list<'a>(line: &Line<'a>, text: &'a str) -> Result<Vec<Node<'a>>, Error> {
    let read = |(at, cell)| match value(cell) {
        Ok(value) => Ok(Node { line: Some(line.number), value }),
        Err(words) => Err(Error::in_line(line.number, words).in_row(at)),
    };
    cells(text).into_iter().enumerate().map(read).collect()
}

fn table<'a>(line: &Line<'a>, head: &'a str, lines: &mut Lines<'a>, depth: usize) -> Result<Vec<Node<'a>>, Error> {
    let columns = columns(line, head)?;
    let (mut rows, depth) = (Vec::new(), deeper(line, depth)?);
    while let Some(row) = lines.next_at(depth)? {
        let value = self::row(&row, &columns).map_err(|error| error.in_row(rows.len()))?;
        rows.push(Node { line: Some(row.number), value });
    }
    Ok(rows)
}

/// The names of a table's columns.
fn columns<'a>(line: &Line<'a>, head: &'a str) -> Result<Vec<&'a str>, Error> {
    let columns: Vec<&str> = head.split(',').take(COLUMNS_MAX + 1).collect();
    if columns.len() > COLUMNS_MAX {
        return Err(Error::in_line(line.number, format!("expected at most {COLUMNS_MAX} columns")));
    }
    for (at, column) in columns.iter().enumerate() {
        let is_name = column.starts_with(|c: char| c.is_ascii_alphabetic())
            && column.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            return Err(Error::in_line(line.number, format!("expected the name of a column, got {}", shown(column))));
        }
        if columns.iter().take(at).any(|earlier| earlier == column) {
            return Err(Error::in_line(line.number, format!("the column `{column}` occurs twice")));
        }
    }
    Ok(columns)
}

fn row<'a>(line: &Line<'a>, columns: &[&'a str]) -> Result<Value<'a>, Error> {
    let cells = cells(line.text);
    if cells.len() != columns.len() {
        let words =
            format!("expected a value for each of the {}, got {}", counted(columns.len(), "column"), cells.len());
        return Err(Error::in_line(line.number, words));
    }
    let read = |(column, cell): (&&'a str, &'a str)| match value(cell) {
        Ok(value) => Ok((*column, Node { line: Some(line.number), value })),
        Err(words) => Err(Error::in_line(line.number, words).under(column)),
    };
    columns.iter().zip(cells).map(read).collect::<Result<_, _>>().map(Value::Object)
}
