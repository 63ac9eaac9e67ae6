//! Where errors are reported: every `ERROR` line of the log and every panic, to the Sentry DSN in the settings.

use std::str::FromStr;

use tracing::Subscriber;
use tracing_subscriber::{Layer, registry::LookupSpan};

/// Keeps error reporting alive; pending reports are sent when it is dropped.
#[derive(Default)]
pub struct Reporting {
    #[cfg(feature = "error-reports")]
    _client: Option<sentry::ClientInitGuard>,
}

/// Starts reporting to `dsn`.
///
/// # Errors
/// What was expected instead of the DSN.
#[cfg(feature = "error-reports")]
pub fn start(dsn: &Dsn) -> Result<Reporting, &'static str> {
    let mut options = sentry::ClientOptions::new();
    options.dsn = Some(dsn.as_str().parse().map_err(|_| "http(s)://PUBLIC_KEY@HOST/PROJECT")?);
    options.release = sentry::release_name!();
    Ok(Reporting { _client: Some(sentry::init(options)) })
}

/// Starts nothing: this build has no error reports.
///
/// # Errors
/// Always.
#[cfg(not(feature = "error-reports"))]
pub fn start(_: &Dsn) -> Result<Reporting, &'static str> {
    Err("no value: this build has no error reports (feature `error-reports` of ks-server)")
}

/// The layer of the log that reports errors; without a client it does nothing.
#[cfg(feature = "error-reports")]
pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    sentry::integrations::tracing::ErrorLayer::new().with_filter(tracing_subscriber::filter::LevelFilter::ERROR)
}

/// The layer of the log in a build without error reports: it does nothing.
#[cfg(not(feature = "error-reports"))]
pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    tracing_subscriber::layer::Identity::new()
}

/// `http(s)://PUBLIC_KEY@HOST/PROJECT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dsn(String);

impl Dsn {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected http(s)://PUBLIC_KEY@HOST/PROJECT")]
pub struct InvalidDsn;

impl FromStr for Dsn {
    type Err = InvalidDsn;
    fn from_str(given: &str) -> Result<Self, InvalidDsn> {
        let uri: hyper::Uri = given.parse().map_err(|_| InvalidDsn)?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let has_key = uri.authority().is_some_and(|authority| {
            authority.as_str().split_once('@').is_some_and(|(key, host)| !key.is_empty() && !host.is_empty())
        });
        let project = uri.path().rsplit('/').next().unwrap_or_default();
        let has_project = !project.is_empty() && project.bytes().all(|byte| byte.is_ascii_digit());
        if is_http && has_key && has_project { Ok(Self(given.to_owned())) } else { Err(InvalidDsn) }
    }
}
