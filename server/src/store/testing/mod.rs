//! The guarantees of every store, as functions that any store can be run against: `conformance!(name, open)`.
//!
//! `open` returns a new store and a reader. One function per guarantee, named after it; one file per topic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "test support: a failure is a failed test"
)]

pub mod commands;
pub mod devices;
pub mod heartbeats;
pub mod hot;
pub mod limits;
pub mod records;
pub mod releases;
mod rollout_setup;
pub mod rollout_status;
pub mod rollouts;
pub mod updates;
pub mod watch;

use ks_protocol::{
    id::{DeviceId, Sequence},
    key::PrivateKey,
    message::{Ack, Firmware, Heartbeat, Network},
    text::{Rows, Text},
    time::UnixMs,
};

use super::{
    Actor, Denied, Store, StoreError, Transaction,
    commands::AckBatch,
    devices::{NewDevice, Part, Registration, Selector, Sender},
    heartbeats::{Beat, Due},
    hot::{Hot, HotRequest, HotWork},
};
use crate::{command::CommandState, rules};

/// The time of the first write.
pub const AT: UnixMs = UnixMs(1_800_000_000_000);

/// Expands to one test per guarantee, each on a new store from `$open`, which returns `(store, reader, keep_alive)`.
#[macro_export]
macro_rules! conformance {
    ($name:ident, $open:expr) => {
        mod $name {
            use super::*;
            $crate::conformance!(@each $open; heartbeats:
                beat_is_stored_once_and_read_back, the_history_of_a_device_is_read_backwards, replayed_beat_is_stale, old_firmware_history_is_deleted, a_later_boot_starts_seq_again,
                unknown_and_unregistered_devices_are_denied, writes_of_one_group_come_in_order, a_failed_group_leaves_nothing,
                reported_firmware_is_kept_as_history, pruning_takes_the_oldest_in_steps,
                pruning_goes_on_past_rows_from_the_future, pruning_leaves_the_newest_row,
            );
            $crate::conformance!(@each $open; devices:
                revoked_device_writes_nothing, revoking_is_idempotent, a_site_is_revoked_as_one,
                import_is_all_or_nothing, an_import_reports_every_conflicting_row, devices_are_revoked_together, import_twice_changes_nothing, a_key_serves_one_device,
                registering_again_returns_the_first_answer, otrt_serves_one_device, a_used_otrt_is_audited, otrt_expires_and_is_bound,
                reprovisioning_ends_a_devices_otrts,
                a_revoked_otrt_is_refused,
                otrt_lifetime_holds_under_wrong_clocks,
                a_rotated_key_replaces_the_old_one_for_good, a_replaced_key_writes_nothing, a_revoked_device_comes_back_with_a_new_key_only,
                expired_otrts_are_deleted, concurrent_edits_are_refused, changes_are_followed_in_order,
            );
            $crate::conformance!(@each $open; commands:
                command_is_delivered_until_acked, devices_with_open_commands_are_listed,
                open_commands_are_counted_until_each_has_ended, command_times_out, acks_of_other_devices_change_nothing,
                an_order_reaches_the_selected_devices, an_order_is_queued_in_pieces, a_repeated_order_is_one_order, urgent_commands_go_first,
                a_canceled_command_is_not_delivered, old_commands_are_deleted, overdue_commands_are_closed_in_steps,
            );
            $crate::conformance!(@each $open; hot: a_batch_equals_its_requests_one_at_a_time);
            $crate::conformance!(@each $open; limits: limits_are_applied_one_after_the_other);
            $crate::conformance!(@each $open; records:
                a_punch_is_stored_once, punches_are_paged_in_the_order_of_time, log_lines_are_stored_once_by_number,
                logs_are_searched_from_the_newest_back, old_logs_are_pruned, every_change_is_audited_and_chained,
                a_pruned_audit_stays_valid, keysets_are_published_one_after_the_other, users_and_their_sessions,
                tokens_are_revoked_with_their_user, tokens_end_when_expired_or_revoked,
                silence_of_the_server_is_a_gap,
                a_clock_that_was_ahead_is_no_evidence_of_presence, a_database_from_the_future_is_corrected,
                a_clock_that_was_behind_makes_no_device_lost, token_lifetime_holds_under_wrong_clocks,
            );
            $crate::conformance!(@each $open; releases:
                a_release_keeps_its_order_of_states_and_never_changes, a_counter_serves_one_release,
                staging_requires_the_artifact, an_artifact_is_offered_only_while_a_release_is_active,
                a_staged_manifest_is_not_changed_by_activation,
            );
            $crate::conformance!(@each $open; rollouts:
                a_device_is_never_in_two_rollouts,
                a_paused_rollout_makes_no_new_offer_and_a_revoked_release_none,
                a_tally_counts_all_devices_and_the_silent_ones, a_site_is_judged_by_its_bystanders,
                a_device_that_was_passed_over_is_no_bystander,
                an_abort_withdraws_offers_and_returns_downloading_devices,
                closing_frees_the_devices_for_another_rollout, decisions_are_kept_in_order_with_their_numbers,
                withdrawn_devices_leave_the_rollout, a_lost_device_is_rolled_back_too,
            );
            $crate::conformance!(@each $open; updates:
                offers_follow_the_order_and_the_site_budget, absent_devices_get_no_offer,
                a_heartbeat_carries_the_offer_until_installation,
                beats_confirm_and_statuses_advance_an_update,
                a_confirmed_device_is_watched_while_the_rollout_is_open,
                a_status_of_a_replayed_pair_is_denied, an_offer_that_lapsed_is_made_again,
                devices_without_an_offer_may_not_go_on, a_repeated_offer_ignores_earlier_reports,
            );
            $crate::conformance!(@each $open; rollout_status:
                devices_to_look_at_come_in_their_order, update_times_and_the_last_decision_are_the_newest,
            );
            $crate::conformance!(@each $open; watch:
                a_watched_device_is_free_for_the_next_rollout, a_device_that_dies_after_completion_is_a_late_failure,
                an_offline_site_is_excused_after_completion, a_watched_rollout_can_be_aborted_until_its_watch_ends,
            );
        }
    };
    (@each $open:expr; $topic:ident: $($guarantee:ident),+ $(,)?) => {
        $(#[test] fn $guarantee() {
            let (mut store, mut reader, _keep_alive) = $open;
            $crate::store::testing::$topic::$guarantee(&mut store, &mut reader);
        })+
    };
}

/// An operator, at [`AT`].
pub fn by() -> Actor {
    Actor { name: "test".to_owned(), address: Some([10, 0, 0, 1].into()), at: AT }
}

/// Commits one write, which must succeed.
pub fn commit<T>(store: &mut impl Store, mut write: impl FnMut(&mut dyn Transaction) -> Result<T, StoreError>) -> T {
    let mut done = None;
    let group = &mut |transaction: &mut dyn Transaction| {
        done = Some(write(transaction)?);
        Ok(())
    };
    store.commit(group).expect("a healthy store commits");
    done.expect("a committed write was run")
}

fn id(text: &str) -> DeviceId {
    text.parse().expect("an identifier")
}

/// A device to whitelist, with the key of `seed`.
pub fn new_device(device_id: &str, seed: u8) -> NewDevice {
    NewDevice {
        line: u64::from(seed),
        device_id: id(device_id),
        public_key: PrivateKey::from_seed(&[seed; 32]).public_key(),
        serial: format!("S{seed}"),
        manufacturer: "Acme".to_owned(),
        model: "KS-100".to_owned(),
        site: "north".to_owned(),
    }
}

/// A registration without a token, with the pair (1, `seq`).
pub fn registration(device_id: &str, seed: u8, seq: u64) -> Registration {
    Registration {
        device_id: id(device_id),
        public_key: PrivateKey::from_seed(&[seed; 32]).public_key(),
        sequence: Sequence::new(1, seq),
        otrt_sha256: None,
        otrt_required: false,
    }
}

/// A heartbeat for tests.
pub fn sample_beat(device_id: &str, pair: (u32, u64)) -> Heartbeat {
    let Sequence { boot_epoch, seq } = Sequence::new(pair.0, pair.1);
    Heartbeat {
        kind: Default::default(),
        device_id: id(device_id),
        boot_epoch,
        seq,
        sent_at: AT,
        keyset_version: 1,
        firmware: Firmware { version: Text::truncated("1.0.0"), release_counter: 1 },
        uptime_s: 60 * pair.1,
        cpu_temp_c: 41.5,
        free_mem_kib: 100_000,
        network: Network::Wifi,
        rssi_dbm: Some(-60),
        acks: Rows::default(),
    }
}

/// Hot work of devices with their current keys; of unknown devices with a row that none has.
pub fn requests(store: &mut dyn Transaction, works: &[HotWork]) -> Result<Vec<HotRequest>, StoreError> {
    let device_ids: Vec<&DeviceId> = works.iter().map(HotWork::device_id).collect();
    let senders = store.states(&device_ids)?.into_iter();
    let senders = senders.map(|state| state.map_or(Sender { row: 0, key_no: 1 }, |state| state.sender()));
    Ok(senders.zip(works).map(|(sender, work)| HotRequest { sender, work: work.clone() }).collect())
}

/// Runs one piece of hot work in a transaction.
pub fn hot<W: Hot>(store: &mut dyn Transaction, work: W) -> Result<Result<W::Done, Denied>, StoreError> {
    let requests = requests(store, &[work.into()])?;
    let done = rules::hot::record(store, &requests.iter().collect::<Vec<_>>())?.pop().expect("one result");
    Ok(done.map(|done| W::done(done).expect("a result of the same kind")))
}

/// Records one heartbeat in a transaction.
pub fn record(
    store: &mut dyn Transaction,
    heartbeat: &Heartbeat,
    at: UnixMs,
) -> Result<Result<Due, Denied>, StoreError> {
    hot(store, Beat { heartbeat: heartbeat.clone(), at })
}

fn send_acks(
    store: &mut impl Store,
    device_id: &str,
    sequence: Sequence,
    acks: &[Ack],
) -> Result<Vec<Option<CommandState>>, Denied> {
    let batch = AckBatch { device_id: id(device_id), sequence, acks: acks.to_vec(), at: AT };
    commit(store, |store| hot(store, batch.clone()))
}

fn beat(store: &mut impl Store, device_id: &str, pair: (u32, u64)) -> Result<Due, Denied> {
    commit(store, |store| record(store, &sample_beat(device_id, pair), AT))
}

/// The answer to a heartbeat that nothing is due to.
pub const NOTHING_DUE: Result<Due, Denied> = Ok(Due { commands: Vec::new(), firmware: None, is_update_further: false });

fn named(device_ids: &[&str]) -> Selector {
    Selector { device_ids: Some(device_ids.iter().map(|text| id(text)).collect()), ..Selector::default() }
}

/// Imports and registers `KS-1` (key 1) and `KS-2` (key 2) with the pair (1, 1).
pub fn two_devices(store: &mut impl Store) {
    let devices = [new_device("KS-1", 1), new_device("KS-2", 2)];
    let imported = commit(store, |store| rules::devices::import(store, &devices, Part::whole(2), &by())).unwrap();
    assert_eq!((imported.added, imported.unchanged), (2, 0));
    for (device_id, seed) in [("KS-1", 1), ("KS-2", 2)] {
        let registered =
            commit(store, |store| rules::devices::register(store, &registration(device_id, seed, 1), &by()));
        assert_eq!(registered, Ok(AT));
    }
}
