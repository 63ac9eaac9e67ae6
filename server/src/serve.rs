//! `ks-server serve`: runs the app on threads and sockets until it should stop.

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use ks_protocol::time::UnixMs;
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Runtime,
    sync::mpsc,
};

use crate::{
    app::{App, AppInputs},
    assembly::{
        KeyCreation, PAST_KEY_HELP, Queues, artifacts, database_error, firmware_key, has_devices, keys_error,
        signing_key,
    },
    clock::{Clock, SystemClock},
    config::{Config, Conflict, conflicts, connections_max, new_fleet_warning, refuse_emptied},
    edge::{
        Reload, Stop, environment, open_files_max, os_randomness, raise_open_files_limit, say,
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
    service::{background, limits},
    store::{SqliteReader, SqliteStore, StoreError, audit::chain::head_text, torn_log},
    tls::Tls,
};

/// Most connections that wait to be accepted; the kernel may have a lower limit.
const BACKLOG: u32 = 65_535;

/// Interval of the check for a renewed certificate.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(5);
/// Between two reports of a certificate that is about to expire, in milliseconds: a day.
const CERTIFICATE_REPORT_INTERVAL_MS: u64 = 86_400_000;

/// Runs the server until SIGTERM, SIGINT, or (if `with_stdin`) until standard input ends.
pub fn serve(config: &Config, with_stdin: bool) -> Result<(), StartError> {
    raise_open_files_limit();
    for Conflict { found, help } in conflicts(config, open_files_max()) {
        tracing::warn!(%help, "{found}");
    }
    let runtime = Runtime::new().map_err(|cause| StartError::System { what: "start the runtime", cause })?;
    let supervisor = Arc::new(Supervisor::of(environment));
    // First of all, because checking a large database takes long.
    let mut stop = runtime.block_on(async { Stop::listening(with_stdin) })?;
    let listener = runtime.block_on(async { bind(config) })?;
    let tls = config.tls.clone().map(Tls::load).transpose()?.map(Arc::new);
    let metrics = Arc::new(Metrics::default());
    let (queues, mut threads) = start_store(config, &metrics)?;
    let keyring = runtime.block_on(keyring(config, &queues))?;
    let artifacts = artifacts(config)?;
    let rng = ServerRng::from_seed(os_randomness()?);
    let (passwords, queue) = password::passwords();
    threads.threads.push(thread("passwords", move || block_on(password::drive(queue)))?);
    if config.admin_token.is_none() {
        tracing::info!("ADMIN_TOKEN is not set: only users and tokens of `ks-server admin` can call the admin API");
    }
    let served = runtime.block_on(async {
        let original = config;
        let config = Config { connections_max: connections_max(config, open_files_max()), ..config.clone() };
        let clock = Arc::new(SystemClock);
        let Queues { writer, reader, admin_reader } = queues;
        let ingredients =
            AppInputs { config, clock, rng, keyring, writer, reader, admin_reader, artifacts, passwords, metrics };
        let app = App::new(ingredients).await.map_err(|error| database_error(original, &error))?;
        if let Err(error) = limits::adopt_file(&app).await {
            return Err(StartError::refused(
                format!("the limits file can't be applied: {error}"),
                "start the server again; if it fails again, see the log",
            ));
        }
        limits::warn_of_contradictions(&app);
        announce(&app, &listener, tls.is_some()).await?;
        until_stopped(app, (listener, tls), &mut stop, &mut threads.ended, supervisor).await
    });
    drop(runtime); // ends every task, so that the store's queues close
    threads.join();
    if served.is_ok() {
        tracing::info!("stopped; all answered requests are on disk");
    }
    served
}

/// The current keys. If the settings name a key that no longer signs, that is logged first, because it may prevent the start.
async fn keyring(config: &Config, queues: &Queues) -> Result<Keyring, StartError> {
    let has_fleet = has_devices(&queues.reader).await.map_err(|error| database_error(config, &error))?;
    let may_make = if has_fleet { KeyCreation::NotForAFleet } else { KeyCreation::Yes };
    let vault = Vault::in_folder(signing_key(config, may_make)?, &config.server_keys);
    let given = vault.given().public_key().key_id();
    let keyring = queues.keyring(vault, SystemClock.now()).await;
    let state = KeysetState::read(&queues.reader).await.map_err(|error| keys_error(config, error))?;
    if let Some(past) = state.and_then(|state| state.past(&given)) {
        tracing::warn!("{past}; {PAST_KEY_HELP}");
    }
    Ok(keyring.map_err(|error| keys_error(config, error))?.with_firmware_key(firmware_key(config)?))
}

/// Reports in the log and on standard output that the server is ready, and its address.
async fn announce(app: &App, listener: &TcpListener, is_tls: bool) -> Result<(), StartError> {
    let address = listener.local_addr().map_err(|cause| StartError::System { what: "read the address", cause })?;
    let connections_max = app.config.connections_max;
    tracing::info!(%address, devices = app.registry.len(), connections_max, key_id = %app.keyring.key_id(), "serving");
    // So that the log has heads of the audit that no edit of the database can change.
    let head = app.reader.ask(|store| store.audit_head()).await;
    if let Some(head) = head.map_err(|error| database_error(&app.config, &error))? {
        tracing::info!(
            head = head_text(head),
            "current head of the audit; check it later with `ks-server audit verify --head`"
        );
    }
    let scheme = if is_tls { "https" } else { "http" };
    if let Err(error) = say(&format!("listening on {scheme}://{address}")) {
        tracing::warn!(%error, "could not print the address; serving anyway");
    }
    Ok(())
}

/// Serves until it should stop, or until the store ends.
async fn until_stopped(
    app: App,
    (listener, tls): (TcpListener, Option<Arc<Tls>>),
    stop: &mut Stop,
    store_ended: &mut mpsc::Receiver<()>,
    supervisor: Arc<Supervisor>,
) -> Result<(), StartError> {
    let background = tokio::spawn(background::run(app.clone()));
    let watchdog = tokio::spawn(feed_watchdog(Arc::clone(&supervisor), app.clone()));
    let reload = app.config.limits_file.is_some().then(Reload::listening).transpose()?;
    let reloading = tokio::spawn(follow_signal(reload, app.clone()));
    let renewing = tokio::spawn(follow_certificate(tls.clone(), app.clone()));
    supervisor.ready();
    let mut result = Ok(());
    let stopped = async {
        tokio::select! {
            biased;
            () = stop.requested() => {}
            _ = store_ended.recv() => result = Err(StartError::StoreEnded),
        }
        supervisor.stopping();
        app.event_streams.close();
    };
    listen::serve(listener, tls, router(app.clone()), app.clone(), stopped).await;
    let found = app.reader.ask(|store| store.in_place()).await.map(drop);
    if let Err(error @ (StoreError::Misplaced(_) | StoreError::Damaged(_))) = app.writer.damage().and(found) {
        result = Err(StartError::StoreLost(error.to_string()));
    }
    drop(app);
    background.abort();
    watchdog.abort();
    reloading.abort();
    renewing.abort();
    result
}

/// Reads the limits file again at each SIGHUP.
async fn follow_signal(reload: Option<Reload>, app: App) {
    let Some(mut reload) = reload else { return };
    loop {
        reload.requested().await;
        limits::reload(&app).await;
    }
}

/// Puts a renewed certificate into use. One that can't be used is reported once, and the previous one stays in use; one that is about to
/// expire is reported every day.
async fn follow_certificate(tls: Option<Arc<Tls>>, app: App) {
    let Some(tls) = tls else { return };
    let mut doubted_at = None;
    loop {
        doubted_at = check_validity(&tls, &app, doubted_at);
        tokio::time::sleep(CERTIFICATE_INTERVAL).await;
        let of_files = Arc::clone(&tls);
        #[expect(
            clippy::disallowed_methods,
            reason = "in no order with anything, and a disk that hangs holds up no request"
        )]
        let refreshed = tokio::task::spawn_blocking(move || of_files.refresh()).await;
        match refreshed {
            Ok(Ok(true)) => {
                tracing::info!("the TLS certificate has changed; new connections use it");
                doubted_at = None;
            }
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(error)) => {
                app.metrics.tls_reload_failures.inc();
                tracing::error!(%error, help = error.help(), "the new TLS certificate can't be used; the previous one stays in use");
            }
        }
    }
}

/// Reports a certificate that is not valid, or not for long, once a day; `reported_at` is when it was reported last, and the result is the
/// next one.
fn check_validity(tls: &Tls, app: &App, reported_at: Option<UnixMs>) -> Option<UnixMs> {
    let (now, validity) = (app.clock.now(), tls.validity()?);
    let expires_s = i64::try_from(validity.until.0 / 1_000).unwrap_or(i64::MAX);
    app.metrics.tls_certificate_expires.set(expires_s);
    let doubt = validity.doubt(now)?;
    if reported_at.is_some_and(|at| now.since_ms(at) < CERTIFICATE_REPORT_INTERVAL_MS) {
        return reported_at;
    }
    tracing::warn!("{doubt}: renew TLS_CERT_FILE");
    Some(now)
}

/// Feeds the supervisor's watchdog while commits succeed. If there was none recently, it makes one: what an idle server writes each
/// minute anyway.
async fn feed_watchdog(supervisor: Arc<Supervisor>, app: App) {
    let Some(pause) = supervisor.pause() else { return };
    let mut fed_at = app.metrics.commits.get();
    loop {
        tokio::time::sleep(pause).await;
        if app.metrics.commits.get() == fed_at {
            match background::try_commit(&app).await {
                Ok(()) => {}
                // A restart would create an empty database in its place, or fail at the damage. There is an alert already, and an
                // operator must act.
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
    let failed = |cause| StartError::CannotListen { address: config.listen.to_string(), cause };
    let socket = if config.listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed)?;
    socket.set_reuseaddr(true).map_err(failed)?;
    socket.bind(config.listen).map_err(failed)?;
    socket.listen(BACKLOG).map_err(failed)
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
    if let Some(warning) = new_fleet_warning(config) {
        tracing::warn!("{warning}");
    }
    if let Some(torn) = torn_log(&config.database) {
        tracing::warn!("{torn}");
    }
    let store = SqliteStore::open(&config.database, config.sqlite, SystemClock.now())?;
    let open = || SqliteReader::open(&config.database, config.sqlite.locking);
    let (queues, loops) = Queues::over(config, metrics, store, open()?, Some(open()?.for_operators()));
    let (alive, ended) = mpsc::channel(1);
    let mut threads = Vec::new();
    for each in loops {
        let end = NotifyOnDrop(alive.clone());
        threads.push(thread(each.name, move || {
            let _end = end;
            block_on(each.drive());
        })?);
    }
    Ok((queues, StoreThreads { threads, ended }))
}

/// Sends a message when it is dropped, that is when its thread ends, normally or by a panic.
struct NotifyOnDrop(mpsc::Sender<()>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        let _ = self.0.try_send(()); // one message is enough
    }
}
