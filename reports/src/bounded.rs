//! Reads untrusted files within bounds: only regular files, up to a maximum size, with no line longer than
//! [`LINE_BYTES_MAX`].

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Take};
use std::path::Path;

/// Largest file held in memory, whole or row by row, in bytes: about ten times what the longest run writes.
pub const FILE_BYTES_MAX: u64 = 256 << 20;
/// Largest event log, in bytes; it is only streamed.
pub const EVENTS_BYTES_MAX: u64 = 64 << 30;
/// Longest line of a file that is read line by line, in bytes.
pub const LINE_BYTES_MAX: u64 = 1 << 20;

/// Opens a regular file of at most `bytes_max` bytes. No more than that is read, whatever length the file reports.
///
/// # Errors
/// It can't be opened, is something else, such as a device or a pipe, or is larger.
pub fn open(path: &Path, bytes_max: u64) -> io::Result<Take<File>> {
    let about = fs::metadata(path)?; // before it is opened: opening a pipe may block forever
    if !about.is_file() {
        return Err(refused("it is not a regular file".to_owned()));
    }
    if about.len() > bytes_max {
        return Err(too_large(bytes_max));
    }
    Ok(File::open(path)?.take(bytes_max))
}

/// All bytes of such a file.
///
/// # Errors
/// As [`open`], or it can't be read.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path, bytes_max.saturating_add(1))?.read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(too_large(bytes_max));
    }
    Ok(bytes)
}

/// The lines of such a file, one at a time.
pub struct Lines {
    from: BufReader<Take<File>>,
    line: Vec<u8>,
    number: usize,
}

impl Lines {
    /// Before the first line.
    ///
    /// # Errors
    /// As [`open`].
    pub fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        Ok(Self { from: BufReader::with_capacity(1 << 16, open(path, bytes_max)?), line: Vec::new(), number: 0 })
    }

    /// The next line, without its end, and its number from 1; none after the last.
    ///
    /// # Errors
    /// It can't be read, or is too long.
    pub fn next_line(&mut self) -> io::Result<Option<(usize, &[u8])>> {
        self.line.clear();
        self.number += 1;
        let read = self.from.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut self.line)?;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if u64::try_from(read).unwrap_or(u64::MAX) > LINE_BYTES_MAX {
            return Err(refused(format!("line {} is longer than {} KiB", self.number, LINE_BYTES_MAX >> 10)));
        }
        Ok((read > 0).then_some((self.number, self.line.as_slice())))
    }
}

fn too_large(bytes_max: u64) -> io::Error {
    refused(format!("it is larger than {} MiB", bytes_max >> 20))
}

fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_end_is_refused_and_not_read() {
        let error = |path: &Path| read(path, FILE_BYTES_MAX).unwrap_err().to_string();
        assert_eq!(error(Path::new("/dev/zero")), "it is not a regular file");
        let folder = tempfile::tempdir().unwrap();
        let hole = folder.path().join("hole");
        File::create(&hole).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap(); // sparse: it uses no disk space
        assert_eq!(error(&hole), "it is larger than 256 MiB");
        File::create(&hole).unwrap().set_len(FILE_BYTES_MAX).unwrap();
        let mut lines = Lines::open(&hole, FILE_BYTES_MAX).unwrap();
        assert_eq!(lines.next_line().unwrap_err().to_string(), "line 1 is longer than 1024 KiB");
    }

    #[test]
    fn lines_come_with_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        fs::write(&path, "a\n\nb").unwrap();
        let mut lines = Lines::open(&path, FILE_BYTES_MAX).unwrap();
        let mut all = Vec::new();
        while let Some((number, line)) = lines.next_line().unwrap() {
            all.push((number, String::from_utf8(line.to_vec()).unwrap()));
        }
        assert_eq!(all, [(1, "a".to_owned()), (2, String::new()), (3, "b".to_owned())]);
    }
}
