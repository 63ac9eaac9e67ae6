//! `ks-server audit`: whether the record of what was done is whole, and the record itself.

use clap::{ArgMatches, Command};
use ks_protocol::{
    number::digits,
    text::{hex, printable_json},
};

use super::{Ended, found, json, output, parent, settings, text, with_settings};
use crate::{
    admin::audit::{ndjson, walk},
    audit::Broken,
    config::{Config, StartError},
    edge,
    store::audit::AuditFilter,
};

/// Lines read from the store at a time.
const PAGE: usize = 5_000;

pub(super) fn command() -> Command {
    let verify = Command::new("verify")
        .about("Check the audit's hash chain: finds any edit, deletion or reordering")
        .after_help("Note the head that it prints where the server can't write. Given back later with --head, it also finds a record that was written anew as a whole.\n\nExit codes: 0 whole, 1 broken.")
        .arg(text("head", "N:HASH", "A head that was noted earlier").value_parser(head))
        .arg(json());
    parent("audit", "Who did what to what, when, from where")
        .subcommand(with_settings(verify))
        .subcommand(with_settings(Command::new("export").about("Print every line as NDJSON, the oldest first")))
}

/// `7:9f86…` as a number and a hash.
fn head(text: &str) -> Result<(i64, [u8; 32]), String> {
    let expected =
        || "expected a number, a colon and 64 hex digits, as `ks-server audit verify` prints them".to_owned();
    let (number, hex) = text.split_once(':').ok_or_else(expected)?;
    let mut hash = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(expected());
    }
    for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
        let pair = hex.get(at..at + 2).ok_or_else(expected)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| expected())?;
    }
    Ok((digits(number).ok_or_else(expected)?, hash))
}

pub(super) fn run(name: &str, flags: &ArgMatches) -> Ended {
    let config = settings(flags)?;
    if name == "export" {
        return Ok(export(&config)?);
    }
    let noted = flags.get_one::<(i64, [u8; 32])>("head").copied();
    let walked = edge::with_reader(&config, async |reader| {
        let walked = walk(&reader, noted.into_iter().collect()).await;
        walked.map_err(|error| edge::bad_database(&config, &error))
    })?;
    found(tell(&walked, flags.get_flag("json")), walked.is_err())
}

fn tell(walked: &Result<(i64, [u8; 32]), Broken>, as_json: bool) -> Result<(), StartError> {
    match walked {
        Ok((number, hash)) if as_json => {
            output::json(&serde_json::json!({ "whole": true, "head": format!("{number}:{}", hex(hash)) }))
        }
        Ok((number, hash)) => edge::say(&format!("whole: {number} lines\nhead: {number}:{}", hex(hash))),
        Err(broken) if as_json => output::json(&serde_json::json!({ "whole": false, "broken": broken.to_string() })),
        Err(broken) => edge::say(&format!(
            "BROKEN: {broken}\n  what to do: compare with an export or a backup from before; whoever changed it could write the database"
        )),
    }
}

fn export(config: &Config) -> Result<(), StartError> {
    edge::with_reader(config, async |reader| {
        let mut after = 0;
        loop {
            let asked = reader.ask(move |store| store.audit(&AuditFilter::default(), after, PAGE)).await;
            let lines = asked.map_err(|error| edge::bad_database(config, &error))?;
            let Some(last) = lines.last() else { return Ok(()) };
            after = last.number;
            edge::print(printable_json(&String::from_utf8_lossy(&ndjson(lines))).as_bytes())?;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_a_number_and_a_hash() {
        let text = format!("7:{}", "0a".repeat(32));
        assert_eq!(head(&text), Ok((7, [10; 32])));
        for wrong in ["", "7", "7:0a", &format!("x:{}", "0a".repeat(32)), &format!("7:{}", "zz".repeat(32))] {
            assert!(head(wrong).is_err(), "{wrong}");
        }
    }
}
