//! HTTP around a handler: sockets and connections, the framing of requests, client addresses, and signed responses.

pub mod answer;
pub mod body;
mod client;
mod connection;
mod framing;
mod head;
mod linger;
pub mod listen;
pub mod query;
mod verified_device;

pub use client::client_address;
pub use verified_device::VerifiedDevice;
