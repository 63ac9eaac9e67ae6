//! Prints the table of docs/performance.md, "Beside another stack": the server and a peer of Express, better-sqlite3, node:crypto and the
//! TOON package answer the same signed heartbeats of the same generator, one after the other on the same disk. What a heartbeat costs is
//! read from the server's process (proc(5)) over one run; the highest rate is what `ks-fleet find-limit` finds.
//!
//! The arguments are the folder of the programs and one for the runs; `cargo xtask bench peers` knows both.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints")]
#![expect(clippy::disallowed_methods, reason = "a stopwatch of the outer edge")]

use std::{
    fs,
    io::Write,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use ks_reports::{files::read_summary, load_limit::read_load_limit};

type Failure = Box<dyn std::error::Error>;

const SCENARIO: &str = "benches/peers/heartbeats.toml";
const PEER: &str = "benches/peers/express/server.js";
/// Any token will do: both servers listen on the loopback and end with this program.
const TOKEN: &str = "bench-peers-0123456789abcdef0123456789abcdef";
/// Clock ticks a second in /proc, which Linux fixes for programs.
const TICKS_PER_S: f64 = 100.0;
const STARTS_WITHIN: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [programs, out] = folders.as_slice() else {
        eprintln!("error: expected the folder of the programs and a folder for the runs");
        return ExitCode::from(2);
    };
    match compared(programs, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What was measured of one server.
struct Measured {
    cpu_us: f64,
    p99_ms: f64,
    /// Heartbeats a minute, and whether the server gave out there.
    held_per_min: f64,
    is_lower_bound: bool,
}

fn compared(programs: &Path, out: &Path) -> Result<(), Failure> {
    let _ = fs::remove_dir_all(out); // of the last comparison
    fs::create_dir_all(out)?;
    let (p50, p99) = syncs(out)?;
    let mut measured = Vec::new();
    for name in ["ks-server", "express"] {
        let mut server = Server::start(name, programs, &out.join(name))?;
        measured.push(server.measured(programs)?);
    }
    let [ours, peer] = measured.as_slice() else { return Err("two servers were measured".into()) };
    println!("An fdatasync of 4 KiB takes {p50:.2} ms at p50, {p99:.2} ms at p99, on this disk now.\n");
    println!("| server | CPU per heartbeat, at 300 a second | p99 there | heartbeats/min with p99 <= 50 ms |");
    println!("| --- | ---: | ---: | ---: |");
    for (name, of) in ["this server", "Express, better-sqlite3, node:crypto, TOON"].into_iter().zip([ours, peer]) {
        let bound = if of.is_lower_bound { "at least " } else { "" };
        println!("| {name} | {:.0} µs | {:.1} ms | {bound}{:.0} |", of.cpu_us, of.p99_ms, of.held_per_min);
    }
    println!("| ratio | {:.1} | | {:.1} |", peer.cpu_us / ours.cpu_us, ours.held_per_min / peer.held_per_min);
    Ok(())
}

/// How long 200 appends of 4 KiB take to be on disk, in milliseconds: half of them, and 99 of 100.
fn syncs(folder: &Path) -> Result<(f64, f64), Failure> {
    let path = folder.join("fdatasync");
    let mut file = fs::File::create(&path)?;
    let mut took_ms = Vec::new();
    for _ in 0..200 {
        let begun = Instant::now();
        file.write_all(&[0; 4_096])?;
        file.sync_data()?;
        took_ms.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    fs::remove_file(path)?;
    took_ms.sort_by(f64::total_cmp);
    Ok((took_ms.get(99).copied().unwrap_or(f64::NAN), took_ms.get(197).copied().unwrap_or(f64::NAN)))
}

/// A server of its own, with a new database.
struct Server {
    process: Child,
    url: String,
    folder: PathBuf,
}

impl Server {
    fn start(name: &str, programs: &Path, folder: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        let (token, database) = (folder.join("token"), folder.join("bench.sqlite"));
        fs::write(&token, TOKEN)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?; // free again at once
        let port = address.port().to_string();
        let mut command = if name == "express" {
            let mut command = Command::new("node");
            command.arg(PEER).args([port.as_str().as_ref(), database.as_os_str(), token.as_os_str()]);
            command
        } else {
            let key = folder.join("server.key.pem");
            let program = programs.join("ks-server");
            let made =
                Command::new(&program).args(["keys", "generate", "--out"]).arg(&key).stdout(Stdio::null()).status()?;
            if !made.success() {
                return Err("the server's key could not be made".into());
            }
            let mut command = Command::new(program);
            command.arg("serve").envs([("PORT", port.as_str()), ("ADMIN_TOKEN", TOKEN)]);
            // A device sends 60 heartbeats a minute here, and all of them what the machine can take.
            command.envs([("RATE_LIMIT_DEVICE_PER_MIN", "6000"), ("RATE_LIMIT_ALL_REQUESTS_MODE", "off")]);
            command.env("SERVER_PRIVATE_KEY_FILE", key).env("DATABASE_URL", database);
            command
        };
        let process =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(folder.join("log"))?).spawn();
        let mut server = Self { process: process?, url: format!("http://{address}"), folder: folder.to_owned() };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if begun.elapsed() > STARTS_WITHIN || server.process.try_wait()?.is_some() {
                return Err(format!("{name} did not start: see {}", folder.join("log").display()).into());
            }
            sleep(Duration::from_millis(100));
        }
        Ok(server)
    }

    fn measured(&mut self, programs: &Path) -> Result<Measured, Failure> {
        let before_s = self.cpu_s()?;
        let run = self.fleet(programs, "run", &["--events", "none", "--id-prefix", "RUN"])?;
        let used_s = self.cpu_s()? - before_s;
        let summary = read_summary(&run)?;
        let p99_ms = summary.latency_ms.get("heartbeat").map(|of| of.p99).ok_or("the run has no latency")?;
        let limit = self.fleet(programs, "find-limit", &["--step", "8s", "--budget", "4m", "--id-prefix", "LIMIT"])?;
        let limit = read_load_limit(&limit)?;
        Ok(Measured {
            cpu_us: used_s * 1e6 / summary.heartbeats.acked as f64,
            p99_ms,
            held_per_min: limit.interval.held_per_min.ok_or("no rate met 50 ms")?,
            is_lower_bound: limit.is_lower_bound,
        })
    }

    /// Runs the simulator against it; gives the folder. A verdict is no failure of the comparison.
    fn fleet(&self, programs: &Path, what: &str, flags: &[&str]) -> Result<PathBuf, Failure> {
        let out = self.folder.join(what);
        let mut command = Command::new(programs.join("ks-fleet"));
        command.args([what, SCENARIO, "--target", &self.url, "--out"]).arg(&out).args(flags);
        command.env("ADMIN_TOKEN", TOKEN).stdin(Stdio::null());
        let ended = command.status()?;
        if matches!(ended.code(), Some(0 | 4 | 99)) {
            Ok(out)
        } else {
            Err(format!("{what} ended with {ended}").into())
        }
    }

    /// Processor time that it has used so far, in seconds.
    fn cpu_s(&self) -> Result<f64, Failure> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // After the name, which is in parentheses: state is field 3, utime 14, stime 15.
        let (_, fields) = stat.rsplit_once(") ").ok_or("an unknown form of /proc/PID/stat")?;
        let ticks: f64 = fields.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        Ok(ticks / TICKS_PER_S)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended already
        let _ = self.process.wait();
    }
}
