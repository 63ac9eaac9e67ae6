//! `ks-fleet`: run, rehearse, check, report. Without arguments it runs the quickstart.

use std::{
    ffi::OsString,
    io::{ErrorKind, IsTerminal, Read},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use ks_protocol::{duration, number::within, text::printable};
use ks_reports::{
    run_folder::{EventsKept, Summary, Verdict},
    score::Drawing,
};
use ks_server::clock::{Clock, SystemClock};

mod advise;
mod events;
mod explore;
mod output;
mod target;
mod trials;

use advise::AdviseOptions;
use explore::ExploreOptions;
use output::{complain, complain_coloured, say, say_json};
use target::TargetOptions;
use trials::{Requested, TrialOptions};

use crate::{
    console::{self, Console},
    drive::rehearse::{Rehearsal, Signatures},
    drive::target::Target,
    embedded::SUBCOMMAND,
    explain,
    failure::Failure,
    folder::{self, RunFolder},
    resources::Stopwatch,
    scenario::{self, Mode, Overrides, Plan, RefusedRollout, render_all},
    scenario_settings::ScenarioSettings,
    timeline::Step,
};

/// A signal within this time of the first counts as the same one: `timeout` and some shells send each signal twice, to
/// the process and to its group, and nobody presses Ctrl-C twice that quickly.
const SAME_SIGNAL: Duration = Duration::from_millis(100);

/// When the program is ended: how often it checks whether the verdict is written, and the interval: 2 s in all.
const CONCLUSION_LOOKS: u32 = 100;
const CONCLUSION_PAUSE: Duration = Duration::from_millis(20);

/// The scenario of a run without arguments, for a program outside the project's folder.
const QUICKSTART: (&str, &str) = ("scenarios/quickstart.toml", include_str!("../../../scenarios/quickstart.toml"));

/// Simulate a fleet against the real backend: thousands of virtual devices, each with its own keys and faults.
#[derive(Debug, Parser)]
#[command(name = "ks-fleet", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario in its own mode: as a load run over sockets, or as a rehearsal
    Run {
        /// The scenario's TOML file
        scenario: PathBuf,
        #[command(flatten)]
        target: TargetOptions,
        #[command(flatten)]
        options: Options,
    },
    /// Rehearse a scenario: virtual time, the server in process, the same seed gives the same event log
    Rehearse {
        /// The scenario's TOML file
        #[arg(required_unless_present = "resume")]
        scenario: Option<PathBuf>,
        /// How documents are signed: `modelled` is a keyed hash, several times as fast, and noted in the report [default: real]
        #[arg(long, value_enum)]
        signatures: Option<Signatures>,
        #[command(flatten)]
        trials: TrialOptions,
        #[command(flatten)]
        options: Options,
    },
    /// Rehearse random scenarios on all cores until an invariant is violated: lost heartbeats, tokens used twice, offers after
    /// an abort
    Explore(ExploreOptions),
    /// Find rollout policies that find a bug of a given size: by calculation, then by rehearsal
    Advise {
        /// The scenario's TOML file; its first rollout's firmware says how the bug shows
        scenario: PathBuf,
        #[command(flatten)]
        question: AdviseOptions,
        #[command(flatten)]
        options: Options,
    },
    /// Print one device's timeline in a rehearsal: every message, decision and fault, in order
    Explain {
        /// The run folder
        folder: PathBuf,
        /// The device's name
        device: String,
        /// Write one JSON object per entry to standard output
        #[arg(long)]
        json: bool,
    },
    /// Print a run's event log, one JSON object a line, in order
    Events {
        /// The run folder
        folder: PathBuf,
        /// Only the events of this device
        #[arg(long, value_name = "DEVICE")]
        device: Option<String>,
    },
    /// Check scenarios without running them
    Check {
        /// The scenarios' TOML files
        #[arg(required = true)]
        scenarios: Vec<PathBuf>,
        /// Write one JSON object per problem to standard output
        #[arg(long)]
        json: bool,
    },
    /// Redraw the report of a run folder, or the page of a folder of scored trials
    Report {
        /// The run folder
        folder: PathBuf,
    },
}

#[derive(Debug, Default, Args)]
struct Options {
    /// Number of devices, replacing the scenario's
    #[arg(long, value_name = "N", value_parser = within(0..=u32::MAX))]
    devices: Option<u32>,
    /// Duration, replacing the scenario's: 30s, 5m, 48h
    #[arg(long, value_name = "D", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Root seed, replacing the scenario's
    #[arg(long, value_name = "S", value_parser = within(0..=u64::MAX))]
    seed: Option<u64>,
    /// Prefix of every device ID, replacing the scenario's: for a second run against the same target
    #[arg(long, value_name = "PREFIX")]
    id_prefix: Option<String>,
    /// Run folder [default: reports/runs/SCENARIO-TIME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Which events the event log has: `all`; `decisions`, without ordinary heartbeats; or `none`, for no log [default: all]
    #[arg(long, value_name = "WHICH", value_parser = events::kept())]
    events: Option<EventsKept>,
    /// Write the summary as JSON to standard output
    #[arg(long)]
    json: bool,
    /// Show no progress, and print nothing for a run that passes
    #[arg(long)]
    quiet: bool,
}

impl Options {
    fn events(&self) -> EventsKept {
        self.events.unwrap_or_default()
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| format!("{error}; expected a duration such as 30s, 5m or 48h"))
}

/// Runs `ks-fleet` with these arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.get(1).is_some_and(|first| first == SUBCOMMAND) {
        return ks_server::cli::run(arguments.into_iter().skip(1));
    }
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            if error.use_stderr() {
                let why = error.render().to_string();
                for out in asked_out(&arguments) {
                    folder::leave_failure(out, "command line", SystemClock.now(), &why);
                }
            }
            return match error.print() {
                Err(cause) if !error.use_stderr() && cause.kind() != ErrorKind::BrokenPipe => {
                    exit_code(Err(Failure::Output { cause }))
                }
                _ => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)),
            };
        }
    };
    exit_code(dispatch(cli))
}

/// The run folders that a command line names, even if it is otherwise invalid.
fn asked_out(arguments: &[OsString]) -> Vec<&Path> {
    let Some((_, after)) = arguments.split_first().filter(|(_, after)| {
        after.first().is_some_and(|verb| ["run", "rehearse", "advise"].iter().any(|it| verb == it))
    }) else {
        return Vec::new();
    };
    let word = |argument: &'_ OsString| argument.to_str().map(str::to_owned).unwrap_or_default();
    let next = after.iter().skip(1).map(Some).chain([None]);
    let mut asked = Vec::new();
    for (argument, next) in after.iter().zip(next) {
        let value = if argument == "--out" {
            next.filter(|value| !word(value).starts_with('-')).map(Path::new)
        } else {
            argument.to_str().and_then(|argument| argument.strip_prefix("--out=")).map(Path::new)
        };
        asked.extend(value.filter(|value| !value.as_os_str().is_empty()));
    }
    asked
}

/// Prints why there is no verdict, if so, and returns the exit code.
fn exit_code(ended: Result<u8, Failure>) -> ExitCode {
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            let (why, help) = (failure.to_string(), failure.help());
            complain(&format!("error: {}\n  help: {}", printable(&why), printable(&help)));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(cli: Cli) -> Result<u8, Failure> {
    match cli.command {
        None => {
            let path = Path::new(QUICKSTART.0);
            let text = read(path).unwrap_or_else(|_| QUICKSTART.1.as_bytes().to_vec());
            execute(path, &text, None, None, &Options::default(), None)
        }
        Some(Command::Run { scenario, target, options }) => {
            red_without_verdict(&scenario, options.out.as_deref(), |folder| {
                let text = read(&scenario)?;
                let target = target.target()?;
                execute(&scenario, &text, None, target, &options, folder)
            })
        }
        Some(Command::Rehearse { scenario, signatures, trials, options }) => {
            rehearse(scenario.as_deref(), signatures, &trials, options)
        }
        Some(Command::Advise { scenario, question, options }) => {
            let out = options.out.clone();
            red_without_verdict(&scenario, out.as_deref(), |folder| advise::run(&scenario, &question, options, folder))
        }
        Some(Command::Explain { folder, device, json }) => {
            let history = explain::explain(&folder, &device)?;
            if json {
                for entry in &history.entries {
                    say_json(entry, false)?;
                }
            } else {
                say(explain::render(&history.entries).trim_end())?;
            }
            history.notes.iter().for_each(|note| complain(&format!("note: {note}")));
            Ok(0)
        }
        Some(Command::Events { folder, device }) => events::run(&folder, device.as_deref()),
        Some(Command::Explore(options)) => explore::run(&options, &interruptible()?),
        Some(Command::Check { scenarios, json }) => check(&scenarios, json),
        Some(Command::Report { folder }) => {
            let is_score = folder.join(ks_reports::score::SCORE).exists();
            let drawn = if is_score {
                ks_reports::score::draw_score(&folder, Drawing::Everything)
            } else {
                ks_reports::draw(&folder)
            }?;
            say(&drawn.report.display().to_string())?;
            Ok(0)
        }
    }
}

/// Rehearses a scenario once, or many times.
fn rehearse(
    scenario: Option<&Path>,
    signatures: Option<Signatures>,
    trials: &TrialOptions,
    options: Options,
) -> Result<u8, Failure> {
    let named = scenario.unwrap_or(Path::new("trials"));
    let out = options.out.clone();
    red_without_verdict(named, out.as_deref(), |folder| {
        trials.check()?;
        if trials.are_given() {
            return try_out(trials.requested(scenario, signatures, options)?, folder);
        }
        signatures.unwrap_or(Signatures::Real).choose();
        execute(named, &read(named)?, Some(Mode::Rehearse), None, &options, folder)
    })
}

/// Claims the requested folder first, so that nothing of an earlier run is left in it, and ensures
/// that a run without a verdict fails in a CI server: the folder has a failing `junit.xml` then.
fn red_without_verdict(
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

/// Reads a scenario; if it is too large, only as much as the check needs to detect that.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    read_start(path, scenario::FILE_BYTES_MAX + 1).map_err(|cause| Failure::Scenario { path: path.to_owned(), cause })
}

/// Reads at most `max` bytes of a file.
fn read_start(path: &Path, bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    std::fs::File::open(path)?.take(most).read_to_end(&mut start)?;
    Ok(start)
}

/// Checks a scenario and runs its trials; returns the exit code.
fn try_out(requested: Requested, folder: Option<&RunFolder>) -> Result<u8, Failure> {
    let (path, options) = (&requested.scenario, &requested.options);
    let Some(mut plan) = plan(path, &requested.text, Some(Mode::Rehearse), options)? else { return Ok(2) };
    let (model, site) = (requested.request.bug_model.as_deref(), requested.request.bug_site.as_deref());
    trials::fail_only_on(&mut plan, model, site)?;
    if requested.policies.is_empty() {
        check_possible(&plan, None)?;
    }
    for (name, policy) in &requested.policies {
        let mut plan = plan.clone();
        trials::use_policy(&mut plan, policy);
        check_possible(&plan, None).map_err(|failure| Failure::BadRequest(format!("policy `{name}`: {failure}")))?;
    }
    if options.events.is_some() {
        return Err(Failure::BadRequest("trials keep no event log; omit --events".to_owned()));
    }
    let mut replay = replay_command(path, Mode::Rehearse, options, None);
    for (flag, name) in [("--bug-model", model), ("--bug-site", site)] {
        if let Some(name) = name {
            replay += &format!(" {flag} {}", quoted(name));
        }
    }
    trials::run(&plan, replay, requested, folder, &interruptible()?)
}

/// The plan with the command line's overrides; none if the scenario is invalid, after printing why.
fn plan(path: &Path, text: &[u8], mode: Option<Mode>, options: &Options) -> Result<Option<Plan>, Failure> {
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
    };
    plan.with_overrides(overrides).map(Some).map_err(|wrong| Failure::BadRequest(wrong.join("; ")))
}

/// Checks and runs one scenario, in `folder` or else in a new one; returns the exit code of its verdict.
fn execute(
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
    let target = target.map(Target::reached).transpose()?;
    let target = target.as_ref();
    let began = SystemClock.now();
    let mut new = None;
    let folder = RunFolder::requested_or_new(folder, &mut new, &plan.name, began)?;
    let out = folder.path();
    let concluded = Concluded::default();
    let interrupted = interruptible_until(&concluded)?;
    let replay = format!("{} --seed {}", replay_command(path, mode, options, target), plan.seed);
    let summary = match mode {
        Mode::Load => crate::drive::load::run(&plan, target, out, replay, options.events(), interrupted, options.quiet),
        Mode::Rehearse => {
            let events = options.events();
            let rehearsal =
                Rehearsal { plan: &plan, out, replay, concurrent: 1, is_trial: false, ends_when_settled: true, events };
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
    let shown = concluded.by(out, || {
        let shown = show(&summary, options); // before anything is written: a full disk must not hide the verdict
        folder.conclude(&summary).map(|()| shown) // a standard output that can't be written must not prevent the report
    })?;
    let report = folder.report()?;
    if !options.quiet {
        complain(&format!("  report: {}", report.display()));
    }
    shown.map(|()| summary.exit_code)
}

/// Refuses in advance what would fail later in the run.
fn check_possible(plan: &Plan, target: Option<&Target>) -> Result<(), Failure> {
    let bad = |why: &str| Err(Failure::BadRequest(why.to_owned()));
    let retention: Option<u64> = plan.server.get("HEARTBEAT_RETENTION_DAYS").and_then(|days| days.parse().ok());
    if retention.is_some_and(|days| days * 86_400 <= plan.duration.as_secs()) {
        return bad(
            "HEARTBEAT_RETENTION_DAYS is not longer than the run: the server would delete heartbeats before the ledger reads them; raise it or shorten the run",
        );
    }
    if let Some(RefusedRollout { rollout_id, at, why }) = scenario::refused_rollouts(plan).first() {
        let at = duration::format(*at);
        return bad(&format!("the server would refuse the rollout `{rollout_id}` at {at} in this fleet: {why}"));
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

fn show(summary: &Summary, options: &Options) -> Result<(), Failure> {
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

/// The folder of a run whose verdict was shown and written. Both happen under one lock: ending the program waits for it.
#[derive(Clone, Default)]
struct Concluded(Arc<Mutex<Option<PathBuf>>>);

impl Concluded {
    /// Shows a verdict and writes it into a folder.
    fn by<T>(&self, folder: &Path, conclude: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let done = conclude()?;
        *place = Some(folder.to_owned());
        Ok(done)
    }

    /// The message for a user who ends the program now. Does not wait long for a verdict that can't be written, as into a full pipe.
    fn farewell(&self) -> String {
        for _ in 0..CONCLUSION_LOOKS {
            if let Ok(place) = self.0.try_lock() {
                return place.as_ref().map_or_else(no_report, |folder| {
                    let folder = quoted(&folder.display().to_string());
                    format!("ended immediately: the verdict is final, and `ks-fleet report {folder}` draws its report")
                });
            }
            std::thread::sleep(CONCLUSION_PAUSE);
        }
        no_report()
    }
}

fn no_report() -> String {
    "ended immediately, without a report".to_owned()
}

/// A flag that the first Ctrl-C, SIGTERM or SIGHUP sets; a later one ends the process.
fn interruptible() -> Result<Arc<AtomicBool>, Failure> {
    interruptible_until(&Concluded::default())
}

/// The same of a run that comes to a verdict.
fn interruptible_until(concluded: &Concluded) -> Result<Arc<AtomicBool>, Failure> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let failed = |error: std::io::Error| Failure::Machine { what: "handle signals", cause: error };
    let interrupted = Arc::new(AtomicBool::new(false));
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
    let (flag, concluded) = (Arc::clone(&interrupted), concluded.clone());
    let listening = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut first: Option<(i32, Stopwatch)> = None;
        for signal in signals.forever() {
            match &first {
                None => first = Some((signal, Stopwatch::started())),
                Some((kind, since)) if *kind == signal && since.elapsed() < SAME_SIGNAL => {}
                Some(_) => {
                    complain(&concluded.farewell());
                    std::process::exit(130);
                }
            }
            flag.store(true, Ordering::Relaxed);
        }
    });
    listening.map(|_| interrupted).map_err(failed)
}

/// An argument quoted for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The command that repeats the run, without its seed.
fn replay_command(path: &Path, mode: Mode, options: &Options, target: Option<&Target>) -> String {
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
    if options.events() != EventsKept::All {
        command += &format!(" --events {}", options.events().as_str());
    }
    if let Some(target) = target {
        command += &format!(" --target {}", quoted(&target.url));
    }
    command
}

fn check(scenarios: &[PathBuf], json: bool) -> Result<u8, Failure> {
    let mut code = 0;
    for path in scenarios {
        let text = read(path)?;
        match scenario::check(&path.display().to_string(), &text, &ScenarioSettings) {
            Ok(plan) if !json => say(&format!("{}: {} is sound", path.display(), plan.name))?,
            Ok(_) => {}
            Err(diagnostics) => {
                code = 2;
                if json {
                    for diagnostic in &diagnostics {
                        say_json(&diagnostic.to_json(), false)?;
                    }
                } else {
                    complain_coloured(render_all(&diagnostics, std::io::stderr().is_terminal()).trim_end());
                }
            }
        }
    }
    Ok(code)
}

const EXAMPLES: &str = "\
Examples:
  ks-fleet                                                  the quickstart: 1,000 devices for 30 s against the real server
  ks-fleet run scenarios/steady.toml --devices 2000 --out /tmp/run
  ADMIN_TOKEN=... ks-fleet run scenarios/steady.toml --target http://127.0.0.1:3000
  ks-fleet rehearse scenarios/first-light.toml --seed 7     an hour in seconds; the same seed gives the same event log
  ks-fleet rehearse scenarios/score-policies.toml --signatures modelled --trials 20 --bug-rates 0,1,2
  ks-fleet rehearse s.toml --policy a.toml --policy b.toml --trials 500 --until distinguished --budget 20m
  ks-fleet rehearse --resume reports/runs/s-trials-20260101000000                                  the trials it lacks
  ks-fleet advise scenarios/twelve-thousand-terminals.toml --detect 1.5% --of-model KS-200 --with 95% --in 48h
  ks-fleet explore --minutes 5                              random scenarios until an invariant is violated
  ks-fleet explain reports/runs/canary-2pct-brick-20260101000000 BR-001473
  ks-fleet events reports/runs/first-light-20260101000000 | jq -r .code | sort | uniq -c
  ks-fleet check scenarios/*.toml
  ks-fleet report reports/runs/quickstart-20260101000000

Exit codes: 0 pass, 99 an expectation was not met or an invariant was violated, 2 the scenario or the command line is invalid,
3 the target or the machine refused or failed, 4 inconclusive (too little evidence, or the measurement was not valid),
130 ended immediately by a second Ctrl-C.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_farewell_mentions_a_verdict_once_there_is_one() {
        let concluded = Concluded::default();
        assert_eq!(concluded.farewell(), "ended immediately, without a report");
        let failed: Result<(), Failure> = concluded.by(Path::new("/x"), || Err(Failure::BadRequest("full".to_owned())));
        assert!(failed.is_err());
        assert_eq!(concluded.farewell(), "ended immediately, without a report");
        let (ending, said) = std::sync::mpsc::channel();
        concluded
            .by(Path::new("/a run"), || {
                let concluded = concluded.clone();
                let ended = std::thread::Builder::new().spawn(move || ending.send(concluded.farewell()));
                assert!(ended.is_ok());
                assert!(
                    said.recv_timeout(Duration::from_millis(100)).is_err(),
                    "it waits until the verdict is written"
                );
                Ok(())
            })
            .unwrap();
        let farewell = said.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(
            farewell,
            "ended immediately: the verdict is final, and `ks-fleet report '/a run'` draws its report"
        );
    }

    #[test]
    fn the_folder_is_read_from_an_invalid_command_line_too() {
        let asked = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            asked_out(&words).into_iter().map(Path::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(asked("ks-fleet run a.toml --out=x --bogus"), [Path::new("x")]);
        assert_eq!(asked("ks-fleet rehearse --sed 3 a.toml --out y"), [Path::new("y")]);
        for none in ["ks-fleet", "ks-fleet explore --out z", "ks-fleet run a.toml --out --seed 3", "ks-fleet run --out"]
        {
            assert!(asked(none).is_empty(), "{none}");
        }
    }
}
