//! One rehearsal twice at the same time, here and elsewhere: on one core, on another date, with another temporary folder, time
//! zone, host name and language. Both event logs must be the same, byte for byte.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::shell::{self, Failed, root, say};

/// Where the one elsewhere runs and keeps its temporary files.
const ELSEWHERE: &str = "target/scenario-elsewhere";

/// Rehearses a scenario with `fleet`; fails unless it passes and repeats.
pub(crate) fn rehearse(fleet: &str, scenario: &str, out: &str) -> Result<(), Failed> {
    let failed = |error: std::io::Error| Failed(format!("cannot rehearse {scenario} elsewhere: {error}"));
    let temporary = root().join(ELSEWHERE).join("tmp");
    std::fs::create_dir_all(&temporary).map_err(failed)?;
    let again = format!("{ELSEWHERE}/run");
    let around = surroundings();
    let (first, rest) = around.split_first().ok_or_else(|| Failed("there is nothing to run it with".to_owned()))?;
    let mut elsewhere = Command::new(first)
        .args(rest)
        .args([fleet, "rehearse", scenario, "--quiet", "--out", &again])
        .current_dir(root())
        .envs([("TZ", "Pacific/Kiritimati"), ("HOSTNAME", "elsewhere"), ("LANG", "C")])
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("TMPDIR", &temporary)
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let here = shell::run(fleet, &["rehearse", scenario, "--out", out]);
    elsewhere.wait().map_err(failed)?;
    here?;
    let (one, other) = (hash(&root().join(out))?, hash(&root().join(&again))?);
    if one != other {
        return Err(Failed(format!("{scenario} does not repeat: its event log is {one} here, and {other} elsewhere")));
    }
    say("  repeats elsewhere, byte for byte");
    Ok(())
}

/// What a program is started with elsewhere: another host name and another date where this machine can do that, and one core.
fn surroundings() -> Vec<&'static str> {
    let another_host = ["unshare", "--user", "--map-root-user", "--uts"];
    let another_date = ["faketime", "2031-05-06 07:08:09"];
    let mut around = Vec::new();
    if shell::exists(another_host[0], &[&another_host[1..], &["true"]].concat()) {
        around.extend(another_host);
        around.extend(["sh", "-c", "echo elsewhere > /proc/sys/kernel/hostname; exec \"$@\"", "sh"]);
    } else {
        say("  no namespace for another host name here");
    }
    if shell::exists(another_date[0], &[another_date[1], "true"]) {
        around.extend(another_date);
    } else {
        say("  no faketime for another date here: `apt-get install faketime`");
    }
    around.extend(["taskset", "-c", "0"]);
    around
}

/// SHA-256 of the event log, as the summary of a run says it.
fn hash(folder: &Path) -> Result<String, Failed> {
    let path = folder.join("summary.json");
    let summary =
        std::fs::read_to_string(&path).map_err(|error| Failed(format!("cannot read {}: {error}", path.display())))?;
    let hash = summary.split_once("\"event_log_sha256\": \"").and_then(|(_, rest)| rest.split_once('"'));
    hash.map(|(hash, _)| hash.to_owned()).ok_or_else(|| Failed(format!("{} has no event_log_sha256", path.display())))
}
