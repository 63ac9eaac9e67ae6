//! What people and scripts call: JSON under /api, `Authorization: Bearer $ADMIN_TOKEN`, errors as problem+json (RFC 9457).

pub mod commands;
pub mod devices;
pub mod heartbeats;
pub mod inventory;
pub mod otrts;
mod problem;

use axum::{
    extract::{Query, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::header::AUTHORIZATION;
use serde::Deserialize;
use sha2::{Digest, Sha256};

pub use problem::Problem;

use crate::{app::App, store::By};

/// Who acts, for the audit. There is one bearer token, hence one name.
const ACTOR: &str = "admin-token";

/// The caller, for the audit.
fn by(app: &App) -> By {
    By { name: ACTOR.to_owned(), address: None, at: app.clock.now() }
}

/// Rows in one page at most.
const PAGE_MAX: usize = 10_000;

/// Lets a request through if it carries the admin token. Every route under /api passes here.
pub async fn require_token(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some(expected) = &app.config.admin_token else {
        return Problem::forbidden("the admin API is off: start the server with ADMIN_TOKEN set").into_response();
    };
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    // Hashes are compared, so that the time taken says nothing about the token.
    let matches = given.is_some_and(|given| Sha256::digest(given) == Sha256::digest(expected.reveal()));
    if matches { next.run(request).await } else { Problem::unauthorized().into_response() }
}

/// Any other path under /api.
pub async fn not_found() -> Problem {
    Problem::not_found("there is no such endpoint")
}

/// Which page of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    #[serde(default)]
    after: i64,
    limit: Option<usize>,
}

impl Page {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(1_000).clamp(1, PAGE_MAX)
    }
}

/// A query string that is refused as problem+json.
pub struct PageQuery(pub Page);

impl axum::extract::FromRequestParts<App> for PageQuery {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut hyper::http::request::Parts, app: &App) -> Result<Self, Problem> {
        match Query::<Page>::from_request_parts(parts, app).await {
            Ok(Query(page)) => Ok(Self(page)),
            Err(_) => Err(Problem::bad_request("expected ?after=ROW&limit=1..10000, both optional whole numbers")),
        }
    }
}

/// A JSON body that is refused as problem+json.
pub struct Json<T>(pub T);

impl<T: serde::de::DeserializeOwned> axum::extract::FromRequest<App> for Json<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        match axum::Json::<T>::from_request(request, app).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(Problem::new(rejection.status(), rejection.body_text())),
        }
    }
}
