//! The probe's own devices and addresses, and the calls that they make. Every answer is verified as a device verifies it.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use ks_protocol::{
    document,
    id::DeviceId,
    key::{PrivateKey, PublicKey},
    refusal::{RefusalCode, RefusalDocument},
    signature::{NO_SIG_DEV, Reply, SIG_SERV, open_response},
};
use ks_server::{clock::Clock, limit::Limit};
use serde::de::IgnoredAny;

use super::record::{Caller, CallerKind, Outcome};
use crate::{
    device::{
        exchange::{Incoming, MessageType, post},
        machine::{DeviceInit, DeviceState, Machine, ServerKeys},
    },
    link::{
        HttpAnswer, Link, Network,
        socket::{SocketNetwork, loopback_address},
    },
};

/// The longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// What no device sends: it fails before anything is asked about a device.
const NO_DOCUMENT: &str = "probe";
/// A path that no server has: a request for it needs no signature.
const NO_ENDPOINT: &str = "/probe";
/// The limits of the server by what their refusals say.
const LIMITS_BY_MESSAGE: [(&str, Limit); 9] = [
    ("too many requests by this device", Limit::DeviceRequests),
    ("too many failed requests from this address", Limit::AddressFailures),
    ("too many failed requests from this network", Limit::SiteFailures),
    ("too many failed requests from all addresses", Limit::ExpensiveFailures),
    ("too many requests of all devices", Limit::AllRequests),
    ("daily limit of stored bytes of this device reached", Limit::DeviceStoredBytes),
    ("too many registrations from this address", Limit::AddressRegistrations),
    ("too many registrations of all devices", Limit::Registrations),
    ("too many requests without a signature from this address", Limit::AddressUnsigned),
];

/// Randomness of the operating system, drawn at the edge: what can be seen and what must not be seen are drawn apart, so that nothing
/// that is seen says anything about a key.
#[derive(Clone)]
pub struct Secrets {
    /// For names and addresses.
    pub visible: [u8; 32],
    /// The private keys of the two devices.
    pub keys: [[u8; 32]; 2],
}

/// Addresses of this machine that hardly any probe had before, so that their budgets are whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Addresses {
    own: u32,
    /// In the same /24.
    neighbor: u32,
    elsewhere: u32,
}

impl Addresses {
    /// Of 127.64.0.0/10: 4 million.
    fn drawn(visible: &[u8; 32]) -> Self {
        let drawn = visible.last_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let own = 0x7f40_0000 | (drawn & 0x3f_ff7e) | 0x2; // never ends with 0 or 255, nor does a neighbor
        Self { own, neighbor: own ^ 1, elsewhere: own ^ 0x0020_0000 }
    }
}

/// A device to whitelist: its name and its public key.
pub(super) struct NewDevice {
    pub(super) device_id: DeviceId,
    pub(super) public_key: PublicKey,
    key: PrivateKey,
}

/// The probe's two devices.
///
/// # Errors
/// Never: the names are valid.
pub(super) fn devices(secrets: &Secrets) -> Result<[NewDevice; 2], String> {
    let number = secrets.visible.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let device = |place: usize, key: &[u8; 32]| {
        let name = format!("PROBE-{number:016x}-{place}");
        let device_id: DeviceId = name.parse().map_err(|_| format!("{name} is no device ID"))?;
        let key = PrivateKey::from_seed(key);
        Ok::<_, String>(NewDevice { device_id, public_key: key.public_key(), key })
    };
    let [first, second] = &secrets.keys;
    Ok([device(1, first)?, device(2, second)?])
}

/// One device of the probe.
struct Device {
    machine: Machine,
    link: Rc<dyn Link>,
    /// Calls that may have been charged to it.
    calls: u32,
}

/// Where the server is, and its keys.
pub(super) struct Server<'a> {
    pub(super) network: &'a SocketNetwork,
    pub(super) address: SocketAddr,
    pub(super) keys: ServerKeys,
    pub(super) clock: &'a dyn Clock,
}

/// Everything that calls.
pub(super) struct Callers<'a> {
    server: Server<'a>,
    device: Device,
    other_device: Device,
    /// From the probe's own address, without a device's name.
    own: Rc<dyn Link>,
    /// In the same network, and elsewhere; none where this machine can't choose its address.
    away: Option<(Rc<dyn Link>, Rc<dyn Link>)>,
}

impl<'a> Callers<'a> {
    /// Two whitelisted devices with their one-time tokens; the second one registers.
    ///
    /// # Errors
    /// A sentence: the server does not answer, or refuses the registration.
    pub(super) async fn new(
        server: Server<'a>,
        devices: [(NewDevice, String); 2],
        visible: &[u8; 32],
    ) -> Result<Self, String> {
        let addresses = Addresses::drawn(visible);
        let from = |bits: u32| server.network.link(loopback_address(server.address, bits));
        let made = |(new, token): (NewDevice, String)| {
            let init = DeviceInit {
                device_id: new.device_id,
                root_seed: 0, // draws the sensor readings
                server_keys: Rc::clone(&server.keys),
                model: "probe".into(),
                firmware_version: "1.0.0".into(),
                release_counter: 1,
                otrt: Some(token.into()),
                booted_at: server.clock.now(),
                verify_percent: 100,
            };
            Device { machine: Machine::new(init).with_key(new.key), link: from(addresses.own), calls: 0 }
        };
        let [device, mut other_device] = devices.map(made);
        let own = from(addresses.own);
        let away = is_chosen(server.address).then(|| (from(addresses.neighbor), from(addresses.elsewhere)));
        // The first one registers with its first call, which counts too.
        other_device.send(MessageType::Register, None, &server).await?;
        if other_device.machine.state() != DeviceState::Registered {
            return Err("a device of the probe can't register: a limit refused it".to_owned());
        }
        Ok(Self { server, device, other_device, own, away })
    }

    /// The most that the budget of the probe may owe before its first call, in calls.
    pub(super) fn owed_max(&self, limit: Limit) -> f64 {
        match limit {
            Limit::DeviceRequests => f64::from(self.device.calls),
            _ if self.away.is_some() => 0.0,
            _ => f64::INFINITY,
        }
    }

    /// The same of the budget of the other device.
    pub(super) fn owed_max_of_other_device(&self) -> f64 {
        f64::from(self.other_device.calls)
    }

    /// What uses up a limit.
    pub(super) fn of(&mut self, limit: Limit) -> Calls<'_, 'a> {
        Calls { callers: self, limit }
    }
}

/// Whether this machine can choose the address that the server sees.
fn is_chosen(target: SocketAddr) -> bool {
    matches!(target.ip(), std::net::IpAddr::V4(ip) if ip.is_loopback())
}

impl Device {
    /// Sends a message, from another address if one is given.
    async fn send(
        &mut self,
        kind: MessageType,
        from: Option<&Rc<dyn Link>>,
        server: &Server<'_>,
    ) -> Result<Outcome, String> {
        let request = kind.exchange().request(&mut self.machine, server.clock.now());
        let request = request.ok_or_else(|| format!("a device of the probe has no {} to send", kind.as_str()))?;
        self.calls += 1;
        let answer = answer(&**from.unwrap_or(&self.link), request.http).await?;
        let incoming =
            Incoming { status: answer.status, sig_dev: &request.sig_dev, body: &answer.body, took: Duration::ZERO };
        let taken = kind.exchange().answer(&mut self.machine, &incoming).map(|effect| effect.refusal);
        outcome(&answer, taken.map_err(|error| error.to_string()), None, Limit::DeviceRequests)
    }
}

async fn answer(link: &dyn Link, request: crate::link::HttpRequest) -> Result<HttpAnswer, String> {
    let answered = tokio::time::timeout(ANSWER_MAX, link.call(request)).await;
    let answered = answered.map_err(|_| format!("no answer within {} s", ANSWER_MAX.as_secs()))?;
    answered.map_err(|error| format!("no answer ({})", error.code()))
}

/// What a call of `limit` met: `verified` is the refusal in the answer, or why the answer can't be verified; `admitted` the one of a call
/// that came through.
fn outcome(
    answer: &HttpAnswer,
    verified: Result<Option<RefusalCode>, String>,
    admitted: Option<RefusalCode>,
    limit: Limit,
) -> Result<Outcome, String> {
    let status = answer.status;
    match verified {
        Ok(code) if code == admitted => Ok(Outcome::Admitted),
        Ok(Some(RefusalCode::Overloaded)) => Ok(Outcome::OtherLimit("writes in progress")),
        Ok(Some(RefusalCode::RateLimited)) => {
            let signed = document::split(&answer.body, SIG_SERV);
            // As the server sent it: a device bounds the wait of a refusal that may be replayed.
            let refusal = signed.and_then(|signed| document::decode::<RefusalDocument>(signed.body));
            let refusal = refusal.map_err(|error| format!("a refusal can't be parsed: {error}"))?;
            let by = LIMITS_BY_MESSAGE.iter().find(|(message, _)| *message == refusal.message);
            Ok(match by {
                Some((_, by)) if *by == limit => {
                    Outcome::Refused { retry_after_s: refusal.retry_after_s, is_signed: true }
                }
                Some((_, by)) => Outcome::OtherLimit(by.spec().name),
                None => Outcome::OtherLimit("unknown"),
            })
        }
        Ok(code) => {
            let code = code.map_or_else(|| "no refusal".to_owned(), |code| code.to_string());
            Err(format!("a call was answered with status {status}, {code}"))
        }
        Err(_) if matches!(status, 429 | 503) => Ok(Outcome::Refused { retry_after_s: None, is_signed: false }),
        Err(why) => Err(format!(
            "an answer with status {status} does not follow the protocol, or is not signed by the server ({why}): something else answers, or changes the server's answers"
        )),
    }
}

/// The calls that one limit counts.
pub(super) struct Calls<'c, 'a> {
    callers: &'c mut Callers<'a>,
    limit: Limit,
}

impl Calls<'_, '_> {
    /// A request without a device, from an address: one that fails, or one that needs no signature.
    async fn of_address(link: &dyn Link, keys: &ServerKeys, limit: Limit) -> Result<Outcome, String> {
        let (path, admitted) = match limit {
            Limit::AddressUnsigned => (NO_ENDPOINT, RefusalCode::NotFound),
            _ => ("/heartbeat", RefusalCode::Malformed),
        };
        let answer = answer(link, post(path, NO_DOCUMENT)).await?;
        let opened = open_response::<IgnoredAny>(&keys.keys, answer.status, NO_SIG_DEV, &answer.body);
        let refused = opened.map(|reply| match reply {
            Reply::Refused(refusal) => Some(refusal.code),
            Reply::Answer(_) => None,
        });
        outcome(&answer, refused.map_err(|error| error.to_string()), Some(admitted), limit)
    }
}

impl Caller for Calls<'_, '_> {
    async fn call(&mut self, by: CallerKind) -> Result<Outcome, String> {
        let Callers { server, device, other_device, own, away } = &mut *self.callers;
        let link = match (by, &*away) {
            (CallerKind::Neighbor, Some((neighbor, _))) => Some(neighbor),
            (CallerKind::Elsewhere, Some((_, elsewhere))) => Some(elsewhere),
            _ => None,
        };
        match (by, self.limit) {
            (CallerKind::OtherDevice, _) => other_device.send(MessageType::Heartbeat, None, server).await,
            (_, Limit::DeviceRequests) => {
                let is_new = device.machine.state() == DeviceState::New;
                let kind = if is_new { MessageType::Register } else { MessageType::Heartbeat };
                device.send(kind, link, server).await
            }
            (_, limit) => Self::of_address(&**link.unwrap_or(own), &server.keys, limit).await,
        }
    }

    fn others(&self) -> Vec<CallerKind> {
        let away: &[CallerKind] = match self.limit {
            _ if self.callers.away.is_none() => &[],
            Limit::DeviceRequests => &[CallerKind::Elsewhere],
            _ => &[CallerKind::Neighbor, CallerKind::Elsewhere],
        };
        [&[CallerKind::OtherDevice], away].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::machine::device_key;

    /// Goal: nobody who sees a device of the probe has its key. Method: what derived it before, and other names for the same keys.
    #[test]
    fn a_key_is_not_in_a_name() {
        let secrets = Secrets { visible: [7; 32], keys: [[1; 32], [2; 32]] };
        let [first, second] = devices(&secrets).unwrap();
        let number =
            first.device_id.as_str().split('-').nth(1).map(|hex| u64::from_str_radix(hex, 16).unwrap()).unwrap();
        for device in [&first, &second] {
            assert_ne!(device.public_key, device_key(number, &device.device_id).public_key());
        }
        assert_ne!(first.public_key, second.public_key);
        let [same_key, _] = devices(&Secrets { visible: [8; 32], ..secrets.clone() }).unwrap();
        let [same_name, _] = devices(&Secrets { keys: [[3; 32], [4; 32]], ..secrets }).unwrap();
        assert!(same_key.device_id != first.device_id && same_key.public_key == first.public_key);
        assert!(same_name.device_id == first.device_id && same_name.public_key != first.public_key);
    }

    #[test]
    fn addresses_are_of_this_machine_and_apart() {
        for byte in 0..=255 {
            let Addresses { own, neighbor, elsewhere } = Addresses::drawn(&[byte; 32]);
            assert!([own, neighbor, elsewhere].iter().all(|bits| bits >> 24 == 127 && !matches!(bits & 0xff, 0 | 255)));
            assert!(own != neighbor && own >> 8 == neighbor >> 8 && own >> 16 != elsewhere >> 16);
        }
        assert_ne!(Addresses::drawn(&[1; 32]), Addresses::drawn(&[2; 32]));
    }

    #[test]
    fn only_loopback_of_ipv4_has_many_addresses() {
        let chosen = |target: &str| is_chosen(target.parse().unwrap());
        assert!(chosen("127.0.0.1:80") && !chosen("[::1]:80") && !chosen("10.0.0.1:80"));
    }
}
