//! Every check a signed request passes before its handler, cheap before dear.
//!
//! Media type and size ([`body`]; a GET has its document in a header) -> the address's budget ([`crate::limit::AddressBudget`]) ->
//! parse -> device known and not revoked -> signature -> replay -> the device's budget ([`crate::limit::Gcra`]) -> handler.
//!
//! The device's budget comes after the signature: before it, anyone could spend a victim's budget by naming the victim.
//! When an address has used up its budget, or all together have used up theirs, only requests that show a sign of the device
//! itself ([`benefit`]) get as far as the signature check: a flood does not shut out honest devices, whoever stands behind it.

mod benefit;
mod body;

use std::{net::IpAddr, sync::Arc};

use axum::extract::{FromRequest, Request as HttpRequest};
use bytes::Bytes;
use hyper::http::request::Parts;
use ks_protocol::{
    document::{self, DocumentError},
    message::Request,
    refusal::RefusalCode,
    signature::{Context, NO_SIG_DEV, SIG_DEV, Signature, signing_input},
    time::UnixMs,
};

use crate::{
    app::App,
    http::{
        Proven,
        answer::{self, Reply},
        client_address,
    },
    limit::Rate,
    refusal::Refusal,
    registry::Known,
    store::{By, audit::chain, devices::DeviceStatus},
};

/// Lines of the audit that the attempts of one revoked device may write.
const NOTES: Rate = Rate { per_min: 1, burst: 1 };

/// How long a device waits while the server's disk is nearly full, in microseconds.
const SHORT_OF_DISK_US: u64 = 60_000_000;

/// A request that passed every check.
pub struct Signed<R> {
    /// What the device says.
    pub message: R,
    /// The device in memory.
    pub known: Arc<Known>,
    /// Answers this request and no other.
    pub reply: Reply,
    /// Where it came from.
    pub address: IpAddr,
}

impl<R: Request> Signed<R> {
    /// The device as who does something, for the audit.
    pub fn by(&self, at: UnixMs) -> By {
        By { name: self.message.device_id().to_string(), address: Some(self.address), at }
    }
}

impl<R: Request> FromRequest<App> for Signed<R> {
    type Rejection = axum::response::Response;

    async fn from_request(request: HttpRequest, app: &App) -> Result<Self, Self::Rejection> {
        let arrived_us = app.elapsed_us();
        let address = client_address(app, request.extensions(), request.headers());
        let mut reply = Reply { path: R::PATH, sig_dev: NO_SIG_DEV.to_owned(), arrived_us };
        match admit::<R>(request, app, address, &mut reply).await {
            Ok((message, known)) => Ok(Self { message, known, reply, address }),
            Err(refusal) => {
                if refusal.costs_the_address() {
                    app.address_budget.spend(address, arrived_us);
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
) -> Result<(R, Arc<Known>), Refusal> {
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
) -> Result<(R, Arc<Known>), Refusal> {
    let now_us = reply.arrived_us;
    let spent = spent(app, address, now_us);
    // Whoever has used up a budget is told nothing else, whatever is sent.
    let or_spent = |refusal: Refusal| spent.clone().unwrap_or(refusal);
    let wire = wire.map_err(or_spent)?;
    let signed = document::split(&wire, SIG_DEV).map_err(|error| or_spent(malformed(&error)))?;
    signed.signature_text.clone_into(&mut reply.sig_dev);
    let message: R = document::decode(signed.body).map_err(|error| or_spent(malformed(&error)))?;
    let device_id = message.device_id();
    let proven = parts.extensions.get::<Arc<Proven>>();

    let known = match &spent {
        // In memory or not at all: the store has better to do than to look up what a flood names.
        Some(refusal) => {
            let is_proven = proven.is_some_and(|proven| proven.is(device_id));
            let known = app.registry.get(device_id);
            let may_be_new = app.newcomers_doubts.wait_us(&(), now_us).is_none();
            let is_heard = |known: &Arc<Known>| {
                has_benefit(known, is_proven, &message, now_us) && (may_be_new || !is_newcomer(known))
            };
            known.filter(is_heard).ok_or_else(|| refusal.clone())?
        }
        None => app.registry.find(device_id, &app.reader).await.map_err(Refusal::from)?.ok_or_else(|| {
            app.dear_failures.spend((), now_us);
            Refusal::new(RefusalCode::UnknownDevice)
        })?,
    };
    let input = signing_input(Context::Request { method: R::METHOD, path: parts.uri.path() }, signed.body);
    let checked = check(&message, &known, input.as_bytes(), &signed.signature);
    if matches!(&checked, Err(refusal) if refusal.is_revoked()) {
        note_revoked(app, &message, &known, &input, &signed.signature, address, now_us).await;
    }
    match checked {
        Ok(()) => proven.inspect(|proven| proven.verified(device_id)),
        Err(refusal) => {
            proven.inspect(|proven| proven.failed(device_id));
            if refusal.cost_a_check() {
                app.dear_failures.spend((), now_us);
                if spent.is_some() {
                    let _ = known.standing(|now| now.spent.doubts.spend(benefit::ON_EXPECTED_PAIRS, now_us)); // spent is spent
                    if is_newcomer(&known) {
                        app.newcomers_doubts.spend((), now_us);
                    }
                }
            }
            return Err(refusal);
        }
    };
    if app.is_short_of_disk() {
        return Err(Refusal::wait(RefusalCode::Overloaded, SHORT_OF_DISK_US)
            .saying("the server's disk is nearly full: what is left is kept for operators"));
    }
    known.spend(|spent| &mut spent.requests, app.config.device_rate, now_us, "too many requests by this device")?;
    Ok((message, known))
}

/// What a request is refused with that shows no sign of the device itself; none while it need not.
fn spent(app: &App, address: IpAddr, now_us: u64) -> Option<Refusal> {
    let by_address = app.address_budget.wait_us(address, now_us);
    let (wait_us, why) = match by_address {
        Some(wait_us) => (wait_us, "too many failing requests from this address"),
        None => (app.dear_failures.wait_us(&(), now_us)?, "too many failing requests from everywhere"),
    };
    Some(Refusal::too_often(wait_us, why))
}

/// Whether the device was never heard.
fn is_newcomer(known: &Known) -> bool {
    known.standing(|now| now.status == DeviceStatus::Whitelisted)
}

/// Whether a request is worth its signature check although a budget is spent: on a connection where the device `is_proven`, or
/// with one of its next pairs, unless too much failed on those.
fn has_benefit<R: Request>(known: &Known, is_proven: bool, message: &R, now_us: u64) -> bool {
    known.standing(|now| {
        let is_next = || benefit::is_expected(message.sequence(), now.kept);
        let has_doubts = || now.spent.doubts.wait_us(benefit::ON_EXPECTED_PAIRS, now_us).is_some();
        now.status != DeviceStatus::Revoked && (is_proven || is_next() && !has_doubts())
    })
}

/// Leaves a line in the audit that a revoked device tried: once a minute at most, and only if it was the device, so that nobody
/// else can fill the audit in its name. The refusal does not hang on it.
async fn note_revoked<R: Request>(
    app: &App,
    message: &R,
    known: &Known,
    input: &str,
    signature: &Signature,
    address: IpAddr,
    now_us: u64,
) {
    if known.standing(|now| now.spent.notes.wait_us(NOTES, now_us)).is_some() {
        return;
    }
    if !known.verifier().is_some_and(|key| key.verifies(input.as_bytes(), signature)) {
        return;
    }
    if known.standing(|now| now.spent.notes.spend(NOTES, now_us)).is_err() {
        return;
    }
    let device_id = message.device_id().to_string();
    let by = By { name: device_id.clone(), address: Some(address), at: app.clock.now() };
    let noted =
        app.writer.write(move |store| chain::note(store, "device.refused", &device_id, R::PATH, &by).map(|_| ())).await;
    if let Err(error) = noted {
        tracing::warn!(%error, "the attempt of a revoked device is not in the audit");
    }
}

/// What a known device's request must be: by a device that is not revoked, under the whitelisted key, verified, in its turn.
/// What memory knows of a device only ever refuses sooner; whether it is registered, for one, the store alone decides.
fn check<R: Request>(message: &R, known: &Known, input: &[u8], signature: &Signature) -> Result<(), Refusal> {
    let (status, kept) = known.standing(|now| (now.status, now.kept));
    if status == DeviceStatus::Revoked {
        return Err(Refusal::new(RefusalCode::Revoked));
    }
    if message.claimed_key().is_some_and(|key| *key != known.public_key) {
        return Err(Refusal::new(RefusalCode::KeyMismatch));
    }
    if !known.verifier().is_some_and(|key| key.verifies(input, signature)) {
        return Err(Refusal::new(RefusalCode::BadSignature));
    }
    if message.sequence() <= kept { Err(Refusal::stale(kept)) } else { Ok(()) }
}

fn malformed(error: &DocumentError) -> Refusal {
    let code = match error {
        DocumentError::TooLarge { .. } => RefusalCode::TooLarge,
        _ => RefusalCode::Malformed,
    };
    Refusal::new(code).saying(error.to_string())
}
