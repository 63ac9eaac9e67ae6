//! Metrics of a kind: one for each code of an answer, one for each version of firmware, two for each limit of the server.

use ks_reports::run_folder;
use ks_server::limit::TABLE;

/// The start of the name of a metric that counts answers by code.
pub(super) const CODES_PREFIX: &str = "codes.";

/// The starts of the names of metrics that count devices by version.
pub(super) const UPDATED_PREFIX: &str = "updated.";
pub(super) const RUNNING_PREFIX: &str = "running.";

/// Characters of an answer's code.
const CODE_CHARS_MAX: usize = 40;

/// A firmware version that a metric counts devices of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// With the prefix, so that the metric's name can be a slice of this.
    pub(super) metric: String,
    prefix: &'static str,
}

impl Version {
    /// The version of a metric `<prefix><version>`; none if the name is not such a metric.
    pub(super) fn of(name: &str, prefix: &'static str) -> Option<Self> {
        let version = name.strip_prefix(prefix)?;
        let is_version = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let fits = (1..=64).contains(&version.len()) && version.chars().all(is_version);
        fits.then(|| Self { metric: name.to_owned(), prefix })
    }

    pub fn as_str(&self) -> &str {
        self.metric.strip_prefix(self.prefix).unwrap_or_default()
    }
}

/// The start of the names of metrics that count the verdicts of one limit.
pub(super) const LIMITS_PREFIX: &str = "limits.";

/// A limit of the server, of which a metric counts verdicts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CountedLimit {
    /// The metric's whole name.
    pub(super) metric: String,
    pub name: &'static str,
    /// Whether requests are counted that it would have refused, in shadow, and not those that it refused.
    pub in_shadow: bool,
}

impl CountedLimit {
    /// The limit of a metric `limits.<NAME>.refused` or `limits.<NAME>.would_refuse`; none if the name is not such a metric.
    pub(super) fn of(metric: &str) -> Option<Self> {
        let (given, verdict) = metric.strip_prefix(LIMITS_PREFIX)?.split_once('.')?;
        let in_shadow = match verdict {
            "refused" => false,
            "would_refuse" => true,
            _ => return None,
        };
        let name = TABLE.iter().map(|spec| spec.name).find(|name| *name == given)?;
        Some(Self { metric: metric.to_owned(), name, in_shadow })
    }

    /// Every such metric.
    pub(super) fn all() -> impl Iterator<Item = String> {
        TABLE
            .iter()
            .flat_map(|spec| ["refused", "would_refuse"].map(|what| format!("{LIMITS_PREFIX}{}.{what}", spec.name)))
    }
}

/// The result of a request: `OK`, an ERR1 code, or one of `AnswerCode::LOCAL`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AnswerCode {
    /// With the prefix, so that the metric's name can be a slice of this.
    pub(super) metric: String,
}

impl AnswerCode {
    /// The code of an accepted request.
    pub const OK: &'static str = run_folder::OK;
    /// Codes of the simulator itself, for requests without a valid answer.
    pub const LOCAL: [&'static str; 10] = [
        "TIMEOUT",
        "CONNECT_FAILED",
        "TLS_FAILED",
        "CONNECTION_LOST",
        "BAD_ANSWER",
        "UNKNOWN_KEY",
        "UNRECOGNISED",
        "NO_SOCKET",
        "UNSENT",
        "UNANSWERED",
    ];

    /// Parses a code: 1 to 40 of A-Z, 0-9 and `_`.
    pub fn new(code: &str) -> Option<Self> {
        let fits = (1..=CODE_CHARS_MAX).contains(&code.len());
        let is_code = fits && code.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_');
        is_code.then(|| Self { metric: format!("{CODES_PREFIX}{code}") })
    }

    pub fn as_str(&self) -> &str {
        self.metric.strip_prefix(CODES_PREFIX).unwrap_or_default()
    }
}
