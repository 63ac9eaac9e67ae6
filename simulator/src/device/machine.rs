//! What a device is and says: keys, replay pair, telemetry, commands. Pure: no clock, no network, no timers.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use ks_protocol::{
    document::{self, DocumentError},
    id::{CommandId, DeviceId, Sequence},
    key::PrivateKey,
    message::{
        Ack, AckState, AcksRecorded, Attendance, Command, CommandAck, CommandOrder, Direction, Firmware,
        FirmwareArtifact, FirmwareStatus, FirmwareStatusRecorded, Heartbeat, KeyRotated, Keyset, LINES_MAX, LogLevel,
        LogLine, Logs, LogsStored, Network, NextBeat, PUNCHES_MAX, Punch, PunchMethod, PunchesStored, Register,
        Registered, RotateKey, Trust,
    },
    refusal::{RefusalCode, RefusalDocument},
    signature::{NO_SIG_DEV, OpenError, Reply, SIG_SERV, SignedRequest, open_response, sign_request, sign_request_to},
    text::{Rows, Text},
    time::UnixMs,
};
use rand_chacha::ChaCha8Rng;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::firmware::FirmwareSlots;
use crate::{ledger::Pairs, measure::MessageType, seed};

/// Command names that a device remembers, to tell a second delivery from a new command.
const REMEMBERED_COMMANDS: usize = 256;

/// Log lines that a device keeps; the oldest go.
const KEPT_LINES: usize = 512;

/// The server's keys that a device trusts; devices that trust the same share them.
pub type ServerKeys = Rc<Trust>;

/// Where a device is in its life, as it sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Has not registered yet.
    New,
    /// Registered: beats.
    Registered,
    /// Told that it is revoked: silent for good.
    Revoked,
    /// A brick: its firmware has killed it.
    Dead,
}

/// A device's own state.
pub struct Machine {
    device_id: DeviceId,
    key: PrivateKey,
    root_seed: u64,
    server_keys: ServerKeys,
    /// The keyset to fetch next: a newer one is out, or an answer names a key that is not known.
    wanted_keyset: Option<u64>,
    /// Keys made so far, the factory's among them.
    keys_made: u32,
    /// A new key that the server does not confirm yet.
    rotating: Option<Box<Rotation>>,
    /// Punches made, in numbers; a number is never used for another.
    punches_made: u64,
    /// Punches that the server has not confirmed: what flash keeps while the network is gone.
    punches: VecDeque<Punch>,
    /// How many of those, from the oldest on, are on their way.
    punches_sent: usize,
    /// Numbers of the punches that it has confirmed.
    punches_acked: Pairs,
    /// Number of the first line in `lines`.
    first_line_no: u64,
    lines: VecDeque<LogLine>,
    logs_wanted: bool,
    /// What runs, and the update that is under way.
    pub firmware: FirmwareSlots,
    otrt: Option<Rc<str>>,
    standing: Standing,
    sequence: Sequence,
    booted_at: UnixMs,
    network: Network,
    telemetry: ChaCha8Rng,
    /// What its flash remembers of commands, oldest first.
    seen: Vec<CommandId>,
    /// What it really carried out, whatever it remembers: the truth that it is judged by.
    applied: BTreeSet<CommandId>,
    acks: Vec<Ack>,
    /// What it said of each command, ever.
    said: BTreeMap<CommandId, AckState>,
    /// Commands for which the server confirmed what was said.
    confirmed: BTreeSet<CommandId>,
    reboot_is_due: bool,
}

/// A change of the device's key that is under way.
struct Rotation {
    old: PrivateKey,
    new: PrivateKey,
    command_id: CommandId,
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

/// The badge that makes a punch: it follows from the device and the number, so that a stored punch can be told from another.
pub fn badge(device_id: &DeviceId, punch_no: u64) -> String {
    let bytes = seed::bytes(punch_no, device_id.as_str(), "badge");
    let number = bytes.iter().take(3).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    format!("B{number:08}")
}

/// What carrying out commands did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Carried out.
    pub succeeded: u64,
    /// Carried out although they had been before: a defect of the device.
    pub twice: u64,
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
            punches_made: 0,
            punches: VecDeque::new(),
            punches_sent: 0,
            punches_acked: Pairs::default(),
            first_line_no: 1,
            lines: VecDeque::new(),
            logs_wanted: false,
            firmware: FirmwareSlots::new(model, firmware_version, release_counter),
            otrt,
            standing: Standing::New,
            sequence: Sequence::new(1, 0),
            booted_at: at,
            network,
            telemetry,
            seen: Vec::new(),
            applied: BTreeSet::new(),
            acks: Vec::new(),
            said: BTreeMap::new(),
            confirmed: BTreeSet::new(),
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

    /// What a registered device sends next besides its heartbeats.
    pub fn due(&self) -> Option<MessageType> {
        self.pending().next()
    }

    /// All that a registered device has to say besides its heartbeats, the most pressing first.
    pub fn pending(&self) -> impl Iterator<Item = MessageType> {
        [
            (self.wanted_keyset.is_some(), MessageType::Keyset),
            (self.rotating.is_some(), MessageType::RotateKey),
            (!self.acks.is_empty(), MessageType::CommandAck),
            (self.firmware.to_report().is_some(), MessageType::FirmwareStatus),
            (!self.punches.is_empty(), MessageType::Attendance),
            (self.logs_wanted && !self.lines.is_empty(), MessageType::Logs),
            (self.firmware.wanted().is_some(), MessageType::Artifact),
        ]
        .into_iter()
        .filter_map(|(is_due, kind)| is_due.then_some(kind))
    }

    /// Numbers of the punches that were made, and of those that the server confirmed.
    pub fn take_punches(&mut self) -> (u64, Pairs) {
        (self.punches_made, std::mem::take(&mut self.punches_acked))
    }

    /// What it trusts.
    pub fn server_keys(&self) -> &ServerKeys {
        &self.server_keys
    }

    /// Holds the same keys in memory that others share.
    pub fn share_server_keys(&mut self, shared: ServerKeys) {
        self.server_keys = shared;
    }

    /// The version of the keyset to fetch.
    pub fn wanted_keyset(&self) -> Option<u64> {
        self.wanted_keyset
    }

    /// What it said of commands, and which of that the server has confirmed; forgotten here.
    pub fn take_commands(&mut self) -> (BTreeMap<CommandId, AckState>, BTreeSet<CommandId>) {
        (std::mem::take(&mut self.said), std::mem::take(&mut self.confirmed))
    }

    fn advance(&mut self) -> Sequence {
        self.sequence = Sequence::new(self.sequence.boot_epoch, self.sequence.seq.get() + 1);
        self.sequence
    }

    /// Its next registration, signed.
    pub fn register(&mut self, now: UnixMs) -> Result<SignedRequest, DocumentError> {
        let Sequence { boot_epoch, seq } = self.advance();
        let request = Register {
            kind: Default::default(),
            device_id: self.device_id.clone(),
            boot_epoch,
            seq,
            sent_at: now,
            public_key: self.key.public_key(),
            firmware_version: Text::truncated(&self.firmware.running().version),
            otrt: self.otrt.as_deref().map(Text::truncated),
        };
        sign_request(&self.key, &request)
    }

    /// Its next heartbeat, signed; ACKs that wait go along.
    pub fn beat(&mut self, now: UnixMs) -> Result<SignedRequest, DocumentError> {
        let Sequence { boot_epoch, seq } = self.advance();
        let uptime_s = now.since_ms(self.booted_at) / 1_000;
        let warmth = seed::below(&mut self.telemetry, 150) as f64 / 10.0;
        let request = Heartbeat {
            kind: Default::default(),
            device_id: self.device_id.clone(),
            boot_epoch,
            seq,
            sent_at: now,
            keyset_version: self.server_keys.version,
            firmware: Firmware {
                version: Text::truncated(&self.firmware.running().version),
                release_counter: self.firmware.running().release_counter,
            },
            uptime_s,
            cpu_temp_c: 35.0 + warmth,
            free_mem_kib: 96_000 + seed::below(&mut self.telemetry, 32_000),
            network: self.network,
            rssi_dbm: (self.network != Network::Ethernet)
                .then(|| -90 + i16::try_from(seed::below(&mut self.telemetry, 50)).unwrap_or(0)),
            acks: Rows::truncated(self.acks.clone()),
        };
        sign_request(&self.key, &request)
    }

    /// Its waiting ACKs on their own, signed.
    pub fn acknowledge(&mut self, now: UnixMs) -> Result<SignedRequest, DocumentError> {
        let Sequence { boot_epoch, seq } = self.advance();
        let request = CommandAck {
            kind: Default::default(),
            device_id: self.device_id.clone(),
            boot_epoch,
            seq,
            sent_at: now,
            acks: Rows::truncated(self.acks.clone()),
        };
        sign_request(&self.key, &request)
    }

    /// Somebody punches, so many times.
    pub fn punch(&mut self, count: u32, now: UnixMs) {
        for _ in 0..count {
            self.punches_made += 1;
            self.punches.push_back(Punch {
                punch_no: Sequence::new(0, self.punches_made).seq,
                at: now,
                badge: Text::truncated(&badge(&self.device_id, self.punches_made)),
                direction: if self.punches_made % 2 == 1 { Direction::In } else { Direction::Out },
                method: PunchMethod::Card,
            });
        }
        self.note(LogLevel::Info, &format!("{count} punches made, {} not sent yet", self.punches.len()), now);
    }

    /// Writes a line into its log.
    fn note(&mut self, level: LogLevel, message: &str, now: UnixMs) {
        if self.lines.len() == KEPT_LINES {
            self.lines.pop_front();
            self.first_line_no += 1;
        }
        self.lines.push_back(LogLine { at: now, level, message: Text::truncated(message) });
    }

    /// The oldest of its unconfirmed punches, signed.
    pub fn attendance(&mut self, now: UnixMs) -> Result<SignedRequest, DocumentError> {
        self.punches_sent = self.punches.len().min(PUNCHES_MAX);
        let Sequence { boot_epoch, seq } = self.advance();
        let request = Attendance {
            kind: Default::default(),
            device_id: self.device_id.clone(),
            boot_epoch,
            seq,
            sent_at: now,
            punches: Rows::truncated(self.punches.iter().take(self.punches_sent).cloned().collect()),
        };
        sign_request(&self.key, &request)
    }

    /// Takes the answer to punches.
    pub fn punched(&mut self, status: u16, sig_dev: &str, body: &[u8]) -> Result<Reply<PunchesStored>, OpenError> {
        let reply = self.open::<PunchesStored>(status, sig_dev, body)?;
        match &reply {
            Reply::Answer(stored) => {
                // Those that went, and not those that people made since.
                for punch in self.punches.drain(..self.punches_sent) {
                    if !stored.conflicts.as_slice().contains(&punch.punch_no) {
                        self.punches_acked.insert(Sequence::new(0, punch.punch_no.get()));
                    }
                }
            }
            Reply::Refused(refusal) => self.refused(refusal),
        }
        Ok(reply)
    }

    /// The oldest of its log lines, signed.
    pub fn logs(&mut self, now: UnixMs) -> Result<SignedRequest, DocumentError> {
        let Sequence { boot_epoch, seq } = self.advance();
        let request = Logs {
            kind: Default::default(),
            device_id: self.device_id.clone(),
            boot_epoch,
            seq,
            sent_at: now,
            first_line_no: Sequence::new(0, self.first_line_no).seq,
            lines: Rows::truncated(self.lines.iter().take(LINES_MAX).cloned().collect()),
        };
        sign_request(&self.key, &request)
    }

    /// Takes the answer to log lines: what the server has can go.
    pub fn logged(&mut self, status: u16, sig_dev: &str, body: &[u8]) -> Result<Reply<LogsStored>, OpenError> {
        let reply = self.open::<LogsStored>(status, sig_dev, body)?;
        match &reply {
            Reply::Answer(stored) => {
                while self.first_line_no < stored.next_line_no.get() && self.lines.pop_front().is_some() {
                    self.first_line_no += 1;
                }
                self.logs_wanted = !self.lines.is_empty();
            }
            Reply::Refused(refusal) => self.refused(refusal),
        }
        Ok(reply)
    }

    /// What it has to say of its update, signed. None if it has nothing to say.
    pub fn firmware_status(&mut self, now: UnixMs) -> Option<Result<SignedRequest, DocumentError>> {
        let report = self.firmware.to_report()?.clone();
        let Sequence { boot_epoch, seq } = self.advance();
        let request = FirmwareStatus {
            kind: Default::default(),
            device_id: self.device_id.clone(),
            boot_epoch,
            seq,
            sent_at: now,
            release_id: report.release_id,
            step: report.step,
            received_bytes: report.received_bytes,
            class: report.class,
            detail: Text::default(),
        };
        Some(sign_request(&self.key, &request))
    }

    /// Takes the answer to that.
    pub fn status_recorded(
        &mut self,
        status: u16,
        sig_dev: &str,
        body: &[u8],
    ) -> Result<Reply<FirmwareStatusRecorded>, OpenError> {
        let reply = self.open::<FirmwareStatusRecorded>(status, sig_dev, body)?;
        match &reply {
            Reply::Answer(recorded) => self.firmware.reported(recorded.go_on),
            Reply::Refused(refusal) => self.refused(refusal),
        }
        Ok(reply)
    }

    /// Its asking for the next piece of an image, signed. None if it wants none.
    pub fn fetch(&mut self, now: UnixMs) -> Option<Result<SignedRequest, DocumentError>> {
        let path = FirmwareArtifact::path_of(self.firmware.wanted()?.sha256);
        let Sequence { boot_epoch, seq } = self.advance();
        let device_id = self.device_id.clone();
        let request = FirmwareArtifact { kind: Default::default(), device_id, boot_epoch, seq, sent_at: now };
        Some(sign_request_to(&self.key, &path, &request))
    }

    /// Takes a refusal in the place of a piece.
    pub fn not_fetched(&mut self, status: u16, sig_dev: &str, body: &[u8]) -> Result<RefusalDocument, OpenError> {
        match self.open::<IgnoredAny>(status, sig_dev, body)? {
            Reply::Refused(refusal) => {
                self.refused(&refusal);
                Ok(refusal)
            }
            Reply::Answer(_) => Err(DocumentError::Malformed { what: "no refusal".to_owned() }.into()),
        }
    }

    /// Its firmware has killed it.
    pub fn die(&mut self) {
        self.standing = Standing::Dead;
    }

    /// Its wish to be known by its new key, signed by the one that it has.
    pub fn rotate_key(&mut self, now: UnixMs) -> Result<SignedRequest, DocumentError> {
        let sequence = self.advance();
        let new = self.rotating.as_ref().map_or(&self.key, |rotation| &rotation.new);
        let request = RotateKey::new(self.device_id.clone(), sequence, now, new);
        sign_request(&self.key, &request)
    }

    /// Takes the answer to that. True if the server knows the new key from now on.
    pub fn key_rotated(
        &mut self,
        status: u16,
        sig_dev: &str,
        body: &[u8],
    ) -> Result<(Reply<KeyRotated>, bool), OpenError> {
        let reply = self.open::<KeyRotated>(status, sig_dev, body)?;
        let mut is_rotated = false;
        match &reply {
            Reply::Answer(_) => {
                if let Some(rotation) = self.rotating.take() {
                    let Rotation { new, command_id, .. } = *rotation;
                    self.key = new;
                    self.answer(&command_id, AckState::Succeeded, "");
                    is_rotated = true;
                }
            }
            // An answer was lost, and the server may know the new key already: the other one vouches for it, in turns.
            Reply::Refused(refusal) if refusal.code == RefusalCode::BadSignature => {
                if let Some(rotation) = &self.rotating {
                    let is_old = self.key.public_key() == rotation.old.public_key();
                    self.key = if is_old { rotation.new.clone() } else { rotation.old.clone() };
                }
            }
            Reply::Refused(refusal) if refusal.code == RefusalCode::KeyInUse => {
                let new = self.make_key();
                if let Some(rotation) = &mut self.rotating {
                    rotation.new = new;
                }
            }
            Reply::Refused(refusal) => self.refused(refusal),
        }
        Ok((reply, is_rotated))
    }

    /// Takes the next keyset of the chain: its own signatures say whether to believe it, whatever key signed the answer,
    /// which may be one that only a later keyset makes known. Gives the code of a refusal.
    pub fn take_keyset(&mut self, status: u16, body: &[u8]) -> Result<Option<RefusalCode>, OpenError> {
        let signed = document::split(body, SIG_SERV)?;
        if let Some(refusal) = RefusalDocument::read(signed.body) {
            // There is no newer one; or the server will not say, and it is asked again.
            let code = refusal.map(|refusal| refusal.code)?;
            self.wanted_keyset = self.wanted_keyset.filter(|_| code != RefusalCode::NotFound);
            return Ok(Some(code));
        }
        let (_, next) = Keyset::step(signed.body, &self.server_keys).map_err(|_| OpenError::BadSignature)?;
        if next.version == self.server_keys.version {
            // It brings no key, and asked again at once it would not either.
            let what = format!("keyset {} in place of the next one", next.version);
            return Err(DocumentError::Malformed { what }.into());
        }
        let is_known = open_response::<Keyset>(&next.keys, status, NO_SIG_DEV, body);
        self.wanted_keyset = match is_known {
            // The answer is signed by a key of a later keyset: there is one.
            Err(OpenError::UnknownKey(_)) => Some(next.version + 1),
            Err(error) => return Err(error),
            Ok(_) => self.wanted_keyset.filter(|wanted| *wanted > next.version),
        };
        self.server_keys = Rc::new(next);
        Ok(None)
    }

    /// A keyset of that version is out.
    fn heard_of_keyset(&mut self, version: u64) {
        if version > self.server_keys.version {
            self.wanted_keyset = Some(self.server_keys.version + 1);
        }
    }

    fn open<T: DeserializeOwned>(&mut self, status: u16, sig_dev: &str, body: &[u8]) -> Result<Reply<T>, OpenError> {
        let opened = open_response(&self.server_keys.keys, status, sig_dev, body);
        if let Err(OpenError::UnknownKey(_)) = &opened {
            self.wanted_keyset = Some(self.server_keys.version + 1);
        }
        opened
    }

    /// Takes the answer to a registration.
    pub fn registered(&mut self, status: u16, sig_dev: &str, body: &[u8]) -> Result<Reply<Registered>, OpenError> {
        let reply = self.open::<Registered>(status, sig_dev, body)?;
        match &reply {
            Reply::Answer(registered) => {
                self.standing = Standing::Registered;
                self.heard_of_keyset(registered.keyset_version);
            }
            Reply::Refused(refusal) => self.refused(refusal),
        }
        Ok(reply)
    }

    /// Takes the answer to a heartbeat, and carries out what it commands.
    pub fn beaten(&mut self, status: u16, sig_dev: &str, body: &[u8]) -> Result<(Reply<NextBeat>, Carried), OpenError> {
        let reply = self.open::<NextBeat>(status, sig_dev, body)?;
        let mut carried = Carried::default();
        match &reply {
            Reply::Answer(next) => {
                // They came along and are stored.
                self.confirmed.extend(self.acks.drain(..).map(|ack| ack.command_id));
                self.heard_of_keyset(next.keyset_version);
                // A newer keyset may have cut off the key that signed it: the keyset first, the offer comes again.
                if let Some(offer) = next.firmware.as_ref().filter(|_| self.wanted_keyset.is_none()) {
                    self.firmware.offered(&offer.manifest, &self.server_keys, next.server_time);
                }
                for command in next.commands.as_slice() {
                    self.carry_out(command, &mut carried, next.server_time);
                }
            }
            Reply::Refused(refusal) => self.refused(refusal),
        }
        Ok((reply, carried))
    }

    /// Takes the answer to ACKs.
    pub fn acknowledged(&mut self, status: u16, sig_dev: &str, body: &[u8]) -> Result<Reply<AcksRecorded>, OpenError> {
        let reply = self.open::<AcksRecorded>(status, sig_dev, body)?;
        match &reply {
            Reply::Answer(recorded) => {
                let is_recorded =
                    |ack: &Ack| recorded.acks.as_slice().iter().any(|row| row.command_id == ack.command_id);
                let (recorded, left): (Vec<Ack>, Vec<Ack>) = self.acks.drain(..).partition(is_recorded);
                self.confirmed.extend(recorded.into_iter().map(|ack| ack.command_id));
                self.acks = left;
            }
            Reply::Refused(refusal) => self.refused(refusal),
        }
        Ok(reply)
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

    /// Carries out a command once, whatever the number of deliveries; ACKs it each time.
    fn carry_out(&mut self, command: &Command, carried: &mut Carried, now: UnixMs) {
        let command_id = &command.command_id;
        let order = match CommandOrder::from_wire(command.kind.as_str(), command.argument.as_str()) {
            Ok(CommandOrder::Custom(_)) => return self.answer(command_id, AckState::Rejected, "unknown kind"),
            Err(error) => return self.answer(command_id, AckState::Rejected, &error.to_string()),
            Ok(order) => order,
        };
        let is_new = !self.seen.contains(command_id);
        if is_new {
            if self.seen.len() == REMEMBERED_COMMANDS {
                self.seen.remove(0);
            }
            self.seen.push(command_id.clone());
            carried.succeeded += 1;
            carried.twice += u64::from(!self.applied.insert(command_id.clone()));
            self.apply(&order, command_id, now);
        }
        // It is done once the server knows the new key.
        let is_under_way = self.rotating.as_ref().is_some_and(|rotation| rotation.command_id == *command_id);
        if !is_under_way {
            self.answer(command_id, AckState::Succeeded, "");
        }
    }

    fn apply(&mut self, order: &CommandOrder, command_id: &CommandId, now: UnixMs) {
        match order {
            CommandOrder::Reboot => self.reboot_is_due = true,
            CommandOrder::FetchLogs(_) => {
                self.note(LogLevel::Info, "an operator asked for this log", now);
                self.logs_wanted = true;
            }
            CommandOrder::AddKey(argument) => self.heard_of_keyset(argument.keyset_version),
            CommandOrder::RotateKey if self.rotating.is_none() => {
                let (old, new) = (self.key.clone(), self.make_key());
                self.rotating = Some(Box::new(Rotation { old, new, command_id: command_id.clone() }));
            }
            CommandOrder::HaltUpdates(argument) => {
                self.firmware.halt(argument.release_id.as_ref().map(Text::as_str));
            }
            // A simulated device has no settings that show.
            CommandOrder::SetConfig(_) | CommandOrder::RotateKey | CommandOrder::Custom(_) => {}
        }
    }

    fn make_key(&mut self) -> PrivateKey {
        self.keys_made += 1;
        let purpose = format!("key {}", self.keys_made);
        PrivateKey::from_seed(&seed::bytes(self.root_seed, self.device_id.as_str(), &purpose))
    }

    fn answer(&mut self, command_id: &CommandId, state: AckState, detail: &str) {
        self.said.insert(command_id.clone(), state);
        self.acks.push(Ack { command_id: command_id.clone(), state, detail: Text::truncated(detail) });
    }

    /// Boots again if a command said so and its ACK is stored; whether it did.
    pub fn reboot_if_due(&mut self, now: UnixMs) -> bool {
        let boots = self.reboot_is_due && self.acks.is_empty();
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

#[cfg(test)]
mod tests {
    use super::*;
    use ks_protocol::{
        key::PublicKey,
        message::{KeysetEntry, ServerKeyState},
        signature::seal_response,
    };

    fn server() -> PrivateKey {
        PrivateKey::from_seed(&[9; 32])
    }

    fn machine() -> Machine {
        let key: PublicKey = server().public_key();
        Machine::new(Birth {
            device_id: "SIM-1".parse().unwrap(),
            root_seed: 1,
            server_keys: Rc::new(Trust {
                version: 1,
                threshold: 1,
                keys: vec![(key.key_id(), key.verifier().unwrap())],
                firmware_keys: Vec::new(),
            }),
            model: "KS-100".into(),
            firmware_version: "1.0.0".into(),
            release_counter: 1,
            otrt: None,
            at: UnixMs(0),
        })
    }

    fn sealed(status: u16, sig_dev: &str, answer: &impl serde::Serialize) -> String {
        seal_response(&server(), &server().public_key().key_id(), status, sig_dev, answer).unwrap()
    }

    fn command(id: &str, kind: &str) -> Command {
        Command {
            command_id: id.parse().unwrap(),
            kind: Text::truncated(kind),
            argument: Text::default(),
            deadline_at: UnixMs(9_000_000),
        }
    }

    fn next_beat(commands: Vec<Command>) -> NextBeat {
        NextBeat {
            kind: Default::default(),
            server_time: UnixMs(5),
            next_beat_ms: 60_000,
            keyset_version: 1,
            commands: Rows::truncated(commands),
            firmware: None,
        }
    }

    #[test]
    fn a_command_delivered_twice_is_carried_out_once_and_acked_twice() {
        let mut device = machine();
        let answer = next_beat(vec![command("c1", "reboot"), command("c2", "dance")]);
        for expected in [1, 0] {
            let sig = device.beat(UnixMs(1)).unwrap().sig_dev.to_string();
            let (_, carried) = device.beaten(200, &sig, sealed(200, &sig, &answer).as_bytes()).unwrap();
            assert_eq!(carried, Carried { succeeded: expected, twice: 0 });
            let states: Vec<_> = device.acks.iter().map(|ack| ack.state).collect();
            assert_eq!(states, [AckState::Succeeded, AckState::Rejected]);
        }
    }

    #[test]
    fn a_stale_device_goes_on_from_the_servers_pair() {
        let mut device = machine();
        let sig = device.beat(UnixMs(1)).unwrap().sig_dev.to_string();
        let kept = Sequence::new(4, 7);
        let refusal = RefusalDocument {
            code: RefusalCode::StaleSequence,
            message: String::new(),
            retry_after_s: None,
            server_boot_epoch: Some(kept.boot_epoch),
            server_seq: Some(kept.seq),
            server_time: None,
        };
        device.beaten(409, &sig, sealed(409, &sig, &refusal).as_bytes()).unwrap();
        device.beat(UnixMs(2)).unwrap();
        assert_eq!(device.sequence(), Sequence::new(4, 8));
    }

    #[test]
    fn an_answer_to_another_request_is_not_believed() {
        let mut device = machine();
        let sig = device.beat(UnixMs(1)).unwrap().sig_dev.to_string();
        let other = device.beat(UnixMs(2)).unwrap().sig_dev.to_string();
        let answer = sealed(200, &other, &next_beat(Vec::new()));
        assert_eq!(device.beaten(200, &sig, answer.as_bytes()).unwrap_err(), OpenError::BadSignature);
    }

    #[test]
    fn a_reboot_raises_the_epoch_before_the_first_send() {
        let mut device = machine();
        device.beat(UnixMs(1)).unwrap();
        device.reboot(UnixMs(10_000));
        let wire = device.beat(UnixMs(70_000)).unwrap().wire;
        let body = document::split(wire.as_bytes(), "SIG_DEV").unwrap().body;
        let beat: Heartbeat = document::decode(body).unwrap();
        assert_eq!((beat.boot_epoch, beat.seq.get(), beat.uptime_s), (2, 1, 60));
    }

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from_seed(&[seed; 32])
    }

    /// The answer to GET /keys: a keyset of `keys`, signed by `signers`, the answer by `answered_by`.
    fn keyset(version: u64, keys: &[u8], signers: &[u8], answered_by: u8) -> String {
        let entry = |seed: &u8| KeysetEntry {
            key_id: key(*seed).public_key().key_id(),
            state: ServerKeyState::Signing,
            public_key: key(*seed).public_key(),
        };
        let keyset = Keyset {
            kind: Default::default(),
            version,
            threshold: 1,
            expires_at: UnixMs(1), // long ago: those on the way may have expired
            keys: Rows::truncated(keys.iter().map(entry).collect()),
            signatures: Rows::default(),
        };
        let signers: Vec<_> = signers.iter().map(|seed| (key(*seed).public_key().key_id(), key(*seed))).collect();
        let named: Vec<_> = signers.iter().map(|(key_id, key)| (key_id, key)).collect();
        let keyset = keyset.signed_by(&named).unwrap();
        let by = key(answered_by);
        seal_response(&by, &by.public_key().key_id(), 200, NO_SIG_DEV, &keyset).unwrap()
    }

    #[test]
    fn a_device_that_was_away_walks_the_chain_to_the_key_that_signs() {
        let mut device = machine(); // trusts key 9, of keyset 1
        device.standing = Standing::Registered;
        let sig = device.beat(UnixMs(1)).unwrap().sig_dev.to_string();
        let by_newest =
            seal_response(&key(7), &key(7).public_key().key_id(), 200, &sig, &next_beat(Vec::new())).unwrap();
        assert!(matches!(device.beaten(200, &sig, by_newest.as_bytes()), Err(OpenError::UnknownKey(_))));
        assert_eq!((device.due(), device.wanted_keyset()), (Some(MessageType::Keyset), Some(2)));
        // 9 -> 9 and 8 -> 8 -> 8 and 7: each is signed by a key of the one before.
        let walk = [keyset(2, &[9, 8], &[9, 8], 7), keyset(3, &[8], &[8], 7), keyset(4, &[8, 7], &[8, 7], 7)];
        for answer in &walk {
            assert_eq!(device.take_keyset(200, answer.as_bytes()), Ok(None));
        }
        assert_eq!((device.server_keys().version, device.wanted_keyset()), (4, None));
        let sig = device.beat(UnixMs(2)).unwrap().sig_dev.to_string();
        let by_newest =
            seal_response(&key(7), &key(7).public_key().key_id(), 200, &sig, &next_beat(Vec::new())).unwrap();
        assert!(device.beaten(200, &sig, by_newest.as_bytes()).is_ok());
    }

    #[test]
    fn a_keyset_that_no_trusted_key_signed_is_not_believed() {
        let mut device = machine();
        for forged in [keyset(2, &[6], &[6], 6), keyset(2, &[9, 6], &[6], 9), keyset(0, &[9], &[9], 9)] {
            assert_eq!(device.take_keyset(200, forged.as_bytes()), Err(OpenError::BadSignature));
        }
        assert_eq!(device.server_keys().version, 1);
    }

    #[test]
    fn a_keyset_that_is_not_the_next_one_is_no_answer() {
        let mut device = machine(); // trusts key 9, of keyset 1
        device.heard_of_keyset(2);
        for answered_by in [9, 7] {
            let taken = device.take_keyset(200, keyset(1, &[9], &[9], answered_by).as_bytes());
            assert!(matches!(taken, Err(OpenError::Document(_))), "{taken:?}");
            assert_eq!(device.wanted_keyset(), Some(2), "it is asked for again, after a while");
        }
    }

    #[test]
    fn punches_are_kept_until_the_server_confirms_them() {
        let mut device = machine();
        device.standing = Standing::Registered;
        device.punch(300, UnixMs(5));
        assert_eq!(device.due(), Some(MessageType::Attendance));
        let stored = PunchesStored {
            kind: Default::default(),
            stored: 256,
            known: 0,
            conflicts: Rows::default(),
            server_time: UnixMs(5),
        };
        let first = device.attendance(UnixMs(6)).unwrap(); // its answer is lost
        let again = device.attendance(UnixMs(7)).unwrap();
        let numbers =
            |wire: &str| wire.lines().filter(|line| line.starts_with("  ")).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(numbers(&first.wire), numbers(&again.wire), "the same punches under the same numbers");
        let sig = again.sig_dev.to_string();
        device.punched(200, &sig, sealed(200, &sig, &stored).as_bytes()).unwrap();
        assert_eq!((device.punches.len(), device.punches_acked.len()), (44, 256));
        device.punch(1, UnixMs(8));
        let last = device.attendance(UnixMs(9)).unwrap();
        device.punch(7, UnixMs(10)); // while it is on its way
        let sig = last.sig_dev.to_string();
        let stored = PunchesStored { stored: 45, ..stored };
        device.punched(200, &sig, sealed(200, &sig, &stored).as_bytes()).unwrap();
        assert_eq!((device.punches.len(), device.punches_acked.len()), (7, 301), "they wait for their own answer");
        assert_eq!(device.take_punches().0, 308);
    }

    #[test]
    fn a_rotation_whose_answer_was_lost_is_ended_by_the_new_key() {
        let mut device = machine();
        device.standing = Standing::Registered;
        let old = device.key.public_key();
        let mut carried = Carried::default();
        device.carry_out(&command("c1", "rotate_key"), &mut carried, UnixMs(1));
        assert_eq!((device.due(), carried.succeeded), (Some(MessageType::RotateKey), 1));
        let sig = device.rotate_key(UnixMs(2)).unwrap().sig_dev.to_string();
        let refusal = RefusalDocument {
            code: RefusalCode::BadSignature,
            message: String::new(),
            retry_after_s: None,
            server_boot_epoch: None,
            server_seq: None,
            server_time: None,
        };
        let refused = sealed(401, &sig, &refusal); // the first answer was lost: the server knows the new key already
        assert!(!device.key_rotated(401, &sig, refused.as_bytes()).unwrap().1);
        assert_ne!(device.key.public_key(), old);
        let sig = device.rotate_key(UnixMs(2)).unwrap().sig_dev.to_string();
        device.key_rotated(401, &sig, sealed(401, &sig, &refusal).as_bytes()).unwrap();
        assert_eq!(device.key.public_key(), old, "it was not lost after all: the old key vouches again");
        let sig = device.rotate_key(UnixMs(2)).unwrap().sig_dev.to_string();
        device.key_rotated(401, &sig, sealed(401, &sig, &refusal).as_bytes()).unwrap();
        let sig = device.rotate_key(UnixMs(3)).unwrap().sig_dev.to_string();
        let public_key = device.key.public_key();
        let rotated = KeyRotated { kind: Default::default(), public_key, server_time: UnixMs(3) };
        assert!(device.key_rotated(200, &sig, sealed(200, &sig, &rotated).as_bytes()).unwrap().1);
        assert_eq!(device.due(), Some(MessageType::CommandAck), "it is acknowledged once it is done");
    }
}
