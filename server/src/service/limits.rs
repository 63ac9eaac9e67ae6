//! Applying limits while servers run, returning to those before, and what is in force with what it has refused.

use std::{collections::BTreeMap, net::IpAddr, path::Path, time::Duration};

use ks_protocol::time::UnixMs;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    app::App,
    clock::ms,
    config::{Config, LimitsDocument, LimitsFault, device_above_all, read_small_bytes, utf8},
    limit::{Class, FiredCounts, Limit, LimitValues, Mode, Source, Spec, TABLE},
    role::{Access, Role},
    rules,
    store::{
        Actor, Reader, StoreError, Writer,
        limits::{LimitChange, LimitOrigin, LimitSet},
    },
};

/// Why limits were not applied; those in force stay.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    /// The file is wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<LimitsFault>),
    /// Somebody else applied limits first.
    #[error("the limits are at version {0} now: other limits were applied meanwhile")]
    Changed(u64),
    /// There are no earlier limits to return to.
    #[error(
        "no limits were applied: the limits of the settings are in force, and there are no earlier ones to return to"
    )]
    NothingApplied,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a change of the limits did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitsChanged {
    /// The version in force now.
    pub version: u64,
    /// What differs from the version before; empty if nothing does, and then there is no new version.
    pub difference: String,
}

/// The newest limits in the store.
struct Newest {
    version: u64,
    set: Option<LimitSet>,
    document: LimitsDocument,
}

async fn newest(reader: &Reader) -> Result<Newest, LimitsError> {
    let (version, set) = reader
        .ask(|store| {
            let version = store.newest()?.limits_version;
            Ok((version, store.limit_set(version)?))
        })
        .await?;
    let document = read(set.as_ref());
    Ok(Newest { version, set, document })
}

/// The limits of a set; none of them if this program can't read it.
fn read(set: Option<&LimitSet>) -> LimitsDocument {
    set.and_then(|set| LimitsDocument::read(&set.document).ok()).unwrap_or_default()
}

/// Tries of a change that is for whatever version is the newest. A try fails only if another change was applied meanwhile.
const TRIES_MAX: usize = 64;

/// Tries a change, and repeats one that is for whatever version is the newest as long as others come first.
async fn again_if_late<F: Future<Output = Result<LimitsChanged, LimitsError>>>(
    expected: Option<u64>,
    change: impl Fn() -> F,
) -> Result<LimitsChanged, LimitsError> {
    let mut tries = 1;
    loop {
        match change().await {
            Err(LimitsError::Changed(_)) if expected.is_none() && tries < TRIES_MAX => tries += 1,
            done => return done,
        }
    }
}

/// Applies limits that were checked; they replace what was applied before. `expected` is the version that the caller has seen; none
/// stands for whatever is the newest.
///
/// # Errors
/// Another version is the newest, or the store failed.
pub async fn apply(
    writer: &Writer,
    reader: &Reader,
    document: &LimitsDocument,
    (origin, expected): (LimitOrigin, Option<u64>),
    by: Actor,
) -> Result<LimitsChanged, LimitsError> {
    again_if_late(expected, || apply_once(writer, reader, document, (origin, expected), by.clone())).await
}

async fn apply_once(
    writer: &Writer,
    reader: &Reader,
    document: &LimitsDocument,
    (origin, expected): (LimitOrigin, Option<u64>),
    by: Actor,
) -> Result<LimitsChanged, LimitsError> {
    let newest = newest(reader).await?;
    if let Some(other) = expected.filter(|expected| *expected != newest.version) {
        tracing::debug!(other, "limits were applied meanwhile");
        return Err(LimitsError::Changed(newest.version));
    }
    let difference = newest.document.difference(document);
    let is_known = newest.set.as_ref().is_some_and(|set| origin == LimitOrigin::Order || set.origin == origin);
    if difference.is_empty() && (is_known || newest.set.is_none()) {
        return Ok(LimitsChanged { version: newest.version, difference });
    }
    let change = LimitChange {
        expected: newest.version,
        document: document.to_toml(),
        origin,
        brings_back: None,
        difference: difference.clone(),
    };
    write(writer, change, by).await.map(|version| LimitsChanged { version, difference })
}

/// Returns to what was in force before the newest limits were applied. Repeated, it goes back further, in the end to the settings
/// alone.
///
/// # Errors
/// Nothing was applied, another version is the newest, or the store failed.
pub async fn rollback(
    writer: &Writer,
    reader: &Reader,
    expected: Option<u64>,
    by: Actor,
) -> Result<LimitsChanged, LimitsError> {
    again_if_late(expected, || rollback_once(writer, reader, expected, by.clone())).await
}

async fn rollback_once(
    writer: &Writer,
    reader: &Reader,
    expected: Option<u64>,
    by: Actor,
) -> Result<LimitsChanged, LimitsError> {
    let Newest { version, set, document } = newest(reader).await?;
    if expected.is_some_and(|expected| expected != version) {
        return Err(LimitsError::Changed(version));
    }
    let before = set.and_then(|set| set.basis.checked_sub(1)).ok_or(LimitsError::NothingApplied)?;
    let found = reader.ask(move |store| store.limit_set(before)).await?;
    // A version that brought another one back stands for that one.
    let (before, back) = (found.as_ref().map_or(0, |set| set.basis), read(found.as_ref()));
    let difference = document.difference(&back);
    let change = LimitChange {
        expected: version,
        document: back.to_toml(),
        origin: LimitOrigin::Order,
        brings_back: Some(before),
        difference: difference.clone(),
    };
    write(writer, change, by).await.map(|version| LimitsChanged { version, difference })
}

async fn write(writer: &Writer, change: LimitChange, by: Actor) -> Result<u64, LimitsError> {
    let applied = writer.write(move |store| rules::limits::apply(store, &change, &by)).await?;
    applied.map_err(LimitsError::Changed)
}

/// Reads a limits file.
///
/// # Errors
/// It can't be read, or is wrong.
pub fn check_file(
    path: &Path,
    settings: &LimitValues,
    heartbeat_interval: Duration,
) -> Result<LimitsDocument, LimitsError> {
    let fault = |line, what, help: &str| {
        LimitsError::Faults(vec![LimitsFault { line, field: String::new(), what, help: help.to_owned() }])
    };
    let bytes = read_small_bytes(path)
        .map_err(|error| fault(1, format!("cannot read {}: {error}", path.display()), "give a TOML file"))?;
    let text = utf8(bytes).map_err(|line| fault(line, "it is not UTF-8".to_owned(), "save the file as UTF-8"))?;
    LimitsDocument::check(&text, settings, heartbeat_interval).map_err(LimitsError::Faults)
}

/// At the start: applies the file that RATE_LIMITS_FILE names, unless an operator has applied other limits since; then these stay, so
/// that the restart of one server changes nothing for all.
pub async fn adopt_file(app: &App) -> Result<(), LimitsError> {
    let Some((path, document)) = &app.config.limits_file else { return Ok(()) };
    let now = newest(&app.reader).await?;
    let is_of_operator = now.set.as_ref().is_some_and(|set| set.origin == LimitOrigin::Order);
    if is_of_operator {
        let difference = now.document.difference(document);
        if !difference.is_empty() {
            tracing::warn!(
                file = %path.display(),
                version = now.version,
                difference,
                "the limits file is not in force, because an operator has applied other limits; SIGHUP applies the file"
            );
        }
        return Ok(());
    }
    apply_file(app, document).await.map(|_| ())
}

/// Logs what is wrong with the applied limits for this server's settings, which may have changed since they were applied.
pub fn warn_of_contradictions(app: &App) {
    let applied = app.applied_limits.now();
    let Some(set) = applied.set.as_ref().filter(|set| !set.document.is_empty()) else { return };
    let checked = LimitsDocument::check(&set.document, app.applied_limits.settings(), app.config.heartbeat_interval);
    for fault in checked.err().unwrap_or_default() {
        tracing::warn!(version = set.version, %fault, "the applied limits contradict this server's settings: apply others");
    }
}

/// On SIGHUP: reads the file that RATE_LIMITS_FILE names again, and applies it. A file that is wrong is logged and changes nothing.
pub async fn reload(app: &App) {
    let Some((path, _)) = &app.config.limits_file else { return };
    let checked = check_file(path, app.applied_limits.settings(), app.config.heartbeat_interval);
    let applied = match checked {
        Ok(document) => apply_file(app, &document).await,
        Err(error) => Err(error),
    };
    match applied {
        Ok(LimitsChanged { version, difference }) if difference.is_empty() => {
            tracing::info!(version, "the limits file was read again; its limits are in force already");
        }
        Ok(LimitsChanged { version, difference }) => tracing::info!(version, difference, "the limits file was applied"),
        Err(error) => {
            tracing::error!(file = %path.display(), %error, "the limits file was not applied; the old limits stay in force");
        }
    }
}

async fn apply_file(app: &App, document: &LimitsDocument) -> Result<LimitsChanged, LimitsError> {
    let by = Actor { name: "ks-server".to_owned(), address: None, at: app.clock.now() };
    let done = apply(&app.writer, &app.reader, document, (LimitOrigin::File, None), by).await;
    app.applied_limits.follow(&app.reader).await?;
    match done {
        // Another server with the same file was first.
        Err(LimitsError::Changed(version)) if app.applied_limits.now().document == *document => {
            Ok(LimitsChanged { version, difference: String::new() })
        }
        done => done,
    }
}

/// How often a limit has fired on this server, since it started.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FiredStatus {
    total: u64,
    /// In the last 60 s.
    last_minute: u64,
    /// In the last 60 minutes.
    last_hour: u64,
    /// In the last 96 quarters of an hour.
    last_day: u64,
    /// When it fired last; null if it never has.
    last_at: Option<UnixMs>,
}

/// A limit as it is configured.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ConfiguredLimit {
    pub(crate) name: &'static str,
    /// Sustained rate by minute; null if the limit is by day.
    pub(crate) per_min: Option<u32>,
    /// By day, in one burst or spread; null if the limit is by minute.
    pub(crate) per_day: Option<u32>,
    /// At a time; null if the limit is by day.
    pub(crate) burst: Option<u32>,
    pub(crate) mode: Mode,
    pub(crate) source: Source,
}

impl ConfiguredLimit {
    fn of(spec: &Spec, values: &LimitValues) -> Self {
        let value = values.get(spec.limit);
        let is_by_day = spec.burst.is_none();
        Self {
            name: spec.name,
            per_min: (!is_by_day).then_some(value.rate),
            per_day: is_by_day.then_some(value.rate),
            burst: (!is_by_day).then_some(value.burst),
            mode: value.mode,
            source: value.source,
        }
    }
}

/// A limit in force, and what it has decided on this server.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LimitStatus {
    #[serde(flatten)]
    configured: ConfiguredLimit,
    /// What each budget belongs to.
    subject: &'static str,
    /// What is counted.
    unit: &'static str,
    /// What the limit protects.
    reason: &'static str,
    /// Decisions.
    checked: u64,
    refused: FiredStatus,
    /// Let through by a limit in shadow, which would have refused them.
    would_refuse: FiredStatus,
    /// The callers that it refused most, or would have refused in shadow; null if the caller's role may not know.
    most_refused: Option<MostRefused>,
}

/// The callers that a limit has refused most, the most refused first; 16 of each at most. Counts are since the server started.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MostRefused {
    /// Addresses, /64 networks of IPv6 addresses, or networks of sites, as the limit counts them.
    addresses: Vec<RefusedOne>,
    /// Devices that the server knows, by name. Where it refuses before a signature is checked, others may have sent in their name.
    devices: Vec<RefusedOne>,
}

/// How often one was refused.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RefusedOne {
    who: String,
    /// At least.
    at_least: u64,
    /// At most: of a caller that is not remembered from the start, refusals of others may be counted too.
    at_most: u64,
    last_at: UnixMs,
}

/// The limits in force. Counts are of this server, since it started.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LimitsStatus {
    /// Version of the limits that were applied last; 0 if none were.
    pub(crate) version: u64,
    /// Since when these limits are in force.
    since: UnixMs,
    /// Who applied them; null if nobody did.
    applied_by: Option<String>,
    /// The limits file that was applied last, in TOML; null if none was.
    document: Option<String>,
    /// Since when this server counts.
    counting_since: UnixMs,
    pub(crate) limits: Vec<LimitStatus>,
    /// The limits that are not off and have never fired on this server.
    never_fired: Vec<&'static str>,
    /// What is accepted and probably not meant: limits under which a single device can use up what all share.
    warnings: Vec<String>,
    /// The limit on writes in progress.
    overload: OverloadStatus,
    /// Settings beside the table of limits that decide what is refused too, or that make what a limit counts smaller or larger.
    settings: BTreeMap<&'static str, u64>,
    /// Bytes that the limits take now.
    memory_bytes: usize,
}

/// The limit on writes in progress, and what it has refused, since this server started.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OverloadStatus {
    /// How long writes may wait beyond two commits; 0: only a full queue refuses.
    target_ms: u64,
    /// The least that a write waited lately beyond two commits.
    delay_ms: u64,
    /// Heartbeats, and devices that have not registered, are refused while as many writes are in progress; log lines at half of it,
    /// everything at four times as many.
    limit: usize,
    in_progress: usize,
    in_progress_max: usize,
    /// Requests refused, by class.
    refused: BTreeMap<&'static str, u64>,
}

impl OverloadStatus {
    fn of(app: &App) -> Self {
        let overload = &app.overload;
        Self {
            target_ms: overload.target_us() / 1_000,
            delay_ms: overload.delay_us() / 1_000,
            limit: overload.limit(),
            in_progress: overload.in_progress(),
            in_progress_max: overload.most_ever(),
            refused: Class::ALL.map(|class| (class.as_str(), app.metrics.shed_of(class))).into_iter().collect(),
        }
    }
}

impl LimitsStatus {
    /// What is in force on this server now, for a caller with this role.
    pub fn of(app: &App, role: Option<Role>) -> Self {
        let (applied, now, now_us) = (app.applied_limits.now(), app.clock.now(), app.elapsed_us());
        let limits: Vec<LimitStatus> = TABLE
            .iter()
            .map(|spec| {
                let decided = app.limits.counters().decided(spec.limit, now_us);
                LimitStatus {
                    configured: ConfiguredLimit::of(spec, &applied.values),
                    subject: spec.subject,
                    unit: spec.unit,
                    reason: spec.reason,
                    checked: decided.checked,
                    refused: fired(decided.refused, now),
                    would_refuse: fired(decided.would_refuse, now),
                    most_refused: may_know(spec.limit)
                        .allows(role)
                        .then(|| most_refused(app, spec.limit, (now, now_us))),
                }
            })
            .collect();
        let has_never_fired = |limit: &&LimitStatus| {
            limit.configured.mode != Mode::Off && limit.refused.total == 0 && limit.would_refuse.total == 0
        };
        Self {
            version: applied.version,
            since: applied.since,
            applied_by: applied.set.as_ref().map(|set| set.actor.clone()),
            document: applied.set.as_ref().map(|set| set.document.clone()),
            counting_since: before(now, now_us),
            never_fired: limits.iter().filter(has_never_fired).map(|limit| limit.configured.name).collect(),
            warnings: device_above_all(&applied.values).iter().map(ToString::to_string).collect(),
            limits,
            overload: OverloadStatus::of(app),
            settings: settings(&app.config),
            memory_bytes: app.limit_memory_bytes(),
        }
    }
}

/// The settings beside the table that limits depend on, by name.
fn settings(config: &Config) -> BTreeMap<&'static str, u64> {
    let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    BTreeMap::from([
        ("RATE_LIMIT_SITE_PREFIX_IPV4", config.site_prefixes.ipv4.into()),
        ("RATE_LIMIT_SITE_PREFIX_IPV6", config.site_prefixes.ipv6.into()),
        ("OVERLOAD_TARGET_MS", ms(config.overload_target)),
        ("STORE_QUEUE_MAX", number(config.store_queue_max)),
        ("COMMIT_GROUP_MAX", number(config.commit_group_max)),
        ("ARTIFACT_DOWNLOADS_MAX", number(config.artifact_limits.downloads_max)),
        ("ARTIFACT_BYTES_PER_S_MAX", config.artifact_limits.bytes_per_s_max),
    ])
}

fn fired(until: FiredCounts, now: UnixMs) -> FiredStatus {
    let FiredCounts { total, last_minute, last_hour, last_day, since_us } = until;
    FiredStatus { total, last_minute, last_hour, last_day, last_at: since_us.map(|since_us| before(now, since_us)) }
}

/// Who may know which callers a limit refuses: addresses of users and scripts are for those who may read the audit.
fn may_know(limit: Limit) -> Access {
    match limit {
        Limit::TokenCalls
        | Limit::AddressWrongTokens
        | Limit::AddressLogins
        | Limit::UserLogins
        | Limit::LoginAttempts => Access::ADMIN,
        _ => Access::OPERATE,
    }
}

fn most_refused(app: &App, limit: Limit, (now, now_us): (UnixMs, u64)) -> MostRefused {
    let (addresses, devices) = app.limits.counters().most_refused(limit);
    let one = |who: String, count: u64, excess: u64, last_us: u64| RefusedOne {
        who,
        at_least: count - excess,
        at_most: count,
        last_at: before(now, now_us.saturating_sub(last_us)),
    };
    let network = |address: IpAddr| {
        let prefixes = app.config.site_prefixes;
        match (limit, address) {
            (Limit::SiteFailures, IpAddr::V4(_)) => format!("{address}/{}", prefixes.ipv4),
            (Limit::SiteFailures, IpAddr::V6(_)) => format!("{address}/{}", prefixes.ipv6),
            (_, IpAddr::V4(_)) => address.to_string(),
            (_, IpAddr::V6(_)) => format!("{address}/64"),
        }
    };
    MostRefused {
        addresses: addresses.into_iter().map(|of| one(network(of.who), of.count, of.excess, of.last_us)).collect(),
        devices: devices.into_iter().map(|of| one(of.who.into(), of.count, of.excess, of.last_us)).collect(),
    }
}

fn before(now: UnixMs, us: u64) -> UnixMs {
    UnixMs(now.0.saturating_sub(us / 1_000))
}

/// The version in the store, and its limits over these settings.
///
/// # Errors
/// The store can't be read.
pub async fn configured(reader: &Reader, settings: &LimitValues) -> Result<(u64, LimitValues), LimitsError> {
    let Newest { version, document, .. } = newest(reader).await?;
    Ok((version, document.over(settings)))
}

/// Each limit with its values.
pub fn each(values: &LimitValues) -> Vec<ConfiguredLimit> {
    TABLE.iter().map(|spec| ConfiguredLimit::of(spec, values)).collect()
}
