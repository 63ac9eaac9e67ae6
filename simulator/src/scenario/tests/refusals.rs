//! Every kind of problem, one by one: the place, the message and the suggestion.
//!
//! A case is a change of the valid scenario, as a diff (`-` occurs once in it, `+` replaces it; a line without a
//! `+` is removed), followed by all its diagnostics.

use super::{VALID, refusals};

/// Runs every case of a block; empty lines separate cases.
pub(super) fn assert_refused(cases: &str) {
    for case in cases.trim().split("\n\n") {
        let lines = |sign: &str| -> Vec<&str> { case.lines().filter_map(|line| line.strip_prefix(sign)).collect() };
        let (old, new) = (lines("- ").join("\n"), lines("+ ").join("\n"));
        assert_eq!(VALID.matches(&old).count(), 1, "this occurs once in the valid scenario:\n{old}");
        let text = if new.is_empty() { VALID.replace(&format!("{old}\n"), "") } else { VALID.replace(&old, &new) };
        let expected: Vec<&str> = case.lines().filter(|line| !line.starts_with(['-', '+'])).collect();
        assert_eq!(refusals(&text), expected, "{case}");
    }
}

#[test]
fn problems_at_the_top_level_are_reported() {
    assert_refused(AT_THE_TOP_LEVEL);
}

const AT_THE_TOP_LEVEL: &str = r#"
- name = "demo"
+ name = ""
1:8: `name` is empty; expected 1 to 64 of a-z, 0-9 and `-`

- name = "demo"
+ name = "My Demo"
1:8: `name` has `M` in it; expected 1 to 64 of a-z, 0-9 and `-`; did you mean `"my-demo"`?

- name = "demo"
1:1: the scenario has no `name`; expected `name = "my-scenario"`

- name = "demo"
+ name = true
1:8: `name` is a truth value; expected a string in quotes

- "Show one thing."
+ ""
2:8: `goal` is empty; expected 1 to 400 characters

- goal = "Show one thing."
1:1: the scenario has no `goal`; expected `goal = "what the run should show"`

- goal =
+ starts_at = "2026-03-29T02:30:00+01:00"
+ goal =
2:13: `starts_at` is not a date and time in UTC: `2026-03-29T02:30:00+01:00`; expected RFC 3339 in UTC, such as 2026-03-29T00:30:00Z, of the years 2000 to 2099

- goal =
+ starts_at = "2026-02-29T00:00:00Z"
+ goal =
2:13: `starts_at` is not a date and time in UTC: `2026-02-29T00:00:00Z`; expected RFC 3339 in UTC, such as 2026-03-29T00:30:00Z, of the years 2000 to 2099

- goal =
+ starts_at = "1999-12-31T23:59:59.999Z"
+ goal =
2:13: `starts_at` is out of range: `1999-12-31T23:59:59.999Z`; expected RFC 3339 in UTC, such as 2026-03-29T00:30:00Z, of the years 2000 to 2099

- goal =
+ starts_at = 2100-01-01T00:00:00Z
+ goal =
2:13: `starts_at` is out of range: `2100-01-01T00:00:00Z`; expected RFC 3339 in UTC, such as 2026-03-29T00:30:00Z, of the years 2000 to 2099

- goal =
+ starts_at = 20260329
+ goal =
2:13: `starts_at` is a whole number; expected a date and time in UTC such as 2026-03-29T00:30:00Z

- goal =
+ mode = "lod"
+ goal =
2:8: `mode` is `lod`; expected `load` or `rehearse`; did you mean `"load"`?

- goal =
+ mode = "x"
+ goal =
2:8: `mode` is `x`; expected `load` or `rehearse`

- goal =
+ seed = -1
+ goal =
2:8: `seed` is too small: -1; expected 0 to 9,223,372,036,854,775,807

- goal =
+ seed = 9223372036854775808
+ goal =
2:8: `seed` does not fit in a whole number of 64 bits; expected at most 9,223,372,036,854,775,807

- goal =
+ seed = "7"
+ goal =
2:8: `seed` is a string; expected a whole number; did you mean `7`?

- goal =
+ seed = 1.5
+ goal =
2:8: `seed` is a number with a fraction; expected a whole number

- duration = "30s"
1:1: the scenario has no `duration`; expected `duration = "30s"`

- "30s"
+ "1ms"
3:12: `duration` is too short: 1ms; expected 1s to 90d

- "30s"
+ "8d"
3:12: `duration` is too long for a load run: 8d; expected 1s to 7d

- "30s"
+ "91d"
3:12: `duration` is too long: 91d; expected 1s to 90d

- "30s"
+ 30
3:12: `duration` is a number without a unit; expected a duration such as "30s" or "1h30m"; did you mean `"30s"`?

- "30s"
+ "30"
3:12: `duration` has no unit; expected a duration such as "30s" or "1h30m"; did you mean `"30s"`?

- "30s"
+ "30 seconds"
3:12: `duration` has ` ` where a digit should be; expected a duration such as "30s" or "1h30m"; did you mean `"30s"`?

- "30s"
+ "half a minute"
3:12: `duration` has `h` where a digit should be; expected a duration such as "30s" or "1h30m"

- "30s"
+ "0.5m"
3:12: `duration` has `.` where a digit should be; expected a duration such as "30s" or "1h30m"; did you mean `"30s"`?

- "30s"
+ ""
3:12: `duration` is empty; expected a duration such as "30s" or "1h30m"

- "30s"
+ 1979-05-27
3:12: `duration` is a date or a time; expected a duration such as "30s" or "1h30m"

- "5s"
+ "30s"
4:8: `ramp` of 30s fills the whole run; expected less than `duration`, which is 30s

- "5s"
+ "-5s"
4:8: `ramp` has `-` where a digit should be; expected a duration such as "30s" or "1h30m"

- ramp =
+ drain = "11m"
+ ramp =
4:9: `drain` is too long: 11m; expected 0s to 10m

- ramp =
+ drain = "5s"
+ ramp =
4:9: `drain` is 5s, too short for the last answers; expected at least 11s: `answer_timeout` and a second more

- ramp =
+ speed = 3
+ ramp =
4:1: unknown key `speed` in the file's top level; did you mean `seed`?

- ramp =
+ devices = 3
+ ramp =
4:1: unknown key `devices` in the file's top level

- ramp =
+ quux = 3
+ ramp =
4:1: unknown key `quux` in the file's top level

- [[fleet.site]]
+ [[fleet]]
9:3: `fleet` is given twice; expected each key once in its table
"#;

#[test]
fn problems_in_the_server_settings_are_reported() {
    assert_refused(IN_SETTINGS);
}

const IN_SETTINGS: &str = r"
- PORT = 3000
+ PROT = 3000
14:1: unknown setting `PROT` of the server; did you mean `PORT`?

- PORT = 3000
+ RATE_LIMIT_DEVICE = 1
14:1: unknown setting `RATE_LIMIT_DEVICE` of the server; did you mean `RATE_LIMIT_DEVICE_PER_MIN`?

- PORT = 3000
+ PORT = 70000
14:8: the server refuses `PORT`: `70000`, expected 0 to 65535

- PORT = 3000
+ PORT = 1.5
14:8: `PORT` is a number with a fraction; expected a string, a whole number of 64 bits, `true` or `false`

- PORT = 3000
+ PORT = [1]
14:8: `PORT` is a list; expected a string, a whole number of 64 bits, `true` or `false`

- [server]
+ [[server]]
13:1: `server` is a list; expected one table, [server]
";

#[test]
fn text_that_is_too_long_is_refused() {
    for (old, new, expected) in [
        ("demo", "a".repeat(65), "1:8: `name` has 65 characters; expected 1 to 64 of a-z, 0-9 and `-`"),
        ("Show one thing.", "é".repeat(401), "2:8: `goal` has 401 characters; expected 1 to 400 characters"),
    ] {
        assert_eq!(refusals(&VALID.replace(old, &new)), [expected]);
    }
}

#[test]
fn all_problems_of_a_file_are_reported_in_the_order_of_the_file() {
    let text = VALID
        .replace("\"demo\"", "\"Demo\"")
        .replace("\"30s\"", "30")
        .replace("devices", "devcies")
        .replace("PORT", "PROT")
        .replace("forger", "forgre")
        .replace("phase", "phsae")
        .replace("errors", "erors");
    let lines: Vec<_> = refusals(&text).into_iter().map(|line| line.split(':').next().map(str::to_owned)).collect();
    let expected = ["1", "3", "7", "14", "17", "22", "26"].map(|line| Some(line.to_owned()));
    assert_eq!(lines, expected);
}
