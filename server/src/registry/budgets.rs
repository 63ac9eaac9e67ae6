//! The budgets of one device in memory: which limits it has, what it has spent of them, and what they have refused.

use schemars::JsonSchema;
use serde::Serialize;

use super::KnownDevice;
use crate::{
    limit::{Gcra, Limit, Limits, Requester, Verdict},
    refusal::Refusal,
};

/// A limit of one device, and where it is counted.
#[derive(Debug)]
pub struct DeviceLimit {
    limit: Limit,
    budget: fn(&mut DeviceBudgets) -> &mut Gcra,
    /// Says in a refusal that it is used up.
    why: &'static str,
}

/// Verified requests.
pub const REQUESTS: DeviceLimit = DeviceLimit {
    limit: Limit::DeviceRequests,
    budget: |spent| &mut spent.requests,
    why: "too many requests by this device",
};
/// Bytes of log lines.
pub const LOG_BYTES: DeviceLimit = DeviceLimit {
    limit: Limit::DeviceLogBytes,
    budget: |spent| &mut spent.log_bytes,
    why: "daily log limit of this device reached",
};
pub const PUNCHES: DeviceLimit = DeviceLimit {
    limit: Limit::DevicePunches,
    budget: |spent| &mut spent.punches,
    why: "daily punch limit of this device reached",
};
/// Bytes that the server stores, of whatever it sends.
pub const STORED_BYTES: DeviceLimit = DeviceLimit {
    limit: Limit::DeviceStoredBytes,
    budget: |spent| &mut spent.stored_bytes,
    why: "daily limit of stored bytes of this device reached",
};
/// What a stored row counts in addition to its texts, for [`STORED_BYTES`].
pub const ROW_BYTES: u64 = 128;
pub const KEY_CHANGES: DeviceLimit = DeviceLimit {
    limit: Limit::DeviceKeyChanges,
    budget: |spent| &mut spent.rotations,
    why: "too many key changes of this device",
};

/// The budgets of a device, whichever key it has, and what they have refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeviceBudgets {
    pub requests: Gcra,
    /// Bytes of log lines.
    pub log_bytes: Gcra,
    pub punches: Gcra,
    /// Bytes that were stored.
    pub stored_bytes: Gcra,
    pub rotations: Gcra,
    /// Failures in its name with expected pairs, while another budget was used up.
    pub suspect_failures: Gcra,
    /// Audit lines about its refused attempts.
    pub notes: Gcra,
    pub refusals: Refusals,
}

/// What limits have refused of one device, since the server started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Refusals {
    /// Verified requests that were refused.
    pub refused: u32,
    /// Verified requests that limits in shadow would have refused.
    pub would_refuse: u32,
    /// Requests in its name, by the device or by others, that were refused before their signature was checked.
    pub refused_unverified: u32,
}

impl KnownDevice {
    /// What a limit says about one more, without counting it.
    pub fn look(&self, limits: &Limits, of: &DeviceLimit, now_us: u64) -> Verdict {
        self.with_state(|now| limits.look(of.limit, now_us, |meter| (of.budget)(&mut now.spent).wait_us(meter)))
    }

    /// Spends one of a budget.
    ///
    /// # Errors
    /// It is used up: `RATE_LIMITED`, with how long to wait.
    pub fn spend(
        &self,
        limits: &Limits,
        of: &DeviceLimit,
        requester: Requester<'_>,
        now_us: u64,
    ) -> Result<(), Refusal> {
        let verdict = self.with_state(|now| {
            let spend = |meter| (of.budget)(&mut now.spent).spend(meter).err();
            let verdict = limits.check(of.limit, requester, now_us, spend);
            now.spent.refusals.count(verdict);
            verdict
        });
        verdict.refusal().map_err(|wait_us| Refusal::too_often(wait_us, of.why))
    }

    /// Whether anything is left of a budget; what is then stored is charged with [`KnownDevice::charge`].
    ///
    /// # Errors
    /// It is used up: `RATE_LIMITED`, with how long to wait.
    pub fn check(
        &self,
        limits: &Limits,
        of: &DeviceLimit,
        requester: Requester<'_>,
        now_us: u64,
    ) -> Result<Verdict, Refusal> {
        let verdict = self.with_state(|now| {
            let verdict = limits.check(of.limit, requester, now_us, |meter| (of.budget)(&mut now.spent).wait_us(meter));
            now.spent.refusals.count(verdict);
            verdict
        });
        verdict.refusal().map(|()| verdict).map_err(|wait_us| Refusal::too_often(wait_us, of.why))
    }

    /// Charges what has been stored to a budget, unless the limit is off or would have refused it.
    pub fn charge(&self, limits: &Limits, (of, verdict): (&DeviceLimit, Verdict), count: u32, now_us: u64) {
        if let Some(meter) = limits.meter(of.limit, now_us).filter(|_| verdict.is_charged()) {
            self.with_state(|now| (of.budget)(&mut now.spent).charge(meter, count));
        }
    }

    /// Charges bytes that have been stored to [`STORED_BYTES`], unless nothing was left: what a limit in shadow would have refused costs
    /// nothing.
    pub fn charge_stored(&self, limits: &Limits, bytes: u64, now_us: u64) {
        let Some(meter) = limits.meter(Limit::DeviceStoredBytes, now_us) else { return };
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.with_state(|now| {
            if now.spent.stored_bytes.wait_us(meter).is_none() {
                now.spent.stored_bytes.charge(meter, count);
            }
        });
    }
}

impl Refusals {
    /// Counts a request in the device's name that was refused before its signature was checked.
    pub fn unverified(&mut self) {
        self.refused_unverified = self.refused_unverified.saturating_add(1);
    }

    fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Off | Verdict::Passed => {}
            Verdict::WouldRefuse => self.would_refuse = self.would_refuse.saturating_add(1),
            Verdict::Refused(_) => self.refused = self.refused.saturating_add(1),
        }
    }
}
