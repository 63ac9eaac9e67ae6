//! One device's update as a pure state machine: it ends in exactly one outcome, and only signed heartbeats confirm it.
//!
//! | state | event | next |
//! | --- | --- | --- |
//! | PENDING | its turn has come | OFFERED |
//! | PENDING, OFFERED | the rollout is aborted | HALTED |
//! | OFFERED, DOWNLOADING | status DOWNLOADING | DOWNLOADING |
//! | OFFERED, DOWNLOADING | status INSTALLING, REBOOTING | INSTALLING |
//! | OFFERED to INSTALLING | a heartbeat with the new counter after a new boot | CONFIRMING |
//! | CONFIRMING | heartbeats with the new counter for the whole window | CONFIRMED |
//! | INSTALLING | a heartbeat after a boot with the old counter | ROLLED_BACK, or FALSE_SUCCESS if it had reported SUCCEEDED |
//! | CONFIRMING, CONFIRMED | a heartbeat with another counter | ROLLED_BACK |
//! | any but outcomes | status FAILED, REJECTED, ROLLED_BACK, HALTED | that |
//! | OFFERED, DOWNLOADING, INSTALLING | no progress in time | TIMED_OUT (an offer that the device did not take: PENDING) |
//! | INSTALLING, CONFIRMING, CONFIRMED | silence | LOST |
//! | PENDING, OFFERED to CONFIRMED | a person revokes the device | WITHDRAWN |
//! | OFFERED to CONFIRMED | a person re-provisions the device with another key | WITHDRAWN |
//!
//! "Unknown" is never success, and silence is a failure once its timeout has passed. Outcomes other than CONFIRMED are final, even
//! for a device that is revoked later: replacing a device that a release has broken must not make the release look good.

mod state;

use std::time::Duration;

use ks_protocol::{
    message::{UpdateClass, UpdateStep},
    time::UnixMs,
};

pub use self::state::UpdateState;
use super::policy::Policy;
use crate::clock::{is_ahead, ms};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update {
    pub state: UpdateState,
    /// The counter of the offered release.
    pub to_counter: u64,
    /// The device's boot when it last reported about its update, or when it was offered.
    pub boot_epoch: u32,
    /// The device reported SUCCEEDED.
    pub said_done: bool,
    /// When it was offered.
    pub offered_at: Option<UnixMs>,
    /// When it last progressed.
    pub progress_at: UnixMs,
    /// Since when heartbeats report the new firmware.
    pub confirming_since: Option<UnixMs>,
    pub ended_at: Option<UnixMs>,
    /// The class of the failure, as the device reported it.
    pub class: Option<UpdateClass>,
}

/// The timeouts of a policy, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timeouts {
    confirm_window_ms: u64,
    progress_timeout_ms: u64,
    lost_after_ms: u64,
}

impl Timeouts {
    /// Those of a policy.
    pub fn of(policy: &Policy) -> Self {
        let as_ms = |seconds| ms(Duration::from_secs(seconds));
        Self {
            confirm_window_ms: as_ms(policy.confirm_window_s),
            progress_timeout_ms: as_ms(policy.progress_timeout_s),
            lost_after_ms: as_ms(policy.lost_after_s),
        }
    }
}

/// What happens to an update.
#[derive(Debug, Clone, Copy)]
pub enum UpdateEvent {
    /// Its turn has come.
    Offered {
        /// The device's current boot: the new firmware must come in a later one.
        boot_epoch: u32,
    },
    /// The rollout was aborted.
    Aborted,
    /// The device reported a status.
    Status {
        step: UpdateStep,
        /// The reported class of failure.
        class: Option<UpdateClass>,
        /// The device's current boot.
        boot_epoch: u32,
    },
    Beat {
        /// The counter of the reported firmware.
        release_counter: u64,
        /// The device's current boot.
        boot_epoch: u32,
    },
    /// Time has passed. Silence and lack of progress count from `since` at the earliest: before that, there was a gap, or the whole
    /// site was offline.
    Timer {
        /// When the device was last seen.
        last_seen_at: UnixMs,
        /// From when on silence counts.
        since: UnixMs,
    },
    /// A person revoked the device.
    Revoked,
    /// A person gave the device another key. What its old key signed no longer counts, but a pending device keeps its turn.
    Reprovisioned,
}

/// The update after the event. Outcomes are final except CONFIRMED, which is watched as long as the rollout is open.
pub fn step(before: &Update, event: UpdateEvent, at: UnixMs, patience: Timeouts) -> Update {
    use UpdateState as S;
    let mut next = *before;
    let is_final = matches!(before.state, S::Halted | S::Withdrawn) || before.state.is_failure();
    // Reports and heartbeats of a device do not count before its turn.
    let is_for_pending = matches!(event, UpdateEvent::Offered { .. } | UpdateEvent::Aborted | UpdateEvent::Revoked);
    if is_final || (before.state == S::Pending && !is_for_pending) {
        return next;
    }
    match event {
        UpdateEvent::Offered { boot_epoch } if before.state == S::Pending => {
            next =
                Update { state: S::Offered, boot_epoch, said_done: false, offered_at: Some(at), class: None, ..next };
        }
        UpdateEvent::Aborted if before.state.ends_with_its_rollout() => next.state = S::Halted,
        UpdateEvent::Revoked | UpdateEvent::Reprovisioned => next.state = S::Withdrawn,
        UpdateEvent::Status { step, class, boot_epoch } if before.state != S::Confirmed => {
            on_status(&mut next, step, class, at);
            if matches!(step, UpdateStep::Downloading | UpdateStep::Installing | UpdateStep::Rebooting) {
                next.boot_epoch = boot_epoch; // the new firmware must come in a later boot
            }
        }
        UpdateEvent::Offered { .. } | UpdateEvent::Aborted | UpdateEvent::Status { .. } => {}
        UpdateEvent::Beat { release_counter, boot_epoch } => {
            on_heartbeat(&mut next, release_counter, boot_epoch, at, patience);
        }
        UpdateEvent::Timer { last_seen_at, since } => on_timer(&mut next, last_seen_at.max(since), since, at, patience),
    }
    if next.state != before.state {
        next.progress_at = at;
        next.ended_at =
            (next.state.outcome().is_some() || matches!(next.state, S::Halted | S::Withdrawn)).then_some(at);
    }
    next
}

fn on_status(next: &mut Update, step: UpdateStep, class: Option<UpdateClass>, at: UnixMs) {
    use UpdateState as S;
    next.class = class.or(next.class);
    match step {
        UpdateStep::Downloading if next.state.may_be_halted() => {
            next.state = S::Downloading;
            next.progress_at = at;
        }
        UpdateStep::Installing | UpdateStep::Rebooting if next.state != S::Confirming => {
            next.state = S::Installing;
            next.progress_at = at;
        }
        UpdateStep::Downloading | UpdateStep::Installing | UpdateStep::Rebooting => {}
        UpdateStep::Succeeded => next.said_done = true,
        UpdateStep::Failed => next.state = S::Failed,
        UpdateStep::Rejected => next.state = S::Rejected,
        UpdateStep::RolledBack => next.state = S::RolledBack,
        // It already runs the firmware that it was to be stopped from installing.
        UpdateStep::Halted if next.state == S::Confirming => {}
        UpdateStep::Halted => next.state = S::Halted,
    }
}

fn on_heartbeat(next: &mut Update, release_counter: u64, boot_epoch: u32, at: UnixMs, patience: Timeouts) {
    use UpdateState as S;
    let (is_new, has_booted) = (release_counter == next.to_counter, boot_epoch > next.boot_epoch);
    match next.state {
        S::Confirming if is_new => {
            let since = next.confirming_since.filter(|since| !is_ahead(*since, at)).unwrap_or(at);
            next.confirming_since = Some(since); // restarted if the clock was ahead when it booted
            if at.since_ms(since) >= patience.confirm_window_ms {
                next.state = S::Confirmed;
            }
        }
        S::Confirmed if is_new => {}
        S::Confirming | S::Confirmed => next.state = S::RolledBack,
        _ if is_new && has_booted => {
            next.state = S::Confirming;
            next.confirming_since = Some(at);
        }
        // It reported success but runs the old firmware, or never booted into the new one.
        _ if next.said_done => next.state = S::FalseSuccess,
        S::Installing if has_booted => next.state = S::RolledBack,
        // The old firmware keeps running during the download; the power may have been cut meanwhile.
        _ => {}
    }
}

fn on_timer(next: &mut Update, silent_since: UnixMs, since: UnixMs, at: UnixMs, patience: Timeouts) {
    use UpdateState as S;
    let is_silent = at.since_ms(silent_since) > patience.lost_after_ms;
    if is_ahead(next.progress_at, at) {
        next.progress_at = at; // the clock was ahead when it last progressed
    }
    let is_stuck = at.since_ms(next.progress_at.max(since)) > patience.progress_timeout_ms;
    match next.state {
        S::Offered if is_stuck => {
            next.state = S::Pending; // not executed; it gets another turn from the start
            next.offered_at = None;
        }
        S::Downloading if is_stuck => next.state = S::TimedOut,
        S::Installing | S::Confirming | S::Confirmed if is_silent => next.state = S::Lost,
        S::Installing if is_stuck && !is_silent => {
            // Not lost, and neither done nor failed.
            next.state = S::TimedOut;
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::outcome::Outcome;
    use proptest::prelude::*;

    const MINUTE: u64 = 60_000;
    const PATIENCE: Timeouts =
        Timeouts { confirm_window_ms: 15 * MINUTE, progress_timeout_ms: 60 * MINUTE, lost_after_ms: 30 * MINUTE };

    fn offered() -> Update {
        Update {
            state: UpdateState::Offered,
            to_counter: 7,
            boot_epoch: 3,
            said_done: false,
            offered_at: Some(UnixMs(0)),
            progress_at: UnixMs(0),
            confirming_since: None,
            ended_at: None,
            class: None,
        }
    }

    fn status(step: UpdateStep) -> UpdateEvent {
        UpdateEvent::Status { step, class: None, boot_epoch: 3 }
    }

    fn beat(release_counter: u64, boot_epoch: u32) -> UpdateEvent {
        UpdateEvent::Beat { release_counter, boot_epoch }
    }

    fn timer(last_seen_min: u64, since_min: u64) -> UpdateEvent {
        UpdateEvent::Timer { last_seen_at: UnixMs(last_seen_min * MINUTE), since: UnixMs(since_min * MINUTE) }
    }

    /// The update after these events, each at its minute.
    fn after(events: &[(u64, UpdateEvent)]) -> Update {
        events
            .iter()
            .fold(offered(), |update, (minute, event)| step(&update, *event, UnixMs(minute * MINUTE), PATIENCE))
    }

    #[test]
    fn only_heartbeats_over_the_whole_window_confirm_an_update() {
        use UpdateStep as U;
        let way = [(1, status(U::Downloading)), (2, status(U::Installing)), (3, beat(7, 4)), (17, beat(7, 4))];
        assert_eq!(after(&way).state, UpdateState::Confirming);
        let confirmed = after(&[way.as_slice(), &[(18, beat(7, 4))]].concat());
        assert_eq!((confirmed.state, confirmed.ended_at), (UpdateState::Confirmed, Some(UnixMs(18 * MINUTE))));
        let reported_only =
            after(&[(1, status(U::Downloading)), (2, status(U::Installing)), (3, status(U::Succeeded))]);
        assert_eq!(reported_only.state, UpdateState::Installing, "a report is not proof");
    }

    /// The clock is ten days ahead while the device boots and reports, then right; and the other way round.
    #[test]
    fn a_wrong_clock_neither_confirms_early_nor_blocks() {
        use UpdateStep as U;
        let ten_days = 10 * 24 * 60;
        let way = [(1, status(U::Downloading)), (2, status(U::Installing))];
        let ahead = [way.as_slice(), &[(ten_days + 3, beat(7, 4)), (4, beat(7, 4)), (18, beat(7, 4))]].concat();
        assert_eq!(after(&ahead).state, UpdateState::Confirming);
        assert_eq!(after(&[ahead.as_slice(), &[(19, beat(7, 4))]].concat()).state, UpdateState::Confirmed);
        let stuck = [way[0], (ten_days, status(U::Downloading)), (5, timer(4, 0)), (66, timer(65, 0))];
        assert_eq!(after(&stuck).state, UpdateState::TimedOut, "no progress for an hour, whatever the clock was");
        let behind = [(ten_days, way[0].1), (ten_days + 1, way[1].1), (3, beat(7, 4)), (17, beat(7, 4))];
        assert_eq!(after(&behind).state, UpdateState::Confirming);
    }

    #[test]
    fn a_success_report_contradicted_by_heartbeats_is_a_false_success() {
        use UpdateStep as U;
        let claimed = [(2, status(U::Installing)), (3, status(U::Succeeded))];
        for lie in [beat(6, 3), beat(6, 4), beat(7, 3)] {
            assert_eq!(after(&[claimed.as_slice(), &[(4, lie)]].concat()).state, UpdateState::FalseSuccess);
        }
    }

    #[test]
    fn the_old_firmware_after_a_boot_is_a_roll_back() {
        use UpdateStep as U;
        let installing = (2, status(U::Installing));
        assert_eq!(after(&[installing, (3, beat(6, 3))]).state, UpdateState::Installing, "it has not booted yet");
        assert_eq!(after(&[installing, (3, beat(6, 4))]).state, UpdateState::RolledBack);
        let confirmed = [installing, (3, beat(7, 4)), (18, beat(7, 4)), (900, beat(6, 5))];
        assert_eq!(after(&confirmed).state, UpdateState::RolledBack, "also hours later");
    }

    #[test]
    fn silence_is_a_failure_after_its_timeout() {
        use UpdateStep as U;
        let installing = (2, status(U::Installing));
        assert_eq!(after(&[installing, (32, timer(2, 0))]).state, UpdateState::Installing);
        assert_eq!(after(&[installing, (33, timer(2, 0))]).state, UpdateState::Lost);
        assert_eq!(after(&[installing, (60, timer(2, 31))]).state, UpdateState::Installing, "a gap until 31");
        assert_eq!(after(&[installing, (63, timer(62, 0))]).state, UpdateState::TimedOut, "seen, but stuck");
        assert_eq!(after(&[(1, status(U::Downloading)), (62, timer(61, 0))]).state, UpdateState::TimedOut);
        assert_eq!(
            after(&[(61, timer(60, 0))]).state,
            UpdateState::Pending,
            "an offer that was not taken is not a failure"
        );
        let confirmed = [installing, (3, beat(7, 4)), (18, beat(7, 4)), (49, timer(18, 0))];
        assert_eq!(after(&confirmed).state, UpdateState::Lost, "a confirmed device that dies later");
    }

    #[test]
    fn a_withdrawn_device_is_no_evidence_unless_it_had_failed_before() {
        use UpdateStep as U;
        let installing = (2, status(U::Installing));
        let confirmed = [installing, (3, beat(7, 4)), (18, beat(7, 4))];
        let ways: [&[(u64, UpdateEvent)]; 4] = [&[], &[(1, status(U::Downloading))], &[installing], &confirmed];
        for way in ways {
            for event in [UpdateEvent::Revoked, UpdateEvent::Reprovisioned] {
                let out = after(&[way, &[(20, event), (21, beat(6, 9)), (500, timer(2, 0))]].concat());
                assert_eq!((out.state, out.ended_at), (UpdateState::Withdrawn, Some(UnixMs(20 * MINUTE))), "{way:?}");
                assert_eq!(out.state.outcome(), None);
            }
        }
        let lost = after(&[installing, (33, timer(2, 0)), (34, UpdateEvent::Revoked)]);
        assert_eq!(lost.state, UpdateState::Lost, "what the release broke stays broken when it is replaced");
        let waiting = Update { state: UpdateState::Pending, ..offered() };
        let then = |event| step(&waiting, event, UnixMs(0), PATIENCE).state;
        assert_eq!(then(UpdateEvent::Revoked), UpdateState::Withdrawn);
        assert_eq!(then(UpdateEvent::Reprovisioned), UpdateState::Pending, "its turn comes after it registers");
    }

    #[test]
    fn an_offer_resets_the_update_and_an_abort_halts_what_has_not_started() {
        let at = UnixMs(9 * MINUTE);
        for state in UpdateState::ALL {
            let before = Update { state, said_done: true, class: Some(UpdateClass::Freeze), ..offered() };
            let aborted = step(&before, UpdateEvent::Aborted, at, PATIENCE);
            let ended = Update { state: UpdateState::Halted, progress_at: at, ended_at: Some(at), ..before };
            assert_eq!(aborted, if state.ends_with_its_rollout() { ended } else { before }, "{state:?}");
            let next = step(&before, UpdateEvent::Offered { boot_epoch: 8 }, at, PATIENCE);
            let anew = Update { boot_epoch: 8, offered_at: Some(at), progress_at: at, ..offered() };
            assert_eq!(next, if state == UpdateState::Pending { anew } else { before }, "{state:?}");
        }
    }

    #[test]
    fn a_power_cut_during_the_download_is_not_a_roll_back() {
        let way = [(1, status(UpdateStep::Downloading)), (2, beat(6, 4)), (3, beat(6, 5))];
        assert_eq!(after(&way).state, UpdateState::Downloading);
    }

    fn any_event() -> impl Strategy<Value = UpdateEvent> {
        use UpdateStep as U;
        let steps = [
            U::Downloading,
            U::Installing,
            U::Rebooting,
            U::Succeeded,
            U::Failed,
            U::Rejected,
            U::RolledBack,
            U::Halted,
        ];
        prop_oneof![
            prop::sample::select(steps.to_vec()).prop_map(status),
            (5_u64..9, 2_u32..6).prop_map(|(counter, epoch)| beat(counter, epoch)),
            (0_u64..100, 0_u64..100).prop_map(|(last_seen, since)| timer(last_seen, since)),
        ]
    }

    proptest! {
        #[test]
        fn outcomes_are_final_and_confirmed_requires_a_heartbeat_with_the_new_counter(
            events in prop::collection::vec((0_u64..30, any_event()), 0..40)
        ) {
            let (mut update, mut minute, mut was_shown) = (offered(), 0, false);
            for (wait, event) in events {
                minute += wait;
                let next = step(&update, event, UnixMs(minute * MINUTE), PATIENCE);
                was_shown |= matches!(event, UpdateEvent::Beat { release_counter: 7, .. });
                let was_final = update.state.outcome().is_some_and(Outcome::is_failure);
                prop_assert!(!was_final || next == update, "{:?} -> {:?}", update, next);
                prop_assert!(next.state != UpdateState::Confirmed || was_shown);
                update = next;
            }
        }
    }
}
