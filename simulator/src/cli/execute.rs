//! From a scenario's file to the verdict of one run: check, run, show, report.

use std::{
    io::{IsTerminal, Read},
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use ks_protocol::duration;
use ks_reports::run_folder::{EventsKept, Summary, Verdict};
use ks_server::clock::{Clock, SystemClock};

use super::{
    Options,
    interrupt::{ConcludedRun, interruptible_until},
    output::{complain, complain_coloured, say_json},
};
use crate::{
    console::{self, Console},
    drive::{
        load::LoadRun,
        rehearse::{Rehearsal, Signatures},
        target::Target,
    },
    failure::Failure,
    run::folder::RunFolder,
    scenario::{self, Mode, Overrides, Plan, RefusedRollout, render_all},
    scenario_settings::ScenarioSettings,
    segment::{divisible, file::SavedOverrides, running::SegmentRun},
    timeline::Step,
};

/// Reads a scenario; if it is too large, only as much as the check needs to detect that.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    read_start(path, scenario::FILE_BYTES_MAX + 1).map_err(|cause| Failure::Scenario { path: path.to_owned(), cause })
}

/// Reads at most `max` bytes of a file.
pub(super) fn read_start(path: &Path, bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    std::fs::File::open(path)?.take(most).read_to_end(&mut start)?;
    Ok(start)
}

/// Claims the requested folder first, so that nothing of an earlier run is left in it, and ensures
/// that a run without a verdict fails in a CI server: the folder has a failing `junit.xml` then.
pub(super) fn red_without_verdict(
    path: &Path,
    out: Option<&Path>,
    run: impl FnOnce(Option<&RunFolder>) -> Result<u8, Failure>,
) -> Result<u8, Failure> {
    let name = path.file_stem().map_or_else(|| "scenario".into(), std::ffi::OsStr::to_string_lossy);
    let folder = out.map(|out| RunFolder::make(Some(out), &name, SystemClock.now())).transpose()?;
    let done = run(folder.as_ref());
    let why = match &done {
        Err(Failure::Output { .. }) => return done, // the run has its verdict
        Err(failure) => failure.to_string(),
        Ok(2) => {
            let text = read(path).unwrap_or_default();
            let wrong = scenario::check(&path.display().to_string(), &text, &ScenarioSettings);
            wrong.map_or_else(|wrong| render_all(&wrong, false), |_| "the scenario is invalid".to_owned())
        }
        Ok(_) => return done,
    };
    if let Some(folder) = &folder {
        folder.fail(&name, SystemClock.now(), &why);
    }
    done
}

/// The plan with the command line's overrides; none if the scenario is invalid, after printing why.
pub(super) fn plan(path: &Path, text: &[u8], mode: Option<Mode>, options: &Options) -> Result<Option<Plan>, Failure> {
    let plan = match scenario::check(&path.display().to_string(), text, &ScenarioSettings) {
        Ok(plan) => plan,
        Err(diagnostics) => {
            complain_coloured(render_all(&diagnostics, std::io::stderr().is_terminal()).trim_end());
            return Ok(None);
        }
    };
    let overrides = Overrides {
        mode,
        id_prefix: options.id_prefix.clone(),
        devices: options.devices,
        duration: options.duration,
        seed: options.seed,
        verify_percent: options.verify,
    };
    plan.with_overrides(overrides).map(Some).map_err(|wrong| Failure::BadRequest(wrong.join("; ")))
}

/// Checks and runs one scenario, in `folder` or else in a new one; returns the exit code of its verdict.
pub(super) fn run_one(
    path: &Path,
    text: &[u8],
    mode: Option<Mode>,
    target: Option<Target>,
    options: &Options,
    folder: Option<&RunFolder>,
) -> Result<u8, Failure> {
    let Some(plan) = plan(path, text, mode, options)? else { return Ok(2) };
    let mode = plan.mode;
    check_possible(&plan, target.as_ref())?;
    if mode == Mode::Rehearse && options.metrics_listen.is_some() {
        let why = "a rehearsal is over in seconds; --metrics-listen is for load runs".to_owned();
        return Err(Failure::BadRequest(why));
    }
    let text_shown = String::from_utf8_lossy(text);
    if let Some(segment) = options.segment {
        divisible::check(&plan, &text_shown, segment)?;
    }
    let target = target.map(Target::reached).transpose()?;
    let target = target.as_ref();
    let began = SystemClock.now();
    let mut new = None;
    let folder = RunFolder::requested_or_new(folder, &mut new, &plan.name, began)?;
    let out = folder.path();
    let concluded = ConcludedRun::default();
    let interrupted = interruptible_until(&concluded)?;
    let mut replay = format!("{} --seed {}", replay_command(path, mode, options, target), plan.seed);
    if let Some(segment) = options.segment {
        replay += &format!(" --segment {segment}");
    }
    let summary = match mode {
        Mode::Load => {
            let segment = segment_run((path, &*text_shown), target, &replay, options);
            let of = LoadRun { segment, ..load_run((&plan, target, out), replay, interrupted, options) };
            crate::drive::load::run(of)
        }
        Mode::Rehearse => {
            let events = options.events();
            let keeps_database = options.keep_database;
            let rehearsal = Rehearsal {
                plan: &plan,
                out,
                replay,
                concurrent: 1,
                is_trial: false,
                ends_when_settled: true,
                events,
                keeps_database,
            };
            crate::drive::rehearse::rehearse(rehearsal, Console::rehearsing(options.quiet, interrupted))
        }
    };
    let summary = match summary {
        Ok(summary) => Summary { made_at: began.to_string(), ..summary },
        Err(failure) => {
            folder.fail(&plan.name, began, &failure.to_string());
            return Err(failure);
        }
    };
    conclude(&summary, folder, &concluded, options)
}

/// Shows the verdict, writes it, and draws the report; returns the exit code.
pub(super) fn conclude(
    summary: &Summary,
    folder: &RunFolder,
    concluded: &ConcludedRun,
    options: &Options,
) -> Result<u8, Failure> {
    let shown = concluded.by(folder.path(), || {
        let shown = show(summary, options); // before anything is written: a full disk must not hide the verdict
        folder.conclude(summary).map(|()| shown) // a standard output that can't be written must not prevent the report
    })?;
    let report = folder.report(options.artifacts())?;
    if !options.quiet {
        complain(&format!("  report: {}", report.display()));
    }
    shown.map(|()| summary.exit_code)
}

/// A load run that is no part of anything.
fn load_run<'a>(
    (plan, target, out): (&'a Plan, Option<&'a Target>, &'a Path),
    replay: String,
    interrupted: Arc<AtomicBool>,
    options: &Options,
) -> LoadRun<'a> {
    let (events, quiet, progress) = (options.events(), options.quiet, String::new());
    let metrics_listen = options.metrics_listen;
    let (samples, segment) = (None, None);
    LoadRun { plan, target, out, replay, events, interrupted, quiet, progress, samples, metrics_listen, segment }
}

/// The segment that a load run is, if it is one.
fn segment_run<'a>(
    scenario: (&'a Path, &'a str),
    target: Option<&Target>,
    replay: &str,
    options: &Options,
) -> Option<SegmentRun<'a>> {
    let (segment, target) = options.segment.zip(target)?;
    Some(SegmentRun {
        segment,
        start_at: options.start_at,
        scenario,
        overrides: SavedOverrides {
            id_prefix: options.id_prefix.clone(),
            devices: options.devices,
            duration: options.duration,
            seed: options.seed,
            verify_percent: options.verify,
        },
        target_url: target.url.clone(),
        replay: replay.to_owned(),
        events_kept: options.events(),
        notes: Vec::new(),
    })
}

/// Refuses in advance what would fail later in the run.
pub(super) fn check_possible(plan: &Plan, target: Option<&Target>) -> Result<(), Failure> {
    let bad = |why: &str| Err(Failure::BadRequest(why.to_owned()));
    let retention: Option<u64> = plan.server.get("HEARTBEAT_RETENTION_DAYS").and_then(|days| days.parse().ok());
    if retention.is_some_and(|days| days * 86_400 <= plan.duration.as_secs()) {
        return bad(
            "HEARTBEAT_RETENTION_DAYS is not longer than the run: the server would delete heartbeats before the ledger reads them; raise it or shorten the run",
        );
    }
    if let Some(RefusedRollout { rollout_id, at, why }) = scenario::refused_rollouts(plan).first() {
        let at = duration::format(*at);
        return Err(Failure::Impossible {
            why: format!("the server would refuse the rollout `{rollout_id}` at {at} in this fleet: {why}"),
            help: "give more --devices, or change the rollout's policy",
        });
    }
    let of_tls = plan.expectations.iter().find(|expectation| expectation.metric.as_str().starts_with("tls."));
    if let Some(expectation) = of_tls.filter(|_| !target.is_some_and(Target::is_tls)) {
        return Err(Failure::Impossible {
            why: format!("the scenario expects `{expectation}`, and there is no TLS without an https:// target"),
            help: "name a target with TLS: --target https://HOST:PORT, and --ca FILE if its authority is private",
        });
    }
    let changes_keys = |step: &Step| matches!(step, Step::RotateServerKey(_) | Step::RevokeServerKey(_));
    let changes_keys = plan.timeline.iter().any(|timed| changes_keys(&timed.step));
    let restarts = plan.timeline.iter().any(|timed| matches!(timed.step, Step::RestartServer(_)));
    match (plan.mode, target) {
        (Mode::Rehearse, Some(_)) => bad("a rehearsal has its own server in process; omit --target"),
        (Mode::Load, Some(_)) if changes_keys => bad(
            "the scenario changes the server's keys permanently, which is allowed only for the run's own server; omit --target",
        ),
        (Mode::Load, Some(_)) if restarts => {
            bad("the scenario restarts the server, which is possible only for the run's own server; omit --target")
        }
        _ => Ok(()),
    }
}

pub(super) fn show(summary: &Summary, options: &Options) -> Result<(), Failure> {
    let stderr = std::io::stderr();
    let clear = if stderr.is_terminal() { "\r\x1b[2K" } else { "" };
    if !options.quiet {
        complain_coloured(&format!("{clear}{}", console::verdict(summary, stderr.is_terminal())));
    } else if summary.verdict != Verdict::Pass {
        // --quiet hides progress, not the reasons of a failure.
        complain(&console::failure(summary));
    }
    if options.json {
        say_json(summary, true)?;
    }
    Ok(())
}

/// An argument quoted for a shell.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The command that repeats the run, without its seed.
pub(super) fn replay_command(path: &Path, mode: Mode, options: &Options, target: Option<&Target>) -> String {
    let verb = match mode {
        Mode::Load => "run",
        Mode::Rehearse => "rehearse",
    };
    let mut command = format!("ks-fleet {verb} {}", quoted(&path.display().to_string()));
    if Signatures::chosen() == Signatures::Modelled {
        command += " --signatures modelled";
    }
    if let Some(devices) = options.devices {
        command += &format!(" --devices {devices}");
    }
    if let Some(duration) = options.duration {
        command += &format!(" --duration {}", duration::format(duration));
    }
    if let Some(prefix) = &options.id_prefix {
        command += &format!(" --id-prefix {prefix}");
    }
    if let Some(percent) = options.verify.filter(|percent| *percent < 100) {
        command += &format!(" --verify {percent}%");
    }
    if options.events() != EventsKept::All {
        command += &format!(" --events {}", options.events().as_str());
    }
    if let Some(target) = target {
        command += &format!(" --target {}", quoted(&target.url));
        if let Some(authorities) = &target.authorities {
            command += &format!(" --ca {}", quoted(&authorities.display().to_string()));
        }
    }
    command
}
