//! As `refusals`: steps and expectations.

use super::refusals::assert_refused;
use super::{VALID, checked, refusals};

#[test]
fn problems_in_steps_are_reported() {
    assert_refused(IN_STEPS);
}

const IN_STEPS: &str = r#"
- at = "10s"
+ at = "31s"
21:6: `at` is 31s, after the end of the run; expected at most 30s

- at = "10s"
20:1: [[timeline]] has no `at`; expected `at = "10s"`

- do = "phase"
20:1: this step does not say what to `do`; expected `do` = `revoke`, `outage`, `send_command`, `punch`, `rotate_server_key`, `revoke_server_key`, `start_rollout`, `order_rollout`, `revoke_release`, `apply_limits`, `loss`, `delay`, `duplicate`, `disk_full`, `disk_errors`, `disk_slow`, `restart_server` or `phase`

- "phase"
+ "pause"
22:6: unknown step `pause`; expected `revoke`, `outage`, `send_command`, `punch`, `rotate_server_key`, `revoke_server_key`, `start_rollout`, `order_rollout`, `revoke_release`, `apply_limits`, `loss`, `delay`, `duplicate`, `disk_full`, `disk_errors`, `disk_slow`, `restart_server` or `phase`

- "phase"
+ "restart"
22:6: unknown step `restart`; expected `revoke`, `outage`, `send_command`, `punch`, `rotate_server_key`, `revoke_server_key`, `start_rollout`, `order_rollout`, `revoke_release`, `apply_limits`, `loss`, `delay`, `duplicate`, `disk_full`, `disk_errors`, `disk_slow`, `restart_server` or `phase`; did you mean `"restart_server"`?

- "phase"
+ 7
22:6: `do` is a whole number; expected a string in quotes; did you mean `"7"`?

- name = "storm"
+ nmae = "storm"
23:1: unknown key `nmae` in a `phase` step; did you mean `name`?

- name = "storm"
+ name = "ramp"
23:8: every run has a phase `ramp` of its own; expected another name

- name = "storm"
+ name = "The Storm"
23:8: `name` has `T` in it; expected 1 to 64 of a-z, 0-9 and `-`; did you mean `"the-storm"`?

- name = "storm"
+ name = "storm"
+ [[timeline]]
+ at = "12s"
+ do = "phase"
+ name = "storm"
27:8: a second phase is called `storm`; expected a name of its own

- "phase"
- name = "storm"
+ "revoke"
20:1: a `revoke` step has no `devices`; expected `devices = 10`

- "phase"
- name = "storm"
+ "revoke"
+ devices = 101
23:11: `devices` is 101, more than the fleet has; expected 1 to 100

- "phase"
- name = "storm"
+ "revoke"
+ devices = 0
23:11: `devices` is too small: 0; expected 1 to 100

- "phase"
- name = "storm"
+ "revoke"
+ devices = 60
+ [[timeline]]
+ at = "9s"
+ do = "revoke"
+ devices = 50
27:11: the steps up to this one revoke 110 devices; expected at most the fleet's 100

- "phase"
- name = "storm"
+ "outage"
+ for = "10s"
+ site = "nroth"
24:8: the fleet has no site `nroth`; expected `north`; did you mean `"north"`?

- "phase"
- name = "storm"
+ "outage"
+ for = "0s"
23:7: `for` is too short: 0s; expected 1ms to 90d

- "phase"
- name = "storm"
+ "outage"
+ for = "1s"
+ kill = true
24:1: unknown key `kill` in an `outage` step

- "phase"
- name = "storm"
+ "send_command"
20:1: a `send_command` step has no `kind`; expected `kind = "reboot"`

- "phase"
- name = "storm"
+ "send_command"
+ kind = "re-boot"
23:8: `kind` has `-` in it; expected 1 to 32 of a-z and `_`

- "phase"
- name = "storm"
+ "send_command"
+ kind = "reboot"
+ devices = 200
24:11: `devices` is 200, more than the fleet has; expected 1 to 100

- "phase"
- name = "storm"
+ "restart_server"
+ kill = 1
23:8: `kill` is a whole number; expected `true` or `false`, without quotes

- [[timeline]]
+ [timeline]
20:1: `timeline` is a table; expected a list of tables, each with the header [[timeline]]
"#;

#[test]
fn problems_in_expectations_are_reported() {
    assert_refused(IN_EXPECTATIONS);
}

const IN_EXPECTATIONS: &str = r#"
- "errors"
+ "error"
26:10: unknown metric `error`; did you mean `"errors"`?

- "errors"
+ "speed"
26:10: unknown metric `speed`

- "errors"
+ "codes.REVOKE"
26:10: no answer has the code `REVOKE`; did you mean `"codes.REVOKED"`?

- "errors"
+ "codes.revoked"
26:10: unknown metric `codes.revoked`; did you mean `"codes.REVOKED"`?

- "errors"
+ "codes."
26:10: unknown metric `codes.`

- metric = "errors"
25:1: [[expect]] has no `metric`; expected `metric = "errors"`

- max = 0
+ mx = 0
27:1: unknown key `mx` in [[expect]]; did you mean `max`?

- max = 0
25:1: this expectation has no bound; expected exactly one of `max`, `min` and `equals`

- max = 0
+ max = 0
+ min = 0
28:7: this expectation has `max` and `min`; expected exactly one of `max`, `min` and `equals`

- max = 0
+ max = -1
27:7: `max` is -1; expected a number from 0 to 2^53

- max = 0
+ max = nan
27:7: `max` is NaN; expected a number from 0 to 2^53

- max = 0
+ max = inf
27:7: `max` is inf; expected a number from 0 to 2^53

- max = 0
+ max = "50"
27:7: `max` is a string; expected a number; did you mean `50`?

- max = 0
+ max = 1e16
27:7: `max` is 10000000000000000; expected a number from 0 to 2^53

- max = 0
+ max = 0
+ during = "strom"
28:10: there is no phase `strom`; expected `ramp`, `steady` or `storm`; did you mean `"storm"`?

- max = 0
+ max = 0
+ during = "10s"
28:10: there is no phase `10s`; expected `ramp`, `steady` or `storm`

- max = 0
+ max = 0
+ during = "steady"
+ every = "26s"
29:9: `every` is 26s, but the phase `steady` lasts 25s; expected 1s to 25s

- max = 0
+ max = 0
+ every = "31s"
28:9: `every` is 31s, but the run lasts 30s; expected 1s to 30s

- max = 0
+ max = 0
+ every = "500ms"
28:9: `every` is too short: 500ms; expected 1s to 30s

- max = 0
+ max = 0
+ every = 10
28:9: `every` is a number without a unit; expected a duration such as "30s" or "1h30m"; did you mean `"10s"`?

- max = 0
+ min = 1
+ abort = true
28:9: whether `errors >= 1` holds is known only at the end: it can still recover; expected `abort` with `every`, or on a count with `max` or `equals = 0`

- metric = "errors"
- max = 0
+ metric = "heartbeat.p99_ms"
+ max = 50
+ abort = true
28:9: whether `heartbeat.p99_ms <= 50` holds is known only at the end: it can still recover; expected `abort` with `every`, or on a count with `max` or `equals = 0`

- max = 0
+ equals = 1
+ abort = true
28:9: whether `errors = 1` holds is known only at the end: it can still recover; expected `abort` with `every`, or on a count with `max` or `equals = 0`

- max = 0
+ max = 0
+ allow_empty = 0
28:15: `allow_empty` is a whole number; expected `true` or `false`, without quotes

- "errors"
+ "ledger.lost"
+ during = "steady"
27:10: `ledger.lost` counts over the whole run; expected no `during` with it

- "errors"
+ "attacks.successes"
+ every = "5s"
27:9: `attacks.successes` counts over the whole run; expected no `every` with it

- "errors"
+ "ledger.lost"
+ abort = true
27:9: `ledger.lost` is known only after the end, so it cannot end the run; expected no `abort`

- [[expect]]
- metric = "errors"
- max = 0
1:1: the scenario expects nothing, so it could not fail; expected at least one [[expect]]

- [[expect]]
+ [expect]
25:1: `expect` is a table; expected a list of tables, each with the header [[expect]]
"#;

#[test]
fn network_and_disk_faults_need_a_rehearsal() {
    let faults = [
        "\"delay\"\nfor = \"1s\"\nlongest = \"2s\"",
        "\"duplicate\"\nfor = \"1s\"\nshare_bp = 100",
        "\"disk_full\"\nfor = \"1s\"",
        "\"disk_errors\"\nfor = \"1s\"\nshare_bp = 100",
        "\"disk_slow\"\nfor = \"1s\"\ncommit = \"100ms\"",
        "\"restart_server\"\nmoment = \"after_commit\"",
    ];
    for fault in faults {
        let loaded = VALID.replace("\"phase\"\nname = \"storm\"", fault);
        let expected = "22:6: faults of network and disk can be injected only in a rehearsal; \
                        expected `mode = \"rehearse\"`, or no such step";
        assert_eq!(refusals(&loaded), [expected]);
        let rehearsed = loaded.replace("duration = \"30s\"", "mode = \"rehearse\"\nduration = \"90d\"");
        assert!(checked(&rehearsed).is_ok());
    }
}

#[test]
fn a_phase_without_length_cannot_have_expectations() {
    let late = VALID.replace("at = \"10s\"", "at = \"30s\"").replace("max = 0", "max = 0\nduring = \"storm\"");
    let expected = "28:10: the phase `storm` has no length: it starts and ends at 30s; \
                    expected a phase with a length";
    assert_eq!(refusals(&late), [expected]);
}

#[test]
fn there_is_no_ramp_phase_without_a_ramp() {
    let text = VALID.replace("ramp = \"5s\"\n", "").replace("max = 0", "max = 0\nduring = \"ramp\"");
    assert_eq!(refusals(&text), ["27:10: there is no phase `ramp`; expected `steady` or `storm`"]);
}

#[test]
fn the_number_of_tables_of_a_kind_is_limited() {
    for (table, max, message) in [
        ("[[adversary]]\nkind = \"forger\"\ncount = 1\n", 100, "101 tables [[adversary]]; expected at most 100"),
        (
            "[[timeline]]\nat = \"1s\"\ndo = \"outage\"\nfor = \"1s\"\n",
            1_000,
            "1,001 tables [[timeline]]; expected at most 1,000",
        ),
        ("[[expect]]\nmetric = \"errors\"\nmax = 0\n", 200, "201 tables [[expect]]; expected at most 200"),
        ("[[fleet.model]]\nname = \"m#\"\nshare = 1\n", 1_000, "1,001 tables [[fleet.model]]; expected at most 1,000"),
    ] {
        let there = usize::from(!table.contains("model"));
        let tables =
            |count: usize| (there..count).map(|index| table.replace('#', &index.to_string())).collect::<String>();
        assert!(checked(&format!("{VALID}{}", tables(max))).is_ok(), "{message}");
        let wrong = refusals(&format!("{VALID}{}", tables(max + 1)));
        assert!(wrong.len() == 1 && wrong[0].ends_with(message), "{wrong:?}");
    }
}
