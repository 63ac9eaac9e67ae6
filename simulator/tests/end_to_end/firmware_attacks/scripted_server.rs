//! A server that follows a script, a whole device that meets it, and what came of that.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use actix::{Actor, System};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header;
use ks_fleet::{
    device::{
        actor::Device,
        machine::{DeviceInit, Machine, ServerKeys},
    },
    fleet::{
        churn::{Agenda, Schedule},
        ground_truth::GroundTruth,
    },
    host::timer::RuntimeTimer,
    link::{HttpAnswer, HttpRequest, Link, LinkError, Reply, faults::NetworkFaults},
    run::measure::Measurements,
    scenario::HeartbeatInterval,
    shard::{RunTime, Shard},
};
use ks_protocol::{
    document,
    key::PrivateKey,
    manifest::Manifest,
    message::{
        Command, FirmwareStatus, FirmwareStatusRecorded, Heartbeat, NextBeat, Offer, Registered, Trust, UpdateClass,
        UpdateStep,
    },
    signature::{SIG_DEV, seal_response},
    text::{Rows, Sha256, Text},
    time::UnixMs,
};
use sha2::Digest;

pub(super) const EPOCH: UnixMs = UnixMs(1_800_000_000_000);

/// The keys of these tests, by the one byte of their seed: the server's, the one for firmware, an attacker's.
pub(super) const SERVER: u8 = 1;
pub(super) const FIRMWARE: u8 = 2;
pub(super) const ATTACKER: u8 = 3;

pub(super) fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

pub(super) fn image(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// What the attacker does; by default it is an honest server with an honest release.
pub(super) struct Script {
    /// Signs answers.
    pub(super) answers: u8,
    /// What it offers with every heartbeat.
    pub(super) offer: Option<String>,
    /// What it sends as the artifact.
    pub(super) artifact: Artifact,
    /// Whether the request for a piece breaks off, by its number, from 0, and the boot epoch of the last heartbeat.
    pub(super) breaks: fn(usize, u32) -> bool,
    /// The answer to the first heartbeat that had an offer is sent again to every later one.
    pub(super) replays: bool,
    pub(super) keysets: BTreeMap<u64, String>,
    /// The version that heartbeats are informed of.
    pub(super) keyset_version: u64,
    /// The power is cut, by an order to boot, with the heartbeat of this number.
    pub(super) reboots_at: Option<usize>,
}

pub(super) enum Artifact {
    Bytes(Vec<u8>),
    /// Whatever is asked for, so many bytes more come.
    TooMuch(Vec<u8>, usize),
    /// So few bytes come at a time.
    Drip(Vec<u8>, u64),
    /// Nothing ever comes.
    Withheld,
}

/// Statuses and log lines that the device sent.
#[derive(Default)]
pub(super) struct Received {
    pub(super) beats: Vec<(String, u64, u32)>,
    pub(super) statuses: Vec<(UpdateStep, Option<UpdateClass>)>,
    /// First bytes of the pieces that were asked for, each with the boot epoch of the last heartbeat before it.
    pub(super) pieces: Vec<(u64, u32)>,
    pub(super) recorded: Option<HttpAnswer>,
}

pub(super) struct Server {
    pub(super) script: Script,
    pub(super) received: RefCell<Received>,
    pub(super) started: tokio::time::Instant,
}

impl Server {
    fn now(&self) -> UnixMs {
        EPOCH + self.started.elapsed()
    }

    fn sealed(&self, sig_dev: &str, answer: &impl serde::Serialize) -> HttpAnswer {
        let key = key(self.script.answers);
        let body = seal_response(&key, &key.public_key().key_id(), 200, sig_dev, answer).unwrap();
        HttpAnswer { status: 200, body: body.into() }
    }

    fn beat(&self, beat: &Heartbeat, sig_dev: &str) -> HttpAnswer {
        let mut received = self.received.borrow_mut();
        let number = received.beats.len();
        let firmware = (beat.firmware.version.to_string(), beat.firmware.release_counter, beat.boot_epoch);
        received.beats.push(firmware);
        if let Some(recorded) = received.recorded.as_ref().filter(|_| self.script.replays) {
            return recorded.clone();
        }
        let reboot = Command {
            command_id: "c1".parse().unwrap(),
            kind: Text::truncated("reboot"),
            argument: Text::default(),
            deadline_at: EPOCH + Duration::from_hours(1_000),
        };
        let answer = NextBeat {
            kind: Default::default(),
            server_time: self.now(),
            next_beat_ms: 60_000,
            keyset_version: self.script.keyset_version,
            commands: Rows::truncated((self.script.reboots_at == Some(number)).then_some(reboot).into_iter().collect()),
            firmware: self.script.offer.as_ref().map(|offer| Offer { manifest: Text::truncated(offer) }),
        };
        let sealed = self.sealed(sig_dev, &answer);
        received.recorded.get_or_insert(sealed.clone());
        sealed
    }

    fn piece(&self, range: &str) -> Reply {
        let (from, to) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
        let (number, boot_epoch) = {
            let mut received = self.received.borrow_mut();
            let (_, _, boot_epoch) = *received.beats.last().unwrap();
            received.pieces.push((from, boot_epoch));
            (received.pieces.len() - 1, boot_epoch)
        };
        if (self.script.breaks)(number, boot_epoch) {
            return Err(LinkError::ConnectionLost);
        }
        let part = |bytes: &[u8], from: u64, to: u64| {
            let [from, to] = [from, to + 1].map(|at| usize::try_from(at).unwrap().min(bytes.len()));
            bytes[from..to].to_vec()
        };
        let body = match &self.script.artifact {
            Artifact::Bytes(bytes) => part(bytes, from, to),
            Artifact::TooMuch(bytes, more) => [part(bytes, from, to), vec![0; *more]].concat(),
            Artifact::Drip(bytes, length) => part(bytes, from, to.min(from + length - 1)),
            Artifact::Withheld => return Err(LinkError::TimedOut),
        };
        Ok(HttpAnswer { status: 206, body: body.into() })
    }

    fn answer(&self, path: &str, query: Option<&str>, range: Option<&str>, body: &Bytes) -> Reply {
        if path.starts_with("/firmware/artifacts/") {
            return self.piece(range.unwrap());
        }
        if path == "/keys" {
            let version = query.unwrap().strip_prefix("version=").unwrap().parse().unwrap();
            let keyset = self.script.keysets.get(&version);
            return keyset.map_or(Err(LinkError::TimedOut), |keyset| {
                Ok(HttpAnswer { status: 200, body: keyset.clone().into() })
            });
        }
        let signed = document::split(body, SIG_DEV).unwrap();
        let sig_dev = signed.signature_text;
        Ok(match path {
            "/register" => self.sealed(
                sig_dev,
                &Registered {
                    kind: Default::default(),
                    device_id: "KS-1".parse().unwrap(),
                    registered_at: self.now(),
                    next_beat_ms: 60_000,
                    keyset_version: 1,
                    server_time: self.now(),
                },
            ),
            "/heartbeat" => self.beat(&document::decode(signed.body).unwrap(), sig_dev),
            "/firmware/status" => {
                let status: FirmwareStatus = document::decode(signed.body).unwrap();
                self.received.borrow_mut().statuses.push((status.step, status.class));
                let recorded =
                    FirmwareStatusRecorded { kind: Default::default(), go_on: true, server_time: self.now() };
                self.sealed(sig_dev, &recorded)
            }
            _ => return Err(LinkError::TimedOut),
        })
    }
}

pub(super) struct Line(Rc<Server>);

impl Link for Line {
    fn call(&self, request: HttpRequest) -> Pin<Box<dyn Future<Output = Reply> + '_>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let range = parts.headers.get(header::RANGE).map(|value| value.to_str().unwrap().to_owned());
            self.0.answer(parts.uri.path(), parts.uri.query(), range.as_deref(), &body)
        })
    }

    fn close(&self) {}
}

pub(super) struct Came {
    pub(super) received: Received,
    pub(super) measured: Measurements,
}

impl Came {
    /// The device never ran anything but what the factory put in, was never booted into anything else, and beats to the end.
    #[track_caller]
    pub(super) fn nothing_was_installed(&self) {
        assert!(self.measured.updated.is_empty(), "{:?}", self.measured.updated);
        assert_eq!(self.measured.running.get("1.0.0"), Some(&1));
        assert!(self.received.beats.len() > 60, "it goes on beating: {}", self.received.beats.len());
        assert!(self.received.beats.iter().all(|(version, counter, _)| (version.as_str(), *counter) == ("1.0.0", 5)));
        let installs = [UpdateStep::Rebooting, UpdateStep::Succeeded];
        assert!(
            !self.received.statuses.iter().any(|(step, _)| installs.contains(step)),
            "{:?}",
            self.received.statuses
        );
    }

    /// The single class under which it refused, reported once.
    #[track_caller]
    pub(super) fn refused_as(&self, class: UpdateClass) {
        self.nothing_was_installed();
        let refusals: Vec<_> =
            self.received.statuses.iter().filter(|(step, _)| *step == UpdateStep::Rejected).collect();
        assert_eq!(refusals, [&(UpdateStep::Rejected, Some(class))]);
    }
}

/// The trust of a device whose keyset has these keys.
pub(super) fn trust(version: u64, answers: &[u8], firmware: &[u8]) -> Trust {
    let unpacked = |seeds: &[u8]| {
        let public = |seed: &u8| key(*seed).public_key();
        seeds.iter().map(public).map(|public| (public.key_id(), public.verifier().unwrap())).collect()
    };
    Trust { version, threshold: 1, keys: unpacked(answers), firmware_keys: unpacked(firmware) }
}

/// Lets a device meet the script for so long.
pub(super) fn meets(script: Script, trusted: Trust, hours: u64) -> Came {
    let paused = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    System::with_tokio_rt(paused).block_on(async move {
        let started = tokio::time::Instant::now();
        let server = Rc::new(Server { script, received: RefCell::default(), started });
        let ends_at = started + Duration::from_hours(hours);
        let shard = Rc::new(Shard {
            timer: Rc::new(RuntimeTimer),
            time: RunTime { started, epoch: EPOCH },
            ends_at,
            interval: HeartbeatInterval::Server,
            answer_timeout: Duration::from_secs(10),
            shifts: Vec::new(),
            trusted: RefCell::default(),
            ground_truth: GroundTruth::default(),
            churn: Schedule::default(),
            network_faults: Arc::new(NetworkFaults::none(1)),
            outages: Arc::default(),
            revocations: Arc::default(),
            retries: Vec::new(),
            abused_sites: Vec::new(),
            named_victims: 0,
            measurements: RefCell::new(Measurements::default()),
            stopped: Arc::new(AtomicBool::new(false)),
            log: None,
            hands_beats_over: false,
            is_captured: false,
            captured: RefCell::new(VecDeque::new()),
        });
        let server_keys: ServerKeys = Rc::new(trusted);
        let machine = Machine::new(DeviceInit {
            device_id: "KS-1".parse().unwrap(),
            root_seed: 1,
            server_keys,
            model: "KS-100".into(),
            firmware_version: "1.0.0".into(),
            release_counter: 5,
            otrt: None,
            booted_at: EPOCH,
            verify_percent: 100,
        });
        let link = Rc::new(Line(Rc::clone(&server)));
        let device =
            Device::new((0, 0), machine, link, (0, "HQ".into()), Rc::clone(&shard), 1, Agenda::default()).start();
        tokio::time::sleep_until(ends_at + Duration::from_mins(1)).await;
        drop(device);
        let (received, measured) = (server.received.take(), shard.measurements.take());
        Came { received, measured }
    })
}

/// The manifest of an honest release of that image: counter 7, for a year from now.
pub(super) fn manifest(image: &[u8], signer: u8) -> Manifest {
    Manifest {
        kind: Default::default(),
        release_id: "fw-7".parse().unwrap(),
        product: Text::truncated("ks-terminal"),
        models: Rows::truncated(vec![Text::truncated("KS-100")]),
        version: Text::truncated("1.7.0"),
        release_counter: 7,
        sha256: Sha256(sha2::Sha256::digest(image).into()),
        size_bytes: u64::try_from(image.len()).unwrap(),
        min_counter: None,
        not_before: EPOCH,
        expires_at: EPOCH + Duration::from_hours(24 * 365),
        key_id: key(signer).public_key().key_id(),
    }
}

pub(super) const IMAGE_BYTES: usize = 200_000;

/// An honest server with an honest release.
pub(super) fn honest() -> Script {
    let image = image(IMAGE_BYTES);
    Script {
        answers: SERVER,
        offer: Some(manifest(&image, FIRMWARE).signed_by(&key(FIRMWARE)).unwrap()),
        artifact: Artifact::Bytes(image),
        breaks: |_, _| false,
        replays: false,
        keysets: BTreeMap::new(),
        keyset_version: 1,
        reboots_at: None,
    }
}

/// The honest release, its manifest changed before it is signed.
pub(super) fn released(change: impl FnOnce(&mut Manifest)) -> Script {
    let mut manifest = manifest(&image(IMAGE_BYTES), FIRMWARE);
    change(&mut manifest);
    Script { offer: Some(manifest.signed_by(&key(FIRMWARE)).unwrap()), ..honest() }
}

pub(super) fn usual() -> Trust {
    trust(1, &[SERVER], &[FIRMWARE])
}
