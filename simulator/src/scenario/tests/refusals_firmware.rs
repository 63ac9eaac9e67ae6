//! As `refusals`: releases, and faults that can never happen.

use super::{changed, checked, refusals};

/// The valid scenario, rehearsed, with one more fault after a release of each counter; the fault's table is on line 35.
fn with_fault(keys: &str) -> String {
    let releases = "[[firmware]]\nversion = \"2\"\ncounter = 2\n\n[[firmware]]\nversion = \"3\"\ncounter = 3\n";
    let text = changed("[[adversary]]", &format!("{releases}\n{keys}\n\n[[adversary]]"));
    text.replace("duration =", "mode = \"rehearse\"\nduration =")
}

#[test]
fn faults_that_can_never_happen_are_refused() {
    let fault = "[[firmware.fault]]\n";
    let cases = [
        (
            format!("{fault}only_site = \"north\""),
            "25:1: this fault has no share, so it never happens; expected a share above 0, such as `bricks_bp = 10`",
        ),
        (
            format!("{fault}bricks_bp = 6000\nlies_bp = 5000"),
            "25:1: the outcomes of this firmware add up to 11000 basis points; expected at most 10,000: each device has one",
        ),
        (
            format!("{fault}bricks_bp = 5\ndies_after = \"6h\""),
            "27:14: `dies_after` has no effect: no device dies of this fault; expected `dies_bp` above 0, or no `dies_after`",
        ),
        (
            format!("{fault}bricks_bp = 10000\n{fault}lies_bp = 5\nonly_site = \"north\""),
            "27:1: this fault can never happen: an earlier one already hits every device in its scope; expected shares below 10,000 in the earlier one, or a narrower scope",
        ),
        (
            format!("{fault}bricks_bp = 5\nonly_model = \"KS-200\""),
            "27:14: the fleet has no model `KS-200`; expected `KS-100`; did you mean `\"KS-100\"`?",
        ),
        (
            format!("{fault}bricks_bp = 5\nfrom_version = \"0.9\""),
            "27:16: neither the fleet nor a release has the version `0.9`; expected `1.0.0` or `2`",
        ),
        (
            format!("{fault}bricks_bp = 5\nfrom_version = \"3\""),
            "27:16: no device is updated from `3`: its counter 3 is not below 3, that of this release; expected `1.0.0` or `2`",
        ),
        (
            format!("{fault}bricks_bp = 5\nuptime_min = \"2s\"\nuptime_max = \"2s\""),
            "28:14: `uptime_max` is 2s, not above `uptime_min`; expected more than 2s",
        ),
        (
            format!("{fault}bricks_bp = 5\nuptime_min = \"30d\""),
            "27:14: no device is up for 30d; expected at most 30s: `uptime_at_start` and the whole run",
        ),
        (
            format!("{fault}bricks_bp = 5\nhours = \"06-06\""),
            "27:9: `hours` is `06-06`; expected two different hours of UTC with two digits each, such as \"22-06\"",
        ),
        (
            format!("bricks_bp = 5\n{fault}lies_bp = 5"),
            "25:1: this [[firmware]] has both `bricks_bp` and [[firmware.fault]]; expected one of the two: the keys of a single fault, or a [[firmware.fault]] for each",
        ),
        (
            "bricks_bp = 5\nfrom_version = \"2\"".to_owned(),
            "26:1: unknown key `from_version` in [[firmware]]; did you mean `version`?",
        ),
    ];
    for (keys, expected) in cases {
        assert_eq!(refusals(&with_fault(&keys)), [expected], "{keys}");
    }
}

#[test]
fn a_fault_that_happens_under_one_of_several_conditions_is_accepted() {
    let fault = "[[firmware.fault]]\n";
    let text = with_fault(&format!(
        "{fault}bricks_bp = 10000\nhours = \"22-06\"\n{fault}lies_bp = 5\nhours = \"05-08\"\nfrom_version = \"2\""
    ));
    let plan = checked(&text).unwrap();
    let hits: Vec<u32> = plan.firmware.iter().flat_map(|of| &of.faults).map(crate::scenario::Fault::hits_bp).collect();
    assert_eq!(hits, [0, 10_000, 5], "a release without tables has the one fault of its own keys");
    let up_before = text.replace("devices = 100", "devices = 100\nuptime_at_start = \"60d\"");
    assert!(checked(&up_before.replace("lies_bp = 5", "lies_bp = 5\nuptime_min = \"30d\"")).is_ok());
}

#[test]
fn faults_without_a_share_or_a_device_left_are_refused() {
    let no_share = with_fault("only_model = \"KS-100\"");
    assert_eq!(
        refusals(&no_share),
        ["25:14: `only_model` has no effect: this firmware has no fault; expected a share, such as `bricks_bp = 10`"]
    );
    let whole = |names: &[&str]| {
        let each = names.iter().map(|name| format!("[[firmware.fault]]\nbricks_bp = 10000\n{name}\n"));
        with_fault(&(each.collect::<String>() + "[[firmware.fault]]\nlies_bp = 1")).replace(
            "[[adversary]]",
            "[[fleet.model]]\nname = \"A\"\nshare = 1\n[[fleet.model]]\nname = \"B\"\nshare = 1\n[[adversary]]",
        )
    };
    let together = refusals(&whole(&["only_model = \"A\"", "only_model = \"B\""]));
    assert!(
        together.len() == 1 && together[0].contains("earlier ones together already hit every device"),
        "{together:?}"
    );
    assert!(checked(&whole(&["only_model = \"A\""])).is_ok());
}

#[test]
fn hours_are_refused_in_a_load_run() {
    let text = with_fault("[[firmware.fault]]\nbricks_bp = 5\nhours = \"22-06\"").replace("\"rehearse\"", "\"load\"");
    let expected = "27:9: `hours` would depend on when this load run is started, so that it would not repeat; expected `mode = \"rehearse\"`, where each run begins at `starts_at`";
    assert_eq!(refusals(&text), [expected]);
}

#[test]
fn a_fault_for_a_model_at_a_site_that_no_device_is_at_names_its_line() {
    let two_models =
        "[[fleet.model]]\nname = \"A\"\nshare = 1000000\n[[fleet.model]]\nname = \"B\"\nshare = 1\n[[adversary]]";
    let text =
        with_fault("bricks_bp = 5\nonly_model = \"B\"\nonly_site = \"north\"").replace("[[adversary]]", two_models);
    let wrong = checked(&text).unwrap_err();
    let expected = r#"error: no device of this fleet is a `B` at `north`
  --> demo.toml:27:13
   |
27 | only_site = "north"
   |             ^^^^^^^ expected a model and a site that some device has
   |
   = help: models and sites are drawn by their shares, with the seed 1; a larger share or fleet has such devices
"#;
    assert_eq!(wrong.iter().map(|wrong| wrong.render(false)).collect::<String>(), expected);
}
