//! Guarantees about applied limits.

use super::{AT, by, commit};
use crate::{
    rules,
    store::{
        Store, StoreReader,
        audit::AuditFilter,
        limits::{LimitChange, LimitOrigin, LimitSet},
    },
};

/// Guarantee: versions of limits have no gaps, whichever server applies them; a change for another version than the newest changes
/// nothing.
pub fn limits_are_applied_one_after_the_other(store: &mut impl Store, reader: &mut impl StoreReader) {
    assert_eq!((reader.newest().unwrap().limits_version, reader.limit_set(1).unwrap()), (0, None));
    let change = |expected, document: &str, brings_back| LimitChange {
        expected,
        document: document.to_owned(),
        origin: LimitOrigin::Order,
        brings_back,
        difference: format!("to {document}"),
    };
    let mut apply = |change: &LimitChange| commit(store, |store| rules::limits::apply(store, change, &by()));
    assert_eq!(apply(&change(0, "one", None)), Ok(1));
    assert_eq!(apply(&change(0, "other", None)), Err(1), "another server was first");
    assert_eq!(apply(&LimitChange { origin: LimitOrigin::File, ..change(1, "two", None) }), Ok(2));
    assert_eq!(apply(&change(2, "one", Some(1))), Ok(3));
    assert_eq!(reader.newest().unwrap().limits_version, 3);
    let set = |version, document: &str, origin, basis| {
        Some(LimitSet { version, document: document.to_owned(), origin, basis, actor: by().name, at: AT })
    };
    assert_eq!(reader.limit_set(1).unwrap(), set(1, "one", LimitOrigin::Order, 1));
    assert_eq!(reader.limit_set(2).unwrap(), set(2, "two", LimitOrigin::File, 2));
    assert_eq!(reader.limit_set(3).unwrap(), set(3, "one", LimitOrigin::Order, 1));
    let lines = reader.audit(&AuditFilter::default(), 0, 100).unwrap();
    let of_limits: Vec<(&str, &str, &str)> = lines
        .iter()
        .filter(|line| line.action.starts_with("limits."))
        .map(|line| (line.action.as_str(), line.subject.as_str(), line.detail.as_str()))
        .collect();
    let (first, second) = (("limits.apply", "version 1", "to one"), ("limits.apply", "version 2", "to two"));
    assert_eq!(of_limits, [first, second, ("limits.rollback", "version 3", "to one")]);
}
