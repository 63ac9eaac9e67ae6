//! The admin API's limits: those in force with what they have decided, and applying others.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::Method;
use ks_reports::run_folder::LimitCount;
use serde::Deserialize;

use super::{Operator, OperatorError};

const LIMITS: &str = "/api/limits";

/// A limit as `GET /api/limits` shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct ObservedLimit {
    pub name: String,
    pub per_min: Option<u32>,
    pub per_day: Option<u32>,
    pub burst: Option<u32>,
    pub mode: String,
    /// `default`, `settings` or `applied`.
    pub source: String,
    checked: u64,
    refused: Fired,
    would_refuse: Fired,
    /// None by a server that does not say it.
    #[serde(default)]
    most_refused: Option<MostRefused>,
}

/// The callers that a limit has refused most.
#[derive(Debug, Clone, Deserialize)]
struct MostRefused {
    addresses: Vec<RefusedOne>,
    devices: Vec<RefusedOne>,
}

#[derive(Debug, Clone, Deserialize)]
struct RefusedOne {
    who: String,
    at_least: u64,
}

/// How often a limit has fired since the server started.
#[derive(Debug, Clone, Deserialize)]
struct Fired {
    total: u64,
}

/// What `GET /api/limits` shows.
#[derive(Debug, Default, Deserialize)]
pub struct ObservedLimits {
    pub limits: Vec<ObservedLimit>,
    pub overload: ObservedOverload,
    /// Settings beside the table that limits depend on.
    #[serde(default)]
    pub settings: BTreeMap<String, u64>,
    /// Bytes that the limits take.
    pub memory_bytes: u64,
}

/// The limit on writes in progress.
#[derive(Debug, Default, Deserialize)]
pub struct ObservedOverload {
    /// Most writes in progress since the server started.
    pub in_progress_max: u64,
}

impl From<&ObservedLimit> for LimitCount {
    fn from(of: &ObservedLimit) -> Self {
        Self {
            name: of.name.clone(),
            mode: of.mode.clone(),
            checked: of.checked,
            refused: of.refused.total,
            would_refuse: of.would_refuse.total,
            most_refused: of.most_refused.as_ref().map(few_of).unwrap_or_default(),
        }
    }
}

/// Half of them addresses at most, and half devices.
fn few_of(most: &MostRefused) -> Vec<(String, u64)> {
    let few = |all: &[RefusedOne]| {
        let few = all.iter().take(LimitCount::MOST_REFUSED / 2);
        few.map(|of| (of.who.clone(), of.at_least)).collect::<Vec<_>>()
    };
    let mut all = [few(&most.addresses), few(&most.devices)].concat();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    all
}

impl ObservedLimits {
    /// An answer of the admin API.
    ///
    /// # Errors
    /// It is something else.
    pub fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }
}

impl Operator {
    /// The limits in force, and what each has decided.
    pub async fn limits(&self) -> Result<ObservedLimits, OperatorError> {
        let body = self.call(Method::GET, LIMITS, "text/plain", Bytes::new()).await?;
        let unintelligible = |error: serde_json::Error| OperatorError::Unintelligible {
            path: LIMITS.to_owned(),
            what: error.to_string(),
        };
        ObservedLimits::read(&body).map_err(unintelligible)
    }

    /// Applies a limits file, in place of the one that was applied before.
    pub async fn apply_limits(&self, limits: &str) -> Result<(), OperatorError> {
        self.call(Method::PUT, LIMITS, "application/toml", limits.to_owned().into()).await.map(|_| ())
    }
}
