//! `ks-server`: one file a subcommand. Exit codes: 0 done, 1 looked and found something wrong, 2 what the caller wrote is wrong,
//! 3 the machine refuses.

mod accounts;
mod audit;
mod device;
mod doctor;
mod factory;
mod firmware;
mod keys;
mod output;
mod plan_table;
mod rollout;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Arg, ArgAction, ArgMatches, Command, builder::PossibleValuesParser, value_parser};
use clap_complete::Shell;

use crate::{
    assembly,
    clock::{Clock, SystemClock},
    config::{Config, Misspelt, SETTINGS, begins_anew, misspelt, refuse_emptied},
    edge,
    failure::StartError,
    role::Role,
    serve,
    store::{By, SCHEMA_VERSION, SqliteStore},
};

/// Why a command did not end well.
enum Failed {
    /// It could not be done.
    Errors(Vec<StartError>),
    /// It was done, and found something wrong, which it has said.
    Found,
}

impl From<StartError> for Failed {
    fn from(error: StartError) -> Self {
        Self::Errors(vec![error])
    }
}

/// How a command ends.
type Ended = Result<(), Failed>;

/// How a command ends that looks for something wrong, once it has said what it found.
fn found(said: Result<(), StartError>, is_wrong: bool) -> Ended {
    match said {
        Err(error) if !error.is_closed_pipe() => Err(error.into()),
        _ if is_wrong => Err(Failed::Found),
        _ => Ok(()),
    }
}

/// Runs `ks-server` with these arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            let asked_for = match error.print() {
                Err(cause) if !error.use_stderr() => Err(StartError::Output { cause }),
                _ => Ok(()),
            };
            return match asked_for {
                Ok(()) => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)),
                Err(error) => exit_code(Err(error.into())),
            };
        }
    };
    exit_code(dispatch(&matches))
}

/// Says why a command did not end well, and gives its exit code.
fn exit_code(ended: Ended) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::Found) => ExitCode::FAILURE,
        Err(Failed::Errors(errors)) if errors.iter().all(StartError::is_closed_pipe) => ExitCode::SUCCESS,
        Err(Failed::Errors(errors)) => {
            for error in &errors {
                edge::complain(&format!("error: {error}\n  what to do: {}", error.remedy()));
            }
            ExitCode::from(errors.first().map_or(3, StartError::exit_code))
        }
    }
}

fn dispatch(matches: &ArgMatches) -> Ended {
    match matches.subcommand() {
        Some(("serve", flags)) => {
            let (config, doubtful) = read_settings(flags).map_err(Failed::Errors)?;
            let _reporting = edge::start_log(&config)?;
            for doubt in doubtful {
                tracing::warn!("{doubt}");
            }
            Ok(serve::serve(&config, flags.get_flag("stop-with-stdin"))?)
        }
        Some(("migrate", flags)) => migrate(&settings(flags)?),
        Some(("doctor", flags)) => doctor::run(flags, read_settings(flags)),
        Some(("completions", flags)) => completions(flags),
        Some(("man", flags)) => man(flags),
        Some(("keys", of)) => of.subcommand().map_or(Ok(()), |(name, flags)| keys::run(name, flags)),
        Some(("factory", of)) => of.subcommand().map_or(Ok(()), |(name, flags)| factory::run(name, flags)),
        Some(("firmware", of)) => of.subcommand().map_or(Ok(()), |(name, flags)| firmware::run(name, flags)),
        Some(("rollout", of)) => of.subcommand().map_or(Ok(()), |(name, flags)| rollout::run(name, flags)),
        Some(("device", of)) => of.subcommand().map_or(Ok(()), |(name, flags)| device::run(name, flags)),
        Some(("audit", of)) => of.subcommand().map_or(Ok(()), |(name, flags)| audit::run(name, flags)),
        Some(("admin", of)) => match of.subcommand() {
            Some((whose, of)) => of.subcommand().map_or(Ok(()), |(name, flags)| accounts::run(whose, name, flags)),
            None => Ok(()), // clap has shown the help
        },
        _ => Ok(()), // clap has shown the help
    }
}

/// A setting from its flag, else from the environment.
fn setting(flags: &ArgMatches, name: &str) -> Option<String> {
    let flag = flags.try_get_one::<String>(name).ok().flatten().cloned();
    flag.or_else(|| edge::environment(name))
}

/// All settings.
fn settings(flags: &ArgMatches) -> Result<Config, Failed> {
    read_settings(flags).map(|(config, _)| config).map_err(Failed::Errors)
}

/// All settings, and what is odd about names in the environment.
fn read_settings(flags: &ArgMatches) -> Result<(Config, Vec<String>), Vec<StartError>> {
    let names = edge::environment_names();
    let Misspelt { refused, doubtful } = misspelt(names.iter().map(String::as_str));
    match Config::read(|name| setting(flags, name)) {
        Ok(config) if refused.is_empty() => Ok((config, doubtful)),
        Ok(_) => Err(refused),
        Err(wrong) => Err(refused.into_iter().chain(wrong).collect()),
    }
}

/// Who acts, for the audit.
fn by() -> By {
    By { name: format!("cli:{}", edge::process_user()), address: None, at: SystemClock.now() }
}

fn migrate(config: &Config) -> Ended {
    refuse_emptied(config)?;
    if let Some(begins_anew) = begins_anew(config) {
        edge::complain(&format!("warning: {begins_anew}"));
    }
    assembly::complain_of_torn_log(config);
    SqliteStore::open(&config.database, config.sqlite, SystemClock.now())?;
    Ok(edge::say(&format!("{} has schema version {SCHEMA_VERSION}", config.database.display()))?)
}

fn completions(flags: &ArgMatches) -> Ended {
    let Some(shell) = flags.get_one::<Shell>("SHELL") else { return Ok(()) }; // clap demands it
    let mut script = Vec::new();
    clap_complete::generate(*shell, &mut command(), "ks-server", &mut script);
    Ok(edge::print(&script)?)
}

/// The page of a command, or every page into a folder.
fn man(flags: &ArgMatches) -> Ended {
    let mut shown = command().disable_help_subcommand(true);
    shown.build(); // so that each command has its whole name
    if let Some(folder) = flags.get_one::<PathBuf>("out") {
        std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(command().disable_help_subcommand(true), folder))
            .map_err(|cause| StartError::File { what: "write man pages into", path: folder.clone(), cause })?;
        return Ok(());
    }
    for word in flags.get_many::<String>("COMMAND").into_iter().flatten() {
        let Some(found) = shown.find_subcommand(word) else {
            let why = format!("`{}` has no command `{word}`", shown.get_display_name().unwrap_or("ks-server"));
            return Err(StartError::Refused(why, "`ks-server --help` lists the commands").into());
        };
        shown = found.clone();
    }
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(shown).render(&mut page);
    rendered.map_err(|cause| StartError::System { what: "write the man page", cause })?;
    Ok(edge::print(&page)?)
}

/// A command that reads the settings: each is a flag. Secrets are none: every user of the machine can read a command line.
fn with_settings(command: Command) -> Command {
    SETTINGS.iter().filter(|setting| !setting.secret).fold(command, |command, setting| {
        let default =
            if setting.default.is_empty() { String::new() } else { format!(" [default: {}]", setting.default) };
        let flag = Arg::new(setting.name)
            .long(setting.name.to_lowercase().replace('_', "-"))
            .value_name("VALUE")
            .allow_hyphen_values(true)
            .help(format!("{} [env: {}]{default}", setting.help, setting.name))
            .help_heading("Settings")
            .hide_short_help(true);
        command.arg(flag)
    })
}

/// A command with subcommands.
fn parent(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about).subcommand_required(true).arg_required_else_help(true)
}

/// `--json`.
fn json() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("JSON, for machines")
}

/// `--NAME`, a text that must be given.
fn text(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value_name).help(help)
}

/// `--role`.
fn role() -> Arg {
    let roles = PossibleValuesParser::new(Role::ALL.map(Role::as_str));
    text("role", "ROLE", "What may be done with it").value_parser(roles).required(true)
}

/// The role given by [`role`].
fn role_of(flags: &ArgMatches) -> Role {
    let word = flags.get_one::<String>("role").map_or("", String::as_str);
    Role::from_word(word).unwrap_or(Role::Viewer) // clap lets no other word through
}

/// The text of a flag or argument; empty if it is not given.
fn given<'f>(flags: &'f ArgMatches, name: &str) -> &'f str {
    flags.get_one::<String>(name).map_or("", String::as_str)
}

/// The whole command line. Settings become flags of the commands that read them.
pub fn command() -> Command {
    let stop_with_stdin = Arg::new("stop-with-stdin")
        .long("stop-with-stdin")
        .action(ArgAction::SetTrue)
        .help("Stop when standard input ends: for a server that must not outlive its parent");
    let serve = Command::new("serve").about("Serve devices and the admin API").arg(stop_with_stdin);
    let migrate = Command::new("migrate").about("Bring the database's schema up to date, then exit");
    let man = Command::new("man")
        .about("Print the man page of a command, or write all of them into a folder")
        .arg(
            Arg::new("COMMAND")
                .num_args(0..=3)
                .help("Of this command, such as `admin token create` [default: ks-server itself]"),
        )
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .conflicts_with("COMMAND")
                .help("Write the pages of all commands into this folder"),
        )
        .after_help(
            "Examples:\n  ks-server man rollout plan | man -l -\n  ks-server man --out /usr/local/share/man/man1",
        );
    let shell = Arg::new("SHELL").required(true).value_parser(value_parser!(Shell)).help("For this shell");
    Command::new("ks-server")
        .version(env!("CARGO_PKG_VERSION"))
        .about("The fleet backend of KS Attendance")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_settings(serve))
        .subcommand(with_settings(migrate))
        .subcommand(doctor::command())
        .subcommand(factory::command())
        .subcommand(device::command())
        .subcommand(firmware::command())
        .subcommand(rollout::command())
        .subcommand(keys::command())
        .subcommand(accounts::command())
        .subcommand(audit::command())
        .subcommand(Command::new("completions").about("Print a script that completes this command line").arg(shell))
        .subcommand(man)
}

const EXAMPLES: &str = "\
Examples:
  ks-server serve                                       port 3000, ./data/ks.sqlite, a development key
  PORT=8080 DATABASE_URL=file:./data/prod.sqlite ks-server serve
  ks-server doctor                                      what is wrong on this machine, and what to do about it
  ks-server factory import inventory.csv                whitelist devices
  ks-server admin user create anna --role operator      somebody who may log in
  ks-server admin token create --role viewer --ttl 1h   a token for a script, shown once
  ks-server device investigate KS-000042                why is it silent?
  ks-server firmware add --help                         a release: image, manifest, signature
  ks-server rollout plan --help                         who would get it when, and what the gates can prove
  ks-server keys status                                 the server's keys, and who knows them
  ks-server audit verify                                whether the record of what was done is whole
  ks-server completions bash > /etc/bash_completion.d/ks-server

Settings come from the environment or from flags: `ks-server serve --help` lists them.
Exit codes: 0 done, 1 looked and found something wrong, 2 what you wrote is wrong, 3 the machine refuses.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }
}
