//! `ks-server firmware`: signing a release offline, and the life of releases.

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

use super::{Ended, by, given, json, output, parent, settings, text, with_settings};
use crate::{
    artifacts::upload_name,
    assembly,
    clock::{Clock, SystemClock},
    config::Config,
    edge,
    failure::StartError,
    keys::{Keyring, Vault, vault},
    rules::{self, rollouts::Look},
    service::releases::{self, Release, ReleaseError, ReleaseFields},
    store::{By, Reader, Writer, releases::ReleaseRefused},
};

const WAY: &str = "\
A release, signed on a machine without a network:
  ks-server keys generate --out firmware-key.pem                       there; keep it there
  ks-server keys add-firmware-key --public-key BASE64                  here, once
  ks-server firmware sign --key firmware-key.pem --artifact ks.img \\
      --release-id fw-1.4.0 --version 1.4.0 --counter 14 --model KS-100 > fw-1.4.0.toon     there
  ks-server firmware add --artifact ks.img --manifest fw-1.4.0.toon    here
  ks-server firmware stage fw-1.4.0 && ks-server firmware activate fw-1.4.0
  ks-server rollout plan --help                                        then roll it out";

pub(super) fn command() -> Command {
    let artifact =
        || text("artifact", "FILE", "The firmware image").required(true).value_parser(value_parser!(PathBuf));
    let reason = || text("reason", "TEXT", "Why, for the audit").default_value("ordered on the command line");
    let change = |name: &'static str, about: &'static str| {
        let which = Arg::new("RELEASE_ID").required(true).value_parser(value_parser!(ReleaseId)).help("Which");
        with_settings(Command::new(name).about(about).arg(which).arg(reason()).arg(json()))
    };
    let sign =
        with_fields(Command::new("sign").about("Print a signed manifest; needs no database and no network"), true)
            .arg(artifact())
            .arg(
                text("key", "FILE", "The private key (PEM) that signs")
                    .required(true)
                    .value_parser(value_parser!(PathBuf)),
            );
    let manifest = text("manifest", "FILE", "A manifest that was signed offline; in place of the fields")
        .value_parser(value_parser!(PathBuf))
        .conflicts_with_all(["release-id", "version", "counter", "model"]);
    let add = with_fields(Command::new("add").about("Keep an image, and draft a release of it"), false)
        .arg(artifact())
        .arg(manifest)
        .arg(json());
    let upload = Command::new("upload")
        .about("Keep an image without a release: to put a broken one back, or for a release of the admin API")
        .arg(artifact());
    parent("firmware", "Releases: image, manifest, signature, and where each is in its life")
        .after_help(WAY)
        .subcommand(sign)
        .subcommand(with_settings(add))
        .subcommand(with_settings(upload))
        .subcommand(with_settings(Command::new("list").about("Every release, the oldest first").arg(json())))
        .subcommand(change("stage", "Sign a draft, unless it was; from here on it never changes"))
        .subcommand(change("activate", "Let rollouts offer a staged release"))
        .subcommand(change("revoke", "Take a release back for good, and abort its rollouts"))
}

/// The fields of a release as flags.
fn with_fields(command: Command, required: bool) -> Command {
    let needed = |arg: Arg| if required { arg.required(true) } else { arg.required_unless_present("manifest") };
    command
        .arg(needed(
            text("release-id", "NAME", "Its name, never used for another").value_parser(value_parser!(ReleaseId)),
        ))
        .arg(needed(text("version", "VERSION", "Version, for people")))
        .arg(needed(
            text("counter", "N", "Grows with each release; devices never go back").value_parser(within(0..=COUNT_MAX)),
        ))
        .arg(needed(text("model", "MODEL", "A model that it is for; may be given again").action(ArgAction::Append)))
        .arg(text("product", "PRODUCT", "What kind of product it is for").default_value("ks-terminal"))
        .arg(
            text("min-counter", "N", "The least counter that must be installed before")
                .value_parser(within(0..=COUNT_MAX)),
        )
        .arg(
            text("not-before", "TIME", "Not to be installed before [default: now]").value_parser(value_parser!(UnixMs)),
        )
        .arg(
            text("valid-days", "DAYS", "How long it may be installed from then on")
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

pub(super) fn run(name: &str, flags: &ArgMatches) -> Ended {
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
    edge::say(&signed.map_err(|error| StartError::Refused(error.to_string(), remedy(&error)))?)
}

fn refused(config: &Config, error: ReleaseError) -> StartError {
    match error {
        ReleaseError::Keys(error) => assembly::bad_keys(config, error),
        ReleaseError::Store(error) => assembly::bad_database(config, &error),
        other => StartError::Refused(other.to_string(), remedy(&other)),
    }
}

/// What to do about a release that can't be made or go on.
fn remedy(error: &ReleaseError) -> &'static str {
    match error {
        ReleaseError::Field(_) => "`ks-server firmware add --help` says what a field may be",
        ReleaseError::Manifest(UpdateClass::Freeze) => {
            "sign a manifest that is good for longer (`ks-server firmware sign --valid-days`), and add it as another release"
        }
        ReleaseError::Manifest(_) => {
            "sign the manifest (`ks-server firmware sign`) with a key that `ks-server keys status` shows, and add it again"
        }
        ReleaseError::Broken(_) | ReleaseError::Size { .. } | ReleaseError::Refused(ReleaseRefused::NoArtifact(_)) => {
            "put the very image of the manifest there, `ks-server firmware upload --artifact FILE`, and run this again"
        }
        ReleaseError::Unreadable(_) => {
            "see that ARTIFACTS_DIR, or the bucket of ARTIFACTS_S3_BUCKET, is the server's and can be read"
        }
        ReleaseError::Refused(_) | ReleaseError::Keys(_) | ReleaseError::Store(_) => {
            "`ks-server firmware list` shows the releases, and where each is in its life"
        }
    }
}

/// The server's keys, for signing and for believing.
async fn keyring(config: &Config, writer: &Writer, reader: &Reader, by: &By) -> Result<Keyring, StartError> {
    let vault = Vault::in_folder(assembly::signing_key(config, assembly::MayMake::No)?, &config.server_keys);
    let keyring = Keyring::start(vault, writer, reader, by).await.map_err(|error| assembly::bad_keys(config, error))?;
    Ok(keyring.with_firmware_key(assembly::firmware_key(config)?))
}

async fn shown(config: &Config, reader: &Reader, release_id: &ReleaseId) -> Result<Release, StartError> {
    let wanted = release_id.clone();
    let found = reader.ask(move |store| store.release(&wanted)).await;
    let found = found.map_err(|error| assembly::bad_database(config, &error))?;
    found.and_then(Release::of).ok_or_else(|| {
        StartError::Refused(format!("there is no release {release_id}"), "`ks-server firmware list` shows them")
    })
}

async fn list(config: &Config, reader: &Reader) -> Result<Vec<Release>, StartError> {
    let found = reader.ask(|store| store.releases(0, usize::MAX)).await;
    let found = found.map_err(|error| assembly::bad_database(config, &error))?;
    Ok(found.into_iter().filter_map(Release::of).collect())
}

/// Keeps an image; gives its hash.
async fn upload(config: &Config, flags: &ArgMatches, writer: &Writer, by: &By) -> Result<Sha256, StartError> {
    let path = artifact_of(flags);
    let unreadable = |cause| StartError::File { what: "read", path: path.clone(), cause };
    let image = std::fs::read(&path).map_err(unreadable)?;
    let uploaded =
        assembly::artifacts(config)?.upload(axum::body::Body::from(image), &upload_name(edge::os_randomness()?)).await;
    let (sha256, size_bytes) = uploaded.map_err(|error| {
        StartError::Refused(
            error.to_string(),
            "give an image within ARTIFACT_BYTES_MAX, and see that ARTIFACTS_DIR can be written",
        )
    })?;
    let kept = by.clone();
    let kept = writer.write(move |store| rules::releases::keep_artifact(store, sha256, size_bytes, &kept)).await;
    kept.map(|()| sha256).map_err(|error| assembly::bad_database(config, &error))
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
    shown(config, reader, &release_id).await
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
        return Err(StartError::Refused("no release is named".to_owned(), "name one")); // clap demands it
    };
    let (by, reason) = (by(), given(flags, "reason"));
    let changed = if name == "revoke" {
        let with = look(config)?;
        releases::revoke(release_id, writer, reason, &by, with).await
    } else {
        let keyring = keyring(config, writer, reader, &by).await?;
        let wanted = release_id.clone();
        let found = reader.ask(move |store| store.release(&wanted)).await;
        let found = found.map_err(|error| assembly::bad_database(config, &error))?.ok_or_else(|| {
            StartError::Refused(format!("there is no release {release_id}"), "`ks-server firmware list` shows them")
        })?;
        match name {
            "stage" => releases::stage(&found, &keyring, writer, reader, reason, &by).await,
            _ => releases::activate(&found, &keyring, &assembly::artifacts(config)?, writer, reason, &by).await,
        }
    };
    changed.map_err(|error| refused(config, error))?;
    shown(config, reader, release_id).await
}

/// What a step of a rollout needs besides the store.
pub(super) fn look(config: &Config) -> Result<Look, StartError> {
    Ok(Look {
        at: SystemClock.now(),
        heartbeat_interval_ms: crate::clock::ms(config.heartbeat_interval),
        dice: edge::os_randomness()?,
    })
}
