//! Every route in one list: data plane, admin API, operations.

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};

use crate::{admin, app::App, data_plane, operations};

/// Greatest inventory, in bytes: a million rows.
const INVENTORY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Greatest JSON body, in bytes: a hundred thousand device names.
const JSON_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The whole server as one service; sockets and rehearsals call the same.
pub fn router(app: App) -> Router {
    let admin = Router::new()
        .route("/devices", get(admin::devices::list))
        .route("/devices/import", post(admin::devices::import).layer(DefaultBodyLimit::max(INVENTORY_BYTES_MAX)))
        .route("/devices/revoke", post(admin::devices::revoke))
        .route("/devices/{device_id}/revoke", post(admin::devices::revoke_one))
        .route("/otrts", post(admin::otrts::make))
        .route("/commands", get(admin::commands::list).post(admin::commands::enqueue))
        .route("/heartbeats", get(admin::heartbeats::list))
        .fallback(admin::not_found)
        .layer(DefaultBodyLimit::max(JSON_BYTES_MAX))
        .layer(middleware::from_fn_with_state(app.clone(), admin::require_token));
    Router::new()
        .route("/register", post(data_plane::register::register))
        .route("/heartbeat", post(data_plane::heartbeat::heartbeat))
        .route("/commands/ack", post(data_plane::command_ack::command_ack))
        .route("/logs", post(data_plane::logs::logs))
        .route("/attendance", post(data_plane::attendance::attendance))
        .route("/rotate-key", post(data_plane::rotate_key::rotate_key))
        .route("/keys", get(data_plane::keyset::keyset))
        .method_not_allowed_fallback(data_plane::method_not_allowed)
        .route("/health", get(operations::health))
        .route("/metrics", get(operations::metrics))
        .nest("/api", admin)
        .fallback(data_plane::not_found)
        .with_state(app)
}
