//! The protocol between devices and the backend: bounded TOON documents, signed over their raw bytes.
//!
//! No I/O, no async, no clock. The map:
//!
//! - [`document`]: bounded TOON text <-> typed value; splitting a document from its signature line
//! - [`signature`]: the contexts, signing a request, sealing a response, opening either
//! - [`message`]: one file per endpoint
//! - [`manifest`]: the signed firmware manifest and its checks in order; [`download`]: the artifact while it streams
//! - [`pem`]: private keys in PEM files; [`reading`]: serde's error messages in plain words
//! - [`refusal`]: the one table of `ERR1` codes
//! - [`id`], [`number`], [`text`], [`time`], [`duration`], [`key`]: the values in messages, validated on construction
//!
//! Documents are the subset of TOON 4.1 that docs/protocol.md, section 3 describes; `toon` accepts nothing else.

pub mod document;
pub mod download;
pub mod duration;
pub mod id;
pub mod key;
pub mod manifest;
pub mod message;
#[cfg(feature = "modelled")]
pub mod modelled;
pub mod number;
pub mod pem;
pub mod reading;
pub mod refusal;
pub mod signature;
pub mod text;
pub mod time;
mod toon;

/// The media type of every data-plane document.
pub const MEDIA_TYPE: &str = "text/toon; charset=utf-8";

/// The version of the TOON specification.
pub const TOON_SPEC_VERSION: &str = "4.1";
