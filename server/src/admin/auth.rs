//! Authentication: a script's bearer token, a browser's session cookie, or the server's own ADMIN_TOKEN.
//!
//! A browser attaches the cookie to every request that any page triggers (CSRF). So a request with a cookie that changes something
//! must come from this server's own pages or from ADMIN_WEB_ORIGIN, by the `Sec-Fetch-Site` and `Origin` headers, which pages can't
//! set.

use std::{
    fmt::{self, Display},
    net::IpAddr,
};

use hyper::{HeaderMap, Method, header};
use ks_protocol::time::UnixMs;

use super::Problem;
use crate::{
    app::App,
    http::body::text_of,
    limit::{Limit, Requester},
    role::Role,
    service::accounts::token_sha256,
    store::accounts::TokenKind,
};

/// The session cookie. The `__Host-` prefix makes browsers refuse it unless it is Secure, host-only and for path /.
pub const COOKIE: &str = "__Host-ks_session";

/// Name of an unauthenticated caller.
pub const ANONYMOUS: &str = "anybody";

/// The caller of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// For the audit: `user:anna`, `token:ci`, `admin-token`, `anybody`.
    pub name: String,
    /// None on a public route.
    pub role: Option<Role>,
    /// Row of the stored token that authenticated the request; none for ADMIN_TOKEN.
    pub token: Option<i64>,
    /// The user that the token belongs to.
    pub user: Option<String>,
    /// When the token expires.
    pub expires_at: Option<UnixMs>,
}

impl Caller {
    /// The caller of a public route.
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.to_owned(), role: None, token: None, user: None, expires_at: None }
    }

    /// Authenticates a request.
    ///
    /// # Errors
    /// 401 without a valid token, 429 from an address that has sent too many invalid ones, 403 for a cookie in a cross-site request.
    pub async fn of(app: &App, method: &Method, headers: &HeaderMap, address: IpAddr) -> Result<Self, Problem> {
        let bearer = text_of(headers, &header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        let (token, kind) = match (bearer, cookie(headers)) {
            (Some(token), _) => (token, TokenKind::Bearer),
            (None, Some(token)) => (token, TokenKind::Session),
            (None, None) => {
                let how =
                    "log in, or send `Authorization: Bearer` with a token (`ks-server admin token create` creates one)";
                return Err(Problem::unauthorized(how));
            }
        };
        let sha256 = token_sha256(token);
        // Hashes are compared, so that timing reveals nothing about the token.
        let root = app.config.admin_token.as_ref().map(|token| token_sha256(token.reveal()));
        if kind == TokenKind::Bearer && root == Some(sha256) {
            spend_call(app, 0, address)?;
            let name = "admin-token".to_owned();
            return Ok(Self { name, role: Some(Role::Admin), token: None, user: None, expires_at: None });
        }
        let now = app.clock.now();
        let now_us = app.elapsed_us();
        let may_look_up = app.throttle.may_look_up(&sha256, address, now_us);
        may_look_up.map_err(|wait_us| {
            Problem::too_many_requests("too many invalid tokens from this address; retry later", wait_us)
        })?;
        let valid = app.reader.ask(move |store| store.valid_token(&sha256, now)).await?;
        app.throttle.looked_up(&sha256, valid.is_some(), address, now_us);
        let Some(token) = valid.filter(|token| token.kind == kind) else {
            return Err(Problem::unauthorized("the token or session is unknown, has expired, or was revoked"));
        };
        if kind == TokenKind::Session && !method.is_safe() && !is_same_site(app, headers) {
            return Err(Problem::forbidden("cross-site requests that change something are refused"));
        }
        spend_call(app, token.row, address)?;
        let name = match kind {
            TokenKind::Session => format!("user:{}", token.name),
            TokenKind::Bearer => format!("token:{}", token.name),
        };
        let (role, row, expires_at) = (Some(token.role), Some(token.row), Some(token.expires_at));
        Ok(Self { name, role, token: row, user: token.user, expires_at })
    }
}

/// Spends one call of a token or session, by its row.
fn spend_call(app: &App, row: i64, address: IpAddr) -> Result<(), Problem> {
    let (now_us, requester) = (app.elapsed_us(), Requester::address(address));
    let verdict = app.limits.check(Limit::TokenCalls, requester, now_us, |meter| app.token_calls.try_spend(meter, row));
    verdict.refusal().map_err(|wait_us| {
        Problem::too_many_requests("too many calls with this token or session; retry later", wait_us)
    })
}

impl Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = self.role.map_or("without a role", Role::as_str);
        write!(f, "{} ({role})", self.name)
    }
}

/// The session token in the cookie header.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|value| value.split(';')).find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Whether one of our own pages, or one of ADMIN_WEB_ORIGIN, triggered the request.
fn is_same_site(app: &App, headers: &HeaderMap) -> bool {
    let origin = text_of(headers, &header::ORIGIN);
    if origin.is_some() && origin == app.config.admin_web_origin.as_deref() {
        return true;
    }
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    // Older browsers do not send Sec-Fetch-Site, but do send Origin.
    let host = text_of(headers, &header::HOST);
    let origin_host = origin.and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    origin_host.is_some() && origin_host == host
}
