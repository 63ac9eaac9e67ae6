//! Determinism check: a rehearsal runs twice at the same time, the second time on one core, on another date, with another
//! temporary folder, time zone, host name and language, and with modelled signatures. Both event logs must be identical, byte for
//! byte: neither the surroundings nor how documents are signed change anything that happens.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::shell::{self, Failed, root, say};

/// Where the one elsewhere runs and keeps its temporary files.
const ELSEWHERE: &str = "target/scenario-elsewhere";

/// The environment of the second run, as far as this machine allows.
pub(crate) struct OtherEnvironment {
    /// The program that a rehearsal is started with, and its first arguments.
    around: Vec<&'static str>,
}

impl OtherEnvironment {
    /// Another host name and another date where this machine can do that, and one core.
    pub(crate) fn on_this_machine() -> Self {
        let another_host = ["--user", "--map-root-user", "--uts"];
        let another_date = "2031-05-06 07:08:09";
        let mut around = vec!["taskset", "-c", "0"];
        if shell::exists("unshare", &[&another_host[..], &["true"]].concat()) {
            around.extend(["unshare"].into_iter().chain(another_host));
            around.extend(["sh", "-c", "echo elsewhere > /proc/sys/kernel/hostname; exec \"$@\"", "sh"]);
        } else {
            say("no UTS namespace available: the host name stays the same");
        }
        around.extend(["faketime", another_date]);
        Self { around }
    }

    /// Rehearses a scenario with `fleet`, here with these signatures and elsewhere with modelled ones, which are several times as
    /// fast; fails unless both pass with the same event log.
    pub(crate) fn repeats(&self, fleet: &str, scenario: &str, signatures: &str, out: &str) -> Result<(), Failed> {
        let command = ["rehearse", scenario, "--signatures"];
        let shown = [&command[..], &[signatures]].concat().join(" ");
        let failed = |error: std::io::Error| Failed(format!("`{shown}` cannot run elsewhere: {error}"));
        let temporary = root().join(ELSEWHERE).join("tmp");
        std::fs::create_dir_all(&temporary).map_err(failed)?;
        let again = format!("{ELSEWHERE}/run");
        let mut elsewhere = Command::new("env")
            .args(&self.around)
            .arg(fleet)
            .args(command)
            .args(["modelled", "--artifacts=light", "--quiet", "--out", &again])
            .current_dir(root())
            .envs([("TZ", "Pacific/Kiritimati"), ("HOSTNAME", "elsewhere"), ("LANG", "C")])
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("TMPDIR", &temporary)
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let here = shell::run_then_show(fleet, &[&command[..], &[signatures, "--out", out]].concat());
        let there = elsewhere.wait().map_err(failed)?;
        here?;
        if !there.success() {
            return Err(Failed(format!("`{shown}` passes here, and elsewhere it ended with {there}")));
        }
        let (one, other) = (hash(&root().join(out))?, hash(&root().join(&again))?);
        if one != other {
            return Err(Failed(format!("`{shown}` does not repeat: its event log is {one} here, {other} elsewhere")));
        }
        say("  repeats elsewhere, byte for byte");
        Ok(())
    }
}

/// SHA-256 of the event log, as the summary of a run says it.
fn hash(folder: &Path) -> Result<String, Failed> {
    let path = folder.join("summary.json");
    let summary =
        std::fs::read_to_string(&path).map_err(|error| Failed(format!("cannot read {}: {error}", path.display())))?;
    let hash = summary.split_once("\"event_log_sha256\": \"").and_then(|(_, rest)| rest.split_once('"'));
    hash.map(|(hash, _)| hash.to_owned()).ok_or_else(|| Failed(format!("{} has no event_log_sha256", path.display())))
}
