//! What may change, and what follows from it: decisions over rows, the same for every store.
//!
//! A rule is a function over a [`crate::store::Transaction`]: it reads rows, decides, and writes rows. It has no SQL,
//! no clock and no random numbers; stores make no decisions. A change that an operator is accountable for needs a
//! [`crate::store::audit::chain::Audited`], which only appending an audit line returns.

pub mod accounts;
pub mod audit;
pub mod commands;
pub mod devices;
pub mod heartbeats;
pub mod hot;
pub mod keysets;
pub mod limits;
pub mod logs;
pub mod presence;
pub mod punches;
pub mod releases;
pub mod rollouts;
mod selection;
pub mod updates;

use ks_protocol::time::UnixMs;

use crate::store::Span;

/// The rows of a retention step that may be old: all up to the last of them, if any is from before a time; and where the next
/// step begins, if there may be more.
pub(crate) fn old_part(span: Option<Span>, before: UnixMs, rows_max: usize) -> Option<(i64, Option<i64>)> {
    let span = span.filter(|span| span.oldest < before)?;
    Some((span.last, (span.rows == rows_max).then_some(span.last)))
}
