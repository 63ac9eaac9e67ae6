//! Prints the tables of docs/performance.md, "A core of each side": what a signed, durable heartbeat costs a server that has one core, and a
//! generator that has one, each beside the sum of what it can't do without: signing, verifying, TOON, HTTP of bare hyper with bodies as long,
//! and for the server its share of a commit of as many heartbeats. All of it is CPU time of the same core, one after the other.
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
    exchange::Exchange,
    fleet::{commit_in_groups, heartbeats, store_with},
    server::{Failure, Server, on_core, syncs},
};
use ks_fleet::host::resources::{cpu_s_of, own_cpu_s, own_thread_cpu};
use ks_server::config::{SqliteUse, Synchronous};
use tokio::net::{TcpListener, TcpStream};

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
    let mut generators = Vec::new();
    for rate in RATES {
        let Some(run) = loaded(programs, &out.join(format!("run-{rate}")), rate, "all")? else {
            println!("| {rate} | | more than one core | | | | | | |");
            break;
        };
        let sampled = loaded(programs, &out.join(format!("sampled-{rate}")), rate, "10%")?;
        let bare = bare_http(&out.join(format!("bare-{rate}")), rate)?;
        let parts = parts_of(run.group, &out.join(format!("parts-{rate}")))?;
        let sum_us = parts.server_verifies_us + parts.server_signs_us + bare.server_us + parts.stores_us;
        println!(
            "| {rate} | {:.1} | {:.1} µs | {:.1} | {:.1} | {:.1} | {:.1} | {sum_us:.1} | {:.2} |",
            run.group,
            run.server_us,
            parts.server_verifies_us,
            parts.server_signs_us,
            bare.server_us,
            parts.stores_us,
            run.server_us / sum_us
        );
        generators.push((rate, run.generator_us, sampled.map(|of| of.generator_us), bare.client_us, parts));
    }
    println!(
        "\n| heartbeats/s | the generator | encode and sign | verify and decode | bare HTTP | these three | ratio | with `--verify 10%` | times as many |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (rate, all_us, sampled_us, http_us, parts) in generators {
        let sum_us = parts.device_signs_us + parts.device_verifies_us + http_us;
        let sampled_us = sampled_us.unwrap_or(f64::NAN);
        println!(
            "| {rate} | {all_us:.1} µs | {:.1} | {:.1} | {http_us:.1} | {sum_us:.1} | {:.2} | {sampled_us:.1} µs | {:.2} |",
            parts.device_signs_us,
            parts.device_verifies_us,
            all_us / sum_us,
            all_us / sampled_us
        );
    }
    Ok(())
}

/// CPU for each heartbeat, in microseconds, of the server and of the generator, and how many writes a commit had.
struct Run {
    server_us: f64,
    generator_us: f64,
    group: f64,
}

/// Loads the server with `rate` heartbeats a second, of which answers the generator verifies `verify`; none if one core can't take so many.
fn loaded(programs: &Path, folder: &Path, rate: u32, verify: &str) -> Result<Option<Run>, Failure> {
    let server = Server::ks_server(programs, folder, Some(CORES.0))?;
    let mut fleet = server.fleet(programs, ("run", SCENARIO), Some(CORES.1));
    let (devices, duration) = (rate.to_string(), (WARM_UP + MEASURED + Duration::from_secs(4)).as_secs());
    fleet.args(["--devices", &devices, "--duration", &format!("{duration}s"), "--events", "none", "--quiet"]);
    let mut fleet = fleet.args(["--verify", verify]).stderr(Stdio::null()).spawn()?;
    sleep(WARM_UP);
    let look = || -> Result<[f64; 5], Failure> {
        let metric = |series| server.metric(series);
        Ok([
            server.cpu_s()?,
            cpu_s_of(fleet.id()).ok_or("the generator ended")?,
            metric("ks_answers_total{path=\"/heartbeat\",code=\"OK\"}")?,
            metric("ks_store_commit_group_size_sum")?,
            metric("ks_store_commit_group_size_count")?,
        ])
    };
    let before = look()?;
    sleep(MEASURED);
    let after = look()?;
    fleet.wait()?;
    let [server_s, generator_s, heartbeats, writes, commits] = std::array::from_fn(|at| after[at] - before[at]);
    let is_taken = heartbeats >= f64::from(rate) * MEASURED.as_secs_f64() * 0.98;
    Ok(is_taken.then_some(Run {
        server_us: server_s * 1e6 / heartbeats,
        generator_us: generator_s * 1e6 / heartbeats,
        group: writes / commits,
    }))
}

/// CPU for each request, in microseconds, of a bare hyper server and of a bare hyper client.
struct BareHttp {
    server_us: f64,
    client_us: f64,
}

fn bare_http(folder: &Path, rate: u32) -> Result<BareHttp, Failure> {
    let this = std::env::current_exe()?;
    let server = Server::start("a bare hyper server", folder, |port| {
        let mut command = on_core(Some(CORES.0), &this);
        command.args(["bare", port]);
        command
    })?;
    let mut client = on_core(Some(CORES.1), &this);
    let mut client = client.args(["client", &server.address().to_string(), &rate.to_string()]).spawn()?;
    sleep(Duration::from_secs(3));
    let look = || -> Result<[f64; 2], Failure> {
        Ok([server.cpu_s()?, cpu_s_of(client.id()).ok_or("the bare client ended")?])
    };
    let before = look()?;
    sleep(MEASURED);
    let after = look()?;
    client.kill()?;
    client.wait()?;
    let [server_us, client_us] =
        std::array::from_fn(|at| (after[at] - before[at]) * 1e6 / (f64::from(rate) * MEASURED.as_secs_f64()));
    Ok(BareHttp { server_us, client_us })
}

/// CPU of the parts for each heartbeat, in microseconds.
struct Parts {
    server_verifies_us: f64,
    server_signs_us: f64,
    device_signs_us: f64,
    device_verifies_us: f64,
    stores_us: f64,
}

fn parts_of(group: f64, folder: &Path) -> Result<Parts, Failure> {
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
    let [server_verifies_us, server_signs_us, device_signs_us, device_verifies_us, stores_us] =
        <[f64; 5]>::try_from(parts).map_err(|_| "the parts could not be measured")?;
    Ok(Parts { server_verifies_us, server_signs_us, device_signs_us, device_verifies_us, stores_us })
}

fn parts(group: u32, folder: &Path) -> Result<(), Failure> {
    let exchange = Exchange::sample();
    let verify_us = cpu_us(5_000, || drop(black_box(exchange.server_verifies())));
    let sign_us = cpu_us(5_000, || _ = black_box(exchange.server_signs()));
    let device_sign_us = cpu_us(5_000, || _ = black_box(exchange.device_signs()));
    let device_verify_us = cpu_us(5_000, || drop(black_box(exchange.device_verifies())));
    println!("{verify_us} {sign_us} {device_sign_us} {device_verify_us} {}", store_us(group, folder)?);
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

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Answers each POST with a body as long as a heartbeat's answer, once it has read the request's.
async fn bare(port: &str) -> Result<(), Failure> {
    let answer = Bytes::from(Exchange::sample().sealed);
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

/// `rate` connections, each of which sends a heartbeat a second, evenly spread, and reads the answer.
async fn client(address: &str, rate: u32) -> Result<(), Failure> {
    let body = Bytes::from(Exchange::sample().request);
    let began = tokio::time::Instant::now() + Duration::from_secs(1);
    let mut beating = Vec::new();
    for number in 0..rate {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let (body, host) = (body.clone(), address.to_owned());
        beating.push(tokio::spawn(async move {
            for second in 0.. {
                let due = Duration::from_secs(second) + Duration::from_secs(1) * number / rate;
                tokio::time::sleep_until(began + due).await;
                let request = Request::post("/heartbeat").header("host", &host);
                let request = request.header("content-type", "text/toon; charset=utf-8");
                let answer = sender.send_request(request.body(Full::new(body.clone())).unwrap()).await?;
                drop(black_box(answer.into_body().collect().await?.to_bytes()));
            }
            Ok::<_, hyper::Error>(())
        }));
    }
    for beating in beating {
        beating.await??;
    }
    Ok(())
}
