//! Small text files that settings name, such as keys and tokens.

use std::{io, path::Path};

/// Longest small file, in bytes.
pub const SMALL_FILE_BYTES_MAX: usize = 64 * 1024;

/// Reads a small text file, such as a key or a token.
///
/// # Errors
/// It can't be read, is not a regular file of at most 64 KiB, or is not text.
pub fn read_small(path: &Path) -> io::Result<String> {
    let not_text =
        |line| io::Error::new(io::ErrorKind::InvalidData, format!("it is not text: line {line} is not UTF-8"));
    utf8(read_small_bytes(path)?).map_err(not_text)
}

/// Reads a small file that should be text.
///
/// # Errors
/// It can't be read, or is not a regular file of at most 64 KiB.
pub fn read_small_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let about = std::fs::metadata(path)?;
    let is_small = usize::try_from(about.len()).is_ok_and(|bytes| bytes <= SMALL_FILE_BYTES_MAX);
    if !about.is_file() || !is_small {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file of at most 64 KiB"));
    }
    std::fs::read(path)
}

/// Bytes as text.
///
/// # Errors
/// They are not UTF-8: the first line that is not, from 1.
pub fn utf8(bytes: Vec<u8>) -> Result<String, usize> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        1 + error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_is_not_utf_8_is_named() {
        assert_eq!(utf8(b"a\nb\n".to_vec()), Ok("a\nb\n".to_owned()));
        assert_eq!(
            [b"\xff\n".to_vec(), b"a\n\xe4\n".to_vec(), b"a\nb\nc \xe2\x82".to_vec()].map(utf8),
            [Err(1), Err(2), Err(3)]
        );
    }
}
