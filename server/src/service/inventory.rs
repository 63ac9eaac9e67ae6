//! Inventory as CSV: `serial,device_id,public_key,manufacturer,model,site`, checked row by row, every bad row named.

use std::{borrow::Cow, collections::BTreeMap};

use ks_protocol::{id::DeviceId, key::PublicKey};

use super::{
    devices::is_plain,
    sheet::{self, Row, Rows, Separator},
};
use crate::{
    service::names,
    store::devices::{DeviceRecord, ImportProblem, NewDevice, PROBLEMS_MAX},
};

/// The columns; a file may have them in any order.
pub const COLUMNS: [&str; 6] = ["serial", "device_id", "public_key", "manufacturer", "model", "site"];
/// Rows in one file at most.
pub const ROWS_MAX: usize = 1_000_000;
/// Bytes of one plain field at most.
const FIELD_BYTES_MAX: usize = 128;

/// What an inventory holds.
#[derive(Debug)]
pub struct Inventory {
    /// Its devices, in its order.
    pub devices: Vec<NewDevice>,
    /// What is taken as it is, and is likely not what was meant.
    pub warnings: Vec<ImportProblem>,
}

/// Reads an inventory, as people and spreadsheets write them.
///
/// # Errors
/// Every fault with its line and column, the first thousand of them; then nothing may be imported.
pub fn parse(file: &[u8]) -> Result<Inventory, Vec<ImportProblem>> {
    let problem = |line, field, what| ImportProblem { line, field, what };
    let text = sheet::text(file).map_err(|none| vec![problem(none.line, "file", none.what)])?;
    let mut rows = Rows::of(&text);
    let header = rows.next().unwrap_or(Row { line: 1, fields: Err("the file is empty".to_owned()) });
    let columns = Columns::of(&header).map_err(|what| vec![problem(header.line, "header", what)])?;
    let (mut devices, mut problems, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen = BTreeMap::new();
    for row in rows {
        match device(&row, &columns).and_then(|device| first_of_its_name(device, &mut seen)) {
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
            Err(faults) => problems.extend(faults),
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
        problems.push(problem(1, "file", "there is no row below the header".to_owned()));
    }
    if problems.is_empty() { Ok(Inventory { devices, warnings }) } else { Err(problems) }
}

/// Whether a text is a number in the form to which spreadsheets shorten long ones: `8.60123E+14`.
fn is_rounded(text: &str) -> bool {
    let Some((digits, exponent)) = text.split_once(['E', 'e']) else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    exponent.strip_prefix('+').is_some_and(is_number) && digits.split(['.', ',']).all(is_number)
}

/// So many faults, in words.
pub fn faults(count: usize) -> String {
    match count {
        1 => "1 fault".to_owned(),
        count if count >= PROBLEMS_MAX => format!("{count} faults or more"),
        count => format!("{count} faults"),
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
    sheet::rows(separator, devices.iter().map(row))
}

/// The header of an inventory.
pub fn header(separator: Separator) -> Vec<u8> {
    sheet::rows(separator, std::iter::once(COLUMNS.map(Cow::from)))
}

/// Where each column stands in a file, and how many there are.
struct Columns {
    places: [usize; 6],
    count: usize,
}

impl Columns {
    /// From the header: a name is taken in capitals too, and with blanks or hyphens for its underscores.
    fn of(header: &Row) -> Result<Self, String> {
        let expected = COLUMNS.join(",");
        let header = header.fields.as_ref().map_err(|why| format!("{why}; expected {expected}"))?;
        let names: Vec<String> = header.iter().map(|name| name.to_lowercase().replace([' ', '-'], "_")).collect();
        let mut places = [0; 6];
        for (place, column) in places.iter_mut().zip(COLUMNS) {
            let mut found = (0..).zip(&names).filter(|(_, name)| *name == column).map(|(place, _)| place);
            *place = found.next().ok_or_else(|| {
                let came = header.iter().collect::<Vec<_>>().join(" | ");
                let came: String = came.escape_debug().take(200).collect();
                format!("there is no column `{column}` among `{came}`; expected {expected}, with a comma, semicolon or tab between")
            })?;
            if found.next().is_some() {
                return Err(format!("there are two columns `{column}`"));
            }
        }
        Ok(Self { places, count: names.len() })
    }
}

/// What a serial, a manufacturer, a model or a site may be.
pub const FIELD: &str = "1 to 128 bytes of text without a blank at either end";

/// Whether a text can be a serial, a manufacturer, a model or a site. A blank at either end would be lost on the way through a
/// file.
pub fn is_field(text: &str) -> bool {
    is_plain(text, FIELD_BYTES_MAX) && text.trim() == text
}

/// One row, or everything that is wrong with it.
fn device(row: &Row, columns: &Columns) -> Result<NewDevice, Vec<ImportProblem>> {
    let line = row.line;
    let of_the_row = |what| vec![ImportProblem { line, field: "row", what }];
    let fields = row.fields.as_ref().map_err(|why| of_the_row(why.clone()))?;
    if fields.len() < columns.count || fields.iter().skip(columns.count).any(|field| !field.is_empty()) {
        return Err(of_the_row(format!("the row has {} fields, expected {}", fields.len(), columns.count)));
    }
    let [serial, device_id, public_key, manufacturer, model, site] =
        columns.places.map(|place| sheet::unguarded(fields.get(place).unwrap_or_default()));
    let mut faults = Vec::new();
    let mut fault = |field: &'static str, what: String| faults.push(ImportProblem { line, field, what });
    for (field, text) in [("serial", serial), ("manufacturer", manufacturer), ("model", model), ("site", site)] {
        if !is_field(text) {
            fault(field, format!("`{}`: expected {FIELD}", text.escape_debug()));
        }
    }
    let device_id = device_id.parse::<DeviceId>().map_err(|error| error.to_string());
    let device_id = device_id.and_then(|named| names::check(named.as_str(), &names::NOT_FOR_DEVICES).map(|()| named));
    let device_id = device_id.map_err(|why| fault("device_id", why));
    let public_key = PublicKey::from_base64(public_key);
    let public_key = public_key.map_err(|error| fault("public_key", error.to_string()));
    match (device_id, public_key) {
        (Ok(device_id), Ok(public_key)) if faults.is_empty() => {
            let [serial, manufacturer, model, site] = [serial, manufacturer, model, site].map(str::to_owned);
            Ok(NewDevice { line, device_id, public_key, serial, manufacturer, model, site })
        }
        _ => Err(faults),
    }
}

/// Refuses a name or a key that stood on an earlier line.
fn first_of_its_name(device: NewDevice, seen: &mut BTreeMap<Vec<u8>, u64>) -> Result<NewDevice, Vec<ImportProblem>> {
    let line = device.line;
    let names = [("device_id", device.device_id.as_str().as_bytes()), ("public_key", device.public_key.0.as_slice())];
    let mut faults = Vec::new();
    for (field, name) in names {
        if let Some(earlier) = seen.insert(name.to_vec(), line) {
            faults.push(ImportProblem { line, field, what: format!("the same {field} is on line {earlier}") });
        }
    }
    if faults.is_empty() { Ok(device) } else { Err(faults) }
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
    fn good_rows_in_any_column_order() {
        let devices = parse(format!("{HEADER}{}{}", row(1), row(2)).as_bytes()).unwrap();
        let devices = devices.devices;
        assert_eq!((devices.len(), devices[1].device_id.as_str(), devices[1].line), (2, "KS-2", 3));
        let key = PrivateKey::from_seed(&[1; 32]).public_key();
        let other = format!("site,model,manufacturer,public_key,device_id,serial\nnorth,M,A,{key},KS-1,S1\n");
        assert_eq!(parse(other.as_bytes()).unwrap().devices[0].site, "north");
    }

    #[test]
    fn every_bad_row_is_named_by_line_and_field() {
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
    fn a_fault_has_its_line_whatever_ends_lines() {
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
        fn an_export_can_be_imported_again(
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
    fn names_of_routes_and_keys_that_are_none_are_refused_by_line() {
        for word in names::NOT_FOR_DEVICES {
            let problems = parse(format!("{HEADER}{}{}", row(1), row(2).replace("KS-2", word)).as_bytes()).unwrap_err();
            assert_eq!((problems.len(), problems[0].line, problems[0].field), (1, 3, "device_id"), "{word}");
        }
        let mut no_point = [0; 32];
        no_point[0] = 2;
        for key in [no_point, [0; 32]] {
            let text = format!("{HEADER}{}S2,KS-2,{},A,M,s\n", row(1), PublicKey(key));
            let problems = parse(text.as_bytes()).unwrap_err();
            assert_eq!((problems.len(), problems[0].line, problems[0].field), (1, 3, "public_key"), "{key:?}");
        }
    }

    #[test]
    fn what_is_no_inventory_is_said_so() {
        for (text, field) in [("", "header"), (HEADER, "file"), ("a,b\n1,2\n", "header"), ("\u{1}\u{2}", "header")] {
            assert_eq!(parse(text.as_bytes()).unwrap_err()[0].field, field, "{text:?}");
        }
        assert!(parse(&[0xff, 0xfe, 0x00]).is_err());
    }
}
