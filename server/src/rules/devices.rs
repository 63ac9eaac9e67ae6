//! Devices: which are whitelisted, how they register, whose signed writes are accepted, and what a revocation ends.

use std::collections::BTreeMap;

use ks_protocol::{
    id::{DeviceId, Sequence},
    key::PublicKey,
    text::counted,
    time::UnixMs,
};

use super::{commands::cancel_open, selection::find, updates};
use crate::{
    clock::AHEAD_MAX,
    rollout::update::UpdateEvent,
    store::{
        Actor, Denied, StoreError, Transaction,
        audit::chain::note,
        devices::{
            DeviceEdit, DeviceRow, DeviceState, DeviceStatus, EditRefused, ImportProblem, Imported, KeyRotation,
            NewDevice, NewOtrts, PROBLEMS_MAX, Pair, Part, Registration, Revoked, Selector, Sender, WhitelistRows,
            Whitelisted,
        },
    },
};

/// Stores the pair of a registered device if it is greater than the stored one, and returns the device's row. The check of every
/// signed write that is not hot work.
fn advance(
    store: &mut dyn Transaction,
    (sender, device_id): (Sender, &DeviceId),
    sequence: Sequence,
    at: UnixMs,
) -> Result<Result<i64, Denied>, StoreError> {
    let advanced = advance_all(store, &[Pair { sender, device_id, sequence, at }])?.pop();
    Ok(advanced.unwrap_or(Err(Denied::Unknown)))
}

/// The same for several devices, each of which occurs at most once.
pub(super) fn advance_all(
    store: &mut dyn Transaction,
    pairs: &[Pair<'_>],
) -> Result<Vec<Result<i64, Denied>>, StoreError> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let taken = store.take_pairs(pairs)?;
    or_denied(store, pairs, taken)
}

/// The result of each of these pairs, or why it was denied.
pub(super) fn or_denied<T>(
    store: &mut dyn Transaction,
    pairs: &[Pair<'_>],
    taken: Vec<Option<T>>,
) -> Result<Vec<Result<T, Denied>>, StoreError> {
    let refused: Vec<&Pair<'_>> =
        pairs.iter().zip(&taken).filter(|(_, taken)| taken.is_none()).map(|(pair, _)| pair).collect();
    let device_ids: Vec<&DeviceId> = refused.iter().map(|pair| pair.device_id).collect();
    let states = if refused.is_empty() { Vec::new() } else { store.states(&device_ids)? };
    let mut reasons = states.into_iter().zip(refused).map(|(state, pair)| denied(state, pair.sequence));
    Ok(taken.into_iter().map(|taken| taken.ok_or_else(|| reasons.next().unwrap_or(Denied::Unknown))).collect())
}

/// Why a device with this state may not write with the pair that it sent.
fn denied(state: Option<DeviceState>, sent: Sequence) -> Denied {
    match state {
        None => Denied::Unknown,
        Some(DeviceState { status: DeviceStatus::Revoked, .. }) => Denied::Revoked,
        Some(DeviceState { status: DeviceStatus::Whitelisted, .. }) => Denied::NotRegistered,
        Some(DeviceState { kept, .. }) if sent <= kept => Denied::Stale { kept },
        Some(_) => Denied::KeyReplaced,
    }
}

/// Whitelists all of `devices` or none. A row that exists already with the same columns is left as it is. The audit gets a line,
/// unless this is a later part of an inventory with nothing new.
pub fn import(
    store: &mut dyn Transaction,
    devices: &[NewDevice],
    part: Part,
    by: &Actor,
) -> Result<Result<Imported, Vec<ImportProblem>>, StoreError> {
    // Every row is checked before the first is written, so that a refusal leaves nothing to undo.
    let InventoryComparison { new, revoked, problems } = compare(store, devices)?;
    if !problems.is_empty() {
        return Ok(Err(problems));
    }
    let Part { before, total } = part;
    if before == 0 || !new.is_empty() {
        let rows = format!("rows {} to {} of {total}", before + 1, before + devices.len());
        let which = if devices.len() == total { "" } else { &rows };
        let noted = note(store, "device.import", &counted(new.len(), "device"), which, by)?;
        if !new.is_empty() {
            store.insert_devices(&new, by.at, &noted)?;
        }
    }
    Ok(Ok(Imported { added: new.len(), unchanged: devices.len() - new.len(), revoked }))
}

/// The first thousand reasons why these could not be imported now.
pub fn import_problems(
    store: &mut (impl WhitelistRows + ?Sized),
    devices: &[NewDevice],
) -> Result<Vec<ImportProblem>, StoreError> {
    Ok(compare(store, devices)?.problems)
}

/// An inventory compared with the stored devices.
#[derive(Default)]
struct InventoryComparison<'d> {
    new: Vec<&'d NewDevice>,
    /// How many of the known devices are revoked.
    revoked: usize,
    /// The first thousand.
    problems: Vec<ImportProblem>,
}

fn compare<'d>(
    store: &mut (impl WhitelistRows + ?Sized),
    devices: &'d [NewDevice],
) -> Result<InventoryComparison<'d>, StoreError> {
    let names: Vec<&DeviceId> = devices.iter().map(|device| &device.device_id).collect();
    let known: BTreeMap<DeviceId, Whitelisted> =
        store.whitelisted(&names)?.into_iter().map(|known| (known.device_id.clone(), known)).collect();
    let new = devices.iter().filter(|device| !known.contains_key(&device.device_id));
    let keys: Vec<PublicKey> = new.map(|device| device.public_key).collect();
    let owners: BTreeMap<PublicKey, DeviceId> = store.key_owners(&keys)?.into_iter().collect();
    let mut compared = InventoryComparison::default();
    for device in devices {
        let conflict = match (known.get(&device.device_id), owners.get(&device.public_key)) {
            (Some(known), _) => {
                compared.revoked += usize::from(known.is_revoked);
                conflict(device, known)
            }
            (None, Some(owner)) => {
                Some(("public_key", format!("device {owner} has or had this key; a key is never used twice")))
            }
            (None, None) => {
                compared.new.push(device);
                None
            }
        };
        if let Some((field, what)) = conflict {
            compared.problems.push(ImportProblem { line: device.line, field, what });
        }
        if compared.problems.len() == PROBLEMS_MAX {
            break;
        }
    }
    Ok(compared)
}

/// The first column in which a row of an inventory differs from the stored device of its name.
fn conflict(device: &NewDevice, known: &Whitelisted) -> Option<(&'static str, String)> {
    let NewDevice { device_id, public_key, serial, manufacturer, model, site, .. } = device;
    if known.public_key != *public_key {
        let what = format!("device {device_id} is whitelisted with another key; re-provision it instead");
        return Some(("public_key", what));
    }
    let columns = [
        ("serial", serial, &known.serial),
        ("manufacturer", manufacturer, &known.manufacturer),
        ("model", model, &known.model),
        ("site", site, &known.site),
    ];
    let (field, given, stored) = columns.into_iter().find(|(_, given, stored)| given != stored)?;
    Some((field, format!("device {device_id} is whitelisted with {field} `{stored}`, got `{given}`")))
}

/// Registers a whitelisted device, and returns when it first registered.
pub fn register(
    store: &mut dyn Transaction,
    registration: &Registration,
    by: &Actor,
) -> Result<Result<UnixMs, Denied>, StoreError> {
    let Registration { device_id, public_key, sequence, .. } = registration;
    let Some(device) = store.device(device_id)? else { return Ok(Err(Denied::Unknown)) };
    let DeviceState { row, status, kept, .. } = device.state;
    let checked = if status == DeviceStatus::Revoked {
        Err(Denied::Revoked)
    } else if device.public_key != *public_key {
        Err(Denied::KeyMismatch)
    } else if *sequence <= kept {
        Err(Denied::Stale { kept })
    } else {
        match registration.otrt_sha256 {
            Some(sha256) => unused_otrt(store, sha256, registration, &device, by.at)?,
            None if registration.otrt_required && status == DeviceStatus::Whitelisted => Err(Denied::OtrtRequired),
            None => Ok(None),
        }
    };
    let unused_otrt = match checked {
        Ok(unused) => unused,
        Err(denied) => return Ok(Err(denied)),
    };
    // A device that registers again changes nothing, unless it uses up a token.
    let again = match (device.registered_at, unused_otrt) {
        (Some(first), None) => {
            return Ok(advance(store, (device.state.sender(), device_id), *sequence, by.at)?.map(|_| first));
        }
        (again, _) => again,
    };
    let detail = if again.is_some() { "again, with a one-time token" } else { "" };
    let noted = note(store, "device.register", device_id.as_str(), detail, by)?;
    if let Some(sha256) = unused_otrt {
        store.use_otrt(&sha256, public_key, by.at, &noted)?;
    }
    if let Some(first) = again {
        return Ok(advance(store, (device.state.sender(), device_id), *sequence, by.at)?.map(|_| first));
    }
    store.register_device(row, *sequence, by.at, &noted)?;
    store.insert_changes(&[row], by.at)?; // every server must know that it has registered
    Ok(Ok(by.at))
}

/// The token if it can be used and was not, none if this key used it before (it gets the same answer until the token expires), or
/// why it can't be used.
fn unused_otrt(
    store: &mut dyn Transaction,
    sha256: [u8; 32],
    registration: &Registration,
    device: &DeviceRow,
    at: UnixMs,
) -> Result<Result<Option<[u8; 32]>, Denied>, StoreError> {
    let Some(token) = store.otrt(&sha256)? else { return Ok(Err(Denied::OtrtInvalid)) };
    if token.used_key.is_some_and(|key| key != registration.public_key) {
        return Ok(Err(Denied::OtrtUsed));
    }
    let is_in_time = token.created_at <= at + AHEAD_MAX && token.expires_at > at;
    let is_for_it = token.device_id.is_none_or(|bound| bound == registration.device_id)
        && token.model.is_none_or(|bound| bound == device.model);
    if !is_in_time || !is_for_it {
        return Ok(Err(Denied::OtrtInvalid));
    }
    Ok(Ok(token.used_key.is_none().then_some(sha256)))
}

pub fn add_otrts(store: &mut dyn Transaction, otrts: &NewOtrts, by: &Actor) -> Result<(), StoreError> {
    let subject = counted(otrts.tokens_sha256.len(), "token");
    let noted = note(store, "otrt.make", &subject, &format!("expires {}", otrts.expires_at), by)?;
    store.insert_otrts(otrts, by.at, &noted)
}

/// Deletes the unused ones of these one-time tokens; returns how many.
pub fn revoke_otrts(store: &mut dyn Transaction, tokens_sha256: &[[u8; 32]], by: &Actor) -> Result<usize, StoreError> {
    let unused = store.count_unused_otrts(tokens_sha256)?;
    let noted = note(store, "otrt.revoke", &counted(unused, "token"), "", by)?;
    store.delete_unused_otrts(tokens_sha256, &noted)?;
    Ok(unused)
}

/// Replaces the key of a registered device. The same rotation again, signed with the new key, changes nothing.
pub fn rotate_key(
    store: &mut dyn Transaction,
    rotation: &KeyRotation,
    by: &Actor,
) -> Result<Result<(), Denied>, StoreError> {
    let KeyRotation { device_id, sequence, signed_with, new_public_key } = rotation;
    let Some(device) = store.device(device_id)? else { return Ok(Err(Denied::Unknown)) };
    let state = device.state;
    if state.status != DeviceStatus::Registered || *sequence <= state.kept {
        return Ok(Err(denied(Some(state), *sequence)));
    }
    // Checked before the pair is stored, so that a refusal changes nothing.
    if device.public_key != *signed_with {
        return Ok(Err(Denied::KeyMismatch)); // rotated meanwhile by another holder of the old key
    }
    let is_repeated = device.public_key == *new_public_key;
    if !is_repeated && store.is_known_key(new_public_key)? {
        return Ok(Err(Denied::KeyInUse));
    }
    if let Err(denied) = advance(store, (device.state.sender(), device_id), *sequence, by.at)? {
        return Ok(Err(denied));
    }
    if !is_repeated {
        let noted = note(store, "device.rotate_key", device_id.as_str(), &new_public_key.to_string(), by)?;
        store.save_key(state.row, new_public_key, by.at, &noted)?;
        store.insert_changes(&[state.row], by.at)?;
    }
    Ok(Ok(()))
}

/// Revokes devices and cancels their open commands; devices revoked before stay revoked.
pub fn revoke(store: &mut dyn Transaction, which: &Selector, reason: &str, by: &Actor) -> Result<Revoked, StoreError> {
    let (found, unknown) = find(store, which)?;
    let mut done = Revoked { unknown, ..Revoked::default() };
    let mut noted = Vec::new();
    for (device_id, state) in found {
        if state.status == DeviceStatus::Revoked {
            done.already += 1;
            continue;
        }
        noted.push((state.row, note(store, "device.revoke", device_id.as_str(), reason, by)?));
        done.revoked.push(device_id);
    }
    let Some((_, first)) = noted.first() else { return Ok(done) };
    let rows: Vec<i64> = noted.iter().map(|(row, _)| *row).collect();
    store.revoke_devices(&noted, reason, by.at)?;
    cancel_open(store, &rows, "the device was revoked", by.at, first)?;
    updates::on_operator(store, &rows, UpdateEvent::Revoked, by.at)?;
    store.insert_changes(&rows, by.at)?; // every server must reload them
    Ok(done)
}

/// Gives a device a new key and resets it: it is whitelisted, with the pair (0, 0), whatever its state was before.
pub fn reprovision(
    store: &mut dyn Transaction,
    device_id: &DeviceId,
    public_key: &PublicKey,
    reason: &str,
    by: &Actor,
) -> Result<Result<(), EditRefused>, StoreError> {
    let Some(DeviceState { row, .. }) = store.states(&[device_id])?.pop().flatten() else {
        return Ok(Err(EditRefused::Unknown));
    };
    if store.is_known_key(public_key)? {
        return Ok(Err(EditRefused::KeyInUse));
    }
    let noted = note(store, "device.reprovision", device_id.as_str(), &format!("{public_key}: {reason}"), by)?;
    cancel_open(store, &[row], "the device was re-provisioned", by.at, &noted)?;
    updates::on_operator(store, &[row], UpdateEvent::Reprovisioned, by.at)?;
    store.save_key(row, public_key, by.at, &noted)?;
    // Tokens bound to the device were given to the holder of the old key. Used ones are valid only for the old key, which never
    // returns.
    store.end_otrts_of(device_id, &noted)?;
    // Nothing signed with the old key is accepted any longer, so the pair may start again.
    store.restart_device(row, &noted)?;
    store.insert_changes(&[row], by.at)?;
    Ok(Ok(()))
}

/// Edits a device, if its version is still `if_version`; returns its new version.
pub fn edit(
    store: &mut dyn Transaction,
    device_id: &DeviceId,
    edit: &DeviceEdit,
    if_version: Option<u64>,
    by: &Actor,
) -> Result<Result<u64, EditRefused>, StoreError> {
    let Some(device) = store.device(device_id)? else { return Ok(Err(EditRefused::Unknown)) };
    let (row, version) = (device.state.row, device.version);
    if if_version.is_some_and(|expected| expected != version) {
        return Ok(Err(EditRefused::Changed { version }));
    }
    let site = edit.site.as_ref().map(|site| format!("site {site}"));
    let labels = edit.labels.as_ref().map(|labels| format!("labels {}", labels.join(", ")));
    let described = [site, labels].into_iter().flatten().collect::<Vec<_>>().join("; ");
    let noted = note(store, "device.edit", device_id.as_str(), &described, by)?;
    store.save_device(row, edit.site.as_ref().unwrap_or(&device.site), version + 1, &noted)?;
    if let Some(labels) = &edit.labels {
        store.save_labels(row, labels, &noted)?;
    }
    Ok(Ok(version + 1))
}
