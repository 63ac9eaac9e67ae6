//! The protocol: vectors, fixtures, properties of signatures, and its document. One program, so that it is linked once; one file a topic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure here is a failed test"
)]

mod document;
mod keyset;
mod signature_properties;
mod toon_fixtures;
mod vectors;
