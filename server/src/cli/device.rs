//! `ks-server device`: what is known about one device.

use clap::{Arg, ArgMatches, Command, value_parser};
use ks_protocol::id::DeviceId;

use super::{CommandResult, json, output, parent, settings, with_settings};
use crate::{
    assembly,
    clock::{Clock, SystemClock},
    failure::StartError,
    service::investigation::gather,
};

pub(super) fn command() -> Command {
    let investigate = Command::new("investigate")
        .about("Show everything known about a device, to find out why it is silent")
        .arg(Arg::new("DEVICE_ID").required(true).value_parser(value_parser!(DeviceId)).help("The device"))
        .arg(json());
    parent("device", "Inspect one device").subcommand(with_settings(investigate))
}

pub(super) fn run(_: &str, flags: &ArgMatches) -> CommandResult {
    let config = settings(flags)?;
    let Some(device_id) = flags.get_one::<DeviceId>("DEVICE_ID") else { return Ok(()) }; // clap demands it
    let found = assembly::with_reader(&config, async |reader| {
        let found = gather(&reader, SystemClock.now(), config.heartbeat_interval, device_id).await;
        found.map_err(|error| assembly::database_error(&config, &error))
    })?;
    let about = found.ok_or_else(|| {
        StartError::refused(format!("there is no device {device_id}"), "`ks-server factory export` lists all devices")
    })?;
    if flags.get_flag("json") {
        output::json(&about)?;
    } else {
        output::lines(&about.lines())?;
    }
    Ok(())
}
