//! `ks-server audit`: whether the record of what was done is whole, and the record itself.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
};

use clap::{Arg, ArgMatches, Command, value_parser};
use ks_protocol::{
    number::{in_one_form, within},
    text::printable_json,
    time::UnixMs,
};

use super::{Ended, by, found, json, output, parent, settings, text, with_settings};
use crate::{
    assembly,
    config::Config,
    edge,
    failure::StartError,
    rules,
    service::{
        audit::{AuditEntry, PAGE, ndjson, verify_chain},
        bulk,
    },
    store::{
        Reader, StoreError,
        audit::{
            AuditFilter, AuditRecord,
            chain::{Broken, Chain, GENESIS, Head, head_text},
        },
    },
};

/// Lines deleted in one transaction.
const PRUNED_AT_ONCE: usize = 5_000;

pub(super) fn command() -> Command {
    let files = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").num_args(1..).value_parser(value_parser!(PathBuf)).help(help)
    };
    let verify = Command::new("verify")
        .about("Check the audit's hash chain: finds any edit, deletion or reordering")
        .after_help("Note the head that it prints where the server can't write. Given back later with --head, it also finds a record that was written anew as a whole.\n\nExit codes: 0 whole, 1 broken.")
        .arg(text("head", "N:HASH", "A head that was noted earlier").value_parser(head))
        .arg(files("export", "Exports, the oldest first: that each is whole, and that what the database has goes on behind them"))
        .arg(json());
    let prune = Command::new("prune")
        .about("Delete old lines that stand in an export, which is checked first, line by line")
        .after_help("Keep the exports: they are all that is left of what is deleted, and `audit verify --export` checks them against the rest.\n\nExample:\n  ks-server audit export > audit-2026.ndjson\n  ks-server audit prune --export audit-2026.ndjson --keep-days 365")
        .arg(files("export", "Exports that hold the lines, the oldest first").required(true))
        .arg(
            text("keep-days", "DAYS", "Keep lines of so many days, however well they are exported")
                .required(true)
                .value_parser(within(0..=36_500_u32)),
        );
    parent("audit", "Who did what to what, when, from where")
        .subcommand(with_settings(verify))
        .subcommand(with_settings(Command::new("export").about("Print every line as NDJSON, the oldest first")))
        .subcommand(with_settings(prune))
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
    Ok((in_one_form(number).filter(|number| *number >= 0).ok_or_else(expected)?, hash))
}

pub(super) fn run(name: &str, flags: &ArgMatches) -> Ended {
    let config = settings(flags)?;
    match name {
        "export" => return Ok(export(&config)?),
        "prune" => return prune(&config, flags),
        _ => {}
    }
    let noted = flags.get_one::<Head>("head").copied();
    let files: Vec<PathBuf> = flags.get_many("export").into_iter().flatten().cloned().collect();
    let walked = assembly::with_reader(&config, async |reader| {
        let asked = verified(&reader, noted, &files, UnixMs(u64::MAX)).await;
        asked.map_err(|error| error.told(&config))
    })?;
    found(tell(&walked, flags.get_flag("json")), walked.is_err())
}

/// Why exports could not be looked at.
enum Unread {
    Store(StoreError),
    File(StartError),
}

impl Unread {
    fn told(self, config: &Config) -> StartError {
        match self {
            Self::Store(error) => assembly::bad_database(config, &error),
            Self::File(error) => error,
        }
    }
}

/// What was found whole.
struct Whole {
    /// The first line that was looked at.
    first: i64,
    /// The last line of the database.
    end: Head,
    /// The last line of the exports that is older than asked for, with all before it.
    old: Head,
}

/// Walks along exports, if there are any, and along the database, which must go on behind them. Each file is read once, so that what is
/// concluded is of what was checked.
async fn verified(
    reader: &Reader,
    noted: Option<Head>,
    files: &[PathBuf],
    before: UnixMs,
) -> Result<Result<Whole, Broken>, Unread> {
    let base = reader.ask(|store| store.audit_base()).await.map_err(Unread::Store)?;
    let last_pruned = base.map_or(0, |(last, _)| last);
    let mut heads: Vec<Head> = noted.into_iter().collect();
    let (mut first, mut old) = (last_pruned + 1, (0, GENESIS));
    if !files.is_empty() {
        let passing: Vec<Head> = base.into_iter().chain(noted).collect();
        match exported(files, &passing, before).map_err(Unread::File)? {
            Ok(walk) => {
                if walk.end.0 < last_pruned {
                    return Ok(Err(Broken::CutShort { last: walk.end.0, head: last_pruned }));
                }
                heads.retain(|(number, _)| *number > last_pruned); // the others were passed in the exports
                heads.push(walk.end);
                (first, old) = (1, walk.old);
            }
            Err(broken) => return Ok(Err(broken)),
        }
    }
    let walked = verify_chain(reader, heads).await.map_err(Unread::Store)?;
    Ok(walked.map(|end| Whole { first, end, old }))
}

/// A walk along exports.
struct Walk {
    /// The last line of all.
    end: Head,
    /// The last line before the first that is to be kept.
    old: Head,
}

/// Walks along exports, from the audit's first line on, past those of `heads` that are within. Old are all lines before the first
/// that is not from before `before`.
fn exported(files: &[PathBuf], heads: &[Head], before: UnixMs) -> Result<Result<Walk, Broken>, StartError> {
    let mut chain = Chain::passing(Vec::new());
    let mut walk = Walk { end: (0, GENESIS), old: (0, GENESIS) };
    let mut is_old = true;
    for path in files {
        let failed = |cause| StartError::File { what: "read", path: path.clone(), cause };
        let file = std::fs::File::open(path).map_err(failed)?;
        for (number, text) in (1_u64..).zip(BufReader::new(file).lines()) {
            let wrong = |why: String| {
                let what = format!("{}: line {number} is none of an export: {why}", path.display());
                StartError::Refused(what, "give what `ks-server audit export` printed, whole, the oldest file first")
            };
            let line: AuditEntry =
                serde_json::from_str(&text.map_err(failed)?).map_err(|error| wrong(error.to_string()))?;
            let line = AuditRecord::try_from(line).map_err(|error| wrong(error.to_string()))?;
            if line.number <= walk.end.0 {
                continue; // an export that begins before the last one ended
            }
            if let Err(broken) = chain.take(&line) {
                return Ok(Err(broken));
            }
            walk.end = (line.number, line.hash);
            if let Some((number, _)) = heads.iter().find(|(number, hash)| *number == line.number && *hash != line.hash)
            {
                return Ok(Err(Broken::OtherHead(*number)));
            }
            is_old &= line.at < before;
            if is_old {
                walk.old = walk.end;
            }
        }
    }
    Ok(Ok(walk))
}

/// Deletes what is old and stands in the exports, once these and the database are known to be whole and the same.
fn prune(config: &Config, flags: &ArgMatches) -> Ended {
    let files: Vec<PathBuf> = flags.get_many("export").into_iter().flatten().cloned().collect();
    let keep_days = flags.get_one::<u32>("keep-days").copied().unwrap_or(u32::MAX);
    let by = by();
    let before = by.at.minus_ms(u64::from(keep_days) * 24 * 3_600_000);
    let pruned = assembly::with_store(config, async |writer, reader| {
        let failed = |error| assembly::bad_database(config, &error);
        // Passed along with the newest line of the exports, so the two are the same up to there.
        let old = match verified(&reader, None, &files, before).await.map_err(|error| error.told(config))? {
            Ok(whole) => whole.old.0,
            Err(broken) => return Ok(Err(broken)),
        };
        let mut pruned = 0;
        loop {
            let by = by.clone();
            match writer
                .write(move |store| rules::audit::prune(store, old, PRUNED_AT_ONCE, &by))
                .await
                .map_err(failed)?
            {
                0 => return Ok(Ok(pruned)),
                some => pruned += some,
            }
            tokio::time::sleep(bulk::PAUSE_FOR_SERVER).await;
        }
    })?;
    match pruned {
        Ok(lines) => Ok(edge::say(&format!("{lines} lines pruned; keep the exports"))?),
        Err(broken) => found(tell(&Err(broken), false), true),
    }
}

fn tell(walked: &Result<Whole, Broken>, as_json: bool) -> Result<(), StartError> {
    match walked {
        Ok(Whole { first, end, .. }) if as_json => {
            output::json(&serde_json::json!({ "whole": true, "first": first, "head": head_text(*end) }))
        }
        Ok(Whole { first: 1, end, .. }) => edge::say(&format!("whole: {} lines\nhead: {}", end.0, head_text(*end))),
        Ok(Whole { first, end, .. }) => edge::say(&format!(
            "whole: lines {first} to {}; those before were pruned, and --export proves them\nhead: {}",
            end.0,
            head_text(*end)
        )),
        Err(broken) if as_json => output::json(&serde_json::json!({ "whole": false, "broken": broken.to_string() })),
        Err(broken @ Broken::Pruned { .. }) => edge::say(&format!("NOT PROVEN: {broken}")),
        Err(broken) => edge::say(&format!(
            "BROKEN: {broken}\n  what to do: compare with an export or a backup from before; whoever changed it could write the database"
        )),
    }
}

fn export(config: &Config) -> Result<(), StartError> {
    assembly::with_reader(config, async |reader| {
        let mut after = 0;
        loop {
            let asked = reader.ask(move |store| store.audit(&AuditFilter::default(), after, PAGE)).await;
            let lines = asked.map_err(|error| assembly::bad_database(config, &error))?;
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
