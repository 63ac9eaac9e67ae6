//! The local steps of an update: writing the image, booting, and what the release really does to the device.

use std::time::Duration;

use actix::{AsyncContext, Context};
use ks_protocol::time::UnixMs;
use serde_json::json;
use tokio::time::Instant;

use super::Device;
use crate::{
    device::{
        fate::{Condition, DevicePeriod, Fate, FateEvent},
        firmware::UpdateAction,
        machine::DeviceState,
    },
    fleet::ground_truth::InstallOutcome,
    run::measure::BrokenDevices,
    scenario::HeartbeatInterval,
};

/// Time to write an image into a slot.
const INSTALL_TIME: Duration = Duration::from_secs(20);
/// Time to boot, in which a device is silent.
pub const BOOT_TIME: Duration = Duration::from_secs(40);

impl Device {
    /// Takes the next local step of an update.
    pub(super) fn continue_update(&mut self, ctx: &mut Context<Self>) {
        let cycle = self.power_cycle;
        match self.machine.firmware.take_next() {
            None => {}
            Some(UpdateAction::Install) => {
                ctx.run_later(INSTALL_TIME, move |device, ctx| {
                    let is_current = device.power_cycle == cycle;
                    if let Some(release_counter) = device.machine.firmware.installing().filter(|_| is_current) {
                        device.fate = device.install_outcome(release_counter);
                        device.note_fate(release_counter, FateEvent::Written(device.fate));
                        let is_written = device.fate != InstallOutcome::InstallFails;
                        device.machine.firmware.installed(is_written);
                        device.pump(ctx);
                    }
                });
            }
            Some(UpdateAction::Reboot) => {
                self.is_off = true;
                self.lose_memory();
                // The heartbeat that it was asked for is forgotten too: the next one is scheduled once it has booted.
                self.power_cycle += 1;
                let cycle = self.power_cycle;
                ctx.run_later(BOOT_TIME, move |device, ctx| {
                    if device.power_cycle == cycle {
                        device.booted(ctx);
                    }
                });
            }
        }
    }

    /// Beats queued behind the last request are lost with the device's memory, so they no longer count as due; so are the waits
    /// that the server asked for.
    pub(super) fn lose_memory(&mut self) {
        self.held_until = None;
        self.requested_waits.clear();
        let lost = i64::try_from(self.waiting.drain(..).count()).unwrap_or(0);
        self.shard.measure(|measured| measured.due -= lost);
        self.link.close();
    }

    /// What the release that it has just written will do to it.
    fn install_outcome(&self, release_counter: u64) -> InstallOutcome {
        let condition = self.condition();
        let subject = condition.subject(self.machine.device_id(), self.shard.time.unix_now());
        self.shard.ground_truth.install_outcome(release_counter, self.root_seed, &subject)
    }

    /// What faults by model, site, version and uptime look at.
    pub(super) fn condition(&self) -> Condition {
        Condition {
            model: self.machine.firmware.model().into(),
            site: self.site_name.as_ref().into(),
            version: self.machine.firmware.running().version.as_ref().into(),
            uptime: self.machine.uptime(self.shard.time.unix_now()),
        }
    }

    /// Notes where it is, what it runs and since when it is up, after one of them changed, if any fault of the run looks at them.
    pub(super) fn note_stay(&mut self) {
        if !self.shard.ground_truth.looks_at_stays() {
            return;
        }
        let now = self.shard.time.unix_now();
        let Condition { site, version, uptime, .. } = self.condition();
        let booted_at = UnixMs(now.0.saturating_sub(u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX)));
        self.account.releases.stays.push(DevicePeriod { from: self.shard.time.elapsed(), site, version, booted_at });
    }

    /// Booting after an update has ended, in success or in a brick.
    pub(super) fn booted(&mut self, ctx: &mut Context<Self>) {
        let Some(release_counter) = self.machine.firmware.installing() else { return };
        let fate = self.fate;
        if self.installed.insert(release_counter) {
            let version = self.shard.ground_truth.version(release_counter).to_string();
            self.shard.measure(|measured| *measured.installed.entry(version).or_default() += 1);
        }
        self.note_fate(release_counter, FateEvent::Installed);
        if fate == InstallOutcome::Bricks {
            return self.die(FateEvent::Bricked, release_counter);
        }
        self.is_off = false;
        self.machine.reboot(self.shard.time.unix_now());
        let into_new = matches!(fate, InstallOutcome::Good | InstallOutcome::Dies(_));
        let before = self.machine.firmware.running().version.to_string();
        self.machine.firmware.booted(into_new, into_new || fate == InstallOutcome::Lies);
        self.note_stay();
        let runs = self.machine.firmware.running().version.to_string();
        if into_new {
            self.shard.measure(|measured| {
                *measured.updated.entry(runs.clone()).or_default() += 1;
                *measured.running.entry(before).or_default() -= 1;
                *measured.running.entry(runs.clone()).or_default() += 1;
            });
        }
        self.log_firmware_event("booted", &runs);
        if let InstallOutcome::Dies(after) = fate {
            self.shard.measure(|measured| measured.dying += 1);
            ctx.run_later(after, move |device, _| {
                device.shard.measure(|measured| measured.dying -= 1);
                // Only if it still runs this release.
                if device.machine.firmware.running().release_counter == release_counter {
                    device.die(FateEvent::Died, release_counter);
                }
            });
        }
        if self.shard.interval == HeartbeatInterval::Server {
            let now = Instant::now();
            self.schedule(now, now, ctx);
        }
        self.pump(ctx);
    }

    /// The release with this counter bricked or killed the device.
    fn die(&mut self, how: FateEvent, release_counter: u64) {
        if self.is_retired || self.machine.state() == DeviceState::Dead {
            return;
        }
        let was_registered = i64::from(self.machine.state() == DeviceState::Registered);
        let runs = self.machine.firmware.running().version.to_string();
        self.log_firmware_event(how.as_str(), &runs);
        self.note_fate(release_counter, how);
        self.machine.die();
        self.waiting.clear();
        let broken = BrokenDevices { devices: 1, first_at: self.shard.time.elapsed() };
        let by = self.shard.ground_truth.version(release_counter);
        self.shard.measure(|measured| {
            measured.broke(&by, broken);
            measured.registered -= was_registered;
            *measured.running.entry(runs).or_default() -= 1;
        });
    }

    /// Notes what a release did, for the device's account.
    fn note_fate(&mut self, release_counter: u64, what: FateEvent) {
        let at = self.shard.time.elapsed();
        self.account.releases.fates.push(Fate { at, release_counter, what });
    }

    /// Logs the ground truth of a firmware event.
    pub(super) fn log_firmware_event(&self, what: &str, version: &str) {
        let device_id = json!(self.machine.device_id());
        self.shard.event("firmware", &[("device_id", device_id), ("what", json!(what)), ("version", json!(version))]);
    }
}
