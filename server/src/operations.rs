//! Endpoints for monitoring: /health and /metrics.

use axum::{
    extract::State,
    http::request::Parts,
    response::{IntoResponse, Response},
};
use hyper::{HeaderMap, StatusCode, header};
use serde_json::json;

use crate::{admission::unsigned, app::App, metrics::as_version_0_0_4, service::rollouts::driver};

/// GET /health: 200 while the store answers and accepts writes, 503 when it does not. The server writes every minute, so that a
/// repaired store shows within a minute even without traffic.
pub async fn health(State(app): State<App>) -> impl IntoResponse {
    let asked = app.reader.ask(|store| store.in_place().and_then(|_| store.auth_records(0, 1))).await;
    let store = match (asked, app.writer.trouble()) {
        (Err(error), _) => Err(error.to_string()),
        (Ok(_), Some(trouble)) => Err(trouble),
        (Ok(_), None) if app.is_short_of_disk() => {
            Err("the disk is nearly full: free some space; the rest is reserved for operators (DISK_RESERVE_BYTES)"
                .to_owned())
        }
        (Ok(_), None) => Ok(()),
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

/// GET /metrics: OpenMetrics, or Prometheus's older text format to clients that request it.
pub async fn metrics(State(app): State<App>, parts: Parts) -> Response {
    if let Err(refusal) = unsigned::check(&app, &parts) {
        let retry_after = [(header::RETRY_AFTER, refusal.retry_after_s.unwrap_or(1).to_string())];
        return (StatusCode::TOO_MANY_REQUESTS, retry_after, refusal.message.unwrap_or_default()).into_response();
    }
    // Decisions of other processes are counted too; if the store does not answer, the other metrics are still sent.
    if let Ok(newest) = app.reader.ask(|store| store.newest()).await {
        let _ = driver::count_decisions(&app, newest.decision).await;
    }
    app.metrics.limit_subjects.set(i64::try_from(app.limit_subjects()).unwrap_or(i64::MAX));
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    app.metrics.limit_memory_bytes.set(number(app.limit_memory_bytes()));
    app.metrics.writes_limit.set(number(app.overload.limit()));
    app.metrics.writes_in_progress_max.set(number(app.overload.most_ever()));
    app.metrics.writes_delay_seconds.set(app.overload.delay_us() as f64 / 1e6);
    exposition(&parts.headers, app.metrics.render())
}

/// The answer to a scrape: metrics in OpenMetrics, converted to Prometheus's older text format for clients that request it.
pub fn exposition(headers: &HeaderMap, openmetrics: Result<String, std::fmt::Error>) -> Response {
    let Ok(text) = openmetrics else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if wants_older_text(accepted) {
        let kind = "text/plain; version=0.0.4; charset=utf-8";
        return ([(header::CONTENT_TYPE, kind)], as_version_0_0_4(&text)).into_response();
    }
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}

/// Whether `Accept` prefers text/plain to OpenMetrics. A client that accepts anything gets OpenMetrics.
fn wants_older_text<'a>(accepted: impl Iterator<Item = &'a str>) -> bool {
    let (mut plain, mut openmetrics) = (0.0, 0.0);
    for range in accepted.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
        let kind = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
        match kind.as_str() {
            "text/plain" | "text/*" => plain = quality.max(plain),
            "application/openmetrics-text" => openmetrics = quality.max(openmetrics),
            _ => {}
        }
    }
    plain > openmetrics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clients_that_request_the_older_format_get_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        for (accept, is_older) in [
            ("text/plain; version=0.0.4", true),
            ("text/plain", true),
            ("TEXT/PLAIN;q=0.9, application/openmetrics-text;q=0.5", true),
            (prometheus, false),
            ("*/*", false),
            ("text/html,*/*;q=0.8", false),
            ("", false),
        ] {
            assert_eq!(wants_older_text([accept].into_iter()), is_older, "{accept}");
        }
        assert!(wants_older_text(["*/*", "text/plain"].into_iter()), "two header lines count as one");
    }
}
