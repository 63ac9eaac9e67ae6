//! A virtual device: [`machine`] is what it is and says (pure), [`actor`] when it says it.

pub mod actor;
pub mod backoff;
pub mod firmware;
pub mod machine;
pub mod waits;
