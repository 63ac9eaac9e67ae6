//! Measures limits from outside, as devices meet them: how many calls come through at once, how they come back, whose budget it is, and
//! whether `retry_after_s` is true. What is found is compared with what the server says of itself.

mod callers;
mod cleanup;
mod compare;
mod evidence;
mod fit;
mod record;
mod shape;
#[cfg(test)]
mod tests;

use std::{
    rc::Rc,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use ks_server::{clock::Clock, limit::Limit};
use serde::Serialize;

pub use callers::Secrets;
pub use cleanup::UnrevokedDevices;
pub use compare::Comparison;
pub(crate) use compare::range;
pub use shape::{Measured, RetryAfter, Shape};

use crate::{
    drive::target::Target,
    failure::Failure,
    fleet::INVENTORY_HEADER,
    link::socket::SocketNetwork,
    operator::{ObservedLimit, Operator, OperatorError},
};
use callers::{Callers, Server};
use evidence::DeclaredLimits;
use fit::Gcra;
use record::{Attempt, CallerKind};

/// What a probe may cost.
#[derive(Debug, Clone, Copy)]
pub struct ProbeBounds {
    /// The longest time for each limit.
    pub budget: Duration,
    /// The most calls for each limit.
    pub calls_max: usize,
}

/// What comes from the edge of the program.
#[derive(Clone, Copy)]
pub struct Edge<'a> {
    pub clock: &'a dyn Clock,
    pub secrets: &'a Secrets,
    /// Set when the user ends the probe.
    pub stop: &'a AtomicBool,
}

/// Limits that a probe can use up without harm to others.
pub const PROBED: [Limit; 3] = [Limit::DeviceRequests, Limit::AddressFailures, Limit::AddressUnsigned];
/// Those that it probes unless it is asked for others: by default the third takes more than 20,000 calls.
pub const BY_DEFAULT: [Limit; 2] = [Limit::DeviceRequests, Limit::AddressFailures];

/// How long a one-time token of the probe is valid if its device never uses it.
const TOKEN_TTL: Duration = Duration::from_mins(5);
/// How often it is checked whether the user ends the probe.
const STOP_LOOKED_FOR: Duration = Duration::from_millis(50);
/// Pauses after a refusal of the admin API that passes.
const AGAIN_AFTER: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(5)];

/// Whose budget was used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Device,
    /// A device at one address.
    DeviceAndAddress,
    Address,
    /// The addresses near the one that was used.
    Network,
    Server,
    /// The calls that tell were not possible, or did not tell.
    Unknown,
}

impl Subject {
    /// Its name in sentences.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::DeviceAndAddress => "device and address",
            Self::Address => "address",
            Self::Network => "network",
            Self::Server => "server",
            Self::Unknown => "unknown",
        }
    }
}

/// What was found of one limit.
#[derive(Debug, Clone, Serialize)]
pub struct Probed {
    /// Its name in the API.
    pub limit: &'static str,
    /// The mode that the server declares: `enforce`, `shadow` or `off`.
    pub mode: String,
    pub measured: Measured,
    pub subject: Subject,
    /// Of a limit of addresses: whether a registered device at the address is still served; none if it was not tried, or a limit of its
    /// own refused it.
    pub honest_device_is_served: Option<bool>,
    pub comparison: Comparison,
}

/// What a probe found, however it ended.
#[derive(Debug)]
pub struct Findings {
    /// Each limit, as far as it was measured.
    pub probed: Vec<Probed>,
    /// Why it ended early; none if it did not, or the user ended it.
    pub failure: Option<Failure>,
    pub is_interrupted: bool,
    /// Devices that could not be revoked.
    pub left: Option<UnrevokedDevices>,
}

/// Why a probe ended early.
enum End {
    Interrupted,
    Failed { why: String, help: &'static str },
}

impl End {
    fn in_words(&self) -> &'static str {
        match self {
            Self::Interrupted => "it was interrupted",
            Self::Failed { .. } => "it ended with an error",
        }
    }
}

const HELP_LOG: &str = "check the server's log and what is in front of it, then probe again";

impl From<String> for End {
    fn from(why: String) -> Self {
        Self::Failed { why, help: HELP_LOG }
    }
}

impl From<OperatorError> for End {
    fn from(error: OperatorError) -> Self {
        let help = match &error {
            OperatorError::Refused { status: 401 | 403, .. } => {
                "give an admin token of that server, in ADMIN_TOKEN or in the file of --admin-token-file"
            }
            OperatorError::Refused { status: 429 | 503, .. } => {
                "wait a minute, then probe again: the admin API refuses calls for now"
            }
            OperatorError::Unintelligible { .. } | OperatorError::Refused { status: 404, .. } => {
                "name the address of a ks-server of this version with --target"
            }
            _ => HELP_LOG,
        };
        Self::Failed { why: error.to_string(), help }
    }
}

/// Probes limits of a server, one after the other, with devices of its own, which are revoked at the end, however it comes. `progress`
/// receives what is being done.
///
/// # Errors
/// The server can't be asked for its limits and its keys; nothing was begun.
pub async fn probe(
    target: &Target,
    limits: &[Limit],
    bounds: ProbeBounds,
    edge: Edge<'_>,
    progress: impl Fn(String),
) -> Result<Findings, Failure> {
    let failed = |end: End| match end {
        End::Failed { why, help } => Failure::Probe { target: target.url.clone(), why, help },
        End::Interrupted => Failure::Interrupted("nothing was measured"),
    };
    let endpoint = target.endpoint()?;
    let address = endpoint.address;
    let network = SocketNetwork::new(endpoint);
    let operator = target.operator(&network, address);
    let declared = operator.limits().await.map_err(|error| failed(error.into()))?.limits;
    let keys = operator.server_keys(edge.clock.now()).await.map_err(|error| failed(error.into()))?;
    let server = Server { network: &network, address, keys: Rc::new(keys), clock: edge.clock };
    let mut session = Session { operator: &operator, edge, bounds, import: Import::NotSent, probed: Vec::new() };
    let ended = session.run(server, limits, &declared, &progress).await;
    let left = match session.import {
        Import::NotSent => None,
        Import::Sent | Import::Answered => {
            let names = callers::devices(edge.secrets).map_err(|why| failed(why.into()))?.map(|new| new.device_id);
            cleanup::revoke(&operator, &names, session.import == Import::Answered, &progress).await
        }
    };
    operator.close();
    let is_interrupted = matches!(ended, Err(End::Interrupted));
    let failure = ended.err().filter(|_| !is_interrupted).map(failed);
    Ok(Findings { probed: session.probed, failure, is_interrupted, left })
}

/// Whether devices of the probe may be in the inventory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Import {
    /// Or it was refused.
    NotSent,
    /// Without an answer so far.
    Sent,
    Answered,
}

/// A probe that is going on.
struct Session<'a> {
    operator: &'a Operator,
    edge: Edge<'a>,
    bounds: ProbeBounds,
    import: Import,
    probed: Vec<Probed>,
}

impl<'a> Session<'a> {
    async fn run(
        &mut self,
        server: Server<'a>,
        limits: &[Limit],
        declared: &[ObservedLimit],
        progress: &impl Fn(String),
    ) -> Result<(), End> {
        let mut callers = self.provisioned(server, progress).await?;
        for limit in limits {
            progress(format!("probing {}, for {} s at most", limit.spec().name, self.bounds.budget.as_secs()));
            self.one(&mut callers, *limit, declared).await?;
        }
        Ok(())
    }

    /// Whitelists the devices, with tokens of their own that end soon. Not dropped half-way: the server would go on.
    async fn provisioned(&mut self, server: Server<'a>, progress: &impl Fn(String)) -> Result<Callers<'a>, End> {
        let [first, second] = callers::devices(self.edge.secrets)?;
        let mut csv = INVENTORY_HEADER.to_owned();
        for new in [&first, &second] {
            let (name, key) = (new.device_id.as_str(), &new.public_key);
            csv.push_str(&format!("{name},{name},{key},simulated,probe,probe\n"));
        }
        self.checked()?;
        progress(format!("whitelisting {} and {}, which are revoked at the end", first.device_id, second.device_id));
        self.import = Import::Sent;
        let imported = self.again(|| self.operator.import(csv.clone())).await;
        self.import = match &imported {
            Err(OperatorError::TimedOut { .. } | OperatorError::Unreachable { .. }) => Import::Sent,
            Err(OperatorError::Refused { status: 400..=499, .. }) => Import::NotSent,
            _ => Import::Answered,
        };
        imported?;
        let mut devices = Vec::new();
        for new in [first, second] {
            self.checked()?;
            let token = self.again(|| self.operator.make_otrt_of(&new.device_id, TOKEN_TTL)).await?;
            devices.push((new, token));
        }
        let devices = devices.try_into().map_err(|_| "two devices are needed".to_owned())?;
        let callers = Callers::new(server, devices, &self.edge.secrets.visible);
        self.until_stopped(callers).await
    }

    async fn one(&mut self, callers: &mut Callers<'_>, limit: Limit, declared: &[ObservedLimit]) -> Result<(), End> {
        let name = limit.spec().name;
        let of = |name: &str| declared.iter().find(|of| of.name == name);
        let its = of(name).ok_or_else(|| format!("it has no limit {name}; is it of the same version?"))?;
        let known = DeclaredLimits {
            limit,
            declared: enforced(its),
            of_devices: of(Limit::DeviceRequests.spec().name).and_then(enforced),
            owed_max: callers.owed_max(limit),
            owed_max_of_other_device: callers.owed_max_of_other_device(),
        };
        let mut attempts = Vec::new();
        let ended = {
            let mut calls = callers.of(limit);
            self.until_stopped(record::record(&mut calls, self.bounds, &mut attempts)).await
        };
        if !attempts.is_empty() {
            let mut probed = judged(&attempts, &known, &its.mode);
            if let Err(end) = &ended {
                probed.comparison.unknown.push(format!("what would have come later: {}", end.in_words()));
            }
            self.probed.push(probed);
        }
        ended
    }

    /// Refusals of the admin API that pass are waited out.
    async fn again<T>(&self, call: impl AsyncFn() -> Result<T, OperatorError>) -> Result<T, OperatorError> {
        for pause in AGAIN_AFTER {
            match call().await {
                Err(OperatorError::Refused { status: 429 | 503, .. }) => tokio::time::sleep(pause).await,
                done => return done,
            }
        }
        call().await
    }

    fn checked(&self) -> Result<(), End> {
        if self.edge.stop.load(Ordering::Relaxed) { Err(End::Interrupted) } else { Ok(()) }
    }

    async fn until_stopped<T>(&self, work: impl Future<Output = Result<T, String>>) -> Result<T, End> {
        let stopped = async {
            while self.checked().is_ok() {
                tokio::time::sleep(STOP_LOOKED_FOR).await;
            }
        };
        tokio::select! {
            done = work => Ok(done?),
            () = stopped => Err(End::Interrupted),
        }
    }
}

/// A limit that refuses.
fn enforced(of: &ObservedLimit) -> Option<Gcra> {
    let number = |number: Option<u32>| f64::from(number.unwrap_or(1).max(1));
    (of.mode == "enforce").then(|| Gcra { per_min: number(of.per_min), burst: number(of.burst) })
}

/// What the calls of a probe show. Pure.
fn judged(attempts: &[Attempt], known: &DeclaredLimits, mode: &str) -> Probed {
    let (measured, subject, comparison) = Comparison::of(attempts, known, mode);
    let was_used_up = measured.retry_after.refusals > 0;
    let served = known.is_refused(CallerKind::OtherDevice, attempts).map(|refused| !refused);
    Probed {
        limit: known.limit.spec().name,
        mode: mode.to_owned(),
        measured,
        subject,
        honest_device_is_served: served.filter(|_| was_used_up && known.limit != Limit::DeviceRequests),
        comparison,
    }
}
