//! A device's state: name, keys, replay pair, lifecycle, memory. Requests and answers are in [`super::exchange`]. Pure: no clock, no network, no timers.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use ks_protocol::{
    id::{CommandId, DeviceId, KeyId, Sequence},
    key::PrivateKey,
    message::{AckState, LogLevel, Network, Trust},
    refusal::{RefusalCode, RefusalDocument},
    signature::{OpenError, Reply, open_response, open_unverified},
    time::UnixMs,
};
use rand_chacha::ChaCha8Rng;
use serde::de::DeserializeOwned;

use super::{commands::Commands, firmware::FirmwareSlots, log_lines::LogLines, punches::Punches};
use crate::{device::replay_pairs::Pairs, seed};

/// The server's keys that a device trusts; devices that trust the same share them.
pub type ServerKeys = Rc<Trust>;

/// A device's lifecycle, as the device sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceState {
    /// Has not registered yet.
    New,
    /// Registered, and sends heartbeats.
    Registered,
    /// The server answered that it is revoked: silent from then on.
    Revoked,
    /// Bricked or killed by its firmware, or removed.
    Dead,
}

pub struct Machine {
    pub(super) device_id: DeviceId,
    pub(super) key: PrivateKey,
    root_seed: u64,
    pub(super) server_keys: ServerKeys,
    /// The keyset to fetch next: a newer one was announced, or an answer names an unknown key.
    pub(super) wanted_keyset: Option<u64>,
    /// Keys made so far, including the factory's.
    keys_made: u32,
    /// A new key that the server has not confirmed yet.
    pub(super) rotating: Option<Box<Rotation>>,
    pub(super) punches: Punches,
    pub(super) log: LogLines,
    pub(super) commands: Commands,
    /// The running firmware, and the update in progress.
    pub firmware: FirmwareSlots,
    pub(super) otrt: Option<Rc<str>>,
    pub(super) state: DeviceState,
    sequence: Sequence,
    booted_at: UnixMs,
    pub(super) network: Network,
    /// Draws the sensor readings.
    pub(super) telemetry: ChaCha8Rng,
    /// A reboot command was executed; the device reboots once its ACK is stored.
    pub(super) reboot_is_due: bool,
    /// Of how many answers in a hundred the signature is verified; refusals always are.
    verify_percent: u8,
    /// Answers whose signature was not verified, since they were last taken.
    unverified: u64,
}

/// A rotation of the device's key in progress.
pub(super) struct Rotation {
    pub(super) old: PrivateKey,
    pub(super) new: PrivateKey,
    pub(super) command_id: CommandId,
}

/// Inputs of [`Machine::new`].
pub struct DeviceInit {
    pub device_id: DeviceId,
    pub root_seed: u64,
    /// Server keys installed at the factory.
    pub server_keys: ServerKeys,
    pub model: Rc<str>,
    /// Firmware installed at the factory.
    pub firmware_version: Rc<str>,
    pub release_counter: u64,
    /// One-time registration token, if the fleet uses them.
    pub otrt: Option<Rc<str>>,
    /// When it was switched on.
    pub booted_at: UnixMs,
    /// Of how many answers in a hundred the signature is verified: all of them, except in a load run that says otherwise.
    pub verify_percent: u8,
}

/// The private key of a simulated device: derived from the seed, so that a run repeats; anyone with the seed has it.
pub fn device_key(root_seed: u64, device_id: &DeviceId) -> PrivateKey {
    PrivateKey::from_seed(&seed::bytes(root_seed, device_id.as_str(), "key"))
}

impl Machine {
    /// A device that was just switched on for the first time.
    pub fn new(init: DeviceInit) -> Self {
        let DeviceInit { device_id, root_seed, server_keys, model, firmware_version, release_counter, otrt, .. } = init;
        let DeviceInit { booted_at, verify_percent, .. } = init;
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
            state: DeviceState::New,
            sequence: Sequence::new(1, 0),
            booted_at,
            network,
            telemetry,
            reboot_is_due: false,
            verify_percent,
            unverified: 0,
        }
    }

    /// The same device with this private key, which no seed gives.
    #[must_use]
    pub fn with_key(self, key: PrivateKey) -> Self {
        Self { key, ..self }
    }

    pub fn device_id(&self) -> &DeviceId {
        &self.device_id
    }

    pub(super) fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// How long it has been up.
    pub fn uptime(&self, now: UnixMs) -> Duration {
        Duration::from_millis(now.since_ms(self.booted_at))
    }

    pub fn state(&self) -> DeviceState {
        self.state
    }

    /// Replay pair of the last request.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Advances to the replay pair of the next request.
    pub(super) fn advance(&mut self) -> Sequence {
        self.sequence = Sequence::new(self.sequence.boot_epoch, self.sequence.seq.get() + 1);
        self.sequence
    }

    pub fn server_keys(&self) -> &ServerKeys {
        &self.server_keys
    }

    /// Replaces its copy of the keys by one shared with other devices.
    pub fn share_server_keys(&mut self, shared: ServerKeys) {
        self.server_keys = shared;
    }

    /// Whether it knows of a keyset that it does not have.
    pub fn wants_keyset(&self) -> bool {
        self.wanted_keyset.is_some()
    }

    /// The server announced a keyset of this version.
    pub(super) fn newer_keyset_announced(&mut self, version: u64) {
        if version > self.server_keys.version {
            self.wanted_keyset = Some(self.server_keys.version + 1);
        }
    }

    /// Opens an answer signed by a trusted key and bound to the request by `sig_dev`; a refusal about the device itself changes its
    /// state.
    ///
    /// # Errors
    /// The answer can't be verified or read.
    pub(super) fn open<T: DeserializeOwned>(
        &mut self,
        status: u16,
        sig_dev: &str,
        body: &[u8],
    ) -> Result<Reply<T>, OpenError> {
        let is_verified =
            self.verify_percent >= 100 || seed::below(&mut self.telemetry, 100) < u64::from(self.verify_percent);
        let keys = &self.server_keys.keys;
        let opened = if is_verified {
            open_response(keys, status, sig_dev, body)
        } else {
            open_unverified(keys, status, sig_dev, body)
        };
        self.unverified += u64::from(!is_verified && matches!(opened, Ok(Reply::Answer(_))));
        self.opened(&opened);
        opened
    }

    /// Takes out how many answers were not verified.
    pub(super) fn take_unverified(&mut self) -> u64 {
        std::mem::take(&mut self.unverified)
    }

    /// Accepts an answer that was handed over as a value, as [`Machine::open`] accepts a document signed by that key.
    ///
    /// # Errors
    /// The device does not trust the key.
    pub(super) fn trust<T>(&mut self, reply: Reply<T>, key_id: &KeyId) -> Result<Reply<T>, OpenError> {
        let is_trusted = self.server_keys.keys.iter().any(|(trusted, _)| trusted == key_id);
        let opened = if is_trusted { Ok(reply) } else { Err(OpenError::UnknownKey(key_id.to_string())) };
        self.opened(&opened);
        opened
    }

    fn opened<T>(&mut self, opened: &Result<Reply<T>, OpenError>) {
        match opened {
            Err(OpenError::UnknownKey(_)) => self.wanted_keyset = Some(self.server_keys.version + 1),
            Ok(Reply::Refused(refusal)) => self.refused(refusal),
            _ => {}
        }
    }

    fn refused(&mut self, refusal: &RefusalDocument) {
        match refusal.code {
            RefusalCode::Revoked => self.state = DeviceState::Revoked,
            RefusalCode::NotRegistered => self.state = DeviceState::New,
            RefusalCode::StaleSequence => {
                // The server holds a greater pair: this device lost its flash, or an answer was lost. Continue from there.
                if let (Some(boot_epoch), Some(seq)) = (refusal.server_boot_epoch, refusal.server_seq) {
                    self.sequence = self.sequence.max(Sequence { boot_epoch, seq });
                }
            }
            _ => {}
        }
    }

    pub fn punch(&mut self, count: u32, now: UnixMs) {
        let waited = self.punches.waiting();
        self.punches.make(count, &self.device_id, now);
        for waiting in waited + 1..=self.punches.waiting() {
            self.log.note(LogLevel::Info, &format!("{waiting} punches not sent yet"), now);
        }
    }

    /// Takes out the number of punches made and the confirmed numbers.
    pub fn take_punches(&mut self) -> (u64, Pairs) {
        self.punches.take()
    }

    /// Takes out the reported command states and the commands whose report the server confirmed.
    pub fn take_commands(&mut self) -> (BTreeMap<CommandId, AckState>, BTreeSet<CommandId>) {
        self.commands.take()
    }

    /// Derives the device's next key.
    pub(super) fn make_key(&mut self) -> PrivateKey {
        self.keys_made += 1;
        let purpose = format!("key {}", self.keys_made);
        PrivateKey::from_seed(&seed::bytes(self.root_seed, self.device_id.as_str(), &purpose))
    }

    pub fn die(&mut self) {
        self.state = DeviceState::Dead;
    }

    /// Reboots if a command requested it and its ACK is stored; returns whether it did.
    pub fn reboot_if_due(&mut self, now: UnixMs) -> bool {
        let boots = self.reboot_is_due && self.commands.acks().is_empty();
        if boots {
            self.reboot(now);
        }
        boots
    }

    /// Reboots: the boot epoch rises before the next request.
    pub fn reboot(&mut self, now: UnixMs) {
        self.reboot_is_due = false;
        self.sequence = Sequence::new(self.sequence.boot_epoch.saturating_add(1), 0);
        self.booted_at = now;
    }
}
