//! Bounded TOON text <-> typed value, and where a signed document is cut.
//!
//! A signed document is TOON text whose last line is its signature, `SIG_DEV: ` or `SIG_SERV: ` and 88 characters of
//! base64, with no line feed after it. What is signed are the raw bytes before that line.

use serde::{Serialize, de::DeserializeOwned};
use serde_toon::DecodeOptions;

use crate::signature::Signature;

/// Greatest document of any kind, in bytes. Endpoints may demand less.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
/// Greatest nesting, in levels of indentation.
pub const DEPTH_MAX: usize = 4;
/// Greatest number of columns of a table. The decoder compares each with all before it.
pub const COLUMNS_MAX: usize = 32;
/// Spaces a level of indentation takes.
const INDENT: usize = 2;

/// Why bytes are not the document that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// More bytes than a document may have.
    #[error("the document has {bytes} bytes, expected at most {max}")]
    TooLarge {
        /// Bytes given.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Not UTF-8.
    #[error("the document is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Offset of the first wrong byte.
        at: usize,
    },
    /// Indented more than [`DEPTH_MAX`] levels.
    #[error("line {line} is nested deeper than {DEPTH_MAX} levels")]
    TooDeep {
        /// Line, from 1.
        line: usize,
    },
    /// A table with more than [`COLUMNS_MAX`] columns.
    #[error("line {line} has a table of more than {COLUMNS_MAX} columns")]
    TooWide {
        /// Line, from 1.
        line: usize,
    },
    /// The last line is not the signature.
    #[error("the last line is not `{label}: ` and 88 characters of base64 with no line feed after it")]
    NoSignature {
        /// The label that was expected.
        label: &'static str,
    },
    /// Not TOON, or not the fields that were expected.
    #[error("{what}")]
    Malformed {
        /// Field, line and what was expected, as the decoder says it.
        what: String,
    },
}

/// Writes `value` as TOON, without a line feed at the end.
pub fn encode<T: Serialize>(value: &T) -> Result<String, DocumentError> {
    serde_toon::to_string(value).map_err(|error| DocumentError::Malformed { what: error.to_string() })
}

/// Reads a value from TOON text, strictly; unknown fields are ignored, so that either side can be newer.
pub fn decode<T: DeserializeOwned>(text: &str) -> Result<T, DocumentError> {
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::TooLarge { bytes: text.len(), max: DOCUMENT_BYTES_MAX });
    }
    for (index, line) in text.split('\n').enumerate() {
        if line.len() - line.trim_start_matches(' ').len() > DEPTH_MAX * INDENT {
            return Err(DocumentError::TooDeep { line: index + 1 });
        }
        if columns(line) > COLUMNS_MAX {
            return Err(DocumentError::TooWide { line: index + 1 });
        }
    }
    // The line feed before the signature line belongs to what is signed, but not to the TOON document.
    let document = text.strip_suffix('\n').unwrap_or(text);
    serde_toon::from_str_with_options(document, DecodeOptions::strict()).map_err(|_| why_not::<T>(document))
}

/// Decodes once more, keeping track of the field, to say what is wrong and where: dear, and only done for a refusal.
fn why_not<T: DeserializeOwned>(document: &str) -> DocumentError {
    let mut decoder = serde_toon::Deserializer::from_str_with_options(document, DecodeOptions::strict());
    let what = match serde_path_to_error::deserialize::<_, T>(&mut decoder) {
        Ok(_) => "the document is not as expected".to_owned(), // it was refused a moment ago
        Err(error) => {
            // "line 1, column 1" is where the decoder does not know the line.
            let words = error.inner().to_string();
            let words = words.rsplit_once("line 1, column 1: ").map_or(words.as_str(), |(_, why)| why);
            match error.path().to_string().as_str() {
                "." | "?" => words.to_owned(),
                field => format!("{field}: {words}"),
            }
        }
    };
    DocumentError::Malformed { what: one_line(&what) }
}

/// Columns that the line declares, if it is the head of a table (`acks[2]{command_id,state}:`): what stands in braces before
/// the first colon, quoted names taken whole.
fn columns(line: &str) -> usize {
    let (mut columns, mut is_quoted, mut is_escaped) = (0, false, false);
    for byte in line.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            b':' => break,
            b'{' => columns += 1,
            b',' | b'|' | b'\t' if columns > 0 => columns += 1,
            _ => {}
        }
    }
    columns
}

/// The decoder's words on one line, short enough for an answer.
fn one_line(words: &str) -> String {
    let lines: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ").chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

/// A document cut into what is signed and the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed<'a> {
    /// Every byte before the signature line, the line feed included.
    pub body: &'a str,
    /// The signature as it was written, 88 characters.
    pub signature_text: &'a str,
    /// The signature.
    pub signature: Signature,
}

/// Cuts `wire` at its last line, which must be the signature named `label`.
pub fn split<'a>(wire: &'a [u8], label: &'static str) -> Result<Signed<'a>, DocumentError> {
    if wire.len() > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::TooLarge { bytes: wire.len(), max: DOCUMENT_BYTES_MAX });
    }
    let text = std::str::from_utf8(wire).map_err(|error| DocumentError::NotUtf8 { at: error.valid_up_to() })?;
    let missing = DocumentError::NoSignature { label };
    let Some(last_line_feed) = text.rfind('\n') else { return Err(missing) };
    let (body, last_line) = text.split_at(last_line_feed + 1);
    let signature_text =
        last_line.strip_prefix(label).and_then(|rest| rest.strip_prefix(": ")).ok_or(missing.clone())?;
    let signature = Signature::from_base64(signature_text).ok_or(missing)?;
    Ok(Signed { body, signature_text, signature })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize, PartialEq)]
    struct Two {
        a: u8,
        b: u8,
    }

    #[test]
    fn decode_is_strict_and_says_the_line() {
        assert_eq!(decode::<Two>("a: 1\nb: 2\n"), Ok(Two { a: 1, b: 2 }));
        let error = decode::<Two>("a: 1\nb: x").unwrap_err().to_string();
        assert!(error.contains("b: ") && error.contains("line 2"), "names the field and the line: {error}");
        assert!(decode::<Two>("a: 1\na: 1\nb: 2").is_err(), "duplicate keys are refused");
        assert!(decode::<Two>("{\"a\":1,\"b\":2}").is_err(), "JSON is refused");
    }

    #[test]
    fn bounds_come_before_the_decoder() {
        let deep = format!("a: 1\n{}b: 2", " ".repeat(10));
        assert_eq!(decode::<Two>(&deep), Err(DocumentError::TooDeep { line: 2 }));
        let names = |count: usize| (0..count).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",");
        let table = |count| decode::<Two>(&format!("a: 1\nb: 2\nx[0]{{{}}}:", names(count)));
        assert_eq!(table(COLUMNS_MAX), Ok(Two { a: 1, b: 2 }));
        assert_eq!(table(COLUMNS_MAX + 1), Err(DocumentError::TooWide { line: 3 }));
        let quoted = format!("a: 1\nb: 2\nx[0]{{\"{}\"}}:", names(COLUMNS_MAX + 1).replace(',', "\",\""));
        assert_eq!(decode::<Two>(&quoted), Err(DocumentError::TooWide { line: 3 }));
        let text = format!("a: 1\nb: 2\nnote: \"{{{}}}\"", names(100));
        assert_eq!(decode::<Two>(&text), Ok(Two { a: 1, b: 2 }), "braces in a text are no table");
        let long = "a".repeat(DOCUMENT_BYTES_MAX + 1);
        assert!(matches!(decode::<Two>(&long), Err(DocumentError::TooLarge { .. })));
    }

    #[test]
    fn the_last_line_must_be_the_signature() {
        let signature = "A".repeat(86) + "==";
        let wire = format!("a: 1\nSIG_DEV: {signature}");
        assert_eq!(split(wire.as_bytes(), "SIG_DEV").unwrap().body, "a: 1\n");
        for bad in [wire.clone() + "\n", wire.replace("SIG_DEV", "SIG_SERV"), wire.replace('\n', ""), String::new()] {
            assert!(split(bad.as_bytes(), "SIG_DEV").is_err(), "{bad}");
        }
    }
}
