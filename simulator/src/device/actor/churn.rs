//! Background failures of a device: it loses power and comes back, is moved, removed or replaced, or has a bad link.
//!
//! Without power it forgets what is not in flash: queued heartbeats, the request in flight, the boot or the installation in
//! progress. What it is doing is bound to a power cycle; timers and answers of an earlier one mean nothing to it.

use actix::{AsyncContext, Context};
use serde_json::json;
use tokio::time::Instant;

use super::{Device, update::BOOT_TIME};
use crate::{
    device::machine::DeviceState,
    fleet::churn::Episode,
    scenario::{ChurnKind, HeartbeatInterval},
};

impl Device {
    /// Whether it has no power.
    pub(super) fn is_without_power(&self) -> bool {
        self.power_failures > 0
    }

    /// Plays every episode that begins or ends by now, and waits for the next.
    pub(super) fn follow_agenda(&mut self, ctx: &mut Context<Self>) {
        let now = self.shard.time.elapsed();
        while let Some((episode, begins)) = self.agenda.take(now) {
            let is_over = self.is_retired || matches!(self.machine.state(), DeviceState::Revoked | DeviceState::Dead);
            if is_over {
                return;
            }
            if begins { self.episode_begins(&episode) } else { self.episode_ends(&episode, ctx) }
        }
        if let Some(at) = self.agenda.next_at() {
            let wait = (self.shard.time.started + at).saturating_duration_since(Instant::now());
            ctx.run_later(wait, Self::follow_agenda);
        }
    }

    fn episode_begins(&mut self, episode: &Episode) {
        self.shard.measure(|measured| *measured.churn.entry(episode.kind).or_default() += 1);
        self.log_churn(episode.kind, "begins");
        self.loss_bp = self.loss_bp.saturating_add(episode.loss_bp);
        if episode.kind.is_for_good() {
            self.leave();
        } else if episode.is_without_power() {
            self.power_failures += 1;
            if self.power_failures == 1 {
                self.power_fails();
            }
        }
    }

    fn episode_ends(&mut self, episode: &Episode, ctx: &mut Context<Self>) {
        self.loss_bp = self.loss_bp.saturating_sub(episode.loss_bp);
        if let Some(site) = episode.moves_to {
            self.site = site;
            self.site_name = self.shard.churn.site(site).into();
            self.note_stay();
        }
        self.log_churn(episode.kind, "ends");
        if episode.is_without_power() {
            self.power_failures -= 1;
            if self.power_failures == 0 {
                let cycle = self.power_cycle;
                ctx.run_later(BOOT_TIME, move |device, ctx| {
                    if device.power_cycle == cycle {
                        device.powered_on(ctx);
                    }
                });
            }
        }
    }

    fn power_fails(&mut self) {
        self.power_cycle += 1;
        self.is_off = true;
        self.lose_memory();
        // It waits for nothing meanwhile.
        self.pending.set(&[], self.shard.time.elapsed());
    }

    /// It has booted after it got power again: into the other slot, if that was to be booted next.
    fn powered_on(&mut self, ctx: &mut Context<Self>) {
        if self.is_retired || self.machine.state() == DeviceState::Dead {
            return;
        }
        self.unserved.switched_on(self.shard.time.elapsed());
        if self.machine.firmware.power_returned() {
            return self.booted(ctx);
        }
        self.is_off = false;
        self.machine.reboot(self.shard.time.unix_now());
        self.note_stay();
        if self.shard.interval == HeartbeatInterval::Server && self.machine.state() == DeviceState::Registered {
            let now = Instant::now();
            self.schedule(now, now, ctx);
        }
        self.continue_update(ctx);
        self.pump(ctx);
    }

    /// It is gone for good.
    fn leave(&mut self) {
        let was_registered = i64::from(self.machine.state() == DeviceState::Registered);
        let runs = self.machine.firmware.running().version.to_string();
        self.lose_memory();
        self.machine.die();
        self.shard.measure(|measured| {
            measured.registered -= was_registered;
            *measured.running.entry(runs).or_default() -= 1;
        });
    }

    fn log_churn(&self, kind: ChurnKind, what: &str) {
        let fields = [
            ("device_id", json!(self.machine.device_id())),
            ("kind", json!(kind.as_str())),
            ("what", json!(what)),
            ("site", json!(&*self.site_name)),
        ];
        self.shard.event("churn", &fields);
    }
}
