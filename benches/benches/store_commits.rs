//! Claim: what one stored heartbeat costs, by how many share a commit.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed benchmark")]

use ks_benches::{
    fleet::{commit_in_groups, heartbeats, store_with},
    head, measured, row,
};
use ks_fleet::host::stopwatch::Stopwatch;
use ks_server::config::{Locking, SqliteUse, Synchronous};

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
                let beats = heartbeats(beats, DEVICES, &mut next);
                let stopwatch = Stopwatch::started();
                commit_in_groups(&mut store, &beats, group);
                stopwatch.elapsed()
            });
            row(&format!("{group} in a commit"), cost);
        }
    }
}
