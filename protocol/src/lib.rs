//! What devices and the backend say to each other: bounded TOON documents, signed over their raw bytes.
//!
//! No I/O, no async, no clock. The map:
//!
//! - [`document`]: bounded TOON text <-> typed value; splitting a document from its signature line
//! - [`signature`]: the contexts, signing a request, sealing a response, opening either
//! - [`message`]: one file per endpoint
//! - [`manifest`]: the signed firmware manifest and its checks in order; [`download`]: the artifact while it streams
//! - [`refusal`]: the one table of `ERR1` codes
//! - [`id`], [`text`], [`time`], [`key`]: the values that messages are made of, each checked when it is made
//!
//! The wire speaks TOON as its specification 4.1 says, decoded in strict mode.

pub mod document;
pub mod download;
pub mod id;
pub mod key;
pub mod manifest;
pub mod message;
#[cfg(feature = "modelled")]
pub mod modelled;
pub mod refusal;
pub mod signature;
pub mod text;
pub mod time;

/// The media type of every data-plane document.
pub const MEDIA_TYPE: &str = "text/toon; charset=utf-8";

/// The TOON specification that the wire speaks.
pub const TOON_SPEC_VERSION: &str = "4.1";
