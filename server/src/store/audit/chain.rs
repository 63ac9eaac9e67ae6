//! The audit's hash chain: each line's hash covers the line and the hash before it, so that an edit, a deletion or a
//! reordering is detected.
//!
//! hash = SHA-256 over `KS1 AUDIT\n`, the hash before (32 bytes; zeros before the first line), number and time (8 bytes each,
//! big-endian), then actor, address, action, subject and detail, each preceded by its length (8 bytes, big-endian).
//!
//! An attacker who can write the whole database can also recompute every hash. A head (number and hash of the last line) recorded
//! elsewhere detects that: the server logs it at each start, and [`Chain`] checks it.

use ks_protocol::text::hex;
use sha2::{Digest, Sha256};

use std::marker::PhantomData;

use crate::store::{
    Actor, StoreError,
    audit::{AuditRecord, AuditRows},
};

/// The hash before the first line.
pub const GENESIS: [u8; 32] = [0; 32];

/// Action of a line that records pruning; its detail is the [`head_text`] of the last pruned line.
pub const PRUNED: &str = "audit.prune";

/// Number and hash of a line.
pub type Head = (i64, [u8; 32]);

/// The text form of a head.
pub fn head_text((number, hash): Head) -> String {
    format!("{number}:{}", hex(&hash))
}

/// The hash of a line after one with the hash `previous`; the line's own `hash` is ignored.
pub fn line_hash(previous: &[u8; 32], line: &AuditRecord) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(b"KS1 AUDIT\n");
    hash.update(previous);
    hash.update(line.number.to_be_bytes());
    hash.update(line.at.0.to_be_bytes());
    for text in [&line.actor, &line.address, &line.action, &line.subject, &line.detail] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}

/// Proof that a change has its line in the audit. Writing rows that operators are accountable for requires one, and only [`note`]
/// creates one.
pub struct Audited {
    _of_this_thread: PhantomData<*const ()>,
}

/// Appends a line to the audit, chained to the one before it.
pub fn note(
    store: &mut (impl AuditRows + ?Sized),
    action: &str,
    subject: &str,
    detail: &str,
    by: &Actor,
) -> Result<Audited, StoreError> {
    let (last, previous) = store.audit_head_for_update()?.unwrap_or((0, GENESIS));
    let mut line = AuditRecord {
        number: last + 1,
        at: by.at,
        actor: by.name.clone(),
        address: by.address.map(|address| address.to_string()).unwrap_or_default(),
        action: action.to_owned(),
        subject: subject.to_owned(),
        detail: detail.to_owned(),
        hash: [0; 32],
    };
    line.hash = line_hash(&previous, &line);
    store.append_audit(&line)?;
    Ok(Audited { _of_this_thread: PhantomData })
}

/// Why the chain is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A line is missing or out of order.
    #[error("line {expected} is missing: found line {found} in its place")]
    Missing { expected: i64, found: i64 },
    /// A line was changed.
    #[error("line {0} was changed, or one before it was replaced")]
    Changed(i64),
    /// Lines are missing at the end.
    #[error("the audit ends with line {last}, but line {head} was written: the lines after {last} are missing")]
    CutShort {
        /// The last line found.
        last: i64,
        /// The last line written.
        head: i64,
    },
    /// A hash differs from the recorded head.
    #[error("the hash of line {0} differs from the recorded head: the audit was rewritten")]
    OtherHead(i64),
    /// The lines begin elsewhere than the newest pruning line says.
    #[error(
        "the audit begins after line {0}, but no line records that the earlier ones were pruned: they were deleted"
    )]
    Unpruned(i64),
    /// A recorded head belongs to a line that was pruned since.
    #[error("line {noted} was pruned, with all lines up to {base}: pass the exports that contain them with --export")]
    Pruned {
        /// The line of the recorded head.
        noted: i64,
        /// The last line that was pruned.
        base: i64,
    },
}

/// A verification of the chain, line by line.
#[derive(Debug, Clone)]
pub struct Chain {
    base: Head,
    at: Head,
    /// Whether the newest pruning line names the base.
    is_base_recorded: bool,
    heads: Vec<Head>,
}

impl Chain {
    /// Starts at the first line; the chain must contain every one of `heads`: recorded numbers and hashes.
    pub fn passing(heads: Vec<Head>) -> Self {
        Self { base: (0, GENESIS), at: (0, GENESIS), is_base_recorded: true, heads }
    }

    /// The same where all lines up to `base` were pruned, which a later line must record.
    pub fn behind(base: Head, heads: Vec<Head>) -> Self {
        Self { base, at: base, is_base_recorded: false, heads }
    }

    /// Checks the next line.
    ///
    /// # Errors
    /// It is not the next line, or it was changed.
    pub fn take(&mut self, line: &AuditRecord) -> Result<(), ChainError> {
        let (last, previous) = self.at;
        if line.number != last + 1 {
            return Err(ChainError::Missing { expected: last + 1, found: line.number });
        }
        let hash = line_hash(&previous, line);
        if hash != line.hash {
            return Err(ChainError::Changed(line.number));
        }
        if line.action == PRUNED {
            self.is_base_recorded = line.detail == head_text(self.base);
        }
        self.at = (line.number, hash);
        match self.heads.iter().find(|(number, _)| *number == line.number) {
            Some((number, noted)) if *noted != hash => Err(ChainError::OtherHead(*number)),
            _ => Ok(()),
        }
    }

    /// Ends the verification; returns number and hash of the last line.
    ///
    /// # Errors
    /// Lines after the last one, or unpruned lines before the first one, are missing.
    pub fn finish(self) -> Result<Head, ChainError> {
        let (base, last) = (self.base.0, self.at.0);
        if base > 0 && !self.is_base_recorded {
            return Err(ChainError::Unpruned(base));
        }
        match self.heads.iter().find(|(number, hash)| *number < base || (*number == base && *hash != self.base.1)) {
            Some((noted, _)) if *noted == base => return Err(ChainError::OtherHead(base)),
            Some((noted, _)) => return Err(ChainError::Pruned { noted: *noted, base }),
            None => {}
        }
        match self.heads.iter().map(|(number, _)| *number).max() {
            Some(head) if head > last => Err(ChainError::CutShort { last, head }),
            _ => Ok(self.at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ks_protocol::time::UnixMs;

    fn lines(count: i64) -> Vec<AuditRecord> {
        let mut previous = GENESIS;
        let line = |number| {
            let mut line = AuditRecord {
                number,
                at: UnixMs(7),
                actor: "anna".to_owned(),
                address: "10.0.0.1".to_owned(),
                action: "device.revoke".to_owned(),
                subject: format!("KS-{number}"),
                detail: "lost".to_owned(),
                hash: GENESIS,
            };
            line.hash = line_hash(&previous, &line);
            previous = line.hash;
            line
        };
        (1..=count).map(line).collect()
    }

    fn verify(lines: &[AuditRecord], heads: Vec<(i64, [u8; 32])>) -> Result<i64, ChainError> {
        let mut chain = Chain::passing(heads);
        lines.iter().try_for_each(|line| chain.take(line))?;
        chain.finish().map(|(last, _)| last)
    }

    #[test]
    fn every_edit_deletion_and_reordering_is_detected() {
        let good = lines(9);
        let head = vec![(9, good[8].hash)];
        assert_eq!(verify(&good, head.clone()), Ok(9));
        assert_eq!(verify(&[], Vec::new()), Ok(0));

        let edits: [fn(&mut AuditRecord); 6] = [
            |line| line.at = UnixMs(8),
            |line| line.actor.push('x'),
            |line| line.address.clear(),
            |line| line.action.push('x'),
            |line| line.subject = "KS-99".to_owned(),
            |line| std::mem::swap(&mut line.subject, &mut line.detail),
        ];
        for edit in edits {
            let mut lines = good.clone();
            edit(&mut lines[4]);
            assert_eq!(verify(&lines, head.clone()), Err(ChainError::Changed(5)));
        }
        let mut deleted = good.clone();
        deleted.remove(4);
        assert_eq!(verify(&deleted, head.clone()), Err(ChainError::Missing { expected: 5, found: 6 }));
        let mut swapped = good.clone();
        swapped.swap(3, 4);
        assert!(verify(&swapped, head.clone()).is_err());
        assert_eq!(verify(&good[..7], head.clone()), Err(ChainError::CutShort { last: 7, head: 9 }));

        let mut anew = lines(9);
        anew[4].detail = "found".to_owned();
        let mut previous = anew[3].hash;
        for line in &mut anew[4..] {
            line.hash = line_hash(&previous, line);
            previous = line.hash;
        }
        assert_eq!(verify(&anew, Vec::new()), Ok(9), "the chain alone does not detect it");
        assert_eq!(verify(&anew, vec![(7, good[6].hash)]), Err(ChainError::OtherHead(7)), "a recorded head does");
    }
}
