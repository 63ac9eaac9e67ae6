//! /api/login, /api/logout, /api/me: browser sessions. Scripts use tokens.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use ks_protocol::time::UnixMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    auth::{ANONYMOUS, COOKIE, Caller},
    route::{Call, Json, JsonBody, NoInput, WithCookie},
};
use crate::{
    role::Role,
    rules::accounts,
    service::accounts::token_sha256,
    store::{
        Actor,
        accounts::{NewToken, TokenKind},
        audit::chain,
    },
};

/// A session ends so long after the login, used or not.
const SESSION_TTL: Duration = Duration::from_hours(12);
/// User name and password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    #[schemars(length(max = 64))]
    name: String,
    #[schemars(length(max = 256))]
    password: String,
}

/// The authenticated caller.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CurrentUser {
    /// `user:anna`, `token:ci` or `admin-token`.
    name: String,
    /// Null after a logout.
    role: Option<Role>,
    /// When the session or token expires; null for ADMIN_TOKEN and after a logout.
    expires_at: Option<UnixMs>,
}

/// Logs in; the session is returned as a cookie.
pub async fn login(call: Call, JsonBody(login): JsonBody<Login>) -> Result<WithCookie<CurrentUser>, Problem> {
    let Call { app, address, .. } = &call;
    let now_us = app.elapsed_us();
    let Login { name, password } = login;
    if name.len() > 64 || password.len() > crate::password::BYTES_MAX {
        return Err(Problem::bad_request("name: at most 64 bytes; password: at most 256 bytes"));
    }
    let attempt = app.throttle.attempt(&name, *address, now_us);
    let attempt =
        attempt.map_err(|wait_us| Problem::too_many_requests("too many login attempts; retry later", wait_us))?;
    let wanted = name.clone();
    let found = app.reader.ask(move |store| store.user(&wanted)).await?;
    let enabled = found.filter(|(user, _)| user.disabled_at.is_none());
    let hash = enabled.as_ref().map(|(_, hash)| hash.clone());
    let Some(is_right) = app.passwords.is_right(password, hash).await else {
        attempt.is_no_failure();
        return Err(Problem::overloaded());
    };
    let wrong = || Problem::unauthorized("name or password is wrong");
    let Some((user, hash)) = enabled.filter(|_| is_right) else {
        let by = Actor { name: ANONYMOUS.to_owned(), address: Some(*address), at: app.clock.now() };
        app.writer.write(move |store| chain::note(store, "login.failed", &name, "", &by).map(|_| ())).await?;
        return Err(wrong());
    };
    attempt.succeeded();
    let token = Base64UrlUnpadded::encode_string(&app.rng.bytes_32());
    let by = Actor { name: format!("user:{}", user.name), address: Some(*address), at: app.clock.now() };
    let (at, role) = (by.at, user.role);
    let session = NewToken {
        token_sha256: token_sha256(&token),
        kind: TokenKind::Session,
        name: user.name.clone(),
        role,
        user: Some(user.name),
        expires_at: at + SESSION_TTL,
    };
    let (expires_at, me) = (session.expires_at, by.name.clone());
    let started = app.writer.write(move |store| accounts::begin_session(store, &session, &hash, &by)).await?;
    started.ok_or_else(wrong)?; // the password has changed since it was checked
    let cookie = cookie(&token, SESSION_TTL);
    Ok(WithCookie(cookie, CurrentUser { name: me, role: Some(role), expires_at: Some(expires_at) }))
}

fn cookie(token: &str, max_age: Duration) -> String {
    format!("{COOKIE}={token}; Path=/; Max-Age={}; Secure; HttpOnly; SameSite=Strict", max_age.as_secs())
}

/// Revokes the session or token that authenticated the request.
pub async fn logout(call: Call, _: NoInput) -> Result<WithCookie<CurrentUser>, Problem> {
    let by = call.by();
    if let Some(row) = call.caller.token {
        call.app.writer.write(move |store| accounts::revoke_token(store, row, &by)).await?;
    }
    Ok(WithCookie(cookie("", Duration::ZERO), CurrentUser { name: call.caller.name, role: None, expires_at: None }))
}

pub async fn me(call: Call, _: NoInput) -> Result<Json<CurrentUser>, Problem> {
    let Caller { name, role, expires_at, .. } = call.caller;
    Ok(Json(CurrentUser { name, role, expires_at }))
}
