//! Guarantees about devices: the whitelist, registration and its tokens, keys, revocation.

use std::time::Duration;

use ks_protocol::{
    id::Sequence,
    key::{PrivateKey, PublicKey},
    time::UnixMs,
};

use super::{
    AT, NOTHING_DUE, beat, by, commands::order_for, commit, id, named, new_device, record, registration, sample_beat,
    two_devices,
};
use crate::{
    command::CommandState,
    rules::{self, commands},
    store::{
        Actor, Denied, Store, StoreReader,
        audit::AuditFilter,
        commands::{AckBatch, CommandFilter},
        devices::{
            DeviceEdit, DeviceStatus, EditRefused, ImportProblem, Imported, KeyRotation, NewDevice, NewOtrts, Part,
            Registration, Revoked, Selector, Sender,
        },
        heartbeats::Beat,
        hot::{HotRequest, HotWork},
    },
};

fn import(store: &mut impl Store, devices: &[NewDevice]) -> Result<Imported, Vec<ImportProblem>> {
    commit(store, |store| rules::devices::import(store, devices, Part::whole(devices.len()), &by()))
}

fn register(store: &mut impl Store, registration: &Registration, at: UnixMs) -> Result<UnixMs, Denied> {
    commit(store, |store| rules::devices::register(store, registration, &Actor { at, ..by() }))
}

fn revoke(store: &mut impl Store, which: &Selector) -> Revoked {
    commit(store, |store| rules::devices::revoke(store, which, "stolen", &by()))
}

fn public(seed: u8) -> PublicKey {
    PrivateKey::from_seed(&[seed; 32]).public_key()
}

/// Guarantee: a revocation applies to every later write, even in the same group, and cancels open commands.
pub fn revoked_device_writes_nothing(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    commit(store, |store| commands::order(store, &order_for("o1", named(&["KS-1"])), 99, &by())).unwrap();
    let outcomes = commit(store, |store| {
        rules::devices::revoke(store, &named(&["KS-1"]), "stolen", &by())?;
        let beat = record(store, &super::sample_beat("KS-1", (1, 2)), AT)?;
        Ok((beat, rules::devices::register(store, &registration("KS-1", 1, 3), &by())?))
    });
    assert_eq!(outcomes, (Err(Denied::Revoked), Err(Denied::Revoked)));
    let acks = super::send_acks(store, "KS-1", Sequence::new(1, 5), &[]);
    assert_eq!(acks, Err(Denied::Revoked));
    assert_eq!(reader.heartbeats(0, 10).unwrap(), []);
    assert_eq!(beat(store, "KS-2", (1, 2)), NOTHING_DUE, "other devices are unaffected");
    let open = CommandFilter { open_only: true, ..CommandFilter::default() };
    assert_eq!(reader.commands(&open, 0, 10).unwrap(), []);
    let device = reader.device(&id("KS-1")).unwrap().unwrap();
    assert_eq!((device.status, device.revoke_reason.as_deref()), (DeviceStatus::Revoked, Some("stolen")));
}

/// Guarantee: a revocation reports which devices it revoked, which were revoked before, and which are unknown.
pub fn revoking_is_idempotent(store: &mut impl Store, _: &mut impl StoreReader) {
    two_devices(store);
    revoke(store, &named(&["KS-1"]));
    let again = Revoked { revoked: vec![id("KS-2")], already: 1, unknown: vec![id("KS-9")] };
    assert_eq!(revoke(store, &named(&["KS-1", "KS-2", "KS-9"])), again);
}

/// Guarantee: a selector matches the devices that meet all of its conditions.
pub fn a_site_is_revoked_as_one(store: &mut impl Store, reader: &mut impl StoreReader) {
    let south = |device: NewDevice| NewDevice { site: "south".to_owned(), ..device };
    import(store, &[new_device("KS-1", 1), south(new_device("KS-2", 2)), south(new_device("KS-3", 3))]).unwrap();
    let at_south = Selector { site: Some("south".to_owned()), ..Selector::default() };
    let other_model = Selector { model: Some("KS-900".to_owned()), ..at_south.clone() };
    assert_eq!(revoke(store, &other_model), Revoked::default());
    let elsewhere = Selector { device_ids: Some(vec![id("KS-1"), id("KS-9")]), ..at_south.clone() };
    let unknown_only = Revoked { unknown: vec![id("KS-9")], ..Revoked::default() };
    assert_eq!(revoke(store, &elsewhere), unknown_only, "a known device outside the selection is not unknown");
    assert_eq!(revoke(store, &at_south).revoked, [id("KS-2"), id("KS-3")]);
    let left = Selector { status: Some(DeviceStatus::Whitelisted), ..Selector::default() };
    let left = reader.devices(&left, 0, 10).unwrap();
    assert_eq!(left.iter().map(|device| device.device_id.as_str()).collect::<Vec<_>>(), ["KS-1"]);
}

/// Guarantee: one invalid row rejects the whole inventory, and is reported with its line.
pub fn import_is_all_or_nothing(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let bad = NewDevice { line: 3, site: "south".to_owned(), ..new_device("KS-2", 2) };
    let problems = import(store, &[new_device("KS-3", 3), bad]).unwrap_err();
    assert_eq!((problems[0].line, problems[0].field), (3, "site"));
    assert_eq!(reader.device(&id("KS-3")).unwrap(), None);
}

/// Guarantee: each conflicting row is reported once, in the order of the inventory, with its first wrong column; a check before the
/// import reports the same.
pub fn an_import_reports_every_conflicting_row(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    rotate(store, 1, 5, 2).unwrap();
    let bad = [
        NewDevice { line: 1, ..new_device("KS-9", 5) },
        NewDevice { line: 2, model: "KS-900".to_owned(), site: "south".to_owned(), ..new_device("KS-2", 2) },
        NewDevice { line: 3, ..new_device("KS-3", 3) },
        NewDevice { line: 4, ..new_device("KS-8", 1) },
        NewDevice { line: 5, ..new_device("KS-1", 1) },
    ];
    let problems = import(store, &bad).unwrap_err();
    let named: Vec<_> = problems.iter().map(|problem| (problem.line, problem.field)).collect();
    assert_eq!(named, [(1, "public_key"), (2, "model"), (4, "public_key"), (5, "public_key")]);
    assert!(problems[0].what.starts_with("device KS-1 has or had"), "{}", problems[0].what);
    assert_eq!(problems[1].what, "device KS-2 is whitelisted with model `KS-100`, got `KS-900`");
    assert!(problems[2].what.starts_with("device KS-1 has or had"), "including an old key: {}", problems[2].what);
    assert_eq!(rules::devices::import_problems(reader, &bad).unwrap(), problems);
}

/// Guarantee: devices revoked in one write each lose their commands, get an audit line, and start without commands afterwards.
pub fn devices_are_revoked_together(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let both = named(&["KS-1", "KS-2"]);
    for (order_id, which) in [("o1", both.clone()), ("o22", both.clone()), ("o333", named(&["KS-1"]))] {
        commit(store, |store| commands::order(store, &order_for(order_id, which.clone()), 99, &by())).unwrap();
    }
    assert_eq!(revoke(store, &both).revoked, [id("KS-1"), id("KS-2")]);
    let every = reader.commands(&CommandFilter::default(), 0, 99).unwrap();
    let why: Vec<_> = every.iter().map(|command| (command.state, command.detail.as_str())).collect();
    assert_eq!(why, [(CommandState::Canceled, "the device was revoked"); 5]);
    let lines = AuditFilter { action: Some("device.revoke".to_owned()), ..AuditFilter::default() };
    let subjects: Vec<_> = reader.audit(&lines, 0, 99).unwrap().into_iter().map(|line| line.subject).collect();
    assert_eq!(subjects, ["KS-1", "KS-2"]);
    let versions = |reader: &mut dyn StoreReader| {
        let devices = reader.devices(&Selector::default(), 0, 9).unwrap();
        devices.iter().map(|device| device.version).collect::<Vec<_>>()
    };
    assert_eq!(versions(reader), [2, 2]);
    commit(store, |store| rules::devices::reprovision(store, &id("KS-1"), &public(9), "found", &by())).unwrap();
    assert_eq!(versions(reader), [3, 2]);
    assert_eq!(register(store, &registration("KS-1", 9, 1), AT), Ok(AT));
    commit(store, |store| commands::order(store, &order_for("o4444", named(&["KS-1"])), 99, &by())).unwrap();
    assert_eq!(
        beat(store, "KS-1", (1, 2)).unwrap().commands.len(),
        1,
        "the counters of commands canceled together are right"
    );
}

/// Guarantee: importing the same inventory again is harmless.
pub fn import_twice_changes_nothing(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    revoke(store, &named(&["KS-2"]));
    let before = reader.devices(&Selector::default(), 0, 10).unwrap();
    let again = import(store, &[new_device("KS-1", 1), new_device("KS-2", 2)]);
    assert_eq!(again, Ok(Imported { added: 0, unchanged: 2, revoked: 1 }));
    assert_eq!(reader.devices(&Selector::default(), 0, 10).unwrap(), before);
}

/// Guarantee: no two devices share a public key.
pub fn a_key_serves_one_device(store: &mut impl Store, _: &mut impl StoreReader) {
    two_devices(store);
    assert_eq!(import(store, &[new_device("KS-3", 1)]).unwrap_err()[0].field, "public_key");
}

/// Guarantee: registering again is harmless and returns the first time; the pair still only increases.
pub fn registering_again_returns_the_first_answer(store: &mut impl Store, _: &mut impl StoreReader) {
    two_devices(store);
    let later = AT + Duration::from_mins(1);
    let again = Registration { otrt_required: true, ..registration("KS-1", 1, 5) };
    assert_eq!(register(store, &again, later), Ok(AT));
    assert_eq!(register(store, &again, later), Err(Denied::Stale { kept: Sequence::new(1, 5) }));
}

fn add_otrt(store: &mut impl Store, token_sha256: [u8; 32], device_id: Option<&str>, model: Option<&str>) {
    let otrts = NewOtrts {
        tokens_sha256: vec![token_sha256],
        expires_at: AT + Duration::from_hours(1),
        device_id: device_id.map(id),
        model: model.map(str::to_owned),
    };
    commit(store, |store| rules::devices::add_otrts(store, &otrts, &by()));
}

/// Guarantee: one-time tokens are deleted in steps some time after they expired, and not before.
pub fn expired_otrts_are_deleted(store: &mut impl Store, _: &mut impl StoreReader) {
    import(store, &[new_device("KS-1", 1)]).unwrap();
    for number in 1..=3 {
        add_otrt(store, [number; 32], None, None);
    }
    register(store, &with_otrt("KS-1", 1, 1, Some([1; 32])), AT).unwrap();
    let forget = |store: &mut _, before| commit(store, |store| store.forget_otrts(before, 2));
    let ended = AT + Duration::from_hours(1);
    assert_eq!(forget(store, ended), 0);
    let after = ended + Duration::from_millis(1);
    assert_eq!([forget(store, after), forget(store, after), forget(store, after)], [2, 1, 0]);
}

fn with_otrt(device_id: &str, seed: u8, seq: u64, token: Option<[u8; 32]>) -> Registration {
    Registration { otrt_sha256: token, otrt_required: true, ..registration(device_id, seed, seq) }
}

/// Guarantee: a token works only for the device that used it first, repeatedly, even when two devices race in one group.
pub fn otrt_serves_one_device(store: &mut impl Store, _: &mut impl StoreReader) {
    let token = Some([7; 32]);
    import(store, &[new_device("KS-1", 1), new_device("KS-2", 2)]).unwrap();
    add_otrt(store, [7; 32], None, None);
    let racing = [
        with_otrt("KS-1", 1, 1, None),
        with_otrt("KS-1", 1, 1, token),
        with_otrt("KS-2", 2, 1, token),
        with_otrt("KS-1", 1, 2, token),
    ];
    let outcomes = commit(store, |store| {
        racing.iter().map(|race| rules::devices::register(store, race, &by())).collect::<Result<Vec<_>, _>>()
    });
    assert_eq!(outcomes, [Err(Denied::OtrtRequired), Ok(AT), Err(Denied::OtrtUsed), Ok(AT)]);
}

/// Guarantee: whatever uses up a token is in the audit, also a device that registers again; a lost answer that is asked for again is not.
pub fn a_used_otrt_is_audited(store: &mut impl Store, reader: &mut impl StoreReader) {
    import(store, &[new_device("KS-1", 1)]).unwrap();
    add_otrt(store, [1; 32], None, None);
    assert_eq!(register(store, &registration("KS-1", 1, 1), AT), Ok(AT));
    assert_eq!(register(store, &with_otrt("KS-1", 1, 2, Some([1; 32])), AT), Ok(AT), "again, with a token");
    assert_eq!(register(store, &with_otrt("KS-1", 1, 3, Some([1; 32])), AT), Ok(AT), "a lost answer");
    let registered = AuditFilter { action: Some("device.register".to_owned()), ..AuditFilter::default() };
    let lines = reader.audit(&registered, 0, 99).unwrap();
    let details: Vec<&str> = lines.iter().map(|line| line.detail.as_str()).collect();
    assert_eq!(details, ["", "again, with a one-time token"]);
}

/// Guarantee: a token is valid until it expires, and only for the device or model that it is bound to.
pub fn otrt_expires_and_is_bound(store: &mut impl Store, _: &mut impl StoreReader) {
    import(store, &[new_device("KS-1", 1), new_device("KS-2", 2)]).unwrap();
    add_otrt(store, [1; 32], None, None);
    add_otrt(store, [2; 32], Some("KS-2"), None);
    add_otrt(store, [3; 32], None, Some("KS-900"));
    let late = AT + Duration::from_hours(1);
    for (token, at) in [(1, late), (2, AT), (3, AT), (9, AT)] {
        let refused = register(store, &with_otrt("KS-1", 1, 1, Some([token; 32])), at);
        assert_eq!(refused, Err(Denied::OtrtInvalid), "{token}");
    }
    assert_eq!(register(store, &with_otrt("KS-2", 2, 1, Some([2; 32])), AT), Ok(AT));
}

/// Guarantee: a used token is bound to the key that used it. After re-provisioning, a device can't register with a token that its old
/// key used, nor with one that was created for it before.
pub fn reprovisioning_ends_a_devices_otrts(store: &mut impl Store, _: &mut impl StoreReader) {
    import(store, &[new_device("KS-1", 1)]).unwrap();
    add_otrt(store, [1; 32], None, None);
    add_otrt(store, [2; 32], Some("KS-1"), None);
    add_otrt(store, [3; 32], Some("KS-1"), None);
    add_otrt(store, [4; 32], None, None);
    assert_eq!(register(store, &with_otrt("KS-1", 1, 1, Some([1; 32])), AT), Ok(AT));
    assert_eq!(register(store, &with_otrt("KS-1", 1, 2, Some([1; 32])), AT), Ok(AT), "a lost answer");
    assert_eq!(register(store, &with_otrt("KS-1", 1, 3, Some([2; 32])), AT), Ok(AT));
    commit(store, |store| rules::devices::reprovision(store, &id("KS-1"), &public(9), "found", &by())).unwrap();
    add_otrt(store, [5; 32], Some("KS-1"), None);
    let mut again = |token: u8| register(store, &with_otrt("KS-1", 9, 1, Some([token; 32])), AT);
    assert_eq!(again(1), Err(Denied::OtrtUsed), "by the old key");
    assert_eq!(again(2), Err(Denied::OtrtUsed), "by the old key");
    assert_eq!(again(3), Err(Denied::OtrtInvalid), "created for the holder of the old key");
    assert_eq!(again(5), Ok(AT), "made since");
    assert_eq!(register(store, &with_otrt("KS-1", 9, 2, Some([5; 32])), AT), Ok(AT), "a lost answer");
    assert_eq!(register(store, &with_otrt("KS-1", 9, 3, Some([4; 32])), AT), Ok(AT), "not bound to a device");
}

/// Guarantee: an unused token that is revoked is invalid; a used one stays used.
pub fn a_revoked_otrt_is_refused(store: &mut impl Store, _: &mut impl StoreReader) {
    import(store, &[new_device("KS-1", 1), new_device("KS-2", 2)]).unwrap();
    add_otrt(store, [1; 32], None, None);
    add_otrt(store, [2; 32], None, None);
    assert_eq!(register(store, &with_otrt("KS-1", 1, 1, Some([1; 32])), AT), Ok(AT));
    assert_eq!(commit(store, |store| rules::devices::revoke_otrts(store, &[[1; 32], [2; 32], [9; 32]], &by())), 1);
    for (token, denied) in [(1, Denied::OtrtUsed), (2, Denied::OtrtInvalid)] {
        assert_eq!(register(store, &with_otrt("KS-2", 2, 1, Some([token; 32])), AT), Err(denied), "{token}");
    }
}

/// Guarantee: a token is valid only within its lifetime, whatever the clock was when it was created.
pub fn otrt_lifetime_holds_under_wrong_clocks(store: &mut impl Store, _: &mut impl StoreReader) {
    import(store, &[new_device("KS-1", 1), new_device("KS-2", 2)]).unwrap();
    add_otrt(store, [1; 32], None, None);
    add_otrt(store, [2; 32], None, None);
    let ten_days = Duration::from_hours(240);
    let before = AT.minus_ms(240 * 3_600_000);
    for at in [before, AT + ten_days] {
        let refused = register(store, &with_otrt("KS-1", 1, 1, Some([1; 32])), at);
        assert_eq!(refused, Err(Denied::OtrtInvalid), "created or checked ten days ahead");
    }
    assert_eq!(register(store, &with_otrt("KS-1", 1, 1, Some([1; 32])), AT), Ok(AT), "right again");
    let a_little = AT.minus_ms(1_000);
    assert_eq!(register(store, &with_otrt("KS-2", 2, 1, Some([2; 32])), a_little), Ok(a_little));
}

fn rotate(store: &mut impl Store, signed_with: u8, new: u8, seq: u64) -> Result<(), Denied> {
    let rotation = KeyRotation {
        device_id: id("KS-1"),
        sequence: Sequence::new(1, seq),
        signed_with: public(signed_with),
        new_public_key: public(new),
    };
    commit(store, |store| rules::devices::rotate_key(store, &rotation, &by()))
}

/// Guarantee: after a rotation only the new key is valid, a rotation to the current key is harmless, and no key is ever reused.
pub fn a_rotated_key_replaces_the_old_one_for_good(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    assert_eq!(rotate(store, 1, 2, 2), Err(Denied::KeyInUse), "another device's");
    let kept = reader.auth_record(&id("KS-1")).unwrap().unwrap().sequence;
    assert_eq!(kept, Sequence::new(1, 1), "a refusal leaves the pair as it was");
    assert_eq!(rotate(store, 1, 1, 2), Ok(()), "a rotation to the current key succeeds without a change");
    assert_eq!(rotate(store, 1, 5, 3), Ok(()));
    assert_eq!(reader.auth_record(&id("KS-1")).unwrap().unwrap().public_key, public(5));
    assert_eq!(rotate(store, 1, 6, 4), Err(Denied::KeyMismatch), "the old key is no longer valid");
    assert_eq!(rotate(store, 5, 5, 5), Ok(()), "a retry after a lost answer succeeds");
    assert_eq!(rotate(store, 5, 1, 6), Err(Denied::KeyInUse), "its own old key");
    assert_eq!(import(store, &[new_device("KS-3", 1)]).unwrap_err()[0].field, "public_key");
}

/// Guarantee: a request that was verified with a key is refused once the device has another one, whichever way it got it, even by a
/// server that still holds the old one in memory.
pub fn a_replaced_key_writes_nothing(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let mut sender = || {
        let auth = reader.auth_record(&id("KS-1")).unwrap().unwrap();
        Sender { row: auth.row, key_no: auth.key_no }
    };
    let beat_of = |seq| HotWork::Beat(Beat { heartbeat: sample_beat("KS-1", (1, seq)), at: AT });
    let acks_of = |seq| {
        let (device_id, sequence) = (id("KS-1"), Sequence::new(1, seq));
        HotWork::Acks(AckBatch { device_id, sequence, acks: Vec::new(), at: AT })
    };
    let refused = |store: &mut _, sender, work: HotWork| {
        let request = HotRequest { sender, work };
        commit(store, |store| rules::hot::record(store, &[&request])).pop().unwrap().err()
    };
    let first = sender();
    assert_eq!(rotate(store, 1, 5, 2), Ok(()));
    let second = sender();
    let replaced = Some(Denied::KeyReplaced);
    assert_eq!(refused(store, first, beat_of(3)), replaced);
    assert_eq!(refused(store, first, acks_of(3)), replaced);
    assert_eq!(refused(store, first, beat_of(2)), Some(Denied::Stale { kept: Sequence::new(1, 2) }));
    assert_eq!(refused(store, second, beat_of(3)), None);
    assert_eq!(refused(store, second, acks_of(4)), None);
    revoke(store, &named(&["KS-1"]));
    let new = public(9);
    commit(store, |store| rules::devices::reprovision(store, &id("KS-1"), &new, "found", &by())).unwrap();
    register(store, &registration("KS-1", 9, 1), AT).unwrap();
    assert_eq!(refused(store, second, beat_of(5)), replaced);
    assert_eq!(refused(store, sender(), beat_of(5)), None);
}

/// Guarantee: re-provisioning requires a key that was never used, and resets the device.
pub fn a_revoked_device_comes_back_with_a_new_key_only(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    revoke(store, &named(&["KS-1"]));
    let mut reprovision = |device_id: &str, seed: u8| {
        commit(store, |store| rules::devices::reprovision(store, &id(device_id), &public(seed), "found", &by()))
    };
    assert_eq!(reprovision("KS-1", 1), Err(EditRefused::KeyInUse));
    assert_eq!(reprovision("KS-1", 2), Err(EditRefused::KeyInUse));
    assert_eq!(reprovision("KS-9", 9), Err(EditRefused::Unknown));
    assert_eq!(reprovision("KS-1", 9), Ok(()));
    let device = reader.device(&id("KS-1")).unwrap().unwrap();
    assert_eq!(
        (device.status, device.sequence, device.revoked_at),
        (DeviceStatus::Whitelisted, Sequence::default(), None)
    );
    assert_eq!(register(store, &registration("KS-1", 1, 1), AT), Err(Denied::KeyMismatch));
    assert_eq!(register(store, &registration("KS-1", 9, 1), AT), Ok(AT));
}

/// Guarantee: of two operators who edit the same version, the second is refused.
pub fn concurrent_edits_are_refused(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let labels = DeviceEdit { labels: Some(vec!["lab".to_owned(), "door".to_owned()]), site: None };
    let moved = DeviceEdit { site: Some("south".to_owned()), labels: None };
    let mut edit = |edit: &DeviceEdit, if_version| {
        commit(store, |store| rules::devices::edit(store, &id("KS-1"), edit, if_version, &by()))
    };
    assert_eq!(edit(&labels, Some(1)), Ok(2));
    assert_eq!(edit(&moved, Some(1)), Err(EditRefused::Changed { version: 2 }));
    assert_eq!(edit(&moved, None), Ok(3));
    let device = reader.device(&id("KS-1")).unwrap().unwrap();
    assert_eq!((device.site.as_str(), device.labels), ("south", vec!["door".to_owned(), "lab".to_owned()]));
    let labelled = Selector { label: Some("lab".to_owned()), ..Selector::default() };
    assert_eq!(reader.devices(&labelled, 0, 10).unwrap().len(), 1);
    for (search, found) in [("ks-", 2), ("KS-2", 1), ("S2", 1), ("OOR", 1), ("lab", 1), ("%", 0), ("south", 0)] {
        let which = Selector { search: Some(search.to_owned()), ..Selector::default() };
        assert_eq!(reader.devices(&which, 0, 10).unwrap().len(), found, "{search}");
    }
}

/// Guarantee: a follower of changes receives every key and status that changed since it last asked.
pub fn changes_are_followed_in_order(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let start = reader.newest().unwrap().device_change;
    rotate(store, 1, 5, 3).unwrap();
    revoke(store, &named(&["KS-2"]));
    let changes = reader.changes(start, 10).unwrap();
    let listed: Vec<_> = changes.iter().map(|change| (change.auth.device_id.as_str(), change.auth.status)).collect();
    assert_eq!(listed, [("KS-1", DeviceStatus::Registered), ("KS-2", DeviceStatus::Revoked)]);
    assert_eq!(reader.changes(changes[0].number, 10).unwrap().len(), 1);
    commit(store, |store| store.forget_changes(AT + Duration::from_secs(1), 10));
    assert_eq!(reader.changes(start, 10).unwrap(), changes[1..], "the newest stays");
    assert_eq!(reader.newest().unwrap().device_change, changes[1].number);
    rotate(store, 5, 6, 4).unwrap();
    commit(store, |store| store.forget_changes(AT + Duration::from_secs(1), 10));
    let last = reader.changes(start, 10).unwrap();
    assert!(last.len() == 1 && last[0].number > changes[1].number, "numbers are never reused: {last:?}");
}
