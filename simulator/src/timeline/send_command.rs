//! `do = "send_command"`: the operator sends a command.

use ks_protocol::message::CommandOrder;

use super::{Act, Check, Kind, Scene, Step, kind};
use crate::scenario::{
    check::value::{WORD, text_like},
    limits,
    problem::{Problem, Problems, grouped, quoted},
    reader::{At, Field, Reader},
};

/// The operator sends a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendCommand {
    /// What to do.
    pub command: CommandOrder,
    /// To whom.
    pub recipients: Recipients,
}

/// Who is sent a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipients {
    /// All devices.
    All,
    /// So many, at least 1 and at most all.
    Some(u32),
}

pub(super) const KIND: Kind = kind! {
    "send_command", "a `send_command` step", order, read,
    "The operator queues a command; devices get it with their next answer.",
    "kind": "word", "required", "1 to 32 of `a-z` and `_`", "what to do: [protocol.md, section 11.1](protocol.md#111-kinds). Devices carry out `reboot`, `fetch_logs`, `set_config`, `add_key`, `halt_updates` and `rotate_key`, and reject the rest";
    "argument": "text", "`\"\"`", "at most 1,024 bytes; the kind's own fields as TOON, a line each: `\"level: warn\"`, `\"name: volume\\nvalue: \\\"3\\\"\"`. Of a kind that devices reject, any text", "with what";
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

/// The argument must be the kind's, as it stands on the wire: `level: warn`.
fn command(kind: &At<String>, argument: &At<String>, problems: &mut Problems) -> Option<CommandOrder> {
    let command = CommandOrder::from_wire(&kind.value, &argument.value);
    let command = command.and_then(|command| command.to_wire().map(|_| command));
    let refused = |error| {
        let message = format!("`argument` is none of {}: {error}", quoted(&kind.value));
        let expected = "the fields of its argument, such as `argument = \"level: warn\"`";
        problems.push(Problem::new(argument.at, message).expected(expected));
    };
    command.map_err(refused).ok()
}

/// What the admin API takes: bytes, not characters, and none but line feeds that control.
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

impl Act for SendCommand {
    async fn act(&self, scene: &mut Scene<'_>) -> Result<(), String> {
        let chosen = match self.recipients {
            Recipients::All => {
                scene.stage.devices.iter().filter(|device| !scene.revoked.contains(device)).cloned().collect()
            }
            Recipients::Some(count) => scene.choose("send_command", count),
        };
        scene.stage.operator.send_command(&chosen, &self.command).await.map_err(|error| error.to_string())
    }
}
