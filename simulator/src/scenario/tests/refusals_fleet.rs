//! As `refusals`: the fleet and its adversaries.

use super::refusals::assert_refused;
use super::{changed, checked, refusals};

#[test]
fn problems_in_the_fleet_are_reported() {
    assert_refused(IN_THE_FLEET);
}

#[test]
fn problems_in_groups_are_reported() {
    let a = "{ model = \"A\", site = \"x\", count = 84 }";
    for (fleet, expected) in [
        (
            format!("devices = 141\ngroup = [{a}, {{ model = \"B\", site = \"y\", count = 58 }}]"),
            "5:11: `devices` is 141, and the groups have 142; expected the sum of their counts, or no `devices`; did you mean `142`?",
        ),
        (
            format!("group = [{a}, {{ model = \"A\", site = \"x\", count = 16 }}]"),
            "5:51: a second [[fleet.group]] of `A` at `x`; expected one for each model at each site",
        ),
        (
            format!("group = [{a}]\nmodels = {{ count = 2, prefix = \"KS\" }}"),
            "6:10: the fleet has both [[fleet.group]] and `models`; expected groups, or shares of models and of sites",
        ),
        (
            "group = [{ model = \"A\", count = 1 }]".to_owned(),
            "5:10: [[fleet.group]] has no `site`; expected `site = \"HQ\"`",
        ),
        (
            "group = [{ model = \"A\", site = \"x\", count = 0 }]".to_owned(),
            "5:45: `count` is too small: 0; expected 1 to 1,000,000",
        ),
        (
            "group = [{ model = \"A\", site = \"x\", count = 1000000 }, { model = \"B\", site = \"x\", count = 1 }]"
                .to_owned(),
            "5:10: the groups have 1,000,001 devices; expected at most 1,000,000 in all",
        ),
    ] {
        let rest = "[[expect]]\nmetric = \"errors\"\nmax = 0\n";
        let text = format!("name = \"demo\"\ngoal = \"Groups.\"\nduration = \"30s\"\n[fleet]\n{fleet}\n{rest}");
        assert_eq!(refusals(&text), [expected], "{fleet}");
    }
}

const IN_THE_FLEET: &str = r#"
- devices = 100
+ devices = 0
7:11: `devices` is too small: 0; expected 1 to 1,000,000

- devices = 100
+ devices = 1000001
7:11: `devices` is too large: 1,000,001; expected 1 to 1,000,000

- devices = 100
+ devices = "100"
7:11: `devices` is a string; expected a whole number; did you mean `100`?

- devices = 100
+ devcies = 100
7:1: unknown key `devcies` in [fleet]; did you mean `devices`?

- devices = 100
+ devices = 100
+ duration = "3s"
8:1: unknown key `duration` in [fleet]

- devices = 100
+ devices = 100
+ heartbeat_interval = "99ms"
8:22: `heartbeat_interval` is too short: 99ms; expected 100ms to 1d

- devices = 100
+ devices = 100
+ heartbeat_interval = 1
8:22: `heartbeat_interval` is a number without a unit; expected a duration such as "30s" or "1h30m", or "server"; did you mean `"1s"`?

- devices = 100
+ devices = 100
+ heartbeat_interval = "sever"
8:22: `heartbeat_interval` is `sever`; expected a duration such as "30s" or "1h30m", or "server"; did you mean `"server"`?

- devices = 100
+ devices = 300000
+ heartbeat_interval = "1s"
8:22: 300,000 devices, each every 1s, send 300,000 heartbeats a second; expected at most 200,000 a second in total; did you mean `"1s500ms"`?

- devices = 100
+ devices = 100
+ connections = 60001
8:15: `connections` is too large: 60,001; expected 1 to 60,000

- devices = 100
+ devices = 100
+ connections = "per-device"
8:15: `connections` is `per-device`; expected "per_device", or a number from 1 to 60,000; did you mean `"per_device"`?

- devices = 100
+ devices = 100
+ connections = "50"
8:15: `connections` is `50`; expected "per_device", or a number from 1 to 60,000; did you mean `50`?

- devices = 100
+ devices = 100
+ connections = false
8:15: `connections` is a truth value; expected a string or a whole number

- devices = 100
+ devices = 100
+ id_prefix = "1A"
8:13: `id_prefix` does not start with a letter; expected a letter, then up to 31 of A-Z, a-z, 0-9, `.`, `_` and `-`

- devices = 100
+ devices = 100
+ id_prefix = "A B"
8:13: `id_prefix` has ` ` in it; expected a letter, then up to 31 of A-Z, a-z, 0-9, `.`, `_` and `-`

- devices = 100
+ devices = 100
+ id_prefix = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
8:13: `id_prefix` has 33 characters; expected a letter, then up to 31 of A-Z, a-z, 0-9, `.`, `_` and `-`

- devices = 100
+ devices = 100
+ otrt = "true"
8:8: `otrt` is a string; expected `true` or `false`, without quotes; did you mean `true`?

- devices = 100
+ devices = 100
+ answer_timeout = "6m"
8:18: `answer_timeout` is too long: 6m; expected 100ms to 5m

- devices = 100
+ devices = 100
+ firmware_version = "1 beta"
8:20: `firmware_version` has ` ` in it; expected 1 to 64 of A-Z, a-z, 0-9, `.`, `_` and `-`; did you mean `"1-beta"`?

- share = 1
+ share = 0
11:9: `share` is too small: 0; expected 1 to 1,000,000

- share = 1
9:1: [[fleet.site]] has no `share`; expected `share = 1`

- name = "north"
9:1: [[fleet.site]] has no `name`; expected `name = "HQ"`

- "north"
+ "nörth"
10:8: `name` has `ö` in it; expected 1 to 64 of A-Z, a-z, 0-9, `.`, `_` and `-`

- "north"
+ "north site"
10:8: `name` has ` ` in it; expected 1 to 64 of A-Z, a-z, 0-9, `.`, `_` and `-`; did you mean `"north-site"`?

- share = 1
+ share = 1
+ weight = 2
12:1: unknown key `weight` in [[fleet.site]]

- [[fleet.site]]
+ [[fleet.model]]
+ name = "a"
+ share = 1
+ [[fleet.model]]
+ name = "a"
+ share = 1
+ [[fleet.site]]
13:8: a second [[fleet.model]] is called `a`; expected a unique name

- [[fleet.site]]
+ [fleet.site]
9:1: `site` is a table; expected a list of tables, each with the header [[fleet.site]]
"#;

#[test]
fn problems_in_a_series_of_sites_are_reported() {
    assert_refused(IN_A_SERIES);
}

const IN_A_SERIES: &str = r#"
- devices = 100
+ devices = 100
+ sites = { count = 40, prefix = "store" }
10:1: the fleet has both `sites` and [[fleet.site]]; expected one of the two

- [[fleet.site]]
+ [fleet.models]
+ count = 1001
+ prefix = "a b"
+ sizes = "zip"
+ [[fleet.site]]
10:9: `count` is too large: 1,001; expected 1 to 1,000
11:10: `prefix` has ` ` in it; expected 1 to 59 of A-Z, a-z, 0-9, `.`, `_` and `-`; did you mean `"a-b"`?
12:9: `sizes` is `zip`; expected `equal` or `zipf`; did you mean `"zipf"`?

- devices = 100
+ devices = 100
+ models = {}
8:10: `models` has no `count`; expected `count = 40`
8:10: `models` has no `prefix`; expected `prefix = "store"`

- devices = 100
+ devices = 100
+ models = { count = 2, prefix = "A", size = "zipf" }
8:37: unknown key `size` in `models`; did you mean `sizes`?

- devices = 100
+ devices = 100
+ models = 3
8:10: `models` is a whole number; expected one table, such as { count = 40, prefix = "store" }
"#;

#[test]
fn two_forms_of_sites_name_both_lines() {
    let text = changed("devices = 100", "devices = 100\nsites = { count = 2, prefix = \"store\" }");
    let wrong = checked(&text).expect_err("both forms are given");
    let places: Vec<_> = wrong.iter().map(|wrong| (wrong.line, wrong.help.as_deref())).collect();
    assert_eq!(places, [(10, Some("the first one is on line 8"))]);
}

#[test]
fn problems_in_adversaries_are_reported() {
    assert_refused(IN_ADVERSARIES);
}

const IN_ADVERSARIES: &str = r#"
- "forger"
+ "forgery"
17:8: `kind` is `forgery`; expected `forger`, `replayer`, `unknown_device`, `cloned_key`, `tamperer`, `pair_guesser`, `faulty_device`, `half_request`, `slow_body` or `big_body`; did you mean `"forger"`?

- kind = "forger"
16:1: [[adversary]] has no `kind`; expected `kind = "forger"`

- count = 5
+ count = 0
18:9: `count` is too small: 0; expected 1 to 10,000

- count = 5
+ count = 10001
18:9: `count` is too large: 10,001; expected 1 to 10,000

- count = 5
16:1: [[adversary]] has no `count`; expected `count = 5`

- count = 5
+ count = 5
+ interval = "0ms"
19:12: `interval` is too short: 0s; expected 1ms to 1d

- count = 5
+ count = 5
+ addresses = 0
19:13: `addresses` is too small: 0; expected 1 to 10,000

- count = 5
+ count = 5
+ addresses = 10001
19:13: `addresses` is too large: 10,001; expected 1 to 10,000

- count = 5
+ count = 5
+ addresses = "share"
19:13: `addresses` is `share`; expected "own", "shared", or a number from 1 to 10,000; did you mean `"shared"`?

- count = 5
+ count = 5
+ addresses = "1000"
19:13: `addresses` is `1000`; expected "own", "shared", or a number from 1 to 10,000; did you mean `1000`?

- count = 5
+ count = 5
+ addresses = true
19:13: `addresses` is a truth value; expected a string or a whole number

- count = 5
+ count = 10000
+ interval = "1ms"
16:1: the adversaries up to this one make 10,000,000 attempts a second; expected at most 200,000 of all together

- count = 5
+ count = 5
+ at_once = 65
19:11: `at_once` is too large: 65; expected 1 to 64

- count = 5
+ count = 10000
+ at_once = 64
16:1: the adversaries up to this one make 640,000 attempts a second; expected at most 200,000 of all together

- count = 5
+ count = 5
+ from = "30s"
19:8: `from` is 30s, not before the end of the run; expected `from` less than 30s

- count = 5
+ count = 5
+ from = "9s"
+ until = "9s"
20:9: `from` is 9s, not before `until`; expected `from` less than 9s

- count = 5
+ count = 5
+ until = "31s"
19:9: `until` is 31s, after the end of the run; expected at most 30s

- count = 5
+ count = 5
+ unitl = "20s"
19:1: unknown key `unitl` in [[adversary]]; did you mean `until`?
"#;

#[test]
fn socket_attacks_are_refused_in_a_rehearsal() {
    for kind in ["half_request", "slow_body", "big_body"] {
        let text =
            changed("\"forger\"", &format!("\"{kind}\"")).replace("duration =", "mode = \"rehearse\"\nduration =");
        let expected = "expected `forger`, `replayer`, `unknown_device`, `cloned_key`, `tamperer`, `pair_guesser` or `faulty_device`";
        assert_eq!(refusals(&text), [format!("18:8: `{kind}` attacks sockets, and a rehearsal has none; {expected}")]);
        assert!(checked(&text.replace("\"rehearse\"", "\"load\"")).is_ok());
    }
}

#[test]
fn problems_in_cohorts_are_reported() {
    let cohort = |keys: &str| {
        let cohort = format!("[[fleet.cohort]]\nname = \"a\"\nretry = \"obey\"\n{keys}\n\n[server]");
        refusals(&changed("[server]", &cohort))
    };
    for (keys, expected) in [
        ("share = 1\ncount = 5", "17:9: a [[fleet.cohort]] has both `share` and `count`; expected one of the two"),
        ("count = 0", "16:9: `count` is too small: 0; expected 1 to 1,000,000"),
        (
            "count = 101",
            "16:9: the cohorts up to `a` need 101 devices, the fleet has 100; expected at most as many as the fleet has, in total",
        ),
    ] {
        assert_eq!(cohort(keys), [expected], "{keys}");
    }
}
