//! CSV as spreadsheets write and read it: encodings, separators and line ends on the way in; separators, byte-order mark and
//! fields that are no formulas on the way out.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Deserialize;

/// What parts the fields of a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Separator {
    /// `,`
    #[default]
    Comma,
    /// `;`, as spreadsheets expect where the comma is a decimal sign.
    Semicolon,
    /// A tab.
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

    fn of(sign: char) -> Option<Self> {
        Self::ALL.into_iter().find(|separator| char::from(separator.byte()) == sign)
    }
}

/// The byte-order mark by which spreadsheets know UTF-8.
pub const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Rows of a file that is written, each field such that no spreadsheet takes it for a formula.
pub fn rows<'r, const FIELDS: usize>(
    separator: Separator,
    rows: impl Iterator<Item = [Cow<'r, str>; FIELDS]>,
) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().delimiter(separator.byte()).from_writer(Vec::new());
    for row in rows {
        // The same number of fields each time, into memory: it does not fail.
        let _ = writer.write_record(row.map(guarded).iter().map(|field| field.as_bytes()));
    }
    writer.into_inner().unwrap_or_default()
}

/// Whether a spreadsheet may take a text for a formula: it begins with one, perhaps behind blanks or line ends.
fn is_formula(text: &str) -> bool {
    text.starts_with(['\t', '\r', '\n'])
        || text
            .trim_start_matches(|c: char| c.is_whitespace() || c.is_control())
            .starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠'])
}

/// A text with an apostrophe before it if it may be taken for a formula. Also one that has such apostrophes already, so that
/// [`unguarded`] gives back every text as it was.
fn guarded(text: Cow<'_, str>) -> Cow<'_, str> {
    if is_formula(text.trim_start_matches('\'')) { format!("'{text}").into() } else { text }
}

/// A text as it was before [`guarded`].
pub fn unguarded(text: &str) -> &str {
    text.strip_prefix('\'').filter(|rest| is_formula(rest.trim_start_matches('\''))).unwrap_or(text)
}

/// What a file is that is no CSV text, or in which line it is none.
#[derive(Debug, PartialEq, Eq)]
pub struct NoText {
    /// The line, from 1.
    pub line: u64,
    /// What it is, and what to do.
    pub what: String,
}

/// The text of a file: UTF-8 with or without a byte-order mark, or UTF-16 with one.
///
/// # Errors
/// It is something else, by its name if it has one.
pub fn text(file: &[u8]) -> Result<Cow<'_, str>, NoText> {
    const SAVE: &str = "save it as `CSV UTF-8`";
    let other = |what: &str| Err(NoText { line: 1, what: format!("this file is {what}; {SAVE}") });
    match file {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => other("UTF-32"),
        [0xff, 0xfe, rest @ ..] => utf_16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf_16(rest, u16::from_be_bytes),
        [b'P', b'K', 3, 4, ..] => other("a workbook (.xlsx, .ods) or another ZIP archive"),
        [0xd0, 0xcf, 0x11, 0xe0, ..] => other("an old Excel workbook (.xls)"),
        [0x1f, 0x8b, ..] => Err(NoText { line: 1, what: "this file is compressed by gzip; unpack it".to_owned() }),
        [b'%', b'P', b'D', b'F', ..] => other("a PDF"),
        [first, second, ..] if (*first == 0) != (*second == 0) => other("UTF-16 without a byte-order mark"),
        file => std::str::from_utf8(file.strip_prefix(BYTE_ORDER_MARK.as_bytes()).unwrap_or(file)).map_or_else(
            |_| {
                let good = file.utf8_chunks().next().map_or("", |chunk| chunk.valid());
                let byte = file.get(good.len()).copied().unwrap_or_default();
                let what =
                    format!("the byte {byte:#04x} is not UTF-8, perhaps Windows-1252 or another old encoding; {SAVE}");
                Err(NoText { line: 1 + line_ends(good), what })
            },
            |text| Ok(text.into()),
        ),
    }
}

fn utf_16(bytes: &[u8], unit: impl Fn([u8; 2]) -> u16) -> Result<Cow<'static, str>, NoText> {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(pairs.len());
    for decoded in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        match decoded {
            Ok(char) => text.push(char),
            Err(_) => return Err(cut_utf_16(&text)),
        }
    }
    if odd.is_empty() { Ok(text.into()) } else { Err(cut_utf_16(&text)) }
}

fn cut_utf_16(before: &str) -> NoText {
    NoText { line: 1 + line_ends(before), what: "this file is UTF-16, and broken or cut off here".to_owned() }
}

/// Line ends in a text: CR LF, LF, or CR alone.
fn line_ends(text: &str) -> u64 {
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
    /// The line that it begins on, from 1.
    pub line: u64,
    /// Its fields without blanks around them, or what is wrong with it.
    pub fields: Result<csv::StringRecord, String>,
}

/// The rows of a text, the header among them. Rows without any content, as spreadsheets leave them, are left out.
pub struct Rows<'t> {
    text: &'t str,
    reader: csv::Reader<&'t [u8]>,
    /// What has been counted: up to this byte, so many line ends.
    counted: (usize, u64),
    /// The line ends before `text` begins.
    before: u64,
}

impl<'t> Rows<'t> {
    /// The separator is what a first line `sep=;` says, else what there is most of in the header.
    pub fn of(text: &'t str) -> Self {
        let line = text.split(['\r', '\n']).next().unwrap_or_default();
        let said = line.trim_matches('"').strip_prefix("sep=").and_then(|sign| Separator::of(sign.chars().next()?));
        let (text, separator, before) = if let Some(separator) = said {
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
        Self { text, reader, counted: (0, 0), before }
    }

    /// The line of what begins at a byte, which is not before the last that was asked for. The CSV reader's own count takes
    /// the LF of a CR LF for a part of the next row, and does not know CR alone.
    fn line_at(&mut self, byte: u64) -> u64 {
        let (from, ends) = self.counted;
        let at = usize::try_from(byte).unwrap_or(usize::MAX);
        let rest = self.text.get(at..).unwrap_or_default();
        let begins = at + rest.len() - rest.trim_start_matches(['\r', '\n']).len();
        let ends = ends + line_ends(self.text.get(from..begins).unwrap_or_default());
        self.counted = (begins.max(from), ends);
        self.before + 1 + ends
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
        Rows::of(text).map(|row| (row.line, row.fields.unwrap().iter().collect::<Vec<_>>().join("|"))).collect()
    }

    #[test]
    fn every_row_has_the_line_it_begins_on() {
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
    fn the_separator_is_what_the_header_has_most_of() {
        for text in ["a,b,c;d\n1,2,3", "a;b;c,d\n1;2;3", "a\tb\tc,d\n1\t2\t3"] {
            assert_eq!(lines(text)[1].1, "1|2|3", "{text:?}");
        }
    }

    #[test]
    fn encodings_are_read_or_named() {
        let wide = |mark: char, order: fn(u16) -> [u8; 2]| -> Vec<u8> {
            format!("{mark}sér\n").encode_utf16().flat_map(order).collect()
        };
        assert_eq!(text("\u{feff}sér\n".as_bytes()).unwrap(), "sér\n");
        assert_eq!(text(&wide('\u{feff}', u16::to_le_bytes)).unwrap(), "sér\n");
        assert_eq!(text(&wide('\u{feff}', u16::to_be_bytes)).unwrap(), "sér\n");
        for (file, line, named) in [
            (wide('a', u16::to_le_bytes), 1, "UTF-16 without a byte-order mark"),
            (wide('\u{feff}', u16::to_le_bytes)[..9].to_vec(), 1, "UTF-16, and broken"),
            (b"PK\x03\x04rest".to_vec(), 1, "workbook"),
            (b"a\r\nM\xfcnchen".to_vec(), 2, "0xfc is not UTF-8"),
        ] {
            let refused = text(&file).unwrap_err();
            assert!(refused.line == line && refused.what.contains(named), "{refused:?}");
        }
    }

    #[test]
    fn no_field_is_a_formula() {
        for formula in ["=1+1", "+1", "-1", "@x", "\t=1", "\n=1", "\r\n=1", " =1", "'=1", "''=1", "＝1", "\u{b}=1"] {
            let row = rows(Separator::Comma, [[Cow::from(formula), "x".into()]].into_iter());
            let row = String::from_utf8(row).unwrap();
            assert!(row.trim_start_matches('"').starts_with('\''), "{row:?}");
            assert_eq!(unguarded(&guarded(formula.into())), formula);
        }
        for plain in ["", "04A2", "a=b", "'quoted'", "it's"] {
            assert_eq!((guarded(plain.into()), unguarded(plain)), (plain.into(), plain));
        }
    }

    proptest! {
        #[test]
        fn the_guard_comes_off_again(text in "['=+@ a\t\r\n-]{0,6}") {
            let guarded = guarded(text.as_str().into());
            prop_assert_eq!(unguarded(&guarded), text.as_str());
        }
    }
}
