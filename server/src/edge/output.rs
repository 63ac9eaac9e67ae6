//! Standard output, standard error, and what is typed unseen.

use std::io::Write as _;

use ks_protocol::text::printable_lines;

use crate::failure::StartError;

/// Lines on standard output: the one way in which commands print. Nothing in them that a terminal would obey gets there.
///
/// # Errors
/// [`StartError::Output`]: it is not written, or not all of it.
pub fn say(lines: &str) -> Result<(), StartError> {
    print(format!("{}\n", printable_lines(lines)).as_bytes())
}

/// A secret that is shown once, on standard output; as [`say`].
///
/// # Errors
/// [`StartError::Output`]: it is not written, or nobody can have seen it. A standard output that is closed is one of these: before
/// `main` it is put on the null device, where every write succeeds.
pub fn say_secret(line: &str) -> Result<(), StartError> {
    #[expect(clippy::disallowed_methods, reason = "looked at, not written to")]
    let out = std::io::stdout();
    if is_null_device(&out) {
        let cause = std::io::Error::other("it is closed, or the null device, and nobody would see the secret");
        return Err(StartError::Output { cause });
    }
    say(line)
}

/// Whether an open file is /dev/null, under whatever name.
fn is_null_device(file: &impl std::os::fd::AsFd) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let null = std::fs::metadata("/dev/null").map(|found| found.rdev());
    rustix::fs::fstat(file).is_ok_and(|found| {
        let is_device = rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::CharacterDevice;
        is_device && null.is_ok_and(|null| null == found.st_rdev)
    })
}

/// Bytes on standard output, as they are; where that is a terminal, as [`say`].
///
/// # Errors
/// [`StartError::Output`]: they are not written, or not all of them.
pub fn print(bytes: &[u8]) -> Result<(), StartError> {
    #[expect(clippy::disallowed_methods, reason = "the one place that writes to standard output")]
    let mut out = std::io::stdout();
    // The standard library takes what can't be written to such a file for written.
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

/// Lines on standard error, as [`say`]; a closed pipe is no error.
pub fn complain(lines: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable_lines(lines));
}

/// Reads from standard input while what is typed there is not shown, if it is a terminal.
pub fn without_echo<T>(read: impl FnOnce() -> T) -> T {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin).ok(); // none if it is no terminal
    if let Some(before) = &before {
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        let _ = tcsetattr(&stdin, OptionalActions::Flush, &silent); // then it is shown
    }
    let read = read();
    if let Some(before) = &before {
        let _ = tcsetattr(&stdin, OptionalActions::Flush, before);
    }
    read
}
