//! Goal: no attack of the Uptane and TUF lists ends in an install.
//! Method: a whole simulated device, under virtual time, against a server or a man in the middle who does the attack; what the
//! device says is read from its own documents, and what it runs from the ground truth that the simulation keeps.

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
    churn::{Agenda, Schedule},
    device::{
        actor::Device,
        machine::{DeviceInit, Machine, ServerKeys},
    },
    ground_truth::GroundTruth,
    link::{HttpAnswer, HttpRequest, Link, LinkError, Reply, faults::NetworkFaults},
    measure::Measurements,
    scenario::HeartbeatInterval,
    shard::{RunTime, Shard},
    timer::RuntimeTimer,
};
use ks_protocol::{
    document,
    key::PrivateKey,
    manifest::Manifest,
    message::{
        Command, FirmwareStatus, FirmwareStatusRecorded, Heartbeat, Keyset, KeysetEntry, NextBeat, Offer, Registered,
        ServerKeyState, Trust, UpdateClass, UpdateStep,
    },
    signature::{NO_SIG_DEV, SIG_DEV, seal_response},
    text::{Rows, Sha256, Text},
    time::UnixMs,
};
use sha2::Digest;

const EPOCH: UnixMs = UnixMs(1_800_000_000_000);
/// The keys of these tests, by the one byte of their seed: the server's, the one for firmware, an attacker's.
const SERVER: u8 = 1;
const FIRMWARE: u8 = 2;
const ATTACKER: u8 = 3;

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

fn image(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// What the attacker does; by default it is an honest server with an honest release.
struct Script {
    /// Signs answers.
    answers: u8,
    /// What it offers with every heartbeat.
    offer: Option<String>,
    /// What it sends as the artifact.
    artifact: Artifact,
    /// Whether the request for a piece breaks off, by its number, from 0, and the boot epoch of the last heartbeat.
    breaks: fn(usize, u32) -> bool,
    /// The answer to the first heartbeat that had an offer is sent again to every later one.
    replays: bool,
    keysets: BTreeMap<u64, String>,
    /// The version that heartbeats are informed of.
    keyset_version: u64,
    /// The power is cut, by an order to boot, with the heartbeat of this number.
    reboots_at: Option<usize>,
}

enum Artifact {
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
struct Received {
    beats: Vec<(String, u64, u32)>,
    statuses: Vec<(UpdateStep, Option<UpdateClass>)>,
    /// First bytes of the pieces that were asked for, each with the boot epoch of the last heartbeat before it.
    pieces: Vec<(u64, u32)>,
    recorded: Option<HttpAnswer>,
}

struct Server {
    script: Script,
    received: RefCell<Received>,
    started: tokio::time::Instant,
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

struct Line(Rc<Server>);

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

struct Came {
    received: Received,
    measured: Measurements,
}

impl Came {
    /// The device never ran anything but what the factory put in, was never booted into anything else, and beats to the end.
    #[track_caller]
    fn nothing_was_installed(&self) {
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
    fn refused_as(&self, class: UpdateClass) {
        self.nothing_was_installed();
        let refusals: Vec<_> =
            self.received.statuses.iter().filter(|(step, _)| *step == UpdateStep::Rejected).collect();
        assert_eq!(refusals, [&(UpdateStep::Rejected, Some(class))]);
    }
}

/// The trust of a device whose keyset has these keys.
fn trust(version: u64, answers: &[u8], firmware: &[u8]) -> Trust {
    let unpacked = |seeds: &[u8]| {
        let public = |seed: &u8| key(*seed).public_key();
        seeds.iter().map(public).map(|public| (public.key_id(), public.verifier().unwrap())).collect()
    };
    Trust { version, threshold: 1, keys: unpacked(answers), firmware_keys: unpacked(firmware) }
}

/// Lets a device meet the script for so long.
fn meets(script: Script, trusted: Trust, hours: u64) -> Came {
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
fn manifest(image: &[u8], signer: u8) -> Manifest {
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

const IMAGE_BYTES: usize = 200_000;

/// An honest server with an honest release.
fn honest() -> Script {
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
fn released(change: impl FnOnce(&mut Manifest)) -> Script {
    let mut manifest = manifest(&image(IMAGE_BYTES), FIRMWARE);
    change(&mut manifest);
    Script { offer: Some(manifest.signed_by(&key(FIRMWARE)).unwrap()), ..honest() }
}

fn usual() -> Trust {
    trust(1, &[SERVER], &[FIRMWARE])
}

// ---- What must work, or the rest would show nothing ----------------------------------------------------------------

/// Goal: the device installs what an honest server offers.
#[test]
fn an_honest_release_is_installed() {
    let came = meets(honest(), usual(), 2);
    let steps: Vec<_> = came.received.statuses.iter().map(|(step, _)| *step).collect();
    let all = [UpdateStep::Downloading, UpdateStep::Installing, UpdateStep::Rebooting, UpdateStep::Succeeded];
    assert_eq!(steps, all);
    assert_eq!(came.measured.updated.get("1.7.0"), Some(&1));
    assert_eq!(came.received.beats.first().unwrap(), &("1.0.0".to_owned(), 5, 1));
    assert_eq!(came.received.beats.last().unwrap(), &("1.7.0".to_owned(), 7, 2));
}

/// Goal: a download that breaks off goes on where it was.
/// Method: the connection breaks at three pieces; each is asked for again, and no other one.
#[test]
fn a_download_that_breaks_off_goes_on_where_it_was() {
    let came = meets(Script { breaks: |number, _| [1, 2, 5].contains(&number), ..honest() }, usual(), 2);
    assert_eq!(came.measured.updated.get("1.7.0"), Some(&1));
    let starts: Vec<u64> = came.received.pieces.iter().map(|(from, _)| from / 65_536).collect();
    assert_eq!(starts, [0, 1, 1, 1, 2, 3, 3]);
}

/// Goal: a power cut in the middle of a download loses nothing of it.
/// Method: two of the four pieces come, and no other before the device has booted.
#[test]
fn a_power_cut_in_the_middle_of_a_download_loses_nothing() {
    let script =
        Script { breaks: |number, boot_epoch| number >= 2 && boot_epoch == 1, reboots_at: Some(5), ..honest() };
    let came = meets(script, usual(), 3);
    let pieces: Vec<_> = came.received.pieces.iter().map(|(from, epoch)| (from / 65_536, *epoch)).collect();
    let (before, after) = pieces.split_at(pieces.iter().position(|(_, epoch)| *epoch == 2).unwrap());
    assert_eq!(before[..3], [(0, 1), (1, 1), (2, 1)]);
    assert!(before[3..].iter().all(|(piece, _)| *piece == 2), "the third never comes before the cut: {before:?}");
    assert_eq!(after, [(2, 2), (3, 2)], "it goes on where it was");
    assert_eq!(came.measured.updated.get("1.7.0"), Some(&1));
    let boots: Vec<u32> = came.received.beats.iter().map(|(_, _, epoch)| *epoch).collect();
    assert_eq!(boots.last(), Some(&3), "the cut, and the boot into the new slot");
}

// ---- Attacks -------------------------------------------------------------------------------------------------------

/// Arbitrary software: a manifest by an untrusted key.
#[test]
fn a_manifest_signed_by_an_attacker_is_refused() {
    let offer = manifest(&image(IMAGE_BYTES), ATTACKER).signed_by(&key(ATTACKER)).unwrap();
    meets(Script { offer: Some(offer), ..honest() }, usual(), 2).refused_as(UpdateClass::BadSignature);
    // Also if it takes the trusted key's name.
    let offer = manifest(&image(IMAGE_BYTES), FIRMWARE).signed_by(&key(ATTACKER)).unwrap();
    meets(Script { offer: Some(offer), ..honest() }, usual(), 2).refused_as(UpdateClass::BadSignature);
}

/// Arbitrary software: an honest manifest, changed on its way; the answer is signed by a leaked server key, or it would not
/// get so far.
#[test]
fn a_manifest_that_was_changed_is_refused() {
    let changed = honest().offer.unwrap().replace("version: 1.7.0", "version: 6.6.6");
    meets(Script { offer: Some(changed), ..honest() }, usual(), 2).refused_as(UpdateClass::BadSignature);
}

/// Arbitrary software: other bytes under an honest manifest.
#[test]
fn other_bytes_of_the_same_length_are_refused() {
    let mut other = image(IMAGE_BYTES);
    other[100_000] ^= 1;
    meets(Script { artifact: Artifact::Bytes(other), ..honest() }, usual(), 2).refused_as(UpdateClass::HashMismatch);
}

/// Rollback: an honest release that is older than what runs.
#[test]
fn an_older_release_is_refused() {
    meets(released(|manifest| manifest.release_counter = 4), usual(), 2).refused_as(UpdateClass::Rollback);
}

/// Rollback, seen closely: the same counter is no update, and no complaint.
#[test]
fn the_release_that_runs_is_left_alone() {
    let came = meets(released(|manifest| manifest.release_counter = 5), usual(), 2);
    came.nothing_was_installed();
    assert_eq!(came.received.statuses, []);
}

/// Freeze: an attacker holds newer releases back and presents one that has expired; or one that is not yet valid.
#[test]
fn a_manifest_past_its_time_or_before_it_is_refused() {
    let expired = released(|manifest| manifest.expires_at = EPOCH + Duration::from_millis(1));
    meets(expired, usual(), 2).refused_as(UpdateClass::Freeze);
    let early = released(|manifest| manifest.not_before = EPOCH + Duration::from_hours(48));
    meets(early, usual(), 2).refused_as(UpdateClass::NotYetValid);
}

/// Mix and match: the manifest of one honest release with the artifact of another one.
#[test]
fn the_artifact_of_another_release_is_refused() {
    let same_length = image(IMAGE_BYTES + 1)[1..].to_vec();
    meets(Script { artifact: Artifact::Bytes(same_length), ..honest() }, usual(), 2)
        .refused_as(UpdateClass::HashMismatch);
}

/// Wrong model: an honest release for another model, and for another product.
#[test]
fn a_release_for_something_else_is_refused() {
    let model = released(|manifest| manifest.models = Rows::truncated(vec![Text::truncated("KS-900")]));
    meets(model, usual(), 2).refused_as(UpdateClass::WrongModel);
    let product = released(|manifest| manifest.product = Text::truncated("ks-gate"));
    meets(product, usual(), 2).refused_as(UpdateClass::WrongModel);
}

/// A release that needs another one first.
#[test]
fn a_release_that_skips_a_step_is_refused() {
    meets(released(|manifest| manifest.min_counter = Some(6)), usual(), 2).refused_as(UpdateClass::NotReady);
}

/// Endless data: more bytes than the manifest says, by one and by many.
#[test]
fn more_bytes_than_were_signed_are_refused() {
    for more in [1, 10_000_000] {
        let artifact = Artifact::TooMuch(image(IMAGE_BYTES), more);
        let came = meets(Script { artifact, ..honest() }, usual(), 2);
        let classes: Vec<_> = came.received.statuses.iter().filter_map(|(_, class)| *class).collect();
        // One byte too many in the first piece shifts the rest: the hash or the length says so.
        assert!(matches!(classes[..], [UpdateClass::EndlessData | UpdateClass::HashMismatch]), "{more}: {classes:?}");
        came.nothing_was_installed();
    }
}

/// Slow retrieval: a drip that would take for ever.
#[test]
fn a_drip_is_given_up() {
    let artifact = Artifact::Drip(image(IMAGE_BYTES), 1);
    meets(Script { artifact, ..honest() }, usual(), 3).refused_as(UpdateClass::SlowRetrieval);
}

/// Slow retrieval: an artifact that never comes. The device can't tell that from a broken network: it goes on as it is.
#[test]
fn what_never_comes_is_never_installed() {
    let came = meets(Script { artifact: Artifact::Withheld, ..honest() }, usual(), 3);
    came.nothing_was_installed();
    assert_eq!(came.received.statuses, [(UpdateStep::Downloading, None)]);
    // Backoff, which each heartbeat that is answered begins anew.
    assert!(came.received.pieces.len() < 1_500, "{}", came.received.pieces.len());
}

/// Key compromise before the rotation: the firmware key has leaked, and the server's has not. The attacker can sign a release,
/// and no answer that the device believes.
#[test]
fn a_leaked_firmware_key_alone_offers_nothing() {
    let offer = manifest(&image(IMAGE_BYTES), FIRMWARE).signed_by(&key(FIRMWARE)).unwrap();
    let trusted = usual();
    let came = meets(Script { answers: ATTACKER, offer: Some(offer), ..honest() }, trusted, 2);
    assert!(came.measured.updated.is_empty() && came.received.statuses.is_empty() && came.received.pieces.is_empty());
}

/// Key compromise before the rotation: the server's key has leaked, and the firmware key has not. The attacker is believed in
/// all but firmware.
#[test]
fn a_leaked_server_key_alone_installs_nothing() {
    let offer = manifest(&image(IMAGE_BYTES), SERVER).signed_by(&key(SERVER)).unwrap();
    meets(Script { offer: Some(offer), ..honest() }, usual(), 2).refused_as(UpdateClass::BadSignature);
}

/// Key compromise after the rotation: the device has walked to a keyset without the leaked keys, and believes neither any more.
/// Method: the honest server publishes keyset 2 with other keys; then the same release by the old firmware key.
#[test]
fn keys_that_were_rotated_out_are_worth_nothing() {
    const NEXT_SERVER: u8 = 4;
    const NEXT_FIRMWARE: u8 = 5;
    let entry = |seed: u8, state| KeysetEntry {
        key_id: key(seed).public_key().key_id(),
        state,
        public_key: key(seed).public_key(),
    };
    let keyset = Keyset {
        kind: Default::default(),
        version: 2,
        threshold: 1,
        expires_at: EPOCH + Duration::from_hours(24 * 90),
        keys: Rows::truncated(vec![
            entry(SERVER, ServerKeyState::Retired),
            entry(NEXT_SERVER, ServerKeyState::Signing),
            entry(NEXT_FIRMWARE, ServerKeyState::Firmware),
        ]),
        signatures: Rows::default(),
    };
    let (old, next) = (key(SERVER), key(NEXT_SERVER));
    let (old_id, next_id) = (old.public_key().key_id(), next.public_key().key_id());
    let signed = keyset.signed_by(&[(&old_id, &old), (&next_id, &next)]).unwrap();
    let answer = seal_response(&next, &next_id, 200, NO_SIG_DEV, &signed).unwrap();
    let script = Script {
        answers: NEXT_SERVER,
        keysets: BTreeMap::from([(2, answer)]),
        keyset_version: 2,
        ..honest() // its release is signed by the firmware key that is out
    };
    meets(script, trust(1, &[SERVER, NEXT_SERVER], &[FIRMWARE]), 2).refused_as(UpdateClass::BadSignature);
    // And answers signed by a removed key are trusted as little as a stranger's.
    let gone = meets(honest(), trust(3, &[NEXT_SERVER], &[NEXT_FIRMWARE]), 2);
    assert!(gone.measured.updated.is_empty() && gone.received.statuses.is_empty());
}

/// Replay: an honest answer with an offer, sent again to later heartbeats, is the answer to none of them.
#[test]
fn an_old_answer_is_not_believed_again() {
    let came = meets(Script { replays: true, artifact: Artifact::Withheld, ..honest() }, usual(), 2);
    assert!(came.measured.updated.is_empty());
    assert!(came.measured.bad_server_signatures > 30, "{}", came.measured.bad_server_signatures);
}
