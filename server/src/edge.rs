//! The outer edge: environment, wall clock, the operating system's randomness, threads, signals. Nothing here decides anything.

use std::{
    io::{Read, Write as _},
    path::Path,
    sync::Arc,
    thread::JoinHandle,
};

use ks_protocol::key::PrivateKey;
use tokio::{net::TcpSocket, runtime::Runtime, sync::oneshot};
use tracing_subscriber::{Layer, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    app::{App, Ingredients},
    clock::{Clock, SystemClock},
    config::{Config, ServerKeySource, StartError},
    error_report::{self, Reporting},
    keyring::Keyring,
    listen,
    metrics::Metrics,
    rng::ServerRng,
    router::router,
    store::{
        SqliteReader, SqliteStore,
        writer::{self, Reader, Writer},
    },
};

/// Connections that wait to be accepted at most; the kernel may hold fewer.
const BACKLOG: u32 = 65_535;

/// A setting's value from the environment.
pub fn environment(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    std::env::var(name).ok()
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

/// The signing key that the settings name. A development key is made, with mode 0600, when it is missing and
/// `may_make`.
pub fn signing_key(source: &ServerKeySource, may_make: bool) -> Result<PrivateKey, StartError> {
    let path = match source {
        ServerKeySource::Given(key) => return Ok(key.clone()),
        ServerKeySource::File(path) => path,
        ServerKeySource::Development(path) => {
            if !path.exists() && !may_make {
                return Err(StartError::BadKey {
                    place: path.display().to_string(),
                    why: "it does not exist, and neither SERVER_PRIVATE_KEY nor SERVER_PRIVATE_KEY_FILE is set"
                        .to_owned(),
                });
            }
            if !path.exists() {
                write_key(path, &PrivateKey::from_seed(&os_randomness()?))?;
                tracing::warn!(path = %path.display(), "a DEVELOPMENT key was made: never use it in production");
            }
            tracing::warn!(
                path = %path.display(),
                "SERVER_PRIVATE_KEY is not set: answers are signed with a DEVELOPMENT key; in production set SERVER_PRIVATE_KEY (`ks-server keys generate` makes one)"
            );
            path
        }
    };
    let file = |cause| StartError::File { what: "read", path: path.clone(), cause };
    let pem = std::fs::read_to_string(path).map_err(file)?;
    PrivateKey::from_pem(&pem)
        .map_err(|error| StartError::BadKey { place: path.display().to_string(), why: error.to_string() })
}

/// Writes a private key that only its owner may read; never over an existing file.
pub fn write_key(path: &Path, key: &PrivateKey) -> Result<(), StartError> {
    use std::os::unix::fs::OpenOptionsExt;
    let pem = key
        .to_pem()
        .map_err(|error| StartError::BadKey { place: path.display().to_string(), why: error.to_string() })?;
    let file = |cause| StartError::File { what: "write", path: path.to_owned(), cause };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(file)?;
    }
    let mut options = std::fs::OpenOptions::new();
    let mut opened = options.write(true).create_new(true).mode(0o600).open(path).map_err(file)?;
    opened.write_all(pem.as_bytes()).and_then(|()| opened.sync_all()).map_err(file)
}

/// A store's two loops on threads of their own; [`StoreThreads::join`] waits until the last write is durable.
pub struct StoreThreads {
    threads: Vec<JoinHandle<()>>,
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
    let store = SqliteStore::open(&config.database, config.synchronous, SystemClock.now())?;
    let reading = SqliteReader::open(&config.database)?;
    let (writer, writes) = writer::writer(config.store_queue_max);
    let (reader, questions) = writer::reader(1_024);
    let (group_max, metrics) = (config.commit_group_max, Arc::clone(metrics));
    let writes = thread("store-writer", move || block_on(writer::drive_writes(store, writes, group_max, metrics)))?;
    let reads = thread("store-reader", move || block_on(writer::drive_reads(reading, questions)))?;
    Ok((writer, reader, StoreThreads { threads: vec![writes, reads] }))
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
pub fn serve(config: Config, with_stdin: bool) -> Result<(), StartError> {
    raise_open_files_limit();
    let runtime = Runtime::new().map_err(|cause| StartError::System { what: "start the runtime", cause })?;
    let listener = runtime.block_on(async { bind(&config) })?;
    let metrics = Arc::new(Metrics::default());
    let (writer, reader, threads) = start_store(&config, &metrics)?;
    let keyring = Keyring::new(signing_key(&config.server_key, true)?);
    let rng = ServerRng::from_seed(os_randomness()?);
    if config.admin_token.is_none() {
        tracing::warn!("ADMIN_TOKEN is not set: the admin API is off");
    }
    let database = config.database.clone();
    let bad_database =
        |error: crate::store::StoreError| StartError::BadDatabase { path: database, why: error.to_string() };
    let served = runtime.block_on(async {
        let ingredients = Ingredients { config, clock: Arc::new(SystemClock), rng, keyring, writer, reader, metrics };
        let app = App::new(ingredients).await.map_err(bad_database)?;
        let address = listener.local_addr().map_err(|cause| StartError::System { what: "read the address", cause })?;
        tracing::info!(%address, devices = app.registry.len(), key_id = %app.keyring.key_id, "serving");
        say(&format!("listening on http://{address}"));
        let background = tokio::spawn(app.clone().background());
        listen::serve(listener, router(app.clone()), app, stop(with_stdin)).await;
        background.abort();
        Ok(())
    });
    drop(runtime); // ends every task, so that the store's queues close
    threads.join();
    tracing::info!("stopped; everything that was answered is on disk");
    served
}

fn bind(config: &Config) -> Result<tokio::net::TcpListener, StartError> {
    let cannot = |cause| StartError::CannotListen { address: config.listen.to_string(), cause };
    let socket = if config.listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(cannot)?;
    socket.set_reuseaddr(true).map_err(cannot)?;
    socket.bind(config.listen).map_err(cannot)?;
    socket.listen(BACKLOG).map_err(cannot)
}

/// Completes when the server is told to stop.
async fn stop(with_stdin: bool) {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminated, mut interrupted) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminated), Ok(interrupted)) => (terminated, interrupted),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "signals can't be heard; only SIGKILL will stop this server");
            return std::future::pending().await;
        }
    };
    let (parent_gone, heard) = oneshot::channel();
    if with_stdin {
        // A plain thread: it may sit in read() for ever, and must not hold up the runtime's end.
        let watching = thread("stdin", move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            let _ = parent_gone.send(());
        });
        if let Err(error) = watching {
            tracing::warn!(%error, "standard input is not watched");
        }
    } else {
        std::mem::forget(parent_gone); // nobody will ever say it
    }
    tokio::select! {
        biased;
        _ = terminated.recv() => tracing::info!("SIGTERM: finishing what was accepted"),
        _ = interrupted.recv() => tracing::info!("SIGINT: finishing what was accepted"),
        _ = heard => tracing::info!("standard input ended: finishing what was accepted"),
    }
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

/// A line on standard output; a closed pipe is no error.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line on standard error; a closed pipe is no error.
pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
