//! Every scenario in `scenarios/` is valid and states its goal.

use std::path::PathBuf;

use super::Permissive;
use crate::scenario::{check, render_all};

/// File name and text of every shipped scenario.
pub(super) fn scenarios() -> Vec<(String, String)> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios"));
    let files = std::fs::read_dir(folder).expect("the folder exists").map(|file| file.expect("readable").path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "toml"));
    let named = |file: PathBuf| file.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut scenarios: Vec<_> = files
        .map(|file| (named(file.clone()).expect("a name"), std::fs::read_to_string(file).expect("text")))
        .collect();
    scenarios.sort();
    scenarios
}

#[test]
fn every_shipped_scenario_is_valid_and_named_as_its_file() {
    let scenarios = scenarios();
    assert!(scenarios.len() >= 6, "found {}", scenarios.len());
    for (file, text) in scenarios {
        let plan =
            check(&file, text.as_bytes(), &Permissive).unwrap_or_else(|wrong| panic!("{}", render_all(&wrong, false)));
        assert_eq!(format!("{}.toml", plan.name), file);
        assert!(text.starts_with("# Goal: "), "{file} starts with its goal");
    }
}

#[test]
fn the_quickstart_offers_a_thousand_beats_a_second() {
    let scenarios = scenarios();
    let (_, text) = scenarios.iter().find(|(file, _)| file == "quickstart.toml").expect("it is shipped");
    let plan = check("quickstart.toml", text.as_bytes(), &Permissive).expect("it is valid");
    assert_eq!(plan.fleet.devices, 1_000);
    assert_eq!(plan.offered_per_min(), Some(60_000.0));
}
