//! /api/users and /api/tokens: users who log in, and tokens for scripts.

use std::time::Duration;

use ks_protocol::time::UnixMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    heartbeats::PageQuery,
    page::{self, Page},
    route::{Call, Json, JsonBody, NoContent, NoInput, Query, Versioned},
};
use crate::{
    role::Role,
    rules::accounts,
    service::accounts::{TOKEN_TTL_S_MAX, Token, User, is_name, new_token},
    store::{
        self,
        accounts::{NewToken, UserEdit, UserRefused},
    },
};

fn check_name(text: &str) -> Result<(), Problem> {
    if is_name(text) {
        Ok(())
    } else {
        Err(Problem::bad_request("name: expected 1 to 64 of A-Z, a-z, 0-9, . _ - and @"))
    }
}

pub async fn users(call: Call, Query(query): Query<PageQuery>) -> Result<Json<Page<User>>, Problem> {
    let (limit, after) = (page::limit(query.limit)?, page::after(query.cursor.as_deref(), 0)?);
    let users = call.reader.ask(move |store| store.users(after, limit)).await?;
    Ok(Json(Page::of(users, limit, |user| user.row, User::from)))
}

/// A user to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    #[schemars(regex(pattern = r"^[A-Za-z0-9._@-]{1,64}$"))]
    name: String,
    role: Role,
    /// At least 12 characters.
    #[schemars(length(min = 12, max = 256))]
    password: String,
}

pub async fn create_user(call: Call, JsonBody(new): JsonBody<NewUser>) -> Result<Versioned<User>, Problem> {
    let NewUser { name, role, password } = new;
    check_name(&name)?;
    let password_hash = hash_password(&call, password).await?;
    let (by, new) = (call.by(), store::accounts::NewUser { name: name.clone(), role, password_hash });
    let created = call.app.writer.write(move |store| accounts::create_user(store, &new, &by)).await?;
    created.map_err(|refused| user_refused(&refused, &name))?;
    find(&call, &name).await
}

async fn hash_password(call: &Call, password: String) -> Result<String, Problem> {
    let salt = call.app.rng.bytes_32();
    let hashed = call.app.passwords.hash(password, salt).await.ok_or_else(Problem::overloaded)?;
    hashed.map_err(|expected| Problem::bad_request(format!("password: expected {expected}")))
}

async fn find(call: &Call, name: &str) -> Result<Versioned<User>, Problem> {
    let wanted = name.to_owned();
    let found = call.reader.ask(move |store| store.user(&wanted)).await?;
    let (user, _) = found.ok_or_else(|| user_refused(&UserRefused::Unknown, name))?;
    Ok(Versioned(user.version, user.into()))
}

fn user_refused(refused: &UserRefused, name: &str) -> Problem {
    match refused {
        UserRefused::NameTaken => Problem::conflict(format!("name: user {name} already exists")),
        UserRefused::Unknown => Problem::not_found(format!("unknown user {name}")),
        UserRefused::Changed { version } => Problem::changed(*version),
    }
}

/// Changes to a user; omitted fields stay as they are.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EditUser {
    /// A new role. Revokes the tokens that the user created.
    role: Option<Role>,
    /// A new password. Ends the user's sessions.
    #[schemars(length(min = 12, max = 256))]
    password: Option<String>,
    /// Disabling ends the user's sessions and revokes the tokens that the user created.
    disabled: Option<bool>,
}

pub async fn edit_user(call: Call, JsonBody(edit): JsonBody<EditUser>) -> Result<Versioned<User>, Problem> {
    let name: String = call.path("name")?;
    let EditUser { role, password, disabled } = edit;
    let password_hash = match password {
        Some(password) => Some(hash_password(&call, password).await?),
        None => None,
    };
    let edit = UserEdit { role, password_hash, disabled };
    let (by, edited, if_version) = (call.by(), name.clone(), call.if_version()?);
    let done = call.app.writer.write(move |store| accounts::edit_user(store, &edited, &edit, if_version, &by)).await?;
    done.map_err(|refused| user_refused(&refused, &name))?;
    find(&call, &name).await
}

/// Lists tokens and sessions.
pub async fn tokens(call: Call, Query(query): Query<PageQuery>) -> Result<Json<Page<Token>>, Problem> {
    let (limit, after) = (page::limit(query.limit)?, page::after(query.cursor.as_deref(), 0)?);
    let tokens = call.reader.ask(move |store| store.tokens(after, limit)).await?;
    Ok(Json(Page::of(tokens, limit, |token| token.row, Token::from)))
}

/// A token to create.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Name for the audit.
    #[schemars(regex(pattern = r"^[A-Za-z0-9._@-]{1,64}$"))]
    name: String,
    role: Role,
    /// Lifetime in seconds.
    #[schemars(range(min = 1, max = 31_536_000))]
    ttl_s: u64,
}

/// A new token. Its secret is shown only in this response.
#[derive(Serialize, JsonSchema)]
pub struct CreatedToken {
    row: i64,
    token: String,
    expires_at: UnixMs,
}

pub async fn create_token(call: Call, JsonBody(order): JsonBody<TokenRequest>) -> Result<Json<CreatedToken>, Problem> {
    check_name(&order.name)?;
    if !(1..=TOKEN_TTL_S_MAX).contains(&order.ttl_s) {
        return Err(Problem::bad_request(format!(
            "ttl_s: expected 1 to {TOKEN_TTL_S_MAX} seconds, got {}",
            order.ttl_s
        )));
    }
    let by = call.by();
    let expires_at = by.at + Duration::from_secs(order.ttl_s);
    let (token, new) = new_token(&call.app.rng, order.name, order.role, expires_at);
    let new = NewToken { user: call.caller.user.clone(), ..new };
    let row = call.app.writer.write(move |store| accounts::add_token(store, &new, &by)).await?;
    Ok(Json(CreatedToken { row, token, expires_at }))
}

/// Revokes a token or a session.
pub async fn revoke_token(call: Call, _: NoInput) -> Result<NoContent, Problem> {
    let (row, by): (i64, _) = (call.path_number("row")?, call.by());
    let was_known = call.app.writer.write(move |store| accounts::revoke_token(store, row, &by)).await?;
    if was_known { Ok(NoContent) } else { Err(Problem::not_found(format!("unknown token {row}"))) }
}
