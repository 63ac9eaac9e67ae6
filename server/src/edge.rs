//! The outer edge: environment, wall clock, the operating system's randomness, threads, signals. Nothing here decides anything.

use std::{
    io::{Read, Write as _},
    sync::Arc,
    thread::JoinHandle,
};

use ks_protocol::{key::PrivateKey, text::hex};
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
    config::{ArtifactPlace, Bucket, Config, FirmwareKeySource, ServerKeySource, StartError},
    error_report::{self, Reporting},
    keyring::{Keyring, KeyringError},
    listen,
    metrics::Metrics,
    password,
    rng::ServerRng,
    router::router,
    store::{
        By, SqliteReader, SqliteStore, StoreError,
        writer::{self, Reader, Writer},
    },
    vault::{self, Vault},
};

/// Connections that wait to be accepted at most; the kernel may hold fewer.
const BACKLOG: u32 = 65_535;

/// A setting's value from the environment; with a replacement character where it is not UTF-8, which no setting takes.
pub fn environment(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
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
        ServerKeySource::File(path) => path,
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
        Some(FirmwareKeySource::File(path)) => vault::read_key(path).map(Some),
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

/// A store's two loops on threads of their own; [`StoreThreads::join`] waits until the last write is durable.
pub struct StoreThreads {
    threads: Vec<JoinHandle<()>>,
    /// Completes when one of them has ended.
    ended: mpsc::Receiver<()>,
}

impl StoreThreads {
    /// Waits for both loops; they end when every [`Writer`] and [`Reader`] is gone.
    pub fn join(self) {
        for thread in self.threads {
            let _ = thread.join(); // a panic there has been reported by its own message
        }
    }
}

/// Opens the store and starts its loops.
pub fn start_store(config: &Config, metrics: &Arc<Metrics>) -> Result<(Writer, Reader, StoreThreads), StartError> {
    let store = SqliteStore::open(&config.database, config.sqlite, SystemClock.now())?;
    let reading = SqliteReader::open(&config.database, config.sqlite.locking)?;
    let (writer, writes) = writer::writer(config.store_queue_max);
    let (reader, questions) = writer::reader(1_024);
    let (group_max, metrics) = (config.commit_group_max, Arc::clone(metrics));
    let (alive, ended) = mpsc::channel(1);
    let (writes_end, reads_end) = (EndsWith(alive.clone()), EndsWith(alive));
    let writes = thread("store-writer", move || {
        let _end = writes_end;
        block_on(writer::drive_writes(store, writes, group_max, metrics));
    })?;
    let reads = thread("store-reader", move || {
        let _end = reads_end;
        block_on(writer::drive_reads(reading, questions));
    })?;
    Ok((writer, reader, StoreThreads { threads: vec![writes, reads], ended }))
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
    let runtime = Runtime::new().map_err(|cause| StartError::System { what: "start the runtime", cause })?;
    // From the first moment on: a large database takes its time to be looked over.
    let mut stop = runtime.block_on(async { Stop::listening(with_stdin) })?;
    let listener = runtime.block_on(async { bind(config) })?;
    let metrics = Arc::new(Metrics::default());
    let (writer, reader, mut threads) = start_store(config, &metrics)?;
    let bad_database = |error| bad_database(config, &error);
    let has_devices = runtime.block_on(reader.ask(|store| Ok(!store.standings(0, 1)?.is_empty())));
    let may_make = if has_devices.map_err(bad_database)? { MayMake::NotForAFleet } else { MayMake::Yes };
    let vault = Vault::in_folder(signing_key(config, may_make)?, &config.server_keys);
    let by = By { name: "ks-server".to_owned(), address: None, at: SystemClock.now() };
    let keyring = runtime.block_on(Keyring::start(vault, &writer, &reader, &by));
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
        let config = config.clone();
        let clock = Arc::new(SystemClock);
        let ingredients = Ingredients { config, clock, rng, keyring, writer, reader, artifacts, passwords, metrics };
        let app = App::new(ingredients).await.map_err(bad_database)?;
        let address = listener.local_addr().map_err(|cause| StartError::System { what: "read the address", cause })?;
        tracing::info!(%address, devices = app.registry.len(), key_id = %app.keyring.key_id(), "serving");
        // So that the log, wherever it is kept, holds heads that no edit of the database can reach.
        if let Some((line, hash)) = app.reader.ask(|store| store.audit_head()).await.map_err(bad_database)? {
            tracing::info!(
                head = format!("{line}:{}", hex(&hash)),
                "the audit ends here; `ks-server audit verify --head` takes it"
            );
        }
        say(&format!("listening on http://{address}"));
        let background = tokio::spawn(app.clone().background());
        let mut result = Ok(());
        let stopped = async {
            tokio::select! {
                biased;
                () = stop.told() => {}
                _ = threads.ended.recv() => result = Err(StartError::StoreEnded),
            }
        };
        listen::serve(listener, router(app.clone()), app, stopped).await;
        background.abort();
        result
    });
    drop(runtime); // ends every task, so that the store's queues close
    threads.join();
    if served.is_ok() {
        tracing::info!("stopped; everything that was answered is on disk");
    }
    served
}

/// What to tell whoever runs a command that the store failed.
pub fn bad_database(config: &Config, error: &StoreError) -> StartError {
    StartError::BadDatabase { path: config.database.clone(), why: error.to_string() }
}

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
        KeyringError::Document(error) => {
            StartError::BadDatabase { path: config.database.clone(), why: error.to_string() }
        }
        other => StartError::Refused(other.to_string(), remedy),
    }
}

/// Opens the store beside a server that may be running, and does something with it, on this thread.
pub fn with_store<T>(
    config: &Config,
    work: impl AsyncFnOnce(Writer, Reader) -> Result<T, StartError>,
) -> Result<T, StartError> {
    let store = SqliteStore::open_beside(&config.database, config.sqlite, SystemClock.now())?;
    let reading = SqliteReader::open(&config.database, config.sqlite.locking)?;
    let (writer, writes) = writer::writer(config.store_queue_max);
    let (reader, questions) = writer::reader(1_024);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|cause| StartError::System { what: "start the runtime", cause })?;
    runtime.block_on(async {
        let writing = writer::drive_writes(store, writes, config.commit_group_max, Arc::new(Metrics::default()));
        let reading = writer::drive_reads(reading, questions);
        // The loops end with the work, which takes the last writer and reader with it.
        tokio::join!(work(writer, reader), writing, reading).0
    })
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

/// A line on standard output; a closed pipe is no error.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line on standard error; a closed pipe is no error.
pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
