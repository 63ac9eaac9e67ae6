//! A device's firmware: two slots, an update from offer to boot, each check of the protocol in its order. Pure: no clock, no
//! network, no timers. All of this state is in flash: a power cut loses nothing.

use std::rc::Rc;

use ks_protocol::{
    download::Download,
    id::ReleaseId,
    manifest::{InstallDecision, Installed, MANIFEST_BYTES_MAX, Manifest},
    message::{Trust, UpdateClass, UpdateStep},
    text::{Sha256, Text},
    time::UnixMs,
};

/// The product of every simulated device.
pub const PRODUCT: &str = "ks-terminal";
/// Bytes per range request.
pub const CHUNK_BYTES: u64 = 64 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub version: Rc<str>,
    pub release_counter: u64,
}

/// An update report to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub release_id: ReleaseId,
    pub step: UpdateStep,
    /// Bytes downloaded so far.
    pub received_bytes: u64,
    pub class: Option<UpdateClass>,
}

/// The next local action of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateAction {
    /// Write the image into the other slot.
    Install,
    /// Boot into the other slot.
    Reboot,
}

/// A byte range of an artifact to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub sha256: Sha256,
    /// The first byte.
    pub from: u64,
    /// The last byte, inclusive.
    pub to: u64,
}

/// An update in progress.
#[derive(Debug)]
struct Update {
    manifest: Manifest,
    offer: Text<MANIFEST_BYTES_MAX>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Downloading(Download),
    /// The image is complete and is being written into the other slot.
    Installing,
    /// The image is in the slot and boots next.
    Written,
}

/// The firmware side of a device.
#[derive(Debug)]
pub struct FirmwareSlots {
    model: Rc<str>,
    running: Slot,
    update: Option<Box<Update>>,
    /// Reports to send, oldest first.
    reports: Vec<Report>,
    /// The last offer that was refused or failed: each is tried and reported once.
    refused: Option<Text<MANIFEST_BYTES_MAX>>,
    next: Option<UpdateAction>,
}

impl FirmwareSlots {
    /// A device of `model` that runs its factory firmware.
    pub fn new(model: Rc<str>, version: Rc<str>, release_counter: u64) -> Self {
        let running = Slot { version, release_counter };
        Self { model, running, update: None, reports: Vec::new(), refused: None, next: None }
    }

    pub fn running(&self) -> &Slot {
        &self.running
    }

    pub fn model(&self) -> &str {
        &self.model
    }

    /// Takes the next action; none while a report must be sent first.
    pub fn take_next(&mut self) -> Option<UpdateAction> {
        if self.reports.is_empty() { self.next.take() } else { None }
    }

    /// Checks an offer, and starts the download if it is acceptable.
    pub fn offered(&mut self, offer: &Text<MANIFEST_BYTES_MAX>, trust: &Trust, server_time: UnixMs) {
        if self.update.is_some() || self.refused.as_ref() == Some(offer) {
            return; // it is said with every answer
        }
        let installed =
            Installed { product: PRODUCT, model: &self.model, release_counter: self.running.release_counter };
        match Manifest::accept(offer.as_str(), trust, installed, server_time) {
            Ok((_, InstallDecision::AlreadyInstalled)) => {}
            Ok((manifest, InstallDecision::Install)) => {
                let download = Download::of(&manifest);
                self.report(&manifest.release_id, UpdateStep::Downloading, 0, None);
                let (offer, phase) = (offer.clone(), Phase::Downloading(download));
                self.update = Some(Box::new(Update { manifest, offer, phase }));
            }
            Err(class) => {
                self.refused = Some(offer.clone());
                // What the manifest calls itself is not to be believed, and all that there is to name it by.
                if let Some(release_id) = claimed_name(offer.as_str()) {
                    self.report(&release_id, UpdateStep::Rejected, 0, Some(class));
                }
            }
        }
    }

    /// The next byte range to fetch.
    pub fn wanted(&self) -> Option<Piece> {
        if !self.reports.is_empty() {
            return None; // first it says that it downloads, and hears whether to go on
        }
        let update = self.update.as_ref()?;
        let Phase::Downloading(download) = &update.phase else { return None };
        let from = download.received_bytes();
        let to = from + download.missing_bytes().min(CHUNK_BYTES) - 1;
        Some(Piece { sha256: update.manifest.sha256, from, to })
    }

    /// Takes a piece of the artifact that took `took_ms` to arrive.
    pub fn fetched(&mut self, piece: &[u8], took_ms: u64) {
        let Some(update) = &mut self.update else { return };
        let Phase::Downloading(download) = &mut update.phase else { return };
        let taken = download.take(piece, took_ms);
        let received = download.received_bytes();
        let is_whole = download.missing_bytes() == 0;
        let checked = taken.and_then(|()| if is_whole { download.clone().finish() } else { Ok(()) });
        let release_id = update.manifest.release_id.clone();
        match checked {
            Err(class) => {
                self.give_up();
                self.report(&release_id, UpdateStep::Rejected, received, Some(class));
            }
            Ok(()) if is_whole => {
                update.phase = Phase::Installing;
                self.report(&release_id, UpdateStep::Installing, received, None);
                self.next = Some(UpdateAction::Install);
            }
            Ok(()) => {}
        }
    }

    /// The next report to send.
    pub fn to_report(&self) -> Option<&Report> {
        self.reports.first()
    }

    /// The server stored the report, and answered whether to continue.
    pub fn reported(&mut self, go_on: bool) {
        if self.reports.is_empty() {
            return;
        }
        let said = self.reports.remove(0);
        let may_stop = matches!(said.step, UpdateStep::Downloading | UpdateStep::Installing);
        if !go_on && may_stop {
            self.halt(None);
        }
    }

    /// Stops an update that is not in a slot yet; with `only`, just an update to that release.
    pub fn halt(&mut self, only: Option<&str>) {
        let is_targeted = |update: &mut Box<Update>| {
            let is_in_slot = matches!(update.phase, Phase::Written);
            !is_in_slot && only.is_none_or(|only| only == update.manifest.release_id.as_str())
        };
        if let Some(update) = self.update.take_if(is_targeted) {
            self.next = None;
            self.reports.retain(|report| report.release_id != update.manifest.release_id);
            self.report(&update.manifest.release_id, UpdateStep::Halted, 0, None);
        }
    }

    /// Counter of the release that is being installed.
    pub fn installing(&self) -> Option<u64> {
        self.update.as_ref().map(|update| update.manifest.release_counter)
    }

    /// The image was written into the other slot, or could not be.
    pub fn installed(&mut self, is_written: bool) {
        let Some(update) = &mut self.update else { return };
        let release_id = update.manifest.release_id.clone();
        if is_written {
            update.phase = Phase::Written;
            let received_bytes = update.manifest.size_bytes;
            self.report(&release_id, UpdateStep::Rebooting, received_bytes, None);
            self.next = Some(UpdateAction::Reboot);
        } else {
            self.give_up();
            self.report(&release_id, UpdateStep::Failed, 0, Some(UpdateClass::InstallFailed));
        }
    }

    /// The device has power again after a failure. Returns whether it boots into the other slot; otherwise a half-written image is
    /// written again.
    pub fn power_returned(&mut self) -> bool {
        let Some(update) = &self.update else { return false };
        if matches!(update.phase, Phase::Installing) {
            self.next = Some(UpdateAction::Install);
        }
        matches!(update.phase, Phase::Written)
    }

    /// The device booted into the new slot or, if that failed, into the old one. `claims` is what it reports.
    pub fn booted(&mut self, into_new: bool, claims: bool) {
        let Some(update) = self.update.take() else { return };
        self.next = None;
        if !into_new {
            self.refused = Some(update.offer);
        }
        let Manifest { release_id, version, release_counter, .. } = update.manifest;
        if into_new {
            // What other firmware refused, such as a release that it was not ready for, is checked again.
            self.refused = None;
            self.running = Slot { version: version.as_str().into(), release_counter };
        }
        let (step, class) = if claims {
            (UpdateStep::Succeeded, None)
        } else {
            (UpdateStep::RolledBack, Some(UpdateClass::BootFailed))
        };
        self.report(&release_id, step, 0, class);
    }

    /// Ends the update and refuses the same offer from now on, so that a failing update is not retried forever.
    fn give_up(&mut self) {
        self.refused = self.update.take().map(|update| update.offer).or(self.refused.take());
    }

    fn report(&mut self, release_id: &ReleaseId, step: UpdateStep, received_bytes: u64, class: Option<UpdateClass>) {
        self.reports.push(Report { release_id: release_id.clone(), step, received_bytes, class });
    }
}

/// The release that a manifest claims to be for; not verified.
pub fn claimed_name(manifest: &str) -> Option<ReleaseId> {
    manifest.lines().find_map(|line| line.strip_prefix("release_id: "))?.trim_matches('"').parse().ok()
}
