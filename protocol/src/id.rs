//! Identifiers and the replay pair, validated on construction.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::number;

/// Largest sequence number.
pub const SEQ_MAX: u64 = number::COUNT_MAX;

/// Length limit of an identifier, in bytes.
pub const ID_BYTES_MAX: usize = 64;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not an identifier: expected 1 to 64 characters of A-Z a-z 0-9 . _ - beginning with a letter")]
pub struct InvalidId {
    given: String,
}

fn checked(given: &str) -> Result<Arc<str>, InvalidId> {
    let first_is_letter = given.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let all_allowed = given.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if first_is_letter && all_allowed && given.len() <= ID_BYTES_MAX {
        Ok(given.into())
    } else {
        Err(InvalidId { given: given.chars().take(ID_BYTES_MAX + 1).collect() })
    }
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 1 to 64 characters of `A-Z a-z 0-9 . _ -`, the first a letter; cheap to clone.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text of the identifier.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(given: &str) -> Result<Self, InvalidId> {
                checked(given).map(Self)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9._-]{0,63}$" })
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let given = std::borrow::Cow::<str>::deserialize(deserializer)?;
                given.parse().map_err(de::Error::custom)
            }
        }
    };
}

identifier! {
    /// Identifies one device for its lifetime.
    DeviceId
}
identifier! {
    /// Identifies one command.
    CommandId
}
identifier! {
    /// Identifies one server key: `k` and the first 16 hex digits of the SHA-256 of the public key.
    KeyId
}

identifier! {
    /// Identifies one firmware release.
    ReleaseId
}
identifier! {
    /// Identifies one rollout of a release.
    RolloutId
}

/// The replay pair: `boot_epoch` increases with each boot, `seq` with each request; as a pair they strictly increase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence {
    /// Boots since manufacture; persisted on the device and incremented before the first request after a boot.
    pub boot_epoch: u32,
    /// Requests since that boot.
    pub seq: Seq,
}

impl Sequence {
    /// Builds a pair; a `seq` above [`SEQ_MAX`] is clamped.
    pub fn new(boot_epoch: u32, seq: u64) -> Self {
        Self { boot_epoch, seq: Seq(seq.min(SEQ_MAX)) }
    }
}

/// The number of a request since boot, at most [`SEQ_MAX`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Seq(u64);

impl Seq {
    pub fn get(self) -> u64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Seq {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        number::integer(deserializer).map(Self)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Seq {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Seq".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 0, "maximum": SEQ_MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_bounded_and_plain() {
        for good in ["KS-000042", "a", "K.1_x-y"] {
            assert_eq!(good.parse::<DeviceId>().unwrap().as_str(), good);
        }
        for bad in ["", "1abc", "-x", "a b", "a/b", "é", &"a".repeat(65)] {
            assert!(bad.parse::<DeviceId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_later_boot_is_greater_than_any_seq() {
        assert!(Sequence::new(8, 0) > Sequence::new(7, SEQ_MAX));
        assert!(Sequence::new(7, 11) > Sequence::new(7, 10));
    }
}
