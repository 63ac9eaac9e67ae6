//! Goal: what was acknowledged is stored exactly once, whatever happens to the process; a stop finishes the requests in progress;
//! data older than the retention is deleted, and nothing else.
//! Method: SIGKILL and SIGTERM of the real executable under load, with the production setting of SQLite; the database is read.

use std::{collections::BTreeMap, sync::Arc};

use crate::support::{Device, Line, NO_LIMITS, Server, bare_answer, eventually, read_answer, start_server, world};
use ks_protocol::{
    id::Sequence,
    message::NextBeat,
    refusal::RefusalCode,
    signature::{NO_SIG_DEV, Reply, SignedRequest},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
    task::JoinSet,
};

/// What one device did until the server ended.
struct Load {
    device: Device,
    acked: Vec<(String, u32, i64)>,
    unanswered: SignedRequest,
}

/// The most heartbeats of one device; far more than any stop lets it send.
const BEATS_MAX: usize = 20_000;

/// Beats until the connection breaks; `acks` gets a permit for each answer.
async fn beat_until_disconnected(mut device: Device, acks: Arc<Semaphore>) -> Load {
    let mut acked = Vec::new();
    for _ in 0..BEATS_MAX {
        let message = device.next_heartbeat();
        let signed = device.sign(&message);
        match device.try_send::<NextBeat>("/heartbeat", &signed).await {
            Ok(answer) => {
                answer.answer();
                acked.push((device.id.to_string(), device.at.boot_epoch, i64::try_from(device.at.seq.get()).unwrap()));
                acks.add_permits(1);
            }
            Err(_) => return Load { device, acked, unanswered: signed },
        }
    }
    panic!("the server is still there after {BEATS_MAX} heartbeats");
}

/// Starts heartbeats of several devices, and stops the server in the middle of them.
async fn stop_under_load(server: &mut Server, stop: impl FnOnce(&mut Server)) -> Vec<Load> {
    let acks = Arc::new(Semaphore::new(0));
    let mut loads = JoinSet::new();
    for device in server.fleet("KS", 8).await {
        loads.spawn(beat_until_disconnected(device, Arc::clone(&acks)));
    }
    drop(acks.acquire_many(200).await.unwrap());
    stop(server);
    loads.join_all().await
}

/// No row is duplicated, and every acknowledged heartbeat is a row.
fn check_stored(server: &Server, loads: &[Load]) {
    let mut rows = BTreeMap::new();
    for beat in server.beats() {
        *rows.entry(beat).or_insert(0) += 1;
    }
    let acked: usize = loads.iter().map(|load| load.acked.len()).sum();
    assert!(acked >= 200 && rows.len() >= acked && rows.len() <= acked + loads.len(), "{acked} {}", rows.len());
    assert!(rows.values().all(|count| *count == 1), "{rows:?}");
    for beat in loads.iter().flat_map(|load| &load.acked) {
        assert!(rows.contains_key(beat), "{beat:?} was acknowledged and is not stored");
    }
}

/// Goal: a crash loses nothing that was acknowledged and stores nothing twice, also when devices resend what was not answered.
/// Method: SIGKILL while 8 devices beat as fast as they can; restart; each resends its unanswered heartbeat.
#[tokio::test]
async fn after_kill_9_under_load_every_acknowledged_heartbeat_is_stored_once() {
    let mut server = start_server(&[&NO_LIMITS[..], &[("STORE_SYNCHRONOUS", "full")]].concat());
    let loads = stop_under_load(&mut server, Server::kill_9).await;
    check_stored(&server, &loads); // the files as they are after the crash
    server.start_again();
    check_stored(&server, &loads);

    let sent: usize = loads.iter().map(|load| load.acked.len() + 1).sum();
    for Load { mut device, unanswered, .. } in loads {
        device.moves_to(&server, crate::support::HOME);
        let answer = device.send::<NextBeat>("/heartbeat", &unanswered).await;
        if matches!(answer.reply, Reply::Refused(_)) {
            let refusal = answer.refusal(RefusalCode::StaleSequence);
            let kept = Sequence { boot_epoch: refusal.server_boot_epoch.unwrap(), seq: refusal.server_seq.unwrap() };
            assert_eq!(kept, device.at, "it was stored, and the refusal says so");
        }
        device.beat().await.answer();
    }
    let mut stored = server.beats();
    assert_eq!(stored.len(), sent + 8);
    stored.sort();
    stored.dedup();
    assert_eq!(stored.len(), sent + 8);
}

/// Goal: an orderly stop under load ends with exit code 0, and everything acknowledged is stored once.
/// Method: SIGTERM while 8 devices beat as fast as they can.
#[tokio::test]
async fn after_sigterm_under_load_every_acknowledged_heartbeat_is_stored_once() {
    let mut server = start_server(&[&NO_LIMITS[..], &[("STORE_SYNCHRONOUS", "full")]].concat());
    let loads = stop_under_load(&mut server, |server| server.terminate()).await;
    assert_eq!(server.ended().await.code(), Some(0));
    check_stored(&server, &loads);
    assert!(server.log().contains("stopped; all answered requests are on disk"), "{}", server.log());
}

async fn until_stopping(server: &Server) {
    eventually("the server has received SIGTERM", async || server.log().contains("SIGTERM")).await;
}

/// Goal: requests that wait for the store when the stop begins are answered and stored.
/// Method: commits are held; devices beat; SIGTERM; commits continue. An idle connection must not delay the end.
#[tokio::test]
async fn requests_that_wait_for_the_store_at_sigterm_are_answered() {
    let mut server = start_server(&[("COMMIT_GROUP_MAX", "1"), ("SHUTDOWN_GRACE_MS", "600000")]);
    server.wait_until_idle().await;
    let mut idle = server.registered("KS-idle").await;
    idle.beat().await.answer();
    let fleet = server.fleet("KS", 5).await;
    let held = server.hold_commits();
    let beats: Vec<_> =
        fleet.into_iter().map(|mut device| tokio::spawn(async move { device.beat().await.answer() })).collect();
    server.wait_for_queued_writes(4).await; // the fifth is in the held commit
    server.terminate();
    until_stopping(&server).await;
    drop(held);
    for beat in beats {
        beat.await.unwrap();
    }
    assert_eq!(server.ended().await.code(), Some(0));
    assert_eq!(server.beats().len(), 6);
    assert!(idle.try_beat().await.is_err());
}

/// Goal: a request whose body is still in transit when the stop begins is answered and stored.
/// Method: the server asks for the body (100 Continue), receives SIGTERM, and only then the body.
#[tokio::test]
async fn a_request_whose_body_arrives_after_sigterm_is_answered() {
    let mut server = start_server(&[("SHUTDOWN_GRACE_MS", "600000")]);
    let mut device = server.registered("KS-1").await;
    let message = device.next_heartbeat();
    let signed = device.sign(&message);
    let mut stream = begin_request(&server, signed.wire.len()).await;
    server.terminate();
    until_stopping(&server).await;
    stream.write_all(signed.wire.as_bytes()).await.unwrap();
    let answer = bare_answer(&mut stream).await;
    read_answer::<NextBeat>(answer, &signed.sig_dev.to_string()).answer();
    assert_eq!(server.ended().await.code(), Some(0));
    assert_eq!(server.beats(), [("KS-1".to_owned(), 1, 2)]);
}

/// Sends a head, and waits until the server waits for the body.
async fn begin_request(server: &Server, body_bytes: usize) -> tokio::net::TcpStream {
    let mut stream = Line::bare(server.address(), crate::support::HOME).await.unwrap();
    let head = format!(
        "POST /heartbeat HTTP/1.1\r\nhost: a\r\ncontent-type: text/toon\r\nexpect: 100-continue\r\ncontent-length: {body_bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

/// Goal: a client that never finishes a request does not keep the server from stopping.
/// Method: half a request, a short grace period, SIGTERM; also: a request that was begun but not answered is not stored.
#[tokio::test]
async fn an_unfinished_request_delays_the_stop_only_by_the_grace_period() {
    let mut server = start_server(&[("SHUTDOWN_GRACE_MS", "50"), ("REQUEST_TIMEOUT_MS", "600000")]);
    let _stream = begin_request(&server, 100).await;
    server.terminate();
    assert_eq!(server.ended().await.code(), Some(0));
    assert!(server.log().contains("still in progress when the grace ended"), "{}", server.log());
}

/// Goal: a body that times out is answered as such also while the server stops.
/// Method: half a request, SIGTERM, and a request time-out shorter than the grace period.
#[tokio::test]
async fn a_body_that_times_out_during_the_stop_is_answered() {
    let mut server = start_server(&[("SHUTDOWN_GRACE_MS", "600000"), ("REQUEST_TIMEOUT_MS", "2000")]);
    let mut stream = begin_request(&server, 100).await;
    server.terminate();
    let answer = bare_answer(&mut stream).await;
    read_answer::<NextBeat>(answer, NO_SIG_DEV).refusal(RefusalCode::RequestTimeout);
    assert_eq!(server.ended().await.code(), Some(0));
}

/// Goal: heartbeats older than the retention are deleted, younger ones stay.
/// Method: rows received just more and just less than a day ago are there before the start; retention is a day.
#[tokio::test]
async fn heartbeats_older_than_the_retention_are_deleted_and_younger_ones_stay() {
    let world = world(&[("HEARTBEAT_RETENTION_DAYS", "1")]);
    assert_eq!(world.run(&["migrate"]).code, Some(0));
    let day_s = 24 * 3_600;
    world.insert_beats(2_500, "KS-old", day_s + 60);
    world.insert_beats(10, "KS-young", day_s - 600);

    let server = world.start();
    server.registered("KS-new").await.beat().await.answer();
    let count = |device_id: &str| server.beats().iter().filter(|(of, ..)| of == device_id).count();
    eventually("the old rows are deleted", async || count("KS-old") == 0).await;
    assert_eq!((count("KS-young"), count("KS-new")), (10, 1));
}
