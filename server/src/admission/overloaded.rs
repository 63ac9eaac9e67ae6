//! Who is served first when more comes than the server can take: the class of a request, and its refusal by the limit on writes in
//! progress ([`crate::limit::Overload`]), or by the ceiling on the requests of all devices.
//!
//! By the first, a request is refused before its signature is checked, which is most of what it costs. So anybody can
//! claim a class; a requester whose request fails the check that follows is limited by the budgets of failures.

use std::any::Any;

use ks_protocol::{
    message::{FirmwareArtifact, Heartbeat, Logs, Request},
    refusal::RefusalCode,
};

use crate::{
    app::App,
    limit::{Class, Limit, Requester},
    refusal::Refusal,
    registry::KnownDevice,
};

/// When something that must not wait may be sent again, in microseconds.
const FIRST_AGAIN_US: u64 = 2_000_000;
/// When log lines may be sent again, and what comes from devices that have not registered, and heartbeats at the latest, in microseconds.
const AGAIN_MAX_US: u64 = 60_000_000;

/// The class of a request, of a device that is in memory or of none.
pub(super) fn class_of<R: Request>(message: &R, known: Option<&KnownDevice>) -> Class {
    if !known.is_some_and(KnownDevice::has_registered) {
        return Class::Unproven;
    }
    if R::PATH == Logs::PATH || R::PATH == FirmwareArtifact::PATH {
        return Class::Logs;
    }
    let has_acks = || (message as &dyn Any).downcast_ref::<Heartbeat>().is_some_and(|beat| !beat.acks.is_empty());
    let is_awaited = || known.is_some_and(KnownDevice::is_awaited);
    if R::PATH == Heartbeat::PATH && !has_acks() && !is_awaited() { Class::Heartbeats } else { Class::First }
}

/// Refuses a request while more writes are in progress than its class may add to.
pub(super) fn check(app: &App, class: Class, now_us: u64) -> Result<(), Refusal> {
    if app.overload.admits(class, now_us) {
        return Ok(());
    }
    app.metrics.shed(class);
    Err(Refusal::wait(RefusalCode::Overloaded, again_us(app, class)).saying(match class {
        Class::Unproven => "the server is overloaded: devices that have not registered wait",
        Class::Logs => "the server is overloaded: log lines and downloads wait",
        Class::Heartbeats => "the server is overloaded: heartbeats wait",
        Class::First => "the server is overloaded: all requests wait",
    }))
}

/// Spends one verified request of all devices.
pub(super) fn spend(app: &App, class: Class, requester: Requester<'_>, now_us: u64) -> Result<(), Refusal> {
    let verdict = app.limits.check(Limit::AllRequests, requester, now_us, |meter| app.ceiling.try_spend(class, meter));
    verdict
        .refusal()
        .map_err(|wait_us| Refusal::too_often(wait_us.max(again_us(app, class)), "too many requests of all devices"))
}

/// Whether [`spend`] would succeed; counts nothing.
#[cfg(feature = "modelled")]
pub(super) fn may_spend(app: &App, class: Class, now_us: u64) -> bool {
    app.limits.look(Limit::AllRequests, now_us, |meter| app.ceiling.wait_us(class, meter)).refusal().is_ok()
}

/// When a refused request may be sent again, in microseconds: what is refused while all share too little must not come back at once.
fn again_us(app: &App, class: Class) -> u64 {
    let half_an_interval = || u64::try_from(app.config.heartbeat_interval.as_micros() / 2).unwrap_or(u64::MAX);
    match class {
        Class::Unproven | Class::Logs => AGAIN_MAX_US,
        Class::Heartbeats => half_an_interval().clamp(1_000_000, AGAIN_MAX_US),
        Class::First => FIRST_AGAIN_US,
    }
}
