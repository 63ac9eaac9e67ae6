//! Rendered diagnostics as whole texts, so that a change of their format shows in review.

use super::{VALID, changed, checked};
use crate::scenario::{check, render_all};

fn shown(text: &str) -> String {
    let wrong = checked(text).expect_err("the scenario is invalid");
    wrong.iter().map(|wrong| wrong.render(false)).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_misspelled_key_is_underlined_and_the_right_one_named() {
    let expected = r#"error: unknown key `heartbeat_intervall` in [fleet]
 --> demo.toml:8:1
  |
8 | heartbeat_intervall = "1s"
  | ^^^^^^^^^^^^^^^^^^^ did you mean `heartbeat_interval`?
  |
  = help: the keys of [fleet] are devices, heartbeat_interval, connections, id_prefix, otrt, otrt_shared,
          answer_timeout, firmware_version, uptime_at_start, model, models, site, sites, group, churn, cohort,
          addresses
"#;
    assert_eq!(shown(&changed("devices = 100", "devices = 100\nheartbeat_intervall = \"1s\"")), expected);
}

#[test]
fn an_unknown_metric_suggests_the_closest_and_lists_all() {
    let expected = r#"error: unknown metric `heartbeat.p99`
  --> demo.toml:26:10
   |
26 | metric = "heartbeat.p99"
   |          ^^^^^^^^^^^^^^^ did you mean `"heartbeat.p99_ms"`?
   |
   = help: the metrics are errors, codes.<CODE>, heartbeat.p50_ms, heartbeat.p90_ms, heartbeat.p99_ms,
           heartbeat.p999_ms, heartbeat.max_ms, heartbeat.sent, heartbeat.acked, heartbeat.per_min,
           register.acked, register.p99_ms, devices.registered, fleet.recovery_p50_s, fleet.recovery_p99_s,
           fleet.recovery_max_s, fleet.never_served, retry_after.honest, fleet.refused_again,
           fleet.second_peak_per_s, fleet.amplification, fairness.refused, fairness.refused_share,
           victims.refused, limits.falsely_refused, limits.falsely_admitted, limits.rightly_refused,
           limits.undecidable, attacks.attempts, attacks.successes, ledger.lost, ledger.duplicated,
           ledger.reordered, ledger.misattributed, commands.succeeded, commands.applied_twice, punches.made,
           punches.stored, punches.lost, punches.duplicated, keys.rotated, rollout.broken_devices,
           rollout.aborted, rollout.paused, rollout.promoted, rollout.completed, rollout.detection_s,
           churn.unplugged, churn.removed, churn.moved, churn.site_closes, churn.flaky_link, churn.swapped,
           tls.handshakes, tls.resumed, tls.failed, tls.handshake_p99_ms, bad_server_signatures,
           updated.<VERSION>, running.<VERSION>, limits.<NAME>.refused, limits.<NAME>.would_refuse
"#;
    assert_eq!(shown(&changed("\"errors\"", "\"heartbeat.p99\"")), expected);
}

#[test]
fn a_number_without_a_unit_gets_a_suggestion() {
    let expected = r#"error: `duration` is a number without a unit
 --> demo.toml:3:12
  |
3 | duration = 30
  |            ^^ did you mean `"30s"`?
  |
  = expected: a duration such as "30s" or "1h30m"
"#;
    assert_eq!(shown(&changed("\"30s\"", "30")), expected);
}

#[test]
fn a_syntax_error_is_reported_alone_with_a_suggestion_for_missing_quotes() {
    let expected = r#"error: this is not TOML: string values must be quoted
 --> demo.toml:3:12
  |
3 | duration = 30s
  |            ^^^ did you mean `"30s"`?
  |
  = expected: a duration in quotes
"#;
    assert_eq!(shown(&changed("\"30s\"", "30s").replace("devices", "device")), expected);
}

#[test]
fn the_second_of_two_points_at_the_first() {
    let expected = r#"error: a second [[fleet.site]] is called `north`
  --> demo.toml:14:8
   |
14 | name = "north"
   |        ^^^^^^^ expected a unique name
   |
   = help: the first one is on line 10
"#;
    let text = changed("[server]", "[[fleet.site]]\nname = \"north\"\nshare = 2\n\n[server]");
    assert_eq!(shown(&text), expected);
}

#[test]
fn a_missing_key_points_at_the_table_that_needs_it() {
    let expected = r#"error: an `outage` step has no `for`
  --> demo.toml:20:1
   |
20 | [[timeline]]
   | ^^^^^^^^^^^^ expected `for = "10s"`

error: unknown key `name` in an `outage` step
  --> demo.toml:23:1
   |
23 | name = "storm"
   | ^^^^
   |
   = help: `name` is a key of a `phase` step
"#;
    assert_eq!(shown(&changed("\"phase\"", "\"outage\"")), expected);
}

#[test]
fn an_empty_file_lists_what_a_scenario_needs() {
    let expected = r#"error: the scenario has no `name`
 --> demo.toml
  |
  = expected: `name = "my-scenario"`

error: the scenario has no `goal`
 --> demo.toml
  |
  = expected: `goal = "what the run should show"`

error: the scenario has no `duration`
 --> demo.toml
  |
  = expected: `duration = "30s"`

error: the scenario has no [fleet]
 --> demo.toml
  |
  = expected: a table [fleet] with at least `devices = 1000`

error: the scenario expects nothing, so it could not fail
 --> demo.toml
  |
  = expected: at least one [[expect]]
  = help: to begin with, add an [[expect]] with `metric = "errors"` and `equals = 0`

error: demo.toml has 5 problems, nothing was run
"#;
    assert_eq!(render_all(&checked("").expect_err("empty"), false), expected);
}

#[test]
fn tabs_and_wide_characters_keep_the_underline_in_its_place() {
    let expected = "error: `name` has `漢` in it\n --> demo.toml:1:10\n  |\n1 |     name =  \"漢字\" # 漢\n  |             \
                    ^^^^^^ expected 1 to 64 of a-z, 0-9 and `-`\n";
    assert_eq!(shown(&changed("name = \"demo\"", "\tname =  \"漢字\" # 漢")), expected);
}

#[test]
fn bytes_that_are_not_utf8_are_found() {
    let expected = r#"error: the byte 0xE9 is not UTF-8
 --> demo.toml:2:12
  |
2 | goal = "caf�" # é
  |            ^ expected text in UTF-8
  |
  = help: save the file in the encoding UTF-8
"#;
    let text = b"name = \"demo\"\ngoal = \"caf\xe9\" # \xc3\xa9\n";
    let wrong = check("demo.toml", text, &super::Stub).expect_err("not UTF-8");
    assert_eq!(wrong[0].render(false), expected);
}

#[test]
fn colour_is_added_only_on_request() {
    let wrong = checked(&changed("ramp = \"5s\"", "ramp = \"31s\"")).expect_err("wrong");
    let coloured = wrong[0].render(true);
    assert!(coloured.starts_with("\u{1b}[1;31merror\u{1b}[0m\u{1b}[1m: `ramp` of 31s"), "{coloured}");
    let mut plain = coloured;
    for style in ["\u{1b}[1;31m", "\u{1b}[1;34m", "\u{1b}[1m", "\u{1b}[0m"] {
        plain = plain.replace(style, "");
    }
    assert_eq!(plain, wrong[0].render(false));
}

#[test]
fn a_program_gets_one_line_of_json() {
    let wrong = checked(&changed("\"errors\"", "\"error\"").replace("max = 0", "max = -1")).expect_err("two are wrong");
    assert_eq!(
        wrong[1].to_json().to_string(),
        r#"{"column":7,"expected":"a number from 0 to 2^53","file":"demo.toml","help":null,"line":27,"message":"`max` is -1","suggestion":null}"#
    );
    assert!(VALID.lines().nth(26).is_some_and(|line| line == "max = 0"));
}
