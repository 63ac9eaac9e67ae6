//! Where secrets, keys and firmware images come from, and the limits on images.

use std::{path::PathBuf, time::Duration};

use ks_protocol::key::PrivateKey;

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(super) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(not shown)")
    }
}

/// Where the signing key comes from.
#[derive(Debug, Clone)]
pub enum ServerKeySource {
    /// Given in the environment.
    Given(PrivateKey),
    /// A PEM file.
    File(PathBuf),
    /// None given: a development key next to the database, created if it is missing.
    Development(PathBuf),
}

/// Where firmware images are stored.
#[derive(Debug, Clone)]
pub enum ArtifactPlace {
    Folder(PathBuf),
    /// A bucket of an S3-compatible store.
    S3(Bucket),
}

/// A bucket and its credentials.
#[derive(Debug, Clone)]
pub struct Bucket {
    pub name: String,
    /// The store's URL; Amazon's if there is none.
    pub endpoint: Option<String>,
    pub region: String,
    /// ID and secret of an access key; without them requests are not signed.
    pub access_key: Option<(String, Secret)>,
}

/// Where the key that signs releases comes from.
#[derive(Debug, Clone)]
pub enum FirmwareKeySource {
    /// Given in the environment.
    Given(PrivateKey),
    /// A PEM file.
    File(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArtifactLimits {
    /// Most downloads at a time.
    pub downloads_max: usize,
    /// Bytes per second of all downloads together.
    pub bytes_per_s_max: u64,
    /// Most bytes of one artifact.
    pub artifact_bytes_max: u64,
    /// Bytes per second that the integrity check of images reads.
    pub scrub_bytes_per_s: u64,
    /// Timeout for each piece of a download or an upload.
    pub stall: Duration,
}
