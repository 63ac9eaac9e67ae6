//! TLS to a server: whose certificates are trusted, and sessions that each device resumes as its own.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use ks_server::tls::{TlsError, certificates, provider, read_file};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, HandshakeKind, RootCertStore,
    client::Resumption,
    pki_types::{InvalidDnsNameError, ServerName},
};
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::run::measure::Handshakes;

/// Why TLS to a server can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file with the authority's certificate can't be used.
    #[error("--ca: {0}")]
    File(#[from] TlsError),
    /// The file has a certificate that is not an authority's.
    #[error("--ca: {path} can't be used: {cause}")]
    NotAnAuthority { path: String, cause: Error },
    /// This machine trusts nobody.
    #[error(
        "this machine has no certificates of authorities{0}; install them (Debian: ca-certificates), or name a file with --ca"
    )]
    NoRoots(String),
    /// A host that no certificate can name.
    #[error("no certificate can be issued for the host `{host}`: {cause}")]
    Host { host: String, cause: InvalidDnsNameError },
    /// The library refused the settings.
    #[error(transparent)]
    Library(#[from] Error),
}

/// A server's TLS, as its clients see it.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    handshakes: Arc<Mutex<Handshakes>>,
}

impl ServerTls {
    /// Trusts the authorities in this file, or those of the system; the server must have a certificate for `host`.
    ///
    /// # Errors
    /// The file can't be used, the system has no authorities, or no certificate can name the host.
    pub fn new(host: &str, authorities: Option<&Path>) -> Result<Self, TrustError> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|cause| TrustError::Host { host: host.to_owned(), cause })?;
        let roots = authorities.map_or_else(roots_of_system, roots_of)?;
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), name, handshakes: Arc::default() })
    }

    /// The same for one device, which resumes no session but its own.
    pub(super) fn of_device(&self) -> DeviceTls {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::in_memory_sessions(1);
        DeviceTls { connector: Arc::new(config).into(), server: self.clone() }
    }

    /// The handshakes since the last call.
    pub(super) fn take_handshakes(&self) -> Handshakes {
        std::mem::take(&mut self.handshakes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One handshake, as a check of the server.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn check(&self, stream: TcpStream) -> Result<(), HandshakeFailed> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(self.name.clone(), stream).await.map(drop).map_err(|error| self.explain(&error))
    }

    /// Why a handshake failed, in words.
    fn explain(&self, error: &io::Error) -> HandshakeFailed {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
        let of_certificate = match cause {
            Some(Error::InvalidCertificate(error)) => Some(self.explain_certificate(error)),
            _ => None,
        };
        let (why, help) = match (of_certificate, cause) {
            (Some(explained), _) => explained,
            (None, Some(Error::InvalidMessage(_))) => {
                ("it does not speak TLS; is it an http:// server?".to_owned(), "if it is, write http://")
            }
            (None, Some(Error::AlertReceived(AlertDescription::ProtocolVersion))) => (
                "it has no version of TLS that is supported".to_owned(),
                "turn TLS 1.2 or 1.3 on at the target, or at the proxy in front of it",
            ),
            _ => (error.to_string(), "see the log of the target, or of the proxy in front of it"),
        };
        HandshakeFailed { why, help }
    }

    /// What is wrong with the server's certificate, and what to do.
    fn explain_certificate(&self, error: &CertificateError) -> (String, &'static str) {
        use CertificateError as E;
        const RENEW: &str = "renew the target's certificate, or correct this machine's clock";
        match error {
            // A wrong signature: an authority of the same name, but with another key.
            E::UnknownIssuer | E::BadSignature => (
                "its certificate is not from an authority that is trusted here, or its chain lacks an intermediate certificate"
                    .to_owned(),
                "give the certificate of a private authority with --ca FILE; if that is right, complete the target's chain",
            ),
            E::NotValidForName | E::NotValidForNameContext { .. } => {
                (format!("its certificate is not for `{}`", self.name.to_str()), "name the host as in its certificate")
            }
            E::Expired | E::ExpiredContext { .. } => ("its certificate has expired".to_owned(), RENEW),
            E::NotValidYet | E::NotValidYetContext { .. } => ("its certificate is not valid yet".to_owned(), RENEW),
            // The library has no variant for it.
            E::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => (
                "its certificate is that of an authority, and can't be a server's own".to_owned(),
                "issue one for the server (`openssl req -x509` makes one with `-addext basicConstraints=critical,CA:FALSE`)",
            ),
            other => (format!("its certificate is not accepted: {other}"), "issue another certificate for the target"),
        }
    }
}

/// Why a TLS handshake failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandshakeFailed {
    pub why: String,
    pub help: &'static str,
}

fn roots_of_system() -> Result<RootCertStore, TrustError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    let why = || found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
    if roots.is_empty() { Err(TrustError::NoRoots(why())) } else { Ok(roots) }
}

fn roots_of(path: &Path) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    let found = certificates(path, &read_file(path)?)?;
    // Of a bundle, those that can't be read are left out, as by every other client.
    let mut last_error = None;
    for certificate in found {
        last_error = roots.add(certificate).err().or(last_error);
    }
    match last_error {
        Some(cause) if roots.is_empty() => Err(TrustError::NotAnAuthority { path: path.display().to_string(), cause }),
        _ => Ok(roots),
    }
}

/// TLS of one device, with its last session.
pub(super) struct DeviceTls {
    connector: TlsConnector,
    server: ServerTls,
}

impl DeviceTls {
    /// Makes the handshake on a new connection, and counts it.
    ///
    /// # Errors
    /// It failed.
    pub(super) async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let started = Instant::now();
        let connected = self.connector.connect(self.server.name.clone(), stream).await;
        let mut counts = self.server.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        match &connected {
            Ok(stream) => {
                let is_resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
                counts.ended(is_resumed, started.elapsed());
            }
            Err(error) => {
                counts.failed += 1;
                counts.first_failure.get_or_insert_with(|| self.server.explain(error).why);
            }
        }
        connected
    }
}
