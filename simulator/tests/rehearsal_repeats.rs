//! Goal: the same seed gives the same event log, byte for byte, whatever surrounds the run; another seed gives another.
//! Method: the real executable, in processes with different temporary folders, time zones, host names and core counts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure here is a failed test"
)]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

fn scenario() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/first-light.toml")
}

/// Rehearses five minutes of 40 devices in `folder`, and gives the summary.
fn rehearse(folder: &Path, seed: u64, surroundings: &[(&str, &str)], on_one_core: bool) -> Value {
    let temporary = folder.join("tmp");
    std::fs::create_dir_all(&temporary).unwrap();
    let fleet = env!("CARGO_BIN_EXE_ks-fleet");
    let mut command = if on_one_core { Command::new("taskset") } else { Command::new(fleet) };
    if on_one_core {
        command.args(["-c", "0", fleet]);
    }
    let output = command
        .arg("rehearse")
        .arg(scenario())
        .args(["--devices", "40", "--duration", "20m", "--quiet", "--json", "--seed", &seed.to_string()])
        .arg("--out")
        .arg(folder.join("run"))
        .env("TMPDIR", &temporary)
        .envs(surroundings.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn hash(summary: &Value) -> &str {
    summary["event_log_sha256"].as_str().expect("a rehearsal has a hash")
}

#[test]
fn the_same_seed_gives_the_same_log_wherever_it_runs() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let here = rehearse(folders[0].path(), 7, &[("TZ", "UTC")], false);
    let there =
        rehearse(folders[1].path(), 7, &[("TZ", "Asia/Kathmandu"), ("HOSTNAME", "elsewhere"), ("LANG", "C")], true);
    assert_eq!(hash(&here), hash(&there));
    assert!(here["heartbeats"]["acked"].as_u64().unwrap() > 1_000);
    let logs = folders.each_ref().map(|folder| std::fs::read(folder.path().join("run/events.ndjson")).unwrap());
    assert!(logs[0] == logs[1], "the files themselves are the same");
}

#[test]
fn another_seed_gives_another_log() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let one = rehearse(folders[0].path(), 7, &[], false);
    let other = rehearse(folders[1].path(), 8, &[], false);
    assert_ne!(hash(&one), hash(&other));
}
