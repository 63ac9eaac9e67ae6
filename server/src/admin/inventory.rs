//! Inventory as CSV: `serial,device_id,public_key,manufacturer,model,site`, checked row by row, every bad row named.

use ks_protocol::{
    id::DeviceId,
    key::{BadKey, PublicKey},
};

use super::devices::is_plain;

use crate::store::devices::{DeviceRecord, ImportProblem, NewDevice};

/// The columns; a file may have them in any order.
pub const COLUMNS: [&str; 6] = ["serial", "device_id", "public_key", "manufacturer", "model", "site"];
/// Rows in one file at most.
pub const ROWS_MAX: usize = 1_000_000;
/// Bytes of one plain field at most.
const FIELD_BYTES_MAX: usize = 128;
/// Problems reported at most.
const PROBLEMS_MAX: usize = 1_000;

/// Reads an inventory.
///
/// # Errors
/// Every fault with its line and column, the first thousand of them; then nothing may be imported.
pub fn parse(csv_bytes: &[u8]) -> Result<Vec<NewDevice>, Vec<ImportProblem>> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(csv_bytes);
    let places = columns(&mut reader).map_err(|problem| vec![problem])?;
    let (mut devices, mut problems) = (Vec::new(), Vec::new());
    let mut seen = std::collections::BTreeMap::new();
    for row in reader.records() {
        let found = match row {
            Ok(row) => device(&row, places),
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                Err(vec![ImportProblem { line, field: "row", what: without_prefix(&error) }])
            }
        };
        match found.and_then(|device| first_of_its_name(device, &mut seen)) {
            Ok(device) => devices.push(device),
            Err(faults) => problems.extend(faults),
        }
        if problems.len() >= PROBLEMS_MAX {
            problems.truncate(PROBLEMS_MAX);
            break;
        }
        if devices.len() > ROWS_MAX {
            let what = format!("more than {ROWS_MAX} rows; split the file");
            problems.push(ImportProblem { line: 0, field: "file", what });
            break;
        }
    }
    if devices.is_empty() && problems.is_empty() {
        problems.push(ImportProblem { line: 1, field: "file", what: "there is no row below the header".to_owned() });
    }
    if problems.is_empty() { Ok(devices) } else { Err(problems) }
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
pub fn rows(devices: &[DeviceRecord]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for device in devices {
        let key = device.public_key.to_string();
        let row = [&device.serial, device.device_id.as_str(), &key, &device.manufacturer, &device.model, &device.site];
        let _ = writer.write_record(row); // six fields each time, into memory: it does not fail
    }
    writer.into_inner().unwrap_or_default()
}

fn without_prefix(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("the row has {len} fields, expected {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "the row is not UTF-8".to_owned(),
        _ => error.to_string(),
    }
}

/// Where each column stands in this file.
fn columns(reader: &mut csv::Reader<&[u8]>) -> Result<[usize; 6], ImportProblem> {
    let bad = |what: String| ImportProblem { line: 1, field: "header", what };
    let expected = COLUMNS.join(",");
    let header = reader.headers().map_err(|_| bad(format!("the first line is not text; expected {expected}")))?;
    let mut places = [0; 6];
    for (place, name) in places.iter_mut().zip(COLUMNS) {
        let found = header.iter().position(|column| column.trim_start_matches('\u{feff}') == name);
        *place = found.ok_or_else(|| bad(format!("there is no column `{name}`; expected {expected}")))?;
    }
    Ok(places)
}

/// Whether a text can be a serial, a manufacturer, a model or a site.
pub fn is_field(text: &str) -> bool {
    is_plain(text, FIELD_BYTES_MAX)
}

/// A public key that can be verified with, from base64.
///
/// # Errors
/// It is none.
pub fn usable_key(text: &str) -> Result<PublicKey, BadKey> {
    let key = PublicKey::from_base64(text)?;
    key.verifier().map(|_| key)
}

/// One row, or everything that is wrong with it.
fn device(row: &csv::StringRecord, places: [usize; 6]) -> Result<NewDevice, Vec<ImportProblem>> {
    let line = row.position().map_or(0, csv::Position::line);
    let [serial, device_id, public_key, manufacturer, model, site] =
        places.map(|place| row.get(place).unwrap_or_default());
    let mut faults = Vec::new();
    let mut fault = |field: &'static str, what: String| faults.push(ImportProblem { line, field, what });
    for (field, text) in [("serial", serial), ("manufacturer", manufacturer), ("model", model), ("site", site)] {
        if !is_field(text) {
            fault(field, format!("`{}`: expected 1 to {FIELD_BYTES_MAX} bytes of text", text.escape_debug()));
        }
    }
    let device_id = device_id.parse::<DeviceId>().map_err(|error| fault("device_id", error.to_string()));
    let public_key = usable_key(public_key);
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
fn first_of_its_name(
    device: NewDevice,
    seen: &mut std::collections::BTreeMap<Vec<u8>, u64>,
) -> Result<NewDevice, Vec<ImportProblem>> {
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
    use ks_protocol::key::PrivateKey;

    fn row(number: u8) -> String {
        let key = PrivateKey::from_seed(&[number; 32]).public_key();
        format!("S{number},KS-{number},{key},Acme,KS-100,north\n")
    }

    const HEADER: &str = "serial,device_id,public_key,manufacturer,model,site\n";

    #[test]
    fn good_rows_in_any_column_order() {
        let devices = parse(format!("{HEADER}{}{}", row(1), row(2)).as_bytes()).unwrap();
        assert_eq!((devices.len(), devices[1].device_id.as_str(), devices[1].line), (2, "KS-2", 3));
        let key = PrivateKey::from_seed(&[1; 32]).public_key();
        let other = format!("site,model,manufacturer,public_key,device_id,serial\nnorth,M,A,{key},KS-1,S1\n");
        assert_eq!(parse(other.as_bytes()).unwrap()[0].site, "north");
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

    #[test]
    fn what_is_no_inventory_is_said_so() {
        for (text, field) in [("", "header"), (HEADER, "file"), ("a,b\n1,2\n", "header"), ("\u{1}\u{2}", "header")] {
            assert_eq!(parse(text.as_bytes()).unwrap_err()[0].field, field, "{text:?}");
        }
        assert!(parse(&[0xff, 0xfe, 0x00]).is_err());
    }
}
