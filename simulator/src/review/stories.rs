//! The story of each device that a rollout harmed, or that the server believes harmed: what happened to it, in order.

use std::time::Duration;

use ks_protocol::time::UnixMs;
use ks_reports::review::{DeviceStory, Fate, StoryEvent, Truth};

use super::{Target, With, evidence::Confirmations};
use crate::{device::fate::FateEvent, fleet::churn::Episode, scenario::ChurnKind};

/// Most stories that are written; the page shows fewer.
const STORIES_MAX: usize = 1_000;

/// The stories, in the order in which things went wrong, and how many there are in all.
pub(super) fn stories(
    with: &With<'_>,
    targets: &[Target<'_>],
    confirmations: &Confirmations,
    window_s: u64,
) -> (Vec<DeviceStory>, u64) {
    let mut stories: Vec<DeviceStory> = targets
        .iter()
        .filter(|target| is_worth_telling(target))
        .map(|target| story(with, target, confirmations.of_update(target.update, window_s)))
        .collect();
    stories.sort_by(|a, b| a.went_wrong_at_s.total_cmp(&b.went_wrong_at_s).then_with(|| a.device_id.cmp(&b.device_id)));
    let all = u64::try_from(stories.len()).unwrap_or(u64::MAX);
    stories.truncate(STORIES_MAX);
    (stories, all)
}

fn is_worth_telling(target: &Target<'_>) -> bool {
    let has_it_badly = target.fate == Fate::HasIt && target.truth.is_bad();
    target.update.state.is_failure() || target.fate == Fate::Broken || has_it_badly || target.is_silent
}

fn story(with: &With<'_>, target: &Target<'_>, confirmed_at: Option<UnixMs>) -> DeviceStory {
    let update = target.update;
    let seconds = |at: UnixMs| with.since_start(at).as_secs_f64();
    let installed = match target.truth {
        Truth::BootFails => "did not boot into it",
        Truth::Lies => "booted the old firmware and lied",
        Truth::Bricks => "bricked",
        _ => "booted into it",
    };
    let broke = if target.truth == Truth::Dies { target.broke_at } else { None };
    let failed = update.ended_at.filter(|_| update.state.is_failure());
    let events = [
        update.offered_at.map(|at| (seconds(at), "offered")),
        target.installed_at.map(|at| (at.as_secs_f64(), installed)),
        confirmed_at.map(|at| (seconds(at), "confirmed")),
        broke.map(|at| (at.as_secs_f64(), "died")),
        failed.map(|at| (seconds(at), update.state.as_str())),
    ];
    let mut events: Vec<(f64, String)> =
        events.into_iter().flatten().map(|(at_s, what)| (at_s, what.to_owned())).collect();
    let last_s = events.iter().map(|(at_s, _)| *at_s).fold(0.0, f64::max);
    events.extend(otherwise(with, target));
    events.sort_by(|a, b| a.0.total_cmp(&b.0)); // stable
    let first_wrong = [target.broke_at.map(|at| at.as_secs_f64()), failed.map(seconds)].into_iter().flatten();
    DeviceStory {
        device_id: update.device_id.to_string(),
        model: update.model.clone(),
        site: update.site.clone(),
        went_wrong_at_s: first_wrong.min_by(f64::total_cmp).unwrap_or(last_s),
        events: events.into_iter().map(|(at_s, what)| StoryEvent { at_s, what }).collect(),
        believed: update.state.as_str().to_owned(),
        truth: target.truth,
        last_seen_s: update.last_seen_at.map(seconds),
        is_silent: target.is_silent,
    }
}

/// What happened to a device after the offer that the release did not do: other releases, a loss of power, a move, its removal.
/// Of interruptions only those that may say why it is silent or failed: the last before it failed, and the last one of all.
fn otherwise(with: &With<'_>, target: &Target<'_>) -> Vec<(f64, String)> {
    let update = target.update;
    let Some(from) = update.offered_at.map(|at| with.since_start(at)) else { return Vec::new() };
    let fates = with.notes.get(&update.device_id).map(|notes| notes.fates.as_slice()).unwrap_or_default();
    let others = fates.iter().filter(|fate| fate.release_counter != target.release_counter && fate.at >= from);
    let mut events: Vec<(f64, String)> = Vec::new();
    for fate in others {
        let version = with.truth.version(fate.release_counter);
        let what = match fate.what {
            FateEvent::Installed => format!("booted after release {version}"),
            FateEvent::Bricked => format!("bricked by release {version}"),
            FateEvent::Died => format!("killed by release {version}"),
            FateEvent::Written(_) => continue,
        };
        events.push((fate.at.as_secs_f64(), what));
    }
    if target.fate == Fate::Broken {
        return events; // the release itself is the reason
    }
    let until = fates.iter().find(|fate| fate.what.breaks()).map_or(with.lasted, |fate| fate.at);
    let failed_at = update.ended_at.filter(|_| update.state.is_failure()).map(|at| with.since_start(at));
    let episodes = with.churn.get(&update.device_id).map(Vec::as_slice).unwrap_or_default();
    let cut = |episode: &&Episode| {
        let is_a_reason = episode.is_without_power() || episode.kind.is_for_good();
        is_a_reason && episode.from >= from && episode.from < until
    };
    let before_failure = |episode: &&Episode| failed_at.is_some_and(|failed_at| episode.from <= failed_at);
    let last = episodes.iter().rev().find(cut);
    let before = episodes.iter().rev().filter(before_failure).find(cut);
    for episode in [before.filter(|before| Some(*before) != last), last].into_iter().flatten() {
        events.extend(interruption(with, episode, until));
    }
    events
}

/// An interruption with its end, if that came before the device's own.
fn interruption(with: &With<'_>, episode: &Episode, until: Duration) -> Vec<(f64, String)> {
    let (begins, ends) = match episode.kind {
        ChurnKind::Removed => ("removed", ""),
        ChurnKind::Swapped => ("removed", "another device takes its place"),
        ChurnKind::Moved => ("unplugged to be moved", "plugged in again"),
        ChurnKind::SiteCloses => ("without power while its site is closed", "with power again"),
        _ => ("unplugged", "plugged in again"),
    };
    let mut events = vec![(episode.from.as_secs_f64(), begins.to_owned())];
    if episode.kind != ChurnKind::Removed && episode.to < until.min(with.lasted) {
        events.push((episode.to.as_secs_f64(), ends.to_owned()));
    }
    events
}
