//! What machines that watch the server call: /health and /metrics.

use axum::{extract::State, response::IntoResponse};
use hyper::{StatusCode, header};
use serde_json::json;

use crate::app::App;

/// GET /health: 200 while the store answers and takes writes, 503 when it does not. Every minute there is a write, so a store
/// that failed and was mended shows within one, even where nobody sends it anything.
pub async fn health(State(app): State<App>) -> impl IntoResponse {
    let asked = app.reader.ask(|store| store.standings(0, 1).map(|_| ())).await;
    let store = match app.writer.trouble() {
        Some(trouble) => Err(trouble.to_owned()),
        None => asked.map_err(|error| error.to_string()),
    };
    let status = if store.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": if store.is_ok() { "ok" } else { "unavailable" },
        "store": match &store { Ok(()) => "ok".to_owned(), Err(trouble) => trouble.clone() },
        "version": env!("CARGO_PKG_VERSION"),
        "server_time": app.clock.now(),
        "uptime_s": app.started.elapsed().as_secs(),
        "devices_in_memory": app.registry.len(),
        "writes_waiting": app.writer.waiting(),
    });
    (status, axum::Json(body))
}

/// GET /metrics: Prometheus text.
pub async fn metrics(State(app): State<App>) -> impl IntoResponse {
    match app.metrics.render() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
