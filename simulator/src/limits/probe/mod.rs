//! Measures limits from outside, as devices meet them: how many calls come through at once, how they come back, whose budget it is, and
//! whether `retry_after_s` is true. What is found is compared with what the server says of itself.

mod callers;
mod compare;
mod record;
mod shape;
#[cfg(test)]
mod tests;

use std::time::Duration;

use ks_server::{clock::Clock, limit::Limit};
use serde::Serialize;

pub use compare::Comparison;
pub use shape::{Measured, RetryAfter, Shape};

use crate::{drive::target::Target, failure::Failure, link::socket::SocketNetwork, operator::ObservedLimit};
use callers::Callers;

/// What a probe may cost.
#[derive(Debug, Clone, Copy)]
pub struct ProbeBounds {
    /// The longest time for each limit.
    pub budget: Duration,
    /// The most calls for each limit.
    pub calls_max: usize,
}

/// Limits that a probe can use up without harm to others.
pub const PROBED: [Limit; 2] = [Limit::DeviceRequests, Limit::AddressFailures];

/// Calls other than the probe's own, made while its budget is used up: they tell whose budget it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Other {
    /// Another device at the same address.
    Device,
    /// The same from another address of the same network.
    Neighbor,
    /// The same from an address elsewhere.
    Elsewhere,
}

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
    /// The calls that tell were not possible.
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
    /// Of [`Limit::AddressFailures`]: whether a registered device at the address is still served; none if it was not tried.
    pub honest_device_is_served: Option<bool>,
    pub comparison: Comparison,
}

/// Probes limits of a server, one after the other, with devices of its own, which are revoked at the end. `progress` receives what
/// is being done.
///
/// # Errors
/// The server can't be reached, or does not behave like one.
pub async fn probe(
    target: &Target,
    limits: &[Limit],
    bounds: ProbeBounds,
    (clock, seed): (&dyn Clock, u64),
    progress: impl Fn(String),
) -> Result<Vec<Probed>, Failure> {
    let unusable = |why: String| Failure::Target { target: target.url.clone(), why };
    let address = target.address().ok_or_else(|| unusable("its host has no address".to_owned()))?;
    let network = SocketNetwork::new(address);
    let operator = target.operator(&network, address);
    let declared = operator.limits().await.map_err(|error| unusable(error.to_string()))?.limits;
    let mut callers = Callers::provisioned(&operator, (&network, address), clock, seed).await.map_err(unusable)?;
    let found = each(&mut callers, limits, &declared, bounds, progress).await.map_err(unusable);
    let revoked = operator.revoke(&callers.names()).await;
    operator.close();
    let found = found?;
    revoked.map_err(|error| unusable(format!("the probe's devices are not revoked: {error}")))?;
    Ok(found)
}

async fn each(
    callers: &mut Callers<'_>,
    limits: &[Limit],
    declared: &[ObservedLimit],
    bounds: ProbeBounds,
    progress: impl Fn(String),
) -> Result<Vec<Probed>, String> {
    let mut found = Vec::new();
    for limit in limits {
        progress(format!("probing {}", limit.spec().name));
        found.push(one(callers, *limit, declared, bounds).await?);
    }
    Ok(found)
}

async fn one(
    callers: &mut Callers<'_>,
    limit: Limit,
    declared: &[ObservedLimit],
    bounds: ProbeBounds,
) -> Result<Probed, String> {
    let spec = limit.spec();
    let declared = declared.iter().find(|of| of.name == spec.name);
    let declared = declared.ok_or_else(|| format!("it has no limit {}; is it of the same version?", spec.name))?;
    let recording = record::record(&mut callers.of(limit), bounds).await?;
    let measured = Measured::of(&recording.attempts);
    let refused = |other: Other| recording.others.iter().find(|(of, _)| *of == other).map(|(_, refused)| *refused);
    let subject = match limit {
        Limit::DeviceRequests => subject_of_device(refused(Other::Device), refused(Other::Elsewhere)),
        _ => subject_of_address(refused(Other::Neighbor), refused(Other::Elsewhere)),
    };
    let served = || refused(Other::Device).map(|refused| !refused);
    Ok(Probed {
        limit: spec.name,
        mode: declared.mode.clone(),
        comparison: Comparison::of(&measured, (limit, subject), declared),
        measured,
        subject,
        honest_device_is_served: (limit == Limit::AddressFailures).then(served).flatten(),
    })
}

/// Whose budget a device used up, by whether another device, and the same one elsewhere, are refused too.
fn subject_of_device(other_device: Option<bool>, elsewhere: Option<bool>) -> Subject {
    match (other_device, elsewhere) {
        (Some(false), Some(true)) => Subject::Device,
        (Some(false), Some(false)) => Subject::DeviceAndAddress,
        (Some(true), Some(false)) => Subject::Address,
        (Some(true), Some(true)) => Subject::Server,
        _ => Subject::Unknown,
    }
}

/// Whose budget an address used up, by whether a neighbor, and an address elsewhere, are refused too.
fn subject_of_address(neighbor: Option<bool>, elsewhere: Option<bool>) -> Subject {
    match (neighbor, elsewhere) {
        (Some(false), Some(false)) => Subject::Address,
        (Some(true), Some(false)) => Subject::Network,
        (Some(true), Some(true)) => Subject::Server,
        _ => Subject::Unknown,
    }
}
