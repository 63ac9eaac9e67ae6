//! A download in progress: checked while it streams, so that neither endless data nor slow retrieval can tie up a device.

use sha2::{Digest, Sha256 as Hasher};

use crate::{manifest::Manifest, message::UpdateClass, text::Sha256};

/// Transfer time in milliseconds before the minimum rate applies: a radio link comes and goes.
const GRACE_MS: u64 = 10 * 60 * 1_000;
/// Minimum average rate after that: 1 KiB/s, so that 10 MB take at most three hours of transfer time.
const BYTES_PER_S_MIN: u64 = 1_024;

/// A download from its first byte to its last. The hash is computed along the way, so that the bytes need not be read again.
///
/// Its rate counts only the time in which pieces were in transit, not the time in which the device was off, without a network, or
/// asked to retry later: withholding a file delays its installation and has no other effect.
#[derive(Debug, Clone)]
pub struct Download {
    sha256: Sha256,
    size_bytes: u64,
    received_bytes: u64,
    hasher: Hasher,
    fetching_ms: u64,
}

impl Download {
    /// A download of the manifest's artifact.
    pub fn of(manifest: &Manifest) -> Self {
        let Manifest { sha256, size_bytes, .. } = *manifest;
        Self { sha256, size_bytes, received_bytes: 0, hasher: Hasher::new(), fetching_ms: 0 }
    }

    /// Bytes received so far.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Bytes still missing.
    pub fn missing_bytes(&self) -> u64 {
        self.size_bytes - self.received_bytes
    }

    /// Adds the next piece, which took `took_ms` to arrive.
    ///
    /// # Errors
    /// [`UpdateClass::EndlessData`]: more bytes than the manifest says; the piece is dropped.
    /// [`UpdateClass::SlowRetrieval`]: the average rate fell below the minimum.
    pub fn take(&mut self, piece: &[u8], took_ms: u64) -> Result<(), UpdateClass> {
        let bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        if bytes > self.missing_bytes() {
            return Err(UpdateClass::EndlessData);
        }
        self.hasher.update(piece);
        self.received_bytes += bytes;
        self.fetching_ms = self.fetching_ms.saturating_add(took_ms);
        let due_bytes = self.fetching_ms.saturating_sub(GRACE_MS) / 1_000 * BYTES_PER_S_MIN;
        if self.received_bytes < due_bytes { Err(UpdateClass::SlowRetrieval) } else { Ok(()) }
    }

    /// The last check, once all bytes are here: the hash.
    ///
    /// # Errors
    /// [`UpdateClass::HashMismatch`].
    pub fn finish(self) -> Result<(), UpdateClass> {
        let is_complete = self.missing_bytes() == 0 && self.sha256 == Sha256(self.hasher.finalize().into());
        if is_complete { Ok(()) } else { Err(UpdateClass::HashMismatch) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn download(artifact: &[u8]) -> Download {
        Download {
            sha256: Sha256(Hasher::digest(artifact).into()),
            size_bytes: u64::try_from(artifact.len()).unwrap(),
            received_bytes: 0,
            hasher: Hasher::new(),
            fetching_ms: 0,
        }
    }

    #[test]
    fn pieces_of_any_size_are_accepted() {
        let mut download = download(b"twelve bytes");
        for piece in [b"twe".as_slice(), b"", b"lve bytes"] {
            download.take(piece, 10).unwrap();
        }
        assert_eq!((download.missing_bytes(), download.finish()), (0, Ok(())));
    }

    #[test]
    fn too_many_too_few_and_wrong_bytes_are_distinguished() {
        let mut endless = download(b"1234");
        endless.take(b"123", 0).unwrap();
        assert_eq!(endless.take(b"45", 0), Err(UpdateClass::EndlessData));
        assert_eq!(endless.clone().finish(), Err(UpdateClass::HashMismatch), "incomplete");
        let mut other = download(b"1234");
        other.take(b"1235", 0).unwrap();
        assert_eq!(other.finish(), Err(UpdateClass::HashMismatch));
    }

    #[test]
    fn slow_retrieval_is_aborted() {
        let mut slow = download(&vec![0; 1_000_000]);
        assert_eq!(slow.take(&[0; 1_000], GRACE_MS), Ok(()));
        assert_eq!(slow.take(&[0; 1_000], 1_000), Ok(()), "2,000 bytes, and 1,024 are due");
        assert_eq!(slow.take(&[0; 10], 1_000), Err(UpdateClass::SlowRetrieval));
    }
}
