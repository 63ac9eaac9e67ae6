//! Goal: a request is stored once, however often it arrives, and the answer to a copy returns the stored pair to the device.
//! Method: the same signed bytes again: immediately, after a restart, after a crash, and many at a time.

use crate::support::{Device, NO_LIMITS, Server, start_server};
use ks_protocol::{
    id::Sequence,
    message::NextBeat,
    refusal::{RefusalCode, RefusalDocument},
    signature::{Reply, SignedRequest},
};
use tokio::task::JoinSet;

fn pair(refusal: &RefusalDocument) -> Sequence {
    Sequence { boot_epoch: refusal.server_boot_epoch.unwrap(), seq: refusal.server_seq.unwrap() }
}

async fn replay(device: &mut Device, signed: &SignedRequest) -> RefusalDocument {
    device.send::<NextBeat>("/heartbeat", signed).await.refusal(RefusalCode::StaleSequence)
}

/// Goal: a copy is refused with the server's pair, and changes nothing.
/// Method: the newest and an older heartbeat again, then a smaller boot epoch with a greater seq.
#[tokio::test]
async fn an_exact_replay_is_stale_and_returns_the_stored_pair() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let beat = device.next_heartbeat();
    let older = device.sign(&beat);
    device.send::<NextBeat>("/heartbeat", &older).await.answer();
    assert_eq!(pair(&replay(&mut device, &older).await), Sequence::new(1, 2));

    device.beat().await.answer();
    assert_eq!(pair(&replay(&mut device, &older).await), Sequence::new(1, 3));

    device.at = Sequence::new(0, 1_000);
    let refusal = device.beat().await.refusal(RefusalCode::StaleSequence);
    assert_eq!(pair(&refusal), Sequence::new(1, 3));
    assert_eq!(server.beats().len(), 2);
}

/// Goal: a device that lost its counters recovers with the pair in the refusal.
/// Method: it starts from nothing, is refused, and continues from a later boot epoch.
#[tokio::test]
async fn a_device_that_lost_its_counters_recovers_with_the_returned_pair() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    device.at = Sequence::new(7, 1_086);
    device.beat().await.answer();

    device.at = Sequence::new(1, 0);
    let kept = pair(&device.beat().await.refusal(RefusalCode::StaleSequence));
    assert_eq!(kept, Sequence::new(7, 1_087));
    device.at = Sequence::new(kept.boot_epoch + 1, 0);
    device.beat().await.answer();
}

/// Goal: a registration can't be replayed either, nor used to reset the counters.
/// Method: the same signed registration twice.
#[tokio::test]
async fn a_replayed_registration_is_stale() {
    let server = start_server(&[]);
    let mut device = server.whitelisted("KS-1").await;
    let message = device.next_register(None);
    let signed = device.sign(&message);
    device.send::<ks_protocol::message::Registered>("/register", &signed).await.answer();
    device.send::<ks_protocol::message::Registered>("/register", &signed).await.refusal(RefusalCode::StaleSequence);
}

async fn replay_after(stop: impl AsyncFnOnce(&mut Server)) {
    let mut server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let beat = device.next_heartbeat();
    let signed = device.sign(&beat);
    device.send::<NextBeat>("/heartbeat", &signed).await.answer();
    stop(&mut server).await;
    server.start_again();
    device.moves_to(&server, crate::support::HOME);
    assert_eq!(pair(&replay(&mut device, &signed).await), Sequence::new(1, 2));
    assert_eq!(server.beats().len(), 1);
    device.beat().await.answer();
}

/// Goal: the pair survives a graceful stop.
/// Method: SIGTERM, restart, replay.
#[tokio::test]
async fn a_replay_is_stale_after_a_restart() {
    replay_after(async |server| {
        server.terminate();
        assert_eq!(server.ended().await.code(), Some(0));
    })
    .await;
}

/// Goal: the pair survives a crash.
/// Method: SIGKILL, restart, replay.
#[tokio::test]
async fn a_replay_is_stale_after_kill_9() {
    replay_after(async |server| server.kill_9()).await;
}

/// Sends the same bytes on as many connections as there are devices; returns how many were answered with OK.
async fn race(twins: Vec<Device>, signed: &SignedRequest, meanwhile: impl AsyncFnOnce()) -> usize {
    let mut racing = JoinSet::new();
    for mut twin in twins {
        twin.line.connect().await.unwrap();
        let signed = signed.clone();
        racing.spawn(async move { twin.send::<NextBeat>("/heartbeat", &signed).await });
    }
    meanwhile().await;
    let mut stored = 0;
    while let Some(answer) = racing.join_next().await {
        match answer.unwrap() {
            answer @ crate::support::VerifiedAnswer { reply: Reply::Refused(_), .. } => {
                assert_eq!(pair(&answer.refusal(RefusalCode::StaleSequence)), Sequence::new(1, 2));
            }
            _ => stored += 1,
        }
    }
    stored
}

const TWINS: usize = 50;

async fn twins(server: &Server) -> (Vec<Device>, SignedRequest) {
    let mut device = server.registered("KS-1").await;
    let beat = device.next_heartbeat();
    let signed = device.sign(&beat);
    ((0..TWINS).map(|_| server.device("KS-1")).collect(), signed)
}

/// Goal: identical requests that race are stored once.
/// Method: 50 connections, opened before, send the same bytes at once.
#[tokio::test]
async fn of_50_identical_requests_that_race_exactly_one_is_stored() {
    let server = start_server(&NO_LIMITS);
    let (twins, signed) = twins(&server).await;
    assert_eq!(race(twins, &signed, async || {}).await, 1);
    assert_eq!(server.beats(), [("KS-1".to_owned(), 1, 2)]);
}

/// Goal: the store decides finally about a replay: the state in memory, which does not have the first copy yet, can't let a second
/// one in.
/// Method: commits are held back until all 50 have passed the checks in memory and wait for the store.
#[tokio::test]
async fn of_50_identical_requests_that_all_pass_memory_exactly_one_is_stored() {
    let settings = [&NO_LIMITS[..], &[("COMMIT_GROUP_MAX", "1")]].concat();
    let server = start_server(&settings);
    server.wait_until_idle().await;
    let (twins, signed) = twins(&server).await;
    let held = server.hold_commits();
    let all_wait = async || {
        server.wait_for_queued_writes(TWINS as u64 - 1).await; // one more is in the held commit
        drop(held);
    };
    assert_eq!(race(twins, &signed, all_wait).await, 1);
    assert_eq!(server.beats(), [("KS-1".to_owned(), 1, 2)]);
}
