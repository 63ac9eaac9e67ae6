//! As `refusals`: background failures.

use super::{changed, checked, refusals};

/// The valid scenario, rehearsed, with this table, whose header is on line 14.
fn with_churn(keys: &str) -> String {
    let text = changed("[server]", &format!("[[fleet.churn]]\n{keys}\n\n[server]"));
    text.replace("duration =", "mode = \"rehearse\"\nduration =")
}

#[test]
fn problems_in_background_failures_are_reported() {
    let cases: [(&str, &[&str]); 15] = [
        ("", &["14:1: [[fleet.churn]] has no `kind`; expected `kind = \"unplugged\"`"]),
        (
            "kind = \"unpluged\"",
            &[
                "15:8: `kind` is `unpluged`; expected `unplugged`, `removed`, `moved`, `site_closes`, `flaky_link` or `swapped`; did you mean `\"unplugged\"`?",
            ],
        ),
        (
            "kind = \"unplug\"",
            &[
                "15:8: `kind` is `unplug`; expected `unplugged`, `removed`, `moved`, `site_closes`, `flaky_link` or `swapped`; did you mean `\"unplugged\"`?",
            ],
        ),
        (
            "kind = \"unplugged\"",
            &[
                "14:1: [[fleet.churn]] has no `per_day_bp`; expected `per_day_bp = 20`",
                "14:1: [[fleet.churn]] has no `lasts`; expected `lasts = \"2h\"`",
            ],
        ),
        (
            "kind = \"unplugged\"\nper_day_bp = 0\nlasts = \"31d\"",
            &[
                "16:14: `per_day_bp` is too small: 0; expected 1 to 10,000",
                "17:9: `lasts` is too long: 31d; expected 1s to 30d",
            ],
        ),
        (
            "kind = \"unplugged\"\nper_day_bp = 10001\nlasts = \"999ms\"",
            &[
                "16:14: `per_day_bp` is too large: 10,001; expected 1 to 10,000",
                "17:9: `lasts` is too short: 999ms; expected 1s to 30d",
            ],
        ),
        (
            "kind = \"removed\"\nper_day_bp = 5\nlasts = \"2h\"",
            &["17:9: `lasts` has no effect on `removed`; expected no `lasts` with it"],
        ),
        ("kind = \"swapped\"\nper_day_bp = 5", &["14:1: [[fleet.churn]] has no `lasts`; expected `lasts = \"2h\"`"]),
        (
            "kind = \"site_closes\"\nper_day_bp = 5",
            &[
                "14:1: [[fleet.churn]] has no `hours`; expected `hours = \"22-06\"`",
                "16:14: `per_day_bp` has no effect on `site_closes`; expected no `per_day_bp` with it",
            ],
        ),
        (
            "kind = \"site_closes\"\nhours = 22",
            &["16:9: `hours` is a whole number; expected from and to in quotes, such as \"22-06\""],
        ),
        (
            "kind = \"site_closes\"\nhours = \"22\"",
            &["16:9: `hours` is `22`; expected two different hours of UTC with two digits each, such as \"22-06\""],
        ),
        (
            "kind = \"flaky_link\"\nper_day_bp = 5\nlasts = \"2h\"",
            &["14:1: [[fleet.churn]] has no `loss_bp`; expected `loss_bp = 3000`"],
        ),
        (
            "kind = \"moved\"\nper_day_bp = 5\nlasts = \"2h\"",
            &[
                "15:8: a device can't be `moved`: the fleet has one site; expected two or more [[fleet.site]], or the kind `unplugged`",
            ],
        ),
        (
            "kind = \"removed\"\nper_day_bp = 5\nonly_site = \"nort\"",
            &["17:13: the fleet has no site `nort`; expected `north`; did you mean `\"north\"`?"],
        ),
        (
            "kind = \"removed\"\nper_day = 5",
            &["16:1: unknown key `per_day` in [[fleet.churn]]; did you mean `per_day_bp`?"],
        ),
    ];
    for (keys, expected) in cases {
        assert_eq!(refusals(&with_churn(keys)), expected, "{keys}");
    }
}

#[test]
fn a_load_run_has_background_failures_but_no_hours() {
    let load = |keys: &str| with_churn(keys).replace("\"rehearse\"", "\"load\"");
    assert!(checked(&load("kind = \"unplugged\"\nper_day_bp = 5\nlasts = \"2s\"")).is_ok());
    let expected = "16:9: `hours` would depend on when this load run is started, so that it would not repeat; expected `mode = \"rehearse\"`, where each run begins at `starts_at`";
    assert_eq!(refusals(&load("kind = \"site_closes\"\nhours = \"22-06\"")), [expected]);
}

#[test]
fn a_key_of_another_kind_is_shown_with_its_line() {
    let text = with_churn("kind = \"site_closes\"\nhours = \"22-06\"\nlasts = \"8h\"");
    let expected = r#"error: `lasts` has no effect on `site_closes`
  --> demo.toml:17:9
   |
17 | lasts = "8h"
   |         ^^^^ expected no `lasts` with it
"#;
    let wrong = checked(&text).unwrap_err();
    assert_eq!(wrong.iter().map(|wrong| wrong.render(false)).collect::<String>(), expected);
}
