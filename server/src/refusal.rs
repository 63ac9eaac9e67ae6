//! A refusal of a device's request before it is encoded and signed: its ERR1 code, and which budgets it is charged to.

use ks_protocol::{id::Sequence, refusal::RefusalCode};

use crate::store::{Denied, StoreError};

/// A refusal before it is encoded and signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub(crate) code: RefusalCode,
    pub(crate) message: Option<String>,
    pub(crate) retry_after_s: Option<u64>,
    pub(crate) kept: Option<Sequence>,
    /// `retry_after_s` is the device's turn: it must not come later.
    pub(crate) is_turn: bool,
}

impl Refusal {
    /// A refusal with the code's own meaning as its message.
    pub fn new(code: RefusalCode) -> Self {
        Self { code, message: None, retry_after_s: None, kept: None, is_turn: false }
    }

    /// STALE_SEQUENCE, with the pair that is stored.
    pub fn stale(kept: Sequence) -> Self {
        Self { kept: Some(kept), ..Self::new(RefusalCode::StaleSequence) }
    }

    /// A refusal that ends after `wait_us` microseconds.
    pub fn wait(code: RefusalCode, wait_us: u64) -> Self {
        Self { retry_after_s: Some(wait_us.div_ceil(1_000_000).max(1)), ..Self::new(code) }
    }

    /// A rate limit: retry after `wait_us` microseconds; `why` says which budget is used up.
    pub fn too_often(wait_us: u64, why: &str) -> Self {
        Self::wait(RefusalCode::RateLimited, wait_us).saying(why)
    }

    /// The wait ends with a turn that is the device's own, so that it is not spread.
    #[must_use]
    pub fn in_turn(self) -> Self {
        Self { is_turn: true, ..self }
    }

    #[must_use]
    pub fn saying(self, message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..self }
    }

    /// Whether the device is revoked.
    pub fn is_revoked(&self) -> bool {
        self.code == RefusalCode::Revoked
    }

    /// Whether it is charged to the address's budget: only what an honest device does never, or hardly ever.
    pub fn costs_the_address(&self) -> bool {
        use RefusalCode as C;
        matches!(
            self.code,
            C::Malformed
                | C::BadSignature
                | C::UnknownDevice
                | C::Revoked
                | C::KeyMismatch
                | C::StaleSequence
                | C::TooLarge
                | C::UnsupportedMediaType
                | C::RequestTimeout
        )
    }

    /// Whether a signature was checked for it.
    pub fn cost_a_check(&self) -> bool {
        matches!(self.code, RefusalCode::BadSignature | RefusalCode::StaleSequence)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy
            | StoreError::Retry(_)
            | StoreError::QueueFull
            | StoreError::Closed
            | StoreError::TooLong { .. }
            | StoreError::Misplaced(_)
            | StoreError::Damaged(_) => Self::wait(RefusalCode::Overloaded, 1_000_000),
            StoreError::Database(_) => Self::new(RefusalCode::Internal), // the writer has logged it
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unknown => Self::new(RefusalCode::UnknownDevice),
            Denied::NotRegistered => Self::new(RefusalCode::NotRegistered),
            Denied::Revoked => Self::new(RefusalCode::Revoked),
            Denied::Stale { kept } => Self::stale(kept),
            Denied::KeyReplaced => Self::new(RefusalCode::BadSignature),
            Denied::KeyMismatch => Self::new(RefusalCode::KeyMismatch),
            Denied::OtrtRequired => Self::new(RefusalCode::OtrtRequired),
            Denied::OtrtInvalid => Self::new(RefusalCode::OtrtInvalid),
            Denied::OtrtUsed => Self::new(RefusalCode::OtrtUsed),
            Denied::KeyInUse => Self::new(RefusalCode::KeyInUse),
        }
    }
}
