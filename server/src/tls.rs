//! TLS of the server's own listener: a certificate with its private key, read again when their files change.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::ProducesTickets,
};
use sha2::{Digest, Sha256};

/// Greatest size of each file, in bytes; a chain of certificates has a few thousand.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// The files of a certificate: its chain, the server's own first, and its private key, both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("cannot read {path}: {cause}")]
    File { path: PathBuf, cause: io::Error },
    /// A file does not hold what it should, as PEM.
    #[error("{path} has no {wanted} in PEM")]
    Missing { path: PathBuf, wanted: &'static str },
    /// The certificate and the key are not a pair, or of a kind that is not supported.
    #[error("the certificate {certificate} can't be used with the key {key}: {cause}")]
    Unusable { certificate: PathBuf, key: PathBuf, cause: rustls::Error },
}

impl TlsError {
    /// What to do, one sentence.
    pub fn help(&self) -> &'static str {
        match self {
            Self::File { .. } => "check that the file exists and that the server's user may read it",
            Self::Missing { wanted: "certificate", .. } => {
                "give the chain of certificates that the authority issued, the server's own first"
            }
            Self::Missing { .. } => "give the certificate's private key, without a password",
            Self::Unusable { .. } => {
                "give the private key that the certificate was issued for (`openssl pkey -in KEY -pubout` and `openssl x509 -in CERTIFICATE -noout -pubkey` must print the same)"
            }
        }
    }
}

/// The certificate that is in use, for new connections.
pub struct Tls {
    files: TlsFiles,
    /// Keys of session tickets: kept when the certificate changes, so that devices still resume their sessions.
    tickets: Arc<dyn ProducesTickets>,
    current: ArcSwap<ServerConfig>,
    /// The contents of the files that were looked at last, usable or not; none if they could not be read.
    seen: Mutex<Option<[u8; 32]>>,
}

impl Tls {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// They can't be used.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let unusable = |cause| unusable(&files, cause);
        let tickets = ring::Ticketer::new().map_err(unusable)?;
        let read = Contents::read(&files)?;
        let config = read.config(&files, &tickets)?;
        Ok(Self { tickets, current: ArcSwap::new(config), seen: Mutex::new(Some(read.sha256())), files })
    }

    /// What new connections are served with.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Reads the files again; says whether their certificate was put into use. The same contents are tried once only, so that each
    /// error is reported once.
    ///
    /// # Errors
    /// The new contents can't be used; the previous certificate stays in use.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let read = Contents::read(&self.files);
        let sha256 = read.as_ref().ok().map(Contents::sha256);
        let before = std::mem::replace(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner), sha256);
        if before == sha256 {
            return Ok(false);
        }
        self.current.store(read?.config(&self.files, &self.tickets)?);
        Ok(true)
    }
}

fn unusable(files: &TlsFiles, cause: rustls::Error) -> TlsError {
    TlsError::Unusable { certificate: files.certificate.clone(), key: files.key.clone(), cause }
}

/// The cryptography of TLS: that of the libraries which report errors and store images.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// What the two files contain.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self { certificate: read_file(&files.certificate)?, key: read_file(&files.key)? })
    }

    fn sha256(&self) -> [u8; 32] {
        let each = [&self.certificate, &self.key].map(Sha256::digest);
        Sha256::digest(each.concat()).into()
    }

    fn config(&self, files: &TlsFiles, tickets: &Arc<dyn ProducesTickets>) -> Result<Arc<ServerConfig>, TlsError> {
        let chain = certificates(&files.certificate, &self.certificate)?;
        let missing = |_| TlsError::Missing { path: files.key.clone(), wanted: "private key" };
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(missing)?;
        let unusable = |cause| unusable(files, cause);
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.map_err(unusable)?.with_no_client_auth();
        let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
        config.ticketer = Arc::clone(tickets);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// The certificates in a PEM file.
///
/// # Errors
/// There is none, or one is not valid PEM.
pub fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let missing = || TlsError::Missing { path: path.to_owned(), wanted: "certificate" };
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|_| missing())?;
    if certificates.is_empty() { Err(missing()) } else { Ok(certificates) }
}

/// A file of certificates or keys.
///
/// # Errors
/// It can't be read, or is no regular file of a plausible size.
pub fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |cause| TlsError::File { path: path.to_owned(), cause };
    let about = std::fs::metadata(path).map_err(failed)?;
    if !about.is_file() || about.len() > FILE_BYTES_MAX {
        let what = format!("it is not a regular file of at most {} KiB", FILE_BYTES_MAX / 1024);
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, what)));
    }
    std::fs::read(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(folder: &Path, name: &str) -> TlsFiles {
        let issued = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let files = TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
        std::fs::write(&files.certificate, issued.cert.pem()).unwrap();
        std::fs::write(&files.key, issued.signing_key.serialize_pem()).unwrap();
        files
    }

    #[test]
    fn a_changed_certificate_is_used_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let tls = Tls::load(issue(folder.path(), "one.example")).unwrap();
        let first = tls.current();
        assert!(!tls.refresh().unwrap(), "nothing has changed");

        let key = std::fs::read(folder.path().join("key.pem")).unwrap();
        issue(folder.path(), "two.example");
        assert!(tls.refresh().unwrap());
        let second = tls.current();
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&first.ticketer, &second.ticketer), "sessions are still resumed");

        // As between the two writes of a renewal: a certificate with the key of another one.
        std::fs::write(folder.path().join("key.pem"), &key).unwrap();
        assert!(matches!(tls.refresh(), Err(TlsError::Unusable { .. })));
        assert!(!tls.refresh().unwrap(), "reported once");
        assert!(Arc::ptr_eq(&second, &tls.current()));
        std::fs::remove_file(folder.path().join("key.pem")).unwrap();
        assert!(matches!(tls.refresh(), Err(TlsError::File { .. })));
        assert!(!tls.refresh().unwrap(), "reported once");
        issue(folder.path(), "three.example");
        assert!(tls.refresh().unwrap());
    }

    #[test]
    fn each_kind_of_wrong_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let said = |files: &TlsFiles| match Tls::load(files.clone()) {
            Ok(_) => panic!("it was loaded"),
            Err(error) => format!("{error}; {}", error.help()),
        };
        let good = issue(folder.path(), "one.example");
        let swapped = TlsFiles { certificate: good.key.clone(), key: good.certificate.clone() };
        assert!(said(&swapped).contains("key.pem has no certificate in PEM; give the chain"));
        let no_key = TlsFiles { key: good.certificate.clone(), ..good.clone() };
        assert!(said(&no_key).contains("cert.pem has no private key in PEM; give the certificate's"));
        let missing = TlsFiles { key: folder.path().join("none.pem"), ..good.clone() };
        assert!(said(&missing).starts_with("cannot read"));
        let folder_given = TlsFiles { certificate: folder.path().to_owned(), ..good };
        assert!(said(&folder_given).contains("it is not a regular file"));
    }
}
