//! Wall-clock time on the wire: RFC 3339 in UTC with milliseconds, in one form only.

use std::{fmt, ops::Add, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Milliseconds since 1970-01-01T00:00:00Z; always written as `2026-11-23T18:20:11.482Z`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub u64);

/// The latest time that is accepted, `9998-12-31T23:59:59.999Z`; sums saturate here.
const MAX: u64 = 253_370_764_799_999;

impl UnixMs {
    /// Milliseconds since `earlier`; 0 if `earlier` is later.
    pub fn since_ms(self, earlier: UnixMs) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads RFC 3339 as people write it: with any offset, and with or without fractions of a second, of which milliseconds are kept.
    pub fn from_rfc3339(given: &str) -> Option<UnixMs> {
        let timestamp: jiff::Timestamp = given.parse().ok()?;
        u64::try_from(timestamp.as_millisecond()).ok().map(UnixMs).filter(|at| at.0 <= MAX)
    }

    /// This time minus `ms`, at least the epoch.
    #[must_use]
    pub fn minus_ms(self, ms: u64) -> UnixMs {
        UnixMs(self.0.saturating_sub(ms))
    }
}

impl Add<Duration> for UnixMs {
    type Output = UnixMs;
    fn add(self, later: Duration) -> UnixMs {
        UnixMs(self.0.saturating_add(u64::try_from(later.as_millis()).unwrap_or(u64::MAX)).min(MAX))
    }
}

impl fmt::Display for UnixMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = i64::try_from(self.0.min(MAX)).unwrap_or_default();
        let timestamp = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
        write!(f, "{timestamp:.3}")
    }
}

/// Why a text is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is not a time: expected RFC 3339 in UTC with milliseconds, such as 2026-11-23T18:20:11.482Z, of the years 1970 to 9998"
)]
pub struct InvalidTime {
    given: String,
}

impl FromStr for UnixMs {
    type Err = InvalidTime;
    fn from_str(given: &str) -> Result<Self, InvalidTime> {
        let bad = || InvalidTime { given: given.chars().take(40).collect() };
        let bytes = given.as_bytes();
        if bytes.len() != 24
            || bytes.get(10) != Some(&b'T')
            || bytes.get(19) != Some(&b'.')
            || bytes.last() != Some(&b'Z')
        {
            return Err(bad());
        }
        let timestamp: jiff::Timestamp = given.parse().map_err(|_| bad())?;
        let at = u64::try_from(timestamp.as_millisecond()).map(UnixMs).map_err(|_| bad())?;
        // Accepting a leap second or an unprintable year would store another time than was sent.
        if at.to_string() == given { Ok(at) } else { Err(bad()) }
    }
}

impl Serialize for UnixMs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UnixMs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = std::borrow::Cow::<str>::deserialize(deserializer)?;
        given.parse().map_err(de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for UnixMs {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "RFC 3339 in UTC with milliseconds",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3}Z$",
            "examples": ["2026-11-23T18:20:11.482Z"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form_round_trips() {
        let at = UnixMs(1_795_458_011_482);
        assert_eq!(at.to_string(), "2026-11-23T18:20:11.482Z");
        assert_eq!("2026-11-23T18:20:11.482Z".parse(), Ok(at));
        for bad in [
            "2026-11-23T18:20:11Z",
            "2026-11-23 18:20:11.482Z",
            "2026-11-23T18:20:11.482+01:00",
            "",
            "now",
            "2026-11-23T18:20:60.000Z",
            "2016-12-31T23:59:60.000Z",
            "2026-11-23T24:00:00.000Z",
            "2026-02-29T00:00:00.000Z",
            "9999-01-01T00:00:00.000Z",
            "1969-12-31T23:59:59.999Z",
            "2026-11-23T18:20:11.482z",
            "2026-11-23t18:20:11.482Z",
        ] {
            assert!(bad.parse::<UnixMs>().is_err(), "{bad}");
        }
    }

    #[test]
    fn extremes_do_not_overflow() {
        let last = "9998-12-31T23:59:59.999Z";
        assert_eq!((UnixMs(u64::MAX) + Duration::MAX).to_string(), last);
        assert_eq!(last.parse(), Ok(UnixMs(MAX)));
        assert_eq!(UnixMs(0).minus_ms(5), UnixMs(0));
    }
}
