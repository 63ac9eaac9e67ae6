//! Every route of devices and machines; those of users and scripts are in [`admin::routes`].

use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing::{get, post},
};

use crate::{admin, app::App, data_plane, operations, web};

/// The whole server as one service: sockets serve the same router that a rehearsal calls in process.
pub fn router(app: App) -> Router {
    let keyset = get(data_plane::keyset::keyset);
    let keyset = match &app.config.admin_web_origin {
        None => keyset,
        // Pages from there verify what is signed, beginning with the keyset.
        Some(origin) => keyset.layer(admin::cors(origin)),
    };
    Router::new()
        .route("/register", post(data_plane::register::register))
        .route("/heartbeat", post(data_plane::heartbeat::heartbeat))
        .route("/commands/ack", post(data_plane::command_ack::command_ack))
        .route("/logs", post(data_plane::logs::logs))
        .route("/attendance", post(data_plane::attendance::attendance))
        .route("/rotate-key", post(data_plane::rotate_key::rotate_key))
        .route("/firmware/status", post(data_plane::firmware_status::firmware_status))
        .route("/firmware/artifacts/{sha256}", get(data_plane::artifact::artifact))
        .route("/keys", keyset)
        .method_not_allowed_fallback(data_plane::method_not_allowed)
        .route("/health", get(operations::health))
        .route("/metrics", get(operations::metrics))
        .nest("/api", admin::router(&app))
        .fallback(elsewhere)
        .with_state(app)
}

/// Any other path: the admin web for browsers, a signed refusal for devices.
async fn elsewhere(State(app): State<App>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match web::answer(&parts.method, parts.uri.path(), &parts.headers) {
        Some(page) => page,
        None => data_plane::not_found(&app, &parts),
    }
}
