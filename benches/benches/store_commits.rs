//! Claim: what one stored heartbeat costs, by how many share a commit.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed benchmark")]

use ks_benches::{head, measured, row};
use ks_fleet::self_watch::Stopwatch;
use ks_protocol::{id::Sequence, key::PrivateKey};
use ks_server::{
    config::Synchronous,
    store::{
        SqliteStore, Store, Transaction,
        conformance::{AT, by, commit, sample_beat},
        devices::{NewDevice, Registration},
    },
};

const DEVICES: u64 = 5_000;
const BEATS: u32 = 4_096;

/// A store in `folder` with so many registered devices.
fn store(folder: &std::path::Path, synchronous: Synchronous) -> SqliteStore {
    let mut store = SqliteStore::open(&folder.join("ks.sqlite"), synchronous, AT).unwrap();
    let key = |number: u64| {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        PrivateKey::from_seed(&seed).public_key()
    };
    let device = |number: u64| NewDevice {
        line: number,
        device_id: format!("KS-{number:06}").parse().unwrap(),
        public_key: key(number),
        serial: "S".to_owned(),
        manufacturer: "Acme".to_owned(),
        model: "KS-100".to_owned(),
        site: "north".to_owned(),
    };
    let devices: Vec<NewDevice> = (0..DEVICES).map(device).collect();
    // A new device's kept pair is (0, 0), which (1, 0) is greater than.
    let registration = |device: &NewDevice| Registration {
        device_id: device.device_id.clone(),
        public_key: device.public_key,
        sequence: Sequence::new(1, 0),
        otrt_sha256: None,
        otrt_required: false,
    };
    commit(&mut store, |store| {
        store.import(&devices, &by())?.unwrap();
        devices
            .iter()
            .try_for_each(|device| store.register(&registration(device), &by()).map(|at| assert_eq!(at, Ok(AT))))
    });
    store
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    for (name, synchronous) in [("FULL", Synchronous::Full), ("NORMAL", Synchronous::Normal), ("OFF", Synchronous::Off)]
    {
        head(&format!("One heartbeat into SQLite, {DEVICES} devices, synchronous={name}"));
        for group in [1_usize, 16, 64, 256, 1_024] {
            let place = folder.path().join(format!("{name}-{group}"));
            let mut store = store(&place, synchronous);
            let mut next = 0_u64;
            let beats = if group == 1 { 512 } else { BEATS };
            let cost = measured(beats, || {
                let beats: Vec<_> = (0..beats)
                    .map(|_| {
                        next += 1;
                        let device = format!("KS-{:06}", next.wrapping_mul(7_919) % DEVICES);
                        sample_beat(&device, (1, next))
                    })
                    .collect();
                let stopwatch = Stopwatch::started();
                for group in beats.chunks(group) {
                    let group = &mut |transaction: &mut dyn Transaction| {
                        group
                            .iter()
                            .try_for_each(|beat| transaction.record_beat(beat, AT).map(|due| drop(due.unwrap())))
                    };
                    store.commit(group).unwrap();
                }
                stopwatch.elapsed()
            });
            row(&format!("{group} in a commit"), cost);
        }
    }
}
