//! Integers in documents, settings and headers: digits only and bounded, so that the stored value is the one that was sent.

use std::{fmt, marker::PhantomData, ops::RangeInclusive, str::FromStr};

use serde::{
    Deserialize, Deserializer,
    de::{self, Unexpected, Visitor},
};

/// Limit of every counter: 2^53 - 1, the largest integer range that programs with IEEE doubles represent exactly.
pub const COUNT_MAX: u64 = (1 << 53) - 1;

pub trait BoundedInteger: Sized + TryFrom<u64> + TryFrom<i64> {
    /// Minimum and maximum, both inclusive.
    const BOUNDS: (i64, u64);
}

impl BoundedInteger for u64 {
    const BOUNDS: (i64, u64) = (0, COUNT_MAX);
}

impl BoundedInteger for u32 {
    const BOUNDS: (i64, u64) = (0, 4_294_967_295);
}

impl BoundedInteger for i16 {
    const BOUNDS: (i64, u64) = (-32_768, 32_767);
}

/// Parses an integer in its canonical form: no plus sign, no leading zeros. For settings, flags, queries and paths; `parse` accepts
/// more.
pub fn canonical<T: FromStr + ToString>(text: &str) -> Option<T> {
    text.parse().ok().filter(|number: &T| number.to_string() == text)
}

/// A command-line value parser: a canonical integer within a range.
pub fn within<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + ToString + PartialOrd + Clone + Send + Sync + 'static,
{
    move |text| {
        let number = canonical(text).filter(|number| range.contains(number));
        number.ok_or_else(|| {
            format!("expected a whole number from {} to {}", range.start().to_string(), range.end().to_string())
        })
    }
}

/// Parses an integer of an HTTP header: digits only, leading zeros allowed; `parse` would accept a plus sign too.
pub fn digits<T: FromStr>(text: &str) -> Option<T> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits)
}

/// Deserializes an integer that is written with digits only; refuses fractions, exponents, texts and values out of bounds.
///
/// # Errors
/// Anything else; the message says what was expected.
pub fn integer<'de, D: Deserializer<'de>, T: BoundedInteger>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(Digits(PhantomData))
}

/// Like [`integer`], for a field that may be missing.
pub fn optional_integer<'de, D: Deserializer<'de>, T: BoundedInteger>(deserializer: D) -> Result<Option<T>, D::Error> {
    struct Read<T>(T);
    impl<'de, T: BoundedInteger> Deserialize<'de> for Read<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            integer(deserializer).map(Self)
        }
    }
    Ok(Option::<Read<T>>::deserialize(deserializer)?.map(|Read(number)| number))
}

struct Digits<T>(PhantomData<T>);

impl<T: BoundedInteger> Visitor<'_> for Digits<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, greatest) = T::BOUNDS;
        write!(f, "a whole number from {least} to {greatest}")
    }

    fn visit_i64<E: de::Error>(self, given: i64) -> Result<T, E> {
        match u64::try_from(given) {
            Ok(given) => self.visit_u64(given),
            Err(_) if given < T::BOUNDS.0 => Err(E::invalid_value(Unexpected::Signed(given), &self)),
            Err(_) => T::try_from(given).map_err(|_| E::invalid_value(Unexpected::Signed(given), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, given: u64) -> Result<T, E> {
        if given > T::BOUNDS.1 {
            return Err(E::invalid_value(Unexpected::Unsigned(given), &self));
        }
        T::try_from(given).map_err(|_| E::invalid_value(Unexpected::Unsigned(given), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_is_accepted() {
        assert_eq!((canonical::<u64>("0"), canonical::<i16>("-60")), (Some(0), Some(-60)));
        for other in ["", "+5", "05", "-0", "00", " 5", "5 ", "0x5", "5.0", "5e1", "\u{665}", "70000"] {
            assert_eq!(canonical::<u16>(other), None, "{other}");
            assert_eq!(within(0..=9_u16)(other), Err("expected a whole number from 0 to 9".to_owned()), "{other}");
        }
        assert_eq!((within(1..=9_u8)("9"), within(1..=9_u8)("0").is_err()), (Ok(9), true));
    }

    #[test]
    fn only_digits_are_accepted() {
        assert_eq!((digits::<u64>("0"), digits::<u64>("18446744073709551615")), (Some(0), Some(u64::MAX)));
        assert_eq!((digits::<u16>("007"), digits::<u16>("65536")), (Some(7), None));
        for other in ["", "+5", "-5", " 5", "5 ", "0x5", "5.0", "\u{665}"] {
            assert_eq!(digits::<u64>(other), None, "{other}");
        }
    }
}
