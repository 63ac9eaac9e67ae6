//! Inventory as CSV: `serial,device_id,public_key,manufacturer,model,site`. Every row is checked, and every error reported.

use std::{borrow::Cow, collections::BTreeMap};

use ks_protocol::{id::DeviceId, key::PublicKey, text::counted};

use super::{
    csv::{self, Row, Rows, Separator},
    devices::is_plain,
};
use crate::{
    service::names,
    store::devices::{DeviceRecord, ImportProblem, NewDevice, PROBLEMS_MAX},
};

/// The columns, in any order.
pub const COLUMNS: [&str; 6] = ["serial", "device_id", "public_key", "manufacturer", "model", "site"];
/// Maximum rows per file.
pub const ROWS_MAX: usize = 1_000_000;
/// Maximum length of a text field, in bytes.
const FIELD_BYTES_MAX: usize = 128;

#[derive(Debug)]
pub struct Inventory {
    /// In the order of the file.
    pub devices: Vec<NewDevice>,
    /// Values that are accepted but probably wrong.
    pub warnings: Vec<ImportProblem>,
}

/// Parses an inventory as spreadsheets and text editors write it.
///
/// # Errors
/// Every error with its line and column, at most the first thousand; nothing may be imported.
pub fn parse(file: &[u8]) -> Result<Inventory, Vec<ImportProblem>> {
    let problem = |line, field, what| ImportProblem { line, field, what };
    let text = csv::text(file).map_err(|error| vec![problem(error.line, "file", error.what)])?;
    let mut rows = Rows::new(&text);
    let header = rows.next().unwrap_or(Row { line: 1, fields: Err("the file is empty".to_owned()) });
    let columns = Columns::of(&header).map_err(|what| vec![problem(header.line, "header", what)])?;
    let (mut devices, mut problems, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen = BTreeMap::new();
    for row in rows {
        match device(&row, &columns).and_then(|device| reject_duplicates(device, &mut seen)) {
            Ok(device) => {
                if is_rounded(&device.serial) && warnings.len() < PROBLEMS_MAX {
                    let what = format!(
                        "`{}` looks like a long number that a spreadsheet has rounded; format the column as text",
                        device.serial
                    );
                    warnings.push(problem(device.line, "serial", what));
                }
                devices.push(device);
            }
            Err(errors) => problems.extend(errors),
        }
        if problems.len() >= PROBLEMS_MAX {
            problems.truncate(PROBLEMS_MAX);
            break;
        }
        if devices.len() > ROWS_MAX {
            problems.push(problem(row.line, "file", format!("more than {ROWS_MAX} rows; split the file")));
            break;
        }
    }
    if devices.is_empty() && problems.is_empty() {
        problems.push(problem(1, "file", "there are no rows below the header".to_owned()));
    }
    if problems.is_empty() { Ok(Inventory { devices, warnings }) } else { Err(problems) }
}

/// Whether a text is a number in the exponent form to which spreadsheets shorten long ones: `8.60123E+14`.
fn is_rounded(text: &str) -> bool {
    let Some((digits, exponent)) = text.split_once(['E', 'e']) else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    exponent.strip_prefix('+').is_some_and(is_number) && digits.split(['.', ',']).all(is_number)
}

/// Text for a number of errors.
pub fn error_count(count: usize) -> String {
    match count {
        count if count >= PROBLEMS_MAX => format!("{count} or more errors"),
        count => counted(count, "error"),
    }
}

/// Devices as rows of an inventory.
pub fn rows(devices: &[DeviceRecord], separator: Separator) -> Vec<u8> {
    let row = |device: &DeviceRecord| {
        let key = device.public_key.to_string();
        let DeviceRecord { serial, device_id, manufacturer, model, site, .. } = device;
        let row = [serial, device_id.as_str(), &key, manufacturer, model, site];
        row.map(|field: &str| Cow::from(field.to_owned()))
    };
    csv::rows(separator, devices.iter().map(row))
}

/// The header of an inventory.
pub fn header(separator: Separator) -> Vec<u8> {
    csv::rows(separator, std::iter::once(COLUMNS.map(Cow::from)))
}

/// Position of each column in a file, and the number of columns.
struct Columns {
    positions: [usize; 6],
    count: usize,
}

impl Columns {
    /// Parses the header. Names are case-insensitive, and spaces or hyphens may replace underscores.
    fn of(header: &Row) -> Result<Self, String> {
        let expected = COLUMNS.join(",");
        let header = header.fields.as_ref().map_err(|why| format!("{why}; expected {expected}"))?;
        let names: Vec<String> = header.iter().map(|name| name.to_lowercase().replace([' ', '-'], "_")).collect();
        let mut positions = [0; 6];
        for (position, column) in positions.iter_mut().zip(COLUMNS) {
            let mut found = (0..).zip(&names).filter(|(_, name)| *name == column).map(|(position, _)| position);
            *position = found.next().ok_or_else(|| {
                let actual = header.iter().collect::<Vec<_>>().join(" | ");
                let actual: String = actual.escape_debug().take(200).collect();
                format!("column `{column}` is missing in `{actual}`; expected {expected}, separated by commas, semicolons or tabs")
            })?;
            if found.next().is_some() {
                return Err(format!("column `{column}` is duplicated"));
            }
        }
        Ok(Self { positions, count: names.len() })
    }
}

/// Describes valid serials, manufacturers, models and sites.
pub const FIELD: &str = "1 to 128 bytes of text without leading or trailing whitespace";

/// Whether a text is a valid serial, manufacturer, model or site. Leading or trailing whitespace would not survive an export and import.
pub fn is_field(text: &str) -> bool {
    is_plain(text, FIELD_BYTES_MAX) && text.trim() == text
}

/// Parses one row; on failure, all its errors.
fn device(row: &Row, columns: &Columns) -> Result<NewDevice, Vec<ImportProblem>> {
    let line = row.line;
    let row_error = |what| vec![ImportProblem { line, field: "row", what }];
    let fields = row.fields.as_ref().map_err(|why| row_error(why.clone()))?;
    if fields.len() < columns.count || fields.iter().skip(columns.count).any(|field| !field.is_empty()) {
        return Err(row_error(format!("the row has {}, expected {}", counted(fields.len(), "field"), columns.count)));
    }
    let [serial, device_id, public_key, manufacturer, model, site] =
        columns.positions.map(|position| csv::unescape_formula(fields.get(position).unwrap_or_default()));
    let mut errors = Vec::new();
    let mut error = |field: &'static str, what: String| errors.push(ImportProblem { line, field, what });
    for (field, text) in [("serial", serial), ("manufacturer", manufacturer), ("model", model), ("site", site)] {
        if !is_field(text) {
            error(field, format!("`{}`: expected {FIELD}", text.escape_debug()));
        }
    }
    let device_id = device_id.parse::<DeviceId>().map_err(|error| error.to_string());
    let device_id =
        device_id.and_then(|named| names::check(named.as_str(), &names::RESERVED_DEVICE_IDS).map(|()| named));
    let device_id = device_id.map_err(|why| error("device_id", why));
    let public_key = PublicKey::from_base64(public_key);
    let public_key = public_key.map_err(|why| error("public_key", why.to_string()));
    match (device_id, public_key) {
        (Ok(device_id), Ok(public_key)) if errors.is_empty() => {
            let [serial, manufacturer, model, site] = [serial, manufacturer, model, site].map(str::to_owned);
            Ok(NewDevice { line, device_id, public_key, serial, manufacturer, model, site })
        }
        _ => Err(errors),
    }
}

/// Refuses a device id or a key that occurs on an earlier line.
fn reject_duplicates(device: NewDevice, seen: &mut BTreeMap<Vec<u8>, u64>) -> Result<NewDevice, Vec<ImportProblem>> {
    let line = device.line;
    let unique = [("device_id", device.device_id.as_str().as_bytes()), ("public_key", device.public_key.0.as_slice())];
    let mut errors = Vec::new();
    for (field, value) in unique {
        if let Some(earlier) = seen.insert(value.to_vec(), line) {
            errors.push(ImportProblem { line, field, what: format!("the same {field} is on line {earlier}") });
        }
    }
    if errors.is_empty() { Ok(device) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::devices::DeviceStatus;
    use ks_protocol::key::PrivateKey;

    fn row(number: u8) -> String {
        let key = PrivateKey::from_seed(&[number; 32]).public_key();
        format!("S{number},KS-{number},{key},Acme,KS-100,north\n")
    }

    const HEADER: &str = "serial,device_id,public_key,manufacturer,model,site\n";

    #[test]
    fn valid_rows_in_any_column_order() {
        let devices = parse(format!("{HEADER}{}{}", row(1), row(2)).as_bytes()).unwrap();
        let devices = devices.devices;
        assert_eq!((devices.len(), devices[1].device_id.as_str(), devices[1].line), (2, "KS-2", 3));
        let key = PrivateKey::from_seed(&[1; 32]).public_key();
        let other = format!("site,model,manufacturer,public_key,device_id,serial\nnorth,M,A,{key},KS-1,S1\n");
        assert_eq!(parse(other.as_bytes()).unwrap().devices[0].site, "north");
    }

    #[test]
    fn every_error_has_its_line_and_field() {
        let text =
            format!("{HEADER}{}S2,2-bad,x,A,M,s\nS3,KS-3,c2hvcnQ=,A,M,s\n,KS-4,x,A,M,s\nS5,KS-5\n{}", row(1), row(1));
        let problems = parse(text.as_bytes()).unwrap_err();
        let places: Vec<_> = problems.iter().map(|problem| (problem.line, problem.field)).collect();
        let expected = [
            (3, "device_id"),
            (3, "public_key"),
            (4, "public_key"),
            (5, "serial"),
            (5, "public_key"),
            (6, "row"),
            (7, "device_id"),
            (7, "public_key"),
        ];
        assert_eq!(places, expected);
    }

    fn record(seed: u8) -> DeviceRecord {
        DeviceRecord {
            row: 1,
            device_id: "KS-1".parse().unwrap(),
            public_key: PrivateKey::from_seed(&[seed; 32]).public_key(),
            serial: String::new(),
            manufacturer: String::new(),
            model: String::new(),
            site: String::new(),
            labels: Vec::new(),
            version: 1,
            status: DeviceStatus::Whitelisted,
            sequence: ks_protocol::id::Sequence::new(0, 0),
            registered_at: None,
            revoked_at: None,
            revoke_reason: None,
            last_seen_at: None,
            firmware_version: String::new(),
            release_counter: 0,
            keyset_version: 0,
        }
    }

    fn utf_16(text: &str) -> Vec<u8> {
        format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn inventories_are_read_as_spreadsheets_write_them() {
        let plain = format!("{HEADER}{}{}", row(1), row(2));
        let titled = plain.replace("serial,device_id,public_key", "Serial,Device-Id,PUBLIC KEY");
        let with_empty_rows = format!("{plain},,,,,\n,,,,,\n,,,,,,,,\n{}", row(3).replace(",north", ",north,,"));
        for (file, count) in [
            (plain.replace('\n', "\r\n").into_bytes(), 2),
            (plain.replace('\n', "\r").into_bytes(), 2),
            (plain.replace(',', ";").into_bytes(), 2),
            (format!("\u{feff}sep=;\r\n{}", plain.replace(',', ";")).into_bytes(), 2),
            (utf_16(&plain.replace(',', "\t")), 2),
            (titled.into_bytes(), 2),
            (with_empty_rows.into_bytes(), 3),
        ] {
            let read = parse(&file).unwrap_or_else(|problems| panic!("{problems:?}"));
            assert_eq!((read.devices.len(), read.devices[1].device_id.as_str()), (count, "KS-2"));
        }
    }

    #[test]
    fn errors_have_the_right_line_with_any_line_ending() {
        for end in ["\n", "\r\n", "\r"] {
            let text = format!("{HEADER}{}{}S4,4-bad,x,A,M,s\nS5\n", row(1), row(2)).replace('\n', end);
            let places: Vec<_> = parse(text.as_bytes()).unwrap_err().iter().map(|one| (one.line, one.field)).collect();
            assert_eq!(places, [(4, "device_id"), (4, "public_key"), (5, "row")], "{end:?}");
        }
    }

    #[test]
    fn a_rounded_serial_is_a_warning() {
        let text = format!("{HEADER}{}{}", row(1), row(2).replace("S2", "8.60123E+14"));
        let read = parse(text.as_bytes()).unwrap();
        assert_eq!((read.devices.len(), read.warnings.len(), read.warnings[0].line), (2, 1, 3));
        for (serial, is_one) in [("8,6E+14", true), ("86E+4", true), ("S8E+14", false), ("8E14", false), ("E+1", false)]
        {
            assert_eq!(is_rounded(serial), is_one, "{serial}");
        }
    }

    proptest::proptest! {
        #[test]
        fn an_export_can_be_imported_unchanged(
            texts in proptest::array::uniform4("[ '=+@a\"\u{a0},;E+1ü-]{1,8}"),
            seed in 0_u8..64,
            separator in proptest::sample::select(&[Separator::Comma, Separator::Semicolon, Separator::Tab]),
        ) {
            let texts = texts.map(|text| text.trim().to_owned()).map(|text| if text.is_empty() { "x".into() } else { text });
            let device = DeviceRecord {
                serial: texts[0].clone(),
                manufacturer: texts[1].clone(),
                model: texts[2].clone(),
                site: texts[3].clone(),
                ..record(seed)
            };
            let file = [header(separator), rows(std::slice::from_ref(&device), separator)].concat();
            let read = parse(&file).unwrap_or_else(|problems| panic!("{problems:?}"));
            let NewDevice { serial, device_id, public_key, manufacturer, model, site, .. } = read.devices[0].clone();
            proptest::prop_assert_eq!([serial, manufacturer, model, site], texts);
            proptest::prop_assert_eq!((device_id, public_key), (device.device_id, device.public_key));
        }
    }

    #[test]
    fn reserved_ids_and_invalid_keys_are_refused() {
        for reserved in names::RESERVED_DEVICE_IDS {
            let problems =
                parse(format!("{HEADER}{}{}", row(1), row(2).replace("KS-2", reserved)).as_bytes()).unwrap_err();
            assert_eq!((problems.len(), problems[0].line, problems[0].field), (1, 3, "device_id"), "{reserved}");
        }
        let mut not_a_point = [0; 32];
        not_a_point[0] = 2;
        for key in [not_a_point, [0; 32]] {
            let text = format!("{HEADER}{}S2,KS-2,{},A,M,s\n", row(1), PublicKey(key));
            let problems = parse(text.as_bytes()).unwrap_err();
            assert_eq!((problems.len(), problems[0].line, problems[0].field), (1, 3, "public_key"), "{key:?}");
        }
    }

    #[test]
    fn files_that_are_not_inventories_are_refused() {
        for (text, field) in [("", "header"), (HEADER, "file"), ("a,b\n1,2\n", "header"), ("\u{1}\u{2}", "header")] {
            assert_eq!(parse(text.as_bytes()).unwrap_err()[0].field, field, "{text:?}");
        }
        assert!(parse(&[0xff, 0xfe, 0x00]).is_err());
    }
}
