//! What may change, and what follows from it: decisions over rows, the same for every store.
//!
//! A rule is a function over a [`crate::store::Transaction`]: it reads rows, decides, and writes rows. It has neither SQL nor a
//! clock nor dice; stores have no decisions. A change that people answer for needs a [`crate::audit::Noted`], which only a line in
//! the audit gives.

pub mod accounts;
pub mod audit;
pub mod keysets;
pub mod releases;
pub mod rollouts;
pub mod updates;
