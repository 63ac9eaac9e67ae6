//! Output of the commands: control characters from external text never reach the terminal.

use std::io::{ErrorKind, Write};

use ks_protocol::text::{printable_json, printable_lines};
use ks_server::failure::StartError;
use serde::Serialize;

use crate::failure::Failure;

/// Lines on standard output. A closed pipe, as of `| head`, is no error.
pub(super) fn say(lines: &str) -> Result<(), Failure> {
    put(lines)
}

/// JSON on standard output, on one line or on many; control characters are escaped, so that no data is lost.
pub(super) fn say_json(value: &impl Serialize, is_pretty: bool) -> Result<(), Failure> {
    let text = if is_pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    put(&printable_json(&text.unwrap_or_default())) // text and numbers always serialize
}

/// Bytes on standard output as they are; on a terminal, without control characters. False if the pipe is closed, as by `| head`.
pub(super) fn print(bytes: &[u8]) -> Result<bool, Failure> {
    match ks_server::edge::print(bytes) {
        Err(StartError::Output { cause }) if cause.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(StartError::Output { cause }) => Err(Failure::Output { cause }),
        _ => Ok(true),
    }
}

fn put(text: &str) -> Result<(), Failure> {
    match ks_server::edge::say(text) {
        Err(StartError::Output { cause }) if cause.kind() != ErrorKind::BrokenPipe => Err(Failure::Output { cause }),
        _ => Ok(()),
    }
}

/// Lines on standard error; a closed pipe is no error.
pub(super) fn complain(lines: &str) {
    complain_coloured(&printable_lines(lines));
}

/// The same for coloured lines; the caller has made external text printable.
pub(super) fn complain_coloured(lines: &str) {
    let _ = writeln!(std::io::stderr(), "{lines}");
}
