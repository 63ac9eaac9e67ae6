//! Guarantees about commands: orders, delivery, ACKs.

use std::time::Duration;

use ks_protocol::{
    id::{CommandId, Sequence},
    message::{Ack, AckState},
    text::{Rows, Text},
};

use super::{AT, NOTHING_DUE, beat, by, commit, id, named, record, sample_beat, send_acks, two_devices};
use crate::{
    command::CommandState,
    rules::{self, commands},
    store::{
        Store, StoreReader,
        audit::AuditFilter,
        commands::{CancelRefused, CommandFilter, NewOrder, OrderProgress, OrderRefused, OrderUnderWay, Ordered},
        devices::Selector,
    },
};

/// An order to reboot within an hour.
pub fn order_for(order_id: &str, which: Selector) -> NewOrder {
    NewOrder {
        order_id: order_id.parse().unwrap(),
        id_seed: [order_id.len().try_into().unwrap_or(0); 32],
        client_token: None,
        request_sha256: [0; 32],
        which,
        kind: "reboot".to_owned(),
        argument: String::new(),
        is_urgent: false,
        deadline_at: AT + Duration::from_hours(1),
    }
}

fn order(store: &mut impl Store, order: &NewOrder) -> Ordered {
    commit(store, |store| commands::order(store, order, 99, &by())).unwrap()
}

/// Queues one command for each of `device_ids` in an order of that name, and returns the commands' ids.
pub(super) fn queue(
    store: &mut impl Store,
    reader: &mut impl StoreReader,
    order_id: &str,
    device_ids: &[&str],
) -> Vec<CommandId> {
    let mut new = order_for(order_id, named(device_ids));
    new.id_seed[..order_id.len()].copy_from_slice(order_id.as_bytes());
    order(store, &new);
    let which = CommandFilter { order_id: Some(new.order_id), ..CommandFilter::default() };
    reader.commands(&which, 0, 999).unwrap().into_iter().map(|command| command.command_id).collect()
}

fn ack(command_id: &CommandId, state: AckState) -> Ack {
    Ack { command_id: command_id.clone(), state, detail: Text::default() }
}

fn due(store: &mut impl Store, device_id: &str, pair: (u32, u64)) -> Vec<CommandId> {
    beat(store, device_id, pair).unwrap().commands.into_iter().map(|command| command.command_id).collect()
}

fn states(reader: &mut impl StoreReader) -> Vec<CommandState> {
    let every = reader.commands(&CommandFilter::default(), 0, 99).unwrap();
    every.into_iter().map(|command| command.state).collect()
}

/// Guarantee: a command is sent with every heartbeat until it is ACKed; its final state never changes.
pub fn command_is_delivered_until_acked(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let first = queue(store, reader, "o1", &["KS-1"]).remove(0);
    let second = queue(store, reader, "o2", &["KS-1"]).remove(0);
    let both = [first.clone(), second.clone()];
    assert_eq!(due(store, "KS-1", (1, 2)), both);
    assert_eq!(due(store, "KS-1", (1, 3)), both);
    assert_eq!(due(store, "KS-2", (1, 3)), []);
    let mut with_ack = sample_beat("KS-1", (1, 4));
    with_ack.acks = Rows::truncated(vec![ack(&first, AckState::Succeeded)]);
    let left = commit(store, |store| record(store, &with_ack, AT)).unwrap();
    assert_eq!(left.commands[0].command_id, second);
    let late = [ack(&first, AckState::Failed), ack(&second, AckState::Received), ack(&second, AckState::Rejected)];
    let recorded = send_acks(store, "KS-1", Sequence::new(1, 5), &late);
    let expected = [CommandState::Succeeded, CommandState::Received, CommandState::Rejected];
    assert_eq!(recorded.unwrap(), expected.map(Some));
    assert_eq!(beat(store, "KS-1", (1, 6)), NOTHING_DUE);
    assert_eq!(states(reader), [CommandState::Succeeded, CommandState::Rejected]);
    let third = queue(store, reader, "o3", &["KS-1"]).remove(0);
    let twice = [ack(&third, AckState::Failed), ack(&third, AckState::Succeeded)];
    let recorded = send_acks(store, "KS-1", Sequence::new(1, 7), &twice);
    assert_eq!(recorded.unwrap(), [Some(CommandState::Failed); 2], "the first end of a request counts");
}

/// Guarantee: after its deadline a command is not delivered; a temporarily wrong clock closes nothing.
pub fn command_times_out(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    queue(store, reader, "o1", &["KS-1"]);
    let late = AT + Duration::from_hours(2);
    let due = commit(store, |store| record(store, &sample_beat("KS-1", (1, 2)), late));
    assert_eq!(due, NOTHING_DUE);
    assert_eq!(states(reader), [CommandState::Queued]);
    let right = commit(store, |store| record(store, &sample_beat("KS-1", (1, 3)), AT)).unwrap();
    assert_eq!(right.commands.len(), 1);
}

/// Guarantee: the devices of open commands are listed in the order of creation.
pub fn devices_with_open_commands_are_listed(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    assert!(!reader.auth_record(&id("KS-1")).unwrap().unwrap().is_awaited);
    let first = queue(store, reader, "o1", &["KS-1"]);
    queue(store, reader, "o2", &["KS-1", "KS-2"]);
    let newest = reader.newest().unwrap().command;
    let awaited = reader.awaited(0, 10).unwrap();
    assert_eq!(awaited.iter().map(|(_, device_id)| device_id.as_str()).collect::<Vec<_>>(), ["KS-1", "KS-1", "KS-2"]);
    assert_eq!((awaited[2].0, reader.awaited(newest, 10).unwrap()), (newest, vec![]));
    assert_eq!(reader.awaited(0, 1).unwrap(), awaited[..1]);
    send_acks(store, "KS-1", Sequence::new(7, 11), &[ack(&first[0], AckState::Succeeded)]).unwrap();
    assert_eq!(reader.awaited(0, 10).unwrap(), awaited[1..]);
    assert!(reader.auth_record(&id("KS-1")).unwrap().unwrap().is_awaited);
}

/// Guarantee: the store knows of each device whether it has an open command, until the last one has ended, in whatever way.
pub fn open_commands_are_counted_until_each_has_ended(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let mut is_awaited = |device_id| reader.auth_record(&id(device_id)).unwrap().unwrap().is_awaited;
    assert!(!is_awaited("KS-1"));
    let order_one = |store: &mut _, order_id, seed| {
        order(store, &NewOrder { id_seed: [seed; 32], ..order_for(order_id, named(&["KS-1"])) });
    };
    for (order_id, seed) in [("o1", 1), ("o2", 2), ("o3", 3)] {
        order_one(store, order_id, seed);
    }
    let open = due(store, "KS-1", (1, 2));
    assert_eq!(open.len(), 3);
    assert!(is_awaited("KS-1"), "delivered is not ended");
    for (seq, state) in [(3, AckState::Received), (4, AckState::Failed), (5, AckState::Failed)] {
        send_acks(store, "KS-1", Sequence::new(1, seq), &[ack(&open[0], state)]).unwrap();
    }
    assert!(is_awaited("KS-1"), "one has ended, once");
    commit(store, |store| commands::cancel(store, &open[1], true, &by())).unwrap();
    assert!(is_awaited("KS-1"), "two have ended");
    assert_eq!(commit(store, |store| commands::close_overdue(store, AT + Duration::from_hours(1), 9)), 1);
    assert!(!is_awaited("KS-1"), "all have ended");
    order_one(store, "o4", 4);
    assert!(is_awaited("KS-1") && !is_awaited("KS-2"));
    commit(store, |store| rules::devices::revoke(store, &named(&["KS-1"]), "stolen", &by()));
    assert!(!is_awaited("KS-1"), "a revocation ends them too");
}

/// Guarantee: a device ACKs its own commands only.
pub fn acks_of_other_devices_change_nothing(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let command = queue(store, reader, "o1", &["KS-1"]).remove(0);
    let acks = [ack(&command, AckState::Succeeded), ack(&"c9".parse().unwrap(), AckState::Succeeded)];
    let recorded = send_acks(store, "KS-2", Sequence::new(1, 2), &acks);
    assert_eq!(recorded, Ok(vec![None, None]));
    assert_eq!(states(reader), [CommandState::Queued]);
}

/// Guarantee: an order queues a command for each selected device that is not revoked, and lists the refused ones.
pub fn an_order_reaches_the_selected_devices(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    commit(store, |store| rules::devices::revoke(store, &named(&["KS-2"]), "stolen", &by()));
    let done = order(store, &order_for("o1", named(&["KS-1", "KS-2", "KS-9"])));
    assert_eq!((done.queued, done.refused_count), (1, 2));
    assert_eq!(done.refused, [id("KS-9"), id("KS-2")]);
    let every = order(store, &NewOrder { id_seed: [9; 32], ..order_for("o2", Selector::default()) });
    assert_eq!((every.queued, every.refused_count), (1, 0), "a selector skips revoked devices");
    let counts = reader.order_progress(&"o1".parse().unwrap()).unwrap();
    assert_eq!(counts, Some(OrderProgress { counts: vec![(CommandState::Queued, 1)], is_whole: true }));
    assert_eq!(reader.order_progress(&"o9".parse().unwrap()).unwrap(), None);
}

/// Guarantee: an order that is queued in pieces gives each device one command on the terms of the first piece, whichever caller
/// queues a piece; an incomplete order can be continued.
pub fn an_order_is_queued_in_pieces(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let piece =
        |store: &mut _, order: &NewOrder| commit(store, |store| commands::order(store, order, 1, &by())).unwrap();
    let with_token = |order_id, token: &str, which| NewOrder {
        client_token: Some(token.to_owned()),
        id_seed: [token.len().try_into().unwrap(); 32],
        ..order_for(order_id, which)
    };
    // A selector can't tell that its last piece was the final one; a list of names can.
    for (token, which, pieces) in
        [("a", Selector::default(), 3), ("bb", named(&["KS-2", "KS-9", "KS-1"]), 3), ("ccc", named(&["KS-1"]), 1)]
    {
        let first = with_token("o1", token, which);
        let first = NewOrder { order_id: format!("o{token}").parse().unwrap(), ..first };
        let mut done = piece(store, &first);
        for number in 1..pieces {
            assert!(!done.is_whole, "{token} {number}");
            let under_way = reader.order_under_way().unwrap().unwrap();
            assert_eq!(under_way, OrderUnderWay { order: first.clone(), by: by() });
            let again =
                NewOrder { id_seed: [0xff; 32], deadline_at: AT, ..with_token("other", token, first.which.clone()) };
            done = if number == 1 { piece(store, &again) } else { piece(store, &under_way.order) };
        }
        assert!(done.is_whole && reader.order_under_way().unwrap().is_none());
        assert_eq!((done.order_id, done.queued), (first.order_id.clone(), if token == "ccc" { 1 } else { 2 }));
        let which = CommandFilter { order_id: Some(first.order_id), ..CommandFilter::default() };
        let mut commands = reader.commands(&which, 0, 99).unwrap();
        commands.sort_by(|a, b| a.device_id.cmp(&b.device_id));
        assert!(
            commands.iter().all(|command| command.deadline_at == first.deadline_at),
            "the terms of the first piece apply"
        );
        let devices: Vec<_> = commands.iter().map(|command| command.device_id.as_str()).collect();
        assert_eq!(devices, if token == "ccc" { vec!["KS-1"] } else { vec!["KS-1", "KS-2"] });
    }
    let lines = AuditFilter { action: Some("command.order".to_owned()), ..AuditFilter::default() };
    let subjects: Vec<_> = reader.audit(&lines, 0, 99).unwrap().into_iter().map(|line| line.subject).collect();
    assert_eq!(subjects, ["1 device"; 5], "one line per piece");
}

/// Guarantee: an order under a client token is carried out once; the token can't be reused for another order.
pub fn a_repeated_order_is_one_order(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let with_token = |order_id, request| NewOrder {
        client_token: Some("mine".to_owned()),
        request_sha256: [request; 32],
        ..order_for(order_id, named(&["KS-1"]))
    };
    let first = order(store, &with_token("o1", 1));
    let again = order(store, &with_token("o2", 1));
    assert_eq!((again.order_id.as_str(), again.queued, again.is_repeated), ("o1", 1, true));
    assert!(!first.is_repeated);
    let other = commit(store, |store| commands::order(store, &with_token("o3", 2), 99, &by()));
    assert_eq!(other, Err(OrderRefused::TokenTaken));
    assert_eq!(states(reader).len(), 1);
}

/// Guarantee: urgent commands are delivered before older ones.
pub fn urgent_commands_go_first(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let plain = queue(store, reader, "o1", &["KS-1"]).remove(0);
    order(store, &NewOrder { is_urgent: true, id_seed: [9; 32], ..order_for("urgent", named(&["KS-1"])) });
    let due = due(store, "KS-1", (1, 2));
    assert_eq!((due.len(), &due[1]), (2, &plain));
}

/// Guarantee: an undelivered command can be canceled, a delivered one only by force, an ended one not at all.
pub fn a_canceled_command_is_not_delivered(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let (first, second) =
        (queue(store, reader, "o1", &["KS-1"]).remove(0), queue(store, reader, "o2", &["KS-2"]).remove(0));
    let cancel = |store: &mut _, command: &CommandId, force| {
        commit(store, |store| commands::cancel(store, command, force, &by()))
    };
    assert_eq!(cancel(store, &first, false), Ok(CommandState::Canceled));
    assert_eq!(due(store, "KS-1", (1, 2)), []);
    assert_eq!(due(store, "KS-2", (1, 2)), std::slice::from_ref(&second));
    assert_eq!(cancel(store, &second, false), Err(CancelRefused::Past(CommandState::Delivered)));
    assert_eq!(cancel(store, &second, true), Ok(CommandState::Canceled));
    assert_eq!(cancel(store, &second, true), Err(CancelRefused::Past(CommandState::Canceled)));
    assert_eq!(cancel(store, &"c9".parse().unwrap(), true), Err(CancelRefused::Unknown));
    assert_eq!(due(store, "KS-2", (1, 3)), []);
}

/// Guarantee: old commands that have ended are deleted in steps, and orders with their last command; open ones stay.
pub fn old_commands_are_deleted(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let ended: Vec<CommandId> =
        ["o1", "o2", "o3"].iter().flat_map(|order_id| queue(store, reader, order_id, &["KS-1", "KS-2"])).collect();
    for command in &ended[..5] {
        commit(store, |store| commands::cancel(store, command, false, &by())).unwrap();
    }
    let prune = |store: &mut _, before, after| {
        let swept = commit(store, |store| commands::prune(store, before, after, 2));
        (swept.rows, swept.next_after)
    };
    assert_eq!(prune(store, AT, 0), (0, None), "none is old");
    let later = AT + Duration::from_hours(1);
    assert_eq!(prune(store, later, 0), (2, Some(2)));
    assert_eq!(prune(store, later, 2), (2, Some(4)));
    assert_eq!(prune(store, later, 4), (1, Some(6)));
    assert_eq!(prune(store, later, 6), (0, None));
    assert_eq!(states(reader), [CommandState::Queued]);
    assert_eq!(due(store, "KS-2", (1, 2)), [ended[5].clone()]);
    let again = order(store, &order_for("o1", named(&["KS-1"])));
    assert_eq!(again.queued, 1, "the order of that name was deleted, so the name is free");
}

/// Guarantee: open commands past their deadline are closed in steps, even if their device is silent.
pub fn overdue_commands_are_closed_in_steps(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    for order_id in ["o1", "o2", "o3"] {
        queue(store, reader, order_id, &["KS-1"]);
    }
    let close = |store: &mut _, at| commit(store, |store| commands::close_overdue(store, at, 2));
    assert_eq!(close(store, AT), 0);
    let late = AT + Duration::from_hours(1);
    assert_eq!([close(store, late), close(store, late), close(store, late)], [2, 1, 0]);
    assert_eq!(states(reader), [CommandState::TimedOut; 3]);
}
