//! An artifact on its way: checked while it streams, so that neither too much data nor too slow a drip holds a device.

use sha2::{Digest, Sha256 as Hasher};

use crate::{manifest::Manifest, message::UpdateClass, text::Sha256};

/// How long the fetching may be as slow as it likes, in milliseconds: a radio link that comes and goes.
const GRACE_MS: u64 = 10 * 60 * 1_000;
/// After that, the least rate on the whole: 1 KiB a second, so that 10 MB take three hours of fetching at most.
const BYTES_PER_S_MIN: u64 = 1_024;

/// A download, from its first byte to its last. Its hash goes along, so the bytes need not be read again.
///
/// What counts for its pace is the time in which pieces were on their way, not that in which the device was off, without a
/// network, or told to come again: whoever withholds a file keeps it from being installed, and that is all.
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

    /// Bytes that are here.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Bytes that are still missing.
    pub fn missing_bytes(&self) -> u64 {
        self.size_bytes - self.received_bytes
    }

    /// Takes the next piece, which was so long on its way, in milliseconds.
    ///
    /// # Errors
    /// [`UpdateClass::EndlessData`]: more bytes than the manifest says; nothing of the piece is kept.
    /// [`UpdateClass::SlowRetrieval`]: somebody drips, to keep the device busy for ever.
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

    /// Last check, once nothing is missing: the hash.
    ///
    /// # Errors
    /// [`UpdateClass::HashMismatch`].
    pub fn finish(self) -> Result<(), UpdateClass> {
        let is_whole = self.missing_bytes() == 0 && self.sha256 == Sha256(self.hasher.finalize().into());
        if is_whole { Ok(()) } else { Err(UpdateClass::HashMismatch) }
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
    fn pieces_of_any_size_make_the_whole() {
        let mut download = download(b"twelve bytes");
        for piece in [b"twe".as_slice(), b"", b"lve bytes"] {
            download.take(piece, 10).unwrap();
        }
        assert_eq!((download.missing_bytes(), download.finish()), (0, Ok(())));
    }

    #[test]
    fn too_much_too_little_and_other_bytes_are_told_apart() {
        let mut endless = download(b"1234");
        endless.take(b"123", 0).unwrap();
        assert_eq!(endless.take(b"45", 0), Err(UpdateClass::EndlessData));
        assert_eq!(endless.clone().finish(), Err(UpdateClass::HashMismatch), "not whole");
        let mut other = download(b"1234");
        other.take(b"1235", 0).unwrap();
        assert_eq!(other.finish(), Err(UpdateClass::HashMismatch));
    }

    #[test]
    fn a_drip_is_given_up() {
        let mut drip = download(&vec![0; 1_000_000]);
        assert_eq!(drip.take(&[0; 1_000], GRACE_MS), Ok(()));
        assert_eq!(drip.take(&[0; 1_000], 1_000), Ok(()), "2,000 bytes, and 1,024 are due");
        assert_eq!(drip.take(&[0; 10], 1_000), Err(UpdateClass::SlowRetrieval));
    }
}
