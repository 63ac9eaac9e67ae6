//! An artifact on its way: checked while it streams, so that neither too much data nor too slow a drip holds a device.

use sha2::{Digest, Sha256 as Hasher};

use crate::{manifest::Manifest, message::UpdateClass, text::Sha256, time::UnixMs};

/// How long a download may be as slow as it likes: a radio link that comes and goes.
const GRACE_MS: u64 = 10 * 60 * 1_000;
/// After that, the least rate on the whole: 1 KiB a second, so that 10 MB take three hours at most.
const BYTES_PER_S_MIN: u64 = 1_024;

/// A download, from its first byte to its last. Its hash goes along, so the bytes need not be read again.
#[derive(Debug, Clone)]
pub struct Download {
    sha256: Sha256,
    size_bytes: u64,
    received_bytes: u64,
    hasher: Hasher,
    began_at: UnixMs,
}

impl Download {
    /// A download of the manifest's artifact that begins now.
    pub fn of(manifest: &Manifest, now: UnixMs) -> Self {
        let Manifest { sha256, size_bytes, .. } = *manifest;
        Self { sha256, size_bytes, received_bytes: 0, hasher: Hasher::new(), began_at: now }
    }

    /// Bytes that are here.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Bytes that are still missing.
    pub fn missing_bytes(&self) -> u64 {
        self.size_bytes - self.received_bytes
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// [`UpdateClass::EndlessData`]: more bytes than the manifest says. Nothing of the piece is kept.
    pub fn take(&mut self, piece: &[u8]) -> Result<(), UpdateClass> {
        let bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        if bytes > self.missing_bytes() {
            return Err(UpdateClass::EndlessData);
        }
        self.hasher.update(piece);
        self.received_bytes += bytes;
        Ok(())
    }

    /// Whether it goes on fast enough.
    ///
    /// # Errors
    /// [`UpdateClass::SlowRetrieval`]: somebody drips, to keep the device from updating.
    pub fn check_pace(&self, now: UnixMs) -> Result<(), UpdateClass> {
        let slow_ms = now.since_ms(self.began_at).saturating_sub(GRACE_MS);
        let is_too_slow = self.received_bytes < slow_ms / 1_000 * BYTES_PER_S_MIN;
        if is_too_slow { Err(UpdateClass::SlowRetrieval) } else { Ok(()) }
    }

    /// The device was off for a while: that time was nobody's drip.
    pub fn was_off(&mut self, off_ms: u64) {
        self.began_at = UnixMs(self.began_at.0.saturating_add(off_ms));
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
            began_at: UnixMs(0),
        }
    }

    #[test]
    fn pieces_of_any_size_make_the_whole() {
        let mut download = download(b"twelve bytes");
        for piece in [b"twe".as_slice(), b"", b"lve bytes"] {
            download.take(piece).unwrap();
        }
        assert_eq!((download.missing_bytes(), download.finish()), (0, Ok(())));
    }

    #[test]
    fn too_much_too_little_and_other_bytes_are_told_apart() {
        let mut endless = download(b"1234");
        endless.take(b"123").unwrap();
        assert_eq!(endless.take(b"45"), Err(UpdateClass::EndlessData));
        assert_eq!(endless.clone().finish(), Err(UpdateClass::HashMismatch), "not whole");
        let mut other = download(b"1234");
        other.take(b"1235").unwrap();
        assert_eq!(other.finish(), Err(UpdateClass::HashMismatch));
    }

    #[test]
    fn a_drip_is_given_up_but_a_pause_with_the_power_off_is_none() {
        let mut drip = download(&vec![0; 1_000_000]);
        drip.take(&[0; 1_000]).unwrap();
        assert_eq!(drip.check_pace(UnixMs(GRACE_MS)), Ok(()));
        assert_eq!(drip.check_pace(UnixMs(GRACE_MS + 2_000)), Err(UpdateClass::SlowRetrieval));
        drip.was_off(2_000);
        assert_eq!(drip.check_pace(UnixMs(GRACE_MS + 2_000)), Ok(()));
    }
}
