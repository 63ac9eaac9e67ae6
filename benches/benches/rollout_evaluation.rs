//! Claim: what a rollout of 100,000 devices costs the store: creating it, an evaluation by the engine, and a heartbeat of a device in it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed benchmark")]

use std::time::Duration;

use ks_benches::{fleet::store_with, head, measured, repeated, row};
use ks_fleet::host::stopwatch::Stopwatch;
use ks_protocol::{id::RolloutId, key::PrivateKey, text::Sha256, time::UnixMs};
use ks_server::{
    config::{SqliteUse, Synchronous},
    rollout::{
        gate::Test,
        plan::{RolloutRequest, plan, read},
        policy::{Action, Approval, Gate, Policy, Scope, Stage, WHOLE_BP, every_failure},
        step::State,
    },
    rules::{
        self,
        rollouts::{Evaluation, evaluate},
    },
    service::releases::ReleaseFields,
    store::{
        SqliteStore, Store, StoreError, Transaction,
        devices::Selector,
        releases::{NewRelease, ReleaseChange, ReleaseState},
        rollouts::NewRollout,
        testing::{AT, by, commit, record, sample_beat},
    },
};

const DEVICES: u64 = 100_000;
const INTERVAL_MS: u64 = 60_000;

fn policy() -> Policy {
    let stage = |share_bp, min_executed, bake_s| Stage {
        share_bp,
        min_executed,
        min_executed_bp: None,
        bake_s,
        approval: Approval::Auto,
    };
    Policy {
        stages: vec![stage(500, 600, 86_400), stage(WHOLE_BP, 10_000, 3_600)],
        gates: vec![Gate {
            outcomes: every_failure(),
            threshold_bp: 50,
            min_executed: 600,
            min_executed_bp: None,
            test: Test::ClopperPearson { confidence_bp: 9_500 },
            scope: Scope::Cumulative,
            action: Action::Abort,
        }],
        in_flight_max: 100_000,
        in_flight_max_bp: None,
        starts_per_min: 1_000_000,
        starts_per_min_bp: None,
        site_unavailable_max: None,
        site_unavailable_max_bp: None,
        confirm_window_s: 1,
        progress_timeout_s: 3_600,
        lost_after_s: 3_600,
        max_wait_s: 86_400,
        watch_s: Some(0),
        roll_back_to: None,
    }
}

/// Creates an ACTIVE release.
fn release(store: &mut SqliteStore) {
    let fields: ReleaseFields = ReleaseFields {
        release_id: "fw-2".parse().unwrap(),
        product: "ks-terminal".to_owned(),
        models: vec!["KS-100".to_owned()],
        version: "2".to_owned(),
        release_counter: 2,
        sha256: Sha256([7; 32]),
        min_counter: None,
        not_before: None,
        valid_days: 365,
    };
    let manifest = fields.signed(1_000, &PrivateKey::from_seed(&[3; 32]), AT).unwrap();
    let read = read(&manifest).unwrap();
    commit(store, |store| {
        rules::releases::keep_artifact(store, fields.sha256, 1_000, &by())?;
        let new = NewRelease {
            release_id: read.release_id.clone(),
            product: read.product.to_string(),
            version: read.version.to_string(),
            release_counter: 2,
            sha256: fields.sha256,
            manifest: manifest.clone(),
        };
        rules::releases::draft(store, &new, &by())?.unwrap();
        for state in [ReleaseState::Staged, ReleaseState::Active] {
            let change =
                ReleaseChange { release_id: read.release_id.clone(), state, manifest: None, reason: String::new() };
            rules::releases::change(store, &change, &by())?.unwrap();
        }
        Ok(())
    });
}

/// Every device beats once, with that release and boot epoch; returns the time.
fn all_beat(store: &mut SqliteStore, release_counter: u64, boot_epoch: u32, seq: u64, at: UnixMs) -> Duration {
    let stopwatch = Stopwatch::started();
    for part in (0..DEVICES).collect::<Vec<_>>().chunks(256) {
        let group = &mut |transaction: &mut dyn Transaction| -> Result<(), StoreError> {
            for number in part {
                let mut beat = sample_beat(&format!("KS-{number:06}"), (boot_epoch, seq));
                beat.firmware.release_counter = release_counter;
                record(transaction, &beat, at)?.unwrap();
            }
            Ok(())
        };
        store.commit(group).unwrap();
    }
    stopwatch.elapsed()
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store_with(folder.path(), DEVICES, SqliteUse::shared(Synchronous::Normal));
    let rollout_id: RolloutId = "bench".parse().unwrap();
    head(&format!("A rollout of {DEVICES} devices, synchronous=NORMAL"));
    let count = u32::try_from(DEVICES).unwrap();
    let cost = measured_once(count, || all_beat(&mut store, 1, 1, 1, AT));
    row("a heartbeat, no rollout", cost);
    release(&mut store);
    let request = RolloutRequest { rollout_id: rollout_id.clone(), policy: policy() };
    let (record, candidates) = commit(&mut store, |store| {
        let record = store.release(&"fw-2".parse().unwrap())?.unwrap();
        let candidates = store.candidates(&record, &Selector::default())?;
        Ok((record, candidates))
    });
    let cost = repeated(1, || drop(plan(&request, &record, candidates.clone(), 60, Vec::new()).unwrap()));
    row("a plan", cost);
    let (_, targets) = plan(&request, &record, candidates, 60, Vec::new()).unwrap();
    let new = NewRollout {
        rollout_id: rollout_id.clone(),
        release_id: record.release_id.clone(),
        state: State::new(AT),
        policy: request.policy,
        targets,
        why: "a benchmark".to_owned(),
    };
    let cost = measured_once(1, || {
        let stopwatch = Stopwatch::started();
        commit(&mut store, |store| rules::rollouts::create(store, &new, &by())).unwrap();
        stopwatch.elapsed()
    });
    row("creating it, one transaction", cost);
    let mut at = AT;
    let mut evaluate_after = |store: &mut SqliteStore, ms: u64| {
        at = at + Duration::from_millis(ms);
        let with = Evaluation { at, heartbeat_interval_ms: INTERVAL_MS, seed: [0; 32] };
        commit(store, |store| evaluate(store, &rollout_id, with));
    };
    row("the evaluation that offers it to the first 5 %", measured_once(1, || timed(|| evaluate_after(&mut store, 1))));
    row("an evaluation within the minute", measured(1, || timed(|| evaluate_after(&mut store, 1))));
    row(
        "the first evaluation of a minute, all devices silent",
        measured(1, || timed(|| evaluate_after(&mut store, 60_000))),
    );
    let cost = measured_once(count, || all_beat(&mut store, 1, 1, 2, AT));
    row("a heartbeat, 5 % are offered it", cost);
    let cost = measured_once(count, || all_beat(&mut store, 2, 2, 1, AT));
    row("a heartbeat with the new firmware", cost);
}

fn timed(what: impl FnOnce()) -> Duration {
    let stopwatch = Stopwatch::started();
    what();
    stopwatch.elapsed()
}

/// A measurement that can be done only once.
fn measured_once(count: u32, once: impl FnOnce() -> Duration) -> ks_benches::Cost {
    let us = once().as_secs_f64() * 1e6 / f64::from(count);
    ks_benches::Cost { median_us: us, least_us: us, most_us: us }
}
