//! Claim: heartbeats continue while operators change 100,000 devices: none waits for more than one part of the work.
//!
//! Method: the release build of the server as a separate process, SQLite with `synchronous=FULL`; 1,000 devices
//! send a heartbeat each second over separate connections, and a heartbeat's latency counts from the moment it was
//! due. Meanwhile an inventory of 100,000 other devices is imported, imported again, a command is ordered for all of them, and they
//! are revoked.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failure here is a failed benchmark")]

use std::{
    cell::RefCell,
    fmt::Write as _,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    rc::Rc,
    time::Duration,
};

use ks_benches::line;
use ks_protocol::{
    id::Sequence,
    key::PrivateKey,
    message::{Firmware, Heartbeat, Network, Register, Request},
    signature::sign_request,
    text::{Rows, Text},
    time::UnixMs,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::LocalSet,
    time::{Instant, sleep, sleep_until},
};

/// Devices that are imported, get a command, and are revoked.
const BULK: usize = 100_000;
/// Devices that send heartbeats meanwhile.
const BEATS: usize = 1_000;
const BEAT_EVERY: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_secs(10);
const TOKEN: &str = "a-token-of-the-benchmark-alone-0123456789";
const HEADER: &str = "serial,device_id,public_key,manufacturer,model,site\n";

/// The server, which ends with the benchmark.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have exited already
        let _ = self.0.wait();
    }
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let (server, address) = start(folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, measure(address));
    drop(server);
}

fn start(folder: &std::path::Path) -> (Server, SocketAddr) {
    let built =
        Command::new("cargo").args(["build", "--profile", "dist", "--quiet", "--package", "ks-server"]).status();
    assert!(built.unwrap().success(), "the server is built");
    let executable = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("ks-server");
    let mut child = Command::new(executable)
        .args(["serve", "--stop-with-stdin"])
        .env_clear()
        .envs([("DATABASE_URL", "ks.sqlite"), ("ADMIN_TOKEN", TOKEN), ("PORT", "0"), ("LOG_LEVEL", "warn")])
        .envs([("HEARTBEAT_INTERVAL_MS", "1000")])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first_line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first_line).unwrap();
    let address = first_line
        .trim_end()
        .strip_prefix("listening on http://")
        .unwrap_or_else(|| panic!("{first_line:?}"))
        .to_owned();
    (Server(child), address.parse().unwrap())
}

fn key(name: &str) -> PrivateKey {
    let mut seed = [0; 32];
    seed[..name.len()].copy_from_slice(name.as_bytes());
    PrivateKey::from_seed(&seed)
}

/// An inventory of `count` devices of a model.
fn inventory(model: &str, count: usize) -> String {
    let mut csv = HEADER.to_owned();
    for number in 0..count {
        let name = format!("{model}-{number:06}");
        writeln!(csv, "S{number},{name},{},Acme,{model},north", key(&name).public_key()).unwrap();
    }
    csv
}

/// A heartbeat: when it was due, and its latency from then on.
type Beats = Rc<RefCell<Vec<(Instant, Duration)>>>;

async fn measure(address: SocketAddr) {
    let bulk = inventory("BULK", BULK);
    let mut admin = TcpStream::connect(address).await.unwrap();
    post(&mut admin, "devices/import", "text/csv", &inventory("BEAT", BEATS)).await;
    let beats = Beats::default();
    let begin = Instant::now() + Duration::from_secs(2);
    for number in 0..BEATS {
        let due = begin + BEAT_EVERY * u32::try_from(number).unwrap() / u32::try_from(BEATS).unwrap();
        tokio::task::spawn_local(device(address, number, due, Rc::clone(&beats)));
    }
    sleep_until(begin + BEAT_EVERY).await;
    line(&format!("\n## Heartbeats of {BEATS} devices, one a second each, while {BULK} devices are changed\n"));
    line(
        "| meanwhile | duration, s | heartbeats | p50, ms | p99, ms | max, ms |\n| --- | ---: | ---: | ---: | ---: | ---: |",
    );
    let quiet = Instant::now();
    sleep(QUIET).await;
    report_row("nothing", quiet, &beats).await;
    let which = r#"{ "model": "BULK" }"#;
    let order =
        format!(r#"{{ "which": {which}, "command": {{ "kind": "reboot" }}, "ttl_s": 3600, "client_token": "t" }}"#);
    let revocation = format!(r#"{{ "which": {which}, "reason": "measured" }}"#);
    for (what, path, kind, body) in [
        ("an import, all new", "devices/import", "text/csv", &bulk),
        ("the same import again", "devices/import", "text/csv", &bulk),
        ("an order for all", "commands", "application/json", &order),
        ("a revocation of all", "devices/revoke", "application/json", &revocation),
    ] {
        let since = Instant::now();
        post(&mut admin, path, kind, body).await;
        report_row(what, since, &beats).await;
        sleep(Duration::from_secs(2)).await;
    }
}

/// Prints a row about the heartbeats that were due since then.
async fn report_row(what: &str, since: Instant, beats: &Beats) {
    let until = Instant::now();
    sleep(BEAT_EVERY).await; // for those in progress
    let took: Vec<f64> = beats
        .borrow()
        .iter()
        .filter(|(due, _)| (since..until).contains(due))
        .map(|(_, took)| took.as_secs_f64() * 1e3)
        .collect();
    let mut took = took;
    took.sort_by(f64::total_cmp);
    let at = |per_mille: usize| took.get((took.len() * per_mille / 1_000).min(took.len().saturating_sub(1))).copied();
    let [p50, p99, max] = [500, 990, 1_000].map(|per_mille| at(per_mille).unwrap_or_default());
    let duration_s = (until - since).as_secs_f64();
    line(&format!("| {what} | {duration_s:.1} | {} | {p50:.1} | {p99:.1} | {max:.1} |", took.len()));
}

/// Registers, and sends a heartbeat each second from `due` on.
async fn device(address: SocketAddr, number: usize, due: Instant, beats: Beats) {
    let name = format!("BEAT-{number:06}");
    let key = key(&name);
    let (device_id, version) = (name.parse().unwrap(), Text::truncated("1.0.0"));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.set_nodelay(true);
    let Sequence { boot_epoch, seq } = Sequence::new(1, 1);
    let register = Register {
        kind: Default::default(),
        device_id,
        boot_epoch,
        seq,
        sent_at: UnixMs(0),
        public_key: key.public_key(),
        firmware_version: version.clone(),
        otrt: None,
    };
    send(&mut stream, &key, &register).await;
    for count in 0_u32.. {
        let due = due + BEAT_EVERY * count;
        sleep_until(due).await;
        let Sequence { boot_epoch, seq } = Sequence::new(1, 2 + u64::from(count));
        let beat = Heartbeat {
            kind: Default::default(),
            device_id: register.device_id.clone(),
            boot_epoch,
            seq,
            sent_at: UnixMs(0),
            keyset_version: 1,
            firmware: Firmware { version: version.clone(), release_counter: 1 },
            uptime_s: u64::from(count),
            cpu_temp_c: 41.5,
            free_mem_kib: 118_204,
            network: Network::Wifi,
            rssi_dbm: Some(-61),
            acks: Rows::default(),
        };
        send(&mut stream, &key, &beat).await;
        beats.borrow_mut().push((due, due.elapsed()));
    }
}

/// Signs and sends a message, which must be answered and not refused.
async fn send<R: Request>(stream: &mut TcpStream, key: &PrivateKey, message: &R) {
    let wire = sign_request(key, message).unwrap().wire;
    exchange(stream, R::PATH, ks_protocol::MEDIA_TYPE, "", &wire).await;
}

async fn post(stream: &mut TcpStream, path: &str, content_type: &str, body: &str) {
    let token = format!("authorization: Bearer {TOKEN}\r\n");
    exchange(stream, &format!("/api/{path}"), content_type, &token, body).await;
}

/// Sends a request, and reads an answer that has a length, which must be 200.
async fn exchange(stream: &mut TcpStream, path: &str, content_type: &str, more: &str, body: &str) {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: {content_type}\r\n{more}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let (length, head) = loop {
        if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&received[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            break (end + 4 + length.unwrap(), head);
        }
        assert!(stream.read_buf(&mut received).await.unwrap() > 0, "{path}: the connection ended");
    };
    while received.len() < length {
        assert!(stream.read_buf(&mut received).await.unwrap() > 0, "{path}: the connection ended");
    }
    assert!(head.starts_with("http/1.1 200"), "{path}: {}", String::from_utf8_lossy(&received));
}
