//! TLS of the server's own listener: a certificate with its private key, read again when their files change.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use ks_protocol::time::UnixMs;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::ProducesTickets,
};
use sha2::{Digest, Sha256};
use x509_cert::{Certificate, der::Decode};

/// Greatest size of each file, in bytes: a chain of certificates has a few thousand, the authorities of a system a quarter of a million.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// A certificate that is valid for less than this is reported, in milliseconds: two weeks.
const RENEW_WITHIN_MS: u64 = 14 * 86_400_000;

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
    #[error("{path} has no {wanted} in valid PEM")]
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
            Self::Unusable { cause: rustls::Error::InconsistentKeys(_), .. } => {
                "give the private key that the first certificate of the chain was issued for; the server's own certificate comes first (`openssl pkey -in KEY -pubout` and `openssl x509 -in CERTIFICATE -noout -pubkey` must print the same)"
            }
            Self::Unusable { .. } => {
                "give an RSA key of 2,048 to 8,192 bits, an ECDSA key (P-256 or P-384) or an Ed25519 key, and the certificate that was issued for it"
            }
        }
    }
}

/// When a certificate is valid, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub from: UnixMs,
    pub until: UnixMs,
}

impl Validity {
    /// What is wrong with it at this time, in words; none if it is valid, and for long enough.
    pub fn doubt(&self, now: UnixMs) -> Option<String> {
        let Self { from, until } = self;
        if now < *from {
            return Some(format!("the certificate is not valid before {from}"));
        }
        if now > *until {
            return Some(format!("the certificate has expired at {until}"));
        }
        let left_ms = until.since_ms(now);
        (left_ms < RENEW_WITHIN_MS)
            .then(|| format!("the certificate expires at {until}, in {} days", left_ms / 86_400_000))
    }

    /// Whether clients accept it at this time.
    pub fn holds(&self, now: UnixMs) -> bool {
        (self.from..=self.until).contains(&now)
    }
}

/// The certificate that is in use, for new connections.
pub struct Tls {
    files: TlsFiles,
    /// Keys of session tickets: kept when the certificate changes, so that devices still resume their sessions.
    tickets: Arc<dyn ProducesTickets>,
    current: ArcSwap<InUse>,
    /// What the files could not be used for when they were looked at last: with their contents, so that each fault is reported once.
    reported: Mutex<Option<(String, Option<[u8; 32]>)>>,
}

struct InUse {
    config: Arc<ServerConfig>,
    validity: Option<Validity>,
    sha256: [u8; 32],
}

impl Tls {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// They can't be used.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let unusable = |cause| unusable(&files, cause);
        let tickets = ring::Ticketer::new().map_err(unusable)?;
        let in_use = Contents::read(&files)?.in_use(&files, &tickets)?;
        Ok(Self { tickets, current: ArcSwap::from_pointee(in_use), reported: Mutex::default(), files })
    }

    /// What new connections are served with.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// When the certificate is valid; none if it does not say so in a readable way.
    pub fn validity(&self) -> Option<Validity> {
        self.current.load().validity
    }

    /// Reads the files again; says whether another certificate was put into use.
    ///
    /// # Errors
    /// They can't be used, for the first time with this fault and these contents; the previous certificate stays in use.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let read = Contents::read(&self.files);
        let sha256 = read.as_ref().ok().map(Contents::sha256);
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if sha256 == Some(self.current.load().sha256) {
            *reported = None;
            return Ok(false);
        }
        match read.and_then(|read| read.in_use(&self.files, &self.tickets)) {
            Ok(in_use) => {
                self.current.store(Arc::new(in_use));
                *reported = None;
                Ok(true)
            }
            Err(error) => {
                let fault = Some((error.to_string(), sha256));
                if *reported == fault {
                    return Ok(false);
                }
                *reported = fault;
                Err(error)
            }
        }
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

    fn in_use(&self, files: &TlsFiles, tickets: &Arc<dyn ProducesTickets>) -> Result<InUse, TlsError> {
        let chain = certificates(&files.certificate, &self.certificate)?;
        let validity = chain.first().and_then(|own| validity(own));
        let missing = |_| TlsError::Missing { path: files.key.clone(), wanted: "private key" };
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(missing)?;
        let unusable = |cause| unusable(files, cause);
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.map_err(unusable)?.with_no_client_auth();
        let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
        config.ticketer = Arc::clone(tickets);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(InUse { config: Arc::new(config), validity, sha256: self.sha256() })
    }
}

fn validity(certificate: &[u8]) -> Option<Validity> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let validity = certificate.tbs_certificate().validity();
    let ms = |since: std::time::Duration| Some(UnixMs(u64::try_from(since.as_millis()).ok()?));
    let (from, until) = (validity.not_before.to_unix_duration(), validity.not_after.to_unix_duration());
    Some(Validity { from: ms(from)?, until: ms(until)? })
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
        let what = format!("it is not a regular file of at most {} MiB", FILE_BYTES_MAX / 1_048_576);
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
        std::fs::create_dir(folder.path().join("key.pem")).unwrap();
        assert!(matches!(tls.refresh(), Err(TlsError::File { .. })), "another fault is reported too");
        std::fs::remove_dir(folder.path().join("key.pem")).unwrap();
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
        assert!(said(&swapped).contains("key.pem has no certificate in valid PEM; give the chain"));
        let no_key = TlsFiles { key: good.certificate.clone(), ..good.clone() };
        assert!(said(&no_key).contains("cert.pem has no private key in valid PEM; give the certificate's"));
        let missing = TlsFiles { key: folder.path().join("none.pem"), ..good.clone() };
        assert!(said(&missing).starts_with("cannot read"));
        let folder_given = TlsFiles { certificate: folder.path().to_owned(), ..good };
        assert!(said(&folder_given).contains("it is not a regular file"));
    }

    #[test]
    fn the_end_of_a_certificate_is_known_before_it_comes() {
        let mut params = rcgen::CertificateParams::new(["one.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 3, 2);
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let validity = validity(certificate.der()).unwrap();
        let at = |text: &str| text.parse::<UnixMs>().unwrap();
        assert_eq!((validity.from, validity.until), (at("2026-01-01T00:00:00.000Z"), at("2026-03-02T00:00:00.000Z")));
        for (now, doubt, holds) in [
            ("2025-12-31T23:59:59.000Z", Some("the certificate is not valid before 2026-01-01T00:00:00.000Z"), false),
            ("2026-01-02T00:00:00.000Z", None, true),
            ("2026-02-16T00:00:00.000Z", None, true),
            ("2026-02-16T00:00:01.000Z", Some("the certificate expires at 2026-03-02T00:00:00.000Z, in 13 days"), true),
            ("2026-03-02T00:00:01.000Z", Some("the certificate has expired at 2026-03-02T00:00:00.000Z"), false),
        ] {
            assert_eq!((validity.doubt(at(now)).as_deref(), validity.holds(at(now))), (doubt, holds), "{now}");
        }
    }
}
