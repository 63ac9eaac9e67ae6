//! What commands there are, with their arguments: on the wire a kind, and the argument as a TOON document of its own.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::LogLevel;
use crate::{
    document::{self, DocumentError},
    number::{whole, whole_if},
    text::Text,
    time::UnixMs,
};

/// Longest argument on the wire, in bytes.
pub const ARGUMENT_BYTES_MAX: usize = 1_024;

/// A command as it is meant. In JSON: `{"kind": "set_config", "argument": {"name": "volume", "value": "3"}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", content = "argument", rename_all = "snake_case", deny_unknown_fields)]
pub enum CommandOrder {
    /// Boot again.
    Reboot,
    /// Send log lines now, by POST /logs.
    FetchLogs(FetchLogs),
    /// Keep a setting.
    SetConfig(SetConfig),
    /// Fetch the server's keyset now, because it has a new key. Goes before other commands.
    AddKey(AddKey),
    /// Stop updates that are under way. Goes before other commands.
    HaltUpdates(HaltUpdates),
    /// Make a new key, and rotate to it by POST /rotate-key.
    RotateKey,
    /// Something that a firmware and its operators have agreed on.
    Custom(Custom),
}

/// Which log lines to send.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FetchLogs {
    /// Not those before this time; all that are kept if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<UnixMs>,
    /// The least severe level to send; `debug` if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<LogLevel>,
    /// At most so many, the newest; all if it is missing.
    #[serde(default, deserialize_with = "whole_if", skip_serializing_if = "Option::is_none")]
    pub lines_max: Option<u32>,
}

/// A setting of the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SetConfig {
    /// Its name.
    pub name: Text<64>,
    /// Its value.
    pub value: Text<256>,
}

/// Which keyset has the new key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AddKey {
    /// Version of the keyset.
    #[serde(deserialize_with = "whole")]
    #[cfg_attr(feature = "schema", schemars(range(max = 9_007_199_254_740_991_u64)))]
    pub keyset_version: u64,
}

/// Which updates to stop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HaltUpdates {
    /// That of this release only; every one if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_id: Option<Text<64>>,
}

/// A kind that this program does not know, with any argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// Its kind on the wire: 1 to 32 characters of `a-z` and `_`, and none of the known kinds.
    pub kind: Text<32>,
    /// Its argument on the wire, as it is.
    #[serde(default)]
    pub argument: Text<ARGUMENT_BYTES_MAX>,
}

/// Why a command can't be sent, or not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCommand {
    /// A custom kind that is none.
    #[error("kind: expected 1 to 32 characters of a-z and _, and none of {}", KNOWN_KINDS.join(", "))]
    Kind,
    /// A custom argument that would break a line.
    #[error("argument: expected text without control characters other than a line feed")]
    Control,
    /// The argument as a document is too long.
    #[error("argument: {bytes} bytes as a document, expected at most {ARGUMENT_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// An argument that is not the kind's.
    #[error("argument: {0}")]
    Argument(#[from] DocumentError),
}

/// Kinds that have arguments of their own.
const KNOWN_KINDS: [&str; 6] = ["reboot", "fetch_logs", "set_config", "add_key", "halt_updates", "rotate_key"];

impl CommandOrder {
    /// Whether it goes before other commands of the device.
    pub fn is_urgent(&self) -> bool {
        matches!(self, Self::AddKey(_) | Self::HaltUpdates(_))
    }

    /// Kind and argument as they stand on the wire.
    ///
    /// # Errors
    /// A custom kind or argument is out of bounds.
    pub fn to_wire(&self) -> Result<(String, String), BadCommand> {
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
                    return Err(BadCommand::Kind);
                }
                (kind, argument.as_str().to_owned())
            }
        };
        if argument.chars().any(|c| c.is_control() && c != '\n') {
            return Err(BadCommand::Control);
        }
        let bytes = argument.len();
        if bytes > ARGUMENT_BYTES_MAX { Err(BadCommand::TooLong { bytes }) } else { Ok((kind.to_owned(), argument)) }
    }

    /// The command that stands on the wire as this kind and argument.
    ///
    /// # Errors
    /// The argument is not the kind's. A kind that is not known is a [`Custom`] one.
    pub fn from_wire(kind: &str, argument: &str) -> Result<Self, BadCommand> {
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

fn written<T: Serialize>(argument: &T) -> Result<String, BadCommand> {
    Ok(document::encode(argument)?)
}

fn read<T: DeserializeOwned>(argument: &str) -> Result<T, BadCommand> {
    Ok(document::decode(argument)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_goes_over_the_wire_and_back() {
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
    fn what_is_out_of_bounds_is_refused() {
        let custom = |kind: &str, argument: &str| {
            CommandOrder::Custom(Custom { kind: Text::truncated(kind), argument: Text::truncated(argument) }).to_wire()
        };
        for kind in ["", "Dance", "reboot", "a b"] {
            assert_eq!(custom(kind, ""), Err(BadCommand::Kind), "{kind}");
        }
        assert_eq!(custom("dance", "a\tb"), Err(BadCommand::Control));
        let name = "\"".repeat(64);
        let long = SetConfig { name: Text::truncated(&name), value: Text::truncated(&"\\".repeat(256)) };
        assert!(CommandOrder::SetConfig(long).to_wire().is_ok());
        assert!(CommandOrder::from_wire("set_config", "name: x").is_err());
    }
}
