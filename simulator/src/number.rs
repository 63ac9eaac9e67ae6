//! Numbers in sentences: digits in groups of three, and nouns that agree with their number.

use std::fmt::Display;

use ks_protocol::text::plural;

/// `1,234,567`, `-1,000`.
pub(crate) fn grouped(number: impl Display) -> String {
    ks_reports::grouped_by(number, ',')
}

/// `1 device`, `1,000 devices`.
pub(crate) fn counted(count: impl Display + PartialEq + From<u8> + Copy, noun: &str) -> String {
    format!("{} {}", grouped(count), plural(count, noun))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        let numbers = [0_i64, 999, 1_000, -1_000, 1_234_567].map(grouped);
        assert_eq!(numbers, ["0", "999", "1,000", "-1,000", "1,234,567"]);
    }

    #[test]
    fn a_noun_agrees_with_its_number() {
        assert_eq!([0_u64, 1, 2_000].map(|count| counted(count, "device")), ["0 devices", "1 device", "2,000 devices"]);
    }
}
