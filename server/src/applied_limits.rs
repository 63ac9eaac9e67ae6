//! The limits in force: those of the settings, and over them those that were applied last.
//!
//! The store is the authority on what was applied: every server on the same database follows it within a second.

use std::sync::{Arc, PoisonError, RwLock};

use ks_protocol::time::UnixMs;
use tokio::time::Instant;

use crate::{
    clock::micros,
    config::{LimitsDocument, device_above_all},
    limit::{LimitValues, Limits},
    store::{Reader, StoreError, limits::LimitSet},
};

/// What was applied last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedSet {
    /// 0 if nothing was applied: the limits are those of the settings.
    pub version: u64,
    /// Since when it is in force; before anything was applied, since this server's start.
    pub since: UnixMs,
    /// What the store has of it; none if nothing was applied.
    pub set: Option<LimitSet>,
    pub document: LimitsDocument,
    /// The values in force of all limits.
    pub values: LimitValues,
}

/// The limits in force, and where they come from.
#[derive(Debug)]
pub struct AppliedLimits {
    settings: LimitValues,
    limits: Arc<Limits>,
    /// The start of the clock of the limits.
    started: Instant,
    now: RwLock<Arc<AppliedSet>>,
}

impl AppliedLimits {
    /// Only the limits of the settings are in force, until [`AppliedLimits::follow_to`].
    pub fn new(settings: LimitValues, limits: Arc<Limits>, since: UnixMs, started: Instant) -> Self {
        let (document, values) = (LimitsDocument::default(), settings.clone());
        let now = RwLock::new(Arc::new(AppliedSet { version: 0, since, set: None, document, values }));
        Self { settings, limits, started, now }
    }

    /// What was applied last.
    pub fn now(&self) -> Arc<AppliedSet> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The limits of the settings.
    pub fn settings(&self) -> &LimitValues {
        &self.settings
    }

    /// Puts the newest limits in force, applied by this server, another one, or the command line. Limits that this program can't read,
    /// those of a newer one, are reported and change nothing.
    ///
    /// # Errors
    /// The store can't be read; then the limits in force stay.
    pub async fn follow_to(&self, newest: u64, reader: &Reader) -> Result<(), StoreError> {
        if newest == self.now().version {
            return Ok(());
        }
        let Some(set) = reader.ask(move |store| store.limit_set(newest)).await? else { return Ok(()) };
        let (version, since) = (set.version, set.at);
        let next = match LimitsDocument::read(&set.document) {
            Ok(document) => {
                let values = document.over(&self.settings);
                tracing::info!(version, by = set.actor, "new limits are in force");
                for above in device_above_all(&values) {
                    tracing::warn!(version, "{above}");
                }
                AppliedSet { version, since, set: Some(set), document, values }
            }
            Err(faults) => {
                let why = faults.first().map(ToString::to_string).unwrap_or_default();
                tracing::error!(version, why, "the applied limits can't be read; the old ones stay in force");
                AppliedSet { version, ..AppliedSet::clone(&self.now()) }
            }
        };
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        if now.version < version {
            self.limits.put_in_force(&next.values, micros(self.started.elapsed()));
            *now = Arc::new(next);
        }
        Ok(())
    }

    /// As [`AppliedLimits::follow_to`], up to the newest.
    ///
    /// # Errors
    /// As [`AppliedLimits::follow_to`].
    pub async fn follow(&self, reader: &Reader) -> Result<(), StoreError> {
        let newest = reader.ask(|store| store.newest()).await?.limits_version;
        self.follow_to(newest, reader).await
    }
}
