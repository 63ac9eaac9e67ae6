//! What the commands print, the one way for each of the two outputs: nothing that a terminal obeys gets there from outside.

use std::io::{ErrorKind, Write};

use ks_protocol::text::{printable_json, printable_lines};
use ks_server::failure::StartError;
use serde::Serialize;

use crate::failure::Failure;

/// Lines on standard output. A closed pipe, as of `| head`, is no error.
pub(super) fn say(lines: &str) -> Result<(), Failure> {
    put(lines)
}

/// JSON on standard output, on one line or on many; what a terminal would obey is escaped, so that nothing of it is lost.
pub(super) fn say_json(value: &impl Serialize, is_pretty: bool) -> Result<(), Failure> {
    let text = if is_pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    put(&printable_json(&text.unwrap_or_default())) // text and numbers always make JSON
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

/// The same of lines with colours, by whoever has made what comes from outside printable.
pub(super) fn complain_coloured(lines: &str) {
    let _ = writeln!(std::io::stderr(), "{lines}");
}
