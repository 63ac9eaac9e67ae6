//! The grammar of a value (number, boolean, text with or without quotes) and of several in one line.

use std::borrow::Cow;

use super::tree::Value;

/// Characters that make quotes necessary anywhere in a text.
const QUOTED_ALWAYS: [char; 8] = [',', ':', '"', '\\', '[', ']', '{', '}'];

/// Parses one value.
///
/// # Errors
/// What is wrong with it.
pub(super) fn value(text: &str) -> Result<Value<'_>, String> {
    if text.starts_with('"') {
        return quoted(text).map(Value::Text);
    }
    match text {
        "" => return Err("no value; an empty text is written `\"\"`".to_owned()),
        "true" => return Ok(Value::Bool(true)),
        "false" => return Ok(Value::Bool(false)),
        "null" => return Err("got `null`, which is not used: leave out what is absent, quote a text".to_owned()),
        _ => {}
    }
    if looks_like_a_number(text) {
        return if is_a_number(text) { Ok(Value::Number(text)) } else { Err(no_number(text)) };
    }
    match unquotable(text) {
        None => Ok(Value::Text(Cow::Borrowed(text))),
        Some(why) => Err(format!("a text that {why} must be in quotes, got {}", shown(text))),
    }
}

/// Splits a line at the commas outside quotes.
pub(super) fn cells(mut text: &str) -> Vec<&str> {
    let mut cells = Vec::new();
    loop {
        let end = end_of_cell(text);
        cells.push(text.get(..end).unwrap_or_default());
        match text.get(end + 1..) {
            Some(rest) => text = rest,
            None => return cells,
        }
    }
}

/// The position of the first comma outside quotes, or the end.
fn end_of_cell(text: &str) -> usize {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_quoted,
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => return at,
            _ => {}
        }
    }
    text.len()
}

/// Parses a quoted text and resolves its escapes.
fn quoted(text: &str) -> Result<Cow<'_, str>, String> {
    let inner = text.strip_prefix('"').unwrap_or(text);
    if let Some(plain) = inner.strip_suffix('"')
        && !plain.contains(|c: char| c < ' ' || c == '"' || c == '\\')
    {
        return Ok(Cow::Borrowed(plain));
    }
    let mut chars = inner.chars();
    let mut read = String::with_capacity(inner.len());
    loop {
        match chars.next() {
            None => return Err(format!("the quotes are not closed in {}", shown(text))),
            Some('"') if chars.as_str().is_empty() => return Ok(Cow::Owned(read)),
            Some('"') => return Err(format!("expected nothing after the closing quote, got {}", shown(text))),
            Some('\\') => read.push(escaped(&mut chars).ok_or_else(|| {
                format!("expected one of the escapes \\\" \\\\ \\n \\r \\t \\uXXXX, got {}", shown(text))
            })?),
            Some(c) if c < ' ' => return Err(format!("{} must be escaped in quotes", control(c))),
            Some(c) => read.push(c),
        }
    }
}

/// The character after a backslash.
fn escaped(chars: &mut std::str::Chars<'_>) -> Option<char> {
    Some(match chars.next()? {
        c @ ('"' | '\\') => c,
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => {
            let mut code = 0;
            for _ in 0..4 {
                code = code * 16 + chars.next()?.to_digit(16)?;
            }
            char::from_u32(code)? // none for a surrogate
        }
        _ => return None,
    })
}

/// Why a text needs quotes.
fn unquotable(text: &str) -> Option<String> {
    if let Some(c) = text.chars().find(|c| *c < ' ') {
        return Some(format!("contains {}", control(c)));
    }
    if let Some(c) = text.chars().find(|c| QUOTED_ALWAYS.contains(c)) {
        return Some(format!("contains `{c}`"));
    }
    match (text.chars().next()?, text.chars().last()?) {
        (' ', _) => Some("begins with a space".to_owned()),
        ('\u{feff}', _) => Some("begins with U+FEFF".to_owned()),
        (first @ ('-' | '#'), _) => Some(format!("begins with `{first}`")),
        (_, ' ') => Some("ends with a space".to_owned()),
        _ => None,
    }
}

/// Whether it matches `[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?`: then it is a number, or in quotes.
fn looks_like_a_number(text: &str) -> bool {
    let unsigned = |text: &str| text.strip_prefix(['+', '-']).unwrap_or(text).to_owned();
    let (number, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(number, e)| (number, Some(e)));
    is_decimal(&unsigned(number)) && exponent.is_none_or(|exponent| is_digits(&unsigned(exponent)))
}

/// Whether it is a canonical number: no plus, no leading zeros, no exponent, no negative zero.
fn is_a_number(text: &str) -> bool {
    let (is_negative, number) = text.strip_prefix('-').map_or((false, text), |number| (true, number));
    let whole = number.split('.').next().unwrap_or_default();
    let is_zero = number.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    is_decimal(number) && (whole == "0" || !whole.starts_with('0')) && !(is_negative && is_zero)
}

fn no_number(text: &str) -> String {
    format!("expected a number such as 0, -61 or 41.5, or a text in quotes, got {}", shown(text))
}

fn is_decimal(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    is_digits(whole) && fraction.is_none_or(is_digits)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn control(c: char) -> String {
    format!("the control character U+{:04X}", u32::from(c))
}

/// The start of the received text, for an error message, without line breaks.
pub(super) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    let start: String = text.chars().take(CHARS_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().count() > CHARS_MAX { format!("`{start}...`") } else { format!("`{start}`") }
}
