//! Numbers formatted for readers.

use std::fmt::Display;

/// Between groups of three digits.
const SEPARATOR: char = '\u{a0}';

/// A whole number, its digits in groups of three: `1,234,567`.
pub fn grouped_by(number: impl Display, separator: char) -> String {
    let number = number.to_string();
    let (sign, digits) = number.strip_prefix('-').map_or(("", number.as_str()), |digits| ("-", digits));
    let mut text = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(separator);
        }
        text.push(digit);
    }
    text
}

/// Groups the digits of a whole number by threes: `300 000`, with no-break spaces.
pub(crate) fn grouped(number: u64) -> String {
    grouped_by(number, SEPARATOR)
}

/// Groups the digits of the part before the point.
fn group(number: &str) -> String {
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(whole, fraction)| (whole, Some(fraction)));
    let grouped = grouped_by(whole, SEPARATOR).replace('-', "−");
    fraction.map_or(grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}

/// A sentence with its whole numbers grouped, but for names of releases.
pub(crate) fn group_in_sentence(sentence: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in sentence.split(' ') {
        let number = word.trim_end_matches(['.', ',', ';']);
        let is_number = !number.is_empty() && number.chars().all(|sign| sign.is_ascii_digit());
        let is_name = words.last().is_some_and(|before| before == "release");
        let end = word.strip_prefix(number).unwrap_or_default();
        words.push(if is_number && !is_name { group(number) + end } else { word.to_owned() });
    }
    words.join(" ")
}

/// A number with `decimals` decimals at most, trailing zeros dropped.
fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".into() } else { text.into() }
}

/// Short form for an axis or a headline: `850`, `60k`, `1.2M`, `6G`.
pub(crate) fn compact(value: f64) -> String {
    let (scale, suffix) = match value.abs() {
        size if size >= 999_950_000.0 => (1e9, "G"),
        size if size >= 999_950.0 => (1e6, "M"),
        size if size >= 9_999.5 => (1e3, "k"),
        _ => return group(&trimmed(value, if value.abs() < 1.0 { 3 } else { 1 })),
    };
    format!("{}{suffix}", trimmed(value / scale, 1))
}

/// A measured value in full: three decimals below a thousand (a microsecond, for milliseconds), one above.
pub(crate) fn measured(value: f64) -> String {
    group(&trimmed(value, if value.abs() < 1_000.0 { 3 } else { 1 }))
}

/// A rate or an amount without its fraction, where that says nothing: `56 056`, but `1.5`.
pub(crate) fn whole(value: f64) -> String {
    group(&trimmed(value, usize::from(value.abs() < 100.0)))
}

/// Groups the digits of every whole number in a text of numbers and signs: `>= 55 000`.
pub(crate) fn group_within(text: &str) -> String {
    let is_number = |sign: char| sign.is_ascii_digit() || sign == '.';
    let starts_part = |(a, b): (char, char)| is_number(a) != is_number(b);
    let mut parts: Vec<String> = Vec::new();
    let mut previous = None;
    for sign in text.chars() {
        match parts.last_mut().filter(|_| !previous.is_some_and(|previous| starts_part((previous, sign)))) {
            Some(part) => part.push(sign),
            None => parts.push(sign.into()),
        }
        previous = Some(sign);
    }
    parts
        .iter()
        .map(|part| if part.starts_with(|sign: char| sign.is_ascii_digit()) { group(part) } else { part.clone() })
        .collect()
}

/// Milliseconds to three significant digits, with the unit: `0.084 ms`, `12.3 ms`, `4 210 ms`.
pub(crate) fn millis(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{}\u{a0}ms", group(&trimmed(value, decimals)))
}

/// A duration: `0.5 s`, `30 s`, `12 min`, `1 h 12 min`, `72 h`.
pub(crate) fn span(seconds: f64) -> String {
    let whole = seconds.round();
    if whole < 120.0 {
        return format!("{}\u{a0}s", trimmed(seconds, if seconds < 10.0 { 2 } else { 1 }));
    }
    let (hours, minutes, rest) = ((whole / 3_600.0).floor(), (whole % 3_600.0 / 60.0).floor(), whole % 60.0);
    let parts = [(hours, "h"), (minutes, "min"), (rest, "s")];
    let words: Vec<_> = parts.iter().filter(|(n, _)| *n > 0.0).map(|(n, unit)| format!("{n}\u{a0}{unit}")).collect();
    words.join(" ")
}

/// Memory in MB (a million bytes).
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{}\u{a0}MB", group(&trimmed(bytes as f64 / 1e6, 1)))
}

/// `part` of `whole` in per cent, half rounded up; only the whole is 100 %, and only zero is 0 %.
pub(crate) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".into();
    }
    if part >= whole {
        return "100\u{a0}%".into();
    }
    let whole = u128::from(whole);
    match (u128::from(part) * 20_000 + whole) / (2 * whole) {
        _ if part == 0 => "0\u{a0}%".into(),
        0 => "<\u{a0}0.01\u{a0}%".into(),
        10_000.. => ">\u{a0}99.99\u{a0}%".into(),
        hundredths => format!("{}.{:02}\u{a0}%", hundredths / 100, hundredths % 100),
    }
}

/// `1 device`, `11 devices`.
pub(crate) fn devices(count: u64) -> String {
    if count == 1 { "1 device".to_owned() } else { format!("{count} devices") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No-break spaces as plain ones, so that the expectations below can be read.
    fn plain(text: &str) -> String {
        text.replace('\u{a0}', " ")
    }

    #[test]
    fn digits_are_grouped_by_three() {
        let cases =
            [(0, "0"), (999, "999"), (1_000, "1 000"), (300_000, "300 000"), (u64::MAX, "18 446 744 073 709 551 615")];
        for (number, text) in &cases {
            assert_eq!(plain(&grouped(*number)), *text);
        }
    }

    #[test]
    fn axis_numbers_are_short() {
        let cases =
            [(0.0, "0"), (0.25, "0.25"), (850.0, "850"), (2_500.0, "2 500"), (60_000.0, "60k"), (1_200_000.0, "1.2M")];
        for (value, text) in &cases {
            assert_eq!(plain(&compact(*value)), *text);
        }
        assert_eq!(compact(6e9), "6G");
        assert_eq!(compact(999_999.0), "1M");
    }

    #[test]
    fn times_are_in_the_unit_that_suits() {
        let cases = [(0.5, "0.5 s"), (30.0, "30 s"), (720.0, "12 min"), (4_320.0, "1 h 12 min"), (259_200.0, "72 h")];
        for (seconds, text) in &cases {
            assert_eq!(plain(&span(*seconds)), *text);
        }
        assert_eq!(plain(&millis(0.084)), "0.084 ms");
        assert_eq!(plain(&millis(12.34)), "12.3 ms");
        assert_eq!(plain(&millis(4_210.4)), "4 210 ms");
    }

    #[test]
    fn a_share_is_never_rounded_to_all_or_nothing() {
        assert_eq!(plain(&share(999_999, 1_000_000)), "> 99.99 %");
        assert_eq!(plain(&share(999_949, 1_000_000)), "99.99 %");
        assert_eq!([plain(&share(1, 1_000_000)), plain(&share(1, 20_000))], ["< 0.01 %", "0.01 %"]);
        assert_eq!(plain(&share(5, 5)), "100 %");
        assert_eq!(plain(&share(1, 500)), "0.20 %");
        assert_eq!(plain(&share(0, 0)), "–");
    }

    #[test]
    fn a_half_is_rounded_up() {
        let cases = [
            ((7, 150), "4.67 %"),
            ((1, 3), "33.33 %"),
            ((2, 3), "66.67 %"),
            ((1, 800), "0.13 %"),
            ((3, 20_000), "0.02 %"),
        ];
        for ((part, whole), text) in cases {
            assert_eq!(plain(&share(part, whole)), text, "{part} of {whole}");
        }
    }

    #[test]
    fn numbers_in_sentences_are_grouped_and_names_are_not() {
        let text = "Below 1719 devices, 10000; 0.50 % of KS-2000, release 20260101.";
        assert_eq!(
            plain(&group_in_sentence(text)),
            "Below 1 719 devices, 10 000; 0.50 % of KS-2000, release 20260101."
        );
    }

    #[test]
    fn measured_values_keep_the_microsecond() {
        assert_eq!(measured(50.041), "50.041");
        assert_eq!(plain(&measured(59_987.123_4)), "59 987.1");
        assert_eq!(measured(-0.000_01), "0");
        assert_eq!(plain(&whole(56_055.7)), "56 056");
        assert_eq!(plain(&group_within(">= 55000 and <= 1000000.12345")), ">= 55 000 and <= 1 000 000.12345");
    }
}
