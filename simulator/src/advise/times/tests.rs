//! The bounds of [`super`] against a rollout that is played minute by minute, device by device, by the engine's rules.

use super::*;
use crate::scenario::{Churn, ChurnKind, ChurnTime, Hours};

/// A device of the played rollout.
#[derive(Debug, Clone, Default)]
struct Played {
    part: usize,
    stage: usize,
    is_bad: bool,
    /// Within the heartbeat interval.
    phase: u64,
    last_seen: Option<u64>,
    offered_at: Option<u64>,
    /// Minutes of installation that are done.
    installed_for: u64,
    runs_since: Option<u64>,
    confirming_since: Option<u64>,
    is_confirmed: bool,
}

/// What is played: minutes everywhere.
struct Game<'g> {
    stages: &'g [(Steps, Duration)],
    interval: u64,
    confirm: u64,
    dies_after: u64,
    lost_after: u64,
    in_flight_max: usize,
    /// Devices of a part that may be updated at a time.
    site_max: usize,
    /// Whether the engine excuses silence while a place is closed.
    excuses: bool,
}

/// Needed to write the image and to boot.
const INSTALL: u64 = 2;

fn minutes(length: Duration) -> u64 {
    length.as_secs() / 60
}

impl Game<'_> {
    fn is_on(part: &Part, minute: u64) -> bool {
        part.opening.opens(MINUTE * u32::try_from(minute).unwrap()) == Some(MINUTE * u32::try_from(minute).unwrap())
    }

    /// The devices: in each part of the last stage that can have the bug, the last in turn has it if it is in `bad_part`.
    fn devices(&self, bad_part: usize) -> Vec<Played> {
        let mut devices = Vec::new();
        for (stage, (steps, _)) in self.stages.iter().enumerate() {
            for (part, of) in steps.parts.iter().enumerate() {
                for number in 0..of.devices {
                    let is_last = number + 1 == of.devices && stage + 1 == self.stages.len();
                    let phase = (u64::from(number) * 7 + part as u64 * 3) % self.interval;
                    devices.push(Played {
                        part,
                        stage,
                        is_bad: is_last && part == bad_part,
                        phase,
                        ..Played::default()
                    });
                }
            }
        }
        devices
    }

    /// A minute of a device, with power or without.
    fn live(&self, device: &mut Played, is_on: bool, minute: u64) {
        let is_dead = device.is_bad && device.runs_since.is_some_and(|since| minute >= since + self.dies_after);
        if !is_on || is_dead {
            device.installed_for = if device.runs_since.is_none() { 0 } else { device.installed_for };
            return;
        }
        if device.installed_for > 0 && device.runs_since.is_none() {
            device.installed_for += 1;
            if device.installed_for > INSTALL {
                device.runs_since = Some(minute);
            }
        } else if (minute + device.phase).is_multiple_of(self.interval) {
            device.last_seen = Some(minute);
            if device.runs_since.is_some() {
                let since = *device.confirming_since.get_or_insert(minute);
                device.is_confirmed |= minute - since >= self.confirm;
            } else if device.offered_at.is_some() {
                device.installed_for = 1;
            }
        }
    }

    /// When the bad device is lost, in minutes after the start.
    fn play(&self, start: u64, bad_part: usize) -> Option<u64> {
        let parts = &self.stages[0].0.parts;
        let mut devices = self.devices(bad_part);
        let (mut stage, mut evidence_at, mut dark_until) = (0, None, vec![0; parts.len()]);
        for device in &mut devices {
            device.last_seen = (0..=start).rev().find(|minute| Self::is_on(&parts[device.part], *minute));
        }
        for minute in start..start + 30 * 24 * 60 {
            let silent =
                |last_seen: Option<u64>, beats: u64| last_seen.is_none_or(|seen| minute - seen > beats * self.interval);
            let on: Vec<bool> = parts.iter().map(|part| Self::is_on(part, minute)).collect();
            for device in &mut devices {
                let is_on = on[device.part];
                self.live(device, is_on, minute);
            }
            for (part, of) in parts.iter().enumerate() {
                let there = devices.iter().filter(|device| device.part == part && !device.is_bad);
                let (all, out) =
                    there.fold((0, 0), |(all, out), of| (all + 1, out + u32::from(silent(of.last_seen, 2))));
                if self.excuses && of.opening.closes() && 2 * out > all {
                    dark_until[part] = minute;
                }
            }
            for device in devices.iter().filter(|device| device.is_bad && device.runs_since.is_some()) {
                let since = device.last_seen.unwrap_or(0).max(dark_until[device.part]);
                if minute.saturating_sub(since) > self.lost_after {
                    return Some(minute + 1 - start);
                }
            }
            let executed = devices.iter().filter(|of| of.stage == stage && of.is_confirmed).count();
            if executed >= self.stages[stage].0.needed as usize && evidence_at.is_none() {
                evidence_at = Some(minute);
            }
            let suspect = devices.iter().any(|of| of.runs_since.is_some() && silent(of.last_seen, 3));
            let is_baked = evidence_at.is_some_and(|at| minute >= at + minutes(self.stages[stage].1));
            if is_baked && !suspect && stage + 1 < self.stages.len() {
                (stage, evidence_at) = (stage + 1, None);
            }
            for device in devices.iter_mut().filter(|of| of.runs_since.is_none() && of.installed_for == 0) {
                // An offer that nobody takes up is withdrawn.
                device.offered_at = device.offered_at.filter(|at| minute - at <= self.lost_after.max(60));
            }
            let in_flight = devices.iter().filter(|of| of.offered_at.is_some() && !of.is_confirmed).count();
            let is_next = |of: &&mut Played| of.stage <= stage && of.offered_at.is_none() && !silent(of.last_seen, 3);
            let mut free = self.in_flight_max.saturating_sub(in_flight);
            let mut at_site = vec![0; parts.len()];
            for of in devices.iter().filter(|of| of.offered_at.is_some() && !of.is_confirmed) {
                at_site[of.part] += 1;
            }
            for of in devices.iter_mut().filter(is_next) {
                if free > 0 && at_site[of.part] < self.site_max {
                    of.offered_at = Some(minute);
                    (free, at_site[of.part]) = (free - 1, at_site[of.part] + 1);
                }
            }
        }
        None
    }
}

fn opening(closed: &[&str]) -> Opening {
    let churn = |hours: &&str| Churn {
        kind: ChurnKind::SiteCloses,
        when: ChurnTime::Daily(Hours::parse(hours).unwrap()),
        loss_bp: 0,
        only_model: None,
        only_site: None,
    };
    Opening::of(closed.iter().map(churn).collect::<Vec<_>>().iter())
}

/// Goal: a bug is found by the time that is predicted, whenever the rollout begins, wherever the device is that has it, and whether
/// or not the engine excuses a place that is closed; and the bound is not much longer than it must be.
/// Method: small rollouts in two stages are played from many starts of the day, with many closing hours.
#[test]
fn the_bug_is_never_found_later_than_predicted() {
    let mut tightest: f64 = 0.0;
    for closed in [&["22-06"][..], &["00-01"], &["18-08"], &["12-13", "20-07"], &["23-22"], &[]] {
        for (interval, dies_after, lost_after, in_flight_max, site_max) in [
            (15, 0, 60, 500, 500),
            (15, 0, 540, 7, 500),
            (30, 300, 600, 500, 500),
            (5, 1_500, 90, 5, 500),
            (15, 0, 60, 500, 3),
            (15, 0, 540, 7, 4),
            (5, 1_500, 90, 500, 5),
            (15, 0, 540, 500, 1),
        ] {
            let part = |opening, devices: u32| {
                let site_rounds = (devices - 1) / site_max;
                Part { opening, devices, can_fail: true, site_rounds, is_mixed: false }
            };
            let stage = |kiosk: u32, office: u32| {
                let parts = vec![part(opening(closed), kiosk), part(opening(&[]), office)];
                let rounds = (kiosk + office - 1) / in_flight_max;
                let all_run = Duration::from_mins(15) * (1 + rounds);
                Steps { parts, needed: (kiosk + office) * 9 / 10, all_run }
            };
            let steps = [stage(4, 8), stage(6, 18)];
            let lengths = Lengths {
                interval: Duration::from_mins(interval),
                confirm_window: Duration::from_mins(15),
                in_flight_max,
                dies_after: Duration::from_mins(dies_after),
                lost_after: Some(Duration::from_mins(lost_after)),
            };
            let Some(bakes) = steps.iter().map(|of| lengths.bake(of)).collect::<Option<Vec<Duration>>>() else {
                assert!(lost_after >= 540 || closed == ["23-22"], "{closed:?}: a device is never surely lost");
                continue;
            };
            let stages: Vec<(Steps, Duration)> = steps.into_iter().zip(bakes).collect();
            let until: Vec<(&Steps, Duration)> = stages.iter().map(|(of, bake)| (of, *bake)).collect();
            for count in [1, 2] {
                let predicted = minutes(lengths.found_after(&until[..count]).unwrap());
                let game = |excuses| Game {
                    stages: &stages[..count],
                    interval,
                    confirm: 15,
                    dies_after,
                    lost_after,
                    in_flight_max: in_flight_max as usize,
                    site_max: site_max as usize,
                    excuses,
                };
                let mut latest = 0;
                for start in (0..24 * 60).step_by(97).chain([1_319, 1_079, 1_199, 719, 1_439]) {
                    for (bad_part, excuses) in [(0, true), (0, false), (1, true)] {
                        let found = game(excuses).play(start + 24 * 60, bad_part);
                        let case =
                            format!("{closed:?}, start {start}, part {bad_part}, {count} stages, {lost_after} min");
                        let found = found.unwrap_or_else(|| panic!("{case}: not found"));
                        assert!(found <= predicted, "{case}: {found} min, predicted {predicted}");
                        latest = latest.max(found);
                    }
                }
                tightest = tightest.max(latest as f64 / predicted as f64);
                assert!(
                    latest as f64 >= predicted as f64 * 0.5,
                    "{closed:?}: {predicted} min are far more than {latest}"
                );
            }
        }
    }
    assert!(tightest > 0.9, "{tightest}");
}

/// A policy's own numbers are those that are used.
#[test]
fn lengths_are_those_of_the_policy() {
    let policy: Policy = serde_json::from_value(serde_json::json!({
        "stages": [{ "share_bp": 10_000, "min_executed": 1, "bake_s": 0 }],
        "gates": [{ "threshold_bp": 50, "min_executed": 600, "test": { "kind": "raw" } }],
        "confirm_window_s": 120, "lost_after_s": 7_200, "in_flight_max": 7,
    }))
    .unwrap();
    let minute = Duration::from_mins(1);
    let lengths = Lengths::of(&policy, minute, minute * 3, true);
    assert_eq!((lengths.confirm_window, lengths.in_flight_max), (minute * 2, 7));
    assert_eq!((lengths.dies_after, lengths.lost_after), (minute * 3, Some(minute * 120)));
    assert_eq!(Lengths::of(&policy, minute, minute, false).lost_after, None);
}
