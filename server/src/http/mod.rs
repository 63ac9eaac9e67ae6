//! HTTP around a handler: sockets and connections, where requests begin and end, who sent them, and signed answers.

pub mod answer;
pub mod body;
mod client;
mod connection;
mod framing;
mod head;
mod linger;
pub mod listen;
mod proven;
pub mod query;

pub use client::client_address;
pub use proven::Proven;
