//! Limits files against what is read from them and what is said of them.

use super::*;

fn check(text: &str) -> Result<LimitsDocument, Vec<LimitsFault>> {
    LimitsDocument::check(text, &LimitValues::default(), Duration::from_mins(1))
}

fn faults(text: &str) -> Vec<String> {
    check(text).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_changes_what_it_names_and_nothing_else() {
    let document =
        check("[device_punches]\nper_day = 1_500\n[device_requests]\nmode = 'shadow'\nper_min = 0x40\n").unwrap();
    let values = document.over(&LimitValues::default());
    let requests = LimitValue { rate: 64, burst: 30, mode: Mode::Shadow, source: Source::Applied };
    assert_eq!(values.get(Limit::DeviceRequests), requests);
    assert_eq!(values.get(Limit::DevicePunches).rate, 1_500);
    assert_eq!(values.get(Limit::UserLogins), LimitValues::default().get(Limit::UserLogins));
    let text = "[device_requests]\nper_min = 64\nmode = \"shadow\"\n[device_punches]\nper_day = 1500\n";
    assert_eq!(document.to_toml(), text);
    assert_eq!(LimitsDocument::read(text).unwrap(), document);
}

/// Goal: a file that was cut off, or a template that was not filled in, does not take all limits back.
#[test]
fn a_file_that_says_nothing_is_refused_unless_it_says_so() {
    let nothing = "line 1: the file names no limit: it is empty, or was cut off; to leave all limits to the settings, write settings_only = true";
    for text in ["", "\n\n", "# limits of the shop\n"] {
        assert_eq!(faults(text), [nothing], "{text:?}");
    }
    let none = check("# as configured\nsettings_only = true\n").unwrap();
    assert_eq!((&none, none.to_toml().as_str()), (&LimitsDocument::default(), "settings_only = true\n"));
    assert_eq!(LimitsDocument::read("").unwrap(), none, "as stored by earlier versions");
    assert_eq!(
        faults("[user_logins]\nburst = 9\n[device_requests]\n"),
        [
            "line 3: [device_requests] changes nothing, or was cut off; write per_min = 120, the default, below it, or leave it out"
        ]
    );
    let both = faults("settings_only = true\n[user_logins]\nburst = 9\n");
    assert!(both[0].starts_with("line 1: `settings_only` leaves all limits to the settings, but"), "{both:?}");
    assert!(faults("settings_only = false\n")[0].starts_with("line 1: `settings_only` is not `true`; leave"));
}

/// Goal: a file that was cut off within its last number does not set another one. Method: each beginning of a file, of which only those
/// that end a line, or are no limits at all, are accepted.
#[test]
fn a_file_that_was_cut_off_within_a_number_is_refused() {
    let whole = "[device_requests]\nmode = \"shadow\"\nper_min = 600\n[device_punches]\nper_day = 15000 # a shop\n";
    let accepted: Vec<&str> =
        (0..=whole.len()).filter_map(|end| whole.get(..end)).filter(|text| check(text).is_ok()).collect();
    for text in &accepted {
        assert!(text.ends_with(['\n', '"']) || text.contains('#'), "{text:?}");
    }
    assert_eq!(accepted.first(), Some(&"[device_requests]\nmode = \"shadow\""));
    let cut = check("[device_requests]\nper_min = 6").unwrap_err();
    let said = "line 2: the file ends within `per_min = 6`, and may have been cut off; end the line";
    assert_eq!(cut[0].to_string(), said);
    assert_eq!(LimitsDocument::of_file("[device_requests]\nper_min = 6").unwrap_err()[0].to_string(), said);
    let signed = check("[device_requests]\nper_min = +6").unwrap_err();
    assert!(signed[0].to_string().contains("may have been cut off"), "{}", signed[0]);
}

#[test]
fn every_fault_has_its_line_and_a_remedy() {
    assert_eq!(
        faults(
            "[device_requets]\nper_min = 1\n\n[device_punches]\nper_min = 5\nper_day = 0\nmode = \"on\"\n\n[address_failures]\nburst = 99999999999999999999\nper_min = \"many\"\n"
        ),
        [
            "line 1: there is no limit `device_requets`; did you mean `device_requests`?",
            "line 5: `device_punches` has no `per_min`; did you mean `per_day`?",
            "line 6: device_punches.per_day is `0`, expected a whole number from 1440 to 4294967295; set at least per_day = 1440; for no limit at all, mode = \"off\"",
            "line 7: device_punches.mode is \"on\", expected \"enforce\", \"shadow\" or \"off\"; set mode = \"shadow\" to count first",
            "line 10: address_failures.burst is `99999999999999999999`, expected a whole number from 1 to 1000000; set at most burst = 1000000",
            "line 11: address_failures.per_min is `\"many\"`, expected a whole number from 1 to 60000000; set per_min = 120, the default",
        ]
    );
    assert_eq!(
        faults("settings_onyl = true\n"),
        ["line 1: there is no limit `settings_onyl`; did you mean `settings_only`?"]
    );
    let broken = faults("[device_requests\nper_min = 1");
    assert!(broken[0].starts_with("line 1: it is not TOML: "), "{broken:?}");
    assert_eq!(
        faults("device_requests = 7")[0],
        "line 1: `device_requests` is not a table; write [device_requests] and below it per_min = 120"
    );
    assert_eq!(check("[user_logins]\nper_min = 1\n[user_logins]\nburst = 1\n").unwrap_err()[0].line, 3, "given twice");
}

#[test]
fn a_contradiction_is_refused_with_a_remedy_that_resolves_it() {
    let found = faults("[user_logins]\nper_min = 5\n[device_requests]\nburst = 9\nper_min = 1\n");
    assert_eq!(
        found,
        [
            "line 5: devices send a heartbeat every 60 s, which requires 2 requests a minute in total, but may make only 1; set per_min = 2 or more, or a longer HEARTBEAT_INTERVAL_MS"
        ]
    );
    for right in ["per_min = 2", "per_min = 1\nmode = \"shadow\"", "per_min = 1\nmode = \"off\""] {
        assert!(check(&format!("[device_requests]\n{right}\n")).is_ok(), "{right}");
    }
    let found = faults("[expensive_failures]\nburst = 100\n");
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("line 2: address_failures.burst is 120, but expensive_failures.burst is only 100: "),
        "{found:?}"
    );
    assert!(check("[expensive_failures]\nburst = 120\n").is_ok());
}

#[test]
fn the_difference_names_each_value_before_and_after() {
    let (old, new) = (
        check("[device_requests]\nper_min = 60\n").unwrap(),
        check("[device_requests]\nmode = \"shadow\"\nper_min = 90\n[user_logins]\nburst = 3\n").unwrap(),
    );
    let difference =
        "device_requests.per_min: 60 -> 90; device_requests.mode: unset -> shadow; user_logins.burst: unset -> 3";
    assert_eq!(old.difference(&new), difference);
    assert_eq!(new.difference(&new), "");
}
