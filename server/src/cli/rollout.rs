//! `ks-server rollout`: plan, create, watch and control rollouts; a server may be running.

use std::{io::Write, path::PathBuf, time::Duration};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use ks_protocol::{
    id::{DeviceId, ReleaseId, RolloutId},
    number::within,
    text::counted,
};
use tokio::{sync::Mutex, time::Instant};

use super::{
    CommandResult, Failed, by, firmware::evaluation, given, json, output, parent, plan_table, rollout_status, settings,
    text, with_settings,
};
use crate::{
    assembly,
    clock::{Clock, SystemClock, ms},
    config::Config,
    edge,
    failure::StartError,
    rollout::{
        order::{Observed, OperatorOrder, Order},
        plan::{PlanError, RolloutRequest, percent},
        policy::Policy,
        reading::GateReading,
        status::Status,
    },
    rules,
    service::{
        names,
        rollouts::{
            self, Decision, Rollout,
            create::{self, CreateError},
        },
    },
    store::{Reader, StoreError, Writer, devices::Selector},
};

/// How often `watch` reads the rollout.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// How often a long reading of heartbeats shows how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

const EXAMPLES: &str = "\
Examples:
  ks-server rollout plan    --rollout spring --release fw-1.4.0 --policy careful.toml --all
  ks-server rollout create  --rollout spring --release fw-1.4.0 --policy careful.toml --all
  ks-server rollout watch   spring
  ks-server rollout status  spring
  ks-server rollout approve spring --stage 1 --revision 4 --reason 'checked each canary'
  ks-server rollout abort   spring --reason 'terminals in Lyon reboot'

A policy is a TOML or JSON file; docs/rollouts.md explains each field:
  stages = [ { share_bp = 1500, min_executed = 400, bake_s = 86400 }, { share_bp = 10000, min_executed = 500, bake_s = 3600 } ]
  gates  = [ { threshold_bp = 50, min_executed = 400, test = { kind = \"raw\" }, action = \"abort\" } ]";

pub(super) fn command() -> Command {
    let reason =
        || text("reason", "TEXT", "Why, for the trace and the audit").default_value("ordered on the command line");
    let which = || Arg::new("ROLLOUT").required(true).value_parser(value_parser!(RolloutId)).help("The rollout");
    let order = |name: &'static str, about: &'static str| {
        // Commands that let a release continue must name the stage and revision that the operator saw; commands that stop it may.
        let must_name = matches!(name, "resume" | "approve");
        let number = |name: &'static str, other: &'static str, value: &'static str, help: &'static str| {
            let number = Arg::new(name).long(name).value_name(value).requires(other).help(help).required(must_name);
            number.value_parser(within(1..=u64::MAX))
        };
        Command::new(name)
            .about(about)
            .arg(which())
            .arg(number("stage", "revision", "N", "Only if the rollout is at this stage, as `rollout watch` shows it"))
            .arg(number("revision", "stage", "N", "Only if it has this revision, as `rollout watch` shows it"))
            .arg(reason())
    };
    let roll_back = Arg::new("roll-back")
        .long("roll-back")
        .action(ArgAction::SetTrue)
        .help("Also send devices that installed the release back to the policy's roll_back_to");
    let once = Arg::new("once").long("once").action(ArgAction::SetTrue).help("Show it once and exit");
    parent("rollout", "Roll a release out to the fleet, in stages with gates")
        .after_help(EXAMPLES)
        .subcommand(with_settings(
            with_request(Command::new("plan").about(
                "Show the devices of each stage, how long it takes, and what the gates can detect; changes nothing",
            ))
            .arg(
                text(
                    "rehearse",
                    "FILE",
                    "Also write a new file with a scenario that rehearses this plan: `ks-fleet rehearse FILE`",
                )
                .value_parser(value_parser!(PathBuf)),
            ),
        ))
        .subcommand(with_settings(
            with_request(
                Command::new("create").about("Start a rollout; a running server picks it up within half a minute"),
            )
            .arg(reason()),
        ))
        .subcommand(with_settings(Command::new("list").about("List all rollouts, oldest first").arg(json())))
        .subcommand(with_settings(
            Command::new("watch")
                .about("Show progress until the rollout has ended")
                .after_help("Exit codes: 0 completed (or --once), 1 aborted.")
                .arg(which())
                .arg(once)
                .arg(json()),
        ))
        .subcommand(with_settings(
            Command::new("status")
                .about("Show how far a rollout is, what it waits for, and which devices to look at")
                .arg(which())
                .arg(json()),
        ))
        .subcommand(with_settings(order("pause", "Stop offering the release until resumed")))
        .subcommand(with_settings(order("resume", "Continue a paused rollout")))
        .subcommand(with_settings(order("approve", "Approve a stage that waits for an operator")))
        .subcommand(with_settings(
            order("abort", "End a rollout, and stop devices that are downloading").arg(roll_back),
        ))
        .subcommand(with_settings(
            Command::new("trace")
                .about("Show every decision and why it was made, with the numbers")
                .arg(which())
                .arg(json()),
        ))
}

/// The flags that describe a rollout.
fn with_request(command: Command) -> Command {
    let select = |name: &'static str, value: &'static str, help: &'static str| text(name, value, help);
    command
        .arg(
            text("rollout", "NAME", "Its name, never used before; it decides the order of the devices")
                .required(true)
                .value_parser(value_parser!(RolloutId)),
        )
        .arg(
            text("release", "RELEASE_ID", "The release to roll out")
                .required(true)
                .value_parser(value_parser!(ReleaseId)),
        )
        .arg(text("policy", "FILE", "The policy, as TOML or JSON").required(true).value_parser(value_parser!(PathBuf)))
        .arg(
            text("device", "DEVICE_ID", "Target this device; can be repeated")
                .action(ArgAction::Append)
                .value_parser(value_parser!(DeviceId)),
        )
        .arg(select("model", "MODEL", "Target devices of this model"))
        .arg(select("site", "SITE", "Target devices at this site"))
        .arg(select("label", "LABEL", "Target devices with this label"))
        .arg(select("firmware-version", "VERSION", "Target devices that last reported this version"))
        .arg(
            Arg::new("all")
                .long("all")
                .action(ArgAction::SetTrue)
                .help("Target every device that the release supports"),
        )
        .arg(json())
}

fn selector(flags: &ArgMatches) -> Result<Selector, StartError> {
    let text = |name: &str| flags.get_one::<String>(name).cloned();
    let device_ids: Option<Vec<DeviceId>> = flags.get_many("device").map(|named| named.cloned().collect());
    let selector = Selector {
        device_ids,
        model: text("model"),
        site: text("site"),
        firmware_version: text("firmware-version"),
        label: text("label"),
        status: None,
        search: None,
    };
    match (selector == Selector::default(), flags.get_flag("all")) {
        (true, false) => Err(StartError::refused(
            "no devices are selected".to_owned(),
            "give --device, --model, --site, --label or --firmware-version; or --all",
        )),
        (false, true) => Err(StartError::refused(
            "--all can't be combined with another selection".to_owned(),
            "remove --all or the other flags",
        )),
        _ => Ok(selector),
    }
}

fn policy(flags: &ArgMatches) -> Result<Policy, StartError> {
    let path = flags.get_one::<PathBuf>("policy").cloned().unwrap_or_default(); // clap demands it
    let text =
        std::fs::read_to_string(&path).map_err(|cause| StartError::File { what: "read", path: path.clone(), cause })?;
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    let parsed = if is_json {
        let mut json = serde_json::Deserializer::from_str(&text);
        serde_path_to_error::deserialize(&mut json).map_err(|error| error.to_string())
    } else {
        toml::from_str(&text).map_err(|error| error.to_string().trim_end().to_owned())
    };
    parsed.map_err(|why: String| {
        StartError::refused(format!("{}: {why}", path.display()), "docs/rollouts.md explains each field of a policy")
    })
}

fn refused(config: &Config, error: CreateError) -> StartError {
    match error {
        CreateError::Store(error) => assembly::database_error(config, &error),
        CreateError::Keys(error) => assembly::keys_error(config, error),
        CreateError::InvalidRequest(PlanError::Policy(problems)) => StartError::refused(
            // One line each: a policy for another fleet is wrong in many places at once.
            format!("the policy is refused:\n  {}", problems.join("\n  ")),
            "change the policy; docs/rollouts.md explains each field of a policy",
        ),
        other => StartError::refused(
            other.to_string(),
            "`ks-server firmware list` and `ks-server rollout list` show what exists",
        ),
    }
}

fn unknown(rollout_id: &RolloutId) -> StartError {
    StartError::refused(format!("there is no rollout {rollout_id}"), "`ks-server rollout list` shows them")
}

pub(super) fn run(name: &str, flags: &ArgMatches) -> CommandResult {
    let config = settings(flags)?;
    match name {
        "plan" | "create" => Ok(plan_or_create(&config, name, flags)?),
        "list" => Ok(list(&config, flags.get_flag("json"))?),
        "watch" => watch(&config, flags),
        "status" => Ok(status(&config, flags)?),
        "trace" => Ok(trace(&config, flags)?),
        _ => Ok(order(&config, name, flags)?),
    }
}

fn plan_or_create(config: &Config, name: &str, flags: &ArgMatches) -> Result<(), StartError> {
    let (which, policy) = (selector(flags)?, policy(flags)?);
    let (Some(rollout_id), Some(release_id)) =
        (flags.get_one::<RolloutId>("rollout").cloned(), flags.get_one::<ReleaseId>("release"))
    else {
        return Ok(()); // clap demands them
    };
    names::check(rollout_id.as_str(), &names::RESERVED_ROLLOUT_IDS)
        .map_err(|why| StartError::refused(why, "choose another name for the rollout"))?;
    let request = RolloutRequest { rollout_id: rollout_id.clone(), policy };
    let interval_ms = ms(config.heartbeat_interval);
    let scenario_file = if name == "plan" { flags.get_one::<PathBuf>("rehearse") } else { None };
    let (plan, scenario) = assembly::with_store(config, async |writer, reader| {
        let planning = Mutex::default();
        let planned = if name == "plan" {
            create::plan(&request, release_id, which.clone(), &reader, &planning, interval_ms).await
        } else {
            let why = given(flags, "reason");
            let request = request.clone();
            create::create(request, release_id, which.clone(), why, &writer, &reader, &by(), &planning, interval_ms)
                .await
        };
        let plan = planned.map_err(|error| refused(config, error))?;
        let mut scenario = None;
        if scenario_file.is_some() {
            let (interval, now) = (config.heartbeat_interval, SystemClock.now());
            let mut shown_at = Instant::now();
            let mut progress = |read: u64, of: u64| {
                if shown_at.elapsed() >= PROGRESS_INTERVAL {
                    shown_at = Instant::now();
                    edge::complain(&format!("{read} of about {of} heartbeats read"));
                }
            };
            let written = create::rehearsal(&request, release_id, &plan, &reader, interval, now, &mut progress).await;
            scenario = Some(written.map_err(|error| refused(config, error))?);
        }
        Ok((plan, scenario))
    })?;
    if let Some((path, scenario)) = scenario_file.zip(scenario) {
        write_new(path, &scenario)?;
    }
    if flags.get_flag("json") {
        output::json(&plan)?;
    } else {
        plan_table::show(&plan)?;
        if let Some(path) = scenario_file {
            output::lines(&[String::new(), format!("rehearse it with `ks-fleet rehearse {}`", path.display())])?;
        }
        if name == "create" {
            edge::say(&format!(
                "\nrollout {rollout_id} created; `ks-server rollout watch {rollout_id}` shows its progress"
            ))?;
        }
    }
    Ok(())
}

/// Writes a file that must not exist yet.
fn write_new(path: &std::path::Path, text: &str) -> Result<(), StartError> {
    let written = std::fs::File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|cause| StartError::File { what: "create", path: path.to_owned(), cause })
}

async fn read_rollout(config: &Config, reader: &Reader, rollout_id: &RolloutId) -> Result<Option<Rollout>, StoreError> {
    rollouts::find(reader, rollout_id, SystemClock.now(), config.heartbeat_interval).await
}

fn list(config: &Config, is_json: bool) -> Result<(), StartError> {
    let rollouts = assembly::with_reader(config, async |reader| {
        let found = reader.ask(|store| store.rollouts(0, usize::MAX)).await;
        let found = found.map_err(|error| assembly::database_error(config, &error))?;
        let mut rollouts = Vec::new();
        for record in found {
            let seen = read_rollout(config, &reader, &record.rollout_id).await;
            rollouts.extend(seen.map_err(|error| assembly::database_error(config, &error))?);
        }
        Ok(rollouts)
    })?;
    if is_json {
        return output::json(&rollouts);
    }
    let row = |rollout: &Rollout| {
        let stage = format!("{} of {}", rollout.stage + 1, rollout.stages);
        let name = [rollout.rollout_id.to_string(), rollout.release_id.to_string()];
        let state = [rollout.status.as_str().to_owned(), stage, percent(rollout.share_bp), rollout.targets.to_string()];
        name.into_iter().chain(state).collect()
    };
    let rows: Vec<Vec<String>> = rollouts.iter().map(row).collect();
    output::table(&["rollout", "release", "status", "stage", "share", "devices"], &rows)
}

fn watch(config: &Config, flags: &ArgMatches) -> CommandResult {
    let Some(rollout_id) = flags.get_one::<RolloutId>("ROLLOUT") else { return Ok(()) }; // clap demands it
    let (once, is_json) = (flags.get_flag("once"), flags.get_flag("json"));
    let status = assembly::with_reader(config, async |reader| {
        let mut last = String::new();
        loop {
            let seen = read_rollout(config, &reader, rollout_id).await;
            let seen =
                seen.map_err(|error| assembly::database_error(config, &error))?.ok_or_else(|| unknown(rollout_id))?;
            let line = if is_json { output::as_json_line(&seen) } else { one_line(&seen) };
            if line != last {
                let now = SystemClock.now();
                output::lines(&[if is_json { line.clone() } else { format!("{now} {line}") }])?;
                last = line;
            }
            if once || seen.status.is_over() {
                return Ok(seen.status);
            }
            tokio::time::sleep(WATCH_INTERVAL).await;
        }
    })?;
    if status == Status::Aborted && !once { Err(Failed::Found) } else { Ok(()) }
}

fn status(config: &Config, flags: &ArgMatches) -> Result<(), StartError> {
    let Some(rollout_id) = flags.get_one::<RolloutId>("ROLLOUT") else { return Ok(()) }; // clap demands it
    let status = assembly::with_reader(config, async |reader| {
        let found = rollouts::status::find(&reader, rollout_id, SystemClock.now(), config.heartbeat_interval).await;
        found.map_err(|error| assembly::database_error(config, &error))?.ok_or_else(|| unknown(rollout_id))
    })?;
    if flags.get_flag("json") { output::json(&status) } else { rollout_status::show(&status) }
}

/// A rollout on one line.
fn one_line(rollout: &Rollout) -> String {
    let updates: Vec<String> =
        rollout.updates.iter().map(|(state, count)| format!("{count} {}", state.as_str().to_lowercase())).collect();
    let gate_text = |gate: &GateReading| {
        let verdict = gate.judged.verdict.as_str();
        format!("gate {} of {}: {verdict}", gate.gate + 1, gate.of)
    };
    let gates: Vec<String> = rollout.gates.iter().map(gate_text).collect();
    let stage = format!(
        "stage {} of {} ({}), revision {}",
        rollout.stage + 1,
        rollout.stages,
        percent(rollout.share_bp),
        rollout.revision
    );
    let watched = rollout.watched_until.map_or_else(String::new, |until| {
        format!("; watched until {until}, {} since completion", counted(rollout.late_failures, "failure"))
    });
    format!("{} {stage}: {}; {}{watched}", rollout.status.as_str(), updates.join(", "), gates.join(", "))
}

fn trace(config: &Config, flags: &ArgMatches) -> Result<(), StartError> {
    let Some(rollout_id) = flags.get_one::<RolloutId>("ROLLOUT") else { return Ok(()) }; // clap demands it
    let decisions = assembly::with_reader(config, async |reader| {
        let found = rollouts::decisions(&reader, rollout_id, 0, usize::MAX).await;
        let found = found.map_err(|error| assembly::database_error(config, &error))?;
        Ok(found.ok_or_else(|| unknown(rollout_id))?.into_iter().map(Decision::from).collect::<Vec<_>>())
    })?;
    if flags.get_flag("json") {
        return output::json(&decisions);
    }
    for decision in decisions {
        let Decision { at, actor, decision, stage, why, gates, .. } = decision;
        output::lines(&[format!("{at}  stage {}  {decision:<9}  {actor}: {why}", stage + 1)])?;
        for gate in gates {
            let verdict = gate.judged.verdict.as_str();
            output::lines(&[format!("                          {verdict}: {gate}")])?;
        }
    }
    Ok(())
}

fn order(config: &Config, name: &str, flags: &ArgMatches) -> Result<(), StartError> {
    let Some(rollout_id) = flags.get_one::<RolloutId>("ROLLOUT").cloned() else { return Ok(()) }; // clap demands it
    let order = match name {
        "pause" => Order::Pause,
        "resume" => Order::Resume,
        "approve" => Order::Approve,
        _ => Order::Abort { roll_back: flags.get_flag("roll-back") },
    };
    let number = |name: &str| flags.get_one::<u64>(name).copied();
    let seen = number("stage").zip(number("revision")).map(|(stage, revision)| Observed {
        stage: usize::try_from(stage - 1).unwrap_or(usize::MAX), // clap demands 1 or more
        revision,
    });
    let ordered = OperatorOrder { order, seen, why: given(flags, "reason").to_owned() };
    let with = evaluation(config)?;
    let seen = assembly::with_store(config, async |writer: Writer, reader: Reader| {
        let (wanted, ordered, by) = (rollout_id.clone(), ordered.clone(), by());
        let done = writer.write(move |store| rules::rollouts::order(store, &wanted, &ordered, &by, with)).await;
        match done.map_err(|error| assembly::database_error(config, &error))? {
            None => Err(unknown(&rollout_id)),
            Some(Err(error)) => {
                let help = format!("`ks-server rollout watch {rollout_id} --once` shows its current state");
                Err(StartError::refused(error.to_string(), help))
            }
            Some(Ok(_)) => {
                let seen = read_rollout(config, &reader, &rollout_id).await;
                seen.map_err(|error| assembly::database_error(config, &error))?.ok_or_else(|| unknown(&rollout_id))
            }
        }
    })?;
    output::lines(&[one_line(&seen)])
}
