//! Claim: an idle virtual device, socket aside, costs less than 4 KiB.
//!
//! Method: count the live bytes of the heap before and after 100 000 devices have started, registered and wait for their
//! next heartbeat. The link answers as the server would; the cost of a socket's buffers is additional.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed benchmark")]

use std::{
    alloc::System as Heap,
    cell::RefCell,
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use actix::{Actor, System};
use ks_benches::line;
use ks_fleet::{
    device::{
        actor::{Account, Device},
        machine::{DeviceInit, Machine, ServerKeys},
    },
    fleet::{
        churn::{Agenda, Schedule},
        ground_truth::GroundTruth,
    },
    host::timer::RuntimeTimer,
    link::{HttpAnswer, HttpRequest, Link, Reply, faults::NetworkFaults},
    run::measure::Measurements,
    scenario::HeartbeatInterval,
    shard::{RunTime, Shard},
};
use ks_protocol::message::Trust;
use ks_protocol::{key::PrivateKey, message::Registered, signature::seal_response, time::UnixMs};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<Heap> = &INSTRUMENTED_SYSTEM;

const DEVICES: u32 = 100_000;

/// Answers every registration as the server would, without a network.
struct Registrar(PrivateKey);

impl Link for Registrar {
    fn call(&self, request: HttpRequest) -> Pin<Box<dyn Future<Output = Reply> + '_>> {
        Box::pin(async move {
            let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
            let wire = String::from_utf8(body.to_vec()).unwrap();
            let (_, sig_dev) = wire.rsplit_once("SIG_DEV: ").unwrap();
            let answer = Registered {
                kind: Default::default(),
                device_id: "KS-1".parse().unwrap(),
                registered_at: UnixMs(0),
                next_beat_ms: 60_000,
                keyset_version: 1,
                server_time: UnixMs(0),
            };
            let key_id = self.0.public_key().key_id();
            let body = seal_response(&self.0, &key_id, 200, sig_dev, &answer).unwrap().into();
            Ok(HttpAnswer { status: 200, body })
        })
    }

    fn close(&self) {}
}

fn shard() -> Rc<Shard> {
    let started = tokio::time::Instant::now();
    Rc::new(Shard {
        time: RunTime { started, epoch: UnixMs(1_800_000_000_000) },
        ends_at: started + Duration::from_hours(1),
        interval: HeartbeatInterval::Fixed(Duration::from_mins(1)),
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
        timer: Rc::new(RuntimeTimer),
    })
}

async fn bytes_per_device() -> usize {
    let server = PrivateKey::from_seed(&[2; 32]);
    let keys: ServerKeys = Rc::new(Trust {
        version: 1,
        threshold: 1,
        keys: vec![(server.public_key().key_id(), server.public_key().verifier().unwrap())],
        firmware_keys: Vec::new(),
    });
    let (link, shard): (Rc<dyn Link>, _) = (Rc::new(Registrar(server)), shard());
    let mut devices = Vec::with_capacity(DEVICES as usize);
    let heap = Region::new(HEAP);
    for number in 0..DEVICES {
        let machine = Machine::new(DeviceInit {
            device_id: format!("SIM-{number:06}").parse().unwrap(),
            root_seed: 1,
            server_keys: Rc::clone(&keys),
            model: "KS-100".into(),
            firmware_version: "1.0.0".into(),
            release_counter: 1,
            otrt: None,
            booted_at: UnixMs(0),
            verify_percent: 100,
        });
        devices.push(
            Device::new(
                (number, 0),
                machine,
                Rc::clone(&link),
                (0, "HQ".into()),
                Rc::clone(&shard),
                1,
                Agenda::default(),
            )
            .start(),
        );
    }
    // A millisecond of virtual time: every device has registered, and waits for its first heartbeat.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(shard.measurements.borrow().registered, i64::from(DEVICES));
    let change = heap.change();
    let live = change.bytes_allocated - change.bytes_deallocated;
    // They are all still alive and answer.
    for device in devices.iter().take(10) {
        device.send(Account).await.unwrap();
    }
    live / DEVICES as usize
}

fn main() {
    let paused = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let bytes = System::with_tokio_rt(paused).block_on(bytes_per_device());
    line(&format!(
        "\n## An idle virtual device, socket aside\n\n{bytes} bytes of heap each, {DEVICES} devices (claim: below 4096)"
    ));
    assert!(bytes < 4_096, "the claim does not hold: {bytes} bytes");
}
