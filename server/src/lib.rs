//! The fleet backend: data plane for devices, admin API for operators.
//!
//! The path of a request: [`http::listen`] (or a rehearsal) -> [`router`] -> [`admission`] -> [`data_plane`] -> [`store::Writer`] ->
//! [`store::Store`] -> [`http::answer`]. Time and randomness come in through [`clock::Clock`] and [`rng::ServerRng`]; only
//! [`edge`] accesses the environment, the operating system's randomness and threads. Modules are in layers: ARCHITECTURE.md.

pub mod admin;
pub mod admission;
pub mod app;
pub mod applied_limits;
pub mod artifacts;
pub mod assembly;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod data_plane;
pub mod edge;
pub mod error_report;
pub mod failure;
pub mod http;
pub mod keys;
pub mod limit;
pub mod metrics;
pub mod operations;
pub mod pace;
pub mod password;
mod process_metrics;
pub mod refusal;
pub mod registry;
pub mod rng;
pub mod role;
pub mod rollout;
pub mod router;
pub mod rules;
pub mod serve;
pub mod service;
pub mod store;
pub mod tls;
pub mod web;
