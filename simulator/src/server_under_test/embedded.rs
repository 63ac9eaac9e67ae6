//! The embedded server: the real one, as a process of its own on a temporary SQLite file.
//!
//! The process is this executable, started again with a hidden subcommand that calls the server's own entry point.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    rc::Rc,
    sync::mpsc,
    time::Duration,
};

use ks_reports::bounded::FILE_BYTES_MAX;

use crate::{
    host::{no_link::NO_LINK, resources, temporary::Temporary},
    server_under_test::process::{Restart, ServerAction, ServerProcess, Usage},
};

pub const SUBCOMMAND: &str = "embedded-server";
/// How long a server may take to start listening.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server may take to stop gracefully.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// A running server process; ended when this is dropped.
pub struct EmbeddedServer {
    process: RefCell<Process>,
    address: SocketAddr,
    settings: BTreeMap<String, String>,
    log: PathBuf,
    /// CPU of earlier processes of this server.
    earlier_cpu_s: Cell<f64>,
    /// Stopped on request, until it is started again.
    is_down: Cell<bool>,
    /// Holds the database; removed at the end.
    _database: Temporary,
}

struct Process {
    child: Child,
    /// Held open: the server stops when it ends, so it can't outlive this process.
    stdin: Option<ChildStdin>,
}

impl EmbeddedServer {
    /// Starts a server with these settings on a database of its own; its log goes to `log`.
    ///
    /// # Errors
    /// A sentence that says why it is not running.
    pub fn start(mut settings: BTreeMap<String, String>, log: PathBuf) -> Result<Self, String> {
        let database = Temporary::make("server");
        let database = database.map_err(|error| format!("no temporary folder for the server's database: {error}"))?;
        settings.insert("DATABASE_URL".to_owned(), format!("file:{}", database.path().join("ks.sqlite").display()));
        settings.insert("HOST".to_owned(), "127.0.0.1".to_owned());
        settings.insert("PORT".to_owned(), free_port()?.to_string());
        settings.entry("LOG_LEVEL".to_owned()).or_insert_with(|| "info".to_owned());
        let (process, address) = spawn(&settings, &log)?;
        Ok(Self {
            process: RefCell::new(process),
            address,
            settings,
            log,
            earlier_cpu_s: Cell::default(),
            is_down: Cell::default(),
            _database: database,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU seconds it has used, over all restarts.
    pub fn cpu_s(&self) -> Option<f64> {
        if self.is_down.get() {
            return Some(self.earlier_cpu_s.get());
        }
        resources::cpu_s_of(self.process.borrow().child.id()).map(|now| now + self.earlier_cpu_s.get())
    }

    /// Starts it unless it runs; says whether it did.
    fn start_again(&self) -> Result<bool, String> {
        let was_down = self.is_down.get();
        if was_down {
            let (process, _) = spawn(&self.settings, &self.log)?;
            self.process.replace(process);
            self.is_down.set(false);
        }
        Ok(was_down)
    }
}

impl Process {
    /// Asks the server to stop and waits until it has; kills it if it does not.
    fn stop(&mut self) -> Result<(), String> {
        self.stdin = None; // the server stops when its stdin closes
        for _ in 0..STOP_TIMEOUT.as_millis() / 20 {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("the server ended with {status}")),
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => return Err(error.to_string()),
            }
        }
        self.kill();
        Err(format!("the server did not stop within {} s and was killed", STOP_TIMEOUT.as_secs()))
    }

    fn kill(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
    }
}

impl ServerProcess for EmbeddedServer {
    fn restart(self: Rc<Self>, Restart { kill, down_for, back, .. }: Restart) -> ServerAction {
        Box::pin(async move {
            if !self.is_down.get() {
                self.earlier_cpu_s.set(self.cpu_s().unwrap_or(self.earlier_cpu_s.get()));
                if kill {
                    self.process.borrow_mut().kill();
                } else {
                    self.process.borrow_mut().stop()?;
                }
                self.is_down.set(true);
            }
            if down_for.is_zero() {
                if self.start_again()? {
                    back();
                }
                return Ok(());
            }
            actix::spawn(async move {
                tokio::time::sleep(down_for).await;
                // `ensure_running` at the end of the run tries again and reports a failure.
                if self.start_again() == Ok(true) {
                    back();
                }
            });
            Ok(())
        })
    }

    fn ensure_running(self: Rc<Self>) -> ServerAction {
        Box::pin(async move { self.start_again().map(|_| ()) })
    }

    fn ended(&self) -> Option<String> {
        if self.is_down.get() {
            return None;
        }
        let status = self.process.borrow_mut().child.try_wait().ok().flatten()?;
        Some(format!("the embedded server ended by itself ({status}); see {}", self.log.display()))
    }

    fn usage(&self) -> Option<Usage> {
        let rss_bytes = resources::take_peak_rss_bytes_of(self.process.borrow().child.id());
        Some(Usage { cpu_s: self.cpu_s()?, rss_bytes })
    }
}

impl Drop for EmbeddedServer {
    fn drop(&mut self) {
        let process = self.process.get_mut();
        if process.stop().is_err() {
            process.kill();
        }
    }
}

/// A port that is free now and stays free: below the ephemeral range, so that no connection of the fleet
/// takes it while the server is down between two starts.
fn free_port() -> Result<u16, String> {
    // Runs that start together search different ranges.
    let start = u16::try_from(u64::from(std::process::id()) * 7_919 % 10_000).unwrap_or(0);
    let ports = (0..10_000).map(|offset| 20_000 + (start + offset) % 10_000);
    let mut free = ports.filter(|port| std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.next().ok_or_else(|| "no port from 20000 to 29999 is free for the server".to_owned())
}

/// Starts the process and waits until it prints its address.
fn spawn(settings: &BTreeMap<String, String>, log: &PathBuf) -> Result<(Process, SocketAddr), String> {
    let program = std::env::current_exe().map_err(|error| format!("this program can't find itself: {error}"))?;
    let opened: std::io::Result<File> = OpenOptions::new().create(true).append(true).custom_flags(NO_LINK).open(log);
    let log_file = opened.map_err(|error| format!("cannot write {}: {error}", log.display()))?;
    let mut child = Command::new(program)
        .args([SUBCOMMAND, "serve", "--stop-with-stdin"])
        .env_clear()
        .envs(settings)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log_file)
        // Its own process group: Ctrl-C goes to the run, which stops the server when it no longer needs it.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("the server's process could not be started: {error}"))?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("the server's process has no pipes".to_owned());
    };
    // Read on a thread, so that a server that prints nothing is noticed; the pipe stays open until the server ends.
    let (sender, receiver) = mpsc::channel();
    let reading = std::thread::Builder::new().name("server-stdout".to_owned()).spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    reading.map_err(|error| format!("the server's output can't be read: {error}"))?;
    let address = receiver
        .recv_timeout(START_TIMEOUT)
        .ok()
        .and_then(|line| line.strip_prefix("listening on http://").and_then(|address| address.parse().ok()));
    if let Some(address) = address {
        return Ok((Process { child, stdin: Some(stdin) }, address));
    }
    let _ = child.kill(); // it may have ended by itself
    let _ = child.wait();
    let text = ks_reports::bounded::read(log, FILE_BYTES_MAX).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default();
    Err(format!("the embedded server did not start; its log ends with: {}", last.join(" / ")))
}
