//! `ks-server serve`: everything put together on threads and sockets, until it is told to stop.

use std::{sync::Arc, thread::JoinHandle};

use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Runtime,
    sync::mpsc,
};

use crate::{
    app::{App, Ingredients},
    assembly::{
        MayMake, PAST_KEY_REMEDY, Queues, artifacts, bad_database, bad_keys, firmware_key, has_devices, signing_key,
    },
    clock::{Clock, SystemClock},
    config::{Config, Contradiction, begins_anew, connections_max, contradictions, refuse_emptied},
    edge::{
        Stop, environment, open_files_max, os_randomness, raise_open_files_limit, say,
        supervisor::Supervisor,
        threads::{block_on, thread},
    },
    failure::StartError,
    http::listen,
    keys::{Keyring, KeysetState, Vault},
    metrics::Metrics,
    password,
    rng::ServerRng,
    router::router,
    service::background,
    store::{SqliteReader, SqliteStore, StoreError, audit::chain::head_text, torn_log},
};

/// Connections that wait to be accepted at most; the kernel may hold fewer.
const BACKLOG: u32 = 65_535;

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
    let (queues, mut threads) = start_store(config, &metrics)?;
    let keyring = runtime.block_on(keyring(config, &queues))?;
    let artifacts = artifacts(config)?;
    let rng = ServerRng::from_seed(os_randomness()?);
    let (passwords, queue) = password::passwords();
    threads.threads.push(thread("passwords", move || block_on(password::drive(queue)))?);
    if config.admin_token.is_none() {
        tracing::info!("ADMIN_TOKEN is not set: only users and tokens of `ks-server admin` may call the admin API");
    }
    let served = runtime.block_on(async {
        let given = config;
        let config = Config { connections_max: connections_max(config, open_files_max()), ..config.clone() };
        let clock = Arc::new(SystemClock);
        let Queues { writer, reader, admin_reader } = queues;
        let ingredients =
            Ingredients { config, clock, rng, keyring, writer, reader, admin_reader, artifacts, passwords, metrics };
        let app = App::new(ingredients).await.map_err(|error| bad_database(given, &error))?;
        announce(&app, &listener).await?;
        until_stopped(app, listener, &mut stop, &mut threads.ended, supervisor).await
    });
    drop(runtime); // ends every task, so that the store's queues close
    threads.join();
    if served.is_ok() {
        tracing::info!("stopped; everything that was answered is on disk");
    }
    served
}

/// The keys in force. Where the settings name one whose time is over, that is logged before it may keep the server from starting.
async fn keyring(config: &Config, queues: &Queues) -> Result<Keyring, StartError> {
    let has_fleet = has_devices(&queues.reader).await.map_err(|error| bad_database(config, &error))?;
    let may_make = if has_fleet { MayMake::NotForAFleet } else { MayMake::Yes };
    let vault = Vault::in_folder(signing_key(config, may_make)?, &config.server_keys);
    let given = vault.given().public_key().key_id();
    let keyring = queues.keyring(vault, SystemClock.now()).await;
    let state = KeysetState::read(&queues.reader).await.map_err(|error| bad_keys(config, error))?;
    if let Some(past) = state.and_then(|state| state.past(&given)) {
        tracing::warn!("{past}; {PAST_KEY_REMEDY}");
    }
    Ok(keyring.map_err(|error| bad_keys(config, error))?.with_firmware_key(firmware_key(config)?))
}

/// Says in the log and on standard output that it serves, and where.
async fn announce(app: &App, listener: &TcpListener) -> Result<(), StartError> {
    let address = listener.local_addr().map_err(|cause| StartError::System { what: "read the address", cause })?;
    let connections_max = app.config.connections_max;
    tracing::info!(%address, devices = app.registry.len(), connections_max, key_id = %app.keyring.key_id(), "serving");
    // So that the log, wherever it is kept, holds heads that no edit of the database can reach.
    let head = app.reader.ask(|store| store.audit_head()).await;
    if let Some(head) = head.map_err(|error| bad_database(&app.config, &error))? {
        tracing::info!(head = head_text(head), "the audit ends here; `ks-server audit verify --head` takes it");
    }
    if let Err(error) = say(&format!("listening on http://{address}")) {
        tracing::warn!(%error, "serving all the same");
    }
    Ok(())
}

/// Serves until it is told to stop, or until the store ends.
async fn until_stopped(
    app: App,
    listener: TcpListener,
    stop: &mut Stop,
    store_ended: &mut mpsc::Receiver<()>,
    supervisor: Arc<Supervisor>,
) -> Result<(), StartError> {
    let background = tokio::spawn(background::run(app.clone()));
    let watchdog = tokio::spawn(feed_watchdog(Arc::clone(&supervisor), app.clone()));
    supervisor.ready();
    let mut result = Ok(());
    let stopped = async {
        tokio::select! {
            biased;
            () = stop.told() => {}
            _ = store_ended.recv() => result = Err(StartError::StoreEnded),
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

fn bind(config: &Config) -> Result<TcpListener, StartError> {
    let cannot = |cause| StartError::CannotListen { address: config.listen.to_string(), cause };
    let socket = if config.listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(cannot)?;
    socket.set_reuseaddr(true).map_err(cannot)?;
    socket.bind(config.listen).map_err(cannot)?;
    socket.listen(BACKLOG).map_err(cannot)
}

/// A store's loops on threads of their own; [`StoreThreads::join`] waits until the last write is durable.
struct StoreThreads {
    threads: Vec<JoinHandle<()>>,
    /// Completes when one of them has ended.
    ended: mpsc::Receiver<()>,
}

impl StoreThreads {
    /// Waits for the loops; they end when every writer and reader of the store is dropped.
    fn join(self) {
        for thread in self.threads {
            let _ = thread.join(); // a panic there has been reported by its own message
        }
    }
}

/// Opens the store and starts its loops.
fn start_store(config: &Config, metrics: &Arc<Metrics>) -> Result<(Queues, StoreThreads), StartError> {
    refuse_emptied(config)?;
    if let Some(begins_anew) = begins_anew(config) {
        tracing::warn!("{begins_anew}");
    }
    if let Some(torn) = torn_log(&config.database) {
        tracing::warn!("{torn}");
    }
    let store = SqliteStore::open(&config.database, config.sqlite, SystemClock.now())?;
    let open = || SqliteReader::open(&config.database, config.sqlite.locking);
    let (queues, loops) = Queues::over(config, metrics, store, open()?, Some(open()?.for_people()));
    let (alive, ended) = mpsc::channel(1);
    let mut threads = Vec::new();
    for each in loops {
        let end = EndsWith(alive.clone());
        threads.push(thread(each.name, move || {
            let _end = end;
            block_on(each.drive());
        })?);
    }
    Ok((queues, StoreThreads { threads, ended }))
}

/// Says so when it is dropped, as it is when its thread ends, in peace or by a panic.
struct EndsWith(mpsc::Sender<()>);

impl Drop for EndsWith {
    fn drop(&mut self) {
        let _ = self.0.try_send(()); // one word is enough
    }
}
