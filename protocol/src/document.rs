//! Bounded TOON text <-> typed value, and splitting a signed document from its signature.
//!
//! A signed document is TOON text whose last line is its signature, `SIG_DEV: ` or `SIG_SERV: ` and 88 characters of
//! base64, with no line feed after it. The signature covers the raw bytes before that line.

use serde::{Serialize, de::DeserializeOwned};

use crate::{signature::Signature, toon};

/// Size limit of any document, in bytes. Endpoints may set lower limits.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

/// Why bytes are not the expected document.
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
    /// The last line is not the signature.
    #[error(
        "the last line is {got}, expected `{label}: ` and 88 characters of base64 (64 bytes), with no line feed after it"
    )]
    NoSignature {
        label: &'static str,
        /// The last line, shortened.
        got: String,
    },
    /// Not TOON, or not the expected fields.
    #[error("{what}")]
    Malformed {
        /// Field, line, what was received and what was expected.
        what: String,
    },
}

/// Writes `value` as TOON, without a line feed at the end.
pub fn encode<T: Serialize>(value: &T) -> Result<String, DocumentError> {
    serde_toon::to_string(value).map_err(|error| DocumentError::Malformed { what: error.to_string() })
}

/// Parses TOON text strictly: only the forms of docs/protocol.md, section 3. Unknown fields are ignored, so that either side can
/// be newer, but they must be well-formed too: a document is either valid or refused.
pub fn decode<T: DeserializeOwned>(text: &str) -> Result<T, DocumentError> {
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::TooLarge { bytes: text.len(), max: DOCUMENT_BYTES_MAX });
    }
    // The line feed before the signature line is signed, but is not part of the TOON document.
    let document = text.strip_suffix('\n').unwrap_or(text);
    toon::read(document).map_err(|error| DocumentError::Malformed { what: one_line(&error.to_string()) })
}

/// The parser's error on one line, short enough for a response.
fn one_line(words: &str) -> String {
    let lines: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ").chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

/// The start of a line, for an error message.
fn quoted_line(line: &str) -> String {
    const CHARS_MAX: usize = 24;
    let (chars, start) = (line.chars().count(), one_line(&line.chars().take(CHARS_MAX).collect::<String>()));
    match chars {
        0 => "empty".to_owned(),
        1..=CHARS_MAX => format!("`{start}`"),
        _ => format!("`{start}...` of {chars} characters"),
    }
}

/// A document split into the signed part and the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed<'a> {
    /// Every byte before the signature line, including the line feed.
    pub body: &'a str,
    /// The signature as received, 88 characters of base64.
    pub signature_text: &'a str,
    pub signature: Signature,
}

/// Splits `wire` at its last line, which must be the signature named `label`.
pub fn split<'a>(wire: &'a [u8], label: &'static str) -> Result<Signed<'a>, DocumentError> {
    if wire.len() > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::TooLarge { bytes: wire.len(), max: DOCUMENT_BYTES_MAX });
    }
    let text = std::str::from_utf8(wire).map_err(|error| DocumentError::NotUtf8 { at: error.valid_up_to() })?;
    let missing = |line: &str| DocumentError::NoSignature { label, got: quoted_line(line) };
    let Some(last_line_feed) = text.rfind('\n') else { return Err(missing(text)) };
    let (body, last_line) = text.split_at(last_line_feed + 1);
    let signature_text = last_line.strip_prefix(label).and_then(|rest| rest.strip_prefix(": "));
    let signature_text = signature_text.ok_or_else(|| missing(last_line))?;
    let signature = Signature::from_base64(signature_text).ok_or_else(|| missing(last_line))?;
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
        assert_eq!(error, "b: line 2: expected a whole number, got `x`");
        assert_eq!(decode::<Two>("a: 1").unwrap_err().to_string(), "the field `b` is missing");
        assert!(decode::<Two>("a: 1\na: 1\nb: 2").is_err(), "duplicate keys are refused");
        assert!(decode::<Two>("{\"a\":1,\"b\":2}").is_err(), "JSON is refused");
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
