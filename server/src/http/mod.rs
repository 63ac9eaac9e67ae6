//! HTTP before and behind a handler: sockets and connections, where requests begin and end, who sent them.

mod client;

pub use client::client_address;
