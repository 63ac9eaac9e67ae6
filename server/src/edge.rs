//! The outer edge: environment, wall clock, the operating system's randomness, threads, signals. Nothing here decides anything.

use std::{
    collections::BTreeMap,
    io::{Read, Write as _},
    sync::Arc,
    thread::JoinHandle,
};

use ks_protocol::{
    key::PrivateKey,
    text::{hex, printable_lines},
};
use object_store::{ObjectStore, local::LocalFileSystem};
use tokio::{
    net::TcpSocket,
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
};
use tracing_subscriber::{Layer, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    app::{App, Ingredients},
    artifacts::Artifacts,
    clock::{Clock, SystemClock},
    config::{
        ArtifactPlace, Bucket, Config, Contradiction, FirmwareKeySource, ServerKeySource, begins_anew, connections_max,
        contradictions, refuse_emptied, refuse_missing,
    },
    error_report::{self, Reporting},
    failure::{DatabaseFault, StartError},
    http::listen,
    keys::{Keyring, KeyringError, KeysetState, Vault, vault},
    metrics::Metrics,
    password,
    rng::ServerRng,
    router::router,
    service::background,
    store::{
        By, Damage, SqliteReader, SqliteStore, StoreError, torn_log,
        writer::{self, Reader, Writer},
    },
    supervisor::Supervisor,
};

/// Bytes of /etc/passwd that are read at most.
const PASSWD_BYTES_MAX: u64 = 1024 * 1024;
/// Characters of a user's name that are kept.
const USER_CHARS_MAX: usize = 64;
/// Connections that wait to be accepted at most; the kernel may hold fewer.
const BACKLOG: u32 = 65_535;

/// A setting's value from the environment; with a replacement character where it is not UTF-8, which no setting takes.
pub fn environment(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// The names of all environment variables that have a value: an empty one is as if it were unset. Names that are not UTF-8 are
/// nobody's settings.
pub fn environment_names() -> Vec<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    let set = std::env::vars_os().filter(|(_, value)| !value.to_string_lossy().trim().is_empty());
    set.filter_map(|(name, _)| name.into_string().ok()).collect()
}

/// Who runs this process, by its user id and not by what the environment says: `anna`, or `uid:1000` where /etc/passwd has no
/// name for it. Behind `sudo` that is whom it acts as; who asked for it is only a remark, since anybody can write SUDO_UID:
/// `ks (SUDO_UID=1000 anna)`.
pub fn process_user() -> String {
    let passwd = users();
    let named = |uid: u32| passwd.get(&uid).cloned();
    let uid = rustix::process::getuid().as_raw();
    let user = named(uid).unwrap_or_else(|| format!("uid:{uid}"));
    match environment("SUDO_UID").and_then(|text| text.parse().ok()) {
        Some(sudo) => {
            format!("{user} (SUDO_UID={sudo}{})", named(sudo).map_or(String::new(), |name| format!(" {name}")))
        }
        None => user,
    }
}

/// The names of this machine's users by their ids; the first where an id has several.
fn users() -> BTreeMap<u32, String> {
    let mut text = String::new();
    let read = std::fs::File::open("/etc/passwd").map(|file| file.take(PASSWD_BYTES_MAX).read_to_string(&mut text));
    let Ok(Ok(_)) = read else { return BTreeMap::new() }; // then ids have no names
    named_ids(&text)
}

/// The names in a file such as /etc/passwd.
fn named_ids(passwd: &str) -> BTreeMap<u32, String> {
    let mut users = BTreeMap::new();
    for line in passwd.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(_), Some(Ok(uid))) = (fields.next(), fields.next(), fields.next().map(str::parse)) {
            users.entry(uid).or_insert_with(|| name.chars().take(USER_CHARS_MAX).collect());
        }
    }
    users
}

/// 32 bytes of the operating system's randomness.
pub fn os_randomness() -> Result<[u8; 32], StartError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| StartError::System {
        what: "read the operating system's randomness",
        cause: std::io::Error::other(error),
    })?;
    Ok(seed)
}

/// Whether a signing key may be made where none is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayMake {
    /// A development key, for a server that nobody knows yet.
    Yes,
    /// The database has devices, which would not believe a new key.
    NotForAFleet,
    /// The key is only looked at.
    No,
}

/// The signing key that the settings name. A development key is made, with mode 0600, when it is missing and may be.
pub fn signing_key(config: &Config, may_make: MayMake) -> Result<PrivateKey, StartError> {
    let path = match &config.server_key {
        ServerKeySource::Given(key) => return Ok(key.clone()),
        ServerKeySource::File(path) => {
            return vault::read_key(path).map_err(|error| error.of("SERVER_PRIVATE_KEY_FILE"));
        }
        ServerKeySource::Development(path) => {
            match may_make {
                _ if path.exists() => {}
                MayMake::Yes => {
                    vault::write_key(path, &PrivateKey::from_seed(&os_randomness()?))?;
                    tracing::warn!(path = %path.display(), "a DEVELOPMENT key was made: never use it in production");
                }
                MayMake::NotForAFleet => return Err(StartError::KeyMissing { database: config.database.clone() }),
                MayMake::No => {
                    return Err(StartError::BadKey {
                        place: path.display().to_string(),
                        why: "it does not exist, and neither SERVER_PRIVATE_KEY nor SERVER_PRIVATE_KEY_FILE is set"
                            .to_owned(),
                    });
                }
            }
            tracing::warn!(
                path = %path.display(),
                "SERVER_PRIVATE_KEY is not set: answers are signed with a DEVELOPMENT key; in production set SERVER_PRIVATE_KEY (`ks-server keys generate` makes one)"
            );
            path
        }
    };
    vault::read_key(path)
}

/// The key that signs releases in place of the server's, if the settings name one.
pub fn firmware_key(config: &Config) -> Result<Option<PrivateKey>, StartError> {
    match &config.firmware_key {
        None => Ok(None),
        Some(FirmwareKeySource::Given(key)) => Ok(Some(key.clone())),
        Some(FirmwareKeySource::File(path)) => {
            vault::read_key(path).map(Some).map_err(|error| error.of("FIRMWARE_PRIVATE_KEY_FILE"))
        }
    }
}

/// Where firmware images are kept; a folder is made when it is missing.
pub fn artifacts(config: &Config) -> Result<Artifacts, StartError> {
    let store: Arc<dyn ObjectStore> = match &config.artifacts {
        ArtifactPlace::Folder(path) => {
            let unusable = |cause| StartError::File { what: "create", path: path.clone(), cause };
            std::fs::create_dir_all(path).map_err(unusable)?;
            let folder = LocalFileSystem::new_with_prefix(path);
            let folder = folder.map_err(|error| unusable(std::io::Error::other(error)))?;
            Arc::new(folder.with_automatic_cleanup(true))
        }
        ArtifactPlace::S3(bucket) => s3(bucket)?,
    };
    Ok(Artifacts::new(store, config.artifact_limits))
}

/// A bucket. Nothing is asked of it yet: a store that is down must not keep devices from beating.
#[cfg(feature = "s3")]
fn s3(bucket: &Bucket) -> Result<Arc<dyn ObjectStore>, StartError> {
    use object_store::aws::AmazonS3Builder;
    // Whoever was first has chosen the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = AmazonS3Builder::new().with_bucket_name(&bucket.name).with_region(&bucket.region);
    if let Some(endpoint) = &bucket.endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    builder = match &bucket.access_key {
        Some((id, secret)) => builder.with_access_key_id(id).with_secret_access_key(secret.reveal()),
        None => builder.with_skip_signature(true),
    };
    let built = builder.build().map_err(|error| {
        StartError::Refused(
            format!("the bucket {}: {error}", bucket.name),
            "set S3_ENDPOINT and S3_REGION to where it is",
        )
    })?;
    Ok(Arc::new(built))
}

#[cfg(not(feature = "s3"))]
fn s3(bucket: &Bucket) -> Result<Arc<dyn ObjectStore>, StartError> {
    Err(StartError::Refused(
        format!("this program was built without S3, and ARTIFACTS_S3_BUCKET is {}", bucket.name),
        "use `ks-server` as it is built by default, or set ARTIFACTS_DIR",
    ))
}

/// A store whose loops run.
struct RunningStore {
    writer: Writer,
    /// For questions with short answers.
    reader: Reader,
    /// For those of people, which may be long.
    admin_reader: Reader,
    threads: StoreThreads,
}

/// A store's loops on threads of their own; [`StoreThreads::join`] waits until the last write is durable.
struct StoreThreads {
    threads: Vec<JoinHandle<()>>,
    /// Completes when one of them has ended.
    ended: mpsc::Receiver<()>,
}

impl StoreThreads {
    /// Waits for the loops; they end when every [`Writer`] and [`Reader`] is gone.
    fn join(self) {
        for thread in self.threads {
            let _ = thread.join(); // a panic there has been reported by its own message
        }
    }
}

/// Opens the store and starts its loops.
fn start_store(config: &Config, metrics: &Arc<Metrics>) -> Result<RunningStore, StartError> {
    refuse_emptied(config)?;
    if let Some(begins_anew) = begins_anew(config) {
        tracing::warn!("{begins_anew}");
    }
    if let Some(torn) = torn_log(&config.database) {
        tracing::warn!("{torn}");
    }
    let store = SqliteStore::open(&config.database, config.sqlite, SystemClock.now())?;
    let damage = Damage::default();
    let (writer, writes) = writer::writer(config.store_queue_max, &damage);
    let (group_max, metrics) = (config.commit_group_max, Arc::clone(metrics));
    let (alive, ended) = mpsc::channel(1);
    let end = EndsWith(alive.clone());
    let mut threads = vec![thread("store-writer", move || {
        let _end = end;
        block_on(writer::drive_writes(store, writes, group_max, metrics));
    })?];
    let open = || SqliteReader::open(&config.database, config.sqlite.locking);
    let mut start_reader = |name, reading: SqliteReader| {
        let (reader, questions) = writer::reader(1_024, &damage);
        let end = EndsWith(alive.clone());
        threads.push(thread(name, move || {
            let _end = end;
            block_on(writer::drive_reads(reading, questions));
        })?);
        Ok::<_, StartError>(reader)
    };
    let (reader, admin_reader) =
        (start_reader("store-reader", open()?)?, start_reader("admin-reader", open()?.for_people())?);
    Ok(RunningStore { writer, reader, admin_reader, threads: StoreThreads { threads, ended } })
}

/// Says so when it is dropped, as it is when its thread ends, in peace or by a panic.
struct EndsWith(mpsc::Sender<()>);

impl Drop for EndsWith {
    fn drop(&mut self) {
        let _ = self.0.try_send(()); // one word is enough
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    started.map_err(|cause| StartError::System { what: "start a thread", cause })
}

/// Drives a future that waits for queues only.
fn block_on(future: impl Future<Output = ()>) {
    match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime.block_on(future),
        Err(error) => tracing::error!(%error, "a store loop could not start"),
    }
}

/// Runs the server until SIGTERM, SIGINT, or (if `with_stdin`) until standard input ends.
pub fn serve(config: &Config, with_stdin: bool) -> Result<(), StartError> {
    raise_open_files_limit();
    for Contradiction { found, remedy } in contradictions(config, open_files_max()) {
        tracing::warn!(%remedy, "{found}");
    }
    let runtime = Runtime::new().map_err(|cause| StartError::System { what: "start the runtime", cause })?;
    let supervisor = Arc::new(Supervisor::of(environment));
    // From the first moment on: a large database takes its time to be looked over.
    let mut stop = runtime.block_on(async { Stop::listening(with_stdin) })?;
    let listener = runtime.block_on(async { bind(config) })?;
    let metrics = Arc::new(Metrics::default());
    let RunningStore { writer, reader, admin_reader, mut threads } = start_store(config, &metrics)?;
    let bad_database = |error| bad_database(config, &error);
    let has_fleet = runtime.block_on(has_devices(&reader));
    let may_make = if has_fleet.map_err(bad_database)? { MayMake::NotForAFleet } else { MayMake::Yes };
    let vault = Vault::in_folder(signing_key(config, may_make)?, &config.server_keys);
    let given = vault.given().public_key().key_id();
    let by = By { name: "ks-server".to_owned(), address: None, at: SystemClock.now() };
    let keyring = runtime.block_on(Keyring::start(vault, &writer, &reader, &by));
    let state = runtime.block_on(KeysetState::read(&reader)).map_err(|error| bad_keys(config, error))?;
    if let Some(past) = state.and_then(|state| state.past(&given)) {
        tracing::warn!("{past}; {PAST_KEY_REMEDY}");
    }
    let keyring = keyring.map_err(|error| bad_keys(config, error))?.with_firmware_key(firmware_key(config)?);
    let artifacts = artifacts(config)?;
    let rng = ServerRng::from_seed(os_randomness()?);
    let (passwords, queue) = password::passwords();
    let hashing = thread("passwords", move || block_on(password::drive(queue)))?;
    threads.threads.push(hashing);
    if config.admin_token.is_none() {
        tracing::info!("ADMIN_TOKEN is not set: only users and tokens of `ks-server admin` may call the admin API");
    }
    let served = runtime.block_on(async {
        let config = Config { connections_max: connections_max(config, open_files_max()), ..config.clone() };
        let clock = Arc::new(SystemClock);
        let ingredients =
            Ingredients { config, clock, rng, keyring, writer, reader, admin_reader, artifacts, passwords, metrics };
        let app = App::new(ingredients).await.map_err(bad_database)?;
        let address = listener.local_addr().map_err(|cause| StartError::System { what: "read the address", cause })?;
        let connections_max = app.config.connections_max;
        tracing::info!(%address, devices = app.registry.len(), connections_max, key_id = %app.keyring.key_id(), "serving");
        // So that the log, wherever it is kept, holds heads that no edit of the database can reach.
        if let Some((line, hash)) = app.reader.ask(|store| store.audit_head()).await.map_err(bad_database)? {
            tracing::info!(
                head = format!("{line}:{}", hex(&hash)),
                "the audit ends here; `ks-server audit verify --head` takes it"
            );
        }
        if let Err(error) = say(&format!("listening on http://{address}")) {
            tracing::warn!(%error, "serving all the same");
        }
        let background = tokio::spawn(background::run(app.clone()));
        let watchdog = tokio::spawn(feed_watchdog(Arc::clone(&supervisor), app.clone()));
        supervisor.ready();
        let mut result = Ok(());
        let stopped = async {
            tokio::select! {
                biased;
                () = stop.told() => {}
                _ = threads.ended.recv() => result = Err(StartError::StoreEnded),
            }
            supervisor.stopping();
        };
        listen::serve(listener, router(app.clone()), app.clone(), stopped).await;
        let found = app.reader.ask(|store| store.in_place()).await.map(drop);
        if let Err(error @ (StoreError::Misplaced(_) | StoreError::Damaged(_))) = app.writer.damage().and(found) {
            result = Err(StartError::StoreLost(error.to_string()));
        }
        drop(app);
        background.abort();
        watchdog.abort();
        result
    });
    drop(runtime); // ends every task, so that the store's queues close
    threads.join();
    if served.is_ok() {
        tracing::info!("stopped; everything that was answered is on disk");
    }
    served
}

/// Feeds the supervisor's watchdog for commits that succeeded. Where there was none of late, one is made: what an idle server
/// writes each minute anyway.
async fn feed_watchdog(supervisor: Arc<Supervisor>, app: App) {
    let Some(pause) = supervisor.pause() else { return };
    let mut fed_at = app.metrics.commits.get();
    loop {
        tokio::time::sleep(pause).await;
        if app.metrics.commits.get() == fed_at {
            match background::try_commit(&app).await {
                Ok(()) => {}
                // To start again would make an empty database in its place, or end at the damage. It pages already, and a person
                // must act.
                Err(StoreError::Misplaced(_) | StoreError::Damaged(_)) => supervisor.alive(),
                Err(error) => tracing::error!(%error, "no commit succeeds, so the supervisor's watchdog is not fed"),
            }
        }
        let commits = app.metrics.commits.get();
        if commits != fed_at {
            fed_at = commits;
            supervisor.alive();
        }
    }
}

/// Whether the database has devices, which would not believe a new signing key.
///
/// # Errors
/// The store can't be asked.
pub async fn has_devices(reader: &Reader) -> Result<bool, StoreError> {
    reader.ask(|store| Ok(!store.standings(0, 1)?.is_empty())).await
}

/// What to tell whoever runs a command that the store failed.
pub fn bad_database(config: &Config, error: &StoreError) -> StartError {
    StartError::BadDatabase { path: config.database.clone(), fault: error.into(), why: error.to_string() }
}

/// What to do about settings that name a key whose time is over.
pub const PAST_KEY_REMEDY: &str = "set SERVER_PRIVATE_KEY_FILE to the PEM file of the key that signs, in SERVER_KEYS_DIR; `ks-server keys status` names it";

/// What to tell whoever runs a command that the server's keys stand against.
pub fn bad_keys(config: &Config, error: KeyringError) -> StartError {
    let remedy = match &error {
        KeyringError::Vault(_) | KeyringError::Store(_) | KeyringError::Document(_) | KeyringError::Key(_) => "",
        KeyringError::NoFirmwareKey => "sign the manifest offline, with `ks-server firmware sign`",
        KeyringError::Refused(_) => "`ks-server keys status` shows the keys as they are",
        KeyringError::StopsRollouts(_) => {
            "let the rollouts end, or abort them, first; or give --force, and their devices reject the release"
        }
        KeyringError::Stranding { .. } => {
            "wait until more devices have fetched the keyset, or give --force and strand them"
        }
        KeyringError::Raced => "`ks-server keys status` shows the keys as they are now",
        KeyringError::NotHeld { .. } => {
            "bring the PEM file of that key there from where it was made, or set SERVER_KEYS_DIR to where it is"
        }
        KeyringError::Stranger { .. } => {
            "set SERVER_PRIVATE_KEY_FILE (or SERVER_PRIVATE_KEY) to a key of the fleet; a new one must be announced first: `ks-server keys announce`"
        }
    };
    match error {
        KeyringError::Vault(error) => error,
        KeyringError::Store(error) => bad_database(config, &error),
        KeyringError::Document(error) => StartError::BadDatabase {
            path: config.database.clone(),
            fault: DatabaseFault::Damaged,
            why: error.to_string(),
        },
        other => StartError::Refused(other.to_string(), remedy),
    }
}

/// Says on standard error what stands behind the last commit of the database's log, before a command writes over it or reads without it.
pub fn complain_of_torn_log(config: &Config) {
    if let Some(torn) = torn_log(&config.database) {
        complain(&format!("warning: {torn}"));
    }
}

/// Opens the store beside a server that may be running, and does something with it, on this thread.
pub fn with_store<T>(
    config: &Config,
    work: impl AsyncFnOnce(Writer, Reader) -> Result<T, StartError>,
) -> Result<T, StartError> {
    refuse_emptied(config).and_then(|()| refuse_missing(config))?;
    complain_of_torn_log(config);
    let store = SqliteStore::open_beside(&config.database, config.sqlite, SystemClock.now())?;
    let reading = SqliteReader::open(&config.database, config.sqlite.locking)?;
    let damage = Damage::default();
    let (writer, writes) = writer::writer(config.store_queue_max, &damage);
    let (reader, questions) = writer::reader(1_024, &damage);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|cause| StartError::System { what: "start the runtime", cause })?;
    runtime.block_on(async {
        let writing = writer::drive_writes(store, writes, config.commit_group_max, Arc::new(Metrics::default()));
        let reading = writer::drive_reads(reading, questions);
        // The loops end with the work, which takes the last writer and reader with it.
        tokio::join!(work(writer, reader), writing, reading).0
    })
}

/// Opens the store only to read it, beside a server that may be running or where a backup lies, and does something with it, on
/// this thread. Nothing is written; what the log lost is said on standard error, since what is read then may be short of it.
pub fn with_reader<T>(
    config: &Config,
    work: impl AsyncFnOnce(Reader) -> Result<T, StartError>,
) -> Result<T, StartError> {
    complain_of_torn_log(config);
    with_silent_reader(config, work)
}

/// The same for a command that says itself what the log lost.
pub fn with_silent_reader<T>(
    config: &Config,
    work: impl AsyncFnOnce(Reader) -> Result<T, StartError>,
) -> Result<T, StartError> {
    refuse_emptied(config).and_then(|()| refuse_missing(config))?;
    let (reading, alone) = SqliteReader::open_as_it_lies(&config.database, config.sqlite.locking)?;
    let (reader, questions) = writer::reader(1_024, &Damage::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|cause| StartError::System { what: "start the runtime", cause })?;
    let done = runtime.block_on(async { tokio::join!(work(reader), writer::drive_reads(reading, questions)).0 });
    alone.check()?;
    done
}

fn bind(config: &Config) -> Result<tokio::net::TcpListener, StartError> {
    let cannot = |cause| StartError::CannotListen { address: config.listen.to_string(), cause };
    let socket = if config.listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(cannot)?;
    socket.set_reuseaddr(true).map_err(cannot)?;
    socket.bind(config.listen).map_err(cannot)?;
    socket.listen(BACKLOG).map_err(cannot)
}

/// What tells the server to stop.
struct Stop {
    terminated: Signal,
    interrupted: Signal,
    parent_gone: Option<oneshot::Receiver<()>>,
}

impl Stop {
    /// Listens from now on. Must be called on the runtime.
    fn listening(with_stdin: bool) -> Result<Self, StartError> {
        let heard = |kind| signal(kind).map_err(|cause| StartError::System { what: "listen to signals", cause });
        let (terminated, interrupted) = (heard(SignalKind::terminate())?, heard(SignalKind::interrupt())?);
        let parent_gone = if with_stdin { Some(stdin_ended()?) } else { None };
        Ok(Self { terminated, interrupted, parent_gone })
    }

    /// Completes when the server is told to stop.
    async fn told(&mut self) {
        let Self { terminated, interrupted, parent_gone } = self;
        let parent_gone = async {
            match parent_gone {
                Some(gone) => drop(gone.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = terminated.recv() => tracing::info!("SIGTERM: finishing what was accepted"),
            _ = interrupted.recv() => tracing::info!("SIGINT: finishing what was accepted"),
            () = parent_gone => tracing::info!("standard input ended: finishing what was accepted"),
        }
    }
}

/// Completes when standard input ends. Watched by a plain thread: it may sit in read() for ever, and must not hold up the
/// runtime's end.
fn stdin_ended() -> Result<oneshot::Receiver<()>, StartError> {
    let (ended, heard) = oneshot::channel();
    thread("stdin", move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    })?;
    Ok(heard)
}

/// Raises the soft limit of open files to the hard one: each connection is a file.
pub fn raise_open_files_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Files that the process may have open at most, once the limit is raised; none for any number.
pub fn open_files_max() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum
}

/// Starts the log on standard error, and error reports where the settings name a place for them. Reports are sent as
/// long as what this gives is kept.
pub fn start_log(config: &Config) -> Result<Reporting, StartError> {
    let reporting = match &config.sentry {
        None => Reporting::default(),
        Some(dsn) => error_report::start(dsn).map_err(|expected| StartError::BadSetting {
            name: "SENTRY_DSN".to_owned(),
            given: "(not shown)".to_owned(),
            expected: expected.to_owned(),
            example: String::new(),
        })?,
    };
    let level: LevelFilter = config.log_level.parse().unwrap_or(LevelFilter::INFO);
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if config.log_json {
        lines.json().flatten_event(true).with_filter(level).boxed()
    } else {
        lines.with_ansi(is_terminal).with_target(false).with_filter(level).boxed()
    };
    let started = tracing_subscriber::registry().with(lines).with(error_report::layer()).try_init();
    if let Err(error) = started {
        complain(&format!("the log could not start: {error}"));
    }
    Ok(reporting)
}

/// Reads from standard input while what is typed there is not shown, if it is a terminal.
pub fn without_echo<T>(read: impl FnOnce() -> T) -> T {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin).ok(); // none if it is no terminal
    if let Some(before) = &before {
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        let _ = tcsetattr(&stdin, OptionalActions::Flush, &silent); // then it is shown
    }
    let read = read();
    if let Some(before) = &before {
        let _ = tcsetattr(&stdin, OptionalActions::Flush, before);
    }
    read
}

/// Lines on standard output: the one way in which commands print. Nothing in them that a terminal would obey gets there.
///
/// # Errors
/// [`StartError::Output`]: it is not written, or not all of it.
pub fn say(lines: &str) -> Result<(), StartError> {
    print(format!("{}\n", printable_lines(lines)).as_bytes())
}

/// A secret that is shown once, on standard output; as [`say`].
///
/// # Errors
/// [`StartError::Output`]: it is not written, or nobody can have seen it. A standard output that is closed is one of these: before
/// `main` it is put on the null device, where every write succeeds.
pub fn say_secret(line: &str) -> Result<(), StartError> {
    #[expect(clippy::disallowed_methods, reason = "looked at, not written to")]
    let out = std::io::stdout();
    if is_null_device(&out) {
        let cause = std::io::Error::other("it is closed, or the null device, and nobody would see the secret");
        return Err(StartError::Output { cause });
    }
    say(line)
}

/// Whether an open file is /dev/null, under whatever name.
fn is_null_device(file: &impl std::os::fd::AsFd) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let null = std::fs::metadata("/dev/null").map(|found| found.rdev());
    rustix::fs::fstat(file).is_ok_and(|found| {
        let is_device = rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::CharacterDevice;
        is_device && null.is_ok_and(|null| null == found.st_rdev)
    })
}

/// Bytes on standard output, as they are; where that is a terminal, as [`say`].
///
/// # Errors
/// [`StartError::Output`]: they are not written, or not all of them.
pub fn print(bytes: &[u8]) -> Result<(), StartError> {
    #[expect(clippy::disallowed_methods, reason = "the one place that writes to standard output")]
    let mut out = std::io::stdout();
    // The standard library takes what can't be written to such a file for written.
    if rustix::fs::fcntl_getfl(&out)
        .is_ok_and(|flags| flags & rustix::fs::OFlags::ACCMODE == rustix::fs::OFlags::RDONLY)
    {
        let cause = std::io::Error::from(rustix::io::Errno::BADF);
        return Err(StartError::Output { cause });
    }
    let shown = std::io::IsTerminal::is_terminal(&out).then(|| printable_lines(&String::from_utf8_lossy(bytes)));
    out.write_all(shown.as_ref().map_or(bytes, |shown| shown.as_bytes()))
        .and_then(|()| out.flush())
        .map_err(|cause| StartError::Output { cause })
}

/// Lines on standard error, as [`say`]; a closed pipe is no error.
pub fn complain(lines: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable_lines(lines));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_their_first_name() {
        let users =
            named_ids("root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\n\n# remark\nanna:x:1000:\nbad:x:-1:\n");
        assert_eq!(users, BTreeMap::from([(0, "root".to_owned()), (1000, "anna".to_owned())]));
    }
}
