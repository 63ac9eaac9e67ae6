//! The limits of a request without its other checks, for `benches/benches/limits.rs`.

use std::{net::IpAddr, sync::Arc};

use ks_protocol::{message::Request, refusal::RefusalCode};

use super::{exhausted::Exhausted, has_room, overloaded};
use crate::{
    app::App,
    limit::Requester,
    refusal::Refusal,
    registry::{KnownDevice, ROW_BYTES},
};

/// What admission does for limits, in its order, with a request that is parsed and whose signature and pair are right; and what its
/// handler charges for one stored row.
///
/// # Errors
/// A limit refuses it, or the device is not in memory.
pub fn limits_alone<R: Request>(
    app: &App,
    address: IpAddr,
    message: &R,
    now_us: u64,
) -> Result<Arc<KnownDevice>, Refusal> {
    let exhausted = Exhausted::now(app, address, now_us);
    let suspect = if exhausted.is_any() {
        exhausted.genuine(app, message, false, now_us)?
    } else {
        exhausted.passed(app, now_us);
        None
    };
    let known = suspect.or_else(|| app.registry.get(message.device_id()));
    let known = known.ok_or_else(|| Refusal::new(RefusalCode::UnknownDevice))?;
    let class = overloaded::class_of(message, Some(&known));
    overloaded::check(app, class, now_us)?;
    has_room(app, &known, class, Requester::device(address, message.device_id().as_str()), now_us)?;
    known.charge_stored(&app.limits, ROW_BYTES, now_us);
    Ok(known)
}
