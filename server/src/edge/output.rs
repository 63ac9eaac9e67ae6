//! Standard output, standard error, and input without echo.

use std::io::Write as _;

use ks_protocol::text::printable_lines;

use crate::failure::StartError;

/// Prints lines on standard output, as all commands do. Terminal control characters are replaced.
///
/// # Errors
/// [`StartError::Output`] if not everything is written.
pub fn say(lines: &str) -> Result<(), StartError> {
    print(format!("{}\n", printable_lines(lines)).as_bytes())
}

/// Prints a secret that is shown only once, as [`say`].
///
/// # Errors
/// [`StartError::Output`] if it is not written, or goes to the null device. A closed standard output is replaced by the null device
/// before `main`, where every write succeeds.
pub fn say_secret(line: &str) -> Result<(), StartError> {
    #[expect(clippy::disallowed_methods, reason = "inspected, not written to")]
    let out = std::io::stdout();
    if is_null_device(&out) {
        let cause = std::io::Error::other("it is closed or the null device, and the secret would be lost");
        return Err(StartError::Output { cause });
    }
    say(line)
}

/// Whether an open file is the null device, under any name.
fn is_null_device(file: &impl std::os::fd::AsFd) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let null = std::fs::metadata("/dev/null").map(|found| found.rdev());
    rustix::fs::fstat(file).is_ok_and(|found| {
        let is_device = rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::CharacterDevice;
        is_device && null.is_ok_and(|null| null == found.st_rdev)
    })
}

/// Writes bytes to standard output unchanged; to a terminal, as [`say`].
///
/// # Errors
/// [`StartError::Output`] if not everything is written.
pub fn print(bytes: &[u8]) -> Result<(), StartError> {
    #[expect(clippy::disallowed_methods, reason = "the one place that writes to standard output")]
    let mut out = std::io::stdout();
    // The standard library treats a failed write to a file that is open for reading only as a success.
    if rustix::fs::fcntl_getfl(&out)
        .is_ok_and(|flags| flags & rustix::fs::OFlags::ACCMODE == rustix::fs::OFlags::RDONLY)
    {
        let cause = std::io::Error::from(rustix::io::Errno::BADF);
        return Err(StartError::Output { cause });
    }
    let shown = std::io::IsTerminal::is_terminal(&out).then(|| printable_lines(&String::from_utf8_lossy(bytes)));
    out.write_all(shown.as_ref().map_or(bytes, |shown| shown.as_bytes()))
        .and_then(|()| out.flush())
        .map_err(|cause| StartError::Output { cause })
}

/// Prints lines on standard error, as [`say`]; a closed pipe is not an error.
pub fn complain(lines: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable_lines(lines));
}

/// Reads from standard input with echo off, if it is a terminal.
pub fn without_echo<T>(read: impl FnOnce() -> T) -> T {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin).ok(); // none if it is not a terminal
    if let Some(before) = &before {
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        let _ = tcsetattr(&stdin, OptionalActions::Flush, &silent); // if it fails, input is echoed
    }
    let read = read();
    if let Some(before) = &before {
        let _ = tcsetattr(&stdin, OptionalActions::Flush, before);
    }
    read
}
