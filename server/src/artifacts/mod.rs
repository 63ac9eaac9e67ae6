//! Firmware images by their hash: uploads are hashed while they arrive, and downloads are limited so that they do not slow down
//! heartbeats.
//!
//! An object store holds them: a folder, memory (in a rehearsal), or an S3-compatible service.

mod slots;

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use http_body_util::{BodyExt, channel::Channel};
use ks_protocol::{
    id::DeviceId,
    number::digits,
    text::{Sha256, counted, hex},
};
pub use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart, path::Path};
use sha2::Digest;
use tokio::time::Instant;

use crate::config::ArtifactLimits;
use slots::{Slot, Slots};

/// Bytes that are read, paced and sent at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// Parts of an upload that are sent to the store at a time.
const PARTS_IN_FLIGHT_MAX: usize = 2;
/// Bytes of one part: at least what S3 accepts.
const PART_BYTES: usize = 5 * 1024 * 1024;

#[derive(Debug, Clone)]
pub struct Artifacts(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    store: Arc<dyn ObjectStore>,
    limits: ArtifactLimits,
    slots: Arc<Slots>,
    /// When the next byte may be sent.
    next_at: Mutex<Instant>,
}

/// Why an artifact can't be stored or sent.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// It is larger than allowed.
    #[error("the artifact is larger than the {0} bytes that ARTIFACT_BYTES_MAX allows")]
    TooLarge(u64),
    /// The upload ended early, or stalled.
    #[error("the artifact was not received completely")]
    BrokenOff,
    /// It has no bytes.
    #[error("the artifact is empty")]
    Empty,
    /// It does not exist.
    #[error("there is no such artifact")]
    Missing,
    /// The limit of concurrent downloads is reached; retry after this time.
    #[error("download limit reached")]
    Busy(Duration),
    /// The object store failed.
    #[error("the object store of artifacts failed: {0}")]
    Store(object_store::Error),
}

impl From<object_store::Error> for ArtifactError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::Missing,
            error => Self::Store(error),
        }
    }
}

/// The length and hash of a stored artifact.
struct StoredArtifact {
    bytes: u64,
    sha256: Sha256,
}

fn path_of(sha256: Sha256) -> Path {
    Path::from(format!("artifacts/{sha256}"))
}

impl Artifacts {
    pub fn new(store: Arc<dyn ObjectStore>, limits: ArtifactLimits) -> Self {
        let slots = Arc::new(Slots::new(limits.downloads_max));
        Self(Arc::new(Parts { store, limits, slots, next_at: Mutex::new(Instant::now()) }))
    }

    /// Stores a body, hashed while it arrives; gives its hash and length. `name` must be unique: the bytes are stored under it
    /// until they are complete.
    ///
    /// # Errors
    /// It is too large, ended early, is empty, or can't be stored. Nothing is stored then.
    pub async fn upload(&self, mut body: Body, name: &str) -> Result<(Sha256, u64), ArtifactError> {
        let Parts { store, limits, .. } = &*self.0;
        if body.size_hint().lower() > limits.artifact_bytes_max {
            return Err(ArtifactError::TooLarge(limits.artifact_bytes_max)); // its declared length
        }
        let incoming = Path::from(format!("incoming/{name}"));
        let upload = store.put_multipart(&incoming).await.map_err(ArtifactError::Store)?;
        let mut write = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut hash = sha2::Sha256::new();
        let mut bytes = 0_u64;
        let arrived = loop {
            let piece = match tokio::time::timeout(limits.stall, body.frame()).await {
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(None) if bytes == 0 => break Err(ArtifactError::Empty),
                Ok(None) => break Ok(()),
                Ok(Some(Err(_))) | Err(_) => break Err(ArtifactError::BrokenOff),
            };
            bytes += u64::try_from(piece.len()).unwrap_or(u64::MAX);
            if bytes > limits.artifact_bytes_max {
                break Err(ArtifactError::TooLarge(limits.artifact_bytes_max));
            }
            hash.update(&piece);
            write.wait_for_capacity(PARTS_IN_FLIGHT_MAX).await.map_err(ArtifactError::Store)?;
            write.put(piece);
        };
        if let Err(error) = arrived {
            let _ = write.abort().await; // the rest is unused
            return Err(error);
        }
        write.finish().await.map_err(ArtifactError::Store)?;
        let sha256 = Sha256(hash.finalize().into());
        store.rename(&incoming, &path_of(sha256)).await.map_err(ArtifactError::Store)?;
        Ok((sha256, bytes))
    }

    /// Stores an artifact from memory; gives its hash.
    ///
    /// # Errors
    /// It can't be stored.
    pub async fn keep(&self, artifact: Bytes) -> Result<Sha256, ArtifactError> {
        let sha256 = Sha256(sha2::Sha256::digest(&artifact).into());
        self.0.store.put(&path_of(sha256), PutPayload::from_bytes(artifact)).await?;
        Ok(sha256)
    }

    /// Reads an artifact, at most this many bytes a second, and compares its hash and length; gives what is wrong with it.
    ///
    /// # Errors
    /// The object store failed, which says nothing about the artifact.
    pub async fn fault(
        &self,
        sha256: Sha256,
        size_bytes: u64,
        bytes_per_s: u64,
    ) -> Result<Option<String>, ArtifactError> {
        match self.read_whole(sha256, size_bytes, bytes_per_s).await {
            Ok(StoredArtifact { bytes, .. }) if bytes != size_bytes => {
                Ok(Some(format!("has {}, and had {size_bytes}", counted(bytes, "byte"))))
            }
            Ok(StoredArtifact { sha256: found, .. }) if found != sha256 => {
                Ok(Some(format!("has other bytes than were uploaded: SHA-256 {found}")))
            }
            Ok(_) => Ok(None),
            Err(ArtifactError::Missing) => Ok(Some("is gone".to_owned())),
            Err(error) => Err(error),
        }
    }

    /// The hash and length of the stored artifact; the hash only if the length is right.
    async fn read_whole(
        &self,
        sha256: Sha256,
        size_bytes: u64,
        bytes_per_s: u64,
    ) -> Result<StoredArtifact, ArtifactError> {
        let bytes = self.0.store.head(&path_of(sha256)).await?.size;
        let mut hash = sha2::Sha256::new();
        let mut range = 0..if bytes == size_bytes { bytes } else { 0 };
        while range.start < range.end {
            let piece = self.piece(sha256, &range).await?;
            if piece.is_empty() {
                break; // it was truncated meanwhile; the hash shows that
            }
            hash.update(&piece);
            range.start += u64::try_from(piece.len()).unwrap_or(0);
            tokio::time::sleep(Duration::from_secs_f64(piece.len() as f64 / bytes_per_s.max(1) as f64)).await;
        }
        Ok(StoredArtifact { bytes, sha256: Sha256(hash.finalize().into()) })
    }

    /// A part of an artifact as a body that is read while it is sent. It ends early when the device starts another download.
    ///
    /// # Errors
    /// The limit of concurrent downloads is reached, or the artifact does not exist.
    pub async fn download(
        &self,
        device_id: &DeviceId,
        sha256: Sha256,
        range: Range<u64>,
    ) -> Result<Body, ArtifactError> {
        let duration = self.duration_of(range.end - range.start);
        let slot = self.0.slots.take(device_id, duration).map_err(ArtifactError::Busy)?;
        // The first piece is read before the answer begins, so that a missing file does not break an answer.
        let first = self.piece(sha256, &range).await?;
        if range.end - range.start <= u64::try_from(first.len()).unwrap_or(0) {
            self.pace(first.len()).await;
            return Ok(Body::from(first));
        }
        let (sender, body) = Channel::new(1);
        tokio::spawn(self.clone().send(sha256, range, first, sender, slot));
        Ok(Body::new(body))
    }

    async fn send(
        self,
        sha256: Sha256,
        mut range: Range<u64>,
        first: Bytes,
        mut sender: http_body_util::channel::Sender<Bytes, ArtifactError>,
        slot: Slot,
    ) {
        let mut next = Ok(first);
        loop {
            let piece = match next {
                Ok(piece) => piece,
                Err(error) => return sender.abort(error),
            };
            range.start += u64::try_from(piece.len()).unwrap_or(0);
            self.pace(piece.len()).await;
            // A client that does not read a piece in time loses its slot to others.
            match tokio::time::timeout(self.0.limits.stall, sender.send_data(piece)).await {
                Ok(Ok(())) if range.start < range.end && slot.is_current() => next = self.piece(sha256, &range).await,
                _ => return,
            }
        }
    }

    /// The first piece of the range.
    async fn piece(&self, sha256: Sha256, range: &Range<u64>) -> Result<Bytes, ArtifactError> {
        let end = range.end.min(range.start.saturating_add(PIECE_BYTES as u64));
        Ok(self.0.store.get_range(&path_of(sha256), range.start..end).await?)
    }

    /// How long this many bytes take when nothing else is sent.
    fn duration_of(&self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.0.limits.bytes_per_s_max as f64)
    }

    /// Waits until this many bytes may be sent.
    async fn pace(&self, bytes: usize) {
        let duration = self.duration_of(u64::try_from(bytes).unwrap_or(u64::MAX));
        let at = {
            let mut next_at = self.0.next_at.lock().unwrap_or_else(PoisonError::into_inner);
            let at = (*next_at).max(Instant::now());
            *next_at = at + duration;
            at
        };
        tokio::time::sleep_until(at).await;
    }
}

/// A unique name for an upload, from random bytes.
pub fn upload_name(random: [u8; 32]) -> String {
    hex(&random)
}

/// The bytes that a Range header requests of an artifact of this length (RFC 9110, 14): one range, or the whole. None: it can't be
/// satisfied. A header that is not understood requests the whole, by the standard.
pub fn range_of(header: Option<&str>, size_bytes: u64) -> Option<(Range<u64>, bool)> {
    let whole = Some((0..size_bytes, false));
    let Some((unit, spec)) = header.and_then(|header| header.split_once('=')) else { return whole };
    if !unit.eq_ignore_ascii_case("bytes") {
        return whole;
    }
    let Some((from, to)) = spec.split_once('-') else { return whole };
    // A number that does not fit is beyond the end of any artifact.
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = |text: &str| is_number(text.trim()).then(|| digits(text.trim()).unwrap_or(u64::MAX));
    let range = match (number(from), number(to), from.trim().is_empty(), to.trim().is_empty()) {
        (Some(from), Some(to), ..) if from <= to => from..to.saturating_add(1).min(size_bytes),
        (Some(from), _, _, true) => from..size_bytes,
        (_, Some(last), true, _) => size_bytes.saturating_sub(last)..size_bytes,
        _ => return whole,
    };
    (range.start < range.end).then_some((range, true))
}
