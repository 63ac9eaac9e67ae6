//! The admin API for operators and scripts: JSON under /api, errors as problem+json (RFC 9457). [`routes`] lists every route.
//!
//! A request passes through [`route`], which authenticates the caller ([`auth`]), checks the role ([`crate::role::Access`]) and parses
//! the input; then the handler, which calls the store. The OpenAPI document at /api/openapi.json is generated from the same list and
//! the same types; /api/docs displays it.

pub mod accounts;
pub mod attendance;
pub mod audit;
pub mod auth;
pub mod commands;
pub mod device_selector;
pub mod devices;
pub mod events;
pub mod heartbeats;
pub mod keys;
pub mod limits;
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
    Method::{Delete, Get, Patch, Post, Put},
    Route,
};

/// Every route of the admin API: method, path, access, summary and handler.
pub fn routes() -> Vec<Route> {
    [device_routes(), firmware_routes(), server_routes()].concat()
}

/// Devices, their commands, and the data they send.
fn device_routes() -> Vec<Route> {
    use Access as A;
    vec![
        Route::new(Get, "/devices", A::READ_DEVICES, "List devices", devices::list),
        Route::new(Post, "/devices", A::PROVISION, "Whitelist one device", provisioning::enroll),
        Route::new(
            Post,
            "/devices/import",
            A::PROVISION,
            "Whitelist an inventory, all or nothing",
            provisioning::import,
        ),
        Route::new(Get, "/devices/export", A::READ_DEVICES, "Export the inventory as CSV", provisioning::export),
        Route::new(Get, "/devices/logs", A::READ, "Search device log lines, newest first", logs::list),
        Route::new(
            Post,
            "/devices/revoke",
            A::OPERATE,
            "Revoke devices; in force when the response arrives",
            devices::revoke,
        ),
        Route::new(Get, "/devices/{device_id}", A::READ_DEVICES, "Get a device", devices::get),
        Route::new(Patch, "/devices/{device_id}", A::OPERATE, "Edit a device's site and labels", devices::edit),
        Route::new(Post, "/devices/{device_id}/revoke", A::OPERATE, "Revoke one device", devices::revoke_one),
        Route::new(
            Post,
            "/devices/{device_id}/reprovision",
            A::PROVISION,
            "Give a device a new key; it must register again",
            provisioning::reprovision,
        ),
        Route::new(Get, "/devices/{device_id}/investigate", A::READ, "Diagnose a silent device", presence::investigate),
        Route::new(
            Get,
            "/devices/{device_id}/heartbeats",
            A::READ,
            "List a device's heartbeats, newest first",
            heartbeats::of_device,
        ),
        Route::new(Post, "/otrts", A::PROVISION, "Create one-time registration tokens", provisioning::make_otrts),
        Route::new(Get, "/commands", A::READ, "List commands", commands::list),
        Route::new(Post, "/commands", A::OPERATE, "Queue a command for devices", commands::order),
        Route::new(Get, "/commands/orders/{order_id}", A::READ, "Get an order's progress", commands::progress),
        Route::new(Post, "/commands/{command_id}/cancel", A::OPERATE, "Cancel a command", commands::cancel),
        Route::new(
            Get,
            "/heartbeats",
            A::READ,
            "List stored heartbeats in commit order, each as an array: row, device_id, boot_epoch, seq, uptime_s, received_at",
            heartbeats::list,
        ),
        Route::new(Get, "/attendance", A::READ, "List punches by time", attendance::list),
        Route::new(
            Get,
            "/attendance/export",
            A::READ,
            "Export the punches of a day or a period as CSV",
            attendance::export,
        ),
        Route::new(Get, "/presence", A::READ, "Count devices by presence, for each model and site", presence::fleet),
        Route::new(Post, "/presence", A::READ, "Count the devices that a selector selects", presence::selected),
    ]
}

/// Artifacts, releases and rollouts.
fn firmware_routes() -> Vec<Route> {
    use Access as A;
    vec![
        Route::new(Post, "/artifacts", A::RELEASE, "Upload a firmware image", releases::upload),
        Route::new(Get, "/releases", A::READ, "List releases", releases::list),
        Route::new(Post, "/releases", A::RELEASE, "Draft a release that the server signs", releases::draft),
        Route::new(Post, "/releases/signed", A::RELEASE, "Draft a release signed offline", releases::draft_signed),
        Route::new(Get, "/releases/{release_id}", A::READ, "Get a release with its manifest", releases::get),
        Route::new(
            Post,
            "/releases/{release_id}/stage",
            A::RELEASE,
            "Sign a draft; it is immutable from then on",
            releases::stage,
        ),
        Route::new(
            Post,
            "/releases/{release_id}/activate",
            A::RELEASE,
            "Allow rollouts to offer a staged release",
            releases::activate,
        ),
        Route::new(
            Post,
            "/releases/{release_id}/revoke",
            A::RELEASE,
            "Revoke a release permanently and abort its rollouts",
            releases::revoke,
        ),
        Route::new(Get, "/rollouts", A::READ, "List rollouts", rollouts::list),
        Route::new(Post, "/rollouts", A::RELEASE, "Start a rollout", rollouts::create),
        Route::new(Post, "/rollouts/plan", A::RELEASE, "Plan a rollout without starting it", rollouts::plan),
        Route::new(
            Post,
            "/rollouts/plan/rehearsal",
            A::RELEASE,
            "Write a plan as a scenario for `ks-fleet rehearse`",
            rollouts::plan_rehearsal,
        ),
        Route::new(Get, "/rollouts/{rollout_id}", A::READ, "Get a rollout's current state", rollouts::get),
        Route::new(
            Get,
            "/rollouts/{rollout_id}/status",
            A::READ,
            "Get what a rollout waits for, and which devices to look at",
            rollouts::status,
        ),
        Route::new(
            Get,
            "/rollouts/{rollout_id}/trace",
            A::READ,
            "List a rollout's decisions and their reasons",
            rollouts::trace,
        ),
        Route::new(
            Get,
            "/rollouts/{rollout_id}/updates",
            A::READ,
            "List a rollout's devices and their progress",
            rollouts::updates,
        ),
        Route::new(Post, "/rollouts/{rollout_id}/pause", A::OPERATE, "Pause a rollout: no new offers", rollouts::pause),
        Route::new(Post, "/rollouts/{rollout_id}/resume", A::RELEASE, "Resume a paused rollout", rollouts::resume),
        Route::new(
            Post,
            "/rollouts/{rollout_id}/approve",
            A::RELEASE,
            "Approve a stage that waits for approval",
            rollouts::approve,
        ),
        Route::new(
            Post,
            "/rollouts/{rollout_id}/abort",
            A::OPERATE,
            "Abort a rollout and stop devices that are downloading",
            rollouts::abort,
        ),
    ]
}

/// Sessions, users, tokens, the server's keys and the audit log.
fn server_routes() -> Vec<Route> {
    use Access as A;
    vec![
        Route::new(Post, "/login", A::Everybody, "Log in; the session is returned as a cookie", login::login),
        Route::new(Post, "/logout", A::ANY_ROLE, "Revoke the session or token used for this request", login::logout),
        Route::new(Get, "/me", A::ANY_ROLE, "Identify the caller", login::me),
        Route::new(Get, "/events", A::READ, "Follow which topics change, as server-sent events", events::stream),
        Route::new(
            Get,
            "/keys",
            A::READ,
            "Show the server's keys and how many devices hold the newest keyset",
            keys::status,
        ),
        Route::new(Post, "/keys/announce", A::ADMIN, "Create a new server key and publish it", keys::announce),
        Route::new(Post, "/keys/activate", A::ADMIN, "Sign with the announced key", keys::activate),
        Route::new(Post, "/keys/retire", A::ADMIN, "Remove the retired keys from the keyset", keys::retire),
        Route::new(Post, "/keys/revoke", A::ADMIN, "Revoke a compromised key immediately", keys::revoke),
        Route::new(Post, "/keys/firmware", A::ADMIN, "Publish a key that signs only firmware", keys::add_firmware),
        Route::new(Get, "/limits", A::READ, "Show the limits in force and what each has refused", limits::status),
        Route::new(Put, "/limits", A::ADMIN, "Apply a limits file on all servers", limits::apply),
        Route::new(Post, "/limits/rollback", A::ADMIN, "Return to the limits before the last change", limits::rollback),
        Route::new(Get, "/audit", A::ADMIN, "List audit entries, oldest first", audit::list),
        Route::new(Get, "/audit/export", A::ADMIN, "Export the audit log as NDJSON", audit::export),
        Route::new(Get, "/audit/verify", A::ADMIN, "Verify that the audit log is intact", audit::verify),
        Route::new(Get, "/users", A::ADMIN, "List users", accounts::users),
        Route::new(Post, "/users", A::ADMIN, "Create a user", accounts::create_user),
        Route::new(
            Patch,
            "/users/{name}",
            A::ADMIN,
            "Change a user's role or password, or disable a user",
            accounts::edit_user,
        ),
        Route::new(Get, "/tokens", A::ADMIN, "List tokens and sessions", accounts::tokens),
        Route::new(Post, "/tokens", A::ADMIN, "Create a token for a script", accounts::create_token),
        Route::new(Delete, "/tokens/{row}", A::ADMIN, "Revoke a token or session", accounts::revoke_token),
        Route::new(Get, "/openapi.json", A::Everybody, "Get the OpenAPI document of this API", openapi::document),
        Route::new(Get, "/docs", A::Everybody, "Browse the API reference", openapi::page),
    ]
}

/// The axum router, to be nested under /api.
pub fn router(app: &App) -> Router<App> {
    let routes = routes().into_iter().fold(Router::new(), |router, route| router.route(route.path, route.service()));
    let routes = routes.fallback(not_found).method_not_allowed_fallback(method_not_allowed);
    let routes = routes.layer(map_response(add_browser_headers));
    match &app.config.admin_web_origin {
        None => routes,
        Some(origin) => routes.layer(cors(origin)),
    }
}

/// Responses are for one user: a browser must not cache them, sniff their type, send their URL as a referrer, or load anything.
async fn add_browser_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value)); // the reference page sets its own policy
    }
    response
}

/// Allows pages of this origin to call the API with their session cookie.
pub fn cors(origin: &str) -> CorsLayer {
    let origin = origin.parse().map_or_else(|_| AllowOrigin::list([]), AllowOrigin::exact);
    CorsLayer::new()
        .allow_origin(origin)
        .allow_credentials(true)
        .allow_methods([
            hyper::Method::GET,
            hyper::Method::POST,
            hyper::Method::PUT,
            hyper::Method::PATCH,
            hyper::Method::DELETE,
        ])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::IF_MATCH])
        .expose_headers([header::ETAG, header::RETRY_AFTER])
}

async fn authenticate(app: &App, request: Request) -> Result<Caller, Problem> {
    let (parts, _) = request.into_parts();
    let address = client_address(app, &parts.extensions, &parts.headers);
    Caller::of(app, &parts.method, &parts.headers, address).await
}

/// Any other path under /api. Unauthenticated callers get 401, so that they can't probe which paths exist.
async fn not_found(State(app): State<App>, request: Request) -> Problem {
    match authenticate(&app, request).await {
        Ok(_) => Problem::not_found("no such endpoint; GET /api/openapi.json lists them"),
        Err(problem) => problem,
    }
}

/// The path exists, but not with this method.
async fn method_not_allowed(State(app): State<App>, request: Request) -> Problem {
    match authenticate(&app, request).await {
        Ok(_) => Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the endpoint does not support this method"),
        Err(problem) => problem,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::service::names;

    /// Literal path segments in the position of `parameter`, such as `import` for `{device_id}`: a resource with such a name would be
    /// unreachable.
    fn literals_shadowing(parameter: &str) -> BTreeSet<&'static str> {
        let paths: Vec<Vec<&'static str>> = routes().iter().map(|route| route.path.split('/').collect()).collect();
        let before = |path: &Vec<&'static str>| {
            path.iter().position(|part| *part == parameter).and_then(|at| path.get(..at).map(<[_]>::to_vec))
        };
        let prefixes: BTreeSet<Vec<&'static str>> = paths.iter().filter_map(before).collect();
        let literal = |path: &Vec<&'static str>| {
            let segment = |prefix: &Vec<&'static str>| path.strip_prefix(prefix.as_slice())?.first().copied();
            prefixes.iter().find_map(segment).filter(|segment| !segment.starts_with('{'))
        };
        paths.iter().filter_map(literal).collect()
    }

    #[test]
    fn reserved_names_are_exactly_the_path_literals() {
        for (parameter, reserved) in [
            ("{device_id}", &names::RESERVED_DEVICE_IDS[..]),
            ("{release_id}", &names::RESERVED_RELEASE_IDS),
            ("{rollout_id}", &names::RESERVED_ROLLOUT_IDS),
        ] {
            assert_eq!(literals_shadowing(parameter), reserved.iter().copied().collect(), "{parameter}");
        }
    }
}
