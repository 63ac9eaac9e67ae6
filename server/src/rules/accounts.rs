//! Users and tokens: which may be created, which tokens an edit revokes, and whether a session may still begin.

use crate::store::{
    Actor, StoreError, Transaction,
    accounts::{NewToken, NewUser, TokenKind, UserEdit, UserRecord, UserRefused},
    audit::chain::note,
};
use ks_protocol::text::counted;

pub fn create_user(
    store: &mut dyn Transaction,
    new: &NewUser,
    by: &Actor,
) -> Result<Result<(), UserRefused>, StoreError> {
    if store.user(&new.name)?.is_some() {
        return Ok(Err(UserRefused::NameTaken));
    }
    let noted = note(store, "user.create", &new.name, new.role.as_str(), by)?;
    store.insert_user(new, by.at, &noted)?;
    Ok(Ok(()))
}

/// Changes a user, if its version is still `if_version`; returns the new version.
pub fn edit_user(
    store: &mut dyn Transaction,
    name: &str,
    edit: &UserEdit,
    if_version: Option<u64>,
    by: &Actor,
) -> Result<Result<u64, UserRefused>, StoreError> {
    let Some((user, password_hash)) = store.user(name)? else { return Ok(Err(UserRefused::Unknown)) };
    if if_version.is_some_and(|expected| expected != user.version) {
        return Ok(Err(UserRefused::Changed { version: user.version }));
    }
    let is_disabled = edit.disabled == Some(true);
    // A new password or a disabled account ends all sessions of the user.
    let ends_sessions = edit.password_hash.is_some() || is_disabled;
    // A token keeps the role that it was created with, so it must not outlive its owner's role or account.
    let ends_tokens = is_disabled || edit.role.is_some_and(|role| role != user.role);
    let ended = if ends_tokens { store.count_valid_tokens(user.row, TokenKind::Bearer, by.at)? } else { 0 };
    let noted = note(store, "user.edit", name, &described(edit, ended), by)?;
    let next = UserRecord {
        role: edit.role.unwrap_or(user.role),
        version: user.version + 1,
        disabled_at: match edit.disabled {
            Some(true) => user.disabled_at.or(Some(by.at)),
            Some(false) => None,
            None => user.disabled_at,
        },
        ..user
    };
    store.save_user(&next, edit.password_hash.as_ref().unwrap_or(&password_hash), &noted)?;
    for (kind, ends) in [(TokenKind::Session, ends_sessions), (TokenKind::Bearer, ends_tokens)] {
        if ends {
            store.revoke_valid_tokens(next.row, kind, by.at, &noted)?;
        }
    }
    Ok(Ok(next.version))
}

/// Adds a token and returns its row. If its user was disabled in the meantime, it is added as revoked.
pub fn add_token(store: &mut dyn Transaction, token: &NewToken, by: &Actor) -> Result<i64, StoreError> {
    let user = match &token.user {
        Some(name) => store.user(name)?.map(|(user, _)| user),
        None => None,
    };
    let action = match token.kind {
        TokenKind::Session => "session.begin",
        TokenKind::Bearer => "token.create",
    };
    let detail = format!("{}, expires {}", token.role.as_str(), token.expires_at);
    let noted = note(store, action, &token.name, &detail, by)?;
    let (user_row, revoked_at) = user.map_or((None, None), |user| (Some(user.row), user.disabled_at));
    store.insert_token(token, user_row, revoked_at, by.at, &noted)
}

/// Adds a session, if its user's password still has this hash and the user is not disabled: a password change ends all sessions
/// that used the old password, including those that were about to begin. Returns the row.
pub fn begin_session(
    store: &mut dyn Transaction,
    session: &NewToken,
    password_hash: &str,
    by: &Actor,
) -> Result<Option<i64>, StoreError> {
    let Some(name) = &session.user else { return Ok(None) };
    let user = store.user(name)?;
    let may_begin = user.is_some_and(|(user, hash)| user.disabled_at.is_none() && hash == password_hash);
    if may_begin { add_token(store, session, by).map(Some) } else { Ok(None) }
}

/// Revokes a token; false if it does not exist.
pub fn revoke_token(store: &mut dyn Transaction, row: i64, by: &Actor) -> Result<bool, StoreError> {
    let Some(name) = store.token_name(row)? else { return Ok(false) };
    let noted = note(store, "token.revoke", &name, &format!("token {row}"), by)?;
    store.revoke_token_row(row, by.at, &noted)?;
    Ok(true)
}

/// Describes an edit for the audit, without secrets.
fn described(edit: &UserEdit, tokens_ended: usize) -> String {
    let role = edit.role.map(|role| format!("role {}", role.as_str()));
    let password = edit.password_hash.as_ref().map(|_| "password changed".to_owned());
    let disabled = edit.disabled.map(|disabled| if disabled { "disabled" } else { "enabled" }.to_owned());
    let tokens = (tokens_ended > 0).then(|| format!("{} revoked", counted(tokens_ended, "token")));
    [role, password, disabled, tokens].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
