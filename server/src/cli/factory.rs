//! `ks-server factory`: provisioning devices directly in the database; a server may be running.

use std::{io::Write as _, path::PathBuf, time::Duration};

use clap::{Arg, ArgMatches, Command, value_parser};
use ks_protocol::{
    duration,
    id::DeviceId,
    key::{PrivateKey, PublicKey},
    number::within,
    text::{counted, printable},
};

use super::{CommandResult, by, given, json, output, parent, settings, text, with_settings};
use crate::{
    assembly,
    config::Config,
    edge,
    failure::StartError,
    keys::vault,
    rng::ServerRng,
    rules,
    service::{
        bulk::{self, StopReason},
        csv::Separator,
        inventory::{self, Inventory},
        names,
        otrts::otrts,
    },
    store::{
        Actor, StoreError, Transaction,
        devices::{ImportProblem, Imported, NewDevice, NewOtrts, Selector},
    },
};

/// Devices read from the store at a time.
const PAGE: usize = 2_000;

/// Time to live of a one-time token.
const OTRT_TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 3_650);

pub(super) fn command() -> Command {
    let number = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).default_value(default).value_parser(within(1..=100_000_u32)).help(help)
    };
    let file = |help: &'static str| Arg::new("FILE").value_parser(value_parser!(PathBuf)).help(help);
    let device = || text("device", "DEVICE_ID", "Valid for this device only").value_parser(value_parser!(DeviceId));
    let enroll = Command::new("enroll")
        .about("Whitelist one device, with the key that it generated or with a new key generated here")
        .after_help("Examples:\n  ks-server factory enroll KS-42 --public-key 'BASE64' --serial S42 --manufacturer Acme --model KS-100 --site north\n  ks-server factory enroll KS-42 --key-out ks-42.pem --serial S42 --manufacturer Acme --model KS-100 --site north")
        .arg(Arg::new("DEVICE_ID").required(true).value_parser(value_parser!(DeviceId)).help("The device's ID"))
        .arg(text("public-key", "BASE64", "The public key that the device generated").conflicts_with("key-out"))
        .arg(
            text("key-out", "FILE", "Generate a key and write the private key to this file (mode 0600), to install on the device")
                .value_parser(value_parser!(PathBuf))
                .required_unless_present("public-key"),
        )
        .args([
            ("serial", "The device's serial number"),
            ("manufacturer", "The device's manufacturer"),
            ("model", "The device's model"),
            ("site", "The site where it is installed"),
        ].map(|(name, help)| text(name, "TEXT", help).required(true)));
    parent("factory", "Provision devices, directly in the database")
        .subcommand(with_settings(enroll.arg(json())))
        .subcommand(with_settings(
            Command::new("import")
                .about("Whitelist all devices of an inventory file, or none if a row is invalid")
                .arg(file("CSV with the columns serial,device_id,public_key,manufacturer,model,site").required(true))
                .arg(json()),
        ))
        .subcommand(with_settings(
            Command::new("export")
                .about("Export the whitelisted devices as CSV")
                .arg(file("Write to this file [default: standard output]"))
                .arg(text("model", "MODEL", "Only devices of this model"))
                .arg(text("site", "SITE", "Only devices at this site")),
        ))
        .subcommand(with_settings(
            Command::new("make-otrt")
                .about("Create one-time registration tokens; each is shown only once")
                .after_help("Example:\n  ks-server factory make-otrt --count 10 --model KS-100 --ttl 48h")
                .arg(number("count", "1", "Number of tokens"))
                .arg(
                    text("ttl", "TIME", "Time to live, such as 30m, 24h or 7d")
                        .default_value("24h")
                        .value_parser(duration::within(OTRT_TTL)),
                )
                .arg(device())
                .arg(text("model", "MODEL", "Valid for devices of this model only"))
                .arg(json()),
        ))
}

pub(super) fn run(name: &str, flags: &ArgMatches) -> CommandResult {
    let config = settings(flags)?;
    match name {
        "enroll" => enroll(&config, flags)?,
        "import" => import(&config, flags)?,
        "export" => export(&config, flags)?,
        _ => make_otrts(&config, flags)?,
    }
    Ok(())
}

/// Writes to the database; a server may be running.
fn write<T: Send + 'static>(
    config: &Config,
    what: impl Fn(&mut dyn Transaction) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StartError> {
    assembly::with_store(config, async |writer, _| {
        writer.write(what).await.map_err(|error| assembly::database_error(config, &error))
    })
}

/// The error of an inventory with invalid rows.
fn invalid(path: PathBuf, problems: &[ImportProblem]) -> StartError {
    let line =
        |problem: &ImportProblem| format!("\n  line {}, {}: {}", problem.line, problem.field, printable(&problem.what));
    let lines = problems.iter().map(line).collect::<String>();
    StartError::InvalidInventory { path, problems: format!("{}{lines}", inventory::error_count(problems.len())) }
}

fn say(done: Imported, flags: &ArgMatches) -> Result<(), StartError> {
    let Imported { added, unchanged, revoked } = done;
    if flags.get_flag("json") {
        return output::json(&serde_json::json!({ "added": added, "unchanged": unchanged, "revoked": revoked }));
    }
    edge::say(&format!("{} whitelisted, {unchanged} already whitelisted", counted(added, "device")))?;
    if revoked > 0 {
        edge::say(&format!("{revoked} of them are revoked and stay revoked: provision them again with a new key"))?;
    }
    Ok(())
}

fn import(config: &Config, flags: &ArgMatches) -> Result<(), StartError> {
    let path = flags.get_one::<PathBuf>("FILE").cloned().unwrap_or_default();
    let csv = std::fs::read(&path).map_err(|cause| StartError::File { what: "read", path: path.clone(), cause })?;
    let Inventory { devices, warnings } =
        inventory::parse(&csv).map_err(|problems| invalid(path.clone(), &problems))?;
    for ImportProblem { line, field, what } in &warnings {
        edge::complain(&format!("warning: line {line}, {field}: {what}"));
    }
    say(import_all(config, path, devices)?, flags)
}

/// Imports in batches, between which a running server can write.
fn import_all(config: &Config, path: PathBuf, devices: Vec<NewDevice>) -> Result<Imported, StartError> {
    let by = by();
    assembly::with_store(config, async |writer, reader| {
        let imported = bulk::import(&writer, &reader, devices, &by, bulk::PAUSE_FOR_SERVER).await;
        imported.map_err(|stopped| {
            if let Some(stays) = stopped.partial_import() {
                edge::complain(&stays);
            }
            match stopped.why {
                StopReason::Rows(problems) => invalid(path, &problems),
                StopReason::Store(error) => assembly::database_error(config, &error),
            }
        })
    })
}

fn enroll(config: &Config, flags: &ArgMatches) -> Result<(), StartError> {
    let wrong = |name: &str, given: &str, expected: &str| {
        StartError::refused(format!("{name} can't be `{given}`"), format!("give {expected}"))
    };
    let key_out = flags.get_one::<PathBuf>("key-out");
    let made = match key_out {
        Some(_) => Some(PrivateKey::from_seed(&edge::os_randomness()?)),
        None => None,
    };
    let public_key = if let Some(key) = &made {
        key.public_key()
    } else {
        let text = given(flags, "public-key");
        PublicKey::from_base64(text)
            .map_err(|error| wrong("--public-key", text, error.to_string().trim_start_matches("expected ")))?
    };
    let Some(device_id) = flags.get_one::<DeviceId>("DEVICE_ID").cloned() else { return Ok(()) }; // clap demands it
    names::check(device_id.as_str(), &names::RESERVED_DEVICE_IDS)
        .map_err(|_| wrong("DEVICE_ID", device_id.as_str(), "an ID that is not reserved in the paths of the API"))?;
    let [serial, manufacturer, model, site] =
        ["serial", "manufacturer", "model", "site"].map(|name| given(flags, name).to_owned());
    for (name, text) in
        [("--serial", &serial), ("--manufacturer", &manufacturer), ("--model", &model), ("--site", &site)]
    {
        if !inventory::is_field(text) {
            return Err(wrong(name, text, inventory::FIELD));
        }
    }
    if let (Some(path), Some(key)) = (key_out, &made) {
        vault::write_key(path, key)?;
    }
    let device = NewDevice { line: 1, device_id, public_key, serial, manufacturer, model, site };
    let done = import_all(config, PathBuf::from("the device"), vec![device]);
    if done.is_err()
        && let Some(path) = key_out
    {
        let _ = std::fs::remove_file(path); // created a moment ago, for a device that was not added
    }
    say(done?, flags)
}

fn export(config: &Config, flags: &ArgMatches) -> Result<(), StartError> {
    let which = Selector {
        model: flags.get_one::<String>("model").cloned(),
        site: flags.get_one::<String>("site").cloned(),
        ..Selector::default()
    };
    let path = flags.get_one::<PathBuf>("FILE");
    assembly::with_reader(config, async |reader| {
        let refused = |cause| StartError::File { what: "write", path: path.cloned().unwrap_or_default(), cause };
        let file = path.map(std::fs::File::create).transpose().map_err(refused)?;
        let write = |bytes: &[u8]| match &file {
            Some(file) => { file }.write_all(bytes).map_err(refused),
            None => edge::print(bytes),
        };
        write(&inventory::header(Separator::Comma))?;
        let mut after = 0;
        loop {
            let which = which.clone();
            let asked = reader.ask(move |store| store.devices(&which, after, PAGE)).await;
            let devices = asked.map_err(|error| assembly::database_error(config, &error))?;
            let Some(last) = devices.last() else { return Ok(()) };
            after = last.row;
            write(&inventory::rows(&devices, Separator::Comma))?;
        }
    })
}

fn make_otrts(config: &Config, flags: &ArgMatches) -> Result<(), StartError> {
    let rng = ServerRng::from_seed(edge::os_randomness()?);
    let count = flags.get_one::<u32>("count").copied().unwrap_or(1);
    let ttl = flags.get_one::<Duration>("ttl").copied().unwrap_or_default();
    let by = by();
    let expires_at = by.at + ttl;
    let (device_id, model) = (flags.get_one::<DeviceId>("device").cloned(), flags.get_one::<String>("model").cloned());
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let (tokens, otrts) = otrts(&rng, count, expires_at, device_id.clone(), model);
    let (made, author) = (otrts.tokens_sha256.clone(), by.clone());
    let is_known = add_otrts(config, &otrts, &author).and_then(|()| known(config, device_id))?;
    let shown = if flags.get_flag("json") {
        edge::say_secret(&output::as_json(&serde_json::json!({ "tokens": tokens, "expires_at": expires_at })))
    } else {
        edge::say_secret(&tokens.join("\n"))
    };
    if let Err(not_shown) = shown {
        write(config, move |store| rules::devices::revoke_otrts(store, &made, &by))?;
        return Err(output::tokens_not_shown(not_shown));
    }
    if !is_known {
        edge::complain("note: this device is not whitelisted yet; the token becomes usable when it is");
    }
    Ok(())
}

fn add_otrts(config: &Config, otrts: &NewOtrts, by: &Actor) -> Result<(), StartError> {
    assembly::with_store(config, async |writer, _| {
        let added = bulk::add_otrts(&writer, otrts, by, bulk::PAUSE_FOR_SERVER).await;
        added.map_err(|error| assembly::database_error(config, &error))
    })
}

/// Whether a device is whitelisted; true without one.
fn known(config: &Config, device_id: Option<DeviceId>) -> Result<bool, StartError> {
    let Some(device_id) = device_id else { return Ok(true) };
    assembly::with_reader(config, async |reader| {
        let found = reader.ask(move |store| store.auth_record(&device_id)).await;
        found.map(|found| found.is_some()).map_err(|error| assembly::database_error(config, &error))
    })
}
