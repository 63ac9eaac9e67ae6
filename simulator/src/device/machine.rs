//! What a device is and says: keys, replay pair, telemetry, commands. Pure: no clock, no network, no timers.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ks_protocol::{
    document::DocumentError,
    id::{CommandId, DeviceId, KeyId, Sequence},
    key::{PrivateKey, Verifier},
    message::{
        Ack, AckState, AcksRecorded, Command, CommandAck, Firmware, Heartbeat, Network, NextBeat, Register, Registered,
    },
    refusal::{RefusalCode, RefusalDocument},
    signature::{OpenError, Reply, SignedRequest, open_response, sign_request},
    text::{Rows, Text},
    time::UnixMs,
};
use rand_chacha::ChaCha8Rng;
use serde::de::DeserializeOwned;

use crate::seed;

/// Command names that a device remembers, to tell a second delivery from a new command.
const REMEMBERED_COMMANDS: usize = 256;

/// The server's keys, as the factory gave them to a whole batch of devices.
pub type ServerKeys = Rc<Vec<(KeyId, Verifier)>>;

/// Where a device is in its life, as it sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Has not registered yet.
    New,
    /// Registered: beats.
    Registered,
    /// Told that it is revoked: silent for good.
    Revoked,
}

/// A device's own state.
pub struct Machine {
    device_id: DeviceId,
    key: PrivateKey,
    server_keys: ServerKeys,
    keyset_version: u64,
    firmware_version: Rc<str>,
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

/// What a machine is made from.
pub struct Birth {
    /// Its name.
    pub device_id: DeviceId,
    /// Root seed of the run.
    pub root_seed: u64,
    /// What the factory put in of the server.
    pub server_keys: ServerKeys,
    /// The keyset that these are of.
    pub keyset_version: u64,
    /// What it says it runs.
    pub firmware_version: Rc<str>,
    /// Its one-time token, if the fleet has them.
    pub otrt: Option<Rc<str>>,
    /// When it was switched on.
    pub at: UnixMs,
}

/// The private key of a simulated device: made from the seed, so that a run repeats; no secret from anyone with the seed.
pub fn device_key(root_seed: u64, device_id: &DeviceId) -> PrivateKey {
    PrivateKey::from_seed(&seed::bytes(root_seed, device_id.as_str(), "key"))
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
        let Birth { device_id, root_seed, server_keys, keyset_version, firmware_version, otrt, at } = birth;
        let mut telemetry = seed::stream(root_seed, device_id.as_str(), "telemetry");
        let network = match seed::below(&mut telemetry, 10) {
            0..6 => Network::Ethernet,
            6..9 => Network::Wifi,
            _ => Network::Cellular,
        };
        Self {
            key: device_key(root_seed, &device_id),
            device_id,
            server_keys,
            keyset_version,
            firmware_version,
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

    /// Whether ACKs wait to be sent.
    pub fn has_acks(&self) -> bool {
        !self.acks.is_empty()
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
            firmware_version: Text::truncated(&self.firmware_version),
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
            keyset_version: self.keyset_version,
            firmware: Firmware { version: Text::truncated(&self.firmware_version), release_counter: 1 },
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

    fn open<T: DeserializeOwned>(&self, status: u16, sig_dev: &str, body: &[u8]) -> Result<Reply<T>, OpenError> {
        open_response(&self.server_keys, status, sig_dev, body)
    }

    /// Takes the answer to a registration.
    pub fn registered(&mut self, status: u16, sig_dev: &str, body: &[u8]) -> Result<Reply<Registered>, OpenError> {
        let reply = self.open::<Registered>(status, sig_dev, body)?;
        match &reply {
            Reply::Answer(_) => self.standing = Standing::Registered,
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
                for command in next.commands.as_slice() {
                    self.carry_out(command, &mut carried);
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
    fn carry_out(&mut self, command: &Command, carried: &mut Carried) {
        let known = matches!(command.kind.as_str(), "reboot" | "fetch_logs" | "set_config");
        if !self.seen.contains(&command.command_id) {
            if self.seen.len() == REMEMBERED_COMMANDS {
                self.seen.remove(0);
            }
            self.seen.push(command.command_id.clone());
            if known {
                carried.succeeded += 1;
                carried.twice += u64::from(!self.applied.insert(command.command_id.clone()));
                self.reboot_is_due |= command.kind.as_str() == "reboot";
            }
        }
        let (state, detail) = if known { (AckState::Succeeded, "") } else { (AckState::Rejected, "unknown kind") };
        let detail = Text::truncated(detail);
        self.said.insert(command.command_id.clone(), state);
        self.acks.push(Ack { command_id: command.command_id.clone(), state, detail });
    }

    /// Boots again if a command said so and its ACK is stored.
    pub fn reboot_if_due(&mut self, now: UnixMs) {
        if self.reboot_is_due && self.acks.is_empty() {
            self.reboot(now);
        }
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
    use ks_protocol::{document, key::PublicKey, signature::seal_response};

    fn server() -> PrivateKey {
        PrivateKey::from_seed(&[9; 32])
    }

    fn machine() -> Machine {
        let key: PublicKey = server().public_key();
        Machine::new(Birth {
            device_id: "SIM-1".parse().unwrap(),
            root_seed: 1,
            server_keys: Rc::new(vec![(key.key_id(), key.verifier().unwrap())]),
            keyset_version: 1,
            firmware_version: "1.0.0".into(),
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
}
