//! `ks-server limits`: showing the limits, applying others on all servers, and returning to those before.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::{CommandResult, by, json, output, parent, settings, with_settings};
use crate::{
    assembly::{self, database_error},
    config::{Config, device_above_all},
    edge,
    failure::StartError,
    limit::LimitValues,
    service::limits::{self, LimitsChanged, LimitsError},
    store::limits::LimitOrigin,
};

pub(super) fn command() -> Command {
    let file = Arg::new("FILE").required(true).value_parser(value_parser!(PathBuf)).help("The limits in TOML");
    let apply = Command::new("apply").about("Apply a limits file on all servers; it replaces the one applied before");
    parent("limits", "Show and change the rate limits while servers run")
        .after_help("A limit, step by step:\n  ks-server limits show            the names, the values, and where they come from\n  ks-server limits apply FILE      FILE: [device_requests], below it per_min = 60 and mode = \"shadow\"\n  curl .../api/limits              what each has refused, or would have refused\n  ks-server limits rollback        the limits before the last ones")
        .subcommand(with_settings(Command::new("show").about("Show all limits").arg(json())))
        .subcommand(with_settings(apply.arg(file).arg(json())))
        .subcommand(with_settings(
            Command::new("rollback").about("Return to the limits that were in force before the last change").arg(json()),
        ))
}

pub(super) fn run(name: &str, flags: &ArgMatches) -> CommandResult {
    let config = settings(flags)?;
    let is_json = flags.get_flag("json");
    if name == "show" {
        return show(&config, is_json);
    }
    let changed = if let Ok(Some(path)) = flags.try_get_one::<PathBuf>("FILE") {
        let failed = |error| failed(&config, error, &path.display().to_string());
        let checked = limits::check_file(path, &config.limits, config.heartbeat_interval);
        let document = checked.map_err(failed)?;
        warn(&document.over(&config.limits));
        assembly::with_store(&config, async |writer, reader| {
            limits::apply(&writer, &reader, &document, (LimitOrigin::Order, None), by()).await.map_err(failed)
        })?
    } else {
        let failed = |error| failed(&config, error, "");
        let (changed, values) = assembly::with_store(&config, async |writer, reader| {
            let changed = limits::rollback(&writer, &reader, None, by()).await.map_err(failed)?;
            Ok((changed, limits::configured(&reader, &config.limits).await.map_err(failed)?.1))
        })?;
        warn(&values);
        changed
    };
    if is_json {
        return Ok(output::json(&changed)?);
    }
    let LimitsChanged { version, difference } = changed;
    let difference = if difference.is_empty() { "nothing changed".to_owned() } else { difference };
    Ok(output::lines(&[format!("version {version}: {difference}"), "running servers follow within 1 s".to_owned()])?)
}

/// Says which limits are accepted and were probably not meant.
fn warn(values: &LimitValues) {
    for above in device_above_all(values) {
        edge::complain(&format!("warning: {above}"));
    }
}

fn show(config: &Config, is_json: bool) -> CommandResult {
    let (version, values) = assembly::with_reader(config, async |reader| {
        limits::configured(&reader, &config.limits).await.map_err(|error| failed(config, error, ""))
    })?;
    warn(&values);
    let limits = limits::each(&values);
    if is_json {
        return Ok(output::json(&serde_json::json!({ "version": version, "limits": limits }))?);
    }
    let rows: Vec<Vec<String>> = limits
        .iter()
        .map(|limit| {
            let numbers = [limit.per_min, limit.per_day, limit.burst].map(output::or_dash);
            let words = [limit.mode.as_str(), limit.source.as_str()].map(str::to_owned);
            [&[limit.name.to_owned()][..], &numbers, &words].concat()
        })
        .collect();
    output::table(&["limit", "per_min", "per_day", "burst", "mode", "source"], &rows)?;
    let applied = if version == 0 { "no limits were applied".to_owned() } else { format!("applied version {version}") };
    Ok(edge::say(&format!(
        "{applied}; GET /api/limits of a running server says what each has refused, and which callers"
    ))?)
}

fn failed(config: &Config, error: LimitsError, path: &str) -> StartError {
    match error {
        LimitsError::Store(error) => database_error(config, &error),
        LimitsError::Faults(_) => StartError::refused(
            format!("{path} is not a valid limits file:\n{error}"),
            "correct these lines; nothing was changed",
        ),
        LimitsError::Changed(_) => StartError::refused(error.to_string(), "look at them, and try again"),
        LimitsError::NothingApplied => {
            StartError::refused(error.to_string(), "`ks-server limits show` shows where the limits come from")
        }
    }
}
