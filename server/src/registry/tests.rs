//! What memory follows, and what it keeps.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

use ks_protocol::key::PrivateKey;
use tokio::sync::mpsc::Receiver;

use super::*;
use crate::{
    config::{Locking, SqliteUse, Synchronous},
    rules,
    store::{
        Damage, SqliteReader, SqliteStore, StoreReader,
        devices::{DeviceReads as _, Part},
        testing::{AT, by, commit, new_device, registration, two_devices},
        writer::{self, Query},
    },
};

/// Answers the queries that wait.
fn answer(queries: &mut Receiver<Query>, store: &mut SqliteReader) {
    while let Ok(question) = queries.try_recv() {
        store.begin();
        question(store);
    }
}

/// Polls a call once, which must not end it.
async fn poll(call: &mut Pin<Box<impl Future>>) {
    let is_pending = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await;
    assert!(is_pending, "it waits for a query");
}

async fn end<T>(
    mut call: Pin<Box<impl Future<Output = T>>>,
    queries: &mut Receiver<Query>,
    store: &mut SqliteReader,
) -> T {
    poll_fn(|cx| {
        let polled = call.as_mut().poll(cx);
        answer(queries, store); // wakes it
        polled
    })
    .await
}

#[tokio::test]
async fn a_change_that_was_read_early_does_not_replace_a_later_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ks.sqlite");
    let mut store = SqliteStore::open(&path, SqliteUse::shared(Synchronous::Off), AT).unwrap();
    let mut stored = SqliteReader::open(&path, Locking::Shared).unwrap();
    let (reader, mut queries) = writer::reader(8, &Damage::default());
    let device_id = "KS-1".parse().unwrap();
    let key = |seed| PrivateKey::from_seed(&[seed; 32]).public_key();
    let reprovision = |store: &mut _, seed| {
        commit(store, |store| rules::devices::reprovision(store, &device_id, &key(seed), "stolen", &by())).unwrap();
    };
    two_devices(&mut store);
    let registry = end(Box::pin(Registry::load(&reader)), &mut queries, &mut stored).await.unwrap();

    reprovision(&mut store, 7);
    let mut slow = Box::pin(registry.follow(&reader));
    for _ in ["new devices", "changes"] {
        poll(&mut slow).await;
        answer(&mut queries, &mut stored);
    }
    reprovision(&mut store, 8);
    end(Box::pin(registry.follow(&reader)), &mut queries, &mut stored).await.unwrap();
    assert_eq!(registry.get(&device_id).unwrap().public_key, key(8));
    end(slow, &mut queries, &mut stored).await.unwrap();
    assert_eq!(registry.get(&device_id).unwrap().public_key, key(8), "not the one that was read before it");
}

/// Goal: a device that registers at one server is known as registered at the others, and keeps what they know of it.
#[tokio::test]
async fn a_registration_at_another_server_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ks.sqlite");
    let mut store = SqliteStore::open(&path, SqliteUse::shared(Synchronous::Off), AT).unwrap();
    let mut stored = SqliteReader::open(&path, Locking::Shared).unwrap();
    let (reader, mut queries) = writer::reader(8, &Damage::default());
    let devices = [new_device("KS-1", 1)];
    commit(&mut store, |store| rules::devices::import(store, &devices, Part::whole(1), &by())).unwrap();
    let registry = end(Box::pin(Registry::load(&reader)), &mut queries, &mut stored).await.unwrap();
    let known = registry.get(&"KS-1".parse().unwrap()).unwrap();
    known.ordered();
    known.with_state(|now| now.kept = Sequence::new(1, 9)); // a download, which stores nothing
    assert!(!known.has_registered());

    let registration = registration("KS-1", 1, 1);
    commit(&mut store, |store| rules::devices::register(store, &registration, &by())).unwrap();
    let newest = {
        stored.begin();
        stored.newest().unwrap()
    };
    end(Box::pin(registry.follow_to(newest, &reader)), &mut queries, &mut stored).await.unwrap();
    assert!(known.has_registered());
    assert!(Arc::ptr_eq(&known, &registry.get(&"KS-1".parse().unwrap()).unwrap()), "the same entry");
    assert_eq!((known.is_awaited(), known.with_state(|now| now.kept)), (true, Sequence::new(1, 9)));
}

/// Goal: a command that is ordered while a heartbeat is being stored still makes the next one first.
#[test]
fn a_command_that_was_ordered_meanwhile_still_waits() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(&folder.path().join("ks"), SqliteUse::shared(Synchronous::Off), AT).unwrap();
    two_devices(&mut store);
    let mut stored = SqliteReader::open(&folder.path().join("ks"), Locking::Shared).unwrap();
    stored.begin();
    let known =
        KnownDevice::new(&stored.auth_record(&"KS-1".parse().unwrap()).unwrap().unwrap(), DeviceBudgets::default());
    let before = known.orders();
    known.ordered();
    known.brought(false, before);
    assert!(known.is_awaited(), "it came too late for that answer");
    known.brought(false, known.orders());
    assert!(!known.is_awaited(), "nothing was ordered since");
}
