//! The endpoints for devices, one file each, named as in the protocol's messages.

pub mod artifact;
pub mod attendance;
pub mod command_ack;
pub mod firmware_status;
pub mod heartbeat;
pub mod keyset;
pub mod logs;
pub mod register;
pub mod rotate_key;

use axum::{extract::State, http::request::Parts, response::Response};
use ks_protocol::{refusal::RefusalCode, signature::NO_SIG_DEV};

use crate::{
    admission::unsigned,
    app::App,
    http::answer::{self, Reply},
    refusal::Refusal,
    service::bulk::run_to_completion,
};

/// Runs the work of a request to its end, also for a device that hangs up: what is stored must be charged to its budgets.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    run_to_completion(work).await?
}

fn unbound(app: &App, path: &'static str) -> Reply {
    Reply { path, sig_dev: NO_SIG_DEV.to_owned(), device_id: None, arrived_us: app.elapsed_us() }
}

/// Any path that belongs to no endpoint.
pub fn not_found(app: &App, parts: &Parts) -> Response {
    let path: String = parts.uri.path().chars().take(80).collect();
    let refusal = Refusal::new(RefusalCode::NotFound).saying(format!("there is no endpoint {path}"));
    refuse_unsigned(app, parts, refusal)
}

/// An endpoint called with the wrong method.
pub async fn method_not_allowed(State(app): State<App>, parts: Parts) -> Response {
    refuse_unsigned(&app, &parts, Refusal::new(RefusalCode::MethodNotAllowed))
}

fn refuse_unsigned(app: &App, parts: &Parts, refusal: Refusal) -> Response {
    let refusal = unsigned::check(app, parts).err().unwrap_or(refusal);
    answer::refuse(app, &unbound(app, "other"), refusal)
}
