//! Guarantees about offers, and about how far a device's update has come.

use ks_protocol::{
    id::Sequence,
    message::{FirmwareStatus, UpdateClass, UpdateStep},
};

use super::{
    AT, by, commit, named, record,
    rollout_setup::{
        active, close, create, everybody, goes_on, minutes, more_devices, new, new_rollout, offer, old, put,
        rolled_out, send_beat, send_status, states, status, stored, the_offer, updates,
    },
};
use crate::{
    rollout::update::{Update, UpdateState},
    rules,
    store::{
        Denied, Store, StoreReader,
        heartbeats::Due,
        updates::{Offering, StatusTaken, UpdateFilter},
    },
};

/// Guarantee: offers go by stage, then by share, up to a limit; at each site a limited number of devices is under way or lost.
pub fn offers_follow_the_order_and_the_site_budget(store: &mut impl Store, reader: &mut impl StoreReader) {
    use UpdateState as S;
    more_devices(store, &[("KS-1", 1, "n"), ("KS-2", 2, "n"), ("KS-3", 3, "n"), ("KS-4", 4, "s"), ("KS-5", 5, "s")]);
    active(store, "fw-2", 2);
    let devices = [("KS-1", 0, 300), ("KS-2", 0, 200), ("KS-3", 0, 100), ("KS-4", 0, 400), ("KS-5", 1, 9_000)];
    create(store, &new_rollout(reader, "r1", "fw-2", &devices)).unwrap();
    let rollout = stored(reader, "r1").row;
    let first_stage = Offering { stage: 0, ..everybody() };
    assert_eq!(offer(store, rollout, Offering { count: 2, ..first_stage }), 2);
    let (no, yes) = (S::Pending, S::Offered);
    assert_eq!(states(reader, rollout), [no, yes, yes, no, no], "the least share comes first");
    let budget = |most| Offering { site_unavailable_max: Some(most), ..first_stage };
    assert_eq!(offer(store, rollout, budget(2)), 1, "the north is at its limit, the south is not");
    assert_eq!(states(reader, rollout), [no, yes, yes, yes, no]);
    put(store, reader, rollout, &[("KS-2", S::Confirmed), ("KS-3", S::Lost)]);
    assert_eq!(offer(store, rollout, budget(1)), 0, "a lost device counts as out of service");
    // Of the three devices in the north 33 % are 0.99, rounded up.
    let share = |bp| Offering { site_unavailable_max_bp: Some(bp), ..first_stage };
    assert_eq!(offer(store, rollout, share(3_300)), 0, "a share of the site's devices allows one");
    for under_way in [S::Downloading, S::Installing, S::Confirming] {
        put(store, reader, rollout, &[("KS-3", under_way)]);
        assert_eq!(offer(store, rollout, budget(1)), 0, "{under_way:?}");
    }
    put(store, reader, rollout, &[("KS-3", S::Failed)]);
    assert_eq!(offer(store, rollout, share(3_300)), 1, "a failed device runs the old firmware");
    assert_eq!(states(reader, rollout), [yes, S::Confirmed, S::Failed, yes, no]);
    assert_eq!(offer(store, rollout, first_stage), 0, "the stage of the last one has not begun");
    let at = minutes(5);
    assert_eq!(offer(store, rollout, Offering { at, ..everybody() }), 1);
    let last = updates(reader, rollout).remove(4);
    let Update { state, offered_at, progress_at, boot_epoch, to_counter, .. } = last.update;
    assert_eq!((state, offered_at, progress_at, boot_epoch, to_counter), (S::Offered, Some(at), at, 1, 2));
}

/// Guarantee: a device that was not seen recently, or that is revoked, is skipped in favour of the next one.
pub fn absent_devices_get_no_offer(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = rolled_out(store, reader);
    more_devices(store, &[("KS-3", 3, "north")]); // registered, and in no rollout
    send_beat(store, &old("KS-2", (1, 3)), minutes(10));
    let one = Offering { count: 1, heard_since: minutes(9), at: minutes(10), ..everybody() };
    assert_eq!(offer(store, rollout, one), 1);
    assert_eq!(states(reader, rollout), [UpdateState::Pending, UpdateState::Offered], "KS-1 is away");
    assert_eq!(offer(store, rollout, one), 0);
    send_beat(store, &old("KS-1", (1, 3)), minutes(10));
    commit(store, |store| rules::devices::revoke(store, &named(&["KS-1"]), "stolen", &by()));
    assert_eq!(offer(store, rollout, one), 0, "a revoked device gets no offer");
    assert_eq!(states(reader, rollout), [UpdateState::Withdrawn, UpdateState::Offered]);
}

/// Guarantee: every heartbeat of a device with an offer is answered with the signed manifest, byte for byte, until it has begun to
/// install; other heartbeats are not.
pub fn a_heartbeat_carries_the_offer_until_installation(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = rolled_out(store, reader);
    assert_eq!(send_beat(store, &old("KS-1", (1, 3)), AT).firmware, None, "its turn has not come");
    assert_eq!(offer(store, rollout, Offering { stage: 0, ..everybody() }), 1);
    for seq in [4, 5] {
        assert_eq!(send_beat(store, &old("KS-1", (1, seq)), AT), Due { firmware: Some(the_offer()), ..Due::default() });
    }
    assert_eq!(send_beat(store, &old("KS-2", (1, 4)), AT).firmware, None, "of the next stage");
    assert!(goes_on(store, "KS-1", (1, 6), UpdateStep::Downloading));
    assert_eq!(
        send_beat(store, &old("KS-1", (1, 7)), AT).firmware,
        Some(the_offer()),
        "its download may have been interrupted"
    );
    assert!(goes_on(store, "KS-1", (1, 8), UpdateStep::Installing));
    assert_eq!(send_beat(store, &old("KS-1", (1, 9)), AT).firmware, None);
    assert_eq!(states(reader, rollout), [UpdateState::Installing, UpdateState::Pending]);
}

/// Guarantee: a device's report advances its update and is stored; heartbeats with the new counter after a boot confirm it, and the
/// heartbeat that advances it reports so. A report on another release changes nothing.
pub fn beats_confirm_and_statuses_advance_an_update(store: &mut impl Store, reader: &mut impl StoreReader) {
    use UpdateState as S;
    let rollout = rolled_out(store, reader);
    offer(store, rollout, everybody());
    let taken = |has_changed| Ok(StatusTaken { go_on: true, has_changed });
    assert_eq!(send_status(store, &status("KS-1", (1, 3), UpdateStep::Downloading), minutes(1)), taken(true));
    assert_eq!(
        send_status(store, &status("KS-1", (1, 4), UpdateStep::Downloading), minutes(2)),
        taken(false),
        "no further"
    );
    let of_another =
        FirmwareStatus { release_id: "fw-9".parse().unwrap(), ..status("KS-1", (1, 5), UpdateStep::Failed) };
    assert_eq!(send_status(store, &of_another, minutes(2)), Ok(StatusTaken { go_on: false, has_changed: false }));
    assert_eq!(states(reader, rollout), [S::Downloading, S::Offered]);
    assert_eq!(updates(reader, rollout)[0].update.progress_at, minutes(2), "progress was recorded all the same");
    assert_eq!(send_status(store, &status("KS-1", (1, 6), UpdateStep::Installing), minutes(3)), taken(true));
    let first = send_beat(store, &new("KS-1", (2, 1)), minutes(4));
    assert_eq!((first.firmware, first.is_update_further), (None, true));
    assert!(!send_beat(store, &new("KS-1", (2, 2)), minutes(18)).is_update_further);
    assert_eq!(states(reader, rollout), [S::Confirming, S::Offered]);
    assert!(send_beat(store, &new("KS-1", (2, 3)), minutes(19)).is_update_further, "a quarter of an hour");
    let failed =
        FirmwareStatus { class: Some(UpdateClass::BadSignature), ..status("KS-2", (1, 3), UpdateStep::Rejected) };
    assert!(send_status(store, &failed, minutes(20)).unwrap().has_changed);
    let [one, other] = updates(reader, rollout).try_into().unwrap();
    assert_eq!((one.update.state, one.update.ended_at, one.stage), (S::Confirmed, Some(minutes(19)), 0));
    assert_eq!((one.update.confirming_since, one.last_seen_at), (Some(minutes(4)), Some(minutes(19))));
    assert_eq!((other.update.state, other.update.class), (S::Rejected, Some(UpdateClass::BadSignature)));
    assert_eq!((other.update.ended_at, other.detail.as_str(), other.stage), (Some(minutes(20)), "said Rejected", 1));
    assert_eq!(reader.versions(rollout).unwrap(), [("1.0.0".to_owned(), 1), ("2.0.0".to_owned(), 1)]);
    let which = |state| UpdateFilter { state: Some(state), ..UpdateFilter::default() };
    assert_eq!(reader.updates(rollout, &which(S::Rejected), 0, 9).unwrap(), std::slice::from_ref(&other));
    assert_eq!(reader.updates(rollout, &UpdateFilter::default(), one.device_row, 9).unwrap(), [other], "paged by row");
    let at_site = |site: &str| UpdateFilter { site: Some(site.to_owned()), ..UpdateFilter::default() };
    assert_eq!(reader.updates(rollout, &at_site("south"), 0, 9).unwrap(), []);
    assert_eq!(reader.updates(rollout, &at_site("north"), 0, 1).unwrap(), [one]);
    assert_eq!(send_beat(store, &old("KS-2", (1, 4)), minutes(21)).firmware, None, "an outcome is final");
    assert_eq!(states(reader, rollout), [S::Confirmed, S::Rejected]);
}

/// Guarantee: a confirmed device that comes back with the old firmware has rolled back, as long as its rollout is open.
pub fn a_confirmed_device_is_watched_while_the_rollout_is_open(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = rolled_out(store, reader);
    offer(store, rollout, everybody());
    put(store, reader, rollout, &[("KS-1", UpdateState::Confirmed), ("KS-2", UpdateState::Confirmed)]);
    assert!(send_beat(store, &old("KS-1", (2, 1)), minutes(60)).is_update_further);
    assert_eq!(states(reader, rollout), [UpdateState::RolledBack, UpdateState::Confirmed]);
    close(store, rollout);
    assert!(!send_beat(store, &old("KS-2", (2, 1)), minutes(60)).is_update_further);
    assert_eq!(states(reader, rollout), [UpdateState::RolledBack, UpdateState::Confirmed]);
}

/// Guarantee: a status with a replayed pair is denied and changes nothing; so is one of a device that may not write.
pub fn a_status_of_a_replayed_pair_is_denied(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = rolled_out(store, reader);
    offer(store, rollout, everybody());
    assert!(goes_on(store, "KS-1", (1, 9), UpdateStep::Downloading));
    let stale = Err(Denied::Stale { kept: Sequence::new(1, 9) });
    for pair in [(1, 9), (1, 8), (0, 99)] {
        assert_eq!(send_status(store, &status("KS-1", pair, UpdateStep::Failed), AT), stale, "{pair:?}");
    }
    assert_eq!(states(reader, rollout), [UpdateState::Downloading, UpdateState::Offered]);
    let beat = commit(store, |store| record(store, &old("KS-1", (1, 9)), AT));
    assert_eq!(beat.unwrap_err(), Denied::Stale { kept: Sequence::new(1, 9) }, "the pair is shared with heartbeats");
    assert_eq!(send_status(store, &status("KS-9", (1, 9), UpdateStep::Failed), AT), Err(Denied::Unknown));
    commit(store, |store| rules::devices::revoke(store, &named(&["KS-2"]), "stolen", &by()));
    assert_eq!(send_status(store, &status("KS-2", (1, 9), UpdateStep::Failed), AT), Err(Denied::Revoked));
    assert_eq!(states(reader, rollout)[1], UpdateState::Withdrawn);
}

/// Guarantee: a device that does not accept its offer in time becomes pending again and loses the offer until its next turn.
pub fn an_offer_that_lapsed_is_made_again(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = rolled_out(store, reader);
    offer(store, rollout, everybody());
    put(store, reader, rollout, &[("KS-1", UpdateState::Pending)]);
    assert_eq!(send_beat(store, &old("KS-1", (2, 1)), minutes(1)).firmware, None);
    assert_eq!(offer(store, rollout, Offering { at: minutes(2), ..everybody() }), 1);
    assert_eq!(send_beat(store, &old("KS-1", (2, 2)), minutes(2)).firmware, Some(the_offer()));
    let update = updates(reader, rollout)[0].update;
    assert_eq!((update.boot_epoch, update.offered_at), (2, Some(minutes(2))), "a boot after this offer must show it");
}

/// Guarantee: a device that holds no offer (its turn has not come, or its offer lapsed) may not go on: no timeout would watch it.
pub fn devices_without_an_offer_may_not_go_on(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = rolled_out(store, reader);
    offer(store, rollout, Offering { stage: 0, ..everybody() });
    put(store, reader, rollout, &[("KS-1", UpdateState::Pending)]); // its offer lapsed
    assert!(!goes_on(store, "KS-2", (1, 3), UpdateStep::Downloading), "its turn has not come");
    assert!(!goes_on(store, "KS-1", (1, 3), UpdateStep::Downloading), "its offer lapsed");
    assert_eq!(states(reader, rollout), [UpdateState::Pending; 2]);
}

/// Guarantee: a repeated offer starts over: a device's reports under the lapsed offer do not count under the new one.
pub fn a_repeated_offer_ignores_earlier_reports(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = rolled_out(store, reader);
    offer(store, rollout, everybody());
    assert!(goes_on(store, "KS-1", (1, 3), UpdateStep::Succeeded));
    put(store, reader, rollout, &[("KS-1", UpdateState::Pending)]);
    assert_eq!(offer(store, rollout, everybody()), 1);
    assert_eq!(send_beat(store, &old("KS-1", (1, 4)), minutes(1)).firmware, Some(the_offer()));
    assert_eq!(states(reader, rollout)[0], UpdateState::Offered);
}
