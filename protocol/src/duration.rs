//! Durations in scenarios and on command lines: `250ms`, `30s`, `5m`, `48h`, `7d`, combined `1h30m`.

use std::{fmt::Write as _, ops::RangeInclusive, time::Duration};

/// The units from large to small, with their length in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Characters of an unknown unit that an error quotes.
const UNKNOWN_UNIT_CHARS_MAX: usize = 16;

/// Common spellings of the units.
const ALIASES: [(&str, &str); 19] = [
    ("day", "d"),
    ("days", "d"),
    ("hour", "h"),
    ("hours", "h"),
    ("hr", "h"),
    ("hrs", "h"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("msec", "ms"),
    ("msecs", "ms"),
    ("milli", "ms"),
    ("millis", "ms"),
    ("milliseconds", "ms"),
];

/// Why a text is not a duration. `Display` completes the sentence "`ramp` ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("is empty")]
    Empty,
    /// A number without a unit.
    #[error("has no unit")]
    NoUnit {
        /// The text with seconds as its unit.
        in_seconds: String,
    },
    /// Letters that are not a unit.
    #[error("has `{unit}`, which is not a unit of time")]
    UnknownUnit {
        unit: String,
        /// The text with the likely unit.
        suggestion: Option<String>,
    },
    /// A unit comes twice, or after a smaller one.
    #[error("has `{unit}` out of order")]
    OutOfOrder { unit: &'static str },
    /// A sign, a fraction, a space or another character instead of a digit.
    #[error("has `{found}` where a digit should be")]
    NotADigit {
        found: char,
        /// The text without spaces and fractions, if that makes it a duration.
        suggestion: Option<String>,
    },
    /// More milliseconds than fit into 64 bits.
    #[error("is too long")]
    TooLong,
}

impl DurationError {
    /// A likely replacement, if there is one.
    pub fn suggestion(&self) -> Option<&str> {
        match self {
            Self::NoUnit { in_seconds } => Some(in_seconds),
            Self::UnknownUnit { suggestion, .. } | Self::NotADigit { suggestion, .. } => suggestion.as_deref(),
            Self::Empty | Self::OutOfOrder { .. } | Self::TooLong => None,
        }
    }
}

/// Parses a duration: integers, each with its unit, from the largest unit to the smallest.
///
/// # Errors
/// No unit, an unknown unit, a unit twice or out of order, anything but digits, more than 2^64 - 1 ms.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    parse_strict(text).map_err(|error| match error {
        DurationError::UnknownUnit { unit, .. } => DurationError::UnknownUnit { unit, suggestion: respelled(text) },
        DurationError::NotADigit { found, .. } => {
            let suggestion = respelled(&text.replace(' ', "")).or_else(|| without_fraction(text));
            DurationError::NotADigit { found, suggestion }
        }
        other => other,
    })
}

/// Like [`parse`], without a suggestion in its error.
fn parse_strict(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    let mut rest = text;
    let mut total_ms: u64 = 0;
    let mut units_left = UNITS.as_slice();
    while !rest.is_empty() {
        let digits = leading(rest, |c| c.is_ascii_digit());
        if digits.is_empty() {
            let found = rest.chars().next().unwrap_or_default();
            return Err(DurationError::NotADigit { found, suggestion: None });
        }
        rest = rest.strip_prefix(digits).unwrap_or_default();
        let letters = leading(rest, char::is_alphabetic);
        if letters.is_empty() {
            return Err(match rest.chars().next() {
                None => DurationError::NoUnit { in_seconds: format!("{text}s") },
                Some(found) => DurationError::NotADigit { found, suggestion: None },
            });
        }
        rest = rest.strip_prefix(letters).unwrap_or_default();
        let Some(&(unit, unit_ms)) = UNITS.iter().find(|(unit, _)| *unit == letters) else {
            let unit = letters.chars().take(UNKNOWN_UNIT_CHARS_MAX).collect();
            return Err(DurationError::UnknownUnit { unit, suggestion: None });
        };
        let Some(place) = units_left.iter().position(|(left, _)| *left == unit) else {
            return Err(DurationError::OutOfOrder { unit });
        };
        units_left = units_left.get(place + 1..).unwrap_or_default();
        let part_ms = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit_ms));
        total_ms = part_ms.and_then(|part| total_ms.checked_add(part)).ok_or(DurationError::TooLong)?;
    }
    Ok(Duration::from_millis(total_ms))
}

/// A command-line value parser: a duration within a range, which errors name.
pub fn within(
    range: RangeInclusive<Duration>,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| {
        let expected =
            format!("expected a duration from {} to {}, such as 1h30m", format(*range.start()), format(*range.end()));
        match parse(text) {
            Ok(duration) if range.contains(&duration) => Ok(duration),
            Ok(_) => Err(expected),
            Err(error) => Err(format!("it {error}; {expected}")),
        }
    }
}

/// Formats a duration exactly, to the millisecond, in the fewest units: `1h30m`, `250ms`, `0s`.
pub fn format(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, unit_ms) in UNITS {
        let count = left / unit_ms;
        left %= unit_ms;
        if count > 0 {
            let _ = write!(text, "{count}{unit}"); // writing to a String does not fail
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// The longest prefix of `text` whose characters all satisfy `belongs`.
fn leading(text: &str, belongs: impl Fn(char) -> bool) -> &str {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// The text with canonical units, if that makes it a duration.
fn respelled(text: &str) -> Option<String> {
    let mut respelled = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = leading(rest, |c| c.is_ascii_digit());
        let letters = leading(rest.strip_prefix(digits)?, char::is_alphabetic);
        rest = rest.strip_prefix(digits)?.strip_prefix(letters)?;
        let lower = letters.to_lowercase();
        let unit = ALIASES.iter().find(|(also, _)| *also == lower).map_or(lower.as_str(), |(_, unit)| unit);
        if digits.is_empty() || letters.is_empty() {
            return None;
        }
        respelled.push_str(digits);
        respelled.push_str(unit);
    }
    parse_strict(&respelled).is_ok().then_some(respelled)
}

/// `1.5h` as `1h30m`, if that is exact in milliseconds.
fn without_fraction(text: &str) -> Option<String> {
    let number = leading(text, |c| c.is_ascii_digit() || c == '.');
    let (whole, fraction) = number.split_once('.')?;
    let unit = text.strip_prefix(number)?.trim();
    let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let scaled = format!("{whole}{fraction}").parse::<u64>().ok()?.checked_mul(*unit_ms)?;
    scaled.is_multiple_of(scale).then(|| format(Duration::from_millis(scaled / scale)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed_ms(text: &str) -> Result<u128, String> {
        parse(text).map(|duration| duration.as_millis()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_unit_is_parsed() {
        for (text, expected_ms) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("48h", 172_800_000),
            ("7d", 604_800_000),
            ("1h30m", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("1m1ms", 60_001),
            ("90m", 5_400_000),
            ("0s", 0),
        ] {
            assert_eq!(parsed_ms(text), Ok(expected_ms), "{text}");
        }
    }

    #[test]
    fn invalid_durations_are_explained() {
        for (text, why) in [
            ("", "is empty"),
            ("30", "has no unit"),
            ("1h30", "has no unit"),
            ("30x", "has `x`, which is not a unit of time"),
            ("30S", "has `S`, which is not a unit of time"),
            ("30m1h", "has `h` out of order"),
            ("1s1s", "has `s` out of order"),
            ("1.5s", "has `.` where a digit should be"),
            ("-3s", "has `-` where a digit should be"),
            ("1h 30m", "has ` ` where a digit should be"),
            ("s", "has `s` where a digit should be"),
            ("٣s", "has `٣` where a digit should be"),
            ("99999999999999999999s", "is too long"),
            ("213503982335d", "is too long"),
        ] {
            assert_eq!(parsed_ms(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_likely_unit_is_suggested() {
        for (text, meant) in [
            ("30", Some("30s")),
            ("30S", Some("30s")),
            ("5min", Some("5m")),
            ("1hour30min", Some("1h30m")),
            ("250millis", Some("250ms")),
            ("1h 30m", Some("1h30m")),
            ("30 sec", Some("30s")),
            ("1.5h", Some("1h30m")),
            ("0.25 s", Some("250ms")),
            ("0.0001s", None),
            ("1.", None),
            ("3weeks", None),
            ("4µs", None),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.suggestion(), meant, "{text}");
        }
    }

    #[test]
    fn a_range_includes_its_ends() {
        let parser = within(Duration::from_secs(1)..=Duration::from_hours(24));
        assert_eq!((parser("1s"), parser("24h")), (Ok(Duration::from_secs(1)), Ok(Duration::from_hours(24))));
        for (text, why) in
            [("999ms", "expected a duration from 1s to 1d"), ("1d1ms", "from 1s to 1d"), ("5", "it has no unit")]
        {
            assert!(parser(text).unwrap_err().contains(why), "{text}");
        }
    }

    #[test]
    fn formatting_round_trips() {
        for (ms, text) in [
            (0, "0s"),
            (1, "1ms"),
            (1_500, "1s500ms"),
            (60_000, "1m"),
            (5_400_000, "1h30m"),
            (172_800_000, "2d"),
            (u64::MAX, "213503982334d14h25m51s615ms"),
        ] {
            let duration = Duration::from_millis(ms);
            assert_eq!(format(duration), text);
            assert_eq!(parse(text), Ok(duration));
        }
    }
}
