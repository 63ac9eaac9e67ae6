//! The checks of a signed request before its handler, cheap ones before expensive ones.
//!
//! media type and size ([`body`]; a GET has its document in a header) -> the budgets of failures ([`exhausted`]) ->
//! parse -> whether the server is overloaded ([`overloaded`]) -> device known and not revoked -> signature -> replay -> the device's budget ([`crate::limit::Gcra`]) -> handler.
//!
//! The device's budget comes after the signature: before it, anyone could spend a victim's budget by naming the victim.
//! When an address has used up its budget, or all together have used up theirs, only requests that show a sign of the device
//! itself ([`expected_pair`]) get as far as the signature check: a flood does not lock out honest devices, whatever its source.

mod body;
mod exhausted;
mod expected_pair;
#[cfg(feature = "testing")]
mod measured;
mod overloaded;
pub mod unsigned;

#[cfg(feature = "testing")]
pub use measured::limits_alone;

use std::{net::IpAddr, sync::Arc};

use axum::extract::{FromRequest, Request as HttpRequest};
use bytes::Bytes;
use hyper::http::request::Parts;
use ks_protocol::{
    document::{self, DocumentError},
    id::DeviceId,
    message::Request,
    refusal::RefusalCode,
    signature::{Context, NO_SIG_DEV, SIG_DEV, Signature, signing_input},
    time::UnixMs,
};

use crate::{
    app::App,
    http::{
        VerifiedDevice,
        answer::{self, Reply},
        client_address,
    },
    limit::{Class, Limit, Rate, Requester},
    refusal::Refusal,
    registry::{KnownDevice, REQUESTS, STORED_BYTES},
    store::{Actor, audit::chain, devices::DeviceStatus},
};
use exhausted::Exhausted;

/// Audit lines about attempts of one revoked device.
const AUDIT_NOTES: Rate = Rate { per_min: 1, burst: 1 };

/// How long a device waits while the server's disk is nearly full, in microseconds.
const SHORT_OF_DISK_US: u64 = 60_000_000;

/// A request that has passed every check.
pub struct Signed<R> {
    pub message: R,
    /// The device in memory.
    pub known: Arc<KnownDevice>,
    /// Binds the answer to this request.
    pub reply: Reply,
    pub address: IpAddr,
}

impl<R: Request> Signed<R> {
    /// The device as the actor of a change, for the audit.
    pub fn by(&self, at: UnixMs) -> Actor {
        Actor { name: self.message.device_id().to_string(), address: Some(self.address), at }
    }
}

impl<R: Request> FromRequest<App> for Signed<R> {
    type Rejection = axum::response::Response;

    async fn from_request(request: HttpRequest, app: &App) -> Result<Self, Self::Rejection> {
        let arrived_us = app.elapsed_us();
        let address = client_address(app, request.extensions(), request.headers());
        let mut reply = Reply { path: R::PATH, sig_dev: NO_SIG_DEV.to_owned(), device_id: None, arrived_us };
        match admit::<R>(request, app, address, &mut reply).await {
            Ok((message, known)) => Ok(Self { message, known, reply, address }),
            Err(refusal) => {
                if refusal.costs_the_address() {
                    exhausted::charge_address(app, address, arrived_us);
                }
                Err(answer::refuse(app, &reply, refusal))
            }
        }
    }
}

async fn admit<R: Request>(
    request: HttpRequest,
    app: &App,
    address: IpAddr,
    reply: &mut Reply,
) -> Result<(R, Arc<KnownDevice>), Refusal> {
    let (parts, http_body) = request.into_parts();
    if R::METHOD == "GET" {
        let wire = body::of_header(&parts.headers, R::BODY_BYTES_MAX);
        return admit_document(app, address, &parts, wire, reply).await;
    }
    body::check_media_type(&parts.headers)?;
    let wire = body::read(http_body, R::BODY_BYTES_MAX, app.config.request_timeout).await?;
    admit_document(app, address, &parts, Ok(wire), reply).await
}

async fn admit_document<R: Request>(
    app: &App,
    address: IpAddr,
    parts: &Parts,
    wire: Result<Bytes, Refusal>,
    reply: &mut Reply,
) -> Result<(R, Arc<KnownDevice>), Refusal> {
    let now_us = reply.arrived_us;
    let exhausted = Exhausted::now(app, address, now_us);
    // Once a budget is used up, every refusal is the same, whatever the request.
    let or_exhausted = |refusal: Refusal| exhausted.refuse(app, now_us).unwrap_or(refusal);
    let wire = wire.map_err(or_exhausted)?;
    let signed = document::split(&wire, SIG_DEV).map_err(|error| or_exhausted(malformed(&error)))?;
    signed.signature_text.clone_into(&mut reply.sig_dev);
    let message: R = document::decode(signed.body).map_err(|error| or_exhausted(malformed(&error)))?;
    let device_id = message.device_id();
    reply.device_id = Some(device_id.clone());
    let verified_device = parts.extensions.get::<Arc<VerifiedDevice>>();

    // From memory only: a flood must not cause queries of the store.
    let suspect = if exhausted.is_any() {
        let is_verified = verified_device.is_some_and(|verified_device| verified_device.is(device_id));
        exhausted.genuine(app, &message, is_verified, now_us)?
    } else {
        exhausted.passed(app, now_us);
        None
    };
    let is_suspect = suspect.is_some();
    let known = suspect.or_else(|| app.registry.get(device_id));
    let class = overloaded::class_of(&message, known.as_deref());
    overloaded::check(app, class, now_us)?;
    let (known, class) = if let Some(known) = known {
        (known, class)
    } else {
        let found = in_store(app, device_id, now_us).await?;
        let class = overloaded::class_of(&message, Some(&*found));
        (found, class)
    };
    let input = signing_input(Context::Request { method: R::METHOD, path: parts.uri.path() }, signed.body);
    let is_signed = || known.verifier().is_some_and(|key| key.verifies(input.as_bytes(), &signed.signature));
    let checked = check(&message, &known, is_signed);
    if matches!(&checked, Err(refusal) if refusal.is_revoked()) {
        audit_revoked(app, &message, &known, &input, &signed.signature, address, now_us).await;
    }
    match checked {
        Ok(()) => verified_device.inspect(|verified_device| verified_device.verified(device_id)),
        Err(refusal) => {
            verified_device.inspect(|verified_device| verified_device.failed(device_id));
            if refusal.cost_a_check() {
                exhausted::charge(app, Limit::ExpensiveFailures, &app.expensive_failures, now_us);
                if is_suspect {
                    exhausted::charge_suspect(app, &known, now_us);
                }
            }
            return Err(refusal);
        }
    };
    has_room(app, &known, class, Requester::device(address, device_id.as_str()), now_us)?;
    Ok((message, known))
}

/// A device that is not in memory, from the store.
async fn in_store(app: &App, device_id: &DeviceId, now_us: u64) -> Result<Arc<KnownDevice>, Refusal> {
    app.registry.find(device_id, &app.reader).await.map_err(Refusal::from)?.ok_or_else(|| {
        exhausted::charge(app, Limit::ExpensiveFailures, &app.expensive_failures, now_us);
        Refusal::new(RefusalCode::UnknownDevice)
    })
}

/// Admits a request whose signature the caller vouches for; it was made with `key`. `None` unless the checks above would admit it
/// without more ado: then nothing has changed, and its document must be sent.
#[cfg(feature = "modelled")]
pub(crate) fn admit_verified<R: Request>(
    app: &App,
    address: IpAddr,
    key: &ks_protocol::key::PublicKey,
    message: &R,
    now_us: u64,
) -> Option<Arc<KnownDevice>> {
    let exhausted = Exhausted::now(app, address, now_us);
    let known = app.registry.get(message.device_id())?;
    let class = overloaded::class_of(message, Some(&*known));
    if exhausted.is_any() || !app.overload.admits(class, now_us) {
        return None;
    }
    check(message, &known, || *key == known.public_key).ok()?;
    known.look(&app.limits, &REQUESTS, now_us).refusal().ok()?;
    known.look(&app.limits, &STORED_BYTES, now_us).refusal().ok()?;
    if !overloaded::may_spend(app, class, now_us) {
        return None;
    }
    has_room(app, &known, class, Requester::device(address, message.device_id().as_str()), now_us).ok()?;
    exhausted.passed(app, now_us);
    Some(known)
}

/// Records an attempt of a revoked device in the audit: at most once a minute, and only if the signature is the device's, so that
/// no one else can fill the audit in its name. The refusal does not depend on it.
async fn audit_revoked<R: Request>(
    app: &App,
    message: &R,
    known: &KnownDevice,
    input: &str,
    signature: &Signature,
    address: IpAddr,
    now_us: u64,
) {
    if known.with_state(|now| now.spent.notes.wait_us(AUDIT_NOTES.meter(now_us))).is_some() {
        return;
    }
    if !known.verifier().is_some_and(|key| key.verifies(input.as_bytes(), signature)) {
        return;
    }
    if known.with_state(|now| now.spent.notes.spend(AUDIT_NOTES.meter(now_us))).is_err() {
        return;
    }
    let device_id = message.device_id().to_string();
    let by = Actor { name: device_id.clone(), address: Some(address), at: app.clock.now() };
    let written =
        app.writer.write(move |store| chain::note(store, "device.refused", &device_id, R::PATH, &by).map(|_| ())).await;
    if let Err(error) = written {
        tracing::warn!(%error, "the attempt of a revoked device could not be recorded in the audit");
    }
}

/// Checks a known device's request: the device is not revoked, the key is the whitelisted one, the signature is valid, and the pair
/// is new. The state in memory can only refuse sooner; the store alone decides the rest, such as whether a device is registered.
fn check<R: Request>(message: &R, known: &KnownDevice, is_signed: impl FnOnce() -> bool) -> Result<(), Refusal> {
    let (status, kept) = known.with_state(|now| (now.status, now.kept));
    if status == DeviceStatus::Revoked {
        return Err(Refusal::new(RefusalCode::Revoked));
    }
    if message.claimed_key().is_some_and(|key| *key != known.public_key) {
        return Err(Refusal::new(RefusalCode::KeyMismatch));
    }
    if !is_signed() {
        return Err(Refusal::new(RefusalCode::BadSignature));
    }
    if message.sequence() <= kept { Err(Refusal::stale(kept)) } else { Ok(()) }
}

/// Refuses a verified request while the disk is nearly full, and spends one of the device's budget, then one of all devices'.
fn has_room(
    app: &App,
    known: &KnownDevice,
    class: Class,
    requester: Requester<'_>,
    now_us: u64,
) -> Result<(), Refusal> {
    if app.is_short_of_disk() {
        return Err(Refusal::wait(RefusalCode::Overloaded, SHORT_OF_DISK_US)
            .saying("the server's disk is nearly full: the rest is reserved for operators"));
    }
    known.spend(&app.limits, &REQUESTS, requester, now_us)?;
    known.check(&app.limits, &STORED_BYTES, requester, now_us).map(drop)?;
    overloaded::spend(app, class, requester, now_us)
}

fn malformed(error: &DocumentError) -> Refusal {
    let code = match error {
        DocumentError::TooLarge { .. } => RefusalCode::TooLarge,
        _ => RefusalCode::Malformed,
    };
    Refusal::new(code).saying(error.to_string())
}
