//! How a device reacts to a refusal: when it tries again, and whether the server's `retry_after_s` was true.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tokio::time::Instant;

use super::{Device, RequestOutcome, plausible};
use crate::{
    device::{exchange::MessageType, machine::DeviceState},
    run::measure::{CohortCounts, OK},
    scenario::{HeartbeatInterval, Retry},
};

/// The shortest pause before another attempt, so that time goes on whatever is asked for.
const RETRY_MIN: Duration = Duration::from_millis(1);

/// A time before which the server asked not to be asked again.
#[derive(Debug)]
pub(super) struct RequestedWait {
    kind: MessageType,
    until: Instant,
}

impl Device {
    pub(super) fn retry(&self) -> Retry {
        self.shard.retries.get(self.cohort).copied().unwrap_or(Retry::DEFAULT)
    }

    pub(super) fn count(&self, add: impl FnOnce(&mut CohortCounts)) {
        self.shard.measure(|measured| add(measured.cohorts.entry(self.cohort).or_default()));
    }

    /// The wait that the server asked for, else the backoff.
    pub(super) fn wait_after(&mut self, ended: &RequestOutcome) -> Duration {
        match ended.taken.wait_ms.map(Duration::from_millis) {
            Some(next_beat) if ended.code == OK => {
                let next_beat = plausible(next_beat);
                self.backoff.set_interval(next_beat);
                next_beat
            }
            asked => self.wait_of_cohort(asked).unwrap_or_else(|| self.backoff.failed()),
        }
    }

    /// The wait after a failure that its cohort decides, given what the server asked for; none if it backs off.
    fn wait_of_cohort(&mut self, asked: Option<Duration>) -> Option<Duration> {
        match (self.retry(), asked) {
            (Retry::Fixed(pause), _) => Some(pause),
            (Retry::Ignore, _) | (_, None) => None,
            (Retry::Obey, Some(asked)) => Some(asked),
            (Retry::Jitter(None), Some(asked)) => Some(self.backoff.retry_after(asked)),
            (Retry::Jitter(Some(longest)), Some(asked)) => Some(asked.saturating_add(self.backoff.up_to(longest))),
        }
    }

    /// After a heartbeat that was not accepted: with an interval of its own, the device skips beats that are due before it may
    /// try again; without one, this is when its next beat is due.
    pub(super) fn retry_heartbeat(&mut self, ended: &RequestOutcome, ctx: &mut Context<Self>) {
        let asked = ended.taken.wait_ms.map(Duration::from_millis);
        let wait = match self.shard.interval {
            HeartbeatInterval::Server => Some(self.wait_after(ended)),
            HeartbeatInterval::Fixed(_) => self.wait_of_cohort(asked),
        };
        let Some(wait) = wait else { return };
        let now = Instant::now();
        // Beats are sent together at whole steps, but never before the server said so.
        let asked = asked.filter(|_| self.retry() != Retry::Ignore).unwrap_or_default().min(wait);
        let stepped = Some(self.shard.timer.beat_at(now + wait)).filter(|stepped| *stepped > now);
        // A pause of less than a step is kept: at the nearest step it would be none.
        let until = stepped.unwrap_or(now + wait.max(RETRY_MIN)).max(now + asked);
        let skipped = i64::try_from(self.waiting.drain(..).count()).unwrap_or(0);
        self.shard.measure(|measured| measured.due -= skipped);
        self.held_until = Some(until);
        if !self.shard.is_running() || until >= self.shard.ends_at {
            return;
        }
        let (due, cycle) = (self.shard.timer.at(until), self.power_cycle);
        ctx.spawn(due.into_actor(self).map(move |(), device, ctx| {
            if device.power_cycle == cycle {
                device.held_until = None;
                if device.machine.state() == DeviceState::Registered && !device.is_off && device.shard.is_running() {
                    device.queue_beat(until, Instant::now());
                }
                device.pump(ctx);
            }
        }));
    }

    /// Notes a wait that the server asked for, and whether an earlier one was true: the device asked again no sooner.
    pub(super) fn note_wait(&mut self, kind: MessageType, sent_at: Instant, ended: &RequestOutcome) {
        let earlier = self.requested_waits.iter().position(|asked| asked.kind == kind);
        let earlier = earlier.map(|place| self.requested_waits.swap_remove(place));
        let is_refused = ended.taken.is_limited();
        let is_answered = ended.code == OK || ended.taken.refusal.is_some();
        let waited = earlier.is_some_and(|asked| sent_at >= asked.until) && is_answered;
        let is_owed = !self.is_revoked();
        if is_owed && (is_refused || waited) {
            self.count(|counts| {
                counts.refused += u64::from(is_refused);
                counts.asked_again += u64::from(waited);
                counts.admitted += u64::from(waited && !is_refused);
            });
        }
        if let Some(wait_ms) = ended.taken.wait_ms.filter(|_| is_refused) {
            self.requested_waits.push(RequestedWait { kind, until: Instant::now() + Duration::from_millis(wait_ms) });
        }
        if is_answered && is_owed {
            self.count_beside(is_refused);
        }
        if is_answered {
            let before = self.refused_kinds.iter().position(|refused| *refused == kind);
            let before = before.map(|place| self.refused_kinds.swap_remove(place));
            if is_refused {
                self.refused_kinds.push(kind);
                self.count(|counts| counts.refused_again += u64::from(before.is_some()));
            }
        }
    }

    /// Counts a request that is sent now, if a limit refused the last one of its kind.
    pub(super) fn count_sent_again(&self, kind: MessageType) {
        if self.refused_kinds.contains(&kind) {
            let second = self.shard.time.elapsed().as_secs();
            self.count(|counts| *counts.sent_again.entry(second).or_default() += 1);
        }
    }

    /// Counts an answer of a device that adversaries stand beside, or in whose name they send.
    fn count_beside(&self, is_refused: bool) {
        let is_named = self.number < self.shard.named_victims;
        let is_abused = self.shard.abused_sites.get(self.site).copied();
        if !is_named && is_abused.is_none() {
            return;
        }
        self.shard.measure(|measured| {
            if is_named {
                measured.named.count(is_refused);
            }
            if let Some(is_abused) = is_abused {
                measured.sites.entry(self.site).or_default().count(is_refused);
                if is_abused {
                    measured.beside.count(is_refused);
                }
            }
        });
    }
}
