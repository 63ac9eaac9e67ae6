//! Prints the table of docs/performance.md, "A server's core": what a signed, durable heartbeat costs a server that has one core, beside
//! the sum of what it can't do without: verifying, signing, TOON, HTTP of a bare hyper server with bodies as long, and its share of a
//! commit of as many heartbeats. All of it is CPU time of the same core, one after the other.
//!
//! The arguments are the folder of the programs and one for the runs; `cargo xtask bench per-core` knows both. This program is its own
//! helper: as `parts`, `bare` and `client` it is started again, each on one core.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program that prints, and a failure of which is a failed benchmark"
)]

use std::{
    convert::Infallible,
    fs,
    hint::black_box,
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread::sleep,
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use ks_benches::{
    fleet::{commit_in_groups, heartbeats, store_with},
    server::{Failure, Server, on_core, syncs},
};
use ks_fleet::machine::resources::{own_cpu_s, own_thread_cpu};
use ks_protocol::{
    document,
    key::PrivateKey,
    message::{Heartbeat, NextBeat},
    signature::{Context, SIG_DEV, seal_response, sign_request, signing_input},
    text::Rows,
    time::UnixMs,
};
use ks_server::{
    config::{SqliteUse, Synchronous},
    store::testing::sample_beat,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const SCENARIO: &str = "benches/peers/heartbeats.toml";
/// The core of what is measured, and that of what loads it.
const CORES: (u32, u32) = (0, 1);
/// Heartbeats a second, from as many devices.
const RATES: [u32; 3] = [1_000, 3_000, 5_000]; // a slow core does not take the last
/// Until the fleet has registered and beats evenly, and how long it is measured.
const WARM_UP: Duration = Duration::from_secs(16);
const MEASURED: Duration = Duration::from_secs(15);
/// Heartbeats of each commit's measurement.
const STORED: u32 = 8_192;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["parts", group, folder] => parts(group.parse().unwrap(), Path::new(folder)),
        ["bare", port] => runtime().block_on(bare(port)),
        ["client", address, rate] => runtime().block_on(client(address, rate.parse().unwrap())),
        [programs, out] => compared(Path::new(programs), Path::new(out)),
        _ => Err("expected the folder of the programs and a folder for the runs".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compared(programs: &Path, out: &Path) -> Result<(), Failure> {
    let _ = fs::remove_dir_all(out); // of the last comparison
    fs::create_dir_all(out)?;
    let (p50, p99) = syncs(out)?;
    println!("An fdatasync of 4 KiB takes {p50:.2} ms at p50, {p99:.2} ms at p99, on this disk now.\n");
    println!(
        "| heartbeats/s | writes in a commit | the server | verify and decode | encode and sign | bare HTTP | store | these four | ratio |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for rate in RATES {
        let Some((server_us, group)) = of_server(programs, &out.join(format!("server-{rate}")), rate)? else {
            println!("| {rate} | | more than one core | | | | | | |");
            break;
        };
        let http_us = of_bare_http(&out.join(format!("bare-{rate}")), rate)?;
        let [verify_us, sign_us, store_us] = of_parts(group, &out.join(format!("parts-{rate}")))?;
        let sum_us = verify_us + sign_us + http_us + store_us;
        println!(
            "| {rate} | {group:.1} | {server_us:.1} µs | {verify_us:.1} | {sign_us:.1} | {http_us:.1} | {store_us:.1} | {sum_us:.1} | {:.2} |",
            server_us / sum_us
        );
    }
    Ok(())
}

/// CPU of the server for each heartbeat, in microseconds, and how many writes a commit had; none if one core can't take so many.
fn of_server(programs: &Path, folder: &Path, rate: u32) -> Result<Option<(f64, f64)>, Failure> {
    let server = Server::ks_server(programs, folder, Some(CORES.0))?;
    let mut fleet = server.fleet(programs, ("run", SCENARIO), Some(CORES.1));
    let (devices, duration) = (rate.to_string(), (WARM_UP + MEASURED + Duration::from_secs(4)).as_secs());
    fleet.args(["--devices", &devices, "--duration", &format!("{duration}s"), "--events", "none", "--quiet"]);
    let mut fleet = fleet.stderr(Stdio::null()).spawn()?;
    sleep(WARM_UP);
    let look = || -> Result<[f64; 4], Failure> {
        let metric = |series| server.metric(series);
        Ok([
            server.cpu_s()?,
            metric("ks_answers_total{path=\"/heartbeat\",code=\"OK\"}")?,
            metric("ks_store_commit_group_size_sum")?,
            metric("ks_store_commit_group_size_count")?,
        ])
    };
    let before = look()?;
    sleep(MEASURED);
    let after = look()?;
    fleet.wait()?;
    let [cpu_s, heartbeats, writes, commits] = std::array::from_fn(|at| after[at] - before[at]);
    let wanted = f64::from(rate) * MEASURED.as_secs_f64();
    let is_taken = heartbeats >= wanted * 0.98;
    Ok(is_taken.then_some((cpu_s * 1e6 / heartbeats, writes / commits)))
}

/// CPU of a bare hyper server for each request, in microseconds.
fn of_bare_http(folder: &Path, rate: u32) -> Result<f64, Failure> {
    let this = std::env::current_exe()?;
    let server = Server::start("a bare hyper server", folder, |port| {
        let mut command = on_core(Some(CORES.0), &this);
        command.args(["bare", port]);
        command
    })?;
    let mut client = on_core(Some(CORES.1), &this);
    let mut client = client.args(["client", &server.address().to_string(), &rate.to_string()]).spawn()?;
    sleep(Duration::from_secs(3));
    let before_s = server.cpu_s()?;
    sleep(MEASURED);
    let used_s = server.cpu_s()? - before_s;
    client.kill()?;
    client.wait()?;
    Ok(used_s * 1e6 / (f64::from(rate) * MEASURED.as_secs_f64()))
}

/// CPU of the parts for each heartbeat, in microseconds: verify and decode, encode and sign, store.
fn of_parts(group: f64, folder: &Path) -> Result<[f64; 3], Failure> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some writes in a commit, at least one"
    )]
    let group = group.round() as u32;
    let mut command: Command = on_core(Some(CORES.0), &std::env::current_exe()?);
    let printed = command.args(["parts", &group.to_string()]).arg(folder).output()?;
    let printed = String::from_utf8(printed.stdout)?;
    let parts: Vec<f64> = printed.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    <[f64; 3]>::try_from(parts).map_err(|_| "the parts could not be measured".into())
}

fn parts(group: u32, folder: &Path) -> Result<(), Failure> {
    let (device, server) = (PrivateKey::from_seed(&[1; 32]), PrivateKey::from_seed(&[2; 32]));
    let (device_key, key_id) = (device.public_key().verifier()?, server.public_key().key_id());
    let (request, answer) = (sign_request(&device, &beat())?, next_beat());
    let sig_dev = request.sig_dev.to_string();
    let verify_us = cpu_us(5_000, || {
        let signed = document::split(request.wire.as_bytes(), SIG_DEV).unwrap();
        let input = signing_input(Context::Request { method: "POST", path: "/heartbeat" }, signed.body);
        assert!(device_key.verifies(input.as_bytes(), &signed.signature));
        drop(black_box(document::decode::<Heartbeat>(signed.body).unwrap()));
    });
    let sign_us = cpu_us(5_000, || drop(black_box(seal_response(&server, &key_id, 200, &sig_dev, &answer))));
    println!("{verify_us} {sign_us} {}", store_us(group, folder)?);
    Ok(())
}

/// CPU of this thread for each of `count` operations, in microseconds.
fn cpu_us(count: u32, mut operation: impl FnMut()) -> f64 {
    (0..count / 10).for_each(|_| operation()); // until caches are warm
    let before = own_thread_cpu();
    (0..count).for_each(|_| operation());
    own_thread_cpu().saturating_sub(before).as_secs_f64() * 1e6 / f64::from(count)
}

/// CPU of this process for each heartbeat stored in commits of `group`, in microseconds, with the log's copying back.
fn store_us(group: u32, folder: &Path) -> Result<f64, Failure> {
    const DEVICES: u32 = 3_000;
    let mut store = store_with(folder, DEVICES.into(), SqliteUse::shared(Synchronous::Full));
    let beats = heartbeats(STORED, DEVICES, &mut 0);
    let before_s = own_cpu_s();
    commit_in_groups(&mut store, &beats, usize::try_from(group.max(1))?);
    Ok((own_cpu_s() - before_s) * 1e6 / f64::from(STORED))
}

fn beat() -> Heartbeat {
    sample_beat("KS-000042", (7, 1_087))
}

fn next_beat() -> NextBeat {
    NextBeat {
        kind: Default::default(),
        server_time: UnixMs(1_795_458_011_520),
        next_beat_ms: 59_212,
        keyset_version: 1,
        commands: Rows::default(),
        firmware: None,
    }
}

/// The bodies of a heartbeat's request and answer, as they are sent.
fn bodies() -> Result<(String, String), Failure> {
    let (device, server) = (PrivateKey::from_seed(&[1; 32]), PrivateKey::from_seed(&[2; 32]));
    let request = sign_request(&device, &beat())?;
    let sig_dev = request.sig_dev.to_string();
    let answer = seal_response(&server, &server.public_key().key_id(), 200, &sig_dev, &next_beat())?;
    Ok((request.wire, answer))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Answers each POST with a body as long as a heartbeat's answer, once it has read the request's.
async fn bare(port: &str) -> Result<(), Failure> {
    let answer = Bytes::from(bodies()?.1);
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = answer.clone();
        tokio::spawn(http1::Builder::new().serve_connection(
            TokioIo::new(stream),
            service_fn(move |request: Request<hyper::body::Incoming>| {
                let answer = answer.clone();
                async move {
                    let _ = request.into_body().collect().await; // a client that has gone
                    let response = Response::builder().header("content-type", "text/toon; charset=utf-8");
                    Ok::<_, Infallible>(response.body(Full::new(answer)).unwrap())
                }
            }),
        ));
    }
}

/// `rate` connections, each of which sends a heartbeat a second, evenly spread.
async fn client(address: &str, rate: u32) -> Result<(), Failure> {
    let body = bodies()?.0;
    let request = format!(
        "POST /heartbeat HTTP/1.1\r\nhost: {address}\r\ncontent-type: text/toon; charset=utf-8\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let began = tokio::time::Instant::now() + Duration::from_secs(1);
    let mut beating = Vec::new();
    for number in 0..rate {
        let (request, mut stream) = (request.clone(), TcpStream::connect(address).await?);
        stream.set_nodelay(true)?;
        beating.push(tokio::spawn(async move {
            let mut answer = vec![0; 4_096];
            for second in 0.. {
                let due = Duration::from_secs(second) + Duration::from_secs(1) * number / rate;
                tokio::time::sleep_until(began + due).await;
                stream.write_all(request.as_bytes()).await?;
                // One read: the answer is shorter than a segment.
                if stream.read(&mut answer).await? == 0 {
                    break;
                }
            }
            Ok::<_, std::io::Error>(())
        }));
    }
    for beating in beating {
        beating.await??;
    }
    Ok(())
}
