//! `ks-server`: serve, keys, migrate, factory. Exit codes: 0 done, 2 what the caller wrote is wrong, 3 the machine refuses.

use std::{ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

use base64ct::{Base64UrlUnpadded, Encoding};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use ks_protocol::{id::DeviceId, key::PrivateKey};
use sha2::{Digest, Sha256};

use crate::{
    admin::inventory,
    clock::{Clock, SystemClock},
    config::{Config, SETTINGS, StartError},
    edge,
    rng::ServerRng,
    store::{
        By, SCHEMA_VERSION, SqliteStore, StoreError, Transaction,
        devices::{ImportProblem, NewOtrts},
    },
    vault,
};

/// Runs `ks-server` with these arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print(); // a closed pipe is no error
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match dispatch(&matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(errors) => {
            for error in &errors {
                edge::complain(&format!("error: {error}\n  what to do: {}", error.remedy()));
            }
            ExitCode::from(errors.first().map_or(3, StartError::exit_code))
        }
    }
}

fn dispatch(matches: &ArgMatches) -> Result<(), Vec<StartError>> {
    let one = |result: Result<(), StartError>| result.map_err(|error| vec![error]);
    match matches.subcommand() {
        Some(("serve", flags)) => {
            let config = settings(flags)?;
            let _reporting = edge::start_log(&config).map_err(|error| vec![error])?;
            one(edge::serve(&config, flags.get_flag("stop-with-stdin")))
        }
        Some(("migrate", flags)) => one(migrate(&settings(flags)?)),
        Some(("keys", keys)) => match keys.subcommand() {
            Some(("generate", flags)) => one(generate_key(flags.get_one::<PathBuf>("out"))),
            Some(("export-pubkey", flags)) => {
                let format = flags.get_one::<String>("format").map_or("pem", String::as_str);
                one(export_public_key(&settings(flags)?, format))
            }
            _ => Ok(()), // clap has shown the help
        },
        Some(("factory", factory)) => match factory.subcommand() {
            Some(("import", flags)) => one(import(&settings(flags)?, flags.get_one::<PathBuf>("FILE"))),
            Some(("make-otrt", flags)) => one(make_otrts(&settings(flags)?, flags)),
            _ => Ok(()), // clap has shown the help
        },
        _ => Ok(()), // clap has shown the help
    }
}

/// Settings from flags, else from the environment.
fn settings(flags: &ArgMatches) -> Result<Config, Vec<StartError>> {
    let flag = |name: &str| flags.try_get_one::<String>(name).ok().flatten().cloned();
    Config::read(|name| flag(name).or_else(|| edge::environment(name)))
}

fn migrate(config: &Config) -> Result<(), StartError> {
    SqliteStore::open(&config.database, config.synchronous, SystemClock.now())?;
    edge::say(&format!("{} has schema version {SCHEMA_VERSION}", config.database.display()));
    Ok(())
}

fn generate_key(out: Option<&PathBuf>) -> Result<(), StartError> {
    let key = PrivateKey::from_seed(&edge::os_randomness()?);
    match out {
        Some(path) => {
            vault::write_key(path, &key)?;
            edge::say(&format!("{}: private key {}, mode 0600", path.display(), key.public_key().key_id()));
        }
        None => edge::say(key.to_pem().map_err(|error| bad_key("the new key", &error))?.trim_end()),
    }
    Ok(())
}

fn bad_key(place: &str, error: &ks_protocol::key::BadKey) -> StartError {
    StartError::BadKey { place: place.to_owned(), why: error.to_string() }
}

fn export_public_key(config: &Config, format: &str) -> Result<(), StartError> {
    let key = edge::signing_key(config, edge::MayMake::No)?;
    edge::say(&match format {
        "base64" => key.public_key().to_string(),
        "key-id" => key.public_key().key_id().to_string(),
        _ => key.public_pem().map_err(|error| bad_key("the server's key", &error))?.trim_end().to_owned(),
    });
    Ok(())
}

fn import(config: &Config, file: Option<&PathBuf>) -> Result<(), StartError> {
    let path = file.cloned().unwrap_or_default();
    let csv = std::fs::read(&path).map_err(|cause| StartError::File { what: "read", path: path.clone(), cause })?;
    let bad = |problems: &[ImportProblem]| {
        let line = |problem: &ImportProblem| format!("\n  line {}, {}: {}", problem.line, problem.field, problem.what);
        let problems = format!("{} bad rows{}", problems.len(), problems.iter().map(line).collect::<String>());
        StartError::BadInventory { path: path.clone(), problems }
    };
    let devices = inventory::parse(&csv).map_err(|problems| bad(&problems))?;
    let by = by();
    let imported = write(config, move |store| store.import(&devices, &by))?;
    let done = imported.map_err(|problems| bad(&problems))?;
    edge::say(&format!("{} devices whitelisted, {} were there already", done.added, done.unchanged));
    Ok(())
}

/// Writes beside a server that may be running.
fn write<T: Send + 'static>(
    config: &Config,
    what: impl Fn(&mut dyn Transaction) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StartError> {
    edge::with_store(config, async |writer, _| {
        writer.write(what).await.map_err(|error| edge::bad_database(config, &error))
    })
}

/// Who acts, for the audit.
fn by() -> By {
    let user = edge::environment("SUDO_USER").or_else(|| edge::environment("USER"));
    By { name: format!("cli:{}", user.as_deref().unwrap_or("unknown")), address: None, at: SystemClock.now() }
}

fn make_otrts(config: &Config, flags: &ArgMatches) -> Result<(), StartError> {
    let rng = ServerRng::from_seed(edge::os_randomness()?);
    let count = flags.get_one::<u32>("count").copied().unwrap_or(1);
    let ttl = Duration::from_hours(u64::from(flags.get_one::<u32>("ttl-hours").copied().unwrap_or(24)));
    let tokens: Vec<String> = (0..count).map(|_| Base64UrlUnpadded::encode_string(&rng.bytes_32())).collect();
    let by = by();
    let otrts = NewOtrts {
        tokens_sha256: tokens.iter().map(|token| Sha256::digest(token).into()).collect(),
        expires_at: by.at + ttl,
        device_id: flags.get_one::<DeviceId>("device").cloned(),
        model: flags.get_one::<String>("model").cloned(),
    };
    write(config, move |store| store.add_otrts(&otrts, &by))?;
    for token in &tokens {
        edge::say(token);
    }
    Ok(())
}

/// The whole command line. Settings become flags of the commands that read them.
pub fn command() -> Command {
    let with_settings = |command: Command| {
        // Secrets are no flags: every user of the machine can read a process's command line.
        SETTINGS.iter().filter(|setting| !setting.secret).fold(command, |command, setting| {
            let default =
                if setting.default.is_empty() { String::new() } else { format!(" [default: {}]", setting.default) };
            let flag = Arg::new(setting.name)
                .long(setting.name.to_lowercase().replace('_', "-"))
                .value_name("VALUE")
                .allow_hyphen_values(true)
                .help(format!("{} [env: {}]{default}", setting.help, setting.name))
                .help_heading("Settings");
            command.arg(flag)
        })
    };
    let parent = |name: &'static str, about: &'static str| {
        Command::new(name).about(about).subcommand_required(true).arg_required_else_help(true)
    };
    let stop_with_stdin = Arg::new("stop-with-stdin")
        .long("stop-with-stdin")
        .action(ArgAction::SetTrue)
        .help("Stop when standard input ends: for a server that must not outlive its parent");
    Command::new("ks-server")
        .version(env!("CARGO_PKG_VERSION"))
        .about("The fleet backend of KS Attendance")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_settings(Command::new("serve").about("Serve devices and the admin API").arg(stop_with_stdin)))
        .subcommand(with_settings(Command::new("migrate").about("Bring the database's schema up to date, then exit")))
        .subcommand(
            parent("keys", "The server's signing key")
                .subcommand(
                    Command::new("generate").about("Make a private key (PKCS#8 PEM)").arg(
                        Arg::new("out")
                            .long("out")
                            .value_name("FILE")
                            .value_parser(value_parser!(PathBuf))
                            .help("Write it here with mode 0600, never over a file [default: standard output]"),
                    ),
                )
                .subcommand(with_settings(
                    Command::new("export-pubkey").about("Print the public key of the server's signing key").arg(
                        Arg::new("format")
                            .long("format")
                            .value_parser(["pem", "base64", "key-id"])
                            .default_value("pem")
                            .help("Form of the key"),
                    ),
                )),
        )
        .subcommand(factory(parent, with_settings))
}

fn factory(
    parent: impl Fn(&'static str, &'static str) -> Command,
    with_settings: impl Fn(Command) -> Command,
) -> Command {
    let number = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).default_value(default).value_parser(value_parser!(u32).range(1..=100_000)).help(help)
    };
    parent("factory", "Provision devices, straight in the database")
        .subcommand(with_settings(
            Command::new("import").about("Whitelist the devices of an inventory, all or none").arg(
                Arg::new("FILE")
                    .required(true)
                    .value_parser(value_parser!(PathBuf))
                    .help("CSV with the columns serial,device_id,public_key,manufacturer,model,site"),
            ),
        ))
        .subcommand(with_settings(
            Command::new("make-otrt")
                .about("Make one-time registration tokens; each is shown once")
                .arg(number("count", "1", "How many"))
                .arg(number("ttl-hours", "24", "Life, in hours"))
                .arg(
                    Arg::new("device")
                        .long("device")
                        .value_parser(value_parser!(DeviceId))
                        .help("Usable by this device only"),
                )
                .arg(Arg::new("model").long("model").help("Usable by devices of this model only")),
        ))
}

const EXAMPLES: &str = "\
Examples:
  ks-server serve                                       port 3000, ./data/ks.sqlite, a development key
  PORT=8080 DATABASE_URL=file:./data/prod.sqlite ks-server serve
  ks-server keys generate --out server-key.pem          then: SERVER_PRIVATE_KEY_FILE=server-key.pem
  ks-server keys export-pubkey --format base64          what devices are given at the factory
  ks-server factory import inventory.csv                whitelist devices
  curl -H \"Authorization: Bearer $ADMIN_TOKEN\" --data-binary @inventory.csv http://localhost:3000/api/devices/import

Exit codes: 0 done, 2 what you wrote is wrong, 3 the machine refuses (port, file, database).";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }
}
