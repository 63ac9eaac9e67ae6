//! Values as columns, and columns as values.

use ks_protocol::time::UnixMs;
use rusqlite::{Row, params};
use serde::{Serialize, de::DeserializeOwned};

use super::transaction::Transaction;
use crate::{
    rollout::status::Status,
    store::{Span, StoreError, devices::DeviceStatus},
};

/// A number as a SQLite integer. All stored values are far below its limit.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that was stored by [`integer`].
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A count of rows for a LIMIT.
pub(super) fn rows(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The number of a stage.
pub(super) fn stage_of(row: &Row<'_>, index: usize) -> rusqlite::Result<usize> {
    row.get::<_, i64>(index).map(|stage| usize::try_from(stage).unwrap_or(0))
}

/// The status of a rollout.
pub(super) fn status_at(row: &Row<'_>, index: usize) -> rusqlite::Result<Status> {
    word(row, index, |word| Status::ALL.into_iter().find(|status| status.as_str() == word))
}

/// The first rows above `after`, at most `rows_max`, with the earliest time in one of their columns.
pub(super) fn span(
    transaction: &Transaction<'_>,
    table: &str,
    time: &str,
    after: i64,
    rows_max: usize,
) -> Result<Option<Span>, StoreError> {
    let sql = format!(
        "SELECT count(*), max(id), min({time}) FROM
            (SELECT id, {time} FROM {table} WHERE id > ?1 ORDER BY id LIMIT ?2)"
    );
    let mut statement = transaction.prepare_cached(&sql)?;
    let found = statement.query_row(params![after, rows(rows_max)], |row| {
        let count = usize::try_from(unsigned(row.get(0)?)).unwrap_or(usize::MAX);
        let last: Option<i64> = row.get(1)?;
        Ok(last.zip(time_if(row, 2)?).map(|(last, oldest)| Span { rows: count, last, oldest }))
    });
    Ok(found?)
}

/// A list as JSON, for statements that handle many rows at once.
pub(super) fn list<T: serde::Serialize>(values: &[T]) -> Result<String, StoreError> {
    serde_json::to_string(values).map_err(|error| StoreError::Database(error.to_string()))
}

/// The number of a device's status, to be written into SQL: here alone is said which number is which.
macro_rules! status_number {
    (Whitelisted) => {
        0
    };
    (Registered) => {
        1
    };
    (Revoked) => {
        2
    };
}
pub(super) use status_number;

pub(super) fn status_of(number: i64) -> DeviceStatus {
    match number {
        status_number!(Whitelisted) => DeviceStatus::Whitelisted,
        status_number!(Registered) => DeviceStatus::Registered,
        _ => DeviceStatus::Revoked, // the CHECK allows 2 only; revoked is the safe default for anything else
    }
}

pub(super) fn number_of(status: DeviceStatus) -> i64 {
    match status {
        DeviceStatus::Whitelisted => status_number!(Whitelisted),
        DeviceStatus::Registered => status_number!(Registered),
        DeviceStatus::Revoked => status_number!(Revoked),
    }
}

/// A text from the store as an identifier; an invalid one was not written by this program.
pub(super) fn parsed<T: std::str::FromStr>(row: &Row<'_>, index: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.get_ref(index)?.as_str()?.parse().map_err(|error: T::Err| {
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
    })
}

/// The same for a column that may be empty.
pub(super) fn parsed_if<T: std::str::FromStr>(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<T>>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    if row.get_ref(index)? == rusqlite::types::ValueRef::Null { Ok(None) } else { parsed(row, index).map(Some) }
}

/// A name from the store as an enum value; an unknown one was not written by this program.
pub(super) fn word<T>(row: &Row<'_>, index: usize, of: fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    let text = row.get_ref(index)?.as_str()?;
    of(text).ok_or_else(|| {
        let wrong = format!("`{text}` is not a known value");
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, wrong.into())
    })
}

pub(super) fn time(row: &Row<'_>, index: usize) -> rusqlite::Result<UnixMs> {
    row.get(index).map(|ms| UnixMs(unsigned(ms)))
}

pub(super) fn time_if(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<UnixMs>> {
    Ok(row.get::<_, Option<i64>>(index)?.map(|ms| UnixMs(unsigned(ms))))
}

pub(super) fn to_json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Database(error.to_string()))
}

/// A column with JSON; invalid JSON was not written by this program.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    let text: String = row.get(index)?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error)))
}

pub(super) fn count_of(row: &Row<'_>, index: usize) -> rusqlite::Result<u32> {
    row.get::<_, i64>(index).map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}
