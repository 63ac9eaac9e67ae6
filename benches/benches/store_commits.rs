//! Claim: what one stored heartbeat costs, by how many share a commit.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed benchmark")]

use ks_benches::{head, measured, row};
use ks_fleet::self_watch::Stopwatch;
use ks_protocol::key::PrivateKey;
use ks_server::{
    config::Synchronous,
    store::{
        NewDevice, SqliteStore, Store, Write,
        conformance::{AT, sample_beat},
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
    let devices = (0..DEVICES).map(device).collect();
    let register = |number: u64| Write::Register {
        device_id: format!("KS-{number:06}").parse().unwrap(),
        public_key: key(number),
        sequence: ks_protocol::id::Sequence::new(1, 0),
        otrt_sha256: None,
        otrt_required: false,
        at: AT,
    };
    store.commit(&[Write::Import { devices, actor: "bench".to_owned(), at: AT }]).unwrap();
    // A new device's kept pair is (0, 0), which (1, 0) is greater than.
    store.commit(&(0..DEVICES).map(register).collect::<Vec<_>>()).unwrap();
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
                let mut writes: Vec<Write> = (0..beats)
                    .map(|_| {
                        next += 1;
                        let device = format!("KS-{:06}", next.wrapping_mul(7_919) % DEVICES);
                        Write::Beat { beat: Box::new(sample_beat(&device, (1, next))), at: AT }
                    })
                    .collect();
                let stopwatch = Stopwatch::started();
                while !writes.is_empty() {
                    let group: Vec<Write> = writes.drain(..group.min(writes.len())).collect();
                    let outcomes = store.commit(&group).unwrap();
                    assert_eq!(outcomes.len(), group.len());
                }
                stopwatch.elapsed()
            });
            row(&format!("{group} in a commit"), cost);
        }
    }
}
