//! The commands and their arguments. On the wire: a kind, and the argument as a TOON document of its own.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::LogLevel;
use crate::{
    document::{self, DocumentError},
    number::{integer, optional_integer},
    text::Text,
    time::UnixMs,
};

/// Length limit of an argument on the wire, in bytes.
pub const ARGUMENT_BYTES_MAX: usize = 1_024;

/// A typed command. In JSON: `{"kind": "set_config", "argument": {"name": "volume", "value": "3"}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", content = "argument", rename_all = "snake_case", deny_unknown_fields)]
pub enum CommandOrder {
    Reboot,
    /// Send log lines now, by POST /logs.
    FetchLogs(FetchLogs),
    /// Store a setting.
    SetConfig(SetConfig),
    /// Fetch the server's keyset now, because it has a new key. Delivered before other commands.
    AddKey(AddKey),
    /// Stop updates in progress. Delivered before other commands.
    HaltUpdates(HaltUpdates),
    /// Generate a new key and rotate to it by POST /rotate-key.
    RotateKey,
    /// Anything that a firmware and its operators agree on.
    Custom(Custom),
}

/// Which log lines to send.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FetchLogs {
    /// Lines from this time on; all if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<UnixMs>,
    /// The least severe level to send; `debug` if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<LogLevel>,
    /// Limit, the newest first; all if missing.
    #[serde(default, deserialize_with = "optional_integer", skip_serializing_if = "Option::is_none")]
    pub lines_max: Option<u32>,
}

/// A setting of the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SetConfig {
    pub name: Text<64>,
    pub value: Text<256>,
}

/// Which keyset has the new key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AddKey {
    #[serde(deserialize_with = "integer")]
    #[cfg_attr(feature = "schema", schemars(range(max = 9_007_199_254_740_991_u64)))]
    pub keyset_version: u64,
}

/// Which updates to stop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HaltUpdates {
    /// Only updates to this release; all if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_id: Option<Text<64>>,
}

/// A kind that this program does not know, with any argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// Its kind on the wire: 1 to 32 characters of `a-z` and `_`, other than the known kinds.
    pub kind: Text<32>,
    /// Its argument on the wire, verbatim.
    #[serde(default)]
    pub argument: Text<ARGUMENT_BYTES_MAX>,
}

/// Why a command can't be sent or parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCommand {
    /// An invalid custom kind.
    #[error("kind: expected 1 to 32 characters of a-z and _, other than {}", KNOWN_KINDS.join(", "))]
    Kind,
    /// A custom argument with control characters.
    #[error("argument: expected text without control characters other than a line feed")]
    Control,
    /// The encoded argument is too long.
    #[error("argument: {bytes} bytes as a document, expected at most {ARGUMENT_BYTES_MAX}")]
    TooLong { bytes: usize },
    /// An argument that does not match the kind.
    #[error("argument: {0}")]
    Argument(#[from] DocumentError),
}

/// Kinds that have arguments of their own.
const KNOWN_KINDS: [&str; 6] = ["reboot", "fetch_logs", "set_config", "add_key", "halt_updates", "rotate_key"];

impl CommandOrder {
    /// Whether it is delivered before other commands.
    pub fn is_urgent(&self) -> bool {
        matches!(self, Self::AddKey(_) | Self::HaltUpdates(_))
    }

    /// Kind and argument on the wire.
    ///
    /// # Errors
    /// A custom kind or argument is out of bounds.
    pub fn to_wire(&self) -> Result<(String, String), InvalidCommand> {
        let (kind, argument) = match self {
            Self::Reboot => ("reboot", String::new()),
            Self::FetchLogs(argument) => ("fetch_logs", written(argument)?),
            Self::SetConfig(argument) => ("set_config", written(argument)?),
            Self::AddKey(argument) => ("add_key", written(argument)?),
            Self::HaltUpdates(argument) => ("halt_updates", written(argument)?),
            Self::RotateKey => ("rotate_key", String::new()),
            Self::Custom(Custom { kind, argument }) => {
                let kind = kind.as_str();
                let is_word = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
                if !is_word || KNOWN_KINDS.contains(&kind) {
                    return Err(InvalidCommand::Kind);
                }
                (kind, argument.as_str().to_owned())
            }
        };
        if argument.chars().any(|c| c.is_control() && c != '\n') {
            return Err(InvalidCommand::Control);
        }
        let bytes = argument.len();
        if bytes > ARGUMENT_BYTES_MAX {
            Err(InvalidCommand::TooLong { bytes })
        } else {
            Ok((kind.to_owned(), argument))
        }
    }

    /// Parses kind and argument. An unknown kind is a [`Custom`] one.
    ///
    /// # Errors
    /// The argument does not match the kind.
    pub fn from_wire(kind: &str, argument: &str) -> Result<Self, InvalidCommand> {
        Ok(match kind {
            "reboot" => Self::Reboot,
            "fetch_logs" => Self::FetchLogs(read(argument)?),
            "set_config" => Self::SetConfig(read(argument)?),
            "add_key" => Self::AddKey(read(argument)?),
            "halt_updates" => Self::HaltUpdates(read(argument)?),
            "rotate_key" => Self::RotateKey,
            _ => Self::Custom(Custom { kind: Text::truncated(kind), argument: Text::truncated(argument) }),
        })
    }
}

fn written<T: Serialize>(argument: &T) -> Result<String, InvalidCommand> {
    Ok(document::encode(argument)?)
}

fn read<T: DeserializeOwned>(argument: &str) -> Result<T, InvalidCommand> {
    Ok(document::decode(argument)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_round_trips() {
        let orders = [
            CommandOrder::Reboot,
            CommandOrder::FetchLogs(FetchLogs::default()),
            CommandOrder::FetchLogs(FetchLogs {
                since: Some(UnixMs(5)),
                level: Some(LogLevel::Warn),
                lines_max: Some(7),
            }),
            CommandOrder::SetConfig(SetConfig {
                name: Text::truncated("volume"),
                value: Text::truncated("3, or: \"4\"\n"),
            }),
            CommandOrder::AddKey(AddKey { keyset_version: 2 }),
            CommandOrder::HaltUpdates(HaltUpdates { release_id: None }),
            CommandOrder::RotateKey,
            CommandOrder::Custom(Custom { kind: Text::truncated("dance"), argument: Text::truncated("well") }),
        ];
        for order in orders {
            let (kind, argument) = order.to_wire().unwrap();
            assert_eq!(CommandOrder::from_wire(&kind, &argument), Ok(order), "{kind} {argument:?}");
        }
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        let custom = |kind: &str, argument: &str| {
            CommandOrder::Custom(Custom { kind: Text::truncated(kind), argument: Text::truncated(argument) }).to_wire()
        };
        for kind in ["", "Dance", "reboot", "a b"] {
            assert_eq!(custom(kind, ""), Err(InvalidCommand::Kind), "{kind}");
        }
        assert_eq!(custom("dance", "a\tb"), Err(InvalidCommand::Control));
        let name = "\"".repeat(64);
        let long = SetConfig { name: Text::truncated(&name), value: Text::truncated(&"\\".repeat(256)) };
        assert!(CommandOrder::SetConfig(long).to_wire().is_ok());
        assert!(CommandOrder::from_wire("set_config", "name: x").is_err());
    }
}
