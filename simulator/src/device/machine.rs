//! Who a device is: its name, its keys, its replay pair, where it is in its life, what it remembers. What it says of that is in
//! [`super::exchange`]. Pure: no clock, no network, no timers.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ks_protocol::{
    id::{CommandId, DeviceId, Sequence},
    key::PrivateKey,
    message::{AckState, LogLevel, Network, Trust},
    refusal::{RefusalCode, RefusalDocument},
    signature::{OpenError, Reply, open_response},
    time::UnixMs,
};
use rand_chacha::ChaCha8Rng;
use serde::de::DeserializeOwned;

use super::{commands::Commands, firmware::FirmwareSlots, log_lines::LogLines, punches::Punches};
use crate::{pairs::Pairs, seed};

/// The server's keys that a device trusts; devices that trust the same share them.
pub type ServerKeys = Rc<Trust>;

/// Where a device is in its life, as it sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Has not registered yet.
    New,
    /// Registered: beats.
    Registered,
    /// The server says that it is revoked: silent for good.
    Revoked,
    /// A brick: its firmware has killed it.
    Dead,
}

/// A device's own state.
pub struct Machine {
    pub(super) device_id: DeviceId,
    pub(super) key: PrivateKey,
    root_seed: u64,
    pub(super) server_keys: ServerKeys,
    /// The keyset to fetch next: a newer one is out, or an answer names a key that is not known.
    pub(super) wanted_keyset: Option<u64>,
    /// Keys made so far, the factory's among them.
    keys_made: u32,
    /// A new key that the server does not confirm yet.
    pub(super) rotating: Option<Box<Rotation>>,
    pub(super) punches: Punches,
    pub(super) log: LogLines,
    pub(super) commands: Commands,
    /// What runs, and the update that is under way.
    pub firmware: FirmwareSlots,
    pub(super) otrt: Option<Rc<str>>,
    pub(super) standing: Standing,
    sequence: Sequence,
    pub(super) booted_at: UnixMs,
    pub(super) network: Network,
    /// What its sensors show.
    pub(super) telemetry: ChaCha8Rng,
    /// A command says so; it boots once its ACK is stored.
    pub(super) reboot_is_due: bool,
}

/// A change of the device's key that is under way.
pub(super) struct Rotation {
    pub(super) old: PrivateKey,
    pub(super) new: PrivateKey,
    pub(super) command_id: CommandId,
}

/// What a machine is made from.
pub struct Birth {
    /// Its name.
    pub device_id: DeviceId,
    /// Root seed of the run.
    pub root_seed: u64,
    /// What the factory put in of the server.
    pub server_keys: ServerKeys,
    /// Its model.
    pub model: Rc<str>,
    /// What the factory put in as firmware.
    pub firmware_version: Rc<str>,
    /// Its counter.
    pub release_counter: u64,
    /// Its one-time token, if the fleet has them.
    pub otrt: Option<Rc<str>>,
    /// When it was switched on.
    pub at: UnixMs,
}

/// The private key of a simulated device: made from the seed, so that a run repeats; no secret from anyone with the seed.
pub fn device_key(root_seed: u64, device_id: &DeviceId) -> PrivateKey {
    PrivateKey::from_seed(&seed::bytes(root_seed, device_id.as_str(), "key"))
}

impl Machine {
    /// A device that was just switched on for the first time.
    pub fn new(birth: Birth) -> Self {
        let Birth { device_id, root_seed, server_keys, model, firmware_version, release_counter, otrt, at } = birth;
        let mut telemetry = seed::stream(root_seed, device_id.as_str(), "telemetry");
        let network = match seed::below(&mut telemetry, 10) {
            0..6 => Network::Ethernet,
            6..9 => Network::Wifi,
            _ => Network::Cellular,
        };
        Self {
            key: device_key(root_seed, &device_id),
            device_id,
            root_seed,
            server_keys,
            wanted_keyset: None,
            keys_made: 1,
            rotating: None,
            punches: Punches::default(),
            log: LogLines::new(),
            commands: Commands::default(),
            firmware: FirmwareSlots::new(model, firmware_version, release_counter),
            otrt,
            standing: Standing::New,
            sequence: Sequence::new(1, 0),
            booted_at: at,
            network,
            telemetry,
            reboot_is_due: false,
        }
    }

    /// Its name.
    pub fn device_id(&self) -> &DeviceId {
        &self.device_id
    }

    /// Where it is in its life.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The pair of its last request.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// The pair of its next request.
    pub(super) fn advance(&mut self) -> Sequence {
        self.sequence = Sequence::new(self.sequence.boot_epoch, self.sequence.seq.get() + 1);
        self.sequence
    }

    /// What it trusts.
    pub fn server_keys(&self) -> &ServerKeys {
        &self.server_keys
    }

    /// Holds the same keys in memory that others share.
    pub fn share_server_keys(&mut self, shared: ServerKeys) {
        self.server_keys = shared;
    }

    /// Whether it knows that there is a keyset that it has not.
    pub fn wants_keyset(&self) -> bool {
        self.wanted_keyset.is_some()
    }

    /// A keyset of that version is out.
    pub(super) fn heard_of_keyset(&mut self, version: u64) {
        if version > self.server_keys.version {
            self.wanted_keyset = Some(self.server_keys.version + 1);
        }
    }

    /// Opens an answer that one of the keys it trusts has signed, bound to a request by `sig_dev`, and takes what a refusal says
    /// of the device itself.
    ///
    /// # Errors
    /// The answer is not to be believed, or can't be read.
    pub(super) fn open<T: DeserializeOwned>(
        &mut self,
        status: u16,
        sig_dev: &str,
        body: &[u8],
    ) -> Result<Reply<T>, OpenError> {
        let opened = open_response(&self.server_keys.keys, status, sig_dev, body);
        match &opened {
            Err(OpenError::UnknownKey(_)) => self.wanted_keyset = Some(self.server_keys.version + 1),
            Ok(Reply::Refused(refusal)) => self.refused(refusal),
            _ => {}
        }
        opened
    }

    fn refused(&mut self, refusal: &RefusalDocument) {
        match refusal.code {
            RefusalCode::Revoked => self.standing = Standing::Revoked,
            RefusalCode::NotRegistered => self.standing = Standing::New,
            RefusalCode::StaleSequence => {
                // The server holds a greater pair: this device lost its flash, or an answer was lost. Go on from there.
                if let (Some(boot_epoch), Some(seq)) = (refusal.server_boot_epoch, refusal.server_seq) {
                    self.sequence = self.sequence.max(Sequence { boot_epoch, seq });
                }
            }
            _ => {}
        }
    }

    /// Somebody punches, so many times.
    pub fn punch(&mut self, count: u32, now: UnixMs) {
        self.punches.make(count, &self.device_id, now);
        let line = format!("{count} punches made, {} not sent yet", self.punches.waiting());
        self.log.note(LogLevel::Info, &line, now);
    }

    /// How many punches were made, and the numbers of those that the server confirmed; forgotten here.
    pub fn take_punches(&mut self) -> (u64, Pairs) {
        self.punches.take()
    }

    /// What it said of commands, and which of that the server has confirmed; forgotten here.
    pub fn take_commands(&mut self) -> (BTreeMap<CommandId, AckState>, BTreeSet<CommandId>) {
        self.commands.take()
    }

    /// Its next key.
    pub(super) fn make_key(&mut self) -> PrivateKey {
        self.keys_made += 1;
        let purpose = format!("key {}", self.keys_made);
        PrivateKey::from_seed(&seed::bytes(self.root_seed, self.device_id.as_str(), &purpose))
    }

    /// Its firmware has killed it.
    pub fn die(&mut self) {
        self.standing = Standing::Dead;
    }

    /// Boots again if a command said so and its ACK is stored; whether it did.
    pub fn reboot_if_due(&mut self, now: UnixMs) -> bool {
        let boots = self.reboot_is_due && self.commands.acks().is_empty();
        if boots {
            self.reboot(now);
        }
        boots
    }

    /// Boots again: the pair's first part rises before the first send after it.
    pub fn reboot(&mut self, now: UnixMs) {
        self.reboot_is_due = false;
        self.sequence = Sequence::new(self.sequence.boot_epoch.saturating_add(1), 0);
        self.booted_at = now;
    }
}
