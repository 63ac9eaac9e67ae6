//! `ks-server audit`: verify, export and prune the audit log.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
};

use clap::{Arg, ArgMatches, Command, value_parser};
use ks_protocol::{
    number::{canonical, within},
    text::{counted, printable_json},
    time::UnixMs,
};

use super::{CommandResult, by, found, json, output, parent, settings, text, with_settings};
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
            chain::{Chain, ChainError, GENESIS, Head, head_text},
        },
    },
};

/// Lines deleted in one transaction.
const PRUNE_BATCH: usize = 5_000;

pub(super) fn command() -> Command {
    let files = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").num_args(1..).value_parser(value_parser!(PathBuf)).help(help)
    };
    let verify = Command::new("verify")
        .about("Check the audit's hash chain: finds any edit, deletion or reordering")
        .after_help("Keep the printed head somewhere the server can't write. Passed later with --head, it also detects an audit log that was rewritten as a whole.\n\nExit codes: 0 intact, 1 broken.")
        .arg(text("head", "N:HASH", "A head printed by an earlier run").value_parser(head))
        .arg(files("export", "Also check these exports, oldest first, and that the database continues where they end"))
        .arg(json());
    let prune = Command::new("prune")
        .about("Delete old lines that are in an export; the export is checked first, line by line")
        .after_help("Keep the exports: they are the only copy of the deleted lines. `audit verify --export` checks them together with the rest.\n\nExample:\n  ks-server audit export > audit-2026.ndjson\n  ks-server audit prune --export audit-2026.ndjson --keep-days 365")
        .arg(files("export", "Exports that contain the lines, oldest first").required(true))
        .arg(
            text("keep-days", "DAYS", "Keep the lines of this many days even if they are exported")
                .required(true)
                .value_parser(within(0..=36_500_u32)),
        );
    parent("audit", "The audit log: who changed what, when and from where")
        .subcommand(with_settings(verify))
        .subcommand(with_settings(Command::new("export").about("Print every line as NDJSON, oldest first")))
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
    Ok((canonical(number).filter(|number| *number >= 0).ok_or_else(expected)?, hash))
}

pub(super) fn run(name: &str, flags: &ArgMatches) -> CommandResult {
    let config = settings(flags)?;
    match name {
        "export" => return Ok(export(&config)?),
        "prune" => return prune(&config, flags),
        _ => {}
    }
    let known_head = flags.get_one::<Head>("head").copied();
    let files: Vec<PathBuf> = flags.get_many("export").into_iter().flatten().cloned().collect();
    let walked = assembly::with_reader(&config, async |reader| {
        let asked = verified(&reader, known_head, &files, UnixMs(u64::MAX)).await;
        asked.map_err(|error| error.into_start_error(&config))
    })?;
    found(report(&walked, flags.get_flag("json")), walked.is_err())
}

/// Why the audit log or its exports could not be read.
enum ReadError {
    Store(StoreError),
    File(StartError),
}

impl ReadError {
    fn into_start_error(self, config: &Config) -> StartError {
        match self {
            Self::Store(error) => assembly::database_error(config, &error),
            Self::File(error) => error,
        }
    }
}

/// What was found intact.
struct VerifiedRange {
    /// The first line that was checked.
    first: i64,
    /// The last line of the database.
    end: Head,
    /// The last exported line up to which every line is older than the limit.
    old: Head,
}

/// Verifies the exports, if there are any, and then the database, which must continue where they end. Each file is read once, so that
/// the result is about the bytes that were checked.
async fn verified(
    reader: &Reader,
    known_head: Option<Head>,
    files: &[PathBuf],
    before: UnixMs,
) -> Result<Result<VerifiedRange, ChainError>, ReadError> {
    let base = reader.ask(|store| store.audit_base()).await.map_err(ReadError::Store)?;
    let last_pruned = base.map_or(0, |(last, _)| last);
    let mut heads: Vec<Head> = known_head.into_iter().collect();
    let (mut first, mut old) = (last_pruned + 1, (0, GENESIS));
    if !files.is_empty() {
        let passing: Vec<Head> = base.into_iter().chain(known_head).collect();
        match exported(files, &passing, before).map_err(ReadError::File)? {
            Ok(exported) => {
                if exported.end.0 < last_pruned {
                    return Ok(Err(ChainError::CutShort { last: exported.end.0, head: last_pruned }));
                }
                heads.retain(|(number, _)| *number > last_pruned); // the exports were checked against the others
                heads.push(exported.end);
                (first, old) = (1, exported.old);
            }
            Err(broken) => return Ok(Err(broken)),
        }
    }
    let walked = verify_chain(reader, heads).await.map_err(ReadError::Store)?;
    Ok(walked.map(|end| VerifiedRange { first, end, old }))
}

/// Where the exports end.
struct ExportEnds {
    end: Head,
    /// The last line before the first one to keep.
    old: Head,
}

/// Verifies exports from the audit's first line on, against those of `heads` that are within. All lines before the first one that is
/// not older than `before` count as old.
fn exported(files: &[PathBuf], heads: &[Head], before: UnixMs) -> Result<Result<ExportEnds, ChainError>, StartError> {
    let mut chain = Chain::passing(Vec::new());
    let mut exported = ExportEnds { end: (0, GENESIS), old: (0, GENESIS) };
    let mut is_old = true;
    for path in files {
        let failed = |cause| StartError::File { what: "read", path: path.clone(), cause };
        let file = std::fs::File::open(path).map_err(failed)?;
        for (number, text) in (1_u64..).zip(BufReader::new(file).lines()) {
            let wrong = |why: String| {
                let what = format!("{}: line {number} is not a line of an audit export: {why}", path.display());
                StartError::refused(what, "give the complete output of `ks-server audit export`, oldest file first")
            };
            let line: AuditEntry =
                serde_json::from_str(&text.map_err(failed)?).map_err(|error| wrong(error.to_string()))?;
            let line = AuditRecord::try_from(line).map_err(|error| wrong(error.to_string()))?;
            if line.number <= exported.end.0 {
                continue; // this export overlaps the one before
            }
            if let Err(broken) = chain.take(&line) {
                return Ok(Err(broken));
            }
            exported.end = (line.number, line.hash);
            if let Some((number, _)) = heads.iter().find(|(number, hash)| *number == line.number && *hash != line.hash)
            {
                return Ok(Err(ChainError::OtherHead(*number)));
            }
            is_old &= line.at < before;
            if is_old {
                exported.old = exported.end;
            }
        }
    }
    Ok(Ok(exported))
}

/// Deletes lines that are old and exported, after checking that the exports and the database are intact and agree.
fn prune(config: &Config, flags: &ArgMatches) -> CommandResult {
    let files: Vec<PathBuf> = flags.get_many("export").into_iter().flatten().cloned().collect();
    let keep_days = flags.get_one::<u32>("keep-days").copied().unwrap_or(u32::MAX);
    let by = by();
    let before = by.at.minus_ms(u64::from(keep_days) * 24 * 3_600_000);
    let pruned = assembly::with_store(config, async |writer, reader| {
        let failed = |error| assembly::database_error(config, &error);
        // The newest exported line is checked against the database, so both agree up to there.
        let old = match verified(&reader, None, &files, before).await.map_err(|error| error.into_start_error(config))? {
            Ok(intact) => intact.old.0,
            Err(broken) => return Ok(Err(broken)),
        };
        let mut pruned = 0;
        loop {
            let by = by.clone();
            match writer.write(move |store| rules::audit::prune(store, old, PRUNE_BATCH, &by)).await.map_err(failed)? {
                0 => return Ok(Ok(pruned)),
                some => pruned += some,
            }
            tokio::time::sleep(bulk::PAUSE_FOR_SERVER).await;
        }
    })?;
    match pruned {
        Ok(lines) => Ok(edge::say(&format!("{} deleted; keep the exports", counted(lines, "line")))?),
        Err(broken) => found(report(&Err(broken), false), true),
    }
}

fn report(walked: &Result<VerifiedRange, ChainError>, as_json: bool) -> Result<(), StartError> {
    match walked {
        Ok(VerifiedRange { first, end, .. }) if as_json => {
            output::json(&serde_json::json!({ "whole": true, "first": first, "head": head_text(*end) }))
        }
        Ok(VerifiedRange { first: 1, end, .. }) => {
            edge::say(&format!("intact: {}\nhead: {}", counted(end.0, "line"), head_text(*end)))
        }
        Ok(VerifiedRange { first, end, .. }) => edge::say(&format!(
            "intact: lines {first} to {}; earlier lines were pruned, verify them with --export\nhead: {}",
            end.0,
            head_text(*end)
        )),
        Err(broken) if as_json => output::json(&serde_json::json!({ "whole": false, "broken": broken.to_string() })),
        Err(broken @ ChainError::Pruned { .. }) => edge::say(&format!("NOT VERIFIED: {broken}")),
        Err(broken) => edge::say(&format!(
            "BROKEN: {broken}\n  help: compare with an earlier export or backup; the change was made by someone with write access to the database"
        )),
    }
}

fn export(config: &Config) -> Result<(), StartError> {
    assembly::with_reader(config, async |reader| {
        let mut after = 0;
        loop {
            let asked = reader.ask(move |store| store.audit(&AuditFilter::default(), after, PAGE)).await;
            let lines = asked.map_err(|error| assembly::database_error(config, &error))?;
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
