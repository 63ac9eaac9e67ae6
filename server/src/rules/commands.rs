//! Commands: which devices an order selects, how ACKs, time and operators change a command, and what retention deletes.

use std::collections::{BTreeMap, BTreeSet};

use ks_protocol::{
    id::{CommandId, DeviceId},
    message::{Ack, Command},
    text::{counted, hex},
    time::UnixMs,
};
use sha2::{Digest, Sha256};

use super::{old_part, selection::find};
use crate::{
    command::{CommandEvent, CommandState, step},
    store::{
        Actor, PruneStep, StoreError, Transaction,
        audit::chain::{Audited, note},
        commands::{
            AckBatch, CancelRefused, CommandChange, CommandRow, NewCommands, NewOrder, OrderRefused, OrderRow,
            OrderTerms, Ordered, REFUSED_NAMED_MAX,
        },
        devices::{DeviceState, DeviceStatus, Selector},
        heartbeats::Beat,
    },
};

/// Most commands in one response.
const DELIVERED_AT_ONCE: usize = 16;

/// Queues one command for each selected device that is known and not revoked, for at most `devices_max` of them. Any caller
/// continues it by calling again until the order is complete. An order with the same client token, or the same name, is the same
/// order. Each piece has its line in the audit, in the name of the operator who gave the order.
pub fn order(
    store: &mut dyn Transaction,
    order: &NewOrder,
    devices_max: usize,
    by: &Actor,
) -> Result<Result<Ordered, OrderRefused>, StoreError> {
    let Some(found) = find_order(store, order)? else { return begin(store, order, devices_max, by).map(Ok) };
    if found.request_sha256 != order.request_sha256 {
        return Ok(Err(OrderRefused::TokenTaken));
    }
    match found.next_after {
        None => Ok(Ok(ordered(found, Vec::new(), true))),
        Some(after) => go_on(store, order, found, after, devices_max, by.at).map(Ok),
    }
}

/// The order with the same client token or the same name.
fn find_order(store: &mut dyn Transaction, order: &NewOrder) -> Result<Option<OrderRow>, StoreError> {
    if let Some(token) = &order.client_token
        && let Some(found) = store.order_of_token(token)?
    {
        return Ok(Some(found));
    }
    store.order_named(&order.order_id)
}

/// Stores an order and its first piece.
fn begin(store: &mut dyn Transaction, order: &NewOrder, devices_max: usize, by: &Actor) -> Result<Ordered, StoreError> {
    let Piece { meant, refused, next_after } = piece(store, &order.which, 0, devices_max)?;
    let terms = OrderTerms {
        id_seed: order.id_seed,
        deadline_at: order.deadline_at,
        name: by.name.clone(),
        address: by.address,
    };
    let mut begun = OrderRow {
        row: 0,
        order_id: order.order_id.clone(),
        request_sha256: order.request_sha256,
        queued: meant.len(),
        refused: refused.len(),
        next_after,
    };
    let noted = note_piece(store, order, &begun.order_id, meant.len(), by)?;
    begun.row = store.insert_order(order, &begun, by.at, &noted)?;
    if next_after.is_some() {
        store.insert_order_terms(begun.row, order, &terms, &noted)?;
    }
    queue(store, order, begun.row, &terms, &meant, by.at, &noted)?;
    Ok(ordered(begun, refused, false))
}

/// Queues the next piece of an order at `at`, on the terms of the first.
fn go_on(
    store: &mut dyn Transaction,
    order: &NewOrder,
    mut begun: OrderRow,
    after: i64,
    devices_max: usize,
    at: UnixMs,
) -> Result<Ordered, StoreError> {
    let terms = store.order_terms(begun.row)?;
    let Piece { meant, refused, next_after } = piece(store, &order.which, after, devices_max)?;
    if !meant.is_empty() {
        let by = Actor { name: terms.name.clone(), address: terms.address, at };
        let noted = note_piece(store, order, &begun.order_id, meant.len(), &by)?;
        queue(store, order, begun.row, &terms, &meant, at, &noted)?;
    }
    begun.queued += meant.len();
    begun.refused += refused.len();
    begun.next_after = next_after;
    store.save_order(&begun)?;
    if next_after.is_none() {
        store.delete_order_terms(begun.row)?;
    }
    Ok(ordered(begun, refused, true))
}

fn note_piece(
    store: &mut dyn Transaction,
    order: &NewOrder,
    order_id: &CommandId,
    devices: usize,
    by: &Actor,
) -> Result<Audited, StoreError> {
    note(store, "command.order", &counted(devices, "device"), &format!("{} {order_id}", order.kind), by)
}

fn ordered(order: OrderRow, mut refused: Vec<DeviceId>, is_repeated: bool) -> Ordered {
    let OrderRow { order_id, queued, refused: refused_count, next_after, .. } = order;
    refused.truncate(REFUSED_NAMED_MAX);
    Ordered { order_id, queued, refused, refused_count, is_repeated, is_whole: next_after.is_none() }
}

/// Devices of one piece of an order.
struct Piece {
    meant: Vec<i64>,
    refused: Vec<DeviceId>,
    next_after: Option<i64>,
}

/// The next selected devices; named devices that are unknown or revoked are refused.
fn piece(store: &mut dyn Transaction, which: &Selector, after: i64, devices_max: usize) -> Result<Piece, StoreError> {
    let is_open = |state: &DeviceState| state.status != DeviceStatus::Revoked;
    let Some(names) = &which.device_ids else {
        let found = store.states_of(which, after, devices_max)?;
        let next_after = found.last().filter(|_| found.len() == devices_max).map(|(_, last)| last.row);
        let meant = found.iter().filter(|(_, state)| is_open(state)).map(|(_, state)| state.row).collect();
        return Ok(Piece { meant, refused: Vec::new(), next_after });
    };
    let left = names.get(usize::try_from(after).unwrap_or(usize::MAX)..).unwrap_or_default();
    let some = left.get(..devices_max).unwrap_or(left);
    let some_count = i64::try_from(some.len()).unwrap_or(i64::MAX);
    let next_after = (some.len() < left.len()).then(|| after.saturating_add(some_count));
    let named = Selector { device_ids: Some(some.to_vec()), ..which.clone() };
    let (found, mut refused) = find(store, &named)?;
    let mut meant = Vec::with_capacity(found.len());
    for (device_id, state) in found {
        if is_open(&state) { meant.push(state.row) } else { refused.push(device_id) }
    }
    Ok(Piece { meant, refused, next_after })
}

/// Queues a command of an order for each of these devices.
fn queue(
    store: &mut dyn Transaction,
    order: &NewOrder,
    order_row: i64,
    terms: &OrderTerms,
    devices: &[i64],
    at: UnixMs,
    noted: &Audited,
) -> Result<(), StoreError> {
    if devices.is_empty() {
        return Ok(());
    }
    let named = devices.iter().map(|device| command_name(&terms.id_seed, *device).map(|name| (name, *device)));
    let commands = NewCommands {
        order_row,
        kind: &order.kind,
        argument: &order.argument,
        is_urgent: order.is_urgent,
        created_at: at,
        deadline_at: terms.deadline_at,
        devices: &named.collect::<Result<Vec<_>, _>>()?,
    };
    store.insert_commands(&commands, noted)
}

/// The name of a device's command of an order, derived from the order's seed and the device.
fn command_name(id_seed: &[u8; 32], device: i64) -> Result<CommandId, StoreError> {
    let digits = hex(&Sha256::new_with_prefix(id_seed).chain_update(device.to_be_bytes()).finalize());
    let name = format!("c{}", digits.get(..24).unwrap_or(&digits));
    name.parse().map_err(|_| StoreError::Database(format!("`{name}` can't be a command's name")))
}

/// Records ACKs sent outside of heartbeats, each batch with the row of its device; returns the state of each command, none where
/// the device has no such command.
pub(super) fn record_acks(
    store: &mut dyn Transaction,
    batches: &[(i64, &AckBatch)],
) -> Result<Vec<Vec<Option<CommandState>>>, StoreError> {
    let acks: Vec<_> =
        batches.iter().flat_map(|(device, batch)| batch.acks.iter().map(|ack| (*device, batch.at, ack))).collect();
    let mut states = apply_acks(store, &acks)?.into_iter();
    Ok(batches.iter().map(|(_, batch)| states.by_ref().take(batch.acks.len()).collect()).collect())
}

/// Applies the ACKs in heartbeats, and returns the commands due to each device, by its row.
pub(super) fn on_beats(
    store: &mut dyn Transaction,
    beats: &[(i64, &Beat)],
) -> Result<BTreeMap<i64, Vec<Command>>, StoreError> {
    if beats.is_empty() {
        return Ok(BTreeMap::new());
    }
    let acks: Vec<_> = beats
        .iter()
        .flat_map(|(device, beat)| beat.heartbeat.acks.as_slice().iter().map(|ack| (*device, beat.at, ack)))
        .collect();
    apply_acks(store, &acks)?;
    deliver(store, &beats.iter().map(|(device, beat)| (*device, beat.at)).collect::<Vec<_>>())
}

/// Applies ACKs in their order, each given with the row of its device and when it was received; returns the state of each
/// command after its ACK, none if the device has no such command.
fn apply_acks(
    store: &mut dyn Transaction,
    acks: &[(i64, UnixMs, &Ack)],
) -> Result<Vec<Option<CommandState>>, StoreError> {
    if acks.is_empty() {
        return Ok(Vec::new());
    }
    let named: Vec<&CommandId> = acks.iter().map(|(_, _, ack)| &ack.command_id).collect();
    let found = store.commands_named(&named)?;
    // A device may ACK one command twice: the last one is written.
    let mut changes: BTreeMap<i64, CommandChange<'_>> = BTreeMap::new();
    let mut states = Vec::with_capacity(acks.len());
    for ((device, at, ack), found) in acks.iter().zip(found) {
        let Some(command) = found.filter(|command| command.device == *device) else {
            states.push(None);
            continue;
        };
        let state = changes.get(&command.row).map_or(command.state, |change| change.state);
        let next = step(state, ack.state.into());
        if next != state {
            changes.insert(command.row, change(command, next, ack.detail.as_str(), *at));
        }
        states.push(Some(next));
    }
    save(store, &changes.into_values().collect::<Vec<_>>())?;
    Ok(states)
}

/// Open commands of these devices, urgent ones first, then the oldest; marks them as delivered at the time given for the device.
/// Commands that a device has received are skipped before the limit applies, so that commands in progress don't block later
/// ones. Commands past their deadline are skipped too; retention, which checks the clock for jumps, closes them.
fn deliver(store: &mut dyn Transaction, devices: &[(i64, UnixMs)]) -> Result<BTreeMap<i64, Vec<Command>>, StoreError> {
    let waiting = store.waiting_commands(devices, DELIVERED_AT_ONCE)?;
    let times: BTreeMap<i64, UnixMs> = devices.iter().copied().collect();
    let changes: Vec<_> =
        waiting.iter().filter_map(|(row, _)| moved(*row, CommandEvent::Sent, *times.get(&row.device)?)).collect();
    save(store, &changes)?;
    let mut due = BTreeMap::<i64, Vec<Command>>::new();
    for (row, command) in waiting {
        due.entry(row.device).or_default().push(command);
    }
    Ok(due)
}

/// Cancels a command that was not delivered yet; with `force` also a delivered one, which the device may still execute.
pub fn cancel(
    store: &mut dyn Transaction,
    command_id: &CommandId,
    force: bool,
    by: &Actor,
) -> Result<Result<CommandState, CancelRefused>, StoreError> {
    let Some(command) = store.commands_named(&[command_id])?.pop().flatten() else {
        return Ok(Err(CancelRefused::Unknown));
    };
    let state = command.state;
    if state.is_terminal() || (state != CommandState::Queued && !force) {
        return Ok(Err(CancelRefused::Past(state)));
    }
    let noted = note(store, "command.cancel", command_id.as_str(), state.as_str(), by)?;
    store.cancel_commands(&[command], "canceled by an operator", by.at, &noted)?;
    Ok(Ok(CommandState::Canceled))
}

/// Cancels every open command of these devices.
pub(crate) fn cancel_open(
    store: &mut dyn Transaction,
    devices: &[i64],
    why: &str,
    at: UnixMs,
    noted: &Audited,
) -> Result<(), StoreError> {
    let open = store.open_commands(devices)?;
    if open.is_empty() { Ok(()) } else { store.cancel_commands(&open, why, at, noted) }
}

/// Closes open commands past their deadline, at most `rows_max`; returns how many there were.
pub fn close_overdue(store: &mut dyn Transaction, now: UnixMs, rows_max: usize) -> Result<usize, StoreError> {
    let overdue = store.overdue_commands(now, rows_max)?;
    let changes: Vec<_> =
        overdue.iter().filter_map(|command| moved(*command, CommandEvent::DeadlinePassed, now)).collect();
    save(store, &changes)?;
    Ok(overdue.len())
}

/// The change that an event without detail makes to a command; none if its state stays the same.
fn moved(command: CommandRow, event: CommandEvent, at: UnixMs) -> Option<CommandChange<'static>> {
    let next = step(command.state, event);
    (next != command.state).then(|| change(command, next, "", at))
}

fn change(command: CommandRow, state: CommandState, detail: &str, at: UnixMs) -> CommandChange<'_> {
    CommandChange {
        command,
        state,
        detail,
        delivered_at: (state == CommandState::Delivered).then_some(at),
        finished_at: state.is_terminal().then_some(at),
    }
}

fn save(store: &mut dyn Transaction, changes: &[CommandChange<'_>]) -> Result<(), StoreError> {
    if changes.is_empty() { Ok(()) } else { store.save_commands(changes) }
}

/// One step of retention, over rows above `after`: deletes old commands that have ended, and orders without commands.
pub fn prune(
    store: &mut dyn Transaction,
    before: UnixMs,
    after: i64,
    rows_max: usize,
) -> Result<PruneStep, StoreError> {
    let span = store.span_of_commands(after, rows_max)?;
    let Some((last, next_after)) = old_part(span, before, rows_max) else { return Ok(PruneStep::default()) };
    let orders = store.delete_ended_commands(after, last, before)?;
    let rows = orders.len();
    let orders: BTreeSet<i64> = orders.into_iter().collect();
    if !orders.is_empty() {
        store.delete_empty_orders(&orders.into_iter().collect::<Vec<_>>())?;
    }
    Ok(PruneStep { rows, next_after })
}
