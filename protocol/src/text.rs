//! Bounded strings and tables, which refuse longer input while parsing; bytes as hex; text that is safe to print on a terminal.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A noun for a number of things: `device`, `devices`; `entry`, `entries`; `batch`, `batches`. Of several words the last one counts.
pub fn plural(count: impl PartialEq + From<u8> + Copy, noun: &str) -> String {
    if count == 1.into() {
        return noun.to_owned();
    }
    match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ if ["s", "x", "ch", "sh"].iter().any(|end| noun.ends_with(end)) => format!("{noun}es"),
        _ => format!("{noun}s"),
    }
}

/// A number of things: `1 device`, `0 devices`, `7 queries`.
pub fn counted(count: impl fmt::Display + PartialEq + From<u8> + Copy, noun: &str) -> String {
    format!("{count} {}", plural(count, noun))
}

/// External text as one line that is safe on a terminal: characters that move the cursor, change colours or reverse the text are
/// replaced.
pub fn printable(text: &str) -> String {
    text.chars().map(printable_char).collect()
}

/// Like [`printable`], but keeps line breaks.
pub fn printable_lines(lines: &str) -> String {
    lines.chars().map(|c| if c == '\n' { c } else { printable_char(c) }).collect()
}

/// JSON with the characters that a terminal would interpret escaped: the same value, nothing is lost.
pub fn printable_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || printable_char(c) == c {
            escaped.push(c);
        } else {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        }
    }
    escaped
}

pub fn printable_char(c: char) -> char {
    let turns_text_around =
        matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || turns_text_around || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') {
        char::REPLACEMENT_CHARACTER
    } else {
        c
    }
}

/// A SHA-256 digest, written as 64 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

/// Why a text is not a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a SHA-256 digest: 64 digits of 0-9 and a-f")]
pub struct InvalidDigest;

impl FromStr for Sha256 {
    type Err = InvalidDigest;
    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let mut bytes = [0; 32];
        let is_lower = text.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit));
        if text.len() != 64 || !is_lower {
            return Err(InvalidDigest);
        }
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            let digits = text.get(at..at + 2).ok_or(InvalidDigest)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| InvalidDigest)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Sha256 {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Sha256".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })
    }
}

/// A string of at most `MAX` bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// The text, cut at a character boundary if it is longer than `MAX` bytes.
    pub fn truncated(text: &str) -> Self {
        let mut end = text.len().min(MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self(text.get(..end).unwrap_or_default().to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() <= MAX {
            Ok(Self(text))
        } else {
            Err(de::Error::custom(format!("a text of {} bytes, expected at most {MAX}", text.len())))
        }
    }
}

/// A table of at most `MAX` rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rows<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Default for Rows<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> Rows<T, MAX> {
    /// The first `MAX` of `rows`.
    pub fn truncated(mut rows: Vec<T>) -> Self {
        rows.truncate(MAX);
        Self(rows)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    /// The rows, owned.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Rows<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T, const MAX: usize>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> de::Visitor<'de> for Visitor<T, MAX> {
            type Value = Rows<T, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a table of at most {MAX} rows")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut rows: A) -> Result<Self::Value, A::Error> {
                let mut kept = Vec::new();
                while let Some(row) = rows.next_element()? {
                    if kept.len() == MAX {
                        return Err(de::Error::custom(format!("more than {MAX} rows")));
                    }
                    kept.push(row);
                }
                Ok(Rows(kept))
            }
        }
        deserializer.deserialize_seq(Visitor(std::marker::PhantomData))
    }
}

#[cfg(feature = "schema")]
impl<const MAX: usize> schemars::JsonSchema for Text<MAX> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Text{MAX}").into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        // The bound is on bytes, and a character has at least one.
        schemars::json_schema!({ "type": "string", "maxLength": MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noun_agrees_with_its_number() {
        let of = |noun| [0, 1, 2].map(|count: u32| counted(count, noun));
        assert_eq!(of("device"), ["0 devices", "1 device", "2 devices"]);
        assert_eq!(of("pending query"), ["0 pending queries", "1 pending query", "2 pending queries"]);
        assert_eq!(of("day"), ["0 days", "1 day", "2 days"]);
        assert_eq!(of("punch"), ["0 punches", "1 punch", "2 punches"]);
    }

    #[test]
    fn control_characters_never_reach_a_terminal() {
        assert_eq!(printable("Größe 7 µm, 北门"), "Größe 7 µm, 北门");
        let hostile = "a\u{1b}[2Jb\nc\rd\u{9b}31me\u{202e}f\u{7f}\u{2028}";
        assert_eq!(printable(hostile).replace('\u{fffd}', "?"), "a?[2Jb?c?d?31me?f??");
        assert_eq!(printable_lines(hostile).replace('\u{fffd}', "?"), "a?[2Jb\nc?d?31me?f??");
        let json = "[\n\"\u{9b}31m\u{202e}\u{7f}ü\"]";
        assert_eq!(printable_json(json), "[\n\"\\u009b31m\\u202e\\u007fü\"]");
    }
}
