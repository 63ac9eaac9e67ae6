//! `ks-server keys`: generating a key, and the life cycle of the server's keys.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use ks_protocol::{
    id::{DeviceId, KeyId},
    key::{InvalidKey, PrivateKey, PublicKey},
    text::counted,
};

use super::{CommandResult, by, given, json, output, parent, settings, text, with_settings};
use crate::{
    assembly,
    clock::{Clock, SystemClock},
    config::{Config, is_empty},
    edge,
    failure::StartError,
    keys::{KeyOrder, KeyringError, KeysetState, Vault, guard, publish, vault},
    service::keys::{KeysStatus, check_open_rollouts, check_stranding},
    store::{Reader, Writer, keysets::ServerKeyStatus},
};

pub(super) fn command() -> Command {
    let reason = || text("reason", "TEXT", "Why, for the audit").default_value("ordered on the command line");
    let force = || {
        Arg::new("force")
            .long("force")
            .action(ArgAction::SetTrue)
            .help("Even if this strands more devices than KEYS_STRANDED_MAX_BP allows")
    };
    let change = |name: &'static str, about: &'static str| Command::new(name).about(about).arg(reason()).arg(json());
    let generate = Command::new("generate").about("Generate a private key (PKCS#8 PEM)").arg(
        text("out", "FILE", "Write to this new file with mode 0600 [default: standard output]")
            .value_parser(value_parser!(PathBuf)),
    );
    let export = Command::new("export-pubkey")
        .about("Print the public key of the server key in the settings")
        .arg(text("format", "FORMAT", "Output format").value_parser(["pem", "base64", "key-id"]).default_value("pem"));
    let announce = change("announce", "Publish a new key; the old one keeps signing until you activate the new one")
        .arg(
            text("key", "FILE", "The new private key (PEM) [default: generate one in SERVER_KEYS_DIR]")
                .value_parser(value_parser!(PathBuf)),
        );
    let revoke = change("revoke", "Revoke a compromised key immediately; the announced key takes its place")
        .arg(Arg::new("KEY_ID").required(true).value_parser(value_parser!(KeyId)).help("The key"));
    let add_firmware = change(
        "add-firmware-key",
        "Publish a key that only signs firmware; from then on devices accept no other key's FW_SIG",
    )
    .arg(
        text(
            "public-key",
            "BASE64",
            "The public key, as printed by `keys generate --out` and `keys export-pubkey --format base64`",
        )
        .required(true)
        .value_parser(PublicKey::from_base64),
    )
    .arg(
        Arg::new("force")
            .long("force")
            .action(ArgAction::SetTrue)
            .help("Even if devices would then reject a release that is being rolled out"),
    );
    parent("keys", "Rotate the server's signing keys")
        .after_help("A rotation, step by step:\n  ks-server keys announce      devices fetch the new keyset with their next heartbeats\n  ks-server keys status        repeat until no device would be stranded\n  ks-server keys activate      the new key signs; the old one is still trusted\n  ks-server keys retire        the old one is no longer trusted")
        .subcommand(generate)
        .subcommand(with_settings(export))
        .subcommand(with_settings(Command::new("status").about("Show the keys, and how many devices have them").arg(json())))
        .subcommand(with_settings(announce))
        .subcommand(with_settings(change("activate", "Sign with the announced key").arg(force())))
        .subcommand(with_settings(change("retire", "Remove the retired keys: devices no longer trust them").arg(force())))
        .subcommand(with_settings(revoke))
        .subcommand(with_settings(add_firmware))
}

pub(super) fn run(name: &str, flags: &ArgMatches) -> CommandResult {
    if name == "generate" {
        return Ok(generate(flags.get_one::<PathBuf>("out"))?);
    }
    let config = settings(flags)?;
    if name == "export-pubkey" {
        return Ok(export_public_key(&config, given(flags, "format"))?);
    }
    let bad = |error| assembly::keys_error(&config, error);
    let now = if name == "status" {
        assembly::with_reader(&config, async |reader| status(&config, &reader).await.map_err(bad))?
    } else {
        assembly::with_store(&config, async |writer, reader| {
            change(name, flags, &config, &writer, &reader).await.map_err(bad)?;
            status(&config, &reader).await.map_err(bad)
        })?
    };
    if flags.get_flag("json") {
        output::json(&now)?;
    } else {
        show(&now)?;
    }
    for path in left(&config, &now) {
        edge::complain(&format!(
            "note: the private key of a removed key is still in {path}: delete it when no backup that you may restore needs it"
        ));
    }
    Ok(())
}

/// Where private keys of removed keys still are.
fn left(config: &Config, now: &KeysStatus) -> Vec<String> {
    let Ok(given) = assembly::signing_key(config, assembly::KeyCreation::No) else { return Vec::new() }; // a command that only reads may run without it
    let given_id = given.public_key().key_id();
    let vault = Vault::in_folder(given, &config.server_keys);
    let removed = now.keys.iter().filter(|key| key.status == ServerKeyStatus::Removed);
    let held = removed.filter(|key| !matches!(vault.find(&key.key_id), Ok(None)));
    let place = |key_id: &KeyId| {
        if *key_id == given_id { "the settings' key".to_owned() } else { format!("{} ({key_id})", vault.place()) }
    };
    held.map(|key| place(&key.key_id)).collect()
}

async fn newest(config: &Config, reader: &Reader) -> Result<KeysetState, KeyringError> {
    KeysetState::read(reader).await?.ok_or_else(|| {
        let why = format!("{} has no keyset yet", config.database.display());
        KeyringError::Vault(StartError::refused(why, "start the server once: it publishes the first keyset"))
    })
}

/// The keys as they are now.
async fn status(config: &Config, reader: &Reader) -> Result<KeysStatus, KeyringError> {
    let state = newest(config, reader).await?;
    let holders = guard::stranded(reader, &state, SystemClock.now()).await?;
    Ok(KeysStatus::of(state, holders, config.keys_stranded_max_bp))
}

/// Runs a command that changes the keys.
async fn change(
    name: &str,
    flags: &ArgMatches,
    config: &Config,
    writer: &Writer,
    reader: &Reader,
) -> Result<(), KeyringError> {
    let by = by();
    let vault = Vault::in_folder(assembly::signing_key(config, assembly::KeyCreation::No)?, &config.server_keys);
    let why = given(flags, "reason");
    let order = match name {
        "announce" => {
            let key = match flags.get_one::<PathBuf>("key") {
                Some(path) => vault::read_key(path)?,
                None => PrivateKey::from_seed(&edge::os_randomness()?),
            };
            publish::announce(&vault, &newest(config, reader).await?, &key, why, writer, &by).await?;
            None
        }
        "revoke" => match flags.get_one::<KeyId>("KEY_ID") {
            Some(key_id) => Some(KeyOrder::Revoke(key_id.clone())),
            None => return Err(KeyringError::Raced), // clap demands it
        },
        "add-firmware-key" => flags.get_one::<PublicKey>("public-key").copied().map(KeyOrder::AddFirmware),
        "activate" => Some(KeyOrder::Activate),
        _ => Some(KeyOrder::Retire),
    };
    if let Some(order) = order {
        if matches!(order, KeyOrder::Activate | KeyOrder::Retire) && !flags.get_flag("force") {
            check_stranding(reader, &order, by.at, config.keys_stranded_max_bp).await?;
        }
        if matches!(order, KeyOrder::AddFirmware(_)) && !flags.get_flag("force") {
            check_open_rollouts(reader, &order, by.at).await?;
        }
        publish::order(&vault, &order, why, writer, reader, &by).await?;
    }
    Ok(())
}

fn show(status: &KeysStatus) -> Result<(), StartError> {
    let row = |key: &crate::service::keys::ServerKey| vec![key.key_id.to_string(), key.status.as_str().to_owned()];
    output::table(&["key", "status"], &status.keys.iter().map(row).collect::<Vec<_>>())?;
    edge::say(&format!(
        "\nkeyset {}, valid until {}\nconfirmed by {} of {}; activating or retiring a key now would strand {}",
        status.keyset_version,
        status.expires_at,
        status.confirmed_devices,
        counted(status.active_devices, "active device"),
        status.stranded_devices
    ))?;
    if status.unknown_keyset_devices.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = status.unknown_keyset_devices.iter().map(DeviceId::as_str).collect();
    edge::say(&format!(
        "devices with a keyset that this server never published (see `ks-server device investigate`): {}",
        names.join(", ")
    ))
}

fn generate(out: Option<&PathBuf>) -> Result<(), StartError> {
    let key = PrivateKey::from_seed(&edge::os_randomness()?);
    match out {
        Some(path) => {
            vault::write_key(path, &key)?;
            let public = key.public_key();
            edge::say(&format!(
                "private key {} written to {} (mode 0600)\npublic key: {public}",
                public.key_id(),
                path.display()
            ))
        }
        None => edge::say_secret(key.to_pem().map_err(|error| bad_key("the new key", &error))?.trim_end()),
    }
}

fn bad_key(place: &str, error: &InvalidKey) -> StartError {
    StartError::InvalidKey { place: place.to_owned(), why: error.to_string() }
}

fn export_public_key(config: &Config, format: &str) -> Result<(), StartError> {
    let key = assembly::signing_key(config, assembly::KeyCreation::No)?;
    // The factory runs this: a retired key must not be installed on new devices.
    if config.database.exists() && !is_empty(&config.database) {
        let given = key.public_key().key_id();
        let past = assembly::with_silent_reader(config, async |reader| {
            let state = KeysetState::read(&reader).await.map_err(|error| assembly::keys_error(config, error))?;
            Ok(state.and_then(|state| state.past(&given)))
        })?;
        if let Some(past) = past {
            return Err(StartError::refused(past, assembly::PAST_KEY_HELP));
        }
    }
    edge::say(&match format {
        "base64" => key.public_key().to_string(),
        "key-id" => key.public_key().key_id().to_string(),
        _ => key.public_pem().map_err(|error| bad_key("the server's key", &error))?.trim_end().to_owned(),
    })
}
