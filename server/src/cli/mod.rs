//! `ks-server`, the command line: one file per subcommand. Exit codes: 0 success, 1 a check found a problem, 2 invalid arguments or
//! settings, 3 an error of the system, such as a full disk.

mod accounts;
mod audit;
mod device;
mod doctor;
mod factory;
mod firmware;
mod keys;
mod limits;
mod output;
mod plan_table;
mod rollout;
mod rollout_status;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Arg, ArgAction, ArgMatches, Command, builder::PossibleValuesParser, value_parser};
use clap_complete::Shell;

use crate::{
    assembly,
    clock::{Clock, SystemClock},
    config::{Config, LIMITS_FILE, SETTINGS, UnknownSettings, new_fleet_warning, refuse_emptied, unknown_settings},
    edge,
    failure::StartError,
    role::Role,
    serve,
    store::{Actor, SCHEMA_VERSION, SqliteStore},
};

/// Why a command failed.
enum Failed {
    /// It could not run.
    Errors(Vec<StartError>),
    /// It ran, and found and reported a problem.
    Found,
}

impl From<StartError> for Failed {
    fn from(error: StartError) -> Self {
        Self::Errors(vec![error])
    }
}

/// The result of a command.
type CommandResult = Result<(), Failed>;

/// The result of a command that checks something, after it has printed what it found.
fn found(printed: Result<(), StartError>, is_wrong: bool) -> CommandResult {
    match printed {
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

/// Prints why a command failed; returns the exit code.
fn exit_code(ended: CommandResult) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::Found) => ExitCode::FAILURE,
        Err(Failed::Errors(errors)) if errors.iter().all(StartError::is_closed_pipe) => ExitCode::SUCCESS,
        Err(Failed::Errors(errors)) => {
            for error in &errors {
                edge::complain(&format!("error: {error}\n  help: {}", error.help()));
            }
            ExitCode::from(errors.first().map_or(3, StartError::exit_code))
        }
    }
}

fn dispatch(matches: &ArgMatches) -> CommandResult {
    match matches.subcommand() {
        Some(("serve", flags)) => {
            let (config, warnings) = read_settings(flags).map_err(Failed::Errors)?;
            let _reporting = edge::start_log(&config)?;
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            Ok(serve::serve(&config, flags.get_flag("stop-with-stdin"))?)
        }
        Some(("migrate", flags)) => migrate(&settings(flags)?),
        Some(("doctor", flags)) => doctor::run(flags, read_settings(flags)),
        Some(("completions", flags)) => completions(flags),
        Some(("man", flags)) => man(flags),
        Some(("keys", of)) => of.subcommand().map_or(Ok(()), |(name, flags)| keys::run(name, flags)),
        Some(("limits", of)) => of.subcommand().map_or(Ok(()), |(name, flags)| limits::run(name, flags)),
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

/// All settings. A limits file that is wrong keeps only servers from starting: a command that may be there to repair what it did says so and
/// goes on.
fn settings(flags: &ArgMatches) -> Result<Config, Failed> {
    let wrong = match read_settings(flags) {
        Ok((config, _)) => return Ok(config),
        Err(wrong) => wrong,
    };
    let Ok((config, _)) = read_settings_but(flags, Some(LIMITS_FILE)) else { return Err(Failed::Errors(wrong)) };
    for fault in wrong {
        edge::complain(&format!("warning: {fault}\n  help: {}; no server starts with this file", fault.help()));
    }
    Ok(config)
}

/// All settings, and warnings about unknown names in the environment.
fn read_settings(flags: &ArgMatches) -> Result<(Config, Vec<String>), Vec<StartError>> {
    read_settings_but(flags, None)
}

/// The same as if one setting were not given.
fn read_settings_but(flags: &ArgMatches, left_out: Option<&str>) -> Result<(Config, Vec<String>), Vec<StartError>> {
    let names = edge::environment_names();
    let UnknownSettings { refused, warnings } = unknown_settings(names.iter().map(String::as_str));
    match Config::read(|name| setting(flags, name).filter(|_| left_out != Some(name))) {
        Ok(config) if refused.is_empty() => Ok((config, warnings)),
        Ok(_) => Err(refused),
        Err(wrong) => Err(refused.into_iter().chain(wrong).collect()),
    }
}

/// The actor of this command, for the audit.
fn by() -> Actor {
    Actor { name: format!("cli:{}", edge::process_user()), address: None, at: SystemClock.now() }
}

fn migrate(config: &Config) -> CommandResult {
    refuse_emptied(config)?;
    if let Some(warning) = new_fleet_warning(config) {
        edge::complain(&format!("warning: {warning}"));
    }
    assembly::warn_of_torn_log(config);
    SqliteStore::open(&config.database, config.sqlite, SystemClock.now())?;
    Ok(edge::say(&format!("{} has schema version {SCHEMA_VERSION}", config.database.display()))?)
}

fn completions(flags: &ArgMatches) -> CommandResult {
    let Some(shell) = flags.get_one::<Shell>("SHELL") else { return Ok(()) }; // clap demands it
    let mut script = Vec::new();
    clap_complete::generate(*shell, &mut command(), "ks-server", &mut script);
    Ok(edge::print(&script)?)
}

/// Prints a command's man page, or writes all of them to a folder.
fn man(flags: &ArgMatches) -> CommandResult {
    let mut shown = command().disable_help_subcommand(true);
    shown.build(); // so that each command has its full name
    if let Some(folder) = flags.get_one::<PathBuf>("out") {
        std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(command().disable_help_subcommand(true), folder))
            .map_err(|cause| StartError::File { what: "write man pages to", path: folder.clone(), cause })?;
        return Ok(());
    }
    for word in flags.get_many::<String>("COMMAND").into_iter().flatten() {
        let Some(found) = shown.find_subcommand(word) else {
            let why = format!("`{}` has no command `{word}`", shown.get_display_name().unwrap_or("ks-server"));
            return Err(StartError::refused(why, "`ks-server --help` lists the commands").into());
        };
        shown = found.clone();
    }
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(shown).render(&mut page);
    rendered.map_err(|cause| StartError::System { what: "write the man page", cause })?;
    Ok(edge::print(&page)?)
}

/// A command that reads the settings: each is a flag, except secrets, because every user of the machine can read command lines.
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

fn json() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON")
}

fn text(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value_name).help(help)
}

fn role() -> Arg {
    let roles = PossibleValuesParser::new(Role::ALL.map(Role::as_str));
    text("role", "ROLE", "What it gives access to").value_parser(roles).required(true)
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
        .help("Stop when standard input ends, so that the server does not outlive its parent process");
    let serve = Command::new("serve").about("Run the server: devices and the admin API").arg(stop_with_stdin);
    let migrate = Command::new("migrate").about("Update the database's schema to this version and exit");
    let man = Command::new("man")
        .about("Print the man page of a command, or write all of them to a folder")
        .arg(
            Arg::new("COMMAND")
                .num_args(0..=3)
                .help("The command, such as `admin token create` [default: ks-server itself]"),
        )
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .conflicts_with("COMMAND")
                .help("Write the pages of all commands to this folder"),
        )
        .after_help(
            "Examples:\n  ks-server man rollout plan | man -l -\n  ks-server man --out /usr/local/share/man/man1",
        );
    let shell = Arg::new("SHELL").required(true).value_parser(value_parser!(Shell)).help("The shell");
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
        .subcommand(limits::command())
        .subcommand(accounts::command())
        .subcommand(audit::command())
        .subcommand(Command::new("completions").about("Print a shell completion script").arg(shell))
        .subcommand(man)
}

const EXAMPLES: &str = "\
Examples:
  ks-server serve                                       port 3000, ./data/ks.sqlite, a development key
  PORT=8080 DATABASE_URL=file:./data/prod.sqlite ks-server serve
  ks-server doctor                                      check this machine, and how to fix what is wrong
  ks-server factory import inventory.csv                whitelist devices
  ks-server admin user create anna --role operator      a user who can log in
  ks-server admin token create --role viewer --ttl 1h   a token for a script, shown only once
  ks-server device investigate KS-000042                why is it silent?
  ks-server firmware add --help                         add a release: image, manifest, signature
  ks-server rollout plan --help                         which devices get it when, and what the gates can detect
  ks-server keys status                                 the server's keys, and how many devices have them
  ks-server limits show                                 the rate limits, and where they come from
  ks-server audit verify                                check that the audit log is intact
  ks-server completions bash > /etc/bash_completion.d/ks-server

Settings come from the environment or from flags: `ks-server serve --help` lists them.
Exit codes: 0 success, 1 a check found a problem, 2 invalid arguments or settings, 3 an error of the system (such as a full disk).";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_definition_is_valid() {
        command().debug_assert();
    }
}
