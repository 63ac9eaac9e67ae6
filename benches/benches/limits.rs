//! Claim: all limits of a request cost at most 1 µs at 1 million known devices, and take the memory that the server says.
//!
//! Method: what admission does for limits, by its own code, with heartbeats of random devices and no signature. The tables of addresses
//! and networks are full, half of the requests come from an address in them. Each batch of heartbeats is made before its time is
//! taken; the server's memory of a device is not in the processor's caches, as in a fleet of that size. The same with all limits
//! off, and with the lookup of the device alone, which a signature check needs anyway. Memory is counted by the allocator.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failure here is a failed benchmark")]

use std::{alloc::System as Heap, net::IpAddr, sync::Arc};

use ks_benches::{line, measured};
use ks_fleet::{host::stopwatch::Stopwatch, seed};
use ks_protocol::{
    id::{DeviceId, Sequence},
    key::PrivateKey,
    message::{Firmware, Heartbeat, Network, Request as _},
    text::{Rows, Text},
    time::UnixMs,
};
use ks_server::{
    admission::limits_alone,
    app::{App, AppInputs},
    artifacts::{Artifacts, InMemory},
    assembly::Queues,
    clock::SystemClock,
    config::Config,
    keys::Vault,
    limit::{FailureBudget, LIMITS, Limit, LimitValue, LimitValues, Mode, NAMED_BYTES, SUBJECT_BYTES, TABLE},
    metrics::Metrics,
    password,
    registry::DeviceBudgets,
    rng::ServerRng,
    rules::devices,
    store::{
        SqliteReader, SqliteStore,
        devices::{NewDevice, Part},
        testing::{AT, by, commit},
    },
};
use rand_core::Rng as _;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::task::LocalSet;

#[global_allocator]
static HEAP: &StatsAlloc<Heap> = &INSTRUMENTED_SYSTEM;

/// Requests of one round.
const REQUESTS: u32 = 20_000;
/// Between two requests, in microseconds.
const GAP_US: u64 = 1_000;
/// Between two rounds, so that no budget is used up, in microseconds.
const PAUSE_US: u64 = 120_000_000;
/// Subjects that a table remembers.
const SUBJECTS: u32 = 65_536;
/// Devices that are imported at a time.
const PART: u64 = 100_000;

fn main() {
    line("\n## All limits of a request\n");
    line(
        "| known devices | as shipped, ns | all enforced | all off | the lookup of the device alone | as shipped, two threads | limits cost, ns |",
    );
    line("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for devices in [1_000, 100_000, 1_000_000] {
        costs(devices);
    }
    refusals();
    memory();
}

/// A server's state with this many devices, and the heap bytes that one takes.
fn app_with(devices: u64) -> (App, usize) {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("DATABASE_URL", folder.path().join("ks.sqlite").display().to_string()),
        ("STORE_SYNCHRONOUS", "off".to_owned()),
    ];
    let config = Config::from_map(&settings.map(|(name, value)| (name.to_owned(), value)).into()).unwrap();
    let store = store_with(&config, devices);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let heap = Region::new(HEAP);
    let app = LocalSet::new().block_on(&runtime, app_over(config, store));
    let change = heap.change();
    (app, (change.bytes_allocated - change.bytes_deallocated) / usize::try_from(devices).unwrap())
}

/// The names are longer than usual ones in their first part, which all of them share.
fn name(number: u64) -> DeviceId {
    format!("KS-{number:07}").parse().unwrap()
}

fn store_with(config: &Config, devices: u64) -> SqliteStore {
    let mut store = SqliteStore::open(&config.database, config.sqlite, AT).unwrap();
    let device = |number: u64| NewDevice {
        line: number,
        device_id: name(number),
        public_key: PrivateKey::from_seed(&seed::bytes(1, "device", &number.to_string())).public_key(),
        serial: "S".to_owned(),
        manufacturer: "Acme".to_owned(),
        model: "KS-100".to_owned(),
        site: format!("site-{}", number % 10),
    };
    for from in (0..devices).step_by(usize::try_from(PART).unwrap()) {
        let part: Vec<NewDevice> = (from..devices.min(from + PART)).map(device).collect();
        commit(&mut store, |store| {
            devices::import(store, &part, Part::whole(part.len()), &by()).map(|imported| {
                imported.unwrap();
            })
        });
    }
    store
}

async fn app_over(config: Config, store: SqliteStore) -> App {
    let reading = SqliteReader::open(&config.database, config.sqlite.locking).unwrap();
    let metrics = Arc::new(Metrics::default());
    let (queues, loops) = Queues::over(&config, &metrics, store, reading, None);
    let (passwords, _) = password::passwords();
    for each in loops {
        tokio::task::spawn_local(each.drive());
    }
    let keyring = queues.keyring(Vault::in_memory(PrivateKey::from_seed(&[7; 32])), AT).await.unwrap();
    let Queues { writer, reader, admin_reader } = queues;
    let artifacts = Artifacts::new(Arc::new(InMemory::new()), config.artifact_limits);
    let (clock, rng) = (Arc::new(SystemClock), ServerRng::from_seed([3; 32]));
    let parts = AppInputs { config, clock, rng, keyring, writer, reader, admin_reader, artifacts, passwords, metrics };
    App::new(parts).await.unwrap()
}

/// Address number `number` of a table that is full.
fn failing(number: u32) -> IpAddr {
    IpAddr::from((10 << 24 | number).to_be_bytes())
}

/// Fills the tables of addresses and of networks with subjects that failed once.
fn fill_tables(app: &App) {
    let fill = |limit, table: &FailureBudget<IpAddr>, subject: &dyn Fn(u32) -> IpAddr| {
        let meter = app.limits.meter(limit, 0).unwrap();
        (0..SUBJECTS).for_each(|number| table.spend(meter, subject(number)));
        assert_eq!(table.subjects(), usize::try_from(SUBJECTS).unwrap());
    };
    fill(Limit::AddressFailures, &app.address_failures, &failing);
    fill(Limit::SiteFailures, &app.site_failures, &|number| failing(number << 8));
}

/// Prints what limits cost with this many known devices.
fn costs(devices: u64) {
    let (app, bytes) = app_with(devices);
    fill_tables(&app);
    let mut requests = Requests::of(devices);
    let with = |mode: Option<Mode>, requests: &mut Requests| {
        put_all(&app, mode, requests.now_us);
        let cost = measured(REQUESTS, || requests.round(|beat, address, now_us| passes(&app, beat, address, now_us)));
        cost.median_us * 1e3
    };
    let off = with(Some(Mode::Off), &mut requests);
    let enforced = with(Some(Mode::Enforce), &mut requests);
    let shipped = with(None, &mut requests);
    let found = measured(REQUESTS, || {
        requests.round(|beat, _, _| drop(std::hint::black_box(app.registry.get(beat.device_id()).unwrap())))
    });
    let found = found.median_us * 1e3;
    let both = on_two_threads(&app, devices, requests.now_us);
    line(&format!(
        "| {devices} | {shipped:.0} | {enforced:.0} | {off:.0} | {found:.0} | {both:.0} | {:.0} |",
        shipped - off
    ));
    if devices >= 1_000_000 {
        line(&format!(
            "\n{bytes} bytes of heap a device, of which {} are budgets of limits",
            size_of::<DeviceBudgets>()
        ));
        assert!(shipped - off <= 1_000.0, "the claim does not hold");
    }
}

fn passes(app: &App, beat: &Heartbeat, address: IpAddr, now_us: u64) {
    let passed = limits_alone(app, address, beat, now_us);
    assert!(std::hint::black_box(passed).is_ok(), "no limit refuses {}", beat.device_id);
}

/// Nanoseconds of a request while another thread does the same.
fn on_two_threads(app: &App, devices: u64, now_us: u64) -> f64 {
    let run = |number: u64| {
        // Each has devices of its own: their clocks differ.
        let mut requests = Requests { now_us, step: 2, first: number % 2, ..Requests::of_thread(devices / 2, number) };
        let cost = measured(REQUESTS, || requests.round(|beat, address, now_us| passes(app, beat, address, now_us)));
        cost.median_us * 1e3
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| run(2));
        let first = run(1);
        first.midpoint(other.join().unwrap())
    })
}

/// Puts all limits in this mode, or in the mode that they have by default.
fn put_all(app: &App, mode: Option<Mode>, now_us: u64) {
    let mut values = LimitValues::default();
    for spec in TABLE {
        let value = LimitValue::default_of(spec);
        values.set(spec.limit, LimitValue { mode: mode.unwrap_or(value.mode), ..value });
    }
    app.limits.put_in_force(&values, now_us);
}

/// Heartbeats of random devices from random addresses, at a steady rate.
struct Requests {
    rng: rand_chacha::ChaCha8Rng,
    devices: u64,
    /// Of all devices, it has every second one, or all.
    step: u64,
    first: u64,
    now_us: u64,
}

impl Requests {
    fn of(devices: u64) -> Self {
        Self::of_thread(devices, 0)
    }

    fn of_thread(devices: u64, number: u64) -> Self {
        Self { rng: seed::stream(1, "requests", &number.to_string()), devices, step: 1, first: 0, now_us: PAUSE_US }
    }

    /// Makes the requests of a round, and the time that `act` takes with all of them.
    fn round(&mut self, mut act: impl FnMut(&Heartbeat, IpAddr, u64)) -> std::time::Duration {
        let mut requests = Vec::new();
        for _ in 0..REQUESTS {
            let beat = heartbeat(name(seed::below(&mut self.rng, self.devices) * self.step + self.first));
            let drawn = self.rng.next_u32();
            let address = if drawn & 1 == 0 { failing(drawn >> 16) } else { IpAddr::from(drawn.to_be_bytes()) };
            requests.push((beat, address));
        }
        self.now_us += PAUSE_US;
        let stopwatch = Stopwatch::started();
        for (beat, address) in &requests {
            act(beat, *address, self.now_us);
            self.now_us += GAP_US;
        }
        stopwatch.elapsed()
    }
}

fn heartbeat(device_id: DeviceId) -> Heartbeat {
    let Sequence { boot_epoch, seq } = Sequence::new(7, 5_000);
    Heartbeat {
        kind: Default::default(),
        device_id,
        boot_epoch,
        seq,
        sent_at: UnixMs(0),
        keyset_version: 1,
        firmware: Firmware { version: Text::truncated("1.0.0"), release_counter: 1 },
        uptime_s: 1,
        cpu_temp_c: 41.5,
        free_mem_kib: 118_204,
        network: Network::Wifi,
        rssi_dbm: Some(-61),
        acks: Rows::default(),
    }
}

/// Prints what a refusal costs, and a failure of an address that is not known yet, while the table of addresses is full.
fn refusals() {
    let (app, _) = app_with(100_000);
    fill_tables(&app);
    put_all(&app, None, 0);
    let meter = app.limits.meter(Limit::AddressFailures, 0).unwrap();
    for number in 0..SUBJECTS {
        (0..200).for_each(|_| app.address_failures.spend(meter, failing(number)));
    }
    let mut requests = Requests { now_us: 0, ..Requests::of(100_000) };
    let mut number = 0_u32;
    let refused = measured(REQUESTS, || {
        requests.round(|beat, _, _| {
            number = number.wrapping_add(40_503);
            assert!(std::hint::black_box(limits_alone(&app, failing(number & 0xffff), beat, 0)).is_err());
        })
    });
    let charged = measured(REQUESTS, || {
        requests.round(|_, _, _| {
            number += 1;
            app.address_failures.spend(meter, IpAddr::from((11 << 24 | number & 0xff_ffff).to_be_bytes()));
        })
    });
    line("\n| with 100,000 devices and full tables, one request in each | ns |\n| --- | ---: |");
    line(&format!("| refused by its address's budget | {:.0} |", refused.median_us * 1e3));
    line(&format!("| charged to an address for which there is no room | {:.0} |", charged.median_us * 1e3));
}

/// Prints what the allocator has given for what limits remember, and what the server says of it.
fn memory() {
    let (app, _) = app_with(1);
    put_all(&app, Some(Mode::Enforce), 0);
    line("\n| remembered | subjects | bytes each, counted | bytes each, as reported |\n| --- | ---: | ---: | ---: |");
    let of = |what: &str, reported: usize, fill: &dyn Fn(u32)| {
        let (before, subjects, heap) = (app.limit_memory_bytes(), app.limit_subjects(), Region::new(HEAP));
        (0..SUBJECTS).for_each(fill);
        let change = heap.change();
        let counted = (change.bytes_allocated - change.bytes_deallocated) / usize::try_from(SUBJECTS).unwrap();
        let (remembered, said) = (app.limit_subjects() - subjects, app.limit_memory_bytes() - before);
        let said = said / usize::try_from(SUBJECTS).unwrap();
        line(&format!("| {what} | {remembered} | {counted} | {said} |"));
        assert!(counted <= said && said <= 3 * reported, "{what}: {counted} counted, {said} reported");
    };
    let meter = app.limits.meter(Limit::AddressFailures, 0).unwrap();
    of("addresses, in order", SUBJECT_BYTES, &|number| app.address_failures.spend(meter, failing(number)));
    of("addresses, at random", SUBJECT_BYTES, &|number| {
        app.site_failures.spend(meter, failing(number.wrapping_mul(0x9e37_79b1) >> 8));
    });
    of("tokens", SUBJECT_BYTES, &|number| app.token_calls.spend(meter, i64::from(number)));
    of("users and their logins, names of 64 bytes", NAMED_BYTES, &|number| {
        drop(app.throttle.attempt(&format!("{number:064}"), failing(number << 6), 0));
    });
    line(&format!("\ncounters: {} bytes for {LIMITS} limits", app.limits.counters().bytes()));
}
