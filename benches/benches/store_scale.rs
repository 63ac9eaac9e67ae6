//! Claim: a heartbeat costs hardly more with a hundred times the devices, and with fifty million heartbeats stored.
//!
//! About ten minutes and five gigabytes of disk. CPU of the process, because the time of a commit is the disk's, which swings by itself.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failure here is a failed benchmark")]

use ks_benches::{
    fleet::{commit_in_groups, heartbeats, store_with},
    line,
};
use ks_fleet::host::{resources::own_cpu_s, stopwatch::Stopwatch};
use ks_server::{
    config::{SqliteUse, Synchronous},
    store::SqliteStore,
};

/// Heartbeats of a commit: about what a server has at full load.
const GROUP: usize = 64;
/// Heartbeats of a round, and rounds of each row; the median counts.
const MEASURED: u32 = 32_768;
const ROUNDS: usize = 5;
/// Heartbeats stored before a row is measured, in millions.
const MILLIONS: [u32; 3] = [1, 10, 50];

fn main() {
    let folder = tempfile::tempdir().unwrap();
    line("| devices | heartbeats stored before | CPU of one heartbeat | time | database |");
    line("| ---: | ---: | ---: | ---: | ---: |");
    for devices in [1_000, 10_000, 100_000] {
        let place = folder.path().join(devices.to_string());
        let mut store = store_with(&place, devices.into(), SqliteUse::shared(Synchronous::Full));
        let mut number = 0;
        let measure = |store: &mut SqliteStore, number: &mut u32| {
            let stored = *number;
            let (cpu_us, wall_us) = cost(store, devices, number);
            let bytes = std::fs::metadata(place.join("ks.sqlite")).unwrap().len();
            line(&format!("| {devices} | {stored} | {cpu_us:.2} µs | {wall_us:.2} µs | {} MB |", bytes / 1_000_000));
        };
        measure(&mut store, &mut number);
        if devices == 100_000 {
            for millions in MILLIONS {
                while number < millions * 1_000_000 {
                    commit_in_groups(&mut store, &heartbeats(100_000, devices, &mut number), 4_096);
                }
                measure(&mut store, &mut number);
            }
        }
    }
}

/// CPU and time of one heartbeat, in microseconds: medians of rounds.
fn cost(store: &mut SqliteStore, devices: u32, number: &mut u32) -> (f64, f64) {
    let mut rounds: Vec<(f64, f64)> = (0..ROUNDS)
        .map(|_| {
            let beats = heartbeats(MEASURED, devices, number);
            let (stopwatch, before_s) = (Stopwatch::started(), own_cpu_s());
            commit_in_groups(store, &beats, GROUP);
            let each = |s: f64| s * 1e6 / f64::from(MEASURED);
            (each(own_cpu_s() - before_s), each(stopwatch.elapsed().as_secs_f64()))
        })
        .collect();
    let mut median = |of: fn(&(f64, f64)) -> f64| {
        rounds.sort_by(|one, other| of(one).total_cmp(&of(other)));
        of(&rounds[ROUNDS / 2])
    };
    (median(|(cpu, _)| *cpu), median(|(_, wall)| *wall))
}
