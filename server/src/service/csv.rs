//! CSV for spreadsheets. Reading: encodings, separators and line endings. Writing: separator, byte-order mark, and protection
//! against formula injection.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Deserialize;

/// Field separator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Separator {
    #[default]
    Comma,
    /// `;`, which spreadsheets expect in locales with a decimal comma.
    Semicolon,
    Tab,
}

impl Separator {
    const ALL: [Self; 3] = [Self::Comma, Self::Semicolon, Self::Tab];

    fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
        }
    }

    fn from_char(sign: char) -> Option<Self> {
        Self::ALL.into_iter().find(|separator| char::from(separator.byte()) == sign)
    }
}

/// The byte-order mark by which spreadsheets recognize UTF-8.
pub const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Writes rows. No spreadsheet interprets a field as a formula.
pub fn rows<'r, const FIELDS: usize>(
    separator: Separator,
    rows: impl Iterator<Item = [Cow<'r, str>; FIELDS]>,
) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().delimiter(separator.byte()).from_writer(Vec::new());
    for row in rows {
        // Each record has the same number of fields and is written to memory: can't fail.
        let _ = writer.write_record(row.map(escape_formula).iter().map(|field| field.as_bytes()));
    }
    writer.into_inner().unwrap_or_default()
}

/// Whether a spreadsheet may interpret a text as a formula: it begins like one, perhaps after whitespace or control characters.
fn is_formula(text: &str) -> bool {
    text.starts_with(['\t', '\r', '\n'])
        || text
            .trim_start_matches(|c: char| c.is_whitespace() || c.is_control())
            .starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠'])
}

/// Prefixes a text with an apostrophe if it may be interpreted as a formula, also if it already has such apostrophes, so that
/// [`unescape_formula`] restores every text.
fn escape_formula(text: Cow<'_, str>) -> Cow<'_, str> {
    if is_formula(text.trim_start_matches('\'')) { format!("'{text}").into() } else { text }
}

/// Reverts [`escape_formula`].
pub fn unescape_formula(text: &str) -> &str {
    text.strip_prefix('\'').filter(|rest| is_formula(rest.trim_start_matches('\''))).unwrap_or(text)
}

/// Why a file is not CSV text, and the line where that was found.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidCsv {
    /// The line, from 1.
    pub line: u64,
    /// What the file is, and what to do.
    pub what: String,
}

/// Decodes a file: UTF-8 with or without a byte-order mark, or UTF-16 with one.
///
/// # Errors
/// It is something else, named if it is a known format.
pub fn text(file: &[u8]) -> Result<Cow<'_, str>, InvalidCsv> {
    const SAVE: &str = "save it as `CSV UTF-8`";
    let other = |what: &str| Err(InvalidCsv { line: 1, what: format!("this file is {what}; {SAVE}") });
    match file {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => other("UTF-32"),
        [0xff, 0xfe, rest @ ..] => utf_16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf_16(rest, u16::from_be_bytes),
        [b'P', b'K', 3, 4, ..] => other("a workbook (.xlsx, .ods) or another ZIP archive"),
        [0xd0, 0xcf, 0x11, 0xe0, ..] => other("an old Excel workbook (.xls)"),
        [0x1f, 0x8b, ..] => Err(InvalidCsv { line: 1, what: "this file is compressed by gzip; unpack it".to_owned() }),
        [b'%', b'P', b'D', b'F', ..] => other("a PDF"),
        [first, second, ..] if (*first == 0) != (*second == 0) => other("UTF-16 without a byte-order mark"),
        file => std::str::from_utf8(file.strip_prefix(BYTE_ORDER_MARK.as_bytes()).unwrap_or(file)).map_or_else(
            |_| {
                let valid = file.utf8_chunks().next().map_or("", |chunk| chunk.valid());
                let byte = file.get(valid.len()).copied().unwrap_or_default();
                let what =
                    format!("the byte {byte:#04x} is not UTF-8, perhaps Windows-1252 or another old encoding; {SAVE}");
                Err(InvalidCsv { line: 1 + line_endings(valid), what })
            },
            |text| Ok(text.into()),
        ),
    }
}

fn utf_16(bytes: &[u8], unit: impl Fn([u8; 2]) -> u16) -> Result<Cow<'static, str>, InvalidCsv> {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(pairs.len());
    for decoded in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        match decoded {
            Ok(char) => text.push(char),
            Err(_) => return Err(invalid_utf_16(&text)),
        }
    }
    if odd.is_empty() { Ok(text.into()) } else { Err(invalid_utf_16(&text)) }
}

fn invalid_utf_16(before: &str) -> InvalidCsv {
    InvalidCsv { line: 1 + line_endings(before), what: "this file is UTF-16, but invalid or truncated here".to_owned() }
}

/// Counts line endings: CR LF, LF, or a lone CR.
fn line_endings(text: &str) -> u64 {
    let mut count = 0;
    let mut last = 0;
    for byte in text.bytes() {
        count += u64::from(byte == b'\r' || byte == b'\n' && last != b'\r');
        last = byte;
    }
    count
}

/// One row of a file.
#[derive(Debug)]
pub struct Row {
    /// First line of the row, from 1.
    pub line: u64,
    /// The trimmed fields, or what is wrong with the row.
    pub fields: Result<csv::StringRecord, String>,
}

/// The rows of a text, including the header. Rows without content, as spreadsheets leave them, are skipped.
pub struct Rows<'t> {
    text: &'t str,
    reader: csv::Reader<&'t [u8]>,
    /// Byte offset up to which line endings are counted, and their number.
    counted: (usize, u64),
    /// Lines before the beginning of `text`.
    skipped_lines: u64,
}

impl<'t> Rows<'t> {
    /// The separator is the one in a first line `sep=;`, otherwise the most frequent one in the header.
    pub fn new(text: &'t str) -> Self {
        let line = text.split(['\r', '\n']).next().unwrap_or_default();
        let declared =
            line.trim_matches('"').strip_prefix("sep=").and_then(|sign| Separator::from_char(sign.chars().next()?));
        let (text, separator, skipped_lines) = if let Some(separator) = declared {
            let rest = text.get(line.len()..).unwrap_or_default();
            let rest = rest.strip_prefix("\r\n").or(rest.strip_prefix(['\r', '\n'])).unwrap_or(rest);
            (rest, separator, 1)
        } else {
            let count = |separator: &Separator| line.matches(char::from(separator.byte())).count();
            let most = Separator::ALL.into_iter().rev().max_by_key(count).unwrap_or_default();
            (text, most, 0)
        };
        let reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .has_headers(false)
            .flexible(true)
            .delimiter(separator.byte())
            .from_reader(text.as_bytes());
        Self { text, reader, counted: (0, 0), skipped_lines }
    }

    /// The line of the row at a byte offset, which must not decrease between calls. The CSV reader's own count attributes the LF of
    /// a CR LF to the next row and does not recognize a lone CR.
    fn line_at(&mut self, byte: u64) -> u64 {
        let (from, ends) = self.counted;
        let at = usize::try_from(byte).unwrap_or(usize::MAX);
        let rest = self.text.get(at..).unwrap_or_default();
        let begins = at + rest.len() - rest.trim_start_matches(['\r', '\n']).len();
        let ends = ends + line_endings(self.text.get(from..begins).unwrap_or_default());
        self.counted = (begins.max(from), ends);
        self.skipped_lines + 1 + ends
    }
}

impl Iterator for Rows<'_> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        loop {
            let mut fields = csv::StringRecord::new();
            let read = self.reader.read_record(&mut fields);
            let position = match &read {
                Ok(false) => return None,
                Ok(true) => fields.position().map(csv::Position::byte),
                Err(error) => error.position().map(csv::Position::byte),
            };
            if read.is_ok() && fields.iter().all(str::is_empty) {
                continue;
            }
            let line = self.line_at(position.unwrap_or_default());
            return Some(Row { line, fields: read.map(|_| fields).map_err(|error| error.to_string()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(text: &str) -> Vec<(u64, String)> {
        Rows::new(text).map(|row| (row.line, row.fields.unwrap().iter().collect::<Vec<_>>().join("|"))).collect()
    }

    #[test]
    fn rows_have_the_number_of_their_first_line() {
        for end in ["\n", "\r\n", "\r"] {
            let text = ["a,b", "1,2", "", "\"3", "x\",4", ",,", "5,6"].join(end);
            let three = format!("3{end}x|4");
            let expected = [(1, "a|b"), (2, "1|2"), (4, three.as_str()), (7, "5|6")];
            assert_eq!(lines(&text), expected.map(|(line, row)| (line, row.to_owned())), "{end:?}");
            let with_hint = format!("sep=;{end}a;b{end}1,5;2");
            assert_eq!(lines(&with_hint), [(2, "a|b".to_owned()), (3, "1,5|2".to_owned())], "{end:?}");
        }
    }

    #[test]
    fn the_separator_is_the_most_frequent_one_in_the_header() {
        for text in ["a,b,c;d\n1,2,3", "a;b;c,d\n1;2;3", "a\tb\tc,d\n1\t2\t3"] {
            assert_eq!(lines(text)[1].1, "1|2|3", "{text:?}");
        }
    }

    #[test]
    fn encodings_are_decoded_or_reported() {
        let wide = |mark: char, order: fn(u16) -> [u8; 2]| -> Vec<u8> {
            format!("{mark}sér\n").encode_utf16().flat_map(order).collect()
        };
        assert_eq!(text("\u{feff}sér\n".as_bytes()).unwrap(), "sér\n");
        assert_eq!(text(&wide('\u{feff}', u16::to_le_bytes)).unwrap(), "sér\n");
        assert_eq!(text(&wide('\u{feff}', u16::to_be_bytes)).unwrap(), "sér\n");
        for (file, line, named) in [
            (wide('a', u16::to_le_bytes), 1, "UTF-16 without a byte-order mark"),
            (wide('\u{feff}', u16::to_le_bytes)[..9].to_vec(), 1, "UTF-16, but invalid"),
            (b"PK\x03\x04rest".to_vec(), 1, "workbook"),
            (b"a\r\nM\xfcnchen".to_vec(), 2, "0xfc is not UTF-8"),
        ] {
            let refused = text(&file).unwrap_err();
            assert!(refused.line == line && refused.what.contains(named), "{refused:?}");
        }
    }

    #[test]
    fn formulas_are_escaped() {
        for formula in ["=1+1", "+1", "-1", "@x", "\t=1", "\n=1", "\r\n=1", " =1", "'=1", "''=1", "＝1", "\u{b}=1"] {
            let row = rows(Separator::Comma, [[Cow::from(formula), "x".into()]].into_iter());
            let row = String::from_utf8(row).unwrap();
            assert!(row.trim_start_matches('"').starts_with('\''), "{row:?}");
            assert_eq!(unescape_formula(&escape_formula(formula.into())), formula);
        }
        for plain in ["", "04A2", "a=b", "'quoted'", "it's"] {
            assert_eq!((escape_formula(plain.into()), unescape_formula(plain)), (plain.into(), plain));
        }
    }

    proptest! {
        #[test]
        fn escaping_is_reversible(text in "['=+@ a\t\r\n-]{0,6}") {
            let escaped = escape_formula(text.as_str().into());
            prop_assert_eq!(unescape_formula(&escaped), text.as_str());
        }
    }
}
