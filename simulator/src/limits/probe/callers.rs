//! The probe's own devices and addresses, and the calls that they make.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use ks_protocol::{document, id::DeviceId, refusal::RefusalDocument, signature::SIG_SERV};
use ks_server::{clock::Clock, limit::Limit};

use super::{
    Other,
    record::{Caller, Outcome},
};
use crate::{
    device::{
        exchange::{Incoming, MessageType, post},
        machine::{DeviceInit, DeviceState, Machine, device_key},
    },
    fleet::INVENTORY_HEADER,
    link::{
        HttpAnswer, Link, Network,
        socket::{SocketNetwork, loopback_address},
    },
    operator::Operator,
};

/// The longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Addresses of this machine: the probe's own, one in the same /24, and one elsewhere. 127.77.0.1 and on.
const OWN: u32 = 0x7f4d_0001;
const NEIGHBOR: u32 = 0x7f4d_0002;
const ELSEWHERE: u32 = 0x7f4e_0001;
/// What no device sends: it fails before anything is asked about a device.
const NO_DOCUMENT: &str = "probe";

/// One device of the probe.
struct Device {
    machine: Machine,
    link: Rc<dyn Link>,
}

/// Everything that calls.
pub(super) struct Callers<'a> {
    clock: &'a dyn Clock,
    device: Device,
    other_device: Device,
    /// From the probe's own address, without a device's name.
    own: Rc<dyn Link>,
    /// None where this machine can't choose its address.
    neighbor: Option<Rc<dyn Link>>,
    elsewhere: Option<Rc<dyn Link>>,
}

impl<'a> Callers<'a> {
    /// Two devices, whitelisted and registered.
    ///
    /// # Errors
    /// A sentence: the server does not answer, or refuses them.
    pub(super) async fn provisioned(
        operator: &Operator,
        (network, target): (&SocketNetwork, SocketAddr),
        clock: &'a dyn Clock,
        seed: u64,
    ) -> Result<Self, String> {
        let said = |error: crate::operator::OperatorError| error.to_string();
        let trust = Rc::new(operator.server_keys(clock.now()).await.map_err(said)?);
        let mut names = Vec::new();
        let mut csv = INVENTORY_HEADER.to_owned();
        for number in 1..=2 {
            let name = format!("PROBE-{seed:016x}-{number}");
            let device_id: DeviceId = name.parse().map_err(|_| format!("{name} is no device ID"))?;
            let key = device_key(seed, &device_id).public_key();
            csv.push_str(&format!("{name},{name},{key},simulated,probe,probe\n"));
            names.push(device_id);
        }
        operator.import(csv).await.map_err(said)?;
        let mut tokens = operator.make_otrts(names.len()).await.map_err(said)?.into_iter();
        let from = |bits: u32| network.link(loopback_address(target, bits));
        let mut devices = names.into_iter().map(|device_id| Device {
            machine: Machine::new(DeviceInit {
                device_id,
                root_seed: seed,
                server_keys: Rc::clone(&trust),
                model: "probe".into(),
                firmware_version: "1.0.0".into(),
                release_counter: 1,
                otrt: tokens.next().map(Into::into),
                booted_at: clock.now(),
            }),
            link: from(OWN),
        });
        let (Some(device), Some(mut other_device)) = (devices.next(), devices.next()) else {
            return Err("two devices are needed".to_owned());
        };
        other_device.register(clock).await?; // the other one registers with its first call, which counts too
        let is_local = target.ip().is_loopback();
        Ok(Self {
            clock,
            device,
            other_device,
            own: from(OWN),
            neighbor: is_local.then(|| from(NEIGHBOR)),
            elsewhere: is_local.then(|| from(ELSEWHERE)),
        })
    }

    /// The names of its devices.
    pub(super) fn names(&self) -> Vec<DeviceId> {
        [&self.device, &self.other_device].map(|device| device.machine.device_id().clone()).to_vec()
    }

    /// What uses up a limit.
    pub(super) fn of(&mut self, limit: Limit) -> Calls<'_, 'a> {
        Calls { callers: self, limit }
    }
}

impl Device {
    async fn register(&mut self, clock: &dyn Clock) -> Result<(), String> {
        self.send(MessageType::Register, None, clock).await?;
        if self.machine.state() == DeviceState::Registered {
            Ok(())
        } else {
            Err("a device of the probe can't register".to_owned())
        }
    }

    /// Sends a message, from another address if one is given.
    async fn send(
        &mut self,
        kind: MessageType,
        from: Option<&Rc<dyn Link>>,
        clock: &dyn Clock,
    ) -> Result<Outcome, String> {
        let request = kind.exchange().request(&mut self.machine, clock.now());
        let request = request.ok_or_else(|| format!("a device of the probe has no {} to send", kind.as_str()))?;
        let answer = answer(&**from.unwrap_or(&self.link), request.http).await?;
        let incoming =
            Incoming { status: answer.status, sig_dev: &request.sig_dev, body: &answer.body, took: Duration::ZERO };
        // The outcome is what counts: a refusal from something in front of the server has no signature.
        let _ = kind.exchange().answer(&mut self.machine, &incoming);
        outcome(&answer, 200)
    }
}

async fn answer(link: &dyn Link, request: crate::link::HttpRequest) -> Result<HttpAnswer, String> {
    let answered = tokio::time::timeout(ANSWER_MAX, link.call(request)).await;
    let answered = answered.map_err(|_| format!("no answer within {} s", ANSWER_MAX.as_secs()))?;
    answered.map_err(|error| format!("no answer: {}", error.code()))
}

/// Whether a limit let a call through, which is then answered with this status.
fn outcome(answer: &HttpAnswer, admitted: u16) -> Result<Outcome, String> {
    let document =
        document::split(&answer.body, SIG_SERV).and_then(|signed| document::decode::<RefusalDocument>(signed.body));
    match answer.status {
        429 | 503 => Ok(Outcome::Refused { retry_after_s: document.ok().and_then(|refusal| refusal.retry_after_s) }),
        status if status == admitted => Ok(Outcome::Admitted),
        status => {
            let code = document.map_or_else(|_| "without a document".to_owned(), |refusal| refusal.code.to_string());
            Err(format!("a call was answered with status {status} ({code}), expected {admitted}"))
        }
    }
}

/// The calls that one limit counts.
pub(super) struct Calls<'c, 'a> {
    callers: &'c mut Callers<'a>,
    limit: Limit,
}

impl Calls<'_, '_> {
    /// A request that fails, from an address.
    async fn failing(link: &dyn Link) -> Result<Outcome, String> {
        outcome(&answer(link, post("/heartbeat", NO_DOCUMENT)).await?, 400)
    }
}

impl Caller for Calls<'_, '_> {
    async fn call(&mut self) -> Result<Outcome, String> {
        match self.limit {
            Limit::DeviceRequests => {
                let device = &mut self.callers.device;
                let is_new = device.machine.state() == DeviceState::New;
                let kind = if is_new { MessageType::Register } else { MessageType::Heartbeat };
                device.send(kind, None, self.callers.clock).await
            }
            _ => Self::failing(&*self.callers.own).await,
        }
    }

    async fn others(&mut self) -> Result<Vec<(Other, bool)>, String> {
        let Callers { clock, device, other_device, neighbor, elsewhere, .. } = &mut *self.callers;
        let mut found = vec![(Other::Device, other_device.send(MessageType::Heartbeat, None, *clock).await?)];
        for (other, link) in [(Other::Neighbor, neighbor), (Other::Elsewhere, elsewhere)] {
            let Some(link) = link else { continue };
            let outcome = match self.limit {
                Limit::DeviceRequests => device.send(MessageType::Heartbeat, Some(link), *clock).await?,
                _ => Self::failing(&**link).await?,
            };
            found.push((other, outcome));
        }
        Ok(found.into_iter().map(|(other, outcome)| (other, outcome != Outcome::Admitted)).collect())
    }
}
