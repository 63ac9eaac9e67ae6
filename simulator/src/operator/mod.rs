//! Operators and the factory: clients of the admin API, over their own link. There is no other access to a server.

mod clock;
mod heartbeats;
mod limits;
mod observed;
pub mod pages;
pub mod revocations;
pub mod rollout_monitor;
pub mod rollout_order;

use std::{net::SocketAddr, rc::Rc, time::Duration};

use bytes::Bytes;
use hyper::{Method, Request, header};
use ks_protocol::{
    document,
    id::{DeviceId, KeyId, RolloutId},
    message::{CommandOrder, Keyset, Trust},
    signature::{NO_SIG_DEV, Reply, SIG_SERV, open_response},
    time::UnixMs,
};
use ks_server::{admin::page::Page, rollout::policy::Policy};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    link::{HttpRequest, Link, LinkError, Network},
    operator::{pages::Cursors, rollout_order::RolloutOrder},
    run::ledger::{StoredCommand, StoredPunch},
};

pub use self::{
    limits::{ObservedLimit, ObservedLimits},
    observed::{ObservedDecision, ObservedGate, ObservedRollout, ObservedUpdate},
};

/// Timeouts for answers of the admin API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerTimeouts {
    /// For an order; importing an inventory takes long.
    pub order: Duration,
    /// For a query.
    pub question: Duration,
}

impl AnswerTimeouts {
    pub const DEFAULT: Self = Self { order: Duration::from_mins(2), question: Duration::from_secs(10) };

    /// The same timeout for every answer.
    pub fn all(timeout: Duration) -> Self {
        Self { order: timeout, question: timeout }
    }
}

const PAGE: usize = 10_000;
/// Devices or tokens per order at most: the API's limit.
const AT_ONCE: usize = 100_000;

/// What this program reads from the server's keys.
#[derive(Debug, Deserialize)]
struct KeysStatus {
    keys: Vec<ServerKey>,
}

#[derive(Debug, Deserialize)]
struct ServerKey {
    key_id: KeyId,
    status: String,
}

/// A release to make.
#[derive(Debug, Clone, Copy)]
pub struct NewRelease<'a> {
    pub release_id: &'a str,
    pub version: &'a str,
    pub release_counter: u64,
    /// The models it is made for.
    pub models: &'a [String],
}

/// Path of the admin API: the only one that the admin token is sent to.
const ADMIN_API: &str = "/api/";
/// Most characters of a server's message that are shown.
const SAID_CHARS_MAX: usize = 500;

/// The message in an error answer: the detail of a problem document, or else the raw text.
fn message_of(body: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = match problem.get("detail").and_then(Value::as_str) {
        Some(detail) => match problem.pointer("/errors/0") {
            Some(first) => format!("{detail}; first: {first}"),
            None => detail.to_owned(),
        },
        None if body.trim_ascii().is_empty() => return "the answer has no text".to_owned(),
        None => {
            let start = body.get(..4 * SAID_CHARS_MAX).unwrap_or(body);
            format!("it said `{}`", String::from_utf8_lossy(start).trim())
        }
    };
    text.chars().take(SAID_CHARS_MAX).collect()
}

/// The reason in the audit for everything that a scenario does.
const WHY: &str = "the scenario says so";

/// Why a call of the admin API failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    #[error("{method} {path}: no answer within {waited_s:.0} s ({code})", waited_s = .waited.as_secs_f64())]
    TimedOut {
        method: Method,
        path: String,
        /// The timeout that has passed.
        waited: Duration,
        /// The code of a time-out.
        code: &'static str,
    },
    /// No connection, or it closed.
    #[error("{method} {path}: no answer ({code})")]
    Unreachable { method: Method, path: String, code: &'static str },
    #[error("{method} {path}: {status}, {detail}")]
    Refused { method: Method, path: String, status: u16, detail: String },
    /// The answer is not in the expected format.
    #[error("{path}: {what}; is this a server of the same version?")]
    Unintelligible {
        path: String,
        /// What is wrong with it.
        what: String,
    },
}

/// An operator with the admin token.
pub struct Operator {
    link: Rc<dyn Link>,
    token: String,
    timeouts: AnswerTimeouts,
}

impl Operator {
    /// An operator on its own link, from `from`.
    pub fn new(network: &dyn Network, from: SocketAddr, token: &str) -> Self {
        Self { link: network.link(from), token: token.to_owned(), timeouts: AnswerTimeouts::DEFAULT }
    }

    /// The same operator, with these timeouts.
    #[must_use]
    pub fn waiting(self, timeouts: AnswerTimeouts) -> Self {
        Self { timeouts, ..self }
    }

    async fn call(&self, method: Method, path: &str, kind: &'static str, body: Bytes) -> Result<Bytes, OperatorError> {
        let unreachable = |code| OperatorError::Unreachable { method: method.clone(), path: path.to_owned(), code };
        let unintelligible = |what: String| OperatorError::Unintelligible { path: path.to_owned(), what };
        let mut request: HttpRequest = Request::new(body.into());
        *request.method_mut() = method.clone();
        *request.uri_mut() = path.parse().map_err(|_| unintelligible("not a path".to_owned()))?;
        if path.starts_with(ADMIN_API) {
            let bearer = format!("Bearer {}", self.token).parse();
            let bearer = bearer
                .map_err(|_| unintelligible("the admin token has characters that HTTP can't carry".to_owned()))?;
            request.headers_mut().insert(header::AUTHORIZATION, bearer);
        }
        request.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
        if method == Method::PUT {
            // Nobody else changes anything during a run.
            request.headers_mut().insert(header::IF_MATCH, header::HeaderValue::from_static("*"));
        }
        let waited = if method == Method::GET { self.timeouts.question } else { self.timeouts.order };
        let answer = tokio::time::timeout(waited, self.link.call(request)).await;
        let code = LinkError::TimedOut.code();
        let timed_out = |_| OperatorError::TimedOut { method: method.clone(), path: path.to_owned(), waited, code };
        let answer = answer.map_err(timed_out)?.map_err(|error| unreachable(error.code()))?;
        if answer.status == 200 {
            return Ok(answer.body);
        }
        let detail = message_of(&answer.body);
        Err(OperatorError::Refused { method, path: path.to_owned(), status: answer.status, detail })
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, OperatorError> {
        let answer = self.call(Method::POST, path, "application/json", body.to_string().into()).await?;
        serde_json::from_slice(&answer)
            .map_err(|error| OperatorError::Unintelligible { path: path.to_owned(), what: error.to_string() })
    }

    /// The server's keys, as the factory installs them in devices. The factory trusts this answer: a keyset
    /// signed by its own keys.
    pub async fn server_keys(&self, now: UnixMs) -> Result<Trust, OperatorError> {
        let path = "/keys";
        let bad = |what: String| OperatorError::Unintelligible { path: path.to_owned(), what };
        let body = self.call(Method::GET, path, "text/plain", Bytes::new()).await?;
        let signed = document::split(&body, SIG_SERV).map_err(|error| bad(error.to_string()))?;
        let named: Keyset = document::decode(signed.body).map_err(|error| bad(error.to_string()))?;
        let trusted = Trust::of(&named).map_err(|error| bad(error.to_string()))?;
        match open_response::<Keyset>(&trusted.keys, 200, NO_SIG_DEV, &body).map_err(|error| bad(error.to_string()))? {
            Reply::Refused(refusal) => Err(bad(refusal.message)),
            Reply::Answer(_) => {
                let opened = Keyset::open(signed.body, &trusted, now);
                opened.map(|(_, trust)| trust).map_err(|error| bad(error.to_string()))
            }
        }
    }

    /// Whitelists devices from a CSV inventory.
    pub async fn import(&self, csv: String) -> Result<(), OperatorError> {
        self.call(Method::POST, "/api/devices/import", "text/csv", csv.into()).await.map(|_| ())
    }

    /// Creates one-time tokens, each for any device.
    pub async fn make_otrts(&self, count: usize) -> Result<Vec<String>, OperatorError> {
        let path = "/api/otrts";
        let mut tokens = Vec::with_capacity(count);
        while tokens.len() < count {
            let order = json!({ "count": (count - tokens.len()).min(AT_ONCE), "ttl_s": 30 * 24 * 3_600 });
            let answer = self.post(path, &order).await?;
            let made = answer.get("tokens").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let before = tokens.len();
            tokens.extend(made.iter().filter_map(Value::as_str).map(str::to_owned));
            if tokens.len() == before {
                return Err(OperatorError::Unintelligible {
                    path: path.to_owned(),
                    what: "no token was created".to_owned(),
                });
            }
        }
        Ok(tokens)
    }

    /// Creates a one-time token that only this device may use, for so long.
    pub async fn make_otrt_of(&self, device_id: &DeviceId, ttl: Duration) -> Result<String, OperatorError> {
        let path = "/api/otrts";
        let order = json!({ "count": 1, "ttl_s": ttl.as_secs(), "device_id": device_id });
        let answer = self.post(path, &order).await?;
        let token = answer.pointer("/tokens/0").and_then(Value::as_str).map(str::to_owned);
        let none = || OperatorError::Unintelligible { path: path.to_owned(), what: "no token was created".to_owned() };
        token.ok_or_else(none)
    }

    /// Revokes those of these devices that are known and not revoked yet; returns how many are unknown.
    pub async fn revoke_known(&self, device_ids: &[DeviceId], reason: &str) -> Result<usize, OperatorError> {
        let path = "/api/devices/revoke";
        let answer = self.post(path, &json!({ "which": { "device_ids": device_ids }, "reason": reason })).await?;
        let count = |name: &str| answer.get(name).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
        let unknown = answer.get("unknown").and_then(Value::as_array).map(Vec::len);
        let sum = [count("revoked"), count("already_revoked"), unknown].into_iter().sum::<Option<usize>>();
        if let (Some(unknown), true) = (unknown, sum == Some(device_ids.len())) {
            return Ok(unknown);
        }
        let answer: String = answer.to_string().chars().take(300).collect();
        let what = format!("expected what was done with {} devices, the answer is {answer}", device_ids.len());
        Err(OperatorError::Unintelligible { path: path.to_owned(), what })
    }

    /// Revokes devices; each must be known, and not revoked before.
    pub async fn revoke(&self, device_ids: &[DeviceId]) -> Result<(), OperatorError> {
        let order = |part: &[DeviceId]| json!({ "which": { "device_ids": part }, "reason": WHY });
        self.for_each_part("/api/devices/revoke", device_ids, order, "revoked").await
    }

    /// Queues a command for devices; each must be known, and not revoked.
    pub async fn send_command(&self, device_ids: &[DeviceId], command: &CommandOrder) -> Result<(), OperatorError> {
        let order =
            |part: &[DeviceId]| json!({ "which": { "device_ids": part }, "command": command, "ttl_s": 24 * 3_600 });
        self.for_each_part("/api/commands", device_ids, order, "queued").await
    }

    /// Posts an order in batches of the API's limit; `done` names the field with the count of affected devices.
    async fn for_each_part(
        &self,
        path: &str,
        device_ids: &[DeviceId],
        order: impl Fn(&[DeviceId]) -> Value,
        done: &str,
    ) -> Result<(), OperatorError> {
        for part in device_ids.chunks(AT_ONCE) {
            let answer = self.post(path, &order(part)).await?;
            let count = answer.get(done).and_then(Value::as_u64);
            if count != u64::try_from(part.len()).ok() {
                let answer: String = answer.to_string().chars().take(300).collect();
                let what = format!("expected {} {done}, the answer is {answer}", part.len());
                return Err(OperatorError::Unintelligible { path: path.to_owned(), what });
            }
        }
        Ok(())
    }

    /// Takes a step of the rotation of the server's key: `announce`, `activate` or `retire`.
    pub async fn rotate_server_key(&self, step: &str, force: bool) -> Result<(), OperatorError> {
        let change = json!({ "reason": WHY, "force": force });
        self.post(&format!("/api/keys/{step}"), &change).await.map(|_| ())
    }

    /// Revokes the server key that signs, as if it had leaked; an announced key replaces it.
    pub async fn revoke_server_key(&self) -> Result<(), OperatorError> {
        let path = "/api/keys";
        let bad = |what: String| OperatorError::Unintelligible { path: path.to_owned(), what };
        let body = self.call(Method::GET, path, "text/plain", Bytes::new()).await?;
        let status: KeysStatus = serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?;
        let signing = status.keys.iter().find(|key| key.status == "SIGNING");
        let signing = signing.ok_or_else(|| bad("no key signs".to_owned()))?;
        let cut_off = json!({ "key_id": signing.key_id, "reason": "the scenario says that it leaked" });
        self.post("/api/keys/revoke", &cut_off).await.map(|_| ())
    }

    /// Uploads an image and makes it an ACTIVE release of these models, signed by the server.
    pub async fn release(&self, release: &NewRelease<'_>, image: Vec<u8>) -> Result<(), OperatorError> {
        let path = "/api/artifacts";
        let uploaded = self.call(Method::POST, path, "application/octet-stream", image.into()).await?;
        let bad = |what: String| OperatorError::Unintelligible { path: path.to_owned(), what };
        let uploaded: Value = serde_json::from_slice(&uploaded).map_err(|error| bad(error.to_string()))?;
        let sha256 = uploaded.get("sha256").cloned().ok_or_else(|| bad("no sha256".to_owned()))?;
        let NewRelease { release_id, version, release_counter, models } = release;
        let draft = json!({
            "release_id": release_id, "version": version, "release_counter": release_counter, "models": models,
            "sha256": sha256,
        });
        self.post("/api/releases", &draft).await?;
        let reason = json!({ "reason": WHY });
        for step in ["stage", "activate"] {
            self.post(&format!("/api/releases/{release_id}/{step}"), &reason).await?;
        }
        Ok(())
    }

    pub async fn revoke_release(&self, release_id: &str) -> Result<(), OperatorError> {
        self.post(&format!("/api/releases/{release_id}/revoke"), &json!({ "reason": WHY })).await.map(|_| ())
    }

    /// Rolls a release out to the whole fleet.
    pub async fn roll_out(
        &self,
        rollout_id: &RolloutId,
        release_id: &str,
        policy: &Policy,
    ) -> Result<(), OperatorError> {
        let wanted = json!({
            "rollout_id": rollout_id, "release_id": release_id, "which": { "all": true }, "policy": policy, "reason": WHY,
        });
        self.post("/api/rollouts", &wanted).await.map(|_| ())
    }

    /// Reads a rollout's current revision, then sends an order for it.
    pub async fn order_rollout(&self, rollout_id: &RolloutId, order: RolloutOrder) -> Result<(), OperatorError> {
        let path = format!("/api/rollouts/{rollout_id}");
        let body = self.call(Method::GET, &path, "text/plain", Bytes::new()).await?;
        let bad = |what: String| OperatorError::Unintelligible { path: path.clone(), what };
        let current: Value = serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?;
        let field = |name: &str| current.get(name).cloned().ok_or_else(|| bad(format!("no {name}")));
        let mut order_body = json!({ "reason": WHY, "stage": field("stage")?, "revision": field("revision")? });
        let (word, roll_back) = match order {
            RolloutOrder::Abort => ("abort", Some(false)),
            RolloutOrder::AbortAndRollBack => ("abort", Some(true)),
            other => (other.as_str(), None),
        };
        if let (Some(roll_back), Some(fields)) = (roll_back, order_body.as_object_mut()) {
            fields.insert("roll_back".to_owned(), roll_back.into());
        }
        self.post(&format!("{path}/{word}"), &order_body).await.map(|_| ())
    }

    /// Passes every rollout with its current state to `each`, oldest first.
    pub async fn rollouts(&self, each: impl FnMut(&ObservedRollout)) -> Result<(), OperatorError> {
        self.for_each_item("/api/rollouts", each).await
    }

    /// Passes every decision of a rollout to `each`, oldest first.
    pub async fn trace(
        &self,
        rollout_id: &RolloutId,
        each: impl FnMut(&ObservedDecision),
    ) -> Result<(), OperatorError> {
        self.for_each_item(&format!("/api/rollouts/{rollout_id}/trace"), each).await
    }

    /// Every device of a rollout with its update.
    pub async fn updates(&self, rollout_id: &RolloutId) -> Result<Vec<ObservedUpdate>, OperatorError> {
        let mut updates = Vec::new();
        let list = format!("/api/rollouts/{rollout_id}/updates");
        self.for_each_item(&list, |update: &ObservedUpdate| updates.push(update.clone())).await?;
        Ok(updates)
    }

    /// Closes the connection; the next call opens another.
    pub fn close(&self) {
        self.link.close();
    }

    /// Passes every command that the server has to `each`, oldest first.
    pub async fn commands(&self, each: impl FnMut(&StoredCommand)) -> Result<(), OperatorError> {
        self.for_each_item("/api/commands", each).await
    }

    /// Passes every punch that the server has to `each`, oldest first.
    pub async fn punches(&self, each: impl FnMut(&StoredPunch)) -> Result<(), OperatorError> {
        self.for_each_item("/api/attendance", each).await
    }

    /// The server's metrics, in the text format.
    ///
    /// # Errors
    /// It does not answer, or not with text.
    pub async fn metrics(&self) -> Result<String, OperatorError> {
        let path = "/metrics";
        let body = self.call(Method::GET, path, "text/plain", Bytes::new()).await?;
        String::from_utf8(body.into())
            .map_err(|error| OperatorError::Unintelligible { path: path.to_owned(), what: error.to_string() })
    }

    /// Reads a list page by page.
    async fn for_each_item<T: DeserializeOwned>(
        &self,
        list: &str,
        mut each: impl FnMut(&T),
    ) -> Result<(), OperatorError> {
        let (mut next, mut cursors) = (Some(format!("{list}?limit={PAGE}")), Cursors::default());
        while let Some(path) = next {
            let body = self.call(Method::GET, &path, "text/plain", Bytes::new()).await?;
            let page: Page<T> = serde_json::from_slice(&body)
                .map_err(|error| OperatorError::Unintelligible { path: path.clone(), what: error.to_string() })?;
            page.items.iter().for_each(&mut each);
            let cursor = cursors.after_page(page.items.len(), PAGE, page.next_cursor);
            let cursor = cursor.map_err(|what| OperatorError::Unintelligible { path, what })?;
            next = cursor.map(|cursor| format!("{list}?limit={PAGE}&cursor={cursor}"));
        }
        Ok(())
    }
}
