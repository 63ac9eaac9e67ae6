//! `ks-server rollout status`: how far a rollout is, what it waits for, and which devices to look at.

use ks_protocol::{message::UpdateClass, text::counted};

use super::output;
use crate::{
    failure::StartError,
    rollout::{
        offline::OfflineSite,
        plan::percent,
        progress::{GateProgress, NextStep},
        status::Status,
        update::UpdateState,
    },
    service::rollouts::{
        Rollout,
        status::{DeviceUpdate, LookAt, RolloutStatus},
    },
};

/// Most devices shown that are only on their way; most of these are well.
const WAITING_SHOWN: usize = 5;

/// Shows a rollout's status, a topic a line.
pub(super) fn show(status: &RolloutStatus) -> Result<(), StartError> {
    let mut lines = Vec::new();
    let mut say = |topic: &str, text: String| lines.push(format!("{topic:<11}{text}"));
    let RolloutStatus { rollout, progress, last_decision, look_at, .. } = status;
    say("rollout", headline(rollout));
    let updates = rollout.updates.iter();
    let updates: Vec<String> =
        updates.map(|(state, count)| format!("{count} {}", state.as_str().to_lowercase())).collect();
    say("devices", format!("{}: {}", rollout.targets, updates.join(", ")));
    if !rollout.status.is_over() {
        let (executed, needed) = (progress.executed, counted(progress.executed_needed, "outcome"));
        let stage = rollout.stage + 1;
        say(
            "stage",
            format!(
                "{stage} adds {}, has {executed} of the {needed} that it needs",
                counted(progress.devices, "device")
            ),
        );
    }
    for gate in &progress.gates {
        say(&format!("gate {}", gate.reading.gate + 1), gate_text(gate));
    }
    if let Some(next) = progress.next.filter(|next| next.what != NextStep::Watched) {
        say("next", format!("{} {} at the earliest, if nothing fails", next.what.as_str(), next.at));
    }
    for what in &progress.waits_for {
        say("waits for", what.clone());
    }
    if let Some(pauses_at) = progress.pauses_at {
        say("or", format!("pauses at {pauses_at}, if the stage is still undecided then"));
    }
    if let Some(until) = rollout.watched_until {
        say("watched", format!("until {until}; since completion {} failed", counted(rollout.late_failures, "device")));
    } else if rollout.status == Status::Completed && rollout.late_failures > 0 {
        say("watched", format!("no longer; after completion {} failed", counted(rollout.late_failures, "device")));
    }
    for of in &rollout.offline_sites {
        say("offline", offline_text(of));
    }
    let is_back = |site: &str| rollout.offline_sites.iter().all(|of| of.site != site);
    for (site, until) in rollout.dark_sites.iter().filter(|(site, _)| is_back(site)) {
        say("offline", format!("site {site}: silence there until {until} is not blamed on the release"));
    }
    if let Some(decision) = last_decision {
        say("last", format!("{} {} by {}: {}", decision.at, decision.decision, decision.actor, decision.why));
    }
    output::lines(&lines)?;
    show_devices(look_at)
}

fn headline(rollout: &Rollout) -> String {
    let stage = format!("stage {} of {} ({})", rollout.stage + 1, rollout.stages, percent(rollout.share_bp));
    let (name, release, status) = (&rollout.rollout_id, &rollout.release_id, rollout.status.as_str());
    format!("{name} of {release}: {status}, {stage}, revision {}", rollout.revision)
}

/// A site that is offline: since when, until when at the most, and what is not judged there.
fn offline_text(of: &OfflineSite) -> String {
    let OfflineSite { site, since, until_at_most, begun, not_judged } = of;
    format!(
        "site {site} since {since}: {not_judged} of its {} with the release silent and not judged until it is heard again, or until {until_at_most} at the latest",
        counted(*begun, "device")
    )
}

/// A gate's reading and how far it is from its bounds.
fn gate_text(gate: &GateProgress) -> String {
    let verdict = gate.reading.judged.verdict.as_str();
    let reading = gate.reading.to_string();
    let reading = reading.split_once(" of ").map_or(reading.as_str(), |(_, rest)| rest);
    let mut text = format!("{verdict}: {reading}");
    match gate.failures_to_fail {
        Some(0) | None => {}
        Some(more) => text += &format!("; {} in a row would fail it", counted(more, "more failure")),
    }
    match gate.clean_to_pass {
        Some(0) | None => {}
        Some(more) => text += &format!("; {} without a failure would pass it", counted(more, "more device")),
    }
    if !gate.is_required {
        text += "; too few devices to hold the stage up";
    }
    text
}

fn show_devices(look_at: &LookAt) -> Result<(), StartError> {
    let LookAt { failed, silent, waiting, unreached } = look_at;
    let mut rows = Vec::new();
    let all = usize::MAX;
    for (why, devices, most) in [
        ("failed", failed, all),
        ("silent", silent, all),
        ("updating", waiting, WAITING_SHOWN),
        ("unreached", unreached, WAITING_SHOWN),
    ] {
        rows.extend(devices.iter().take(most).map(|device| row(why, device)));
    }
    if rows.is_empty() {
        return Ok(());
    }
    output::lines(&[String::new()])?;
    output::table(&["look at", "device", "model", "site", "state", "class", "since", "last seen"], &rows)
}

fn row(why: &str, device: &DeviceUpdate) -> Vec<String> {
    let since = match device.state {
        UpdateState::Pending => None,
        _ => device.ended_at.or(device.progress_at),
    };
    vec![
        why.to_owned(),
        device.device_id.to_string(),
        device.model.clone(),
        device.site.clone(),
        device.state.as_str().to_owned(),
        output::or_dash(device.class.map(UpdateClass::as_str)),
        output::or_dash(since),
        output::or_dash(device.last_seen_at),
    ]
}
