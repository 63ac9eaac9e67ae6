//! Prints the table of docs/performance.md, "Beside another stack": the server and a peer of Express, better-sqlite3, node:crypto and the
//! TOON package answer the same signed heartbeats of the same generator, one after the other on the same disk. What a heartbeat costs is
//! read from the server's process (proc(5)) over one run; the highest rate is what `ks-fleet find-limit` finds.
//!
//! The arguments are the folder of the programs and one for the runs; `cargo xtask bench peers` knows both.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use ks_benches::server::{Failure, Server, TOKEN, syncs};
use ks_reports::{files::read_summary, load_limit::read_load_limit};

const SCENARIO: &str = "benches/peers/heartbeats.toml";
const PEER: &str = "benches/peers/express/server.js";

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
        let folder = out.join(name);
        let server = if name == "express" { express(&folder)? } else { Server::ks_server(programs, &folder, None)? };
        measured.push(measure(&server, programs)?);
    }
    let [ours, peer] = measured.as_slice() else { return Err("two servers were measured".into()) };
    println!("An fdatasync of 4 KiB takes {p50:.2} ms at p50, {p99:.2} ms at p99, on this disk now.\n");
    println!("| server | CPU per heartbeat, at 300 a second | p99 there | heartbeats/min with p99 <= 50 ms |");
    println!("| --- | ---: | ---: | ---: |");
    for (name, of) in ["this server", "Express, better-sqlite3, node:crypto, TOON"].into_iter().zip([ours, peer]) {
        let bound = if of.is_lower_bound { "at least " } else { "" };
        println!("| {name} | {:.0} µs | {:.1} ms | {bound}{:.0} |", of.cpu_us, of.p99_ms, of.held_per_min);
    }
    let rates = match (ours.is_lower_bound, peer.is_lower_bound) {
        (_, true) => "unknown: the peer's limit was not found".to_owned(),
        (is_more, false) => {
            format!("{}{:.1}", if is_more { "at least " } else { "" }, ours.held_per_min / peer.held_per_min)
        }
    };
    println!("| ratio | {:.1} | | {rates} |", peer.cpu_us / ours.cpu_us);
    Ok(())
}

/// Starts the peer with a new database.
fn express(folder: &Path) -> Result<Server, Failure> {
    fs::create_dir_all(folder)?;
    let (token, database) = (folder.join("token"), folder.join("bench.sqlite"));
    fs::write(&token, TOKEN)?;
    Server::start("express", folder, |port| {
        let mut command = Command::new("node");
        command.arg(PEER).args([port.as_ref(), database.as_os_str(), token.as_os_str()]);
        command
    })
}

fn measure(server: &Server, programs: &Path) -> Result<Measured, Failure> {
    // The first run pays for what is made once: compiled code, prepared statements, the first pages.
    fleet(server, programs, "run", &["--events", "none", "--id-prefix", "WARM", "--duration", "15s"])?;
    let before_s = server.cpu_s()?;
    let run = fleet(server, programs, "run", &["--events", "none", "--id-prefix", "RUN"])?;
    let used_s = server.cpu_s()? - before_s;
    let summary = read_summary(&run)?;
    let p99_ms = summary.latency_ms.get("heartbeat").map(|of| of.p99).ok_or("the run has no latency")?;
    let limit = fleet(server, programs, "find-limit", &["--step", "8s", "--budget", "4m", "--id-prefix", "LIMIT"])?;
    let limit = read_load_limit(&limit)?;
    Ok(Measured {
        cpu_us: used_s * 1e6 / summary.heartbeats.acked as f64,
        p99_ms,
        held_per_min: limit.interval.held_per_min.ok_or("no rate met 50 ms")?,
        is_lower_bound: limit.is_lower_bound,
    })
}

/// Runs the simulator against it; gives the folder. A verdict is no failure of the comparison.
fn fleet(server: &Server, programs: &Path, what: &str, flags: &[&str]) -> Result<PathBuf, Failure> {
    let ended = server.fleet(programs, (what, SCENARIO), None).args(flags).status()?;
    if matches!(ended.code(), Some(0 | 4 | 99)) {
        Ok(server.folder().join(what))
    } else {
        Err(format!("{what} ended with {ended}").into())
    }
}
