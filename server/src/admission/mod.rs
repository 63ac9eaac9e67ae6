//! Every check a signed request passes before its handler, cheap before dear.
//!
//! media type and size ([`body`]) -> the address's budget ([`AddressBudget`]) -> parse -> device known and not revoked ->
//! signature -> replay -> the device's budget ([`Gcra`]) -> handler.
//!
//! The device's budget comes after the signature: before it, anyone could spend a victim's budget by naming the victim.
//! An address that has used up its budget is refused before the signature check, unless it is where the named device
//! was last verified, or the device was not heard yet since the server started: a neighbour's flood does not shut out
//! the honest devices behind the same address.

mod address;
mod body;
mod failure_budget;
mod gcra;

use std::{net::IpAddr, sync::Arc};

use axum::extract::{FromRequest, Request as HttpRequest};
use ks_protocol::{
    document::{self, DocumentError},
    message::Request,
    refusal::RefusalCode,
    signature::{Context, NO_SIG_DEV, SIG_DEV, Signature, signing_input},
    time::UnixMs,
};

pub use address::{Network, client_address};
pub use failure_budget::{AddressBudget, FailureBudget};
pub use gcra::{Gcra, Rate};

use crate::{
    answer::{self, Refusal, Reply},
    app::App,
    registry::Known,
    store::{By, devices::DeviceStatus},
};

/// Lines of the audit that the attempts of one revoked device may write.
const NOTES: Rate = Rate { per_min: 1, burst: 1 };

/// What may fail in a device's name from an address whose budget is spent, before the device's credit there ends: enough
/// for an honest device that stumbles, too little to make the server check signatures for a flood.
const CREDIT: Rate = Rate { per_min: 1, burst: 5 };

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
        let address = client_address(request.extensions(), request.headers(), &app.config.trusted_proxies);
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
    let now_us = reply.arrived_us;
    let (parts, http_body) = request.into_parts();
    body::check_media_type(&parts.headers)?;
    let wire = body::read(http_body, R::BODY_BYTES_MAX, app.config.request_timeout).await?;
    let spent = app.address_budget.wait_us(address, now_us).map(|wait_us| {
        Refusal::wait(RefusalCode::RateLimited, wait_us).saying("too many failing requests from this address")
    });
    // An address that has used up its budget is told nothing else, whatever it sends.
    let or_spent = |refusal: Refusal| spent.clone().unwrap_or(refusal);
    let signed = document::split(&wire, SIG_DEV).map_err(|error| or_spent(malformed(&error)))?;
    signed.signature_text.clone_into(&mut reply.sig_dev);
    let message: R = document::decode(signed.body).map_err(|error| or_spent(malformed(&error)))?;

    let known = match &spent {
        // In memory or not at all: the store has better to do than to look up what a flood names.
        Some(refusal) => {
            let known = app.registry.get(message.device_id());
            Some(known.filter(|known| has_credit(known, address, now_us)).ok_or_else(|| refusal.clone())?)
        }
        None => app.registry.find(message.device_id(), &app.reader).await.map_err(Refusal::from)?,
    };
    let known = known.ok_or_else(|| Refusal::new(RefusalCode::UnknownDevice))?;
    let input = signing_input(Context::Request { method: "POST", path: R::PATH }, signed.body);
    let checked = check(&message, &known, input.as_bytes(), &signed.signature);
    if matches!(&checked, Err(refusal) if refusal.is_revoked()) {
        note_revoked(app, &message, &known, &input, &signed.signature, address, now_us).await;
    }
    known.standing(|now| match checked {
        Ok(()) => {
            now.verified_from = Some(address); // not before: who replays a captured request does not live here
            let spent = now.budget.spend(app.config.device_rate, now_us);
            spent.map_err(|wait_us| {
                Refusal::wait(RefusalCode::RateLimited, wait_us).saying("too many requests by this device")
            })
        }
        Err(refusal) => {
            if spent.is_some() && refusal.costs_the_address() {
                let _ = now.credit.spend(CREDIT, now_us); // spent already is spent
            }
            Err(refusal)
        }
    })?;
    Ok((message, known))
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
    if known.standing(|now| now.noted.wait_us(NOTES, now_us)).is_some() {
        return;
    }
    if !known.verifier().is_some_and(|key| key.verifies(input.as_bytes(), signature)) {
        return;
    }
    if known.standing(|now| now.noted.spend(NOTES, now_us)).is_err() {
        return;
    }
    let device_id = message.device_id().to_string();
    let by = By { name: device_id.clone(), address: Some(address), at: app.clock.now() };
    let noted = app.writer.write(move |store| store.note("device.refused", &device_id, R::PATH, &by)).await;
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

/// Whether a request may come from an address whose budget is spent: it names a registered device that was last verified
/// there, or nowhere since the server started, and not too much has failed on this credit.
fn has_credit(known: &Known, address: IpAddr, now_us: u64) -> bool {
    known.standing(|now| {
        let is_at_home = now.verified_from.is_none_or(|home| home == address);
        now.status == DeviceStatus::Registered && is_at_home && now.credit.wait_us(CREDIT, now_us).is_none()
    })
}

fn malformed(error: &DocumentError) -> Refusal {
    let code = match error {
        DocumentError::TooLarge { .. } => RefusalCode::TooLarge,
        _ => RefusalCode::Malformed,
    };
    Refusal::new(code).saying(error.to_string())
}
