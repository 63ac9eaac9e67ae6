//! Helpers for tests of whole runs: the executable, scenarios and run folders, a real server as a target, and a proxy that changes
//! its answers.
#![allow(clippy::disallowed_methods, reason = "a proxy has threads")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::Value;

/// The admin token of every target.
pub(crate) const TOKEN: &str = "0123456789abcdef";

/// `ks-fleet`, without an admin token in its environment.
pub(crate) fn fleet() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ks-fleet"));
    command.env_remove("ADMIN_TOKEN");
    command
}

/// Runs it in `folder`, with a token for targets that are never reached.
pub(crate) fn fleet_in(folder: &Path, arguments: &[&str]) -> Output {
    fleet().env("ADMIN_TOKEN", TOKEN).args(arguments).current_dir(folder).output().unwrap()
}

/// Rehearses a scenario in `folder` into its folder `out`, with modelled signatures and no files of pictures.
pub(crate) fn rehearse(folder: &Path, file: &str, out: &str, more: &[&str]) -> Output {
    let flags = ["rehearse", file, "--signatures", "modelled", "--artifacts", "light", "--quiet", "--out", out];
    fleet_in(folder, &[flags.as_slice(), more].concat())
}

/// Writes a scenario into `folder`; gives its path.
pub(crate) fn write_scenario(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(format!("{name}.toml"));
    std::fs::write(&path, text).unwrap();
    path
}

/// Lines that are one JSON object each.
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The lines of a file of a run folder.
pub(crate) fn lines_in(out: &Path, name: &str) -> Vec<Value> {
    let path = out.join(name);
    json_lines(&std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The event log of a run.
pub(crate) fn events_in(out: &Path) -> Vec<Value> {
    let printed = fleet().arg("events").arg(out).output().unwrap();
    assert!(printed.status.success(), "{}", stderr_of(&printed));
    json_lines(&String::from_utf8(printed.stdout).unwrap())
}

/// The standard error of a process.
pub(crate) fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The summary in a run folder.
pub(crate) fn summary_in(out: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(out.join("summary.json")).unwrap()).unwrap()
}

/// A real external server; stopped when dropped.
pub(crate) struct Server {
    pub(crate) process: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts one on a database in `folder`, with these settings.
    pub(crate) fn start(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let mut process = fleet()
            .args(["embedded-server", "serve", "--stop-with-stdin"])
            .env("DATABASE_URL", format!("file:{}", folder.join("ks.sqlite").display()))
            .envs([("HOST", "127.0.0.1"), ("PORT", "0"), ("ADMIN_TOKEN", TOKEN), ("RATE_LIMIT_DEVICE_PER_MIN", "6000")])
            .env("OVERLOAD_TARGET_MS", "0") // a slow machine is no overload: only a full queue is
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (_, address) = line.trim().split_once("://").unwrap();
        let address = address.parse().unwrap();
        Self { process, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// A listener that gives each request this answer; also returns the heads of the requests.
pub(crate) fn answering(answer: &'static [u8]) -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, heads) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(String::new())));
    let asked = Arc::clone(&heads);
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let read = client.read(&mut head).unwrap_or(0);
            asked.lock().unwrap().push_str(&String::from_utf8_lossy(&head[..read]));
            let _ = client.write_all(answer);
        }
    });
    (address, heads)
}

/// An answer that passes the proxy: status and body.
pub(crate) type Answer = (u16, Vec<u8>);

/// A proxy before `server` on its own port: `change` maps the path and the answer to what the client gets.
pub(crate) fn proxy(server: SocketAddr, change: impl Fn(&str, Answer) -> Answer + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let change = Arc::new(change);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let change = Arc::clone(&change);
            std::thread::spawn(move || pass_on(&client, server, &*change));
        }
    });
    address
}

/// Forwards requests of one connection until either side closes it.
fn pass_on(client: &TcpStream, server: SocketAddr, change: &dyn Fn(&str, Answer) -> Answer) -> Option<()> {
    let server = TcpStream::connect(server).ok()?;
    client.set_nodelay(true).ok()?;
    server.set_nodelay(true).ok()?;
    let (mut from_client, mut from_server) = (BufReader::new(client), BufReader::new(&server));
    loop {
        let (head, body) = message(&mut from_client)?;
        let path = head.split(' ').nth(1)?.to_owned();
        (&server).write_all(&[head.as_bytes(), &body].concat()).ok()?;
        let (head, body) = message(&mut from_server)?;
        let (status, body) = change(&path, (head.split(' ').nth(1)?.parse().ok()?, body));
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
        { client }.write_all(&[head.as_bytes(), &body].concat()).ok()?;
    }
}

/// The head of one HTTP message, as it came, and its body.
fn message(from: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let start = head.len();
        from.read_line(&mut head).ok().filter(|read| *read > 0)?;
        let line = head.get(start..)?.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    Some((head, body))
}
