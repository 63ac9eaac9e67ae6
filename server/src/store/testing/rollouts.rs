//! Guarantees about rollouts: their devices, their tallies, their end, and their decisions.

use std::collections::BTreeMap;

use ks_protocol::{id::RolloutId, message::UpdateStep};

use super::{
    AT, by, commit, id, named, new_device, registration,
    rollout_setup::{
        active, by_at, change, close, create, decide, draft, everybody, goes_on, manifest_of, minutes, more_devices,
        new, new_release, new_rollout, noted, offer, old, put, rolled_out, save, send_beat, send_status, states,
        status, stored, stored_release, the_offer, updates,
    },
    two_devices,
};
use crate::{
    rollout::{
        gate::{GateResult, Verdict},
        reading::GateReading,
        status::Status,
        step::{Decision, State},
        tally::{Cell, Tally},
        update::UpdateState,
    },
    rules,
    store::{
        Actor, Store, StoreReader,
        audit::AuditFilter,
        devices::Selector,
        releases::ReleaseState,
        rollouts::{NextState, RolloutRefused},
        updates::{Offering, Silence, SilenceTimes, SiteSilence, UpdateFilter},
    },
};

/// Guarantee: a device is in one open rollout at most; a second rollout with it is not created at all. Nor is one with a used name,
/// or of a release that is not ACTIVE.
pub fn a_device_is_never_in_two_rollouts(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    active(store, "fw-2", 2);
    active(store, "fw-3", 3);
    let first = new_rollout(reader, "r1", "fw-2", &[("KS-1", 0, 100)]);
    assert_eq!(
        [create(store, &first), create(store, &first)],
        [Ok(()), Err(RolloutRefused::NameTaken("r1".parse().unwrap()))]
    );
    let release = reader.release(&"fw-3".parse().unwrap()).unwrap().unwrap();
    let candidates = reader.candidates(&release, &Selector::default()).unwrap();
    let taken: Vec<_> =
        candidates.iter().map(|device| (device.device_id.as_str(), device.open_rollout.is_some())).collect();
    assert_eq!(taken, [("KS-1", true), ("KS-2", false)]);
    let both = new_rollout(reader, "r2", "fw-3", &[("KS-2", 0, 100), ("KS-1", 0, 200)]);
    assert_eq!(create(store, &both), Err(RolloutRefused::InAnother));
    assert_eq!(reader.rollout(&"r2".parse().unwrap()).unwrap(), None, "nothing of it is stored");
    assert!(reader.candidates(&release, &named(&["KS-2"])).unwrap()[0].open_rollout.is_none());
    draft(store, &new_release("fw-4", 4)).unwrap();
    let other = new_rollout(reader, "r2", "fw-4", &[("KS-2", 0, 100)]);
    assert_eq!(create(store, &other), Err(RolloutRefused::NotActive("fw-4".parse().unwrap())));
    assert_eq!(create(store, &new_rollout(reader, "r2", "fw-3", &[("KS-2", 0, 100)])), Ok(()));
    let open = reader.open_rollout_ids().unwrap();
    assert_eq!(open.iter().map(RolloutId::as_str).collect::<Vec<_>>(), ["r1", "r2"]);
    let of_one = commit(store, |store| store.open_rollouts_of(&"fw-3".parse().unwrap()));
    assert_eq!(of_one, ["r2".parse().unwrap()]);
    let rollouts = reader.rollouts(0, 9).unwrap();
    assert_eq!(rollouts[0], stored(reader, "r1"));
    assert_eq!((&rollouts[0].policy, &rollouts[0].state), (&first.policy, &first.state), "as they were given");
    assert_eq!(reader.rollouts(rollouts[0].row, 9).unwrap(), rollouts[1..], "paged by row");
}

/// Guarantee: while a rollout is paused, offers that no device has accepted are held back and downloads continue; a revoked release
/// is not offered and no device goes on with it, whatever the rollout's state.
pub fn a_paused_rollout_makes_no_new_offer_and_a_revoked_release_none(
    store: &mut impl Store,
    reader: &mut impl StoreReader,
) {
    let rollout = rolled_out(store, reader);
    offer(store, rollout, everybody());
    assert!(goes_on(store, "KS-2", (1, 3), UpdateStep::Downloading));
    let save = |store: &mut _, status| save(store, rollout, &State { status, ..State::new(AT) });
    let asked =
        |store: &mut _, seq| ["KS-1", "KS-2"].map(|device| send_beat(store, &old(device, (1, seq)), AT).firmware);
    assert_eq!(asked(store, 4), [Some(the_offer()), Some(the_offer())]);
    save(store, Status::Paused);
    assert_eq!(asked(store, 5), [None, Some(the_offer())]);
    assert_eq!(stored(reader, "r1").state.status, Status::Paused);
    save(store, Status::Waiting);
    assert_eq!(asked(store, 6), [Some(the_offer()), Some(the_offer())]);
    save(store, Status::Aborted);
    assert_eq!(asked(store, 7), [None, None]);
    assert!(!goes_on(store, "KS-2", (1, 8), UpdateStep::Downloading));
    save(store, Status::Running);
    assert_eq!(asked(store, 9), [Some(the_offer()), Some(the_offer())]);
    change(store, "fw-2", ReleaseState::Revoked).unwrap();
    assert_eq!(asked(store, 10), [None, None]);
    assert!(!goes_on(store, "KS-1", (1, 11), UpdateStep::Downloading));
    assert!(!goes_on(store, "KS-2", (1, 11), UpdateStep::Downloading));
    assert!(!goes_on(store, "KS-2", (1, 12), UpdateStep::Installing), "nothing is in a slot yet");
    assert!(goes_on(store, "KS-2", (1, 13), UpdateStep::Rebooting), "a device that boots into it can't be stopped");
}

/// Guarantee: a tally counts every device in its cell; those that are silent since they began to install are suspects. Devices with running timeouts
/// are watched.
pub fn a_tally_counts_all_devices_and_the_silent_ones(store: &mut impl Store, reader: &mut impl StoreReader) {
    use UpdateState as S;
    more_devices(store, &[("KS-1", 1, "n"), ("KS-2", 2, "n"), ("KS-3", 3, "s"), ("KS-4", 4, "s"), ("KS-5", 5, "s")]);
    active(store, "fw-2", 2);
    let devices = [("KS-1", 0, 1), ("KS-2", 0, 2), ("KS-3", 0, 3), ("KS-4", 1, 4), ("KS-5", 1, 5)];
    create(store, &new_rollout(reader, "r1", "fw-2", &devices)).unwrap();
    let rollout = stored(reader, "r1").row;
    put(
        store,
        reader,
        rollout,
        &[("KS-1", S::Confirmed), ("KS-2", S::Confirmed), ("KS-3", S::Lost), ("KS-4", S::Installing)],
    );
    send_beat(store, &new("KS-2", (2, 1)), minutes(30));
    let tally = reader.tally(rollout, minutes(30)).unwrap();
    let cell = |stage, site: &str, state, count| Cell {
        stage,
        model: "KS-100".to_owned(),
        site: site.to_owned(),
        state,
        count,
    };
    let mut cells = tally.cells.clone();
    cells.sort_by_key(|cell| (cell.stage, cell.state));
    assert_eq!(
        cells,
        [
            cell(0, "n", S::Confirmed, 2),
            cell(0, "s", S::Lost, 1),
            cell(1, "s", S::Pending, 1),
            cell(1, "s", S::Installing, 1)
        ]
    );
    let suspects = [cell(0, "n", S::Confirmed, 1), cell(1, "s", S::Installing, 1)];
    assert_eq!(tally.suspects, suspects, "KS-1 and KS-4, last seen at the beginning; what was not begun can't be lost");
    assert_eq!(reader.tally(rollout, AT).unwrap().suspects, []);
    assert_eq!(commit(store, |store| store.tally(rollout, Some(minutes(30)))), tally);
    assert_eq!(commit(store, |store| store.tally(rollout, None)), Tally { suspects: Vec::new(), ..tally });
    let watched = |store: &mut _, silent_before| {
        let watched = commit(store, |store| rules::updates::watched(store, rollout, silent_before));
        watched.into_iter().map(|record| record.device_id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(watched(store, minutes(30)), ["KS-4", "KS-1"]);
    assert_eq!(watched(store, AT), ["KS-4"], "devices seen recently need no watching");
    // However an update moves on, and back, the tally is what the list of updates says.
    put(store, reader, rollout, &[("KS-1", S::RolledBack), ("KS-3", S::Confirmed)]);
    counts_as_listed(reader, rollout);
    put(store, reader, rollout, &[("KS-3", S::Lost), ("KS-4", S::Installing)]);
    commit(store, |store| {
        let noted = noted(store)?;
        store.end_updates(rollout, &[S::Pending, S::Installing], S::Halted, minutes(40), &noted)
    });
    counts_as_listed(reader, rollout);
}

/// Compares a rollout's tally with its updates, counted one by one.
fn counts_as_listed(reader: &mut impl StoreReader, rollout: i64) {
    let mut listed: BTreeMap<(usize, String, String, UpdateState), u32> = BTreeMap::new();
    for of in reader.updates(rollout, &UpdateFilter::default(), 0, 1_000).unwrap() {
        *listed.entry((of.stage, of.model, of.site, of.update.state)).or_default() += 1;
    }
    let cells = reader.tally(rollout, AT).unwrap().cells.into_iter();
    let counted = cells.map(|cell| ((cell.stage, cell.model, cell.site, cell.state), cell.count));
    assert_eq!(counted.collect::<BTreeMap<_, _>>(), listed);
}

/// Guarantee: a site's silence is judged by its devices that were seen recently and have not begun to update, and with these by those
/// that are confirmed.
pub fn a_site_is_judged_by_its_bystanders(store: &mut impl Store, reader: &mut impl StoreReader) {
    more_devices(store, &[("KS-1", 1, "n"), ("KS-2", 2, "n"), ("KS-3", 3, "n"), ("KS-4", 4, "n")]);
    active(store, "fw-2", 2);
    create(store, &new_rollout(reader, "r1", "fw-2", &[("KS-1", 0, 1), ("KS-2", 0, 2)])).unwrap();
    let rollout = stored(reader, "r1").row;
    put(store, reader, rollout, &[("KS-1", UpdateState::Installing)]);
    send_beat(store, &old("KS-3", (1, 3)), minutes(10));
    let silence = |store: &mut _, since| {
        let times = SilenceTimes { since, known_since: AT, silent_before: minutes(5) };
        let silence = commit(store, |store| store.silence(rollout, times));
        silence.into_iter().map(|site| (site.site, site.unaffected, site.with_confirmed)).collect::<Vec<_>>()
    };
    let north = |unaffected, with_confirmed| [("n".to_owned(), unaffected, with_confirmed)];
    let three = Silence { devices: 3, silent: 2 };
    assert_eq!(silence(store, AT), north(three, three), "KS-2 waits, KS-4 is in no rollout; KS-1 may be rebooting");
    let one = Silence { devices: 1, silent: 0 };
    assert_eq!(silence(store, minutes(1)), north(one, one), "devices absent before do not count");
    put(store, reader, rollout, &[("KS-1", UpdateState::Confirmed)]);
    assert_eq!(silence(store, AT), north(three, Silence { devices: 4, silent: 3 }), "KS-1 has been silent since");
}

/// Guarantee: a device that was passed over because it was silent says nothing about its site. How many of all devices of a site are
/// heard is known even if none can tell.
pub fn a_device_that_was_passed_over_is_no_bystander(store: &mut impl Store, reader: &mut impl StoreReader) {
    more_devices(store, &[("KS-1", 1, "n"), ("KS-2", 2, "n"), ("KS-3", 3, "n"), ("KS-4", 4, "n"), ("KS-5", 5, "s")]);
    active(store, "fw-2", 2);
    let devices = [("KS-1", 0, 1), ("KS-2", 0, 2), ("KS-3", 0, 3), ("KS-4", 1, 4), ("KS-5", 1, 5)];
    create(store, &new_rollout(reader, "r1", "fw-2", &devices)).unwrap();
    let rollout = stored(reader, "r1").row;
    let silence = |store: &mut _| {
        let times = SilenceTimes { since: AT, known_since: AT, silent_before: minutes(5) };
        let silence = commit(store, |store| store.silence(rollout, times));
        let figures = |site: SiteSilence| {
            let Silence { devices, silent } = site.unaffected;
            (site.site, [devices, silent, site.known, site.heard])
        };
        silence.into_iter().map(figures).collect::<Vec<_>>()
    };
    let south = ("s".to_owned(), [1, 1, 1, 0]);
    assert_eq!(silence(store), [("n".to_owned(), [4, 4, 4, 0]), south.clone()], "no turn has come yet");
    send_beat(store, &old("KS-1", (1, 3)), minutes(10));
    send_beat(store, &old("KS-3", (1, 3)), minutes(10));
    let first_stage = Offering { stage: 0, heard_since: minutes(9), at: minutes(10), ..everybody() };
    assert_eq!(offer(store, rollout, first_stage), 2, "KS-1 and KS-3");
    let north = ("n".to_owned(), [3, 1, 4, 2]);
    assert_eq!(silence(store), [north, south], "KS-1, KS-3 and KS-4, whose turn comes later; KS-2 was passed over");
}

/// Guarantee: an abort withdraws offers not yet begun, and returns the devices that are downloading; installations continue.
pub fn an_abort_withdraws_offers_and_returns_downloading_devices(
    store: &mut impl Store,
    reader: &mut impl StoreReader,
) {
    use UpdateState as S;
    more_devices(store, &[("KS-1", 1, "n"), ("KS-2", 2, "n"), ("KS-3", 3, "n"), ("KS-4", 4, "n"), ("KS-5", 5, "n")]);
    active(store, "fw-2", 2);
    let devices = [("KS-1", 0, 1), ("KS-2", 0, 2), ("KS-3", 0, 3), ("KS-4", 0, 4), ("KS-5", 1, 9_000)];
    create(store, &new_rollout(reader, "r1", "fw-2", &devices)).unwrap();
    let rollout = stored(reader, "r1").row;
    assert_eq!(offer(store, rollout, Offering { stage: 0, ..everybody() }), 4);
    assert!(goes_on(store, "KS-2", (1, 3), UpdateStep::Downloading));
    assert!(goes_on(store, "KS-3", (1, 3), UpdateStep::Installing));
    put(store, reader, rollout, &[("KS-4", S::Failed)]);
    let state = State { status: Status::Aborted, ..State::new(AT) };
    let named = commit(store, |store| {
        let noted = noted(store)?;
        store.save_rollout(rollout, NextState::decided(&state, &noted))?;
        rules::updates::abort(store, rollout, minutes(1), &noted)
    });
    assert_eq!(named, [id("KS-2")]);
    let after = [S::Halted, S::Downloading, S::Installing, S::Failed, S::Halted];
    assert_eq!(states(reader, rollout), after);
    assert_eq!(updates(reader, rollout)[0].update.ended_at, Some(minutes(1)));
    for (device_id, seq) in [("KS-1", 4), ("KS-2", 4), ("KS-5", 4)] {
        assert_eq!(send_beat(store, &old(device_id, (1, seq)), minutes(2)).firmware, None, "{device_id}");
    }
    assert!(!goes_on(store, "KS-1", (1, 5), UpdateStep::Downloading), "its offer was withdrawn");
    assert!(!goes_on(store, "KS-2", (1, 5), UpdateStep::Downloading), "not installed yet: it must stop");
    assert!(goes_on(store, "KS-3", (1, 5), UpdateStep::Rebooting), "too late to stop");
    assert_eq!(states(reader, rollout), after);
    send_status(store, &status("KS-2", (1, 6), UpdateStep::Halted), minutes(3)).unwrap();
    assert!(send_beat(store, &new("KS-3", (2, 1)), minutes(3)).is_update_further, "it is watched to its end");
    assert_eq!(states(reader, rollout), [S::Halted, S::Halted, S::Confirming, S::Failed, S::Halted]);
    let took = commit(store, |store| rules::updates::took(store, rollout));
    assert_eq!(took, [id("KS-3")]);
    assert_eq!(offer(store, rollout, everybody()), 0, "no update is pending");
}

/// Guarantee: once a rollout is closed its devices are free for another, their heartbeats no longer change it, and their outcomes
/// are kept.
pub fn closing_frees_the_devices_for_another_rollout(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = rolled_out(store, reader);
    active(store, "fw-3", 3);
    offer(store, rollout, everybody());
    assert!(goes_on(store, "KS-1", (1, 3), UpdateStep::Downloading));
    send_status(store, &status("KS-2", (1, 3), UpdateStep::Failed), AT).unwrap();
    let next = new_rollout(reader, "r2", "fw-3", &[("KS-1", 0, 100), ("KS-2", 0, 200)]);
    assert_eq!(create(store, &next), Err(RolloutRefused::InAnother));
    close(store, rollout);
    assert_eq!(reader.open_rollout_ids().unwrap(), []);
    assert_eq!(send_beat(store, &old("KS-1", (1, 4)), AT).firmware, None);
    assert!(!goes_on(store, "KS-1", (1, 5), UpdateStep::Installing), "nothing of it is to be installed");
    assert_eq!(states(reader, rollout), [UpdateState::Downloading, UpdateState::Failed]);
    let mut outcomes = |release_id: &str| {
        let release = stored_release(reader, release_id);
        let candidates = reader.candidates(&release, &Selector::default()).unwrap();
        candidates.iter().map(|device| (device.failures, device.has_failed_this)).collect::<Vec<_>>()
    };
    assert_eq!(outcomes("fw-2"), [(0, false), (1, true)]);
    assert_eq!(outcomes("fw-3"), [(0, false), (1, false)]);
    assert_eq!(["KS-1", "KS-2"].map(|device| reader.failed_updates(&id(device)).unwrap()), [0, 1]);
    assert_eq!(create(store, &next), Ok(()));
    let second = stored(reader, "r2").row;
    assert_eq!(offer(store, second, everybody()), 2);
    let offered = send_beat(store, &old("KS-2", (1, 4)), AT).firmware.unwrap();
    assert_eq!(offered.manifest.as_str(), manifest_of("fw-3"));
    assert_eq!(states(reader, rollout), [UpdateState::Downloading, UpdateState::Failed], "the old one is as it was");
}

/// Guarantee: decisions are kept in the order they were made, each with actor, time, reason and all numbers, and are in the audit.
pub fn decisions_are_kept_in_order_with_their_numbers(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = rolled_out(store, reader);
    let judged = GateResult {
        verdict: Verdict::Pass,
        failed: 1,
        executed: 300,
        share_ppm: 3_333,
        lower_ppm: 170,
        upper_ppm: 15_712,
    };
    let reading = |gate, of: &str| GateReading { gate, of: of.to_owned(), threshold_bp: 250, judged };
    let gates = vec![reading(0, "all"), reading(1, "KS-100 at north")];
    let mut revision = 1;
    let mut decide = |store: &mut _, what, stage, gates: &[GateReading], name: &str, at| {
        revision += 1;
        let why = format!("why it was {what}");
        let decision =
            Decision { what, stage, revision, ordered: Some("pause"), why, silent: 4, gates: gates.to_vec() };
        let by = Actor { name: name.to_owned(), ..by_at(at) };
        decide(store, rollout, &decision, &by);
    };
    decide(store, "promoted", 0, &gates, "rollout-engine", minutes(1));
    decide(store, "paused", 1, &[], "alice", minutes(2));
    let trace = reader.decisions(rollout, 0, 99).unwrap();
    let listed: Vec<_> =
        trace.iter().map(|line| (line.what.as_str(), line.stage, line.actor.as_str(), line.at)).collect();
    assert_eq!(
        listed,
        [("created", 0, "test", AT), ("promoted", 0, "rollout-engine", minutes(1)), ("paused", 1, "alice", minutes(2))]
    );
    assert!(trace[0].why.contains("fw-2 to 2 devices: it is time"), "{}", trace[0].why);
    assert_eq!((trace[1].why.as_str(), &trace[1].gates), ("why it was promoted", &gates));
    assert_eq!([trace[0].silent, trace[1].silent], [0, 4]);
    assert_eq!(reader.decisions(rollout, trace[0].row, 1).unwrap(), trace[1..2], "paged by row");
    assert_eq!(reader.decisions(rollout + 1, 0, 99).unwrap(), [], "of this rollout");
    assert_eq!((trace[0].revision, trace[0].ordered.as_deref()), (1, None));
    let third = commit(store, |store| store.decision_of_revision(rollout, 3));
    assert_eq!(third.as_ref(), Some(&trace[2]));
    assert_eq!(third.unwrap().ordered.as_deref(), Some("pause"));
    assert_eq!(commit(store, |store| store.decision_of_revision(rollout, 4)), None);
    let which = AuditFilter { subject: Some("r1".to_owned()), ..AuditFilter::default() };
    let mut audited: Vec<_> = reader.audit(&which, 0, 99).unwrap().into_iter().map(|line| line.action).collect();
    audited.sort_unstable();
    assert_eq!(audited, ["rollout.created", "rollout.paused", "rollout.promoted"]);
}

/// Guarantee: a device that is revoked or gets another key leaves the rollout in the same commit, counts as no failure, and is free for
/// another rollout; a known failure stays, and a pending device keeps its place for its new key.
pub fn withdrawn_devices_leave_the_rollout(store: &mut impl Store, reader: &mut impl StoreReader) {
    use UpdateState as S;
    more_devices(store, &[("KS-1", 1, "n"), ("KS-2", 2, "n"), ("KS-3", 3, "n"), ("KS-4", 4, "n"), ("KS-5", 5, "n")]);
    active(store, "fw-2", 2);
    let devices = [("KS-1", 0, 1), ("KS-2", 0, 2), ("KS-3", 0, 3), ("KS-4", 1, 9_000), ("KS-5", 1, 9_001)];
    create(store, &new_rollout(reader, "r1", "fw-2", &devices)).unwrap();
    let rollout = stored(reader, "r1").row;
    assert_eq!(offer(store, rollout, Offering { stage: 0, ..everybody() }), 3);
    assert!(goes_on(store, "KS-1", (1, 3), UpdateStep::Installing));
    assert!(goes_on(store, "KS-2", (1, 3), UpdateStep::Downloading));
    send_status(store, &status("KS-3", (1, 3), UpdateStep::Failed), AT).unwrap();
    commit(store, |store| {
        rules::devices::revoke(store, &named(&["KS-1", "KS-3", "KS-4"]), "stolen", &by_at(minutes(2)))
    });
    for (device_id, key) in [("KS-2", 12), ("KS-5", 15)] {
        commit(store, |store| {
            rules::devices::reprovision(
                store,
                &id(device_id),
                &new_device(device_id, key).public_key,
                "a new board",
                &by_at(minutes(2)),
            )
        })
        .unwrap();
    }
    assert_eq!(states(reader, rollout), [S::Withdrawn, S::Withdrawn, S::Failed, S::Withdrawn, S::Pending]);
    assert_eq!(updates(reader, rollout)[0].update.ended_at, Some(minutes(2)));
    let release = stored_release(reader, "fw-2");
    commit(store, |store| rules::devices::register(store, &registration("KS-2", 12, 1), &by())).unwrap();
    let candidates = reader.candidates(&release, &named(&["KS-2"])).unwrap();
    assert_eq!((&candidates[0].open_rollout, candidates[0].failures), (&None, 0));
    assert_eq!(send_beat(store, &old("KS-2", (9, 9)), minutes(3)).firmware, None, "its offer was withdrawn");
    let took = commit(store, |store| rules::updates::took(store, rollout));
    assert_eq!(took, [id("KS-1"), id("KS-2")], "they may still run the release");
}

/// Guarantee: a rollback targets all devices that took the release or may have it in a slot, including those that fell silent with it.
pub fn a_lost_device_is_rolled_back_too(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = rolled_out(store, reader);
    put(store, reader, rollout, &[("KS-1", UpdateState::Confirmed), ("KS-2", UpdateState::Lost)]);
    assert_eq!(commit(store, |store| rules::updates::took(store, rollout)), [id("KS-1"), id("KS-2")]);
}
