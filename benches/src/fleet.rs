//! A fleet in a store, for the benchmarks that need one.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a failure here is a failed benchmark")]

use std::path::Path;

use ks_protocol::{id::Sequence, key::PrivateKey};
use ks_server::{
    config::SqliteUse,
    rules::{self, devices},
    store::{
        SqliteStore, Store, Transaction,
        devices::{NewDevice, Part, Registration, Sender},
        heartbeats::Beat,
        hot::HotRequest,
        testing::{AT, by, commit, sample_beat},
    },
};

/// A store in `folder` with `devices` registered devices, from `KS-000000` on, at ten sites.
pub fn store_with(folder: &Path, devices: u64, sqlite: SqliteUse) -> SqliteStore {
    let mut store = SqliteStore::open(&folder.join("ks.sqlite"), sqlite, AT).unwrap();
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
        site: format!("site-{}", number % 10),
    };
    let devices: Vec<NewDevice> = (0..devices).map(device).collect();
    // The stored pair of a new device is (0, 0); (1, 0) is greater.
    let registration = |device: &NewDevice| Registration {
        device_id: device.device_id.clone(),
        public_key: device.public_key,
        sequence: Sequence::new(1, 0),
        otrt_sha256: None,
        otrt_required: false,
    };
    commit(&mut store, |store| {
        devices::import(store, &devices, Part::whole(devices.len()), &by())?.unwrap();
        devices.iter().try_for_each(|device| {
            devices::register(store, &registration(device), &by()).map(|at| assert_eq!(at, Ok(AT)))
        })
    });
    store
}

/// Heartbeats of the devices of [`store_with`], one after the other in no order of theirs; `number` counts over all calls.
pub fn heartbeats(count: u32, devices: u32, number: &mut u32) -> Vec<HotRequest> {
    let beat = |_| {
        *number += 1;
        let device = number.wrapping_mul(7_919) % devices;
        let heartbeat = sample_beat(&format!("KS-{device:06}"), (1, (*number).into()));
        let sender = Sender { row: i64::from(device) + 1, key_no: 1 };
        HotRequest { sender, work: Beat { heartbeat, at: AT }.into() }
    };
    (0..count).map(beat).collect()
}

/// Stores them in commits of `group`.
pub fn commit_in_groups(store: &mut SqliteStore, heartbeats: &[HotRequest], group: usize) {
    for group in heartbeats.chunks(group) {
        let group: Vec<&HotRequest> = group.iter().collect();
        let group = &mut |transaction: &mut dyn Transaction| {
            let done = rules::hot::record(transaction, &group)?;
            assert!(done.iter().all(Result::is_ok));
            Ok(())
        };
        store.commit(group).unwrap();
    }
}
