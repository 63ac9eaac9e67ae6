//! The server from outside: the real executable over sockets, and its stores. One program, so that it is linked once; one file a topic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure here is a failed test"
)]

mod access;
mod admin;
mod artifacts;
mod attendance;
mod audit;
mod commands;
mod damaged;
mod disk_reserve;
mod doctor;
mod durability;
mod error_report;
mod events;
mod keys;
mod lifecycle;
mod limits;
mod logs;
mod malformed;
mod malformed_http;
mod misplaced;
mod orders;
mod otrt;
mod output;
mod overload;
mod presence;
mod provisioning;
mod refusals;
mod replay;
mod revoked;
mod rollouts;
mod s3;
mod start_errors;
mod store_conformance;
mod supervisor;
mod support;
mod tls;
mod web;
