//! The story of each device that a rollout harmed, or that the server believes harmed: what happened to it, in order.

use ks_protocol::time::UnixMs;
use ks_reports::review::{DeviceStory, StoryEvent, Truth};

use super::{Target, With, evidence::Confirmations};

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
    let has_it_badly = target.installed_at.is_some() && target.truth.is_bad();
    target.update.state.is_failure() || target.broke_at.is_some() || has_it_badly || target.is_silent
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
    let mut events: Vec<(f64, &str)> = events.into_iter().flatten().collect();
    events.sort_by(|a, b| a.0.total_cmp(&b.0)); // stable
    let first_wrong = [target.broke_at.map(|at| at.as_secs_f64()), failed.map(seconds)].into_iter().flatten();
    let last_s = events.last().map_or(0.0, |(at_s, _)| *at_s);
    DeviceStory {
        device_id: update.device_id.to_string(),
        model: update.model.clone(),
        site: update.site.clone(),
        went_wrong_at_s: first_wrong.min_by(f64::total_cmp).unwrap_or(last_s),
        events: events.into_iter().map(|(at_s, what)| StoryEvent { at_s, what: what.to_owned() }).collect(),
        believed: update.state.as_str().to_owned(),
        truth: target.truth,
        last_seen_s: update.last_seen_at.map(seconds),
        is_silent: target.is_silent,
    }
}
