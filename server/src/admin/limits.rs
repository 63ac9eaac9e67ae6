//! /api/limits: the limits in force and what they have refused; applying others, and bringing the last ones back.

use super::{
    Problem,
    problem::FieldError,
    route::{Call, NoInput, TomlBody, Versioned},
};
use crate::{
    config::{LimitsDocument, SMALL_FILE_BYTES_MAX},
    service::limits::{self, LimitsError, LimitsStatus},
    store::limits::LimitOrigin,
};

/// Most faults of a limits file in one answer, the first ones.
const ERRORS_MAX: usize = 100;

/// Reports the limits in force, and what each has refused.
pub async fn status(call: Call, _: NoInput) -> Result<Versioned<LimitsStatus>, Problem> {
    let status = LimitsStatus::of(&call.app, call.caller.role);
    Ok(Versioned(status.version, status))
}

/// Applies a limits file on all servers; it replaces the one that was applied before.
pub async fn apply(
    call: Call,
    TomlBody(text): TomlBody<SMALL_FILE_BYTES_MAX>,
) -> Result<Versioned<LimitsStatus>, Problem> {
    let expected = call.required_version()?;
    let app = &call.app;
    let checked = LimitsDocument::check(&text, app.applied_limits.settings(), app.config.heartbeat_interval);
    let document = checked.map_err(|faults| problem(LimitsError::Faults(faults)))?;
    let which = (LimitOrigin::Order, expected);
    limits::apply(&app.writer, &call.reader, &document, which, call.by()).await.map_err(problem)?;
    load_and_report(call).await
}

/// Returns to the limits before those that were applied last.
pub async fn rollback(call: Call, _: NoInput) -> Result<Versioned<LimitsStatus>, Problem> {
    let expected = call.required_version()?;
    limits::rollback(&call.app.writer, &call.reader, expected, call.by()).await.map_err(problem)?;
    load_and_report(call).await
}

/// Makes this server load the applied limits immediately, and reports them.
async fn load_and_report(call: Call) -> Result<Versioned<LimitsStatus>, Problem> {
    call.app.applied_limits.follow(&call.app.admin_reader).await?;
    status(call, NoInput).await
}

fn problem(error: LimitsError) -> Problem {
    match error {
        LimitsError::Store(error) => error.into(),
        LimitsError::Changed(version) => Problem::changed(version),
        LimitsError::NothingApplied => Problem::conflict(error.to_string()),
        LimitsError::Faults(faults) => {
            let field = |line: usize| u64::try_from(line).unwrap_or(u64::MAX);
            let left_out = faults.len().saturating_sub(ERRORS_MAX);
            let errors = faults.into_iter().take(ERRORS_MAX).map(|fault| FieldError {
                line: field(fault.line),
                what: format!("{}; {}", fault.what, fault.help),
                field: fault.field,
            });
            let each = "the limits file is wrong, so nothing was changed: `errors` has each line and what to do";
            let detail = match left_out {
                0 => each.to_owned(),
                more => format!("{each}; {more} more are left out"),
            };
            Problem::bad_request(detail).with_errors(errors.collect())
        }
    }
}
