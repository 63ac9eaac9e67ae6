//! `ks-server admin`: users and API tokens. It writes to the database directly, so that the first user can be created.

use std::{
    io::{BufRead as _, IsTerminal as _, Write as _},
    time::Duration,
};

use clap::{Arg, ArgMatches, Command};
use ks_protocol::{duration, number::within};

use super::{CommandResult, by, given, json, output, parent, role, role_of, settings, text, with_settings};
use crate::{
    assembly,
    config::Config,
    edge,
    failure::StartError,
    password,
    rng::ServerRng,
    rules::accounts,
    service::accounts::{TOKEN_TTL_S_MAX, is_name, new_token},
    store::accounts::{NewUser, UserEdit, UserRefused},
};

/// Most rows that a list shows.
const ROWS_MAX: usize = 10_000;

pub(super) fn command() -> Command {
    let name = || Arg::new("NAME").required(true).help("The user's name");
    let user = parent("user", "Users of the admin API")
        .subcommand(with_settings(
            Command::new("create")
                .about("Create a user; the password is read from standard input")
                .after_help("Examples:\n  ks-server admin user create anna --role operator\n  pass show ks/anna | ks-server admin user create anna --role operator")
                .arg(name())
                .arg(role()),
        ))
        .subcommand(with_settings(Command::new("list").about("List users").arg(json())))
        .subcommand(with_settings(
            Command::new("set-password").about("Change a user's password and end all of the user's sessions").arg(name()),
        ))
        .subcommand(with_settings(
            Command::new("disable").about("Disable a user: end the user's sessions and revoke the tokens that the user created").arg(name()),
        ))
        .subcommand(with_settings(Command::new("enable").about("Enable a disabled user again").arg(name())));
    let token = parent("token", "API tokens for scripts")
        .subcommand(with_settings(
            Command::new("create")
                .about("Create a token; it is shown only once")
                .after_help("Examples:\n  ks-server admin token create --role viewer --ttl 1h\n  TOKEN=$(ks-server admin token create --name ci --role operator --ttl 90d)")
                .arg(text("name", "NAME", "The token's name in the audit").default_value("cli"))
                .arg(role())
                .arg(
                    text("ttl", "TIME", "Time to live, such as 30m, 12h or 90d; at most 365d")
                        .required(true)
                        .value_parser(duration::within(TTL)),
                ),
        ))
        .subcommand(with_settings(Command::new("list").about("List tokens and login sessions").arg(json())))
        .subcommand(with_settings(
            Command::new("revoke")
                .about("Revoke a token or session")
                .arg(Arg::new("ROW").required(true).value_parser(within(1..=i64::MAX)).help("Its row in `admin token list`")),
        ));
    parent("admin", "Manage users and tokens of the admin API, directly in the database")
        .subcommand(user)
        .subcommand(token)
}

const TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(TOKEN_TTL_S_MAX);

pub(super) fn run(whose: &str, name: &str, flags: &ArgMatches) -> CommandResult {
    let config = settings(flags)?;
    match (whose, name) {
        ("user", "list") => list_users(&config, flags)?,
        ("user", "create") => create_user(&config, flags)?,
        ("user", change) => edit_user(&config, change, flags)?,
        (_, "create") => create_token(&config, flags)?,
        (_, "list") => list_tokens(&config, flags)?,
        _ => revoke_token(&config, flags)?,
    }
    Ok(())
}

fn invalid_name(argument: &str, given: &str) -> StartError {
    StartError::refused(format!("{argument} can't be `{given}`"), "give 1 to 64 of A-Z, a-z, 0-9, . _ - and @")
}

/// Reads a password from standard input, without echo on a terminal, and hashes it.
fn read_password() -> Result<String, StartError> {
    let is_terminal = std::io::stdin().is_terminal();
    if is_terminal {
        let _ = write!(std::io::stderr(), "Password (at least {} characters): ", password::CHARS_MIN);
    }
    let mut line = String::new();
    let read = edge::without_echo(|| std::io::stdin().lock().read_line(&mut line));
    read.map_err(|cause| StartError::System { what: "read the password", cause })?;
    if is_terminal {
        edge::complain("");
    }
    let hashed = password::hash(line.trim_end_matches(['\n', '\r']), &edge::os_randomness()?);
    hashed.map_err(|expected| StartError::refused("this password can't be used", format!("give {expected}")))
}

fn user_refused(name: &str, refused: &UserRefused) -> StartError {
    let (what, help) = match refused {
        UserRefused::NameTaken => (format!("there is a user {name} already"), "choose another name"),
        UserRefused::Unknown => (format!("there is no user {name}"), "`ks-server admin user list` shows all users"),
        UserRefused::Changed { .. } => (format!("another command has changed the user {name} meanwhile"), "try again"),
    };
    StartError::refused(what, help)
}

fn create_user(config: &Config, flags: &ArgMatches) -> Result<(), StartError> {
    let (name, role) = (given(flags, "NAME").to_owned(), role_of(flags));
    if !is_name(&name) {
        return Err(invalid_name("NAME", &name));
    }
    let (new, by) = (NewUser { name: name.clone(), role, password_hash: read_password()? }, by());
    assembly::with_store(config, async |writer, _| {
        let created = writer.write(move |store| accounts::create_user(store, &new, &by)).await;
        let created = created.map_err(|error| assembly::database_error(config, &error))?;
        created.map_err(|refused| user_refused(&name, &refused))?;
        edge::say(&format!("user {name} created with the role {}", role.as_str()))
    })
}

fn edit_user(config: &Config, change: &str, flags: &ArgMatches) -> Result<(), StartError> {
    let name = given(flags, "NAME").to_owned();
    let edit = match change {
        "set-password" => UserEdit { password_hash: Some(read_password()?), ..UserEdit::default() },
        change => UserEdit { disabled: Some(change == "disable"), ..UserEdit::default() },
    };
    let done = match change {
        "set-password" => "has a new password",
        "disable" => "disabled",
        _ => "enabled",
    };
    let (by, edited) = (by(), name.clone());
    assembly::with_store(config, async |writer, _| {
        let edited = writer.write(move |store| accounts::edit_user(store, &edited, &edit, None, &by)).await;
        let edited = edited.map_err(|error| assembly::database_error(config, &error))?;
        edited.map_err(|refused| user_refused(&name, &refused))?;
        edge::say(&format!("user {name} {done}"))
    })
}

fn list_users(config: &Config, flags: &ArgMatches) -> Result<(), StartError> {
    assembly::with_reader(config, async |reader| {
        let users = reader.ask(|store| store.users(0, ROWS_MAX)).await;
        let users = users.map_err(|error| assembly::database_error(config, &error))?;
        if flags.get_flag("json") {
            return output::json(&users.into_iter().map(crate::service::accounts::User::from).collect::<Vec<_>>());
        }
        let row = |user: &crate::store::accounts::UserRecord| {
            let disabled = output::or_dash(user.disabled_at);
            vec![user.name.clone(), user.role.as_str().to_owned(), user.created_at.to_string(), disabled]
        };
        output::table(&["name", "role", "created", "disabled"], &users.iter().map(row).collect::<Vec<_>>())
    })
}

fn create_token(config: &Config, flags: &ArgMatches) -> Result<(), StartError> {
    let name = given(flags, "name").to_owned();
    if !is_name(&name) {
        return Err(invalid_name("--name", &name));
    }
    let ttl = flags.get_one::<Duration>("ttl").copied().unwrap_or_default();
    let by = by();
    let rng = ServerRng::from_seed(edge::os_randomness()?);
    let (token, new) = new_token(&rng, name, role_of(flags), by.at + ttl);
    assembly::with_store(config, async |writer, _| {
        let (author, remover) = (by.clone(), by);
        let added = writer.write(move |store| accounts::add_token(store, &new, &author)).await;
        let row = added.map_err(|error| assembly::database_error(config, &error))?;
        let Err(not_shown) = edge::say_secret(&token) else { return Ok(()) };
        let revoked = writer.write(move |store| accounts::revoke_token(store, row, &remover)).await;
        revoked.map_err(|error| assembly::database_error(config, &error))?;
        Err(output::tokens_not_shown(not_shown))
    })
}

fn list_tokens(config: &Config, flags: &ArgMatches) -> Result<(), StartError> {
    assembly::with_reader(config, async |reader| {
        let tokens = reader.ask(|store| store.tokens(0, ROWS_MAX)).await;
        let tokens = tokens.map_err(|error| assembly::database_error(config, &error))?;
        if flags.get_flag("json") {
            return output::json(&tokens.into_iter().map(crate::service::accounts::Token::from).collect::<Vec<_>>());
        }
        let row = |token: &crate::store::accounts::TokenRecord| {
            let kind = token.kind.as_str().to_lowercase();
            let (role, ends) = (token.role.as_str().to_owned(), token.expires_at.to_string());
            let (name, user) = (token.name.clone(), output::or_dash(token.user.as_ref()));
            vec![token.row.to_string(), kind, name, role, user, ends, output::or_dash(token.revoked_at)]
        };
        let heads = ["row", "kind", "name", "role", "user", "expires", "revoked"];
        output::table(&heads, &tokens.iter().map(row).collect::<Vec<_>>())
    })
}

fn revoke_token(config: &Config, flags: &ArgMatches) -> Result<(), StartError> {
    let row = flags.get_one::<i64>("ROW").copied().unwrap_or_default();
    let by = by();
    let was_there = assembly::with_store(config, async |writer, _| {
        let revoked = writer.write(move |store| accounts::revoke_token(store, row, &by)).await;
        revoked.map_err(|error| assembly::database_error(config, &error))
    })?;
    if !was_there {
        let help = "`ks-server admin token list` shows all tokens";
        return Err(StartError::refused(format!("there is no token {row}"), help));
    }
    edge::say(&format!("token {row} revoked"))
}
