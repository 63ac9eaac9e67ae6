//! `ks-server firmware`: signing a release offline, and the life cycle of releases.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use ks_protocol::{
    id::ReleaseId,
    manifest::MANIFEST_BYTES_MAX,
    message::UpdateClass,
    number::{COUNT_MAX, within},
    text::Sha256,
    time::UnixMs,
};
use sha2::Digest as _;

use super::{CommandResult, by, given, json, output, parent, settings, text, with_settings};
use crate::{
    artifacts::upload_name,
    assembly,
    clock::{Clock, SystemClock},
    config::Config,
    edge,
    failure::StartError,
    keys::{Keyring, Vault, vault},
    rules::{self, rollouts::Evaluation},
    service::releases::{self, Release, ReleaseError, ReleaseFields},
    store::{Actor, Reader, Writer, releases::ReleaseRefused},
};

const EXAMPLES: &str = "\
A release, signed on an offline machine:
  ks-server keys generate --out firmware-key.pem                       offline; keep it there
  ks-server keys add-firmware-key --public-key BASE64                  on the server, once
  ks-server firmware sign --key firmware-key.pem --artifact ks.img \\
      --release-id fw-1.4.0 --version 1.4.0 --counter 14 --model KS-100 > fw-1.4.0.toon     offline
  ks-server firmware add --artifact ks.img --manifest fw-1.4.0.toon    on the server
  ks-server firmware stage fw-1.4.0 && ks-server firmware activate fw-1.4.0
  ks-server rollout plan --help                                        then roll it out";

pub(super) fn command() -> Command {
    let artifact =
        || text("artifact", "FILE", "The firmware image").required(true).value_parser(value_parser!(PathBuf));
    let reason = || text("reason", "TEXT", "Why, for the audit").default_value("ordered on the command line");
    let change = |name: &'static str, about: &'static str| {
        let which = Arg::new("RELEASE_ID").required(true).value_parser(value_parser!(ReleaseId)).help("The release");
        with_settings(Command::new(name).about(about).arg(which).arg(reason()).arg(json()))
    };
    let sign =
        with_fields(Command::new("sign").about("Print a signed manifest; needs no database and no network"), true)
            .arg(artifact())
            .arg(
                text("key", "FILE", "The private key (PEM) to sign with")
                    .required(true)
                    .value_parser(value_parser!(PathBuf)),
            );
    let manifest = text("manifest", "FILE", "A manifest signed offline, instead of the fields")
        .value_parser(value_parser!(PathBuf))
        .conflicts_with_all(["release-id", "version", "counter", "model"]);
    let add = with_fields(Command::new("add").about("Upload an image and create a draft release of it"), false)
        .arg(artifact())
        .arg(manifest)
        .arg(json());
    let upload = Command::new("upload")
        .about("Upload an image without a release: to replace a damaged one, or for a release created through the admin API")
        .arg(artifact());
    parent("firmware", "Manage firmware releases: image, manifest, signature and state")
        .after_help(EXAMPLES)
        .subcommand(sign)
        .subcommand(with_settings(add))
        .subcommand(with_settings(upload))
        .subcommand(with_settings(Command::new("list").about("List all releases, oldest first").arg(json())))
        .subcommand(change("stage", "Sign a draft (unless signed offline); after that it never changes"))
        .subcommand(change("activate", "Allow rollouts of a staged release"))
        .subcommand(change("revoke", "Withdraw a release permanently and abort its rollouts"))
}

/// The fields of a release as flags.
fn with_fields(command: Command, required: bool) -> Command {
    let needed = |arg: Arg| if required { arg.required(true) } else { arg.required_unless_present("manifest") };
    command
        .arg(needed(text("release-id", "NAME", "Its ID, never used before").value_parser(value_parser!(ReleaseId))))
        .arg(needed(text("version", "VERSION", "Version to display")))
        .arg(needed(
            text("counter", "N", "Release counter, higher for each release; devices never install a lower one")
                .value_parser(within(0..=COUNT_MAX)),
        ))
        .arg(needed(text("model", "MODEL", "A supported model; can be repeated").action(ArgAction::Append)))
        .arg(text("product", "PRODUCT", "The product that it is for").default_value("ks-terminal"))
        .arg(
            text("min-counter", "N", "Lowest release counter that a device must have installed before")
                .value_parser(within(0..=COUNT_MAX)),
        )
        .arg(
            text("not-before", "TIME", "Devices must not install it earlier [default: now]")
                .value_parser(value_parser!(UnixMs)),
        )
        .arg(
            text("valid-days", "DAYS", "How many days it may be installed from then on")
                .default_value("365")
                .value_parser(within(0..=u32::MAX)),
        )
}

fn fields(flags: &ArgMatches, sha256: Sha256) -> Option<ReleaseFields> {
    Some(ReleaseFields {
        release_id: flags.get_one::<ReleaseId>("release-id")?.clone(),
        product: given(flags, "product").to_owned(),
        models: flags.get_many::<String>("model")?.cloned().collect(),
        version: given(flags, "version").to_owned(),
        release_counter: *flags.get_one::<u64>("counter")?,
        sha256,
        min_counter: flags.get_one::<u64>("min-counter").copied(),
        not_before: flags.get_one::<UnixMs>("not-before").copied(),
        valid_days: *flags.get_one::<u32>("valid-days")?,
    })
}

pub(super) fn run(name: &str, flags: &ArgMatches) -> CommandResult {
    if name == "sign" {
        return Ok(sign(flags)?);
    }
    let config = settings(flags)?;
    if name == "upload" {
        let image = assembly::with_store(&config, async |writer, _| upload(&config, flags, &writer, &by()).await)?;
        return Ok(edge::say(&image.to_string())?);
    }
    let releases = match name {
        "list" => assembly::with_reader(&config, async |reader| list(&config, &reader).await)?,
        name => assembly::with_store(&config, async |writer, reader| match name {
            "add" => add(&config, flags, &writer, &reader).await.map(|release| vec![release]),
            _ => change(&config, name, flags, &writer, &reader).await.map(|release| vec![release]),
        })?,
    };
    if flags.get_flag("json") {
        output::json(&releases)?;
    } else {
        let row = |release: &Release| {
            let [id, version, state] =
                [release.release_id.to_string(), release.version.clone(), release.state.as_str().to_owned()];
            let signed = if release.signed { format!("by {}", release.key_id) } else { "no".to_owned() };
            vec![id, version, release.release_counter.to_string(), state, release.models.join(","), signed]
        };
        let rows: Vec<_> = releases.iter().map(row).collect();
        output::table(&["release", "version", "counter", "state", "models", "signed"], &rows)?;
    }
    Ok(())
}

/// Hash and length of a file.
fn measured(path: &Path) -> Result<(Sha256, u64), StartError> {
    let unreadable = |cause| StartError::File { what: "read", path: path.to_owned(), cause };
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let (mut hash, mut piece, mut bytes) = (sha2::Sha256::new(), vec![0; 1 << 20], 0);
    loop {
        let length = file.read(&mut piece).map_err(unreadable)?;
        let Some(read) = piece.get(..length).filter(|read| !read.is_empty()) else { break };
        hash.update(read);
        bytes += u64::try_from(length).unwrap_or(u64::MAX);
    }
    Ok((Sha256(hash.finalize().into()), bytes))
}

fn artifact_of(flags: &ArgMatches) -> PathBuf {
    flags.get_one::<PathBuf>("artifact").cloned().unwrap_or_default() // clap demands it
}

fn sign(flags: &ArgMatches) -> Result<(), StartError> {
    let (sha256, size_bytes) = measured(&artifact_of(flags))?;
    let key = vault::read_key(&flags.get_one::<PathBuf>("key").cloned().unwrap_or_default())?;
    let Some(fields) = fields(flags, sha256) else { return Ok(()) }; // clap demands them
    let signed = fields.signed(size_bytes, &key, SystemClock.now());
    edge::say(&signed.map_err(|error| StartError::refused(error.to_string(), help(&error)))?)
}

fn refused(config: &Config, error: ReleaseError) -> StartError {
    match error {
        ReleaseError::Keys(error) => assembly::keys_error(config, error),
        ReleaseError::Store(error) => assembly::database_error(config, &error),
        other => StartError::refused(other.to_string(), help(&other)),
    }
}

/// The help for a release that can't be created or changed.
fn help(error: &ReleaseError) -> &'static str {
    match error {
        ReleaseError::Field(_) => "`ks-server firmware add --help` describes each field",
        ReleaseError::Manifest(UpdateClass::Freeze) => {
            "sign a manifest with a longer validity (`ks-server firmware sign --valid-days`), and add it as another release"
        }
        ReleaseError::Manifest(_) => {
            "sign the manifest (`ks-server firmware sign`) with a key that `ks-server keys status` shows, and add it again"
        }
        ReleaseError::Broken(_) | ReleaseError::Size { .. } | ReleaseError::Refused(ReleaseRefused::NoArtifact(_)) => {
            "upload the image of the manifest with `ks-server firmware upload --artifact FILE`, and run this again"
        }
        ReleaseError::Unreadable(_) => {
            "check that ARTIFACTS_DIR, or the bucket of ARTIFACTS_S3_BUCKET, is the server's and can be read"
        }
        ReleaseError::Refused(_) | ReleaseError::Keys(_) | ReleaseError::Store(_) => {
            "`ks-server firmware list` shows the releases and their states"
        }
    }
}

/// The server's keys, for signing and verifying.
async fn keyring(config: &Config, writer: &Writer, reader: &Reader, by: &Actor) -> Result<Keyring, StartError> {
    let vault = Vault::in_folder(assembly::signing_key(config, assembly::KeyCreation::No)?, &config.server_keys);
    let keyring =
        Keyring::start(vault, writer, reader, by).await.map_err(|error| assembly::keys_error(config, error))?;
    Ok(keyring.with_firmware_key(assembly::firmware_key(config)?))
}

async fn release(config: &Config, reader: &Reader, release_id: &ReleaseId) -> Result<Release, StartError> {
    let wanted = release_id.clone();
    let found = reader.ask(move |store| store.release(&wanted)).await;
    let found = found.map_err(|error| assembly::database_error(config, &error))?;
    found.and_then(Release::of).ok_or_else(|| {
        StartError::refused(format!("there is no release {release_id}"), "`ks-server firmware list` shows them")
    })
}

async fn list(config: &Config, reader: &Reader) -> Result<Vec<Release>, StartError> {
    let found = reader.ask(|store| store.releases(0, usize::MAX)).await;
    let found = found.map_err(|error| assembly::database_error(config, &error))?;
    Ok(found.into_iter().filter_map(Release::of).collect())
}

/// Stores an image; returns its hash.
async fn upload(config: &Config, flags: &ArgMatches, writer: &Writer, by: &Actor) -> Result<Sha256, StartError> {
    let path = artifact_of(flags);
    let unreadable = |cause| StartError::File { what: "read", path: path.clone(), cause };
    let image = std::fs::read(&path).map_err(unreadable)?;
    let uploaded =
        assembly::artifacts(config)?.upload(axum::body::Body::from(image), &upload_name(edge::os_randomness()?)).await;
    let (sha256, size_bytes) = uploaded.map_err(|error| {
        StartError::refused(
            error.to_string(),
            "give an image within ARTIFACT_BYTES_MAX, and check that ARTIFACTS_DIR is writable",
        )
    })?;
    let kept = by.clone();
    let kept = writer.write(move |store| rules::releases::keep_artifact(store, sha256, size_bytes, &kept)).await;
    kept.map(|()| sha256).map_err(|error| assembly::database_error(config, &error))
}

async fn add(config: &Config, flags: &ArgMatches, writer: &Writer, reader: &Reader) -> Result<Release, StartError> {
    let by = by();
    let keyring = keyring(config, writer, reader, &by).await?;
    let sha256 = upload(config, flags, writer, &by).await?;
    let drafted = match flags.get_one::<PathBuf>("manifest") {
        Some(manifest) => {
            let signed = read_manifest(manifest)?;
            releases::draft_signed(&signed, &keyring, writer, &by).await
        }
        None => match fields(flags, sha256) {
            Some(fields) => releases::draft(&fields, &keyring, writer, reader, &by).await,
            None => Err(ReleaseError::Field("release-id, version, counter and model: expected".to_owned())),
        },
    };
    let release_id = drafted.map_err(|error| refused(config, error))?;
    release(config, reader, &release_id).await
}

/// A manifest from a file.
fn read_manifest(path: &Path) -> Result<String, StartError> {
    let unreadable = |cause| StartError::File { what: "read", path: path.to_owned(), cause };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(MANIFEST_BYTES_MAX as u64 + 2).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

async fn change(
    config: &Config,
    name: &str,
    flags: &ArgMatches,
    writer: &Writer,
    reader: &Reader,
) -> Result<Release, StartError> {
    let Some(release_id) = flags.get_one::<ReleaseId>("RELEASE_ID") else {
        return Err(StartError::refused("no release is given".to_owned(), "give its ID")); // clap demands it
    };
    let (by, reason) = (by(), given(flags, "reason"));
    let changed = if name == "revoke" {
        let with = evaluation(config)?;
        releases::revoke(release_id, writer, reason, &by, with).await
    } else {
        let keyring = keyring(config, writer, reader, &by).await?;
        let wanted = release_id.clone();
        let found = reader.ask(move |store| store.release(&wanted)).await;
        let found = found.map_err(|error| assembly::database_error(config, &error))?.ok_or_else(|| {
            StartError::refused(format!("there is no release {release_id}"), "`ks-server firmware list` shows them")
        })?;
        match name {
            "stage" => releases::stage(&found, &keyring, writer, reader, reason, &by).await,
            _ => releases::activate(&found, &keyring, &assembly::artifacts(config)?, writer, reason, &by).await,
        }
    };
    changed.map_err(|error| refused(config, error))?;
    release(config, reader, release_id).await
}

/// What evaluating a rollout needs apart from the store.
pub(super) fn evaluation(config: &Config) -> Result<Evaluation, StartError> {
    Ok(Evaluation {
        at: SystemClock.now(),
        heartbeat_interval_ms: crate::clock::ms(config.heartbeat_interval),
        seed: edge::os_randomness()?,
    })
}
