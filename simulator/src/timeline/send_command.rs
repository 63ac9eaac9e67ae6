//! `do = "send_command"`: the operator sends a command.

use ks_protocol::message::CommandOrder;

use super::{Check, Kind, Step, StepBehavior, StepContext, kind};
use crate::number::grouped;
use crate::scenario::{
    check::value::{WORD, text_like},
    limits,
    problem::{Problem, Problems, quoted},
    reader::{At, Field, Reader},
};

/// The operator sends a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendCommand {
    pub command: CommandOrder,
    pub recipients: Recipients,
}

/// The devices that a command is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipients {
    All,
    /// A number of devices, from 1 to all.
    Some(u32),
}

pub(super) const KIND: Kind = kind! {
    "send_command", "a `send_command` step", order, read,
    "The operator queues a command; each device receives it with its next heartbeat's answer.",
    "kind": "word", "required", "1 to 32 of `a-z` and `_`", "what to do: [protocol.md, section 11.1](protocol.md#111-kinds). Devices execute `reboot`, `fetch_logs`, `set_config`, `add_key`, `halt_updates` and `rotate_key`, and reject the rest";
    "argument": "text", "`\"\"`", "at most 1,024 bytes; the kind's own fields as TOON, a line each: `\"level: warn\"`, `\"name: volume\\nvalue: \\\"3\\\"\"`. For a kind that devices reject, any text", "the command's argument";
    "devices": "whole number", "all that are not revoked", "1 to the fleet", "how many, chosen by the seed";
};

fn read(table: &Reader<'_>, problems: &mut Problems) -> Check {
    let kind = table.text("kind", problems);
    let argument = table.text("argument", problems);
    let devices = table.integer("devices", problems);
    Box::new(move |judge| {
        let kind = judge.required(kind, "kind", "kind = \"reboot\"");
        let kind = text_like("kind", kind, WORD, judge.problems);
        let argument = judge.or_default(argument, "");
        let argument = within_bounds(argument, judge.problems);
        let recipients = match devices {
            Field::Absent => Some(Recipients::All),
            Field::Wrong => None,
            Field::Given(devices) => judge.devices(Some(devices)).map(|devices| Recipients::Some(devices.value)),
        };
        let command = kind.zip(argument).and_then(|(kind, argument)| command(&kind, &argument, judge.problems));
        let (command, recipients) = command.zip(recipients)?;
        Some(Step::SendCommand(SendCommand { command, recipients }))
    })
}

/// The argument must be valid for the kind, in its wire form: `level: warn`.
fn command(kind: &At<String>, argument: &At<String>, problems: &mut Problems) -> Option<CommandOrder> {
    let command = CommandOrder::from_wire(&kind.value, &argument.value);
    let command = command.and_then(|command| command.to_wire().map(|_| command));
    let refused = |error| {
        let message = format!("`argument` is not valid for {}: {error}", quoted(&kind.value));
        let expected = "the fields of its argument, such as `argument = \"level: warn\"`";
        problems.push(Problem::new(argument.at, message).expected(expected));
    };
    command.map_err(refused).ok()
}

/// The admin API's limits: counted in bytes, no control characters but line feeds.
fn within_bounds(argument: Option<At<String>>, problems: &mut Problems) -> Option<At<String>> {
    let argument = argument?;
    let wrong = if argument.value.len() > limits::ARGUMENT_BYTES_MAX {
        format!("has {} bytes", argument.value.len())
    } else if argument.value.chars().any(|c| c.is_control() && c != '\n') {
        "has control characters".to_owned()
    } else {
        return Some(argument);
    };
    let expected = format!("at most {} bytes of text", grouped(limits::ARGUMENT_BYTES_MAX));
    problems.push(Problem::new(argument.at, format!("`argument` {wrong}")).expected(expected));
    None
}

impl StepBehavior for SendCommand {
    async fn act(&self, context: &mut StepContext<'_>) -> Result<(), String> {
        let chosen = match self.recipients {
            Recipients::All => context.in_service().cloned().collect(),
            Recipients::Some(count) => context.choose("send_command", count),
        };
        let own = context.run_context.own(chosen);
        context.run_context.operator.send_command(&own, &self.command).await.map_err(|error| error.to_string())
    }
}
