//! Small text files that settings name, such as keys and tokens.

use std::{io, path::Path};

/// Reads a small text file, such as a key or a token.
///
/// # Errors
/// It can't be read, is not a regular file of at most 64 KiB, or is not text.
pub fn read_small(path: &Path) -> io::Result<String> {
    const BYTES_MAX: u64 = 64 * 1024;
    let about = std::fs::metadata(path)?;
    if !about.is_file() || about.len() > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file of at most 64 KiB"));
    }
    let bytes = std::fs::read(path)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text"))
}
