//! Goal: when writes wait too long, what can wait is refused at once by a signed answer, and what must not wait is not.
//! Method: commits are held until the server notices that none is answered; a request of each class; the metrics and the API.

use std::time::Duration;

use crate::support::{Device, HOME, Server, eventually, start_server};
use ks_protocol::{
    message::{LogLevel, LogLine},
    refusal::RefusalCode as Code,
    text::Text,
    time::UnixMs,
};

async fn in_progress(server: &Server) -> u64 {
    server.get("/api/limits").await.done()["overload"]["in_progress"].as_u64().unwrap()
}

async fn refused_heartbeats(server: &Server) -> u64 {
    server.get("/api/limits").await.done()["overload"]["refused"]["heartbeats"].as_u64().unwrap()
}

async fn refused(server: &Server, class: &str) -> Option<f64> {
    server.metric(&format!("ks_overload_refused_total{{class=\"{class}\"}}")).await
}

fn line() -> LogLine {
    LogLine { at: UnixMs(1_795_458_000_000), level: LogLevel::Info, message: Text::truncated("a line") }
}

#[tokio::test]
async fn while_writes_wait_log_lines_and_heartbeats_are_refused_and_the_rest_is_not() {
    // The limit falls as far as to 16.
    let mut server = start_server(&[("COMMIT_GROUP_MAX", "8"), ("OVERLOAD_TARGET_MS", "100")]);
    let mut awaited = server.registered("KS-awaited").await;
    server.enqueue(&awaited, "reboot", "").await;
    server.kill_9();
    server.start_again(); // from now on it knows for which devices commands wait
    awaited.moves_to(&server, HOME);
    let mut fleet = server.fleet("KS", 40).await;
    let mut late = server.registered("KS-late").await;
    server.wait_until_idle().await;
    let beat = |mut device: Device| tokio::spawn(async move { device.beat().await });
    let held = server.hold_commits();
    let mut waiting = Vec::new();
    let last = fleet.split_off(39);
    for device in fleet {
        waiting.push(beat(device));
    }
    // On a slow machine the limit falls while they arrive, and the last ones are refused.
    let arrived = async || in_progress(&server).await + refused_heartbeats(&server).await;
    eventually("they wait", async || arrived().await >= 39).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    waiting.extend(last.into_iter().map(beat)); // ends the window in which something was answered
    eventually("it waits too", async || arrived().await >= 40).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let (waits, refused_before) = (in_progress(&server).await, refused_heartbeats(&server).await);
    assert!(waits >= 16, "{waits}");

    let refusal = late.beat().await.refusal(Code::Overloaded);
    assert!((30..=37).contains(&refusal.retry_after_s.unwrap()), "half an interval, spread: {refusal:?}");
    let refusal = late.send_logs(1, vec![line()]).await.refusal(Code::Overloaded);
    assert!((60..=75).contains(&refusal.retry_after_s.unwrap()), "{refusal:?}");
    let awaited = beat(awaited);
    eventually("the heartbeat that fetches a command waits", async || in_progress(&server).await > waits).await;
    drop(held);
    for done in waiting.into_iter().chain([awaited]) {
        done.await.unwrap(); // stored, unless this machine was so slow that the commit was given up
    }
    assert_eq!([refused(&server, "logs").await, refused(&server, "first").await], [Some(1.0), Some(0.0)]);
    assert_eq!(refused_heartbeats(&server).await, refused_before + 1);
    assert!(refused(&server, "heartbeats").await >= Some(1.0));
    let in_progress_max = server.get("/api/limits").await.done()["overload"]["in_progress_max"].as_u64().unwrap();
    assert!(in_progress_max > waits && server.metric("ks_store_writes_in_progress_max").await >= Some(17.0));
    assert!(server.metric("ks_limit_memory_bytes").await > Some(1_000.0));
    late.beat().await.answer();
}
