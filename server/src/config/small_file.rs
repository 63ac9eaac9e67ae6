//! Small text files that settings name, such as keys and tokens.

use std::{io, path::Path};

/// Longest small file, in bytes.
pub const SMALL_FILE_BYTES_MAX: usize = 64 * 1024;

/// Reads a small text file, such as a key or a token.
///
/// # Errors
/// It can't be read, is not a regular file of at most 64 KiB, or is not text.
pub fn read_small(path: &Path) -> io::Result<String> {
    let about = std::fs::metadata(path)?;
    let is_small = usize::try_from(about.len()).is_ok_and(|bytes| bytes <= SMALL_FILE_BYTES_MAX);
    if !about.is_file() || !is_small {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file of at most 64 KiB"));
    }
    let bytes = std::fs::read(path)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text"))
}
