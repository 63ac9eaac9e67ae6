//! The limit of requests that nobody signs: GET /keys, /metrics, unknown paths and methods. Each costs a signature of the server, a query, or
//! the text of all metrics, and there is no failure that an address could be charged for.

use hyper::http::request::Parts;

use crate::{
    app::App,
    http::client_address,
    limit::{Limit, Requester, network_of},
    refusal::Refusal,
};

/// Spends one of the requests without a signature that an address may make.
///
/// # Errors
/// It is used up.
pub fn check(app: &App, parts: &Parts) -> Result<(), Refusal> {
    let (address, now_us) = (client_address(app, &parts.extensions, &parts.headers), app.elapsed_us());
    let spend = |meter| app.address_unsigned.try_spend(meter, network_of(address));
    let verdict = app.limits.check(Limit::AddressUnsigned, Requester::address(address), now_us, spend);
    verdict
        .refusal()
        .map_err(|wait_us| Refusal::too_often(wait_us, "too many requests without a signature from this address"))
}
