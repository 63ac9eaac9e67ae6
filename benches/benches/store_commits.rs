//! Claim: what one stored heartbeat costs, by how many share a commit.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed benchmark")]

use ks_benches::{fleet::store_with, head, measured, row};
use ks_fleet::machine::resources::Stopwatch;
use ks_server::{
    config::{Locking, SqliteUse, Synchronous},
    rules,
    store::{
        Store, Transaction,
        devices::Sender,
        heartbeats::Beat,
        hot::HotRequest,
        testing::{AT, sample_beat},
    },
};

const DEVICES: u32 = 5_000;
const BEATS: u32 = 4_096;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    for (name, sqlite) in [
        ("FULL", SqliteUse::shared(Synchronous::Full)),
        ("NORMAL", SqliteUse::shared(Synchronous::Normal)),
        ("OFF", SqliteUse::shared(Synchronous::Off)),
        ("OFF, exclusive", SqliteUse { synchronous: Synchronous::Off, locking: Locking::Exclusive }),
    ] {
        head(&format!("One heartbeat into SQLite, {DEVICES} devices, synchronous={name}"));
        for group in [1_usize, 16, 64, 256, 1_024] {
            let place = folder.path().join(format!("{name}-{group}"));
            let mut store = store_with(&place, DEVICES.into(), sqlite);
            let mut next = 0_u32;
            let beats = if group == 1 { 512 } else { BEATS };
            let cost = measured(beats, || {
                let beats: Vec<_> = (0..beats)
                    .map(|_| {
                        next += 1;
                        let number = next.wrapping_mul(7_919) % DEVICES;
                        let sender = Sender { row: i64::from(number) + 1, key_no: 1 };
                        let heartbeat = sample_beat(&format!("KS-{number:06}"), (1, next.into()));
                        HotRequest { sender, work: Beat { heartbeat, at: AT }.into() }
                    })
                    .collect();
                let stopwatch = Stopwatch::started();
                for group in beats.chunks(group) {
                    let group: Vec<&HotRequest> = group.iter().collect();
                    let group = &mut |transaction: &mut dyn Transaction| {
                        let done = rules::hot::record(transaction, &group)?;
                        assert!(done.iter().all(Result::is_ok));
                        Ok(())
                    };
                    store.commit(group).unwrap();
                }
                stopwatch.elapsed()
            });
            row(&format!("{group} in a commit"), cost);
        }
    }
}
