//! A heartbeat: sends telemetry and pending ACKs; returns commands, an offer and the time of the next beat.

use ks_protocol::{
    id::{CommandId, Sequence},
    message::{AckState, Command, CommandOrder, Firmware, Heartbeat, LogLevel, Network, NextBeat},
    signature::{OpenError, Reply},
    text::{Rows, Text},
    time::UnixMs,
};
use serde_json::json;

use super::{ActionCounts, AnswerEffect, Exchange, Incoming, Notes, Outgoing};
use crate::{
    device::{
        commands::Delivery,
        firmware::claimed_name,
        machine::{Machine, Rotation},
    },
    link::BeatAnswer,
    seed,
};

pub(super) struct Beat;

impl Exchange for Beat {
    fn name(&self) -> &'static str {
        "heartbeat"
    }

    fn is_due(&self, _: &Machine) -> bool {
        false // its timer says when
    }

    fn request(&self, machine: &mut Machine, now: UnixMs) -> Option<Outgoing> {
        let beat = next(machine, now);
        Outgoing::signed(&machine.key, &beat)
    }

    fn answer(&self, machine: &mut Machine, answer: &Incoming<'_>) -> Result<AnswerEffect, OpenError> {
        let reply = answer.open(machine)?;
        Ok(take(machine, reply))
    }
}

/// The next heartbeat of a device.
pub(in crate::device) fn next(machine: &mut Machine, now: UnixMs) -> Heartbeat {
    let Sequence { boot_epoch, seq } = machine.advance();
    let uptime_s = machine.uptime(now).as_secs();
    let warmth = seed::below(&mut machine.telemetry, 150) as f64 / 10.0;
    Heartbeat {
        kind: Default::default(),
        device_id: machine.device_id.clone(),
        boot_epoch,
        seq,
        sent_at: now,
        keyset_version: machine.server_keys.version,
        firmware: Firmware {
            version: Text::truncated(&machine.firmware.running().version),
            release_counter: machine.firmware.running().release_counter,
        },
        uptime_s,
        cpu_temp_c: 35.0 + warmth,
        free_mem_kib: 96_000 + seed::below(&mut machine.telemetry, 32_000),
        network: machine.network,
        rssi_dbm: (machine.network != Network::Ethernet)
            .then(|| -90 + i16::try_from(seed::below(&mut machine.telemetry, 50)).unwrap_or(0)),
        acks: Rows::truncated(machine.commands.acks().to_vec()),
    }
}

/// Applies the answer to a heartbeat that was handed over as a value, as [`Exchange::answer`] applies a document's.
pub(in crate::device) fn answered(
    machine: &mut Machine,
    (reply, key_id): BeatAnswer,
) -> Result<AnswerEffect, OpenError> {
    let reply = machine.trust(reply, &key_id)?;
    Ok(take(machine, reply))
}

fn take(machine: &mut Machine, reply: Reply<NextBeat>) -> AnswerEffect {
    let mut taken = AnswerEffect::of(&reply);
    let Reply::Answer(next) = reply else { return taken };
    machine.commands.recorded(|_| true); // they came along and are stored
    machine.newer_keyset_announced(next.keyset_version);
    // A newer keyset may have cut off the key that signed it: the keyset first, the offer comes again.
    if let Some(offer) = next.firmware.as_ref().filter(|_| machine.wanted_keyset.is_none()) {
        machine.firmware.offered(&offer.manifest, &machine.server_keys, next.server_time);
    }
    for command in next.commands.as_slice() {
        execute(machine, command, &mut taken.done, next.server_time);
    }
    taken.wait_ms = Some(next.next_beat_ms);
    taken.notes = notes(&next);
    taken
}

/// Log fields of an answer, besides the time of the next heartbeat.
fn notes(next: &NextBeat) -> Notes {
    let mut notes = Notes::new();
    if let Some(offer) = &next.firmware {
        notes.extend(claimed_name(offer.manifest.as_str()).map(|release_id| ("offer", json!(release_id))));
    }
    let kinds: Vec<&str> = next.commands.as_slice().iter().map(|command| command.kind.as_str()).collect();
    if !kinds.is_empty() {
        notes.push(("commands", json!(kinds)));
    }
    notes
}

/// Executes a command once, however often it is delivered; ACKs each delivery.
pub(super) fn execute(machine: &mut Machine, command: &Command, done: &mut ActionCounts, now: UnixMs) {
    let command_id = &command.command_id;
    let order = match CommandOrder::from_wire(command.kind.as_str(), command.argument.as_str()) {
        Ok(CommandOrder::Custom(_)) => {
            return machine.commands.acknowledge(command_id, AckState::Rejected, "unknown kind");
        }
        Err(error) => return machine.commands.acknowledge(command_id, AckState::Rejected, &error.to_string()),
        Ok(order) => order,
    };
    let delivery = machine.commands.delivered(command_id);
    if delivery != Delivery::Again {
        done.commands_succeeded += 1;
        done.commands_applied_twice += u64::from(delivery == Delivery::Forgotten);
        apply(machine, &order, command_id, now);
    }
    // It is done once the server knows the new key.
    let is_under_way = machine.rotating.as_ref().is_some_and(|rotation| rotation.command_id == *command_id);
    if !is_under_way {
        machine.commands.acknowledge(command_id, AckState::Succeeded, "");
    }
}

fn apply(machine: &mut Machine, order: &CommandOrder, command_id: &CommandId, now: UnixMs) {
    match order {
        CommandOrder::Reboot => machine.reboot_is_due = true,
        CommandOrder::FetchLogs(_) => {
            machine.log.note(LogLevel::Info, "an operator requested this log", now);
            machine.log.ask();
        }
        CommandOrder::AddKey(argument) => machine.newer_keyset_announced(argument.keyset_version),
        CommandOrder::RotateKey if machine.rotating.is_none() => {
            let (old, new) = (machine.key.clone(), machine.make_key());
            machine.rotating = Some(Box::new(Rotation { old, new, command_id: command_id.clone() }));
        }
        CommandOrder::HaltUpdates(argument) => {
            machine.firmware.halt(argument.release_id.as_ref().map(Text::as_str));
        }
        // A simulated device has no settings that show.
        CommandOrder::SetConfig(_) | CommandOrder::RotateKey | CommandOrder::Custom(_) => {}
    }
}
