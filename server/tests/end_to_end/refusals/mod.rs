//! Goal: every refusal of the server can be verified and acted on: its code and status, signed, and bound to the request if that
//! has a signature.
//! Method: one invalid request for each reason, over the wire; [`crate::support::VerifiedAnswer::refusal`] checks what all refusals
//! share.

mod budgets;
mod codes;
mod documents;
mod requests;

use ks_protocol::{message::NextBeat, refusal::RefusalCode as Code};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::{CommitHold, Device, Server, start_server};

/// Goal: more than the store can take is refused immediately with a time to wait, and none of it is stored.
/// Method: commits are held, the queue of 16 fills up, one more request is sent.
#[tokio::test]
async fn a_full_queue_is_overloaded_and_queued_writes_are_stored() {
    let server = start_server(&[("STORE_QUEUE_MAX", "16"), ("COMMIT_GROUP_MAX", "1")]);
    let mut late = server.registered("KS-late").await;
    let (held, waiting) = fill_queue(&server).await;
    late.beat().await.refusal(Code::Overloaded);
    let problem = server.post("/api/otrts", &json!({ "count": 1, "ttl_s": 60 })).await.problem(503);
    assert!(problem["detail"].as_str().unwrap().contains("retry later"), "{problem}");
    drop(held);
    for beat in waiting {
        beat.await.unwrap();
    }
    assert_eq!(server.beats().len(), 17);
    late.beat().await.answer();
}

/// Holds commits, and fills a queue of 16 with heartbeats, which wait; one more is in the held commit.
async fn fill_queue(server: &Server) -> (CommitHold, Vec<JoinHandle<NextBeat>>) {
    server.wait_until_idle().await;
    let mut first = server.fleet("KS", 17).await;
    let rest = first.split_off(2);
    let beat = |mut device: Device| tokio::spawn(async move { device.beat().await.answer() });
    let held = server.hold_commits();
    let mut waiting: Vec<_> = first.into_iter().map(beat).collect();
    server.wait_for_queued_writes(1).await; // the other one is in the held commit
    waiting.extend(rest.into_iter().map(beat));
    server.wait_for_queued_writes(16).await;
    (held, waiting)
}

/// Goal: a store that fails is INTERNAL, which guarantees nothing, and the server keeps serving.
/// Method: another program removes the table, and restores it.
#[tokio::test]
async fn a_failing_store_is_internal_and_recovers_after_repair() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    server.break_heartbeats();
    let message = device.next_heartbeat();
    let signed = device.sign(&message);
    device.send::<NextBeat>("/heartbeat", &signed).await.refusal(Code::Internal);
    server.mend_heartbeats();
    device.send::<NextBeat>("/heartbeat", &signed).await.answer(); // the pair was not used up
    assert_eq!(server.beats().len(), 1);
    assert_eq!(server.metric("ks_store_commit_failures_total").await, Some(1.0));
}
