//! A device's firmware: two slots, an update from offer to boot, each check of the protocol in its order. Pure: no clock, no
//! network, no timers. What is here is what flash keeps: a power cut loses nothing of it.

use std::rc::Rc;

use ks_protocol::{
    download::Download,
    id::ReleaseId,
    manifest::{Installed, MANIFEST_BYTES_MAX, Manifest, Wanted},
    message::{Trust, UpdateClass, UpdateStep},
    text::{Sha256, Text},
    time::UnixMs,
};

/// The product that every simulated device is.
pub const PRODUCT: &str = "ks-terminal";
/// Bytes that a device asks for at a time.
pub const CHUNK_BYTES: u64 = 64 * 1024;

/// A slot's firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Version.
    pub version: Rc<str>,
    /// Counter.
    pub release_counter: u64,
}

/// What a device has to say of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Of which release.
    pub release_id: ReleaseId,
    /// How far it is.
    pub step: UpdateStep,
    /// Bytes that are here.
    pub received_bytes: u64,
    /// What went wrong.
    pub class: Option<UpdateClass>,
}

/// What a device does next for its update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Write the image into the other slot.
    Install,
    /// Boot into the other slot.
    Reboot,
}

/// What is to be fetched of an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Its artifact.
    pub sha256: Sha256,
    /// The first byte.
    pub from: u64,
    /// The last one.
    pub to: u64,
}

/// An update under way.
#[derive(Debug)]
struct Update {
    manifest: Manifest,
    offer: Text<MANIFEST_BYTES_MAX>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Downloading(Download),
    /// The image is whole, and is being written into the other slot.
    Installing,
    /// It is in the slot, and boots next.
    Written,
}

/// The firmware side of a device.
#[derive(Debug)]
pub struct FirmwareSlots {
    model: Rc<str>,
    running: Slot,
    update: Option<Box<Update>>,
    /// What waits to be said, the oldest first.
    reports: Vec<Report>,
    /// The offer that was refused, or failed, last: each is, and is told, once.
    refused: Option<Text<MANIFEST_BYTES_MAX>>,
    next: Option<Next>,
}

impl FirmwareSlots {
    /// A device of that model that runs what the factory put in.
    pub fn new(model: Rc<str>, version: Rc<str>, release_counter: u64) -> Self {
        let running = Slot { version, release_counter };
        Self { model, running, update: None, reports: Vec::new(), refused: None, next: None }
    }

    /// What runs.
    pub fn running(&self) -> &Slot {
        &self.running
    }

    /// Its model.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// What is to be done, once; none while something is to be said first.
    pub fn take_next(&mut self) -> Option<Next> {
        if self.reports.is_empty() { self.next.take() } else { None }
    }

    /// Takes an offer: checks it, and begins to download what is wanted.
    pub fn offered(&mut self, offer: &Text<MANIFEST_BYTES_MAX>, trust: &Trust, server_time: UnixMs) {
        if self.update.is_some() || self.refused.as_ref() == Some(offer) {
            return; // it is said with every answer
        }
        let installed =
            Installed { product: PRODUCT, model: &self.model, release_counter: self.running.release_counter };
        match Manifest::accept(offer.as_str(), trust, installed, server_time) {
            Ok((_, Wanted::AlreadyThere)) => {}
            Ok((manifest, Wanted::Yes)) => {
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

    /// What to fetch next.
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

    /// Takes a piece of the artifact, which was so long on its way.
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
                self.next = Some(Next::Install);
            }
            Ok(()) => {}
        }
    }

    /// What waits to be said.
    pub fn to_report(&self) -> Option<&Report> {
        self.reports.first()
    }

    /// The server has what was said, and says whether to go on.
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

    /// Stops an update that is not in a slot yet; one to another release than `only` goes on.
    pub fn halt(&mut self, only: Option<&str>) {
        let is_meant = |update: &mut Box<Update>| {
            let is_in_slot = matches!(update.phase, Phase::Written);
            !is_in_slot && only.is_none_or(|only| only == update.manifest.release_id.as_str())
        };
        if let Some(update) = self.update.take_if(is_meant) {
            self.next = None;
            self.reports.retain(|report| report.release_id != update.manifest.release_id);
            self.report(&update.manifest.release_id, UpdateStep::Halted, 0, None);
        }
    }

    /// Counter of the release that is being installed.
    pub fn installing(&self) -> Option<u64> {
        self.update.as_ref().map(|update| update.manifest.release_counter)
    }

    /// The image is in the other slot, or could not be written.
    pub fn installed(&mut self, is_written: bool) {
        let Some(update) = &mut self.update else { return };
        let release_id = update.manifest.release_id.clone();
        if is_written {
            update.phase = Phase::Written;
            let received_bytes = update.manifest.size_bytes;
            self.report(&release_id, UpdateStep::Rebooting, received_bytes, None);
            self.next = Some(Next::Reboot);
        } else {
            self.give_up();
            self.report(&release_id, UpdateStep::Failed, 0, Some(UpdateClass::InstallFailed));
        }
    }

    /// It has booted: into the new slot, or, when that did not boot, into the old one. `claims` is what it says of it.
    pub fn booted(&mut self, into_new: bool, claims: bool) {
        let Some(update) = self.update.take() else { return };
        if !into_new {
            self.refused = Some(update.offer);
        }
        let Manifest { release_id, version, release_counter, .. } = update.manifest;
        if into_new {
            // What other firmware refused, such as a release that it was not ready for, is looked at anew.
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

    /// Ends the update, and takes no such offer again: what failed once is not tried for ever.
    fn give_up(&mut self) {
        self.refused = self.update.take().map(|update| update.offer).or(self.refused.take());
    }

    fn report(&mut self, release_id: &ReleaseId, step: UpdateStep, received_bytes: u64, class: Option<UpdateClass>) {
        self.reports.push(Report { release_id: release_id.clone(), step, received_bytes, class });
    }
}

/// What a manifest calls its release, whether or not it is to be believed.
pub fn claimed_name(manifest: &str) -> Option<ReleaseId> {
    manifest.lines().find_map(|line| line.strip_prefix("release_id: "))?.trim_matches('"').parse().ok()
}
