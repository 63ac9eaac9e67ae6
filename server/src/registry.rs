//! The devices in memory, so that a request can be refused before a signature check and a write.
//!
//! Memory can only refuse *sooner*: the store decides on revocation, replay and tokens, inside the transaction. New devices and
//! changes are followed, also those by another process within a second. A device that is not here yet is looked up in the store.

mod budgets;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicI64, Ordering},
    },
};

use ks_protocol::{
    id::{DeviceId, Sequence},
    key::{PublicKey, Verifier},
};

pub use self::budgets::{
    DeviceBudgets, DeviceLimit, KEY_CHANGES, LOG_BYTES, PUNCHES, REQUESTS, ROW_BYTES, Refusals, STORED_BYTES,
};
use crate::{
    pace::Phase,
    refusal::Refusal,
    store::{
        Newest, Reader, StoreError,
        devices::{AuthRecord, DeviceStatus, Sender},
    },
};

/// Devices read from the store at a time.
const PAGE: usize = 10_000;

/// One device in memory.
#[derive(Debug)]
pub struct KnownDevice {
    /// The whitelisted key, as it was given.
    pub public_key: PublicKey,
    /// The device as the sender of requests that this key verifies.
    pub sender: Sender,
    /// When its beats are due.
    pub phase: Phase,
    verifier: OnceLock<Option<Verifier>>,
    now: Mutex<KnownState>,
}

/// What changes with a device's requests.
#[derive(Debug, Clone, Copy)]
pub struct KnownState {
    pub status: DeviceStatus,
    /// The greatest replay pair known to be used: by a stored request, or by a download, which stores nothing.
    pub kept: Sequence,
    /// Commands wait for the device, as far as this server knows.
    pub is_awaited: bool,
    /// How often it was learned that commands were ordered for it.
    orders: u32,
    /// The budgets that it has spent.
    pub spent: DeviceBudgets,
}

impl KnownDevice {
    fn new(record: &AuthRecord, spent: DeviceBudgets) -> Self {
        let state = KnownState {
            status: record.status,
            kept: record.sequence,
            is_awaited: record.is_awaited,
            orders: 0,
            spent,
        };
        let sender = Sender { row: record.row, key_no: record.key_no };
        let phase = Phase::of(&record.device_id);
        Self { public_key: record.public_key, sender, phase, verifier: OnceLock::new(), now: Mutex::new(state) }
    }

    /// The key ready to verify with; none if the stored key is not a valid point. Decoded at first use.
    pub fn verifier(&self) -> Option<&Verifier> {
        self.verifier.get_or_init(|| self.public_key.verifier().ok()).as_ref()
    }

    /// Whether commands wait for the device, as far as this server knows.
    pub fn is_awaited(&self) -> bool {
        self.with_state(|now| now.is_awaited)
    }

    /// Whether it has registered, as far as this server knows.
    pub fn has_registered(&self) -> bool {
        self.with_state(|now| now.status != DeviceStatus::Whitelisted)
    }

    /// Commands were ordered for the device.
    fn ordered(&self) {
        self.with_state(|now| (now.is_awaited, now.orders) = (true, now.orders.wrapping_add(1)));
    }

    /// How often it was learned that commands were ordered for it: for [`KnownDevice::brought`].
    pub fn orders(&self) -> u32 {
        self.with_state(|now| now.orders)
    }

    /// The answer to a heartbeat brings commands, or none. `orders_before` is from before the heartbeat was stored: a command that was ordered
    /// since may have come too late for it, and waits for the next one.
    pub fn brought(&self, has_commands: bool, orders_before: u32) {
        self.with_state(|now| now.is_awaited = has_commands || (now.is_awaited && now.orders != orders_before));
    }

    /// Reads or changes the state.
    pub fn with_state<T>(&self, change: impl FnOnce(&mut KnownState) -> T) -> T {
        change(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Uses the pair of a request that stores nothing, so that it is accepted once, in memory.
    ///
    /// # Errors
    /// It, or a greater one, was used before.
    pub fn take(&self, sequence: Sequence) -> Result<(), Refusal> {
        self.with_state(|state| {
            if sequence <= state.kept {
                return Err(Refusal::stale(state.kept));
            }
            state.kept = sequence;
            Ok(())
        })
    }

    /// Records that it has registered, perhaps at another server, if that is all that has changed.
    fn has_merely_registered(&self, record: &AuthRecord) -> bool {
        let is_same = self.sender.row == record.row && self.sender.key_no == record.key_no;
        let is_registered = record.status == DeviceStatus::Registered;
        if is_same && is_registered {
            self.stored(record.sequence); // a revocation that is known already stays
        }
        is_same && is_registered
    }

    /// Records a pair that the store has accepted, which means that the device is registered.
    pub fn stored(&self, sequence: Sequence) {
        self.with_state(|state| {
            state.kept = state.kept.max(sequence);
            if state.status == DeviceStatus::Whitelisted {
                state.status = DeviceStatus::Registered; // a revocation that came in between stays
            }
        });
    }
}

/// Every known device by name.
#[derive(Debug, Default)]
pub struct Registry {
    devices: RwLock<BTreeMap<DeviceId, Arc<KnownDevice>>>,
    /// Row of the last device that was loaded.
    last_row: AtomicI64,
    /// The last change that was applied.
    followed: AtomicI64,
    /// Row of the last command whose device is known to be awaited.
    last_command: AtomicI64,
}

impl Registry {
    /// Reads every device from the store.
    pub async fn load(reader: &Reader) -> Result<Self, StoreError> {
        let registry = Self::default();
        let newest = reader.ask(|store| store.newest()).await?;
        registry.followed.store(newest.device_change, Ordering::Relaxed);
        registry.last_command.store(newest.command, Ordering::Relaxed); // older ones come with the devices
        registry.load_new(reader).await?;
        Ok(registry)
    }

    /// Loads the devices that were added since the last call.
    async fn load_new(&self, reader: &Reader) -> Result<(), StoreError> {
        loop {
            let after = self.last_row.load(Ordering::Relaxed);
            let page = reader.ask(move |store| store.auth_records(after, PAGE)).await?;
            let Some(last) = page.last() else { return Ok(()) };
            let row = last.row;
            let mut devices = self.write();
            for record in page {
                // An entry in memory is as new, or newer.
                let known = || Arc::new(KnownDevice::new(&record, DeviceBudgets::default()));
                devices.entry(record.device_id.clone()).or_insert_with(known);
            }
            drop(devices);
            self.last_row.fetch_max(row, Ordering::Relaxed);
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<DeviceId, Arc<KnownDevice>>> {
        self.devices.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of devices in memory.
    pub fn len(&self) -> usize {
        self.devices.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The device in memory, if it is there.
    pub fn get(&self, device_id: &DeviceId) -> Option<Arc<KnownDevice>> {
        self.devices.read().unwrap_or_else(PoisonError::into_inner).get(device_id).cloned()
    }

    /// The device, from memory or else from the store.
    pub async fn find(&self, device_id: &DeviceId, reader: &Reader) -> Result<Option<Arc<KnownDevice>>, StoreError> {
        if let Some(known) = self.get(device_id) {
            return Ok(Some(known));
        }
        let wanted = device_id.clone();
        let Some(record) = reader.ask(move |store| store.auth_record(&wanted)).await? else { return Ok(None) };
        // A concurrent request may have inserted it; its entry stays, so that both share one budget.
        let mut devices = self.write();
        Ok(Some(
            devices
                .entry(record.device_id.clone())
                .or_insert_with(|| Arc::new(KnownDevice::new(&record, DeviceBudgets::default())))
                .clone(),
        ))
    }

    /// As [`Registry::follow`], with the newest rows of the store already known.
    ///
    /// # Errors
    /// As [`Registry::follow`].
    pub async fn follow_to(&self, newest: Newest, reader: &Reader) -> Result<(), StoreError> {
        self.follow_commands(newest.command, reader).await?;
        let is_followed = newest.device_change <= self.followed.load(Ordering::Relaxed);
        if is_followed && newest.device <= self.last_row.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.follow(reader).await?;
        self.followed.fetch_max(newest.device_change, Ordering::Relaxed); // changes that retention deleted meanwhile count as applied
        Ok(())
    }

    /// Notes for which devices commands were ordered since the last call.
    async fn follow_commands(&self, newest: i64, reader: &Reader) -> Result<(), StoreError> {
        loop {
            let after = self.last_command.load(Ordering::Relaxed);
            if newest <= after {
                return Ok(());
            }
            let awaited = reader.ask(move |store| store.awaited(after, PAGE)).await?;
            for known in awaited.iter().filter_map(|(_, device_id)| self.get(device_id)) {
                known.ordered();
            }
            // Commands that have ended meanwhile are not in a page that is not full.
            let followed = awaited.last().filter(|_| awaited.len() == PAGE).map_or(newest, |(row, _)| *row);
            self.last_command.fetch_max(followed, Ordering::Relaxed);
        }
    }

    /// Applies what changed in the store since the last call, by this server or another: new devices, keys, revocations and
    /// re-provisioned devices. Called after each change by this server, and periodically.
    ///
    /// # Errors
    /// The store can't be read. Memory then refuses what it refused before, and the store decides on the rest.
    pub async fn follow(&self, reader: &Reader) -> Result<(), StoreError> {
        self.load_new(reader).await?;
        loop {
            let after = self.followed.load(Ordering::Relaxed);
            let changes = reader.ask(move |store| store.changes(after, PAGE)).await?;
            let Some(last) = changes.last() else { return Ok(()) };
            let number = last.number;
            let mut devices = self.write();
            if self.followed.load(Ordering::Relaxed) > after {
                continue; // another call has applied these meanwhile, and perhaps later ones
            }
            for change in &changes {
                let known = devices.get(&change.auth.device_id);
                if known.is_some_and(|known| known.has_merely_registered(&change.auth)) {
                    continue;
                }
                // A new entry, so that a verification under the old key no longer counts. Spent budgets stay spent.
                let spent = known.map(|known| known.with_state(|now| now.spent));
                let known = KnownDevice::new(&change.auth, spent.unwrap_or_default());
                devices.insert(change.auth.device_id.clone(), Arc::new(known));
            }
            self.followed.fetch_max(number, Ordering::Relaxed);
            drop(devices);
            if changes.len() < PAGE {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
