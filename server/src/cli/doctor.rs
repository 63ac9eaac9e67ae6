//! `ks-server doctor`: checks settings, keys, database, clock and disk, and says how to fix what is wrong. It changes nothing.

use std::{io::ErrorKind, path::Path, time::Duration};

use clap::{ArgMatches, Command};
use ks_protocol::{text::counted, time::UnixMs};
use serde::Serialize;

use super::{CommandResult, found, json, output, with_settings};
use crate::{
    assembly,
    clock::{Clock, SystemClock},
    config::{
        ArtifactPlace, Config, MISSING_HELP, ServerKeySource, conflicts, is_empty, left_without_database,
        refuse_emptied,
    },
    edge,
    failure::{DatabaseFault, StartError},
    keys::{KeyringError, KeysetState, Vault, guard},
    service::audit::verify_chain,
    store::{
        BUSY_TIMEOUT, Reader, StoreError, free_bytes, holder, refuse_lost, torn_log, unwritable, unwritable_folder,
    },
    tls::Tls,
};

/// Free space below which doctor warns, in bytes: a day of 10,000 devices at one heartbeat a minute is about 2 GB.
const DISK_FREE_BYTES_MIN: u64 = 2 * 1024 * 1024 * 1024;
/// Time between two checks of who holds the database.
const HELD_PAUSE: Duration = Duration::from_millis(50);
/// When this program was written: a clock before that is wrong.
const WRITTEN_AT: UnixMs = UnixMs(1_793_000_000_000);

pub(super) fn command() -> Command {
    let doctor = Command::new("doctor")
        .about("Check settings, keys, database, clock and disk, and say how to fix problems")
        .after_help("Exit codes: 0 no problem found (warnings aside), 1 something is wrong.")
        .arg(json());
    with_settings(doctor)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Health {
    Ok,
    Warning,
    Bad,
}

/// The result of one check.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    health: Health,
    found: String,
    /// How to fix it, if it is not ok.
    help: Option<String>,
}

fn ok(what: &'static str, found: impl Into<String>) -> Finding {
    Finding { what, health: Health::Ok, found: found.into(), help: None }
}

fn warning(what: &'static str, found: impl Into<String>, help: impl Into<String>) -> Finding {
    Finding { what, health: Health::Warning, found: found.into(), help: Some(help.into()) }
}

fn bad(what: &'static str, error: &StartError) -> Finding {
    Finding { what, health: Health::Bad, found: error.to_string(), help: Some(error.help()) }
}

pub(super) fn run(flags: &ArgMatches, config: Result<(Config, Vec<String>), Vec<StartError>>) -> CommandResult {
    let findings = match config {
        Err(errors) => errors.iter().map(|error| bad("settings", error)).collect(),
        Ok((config, doubtful)) => check(&config, &doubtful),
    };
    let shown = if flags.get_flag("json") { output::json(&findings) } else { show(&findings) };
    found(shown, findings.iter().any(|finding| finding.health == Health::Bad))
}

fn show(findings: &[Finding]) -> Result<(), StartError> {
    for finding in findings {
        let word = match finding.health {
            Health::Ok => "ok  ",
            Health::Warning => "WARN",
            Health::Bad => "BAD ",
        };
        edge::say(&format!("{word}  {:<9} {}", finding.what, finding.found))?;
        if let Some(help) = &finding.help {
            edge::say(&format!("{:16}help: {help}", ""))?;
        }
    }
    Ok(())
}

/// Whether the listener's certificate is valid, and for long enough.
fn certificate(tls: &Tls, now: UnixMs) -> Finding {
    const HELP: &str = "renew TLS_CERT_FILE; the server puts the new one into use by itself";
    let Some(validity) = tls.validity() else { return ok("tls", "the certificate and its key can be used") };
    match validity.doubt(now) {
        None => ok("tls", format!("the certificate can be used until {}", validity.until)),
        Some(doubt) if validity.holds(now) => warning("tls", doubt, HELP),
        Some(doubt) => bad("tls", &StartError::refused(doubt, HELP)),
    }
}

fn check(config: &Config, doubtful: &[String]) -> Vec<Finding> {
    let mut findings = vec![ok("settings", "all settings are valid")];
    if config.admin_token.is_some() {
        let help =
            "for daily work use users and tokens of `ks-server admin`: they expire, and the audit shows each by name";
        findings.push(warning("settings", "ADMIN_TOKEN is set: it has full access and never expires", help));
    }
    let unknown = |doubt: &String| warning("settings", doubt, "correct the name if it is meant for this program");
    findings.extend(doubtful.iter().map(unknown));
    let open_files_max = edge::open_files_max();
    let conflicts = conflicts(config, open_files_max);
    findings.extend(conflicts.into_iter().map(|conflict| warning("settings", conflict.found, conflict.help)));
    findings.push(disk(config));
    let open_files_max = open_files_max.map_or("unlimited".to_owned(), |most| most.to_string());
    findings.push(ok("limits", format!("open files: {open_files_max}")));
    let now = SystemClock.now();
    if now < WRITTEN_AT {
        let help = "set the clock (`timedatectl set-ntp true`): devices trust the server's time";
        findings.push(warning("clock", format!("it is {now}, before this program was written"), help));
    }
    match assembly::firmware_key(config) {
        Ok(None) => {}
        Ok(Some(key)) => {
            findings
                .push(ok("firmware", format!("{} signs releases, if it is in the keyset", key.public_key().key_id())));
        }
        Err(error) => findings.push(bad("firmware", &error)),
    }
    match config.tls.clone().map(Tls::load) {
        None => {}
        Some(Ok(tls)) => findings.push(certificate(&tls, now)),
        Some(Err(error)) => findings.push(bad("tls", &error.into())),
    }
    let key = assembly::signing_key(config, assembly::KeyCreation::No);
    match (&key, &config.server_key) {
        (Ok(_), ServerKeySource::Development(path)) => findings.push(warning(
            "keys",
            format!("the signing key is a development key ({})", path.display()),
            "in production use your own: `ks-server keys generate --out FILE`, then SERVER_PRIVATE_KEY_FILE=FILE",
        )),
        (Ok(key), _) => findings.push(ok("keys", format!("the settings name {}", key.public_key().key_id()))),
        (Err(_), ServerKeySource::Development(_)) => {
            findings.push(if has_devices(config) {
                bad("keys", &StartError::KeyMissing { database: config.database.clone() })
            } else {
                ok("keys", "none yet: a development key is created at the first start")
            });
        }
        (Err(error), _) => findings.push(bad("keys", error)),
    }
    if let Err(error) = refuse_lost(&config.database).and_then(|()| refuse_emptied(config)) {
        findings.push(bad("database", &error));
        return findings;
    }
    findings.extend(rights(config));
    if !config.database.exists() || is_empty(&config.database) {
        findings.push(no_database(config));
        return findings;
    }
    if let Some(holder) = held(&config.database) {
        let why = format!(
            "locked by {holder} for longer than the timeout; a server with STORE_LOCKING=exclusive keeps the database locked while it runs"
        );
        let fault = DatabaseFault::Locked;
        findings.push(bad("database", &StartError::UnusableDatabase { path: config.database.clone(), fault, why }));
        return findings;
    }
    if let Some(torn) = torn_log(&config.database) {
        let help =
            "nothing to do after a crash; if this is a copy or a backup, take another or compare it with its source";
        findings.push(warning("database", torn, help));
    }
    let checked =
        assembly::with_silent_reader(config, async |reader| Ok(check_inside(config, key.ok(), &reader, now).await));
    match checked {
        Ok(inside) => findings.extend(inside),
        Err(error) => findings.push(bad("database", &error)),
    }
    findings
}

/// There is no database, so the server would begin a new fleet here.
fn no_database(config: &Config) -> Finding {
    let path = config.database.display();
    if is_empty(&config.database) {
        let help = "the first start of the server creates a new fleet in it; if the database is elsewhere, set DATABASE_URL to it";
        return warning("database", format!("there is no database at {path}: the file is empty"), help);
    }
    if let Some(beside) = left_without_database(config) {
        let found = format!("there is no database at {path}, but a fleet's server has left {}", beside.display());
        return warning("database", found, MISSING_HELP);
    }
    let help = "the first start of the server creates it; if the database is elsewhere, set DATABASE_URL to it";
    warning("database", format!("there is no database at {path}"), help)
}

/// Files and folders that the server must write and this user may not.
fn rights(config: &Config) -> Vec<Finding> {
    let user = edge::process_user();
    let mut findings = Vec::new();
    let mut reported_folder = None;
    if let Some((place, cause)) = unwritable(&config.database) {
        let error = if cause.kind() == ErrorKind::NotADirectory {
            StartError::File { what: "create", path: config.database.clone(), cause }
        } else {
            let (path, fault) = (config.database.clone(), DatabaseFault::of_file(&cause));
            let why = format!("{user} may not write {}: {cause}", place.display());
            StartError::UnusableDatabase { path, fault, why }
        };
        findings.push(bad("database", &error));
        reported_folder = Some(place);
    }
    let artifacts = match &config.artifacts {
        ArtifactPlace::Folder(path) => Some(("firmware", path, "no firmware image can be uploaded")),
        ArtifactPlace::S3(_) => None,
    };
    let keys = Some(("keys", &config.server_keys, "no key can be announced"));
    for (what, path, so) in artifacts.into_iter().chain(keys) {
        let Some((place, cause)) = unwritable_folder(path).filter(|(place, _)| reported_folder.as_ref() != Some(place))
        else {
            continue;
        };
        if cause.kind() == ErrorKind::NotADirectory || what == "firmware" && !path.is_dir() {
            findings.push(bad(what, &StartError::File { what: "create", path: path.clone(), cause })); // fails at the start already
            continue;
        }
        let found = format!("{user} may not write to {}: {cause}; {so}", place.display());
        let help = format!("give the server's user write access (`ls -ld {}`)", place.display());
        findings.push(warning(what, found, help));
    }
    findings
}

/// Who holds the database locked for as long as a starting server would wait.
fn held(database: &Path) -> Option<String> {
    let mut last = None;
    for _ in 0..=BUSY_TIMEOUT.as_millis() / HELD_PAUSE.as_millis() {
        last = Some(holder(database)?);
        std::thread::sleep(HELD_PAUSE);
    }
    last
}

async fn check_inside(
    config: &Config,
    key: Option<ks_protocol::key::PrivateKey>,
    reader: &Reader,
    now: UnixMs,
) -> Vec<Finding> {
    let failed = |error: &StoreError| bad("database", &assembly::database_error(config, error));
    let mut findings = Vec::new();
    match reader.ask(|store| store.newest_heartbeat_at()).await {
        Err(error) => return vec![failed(&error)],
        Ok(newest) => {
            let newest_text = output::or_dash(newest);
            let found = format!("{} is intact; newest heartbeat: {newest_text}", config.database.display());
            findings.push(ok("database", found));
            if newest.is_some_and(|newest| newest.since_ms(now) > 60_000) {
                let help = "set the clock (`timedatectl set-ntp true`): it is slow now, or was fast earlier";
                findings.push(warning(
                    "clock",
                    format!("it is {now}, but the newest heartbeat is from {newest_text}"),
                    help,
                ));
            } else {
                findings.push(ok("clock", format!("it is {now}")));
            }
        }
    }
    match verify_chain(reader, Vec::new()).await {
        Err(error) => findings.push(failed(&error)),
        Ok(Ok((number, _))) => findings.push(ok("audit", format!("{}, intact", counted(number, "line")))),
        Ok(Err(broken)) => findings.push(Finding {
            what: "audit",
            health: Health::Bad,
            found: broken.to_string(),
            help: Some("compare with an earlier export or backup".to_owned()),
        }),
    }
    findings.extend(images(config, reader).await);
    if let Some(key) = key {
        findings.extend(keys(config, &Vault::in_folder(key, &config.server_keys), reader, now).await);
    }
    findings
}

/// Checks that the image of every offered release is present and intact. Reads them all.
async fn images(config: &Config, reader: &Reader) -> Vec<Finding> {
    let (mut findings, mut intact, mut after) = (Vec::new(), 0, None);
    let failed = |error: &StoreError| bad("database", &assembly::database_error(config, error));
    loop {
        let image = match reader.ask(move |store| store.offered_artifact_after(after)).await {
            Ok(Some(image)) => image,
            Ok(None) => break,
            Err(error) => return vec![failed(&error)],
        };
        after = Some(image.sha256);
        if let ArtifactPlace::Folder(folder) = &config.artifacts
            && !folder.is_dir()
        {
            let cause = ErrorKind::NotFound.into(); // it is not created here
            findings.push(bad("firmware", &StartError::File { what: "read", path: folder.clone(), cause }));
            return findings;
        }
        let artifacts = match assembly::artifacts(config) {
            Ok(artifacts) => artifacts,
            Err(error) => return vec![bad("firmware", &error)],
        };
        let fault = artifacts
            .fault(image.sha256, image.size_bytes, u64::MAX)
            .await
            .unwrap_or_else(|error| Some(error.to_string()));
        match fault.or(image.fault) {
            None => intact += 1,
            Some(fault) => findings.push(Finding {
                what: "firmware",
                health: Health::Bad,
                found: format!("the image {} {fault}", image.sha256),
                help: Some("upload the same image again, then resume its rollouts".to_owned()),
            }),
        }
    }
    if intact > 0 {
        findings.push(ok("firmware", format!("{} of offered releases, intact", counted(intact, "image"))));
    }
    findings
}

/// Whether the server can sign with the keys that the fleet knows.
async fn keys(config: &Config, vault: &Vault, reader: &Reader, now: UnixMs) -> Vec<Finding> {
    let check = async || {
        let Some(state) = KeysetState::read(reader).await? else { return Ok(Vec::new()) };
        let Some(signing) = state.signing() else { return Ok(Vec::new()) };
        let given = vault.given().public_key().key_id();
        if state.keys.iter().all(|key| key.key_id != given) {
            return Err(KeyringError::Stranger { given, signing: signing.key_id.clone() });
        }
        if vault.find(&signing.key_id)?.is_none() {
            return Err(KeyringError::NotHeld { key_id: signing.key_id.clone(), place: vault.place() });
        }
        let past = state.past(&given).map(|past| warning("keys", past, assembly::PAST_KEY_HELP));
        let and = |finding: Finding| past.into_iter().chain([finding]).collect::<Vec<_>>();
        let holders = guard::stranded(reader, &state, now).await?;
        let (version, confirmed, active) = (state.version, holders.confirmed, holders.active);
        let found = format!(
            "{} signs; keyset {version} is confirmed by {confirmed} of {}",
            signing.key_id,
            counted(active, "active device")
        );
        if let Some(first) = holders.unknown_keyset.first() {
            let found = format!("{first} and possibly others have a newer keyset than {version}, the newest one here");
            let help = "`ks-server keys status` lists them, `ks-server device investigate` explains what to do";
            return Ok(and(warning("keys", found, help)));
        }
        let left = Duration::from_millis(state.expires_at.since_ms(now));
        if left < Duration::from_hours(7 * 24) {
            let help = "start the server: it renews the keyset";
            return Ok(and(warning("keys", format!("keyset {version} expires at {}", state.expires_at), help)));
        }
        Ok(and(ok("keys", found)))
    };
    check().await.unwrap_or_else(|error| vec![bad("keys", &assembly::keys_error(config, error))])
}

/// Whether the database has devices. If it can't be read, another check reports that.
fn has_devices(config: &Config) -> bool {
    let asked = assembly::with_silent_reader(config, async |reader| {
        assembly::has_devices(&reader).await.map_err(|error| assembly::database_error(config, &error))
    });
    asked.unwrap_or(false)
}

fn disk(config: &Config) -> Finding {
    let folder = config.database.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    match free_bytes(there) {
        Ok(free) => {
            let found = format!("{} GiB free on the disk of {}", free / (1 << 30), there.display());
            if free < DISK_FREE_BYTES_MIN {
                return warning(
                    "disk",
                    found,
                    "free some space, or lower HEARTBEAT_RETENTION_DAYS and LOG_RETENTION_DAYS",
                );
            }
            ok("disk", found)
        }
        Err(error) => warning("disk", format!("{}: {error}", there.display()), "check that the folder can be read"),
    }
}
