//! What people and scripts call: JSON under /api, errors as problem+json (RFC 9457), every route in the list of [`routes`].
//!
//! A call's way: [`route`] (who calls: [`auth`]; may they: [`crate::role::Access`]; what do they send) -> handler -> store.
//! The OpenAPI document at /api/openapi.json comes from the same list and the same types; /api/docs shows it.

pub mod accounts;
pub mod attendance;
pub mod audit;
pub mod auth;
pub mod commands;
pub mod devices;
pub mod heartbeats;
pub mod keys;
pub mod login;
pub mod logs;
pub mod openapi;
pub mod page;
pub mod presence;
mod problem;
pub mod provisioning;
pub mod releases;
pub mod rollouts;
pub mod route;
pub mod which;

use axum::{
    Router,
    extract::{Request, State},
    middleware::map_response,
    response::Response,
};
use hyper::{
    StatusCode,
    header::{self, HeaderValue},
};
use tower_http::cors::{AllowOrigin, CorsLayer};

pub use problem::Problem;

use crate::{app::App, http::client_address, role::Access};
use auth::Caller;
use route::{
    Method::{Delete, Get, Patch, Post},
    Route,
};

/// Every route of the admin API: how it is called, where, by whom, what it does.
pub fn routes() -> Vec<Route> {
    [of_devices(), of_firmware(), of_the_server()].concat()
}

/// Devices, and what they are told and tell.
fn of_devices() -> Vec<Route> {
    use Access as A;
    vec![
        Route::new(Get, "/devices", A::LOOK_AT_DEVICES, "List devices", devices::list),
        Route::new(Post, "/devices", A::PROVISION, "Whitelist one device", provisioning::enroll),
        Route::new(
            Post,
            "/devices/import",
            A::PROVISION,
            "Whitelist an inventory, all of it or nothing",
            provisioning::import,
        ),
        Route::new(Get, "/devices/export", A::LOOK_AT_DEVICES, "The inventory as CSV", provisioning::export),
        Route::new(Get, "/devices/logs", A::LOOK, "Search log lines of devices, the newest first", logs::list),
        Route::new(Post, "/devices/revoke", A::OPERATE, "Shut devices out; holds with the answer", devices::revoke),
        Route::new(Get, "/devices/{device_id}", A::LOOK_AT_DEVICES, "One device", devices::get),
        Route::new(Patch, "/devices/{device_id}", A::OPERATE, "Edit a device's site and labels", devices::edit),
        Route::new(Post, "/devices/{device_id}/revoke", A::OPERATE, "Shut one device out", devices::revoke_one),
        Route::new(
            Post,
            "/devices/{device_id}/reprovision",
            A::PROVISION,
            "Give a device a new key and a new start",
            provisioning::reprovision,
        ),
        Route::new(
            Get,
            "/devices/{device_id}/investigate",
            A::LOOK,
            "Everything at hand about a device that is silent",
            presence::investigate,
        ),
        Route::new(Post, "/otrts", A::PROVISION, "Make one-time registration tokens", provisioning::make_otrts),
        Route::new(Get, "/commands", A::LOOK, "List commands", commands::list),
        Route::new(Post, "/commands", A::OPERATE, "Order a command for devices", commands::order),
        Route::new(Get, "/commands/orders/{order_id}", A::LOOK, "Progress of an order", commands::progress),
        Route::new(Post, "/commands/{command_id}/cancel", A::OPERATE, "Take a command back", commands::cancel),
        Route::new(
            Get,
            "/heartbeats",
            A::LOOK,
            "Stored heartbeats in commit order, an array each: row, device_id, boot_epoch, seq, uptime_s, received_at",
            heartbeats::list,
        ),
        Route::new(Get, "/attendance", A::LOOK, "List punches in the order they were made", attendance::list),
        Route::new(Get, "/attendance/export", A::LOOK, "Punches of a day, or of a period, as CSV", attendance::export),
        Route::new(Get, "/presence", A::LOOK, "Presence by model and site", presence::fleet),
    ]
}

/// Releases, and how they reach devices.
fn of_firmware() -> Vec<Route> {
    use Access as A;
    vec![
        Route::new(Post, "/artifacts", A::RELEASE, "Upload a firmware image", releases::upload),
        Route::new(Get, "/releases", A::LOOK, "List releases", releases::list),
        Route::new(Post, "/releases", A::RELEASE, "Draft a release that the server signs", releases::draft),
        Route::new(
            Post,
            "/releases/signed",
            A::RELEASE,
            "Draft a release that was signed offline",
            releases::draft_signed,
        ),
        Route::new(Get, "/releases/{release_id}", A::LOOK, "One release, with its manifest", releases::get),
        Route::new(
            Post,
            "/releases/{release_id}/stage",
            A::RELEASE,
            "Sign a draft; from here on it never changes",
            releases::stage,
        ),
        Route::new(
            Post,
            "/releases/{release_id}/activate",
            A::RELEASE,
            "Let rollouts offer a staged release",
            releases::activate,
        ),
        Route::new(
            Post,
            "/releases/{release_id}/revoke",
            A::RELEASE,
            "Take a release back for good, and abort its rollouts",
            releases::revoke,
        ),
        Route::new(Get, "/rollouts", A::LOOK, "List rollouts", rollouts::list),
        Route::new(Post, "/rollouts", A::RELEASE, "Roll a release out", rollouts::create),
        Route::new(Post, "/rollouts/plan", A::RELEASE, "What a rollout would do; nothing is done", rollouts::plan),
        Route::new(Get, "/rollouts/{rollout_id}", A::LOOK, "One rollout, as it is now", rollouts::get),
        Route::new(Get, "/rollouts/{rollout_id}/trace", A::LOOK, "Why it did what it did", rollouts::trace),
        Route::new(
            Get,
            "/rollouts/{rollout_id}/updates",
            A::LOOK,
            "Progress of each of its devices",
            rollouts::updates,
        ),
        Route::new(Post, "/rollouts/{rollout_id}/pause", A::OPERATE, "Offer nothing more for now", rollouts::pause),
        Route::new(Post, "/rollouts/{rollout_id}/resume", A::RELEASE, "Go on with a paused rollout", rollouts::resume),
        Route::new(
            Post,
            "/rollouts/{rollout_id}/approve",
            A::RELEASE,
            "Approve a stage that waits for a person",
            rollouts::approve,
        ),
        Route::new(
            Post,
            "/rollouts/{rollout_id}/abort",
            A::OPERATE,
            "End a rollout, and stop devices that are downloading",
            rollouts::abort,
        ),
    ]
}

/// Who may do what, the server's keys, and what was done.
fn of_the_server() -> Vec<Route> {
    use Access as A;
    vec![
        Route::new(Post, "/login", A::Everybody, "Log in; the session comes as a cookie", login::login),
        Route::new(Post, "/logout", A::ANY_ROLE, "End the session or token of this call", login::logout),
        Route::new(Get, "/me", A::ANY_ROLE, "Who this call is made by", login::me),
        Route::new(Get, "/keys", A::LOOK, "The server's keys, and who knows them", keys::status),
        Route::new(Post, "/keys/announce", A::ADMIN, "Make a new server key and publish it", keys::announce),
        Route::new(Post, "/keys/flip", A::ADMIN, "Sign with the announced key", keys::flip),
        Route::new(Post, "/keys/retire", A::ADMIN, "Remove the retired keys from the keyset", keys::retire),
        Route::new(Post, "/keys/revoke", A::ADMIN, "Cut off a compromised key at once", keys::revoke),
        Route::new(
            Post,
            "/keys/firmware",
            A::ADMIN,
            "Publish a key that signs firmware and nothing else",
            keys::add_firmware,
        ),
        Route::new(Get, "/audit", A::ADMIN, "List what was done, the oldest first", audit::list),
        Route::new(Get, "/audit/export", A::ADMIN, "All that was done, as NDJSON", audit::export),
        Route::new(Get, "/audit/verify", A::ADMIN, "Whether the audit is whole", audit::verify),
        Route::new(Get, "/users", A::ADMIN, "List users", accounts::users),
        Route::new(Post, "/users", A::ADMIN, "Make a user", accounts::create_user),
        Route::new(
            Patch,
            "/users/{name}",
            A::ADMIN,
            "Change a user's role or password, or disable the user",
            accounts::edit_user,
        ),
        Route::new(Get, "/tokens", A::ADMIN, "List tokens and sessions", accounts::tokens),
        Route::new(Post, "/tokens", A::ADMIN, "Make a token for a script", accounts::create_token),
        Route::new(Delete, "/tokens/{row}", A::ADMIN, "End a token or session", accounts::revoke_token),
        Route::new(Get, "/openapi.json", A::Everybody, "The OpenAPI document of this API", openapi::document),
        Route::new(Get, "/docs", A::Everybody, "This API as a page", openapi::page),
    ]
}

/// The routes as axum serves them, below /api.
pub fn router(app: &App) -> Router<App> {
    let routes = routes().into_iter().fold(Router::new(), |router, route| router.route(route.path, route.service()));
    let routes = routes.fallback(not_found).method_not_allowed_fallback(method_not_allowed);
    let routes = routes.layer(map_response(for_browsers));
    match &app.config.admin_web_origin {
        None => routes,
        Some(origin) => routes.layer(cors(origin)),
    }
}

/// What a browser must know of answers that are for one person: keep none, guess no type, tell nobody the address, load nothing.
async fn for_browsers(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value)); // a page has a policy of its own
    }
    answer
}

/// Lets a page from that origin call, with its cookie.
fn cors(origin: &str) -> CorsLayer {
    let origin = origin.parse().map_or_else(|_| AllowOrigin::list([]), AllowOrigin::exact);
    CorsLayer::new()
        .allow_origin(origin)
        .allow_credentials(true)
        .allow_methods([hyper::Method::GET, hyper::Method::POST, hyper::Method::PATCH, hyper::Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::IF_MATCH])
        .expose_headers([header::ETAG, header::RETRY_AFTER])
}

async fn caller(app: &App, request: Request) -> Result<Caller, Problem> {
    let (parts, _) = request.into_parts();
    let address = client_address(app, &parts.extensions, &parts.headers);
    Caller::of(app, &parts.method, &parts.headers, address).await
}

/// Any other path under /api; nothing is said to strangers, not even what exists.
async fn not_found(State(app): State<App>, request: Request) -> Problem {
    match caller(&app, request).await {
        Ok(_) => Problem::not_found("there is no such endpoint; GET /api/openapi.json lists them"),
        Err(problem) => problem,
    }
}

/// Another method than the endpoint's own.
async fn method_not_allowed(State(app): State<App>, request: Request) -> Problem {
    match caller(&app, request).await {
        Ok(_) => Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the endpoint takes other methods"),
        Err(problem) => problem,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::service::names;

    /// Words that stand in a path where others have `parameter`, such as `import` beside `{device_id}`: who is named so could not be
    /// reached.
    fn words_beside(parameter: &str) -> BTreeSet<&'static str> {
        let paths: Vec<Vec<&'static str>> = routes().iter().map(|route| route.path.split('/').collect()).collect();
        let before = |path: &Vec<&'static str>| {
            path.iter().position(|part| *part == parameter).and_then(|at| path.get(..at).map(<[_]>::to_vec))
        };
        let places: BTreeSet<Vec<&'static str>> = paths.iter().filter_map(before).collect();
        let beside = |path: &Vec<&'static str>| {
            let word = |place: &Vec<&'static str>| path.strip_prefix(place.as_slice())?.first().copied();
            places.iter().find_map(word).filter(|word| !word.starts_with('{'))
        };
        paths.iter().filter_map(beside).collect()
    }

    #[test]
    fn names_that_would_be_words_of_a_path_are_those_that_are_refused() {
        for (parameter, refused) in [
            ("{device_id}", &names::NOT_FOR_DEVICES[..]),
            ("{release_id}", &names::NOT_FOR_RELEASES),
            ("{rollout_id}", &names::NOT_FOR_ROLLOUTS),
        ] {
            assert_eq!(words_beside(parameter), refused.iter().copied().collect(), "{parameter}");
        }
    }
}
