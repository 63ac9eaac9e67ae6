//! The budgets of failed requests, which are asked before a request is parsed; and which requests are admitted although one of them is
//! used up.
//!
//! The budgets are asked in the order of [`ASKED`], up to the first that refuses. What a limit in shadow would have refused goes on
//! to the next.

use std::{net::IpAddr, sync::Arc};

use ks_protocol::message::Request;

use super::expected_pair;
use crate::{
    app::App,
    limit::{FailureBudget, Limit, Requester, Verdict, network_of},
    refusal::Refusal,
    registry::KnownDevice,
    store::devices::DeviceStatus,
};

/// The budgets in the order in which they are asked, each with what a refusal says.
const ASKED: [(Limit, &str); 3] = [
    (Limit::AddressFailures, "too many failed requests from this address"),
    (Limit::SiteFailures, "too many failed requests from this network"),
    (Limit::ExpensiveFailures, "too many failed requests from all addresses"),
];

/// What the budgets say about a request that shows no sign of the device itself.
pub(super) struct Exhausted {
    /// The verdicts, in the order of [`ASKED`]; [`Verdict::Off`] after the first that refuses.
    verdicts: [Verdict; ASKED.len()],
    /// Whose request it is.
    address: IpAddr,
}

impl Exhausted {
    /// Asks the budgets; nothing is counted yet.
    pub(super) fn now(app: &App, address: IpAddr, now_us: u64) -> Self {
        let mut is_refused = false;
        let verdicts = ASKED.map(|(limit, _)| {
            if is_refused {
                return Verdict::Off;
            }
            let verdict = app.limits.look(limit, now_us, |meter| match limit {
                Limit::AddressFailures => app.address_failures.wait_us(meter, &network_of(address)),
                Limit::SiteFailures => app.site_failures.wait_us(meter, &app.config.site_prefixes.site_of(address)),
                _ => app.expensive_failures.wait_us(meter, &()),
            });
            is_refused = matches!(verdict, Verdict::Refused(_));
            verdict
        });
        Self { verdicts, address }
    }

    /// Whether any is used up, also one in shadow.
    pub(super) fn is_any(&self) -> bool {
        self.verdicts.iter().any(|verdict| matches!(verdict, Verdict::WouldRefuse | Verdict::Refused(_)))
    }

    /// Counts that the request is let through.
    pub(super) fn passed(&self, app: &App, now_us: u64) {
        self.count(app, None, now_us, |verdict| if verdict == Verdict::Off { verdict } else { Verdict::Passed });
    }

    /// Counts a request without a sign of the device itself, and gives its refusal if one of the limits refuses it.
    pub(super) fn refuse(&self, app: &App, now_us: u64) -> Option<Refusal> {
        self.refuse_known(app, None, now_us)
    }

    /// The same of one that names a device which the server knows.
    fn refuse_known(&self, app: &App, device: Option<&str>, now_us: u64) -> Option<Refusal> {
        self.count(app, device, now_us, |verdict| verdict);
        self.refusal()
    }

    /// The refusal by the limit that refuses, if one does.
    fn refusal(&self) -> Option<Refusal> {
        ASKED
            .iter()
            .zip(self.verdicts)
            .find_map(|((_, why), verdict)| verdict.refusal().err().map(|wait_us| Refusal::too_often(wait_us, why)))
    }

    fn count(&self, app: &App, device: Option<&str>, now_us: u64, as_what: impl Fn(Verdict) -> Verdict) {
        for ((limit, _), verdict) in ASKED.iter().zip(self.verdicts) {
            let address = match limit {
                Limit::SiteFailures => app.config.site_prefixes.site_of(self.address),
                _ => network_of(self.address),
            };
            let requester = Requester { address: Some(address), device };
            app.limits.count(*limit, requester, as_what(verdict), now_us);
        }
    }

    /// The device, from memory, if the request is likely to be its own and worth its signature check although a budget is used up; none
    /// if the request is let through anyway, because all used up budgets are of limits in shadow: these have no effect but their counts.
    ///
    /// # Errors
    /// The request is refused.
    pub(super) fn genuine<R: Request>(
        &self,
        app: &App,
        message: &R,
        is_verified: bool,
        now_us: u64,
    ) -> Result<Option<Arc<KnownDevice>>, Refusal> {
        let known = app.registry.get(message.device_id());
        let Some(known) = known.filter(|known| shows_a_sign(known, message, is_verified)) else {
            return self.refuse_in_name(app, message, now_us);
        };
        let Some(refusal) = self.refusal() else {
            self.passed(app, now_us);
            return Ok(None);
        };
        let of_pairs = || {
            let look = |meter| known.with_state(|now| now.spent.suspect_failures.wait_us(meter));
            if is_verified { Verdict::Off } else { app.limits.look(Limit::DevicePairFailures, now_us, look) }
        };
        let of_new = || {
            let look = |meter| app.new_device_failures.wait_us(meter, &());
            if is_new_device(&known) { app.limits.look(Limit::NewDeviceFailures, now_us, look) } else { Verdict::Off }
        };
        self.passed(app, now_us); // a refusal from here on is counted once, for the limit that decides it
        for (limit, verdict) in [(Limit::DevicePairFailures, of_pairs()), (Limit::NewDeviceFailures, of_new())] {
            let requester = Requester::device(self.address, message.device_id().as_str());
            app.limits.count(limit, requester, verdict, now_us);
            if verdict.refusal().is_err() {
                known.with_state(|now| now.spent.refusals.unverified());
                return Err(refusal);
            }
        }
        Ok(Some(known))
    }

    /// Refuses a request that names a device, unless only limits in shadow would refuse it.
    fn refuse_in_name<R: Request>(
        &self,
        app: &App,
        message: &R,
        now_us: u64,
    ) -> Result<Option<Arc<KnownDevice>>, Refusal> {
        let known = app.registry.get(message.device_id());
        let device = known.is_some().then(|| message.device_id().as_str());
        let Some(refusal) = self.refuse_known(app, device, now_us) else { return Ok(None) };
        if let Some(known) = known {
            known.with_state(|now| now.spent.refusals.unverified());
        }
        Err(refusal)
    }
}

/// Whether a request shows a sign of the device itself: it was verified on its connection, or the pair is one of its next.
fn shows_a_sign<R: Request>(known: &KnownDevice, message: &R, is_verified: bool) -> bool {
    known.with_state(|now| {
        let is_next = || expected_pair::is_expected(message.sequence(), now.kept);
        now.status != DeviceStatus::Revoked && (is_verified || is_next())
    })
}

/// Whether the device has never sent a valid request.
fn is_new_device(known: &KnownDevice) -> bool {
    known.with_state(|now| now.status == DeviceStatus::Whitelisted)
}

/// Charges a failing request to its address, and to the network of its site.
pub(super) fn charge_address(app: &App, address: IpAddr, now_us: u64) {
    if let Some(meter) = app.limits.meter(Limit::AddressFailures, now_us) {
        app.address_failures.spend(meter, network_of(address));
    }
    if let Some(meter) = app.limits.meter(Limit::SiteFailures, now_us) {
        app.site_failures.spend(meter, app.config.site_prefixes.site_of(address));
    }
}

/// Charges a failing request to a budget that all share.
pub(super) fn charge(app: &App, limit: Limit, budget: &FailureBudget<()>, now_us: u64) {
    if let Some(meter) = app.limits.meter(limit, now_us) {
        budget.spend(meter, ());
    }
}

/// Charges a failure of a request that was admitted by its pair or its connection although a budget was used up.
pub(super) fn charge_suspect(app: &App, known: &KnownDevice, now_us: u64) {
    if let Some(meter) = app.limits.meter(Limit::DevicePairFailures, now_us) {
        let _ = known.with_state(|now| now.spent.suspect_failures.spend(meter)); // an empty budget stays empty
    }
    if is_new_device(known) {
        charge(app, Limit::NewDeviceFailures, &app.new_device_failures, now_us);
    }
}
