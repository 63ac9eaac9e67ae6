//! Who calls: the bearer token of a script, the session cookie of a person in a browser, or the server's own ADMIN_TOKEN.
//!
//! A browser sends its cookie with whatever a page makes it send, so a call with a cookie that changes something must come from
//! this server's own pages, or from ADMIN_WEB_ORIGIN: `Sec-Fetch-Site` and `Origin` say from where, and no page can set them.

use std::net::IpAddr;

use hyper::{HeaderMap, Method, header};
use ks_protocol::time::UnixMs;

use super::Problem;
use crate::{app::App, http::body::text_of, role::Role, service::accounts::token_sha256, store::accounts::TokenKind};

/// The cookie that carries a session. Its prefix has browsers refuse it unless it is Secure, host-only and for every path.
pub const COOKIE: &str = "__Host-ks_session";

/// Somebody who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who, for the audit: `user:anna`, `token:ci`, `admin-token`.
    pub name: String,
    /// What they may do; none on a route for everybody.
    pub role: Option<Role>,
    /// The stored token that was shown, if it was one.
    pub token: Option<i64>,
    /// Whose that is.
    pub user: Option<String>,
    /// When that ends.
    pub expires_at: Option<UnixMs>,
}

impl Caller {
    /// Whoever it is, on a route for everybody.
    pub fn anybody() -> Self {
        Self { name: "anybody".to_owned(), role: None, token: None, user: None, expires_at: None }
    }

    /// Who calls.
    ///
    /// # Errors
    /// 401 without a token that is good, 429 from an address that has shown too many that are not, 403 for a cookie that another site made the browser send.
    pub async fn of(app: &App, method: &Method, headers: &HeaderMap, address: IpAddr) -> Result<Self, Problem> {
        let bearer = text_of(headers, &header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        let (token, kind) = match (bearer, cookie(headers)) {
            (Some(token), _) => (token, TokenKind::Bearer),
            (None, Some(token)) => (token, TokenKind::Session),
            (None, None) => {
                let how =
                    "log in, or send `Authorization: Bearer` and a token (`ks-server admin token create` makes one)";
                return Err(Problem::unauthorized(how));
            }
        };
        let sha256 = token_sha256(token);
        // Hashes are compared, so that the time taken says nothing about the token.
        let root = app.config.admin_token.as_ref().map(|token| token_sha256(token.reveal()));
        if kind == TokenKind::Bearer && root == Some(sha256) {
            let name = "admin-token".to_owned();
            return Ok(Self { name, role: Some(Role::Admin), token: None, user: None, expires_at: None });
        }
        let now = app.clock.now();
        let now_us = app.elapsed_us();
        let may_look_up = app.throttle.may_look_up(&sha256, address, now_us);
        may_look_up.map_err(|wait_us| Problem::wait("too many wrong tokens from this address; wait", wait_us))?;
        let good = app.reader.ask(move |store| store.good_token(&sha256, now)).await?;
        app.throttle.looked_up(&sha256, good.is_some(), address, now_us);
        let Some(token) = good.filter(|token| token.kind == kind) else {
            return Err(Problem::unauthorized("the token or session is unknown, has expired, or was revoked"));
        };
        if kind == TokenKind::Session && !method.is_safe() && !is_same_site(app, headers) {
            return Err(Problem::forbidden("this call changes something, and another site made the browser send it"));
        }
        let name = match kind {
            TokenKind::Session => format!("user:{}", token.name),
            TokenKind::Bearer => format!("token:{}", token.name),
        };
        let (role, row, expires_at) = (Some(token.role), Some(token.row), Some(token.expires_at));
        Ok(Self { name, role, token: row, user: token.user, expires_at })
    }

    /// Name and role, for people.
    pub fn told(&self) -> String {
        let role = self.role.map_or("without a role", Role::as_str);
        format!("{} ({role})", self.name)
    }
}

/// The session's token, if there is a cookie for it.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|value| value.split(';')).find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Whether a browser says that one of our own pages made it call.
fn is_same_site(app: &App, headers: &HeaderMap) -> bool {
    let origin = text_of(headers, &header::ORIGIN);
    if origin.is_some() && origin == app.config.admin_web_origin.as_deref() {
        return true;
    }
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    // A browser too old to say so sends at least where the page is from.
    let host = text_of(headers, &header::HOST);
    let origin_host = origin.and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    origin_host.is_some() && origin_host == host
}
