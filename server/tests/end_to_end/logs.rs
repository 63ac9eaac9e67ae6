//! Goal: log lines of devices are stored once, are found by device, time, level and text, and are bounded.
//! Method: devices send lines with overlaps and gaps; they are read through the admin API.

use std::time::Duration;

use crate::support::{Count, Server, eventually, start_server};
use ks_protocol::{
    message::{LogLevel, LogLine, LogsStored},
    refusal::RefusalCode as Code,
    signature::Reply,
    text::Text,
    time::UnixMs,
};

/// When the first line was written, by the device's clock.
const START: UnixMs = UnixMs(1_795_458_000_000);

fn line(second: u64, level: LogLevel, message: &str) -> LogLine {
    LogLine { at: START + Duration::from_secs(second), level, message: Text::truncated(message) }
}

async fn found(server: &Server, query: &str) -> Vec<String> {
    let page = server.get(&format!("/api/devices/logs?{query}")).await.done();
    let lines = page["items"].as_array().unwrap().iter();
    lines.map(|line| format!("{} {}", line["device_id"].as_str().unwrap(), line["message"].as_str().unwrap())).collect()
}

/// Goal: a line is stored once, whatever is resent after a lost answer; the server says which line to send next.
/// Method: overlapping batches, the same batch again, a kill -9 in between.
#[tokio::test]
async fn log_lines_are_stored_once_through_retries_and_a_crash() {
    let mut server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let lines = |numbers: std::ops::Range<u64>| {
        numbers.map(|number| line(number, LogLevel::Info, &format!("line {number}"))).collect::<Vec<_>>()
    };
    assert_eq!(device.send_logs(1, lines(1..4)).await.answer().next_line_no.get(), 4);
    assert_eq!(device.send_logs(1, lines(1..6)).await.answer().next_line_no.get(), 6);
    server.kill_9();
    server.start_again();
    device.moves_to(&server, crate::support::HOME);
    assert_eq!(device.send_logs(3, lines(3..7)).await.answer().next_line_no.get(), 7);
    let expected: Vec<String> = (1..7).rev().map(|number| format!("KS-1 line {number}")).collect();
    assert_eq!(found(&server, "device_id=KS-1").await, expected);
}

/// Goal: no device can fill the disk with its log, and heartbeats of one that has sent too many lines are still accepted.
/// Method: a daily limit that is enough for one full batch; a second batch, and one of another device.
#[tokio::test]
async fn daily_log_bytes_per_device_are_bounded() {
    let server = start_server(&[("RATE_LIMIT_DEVICE_LOG_BYTES_PER_DAY", "65536")]);
    let mut fleet = server.fleet("KS", 2).await;
    let batch = || (0..64).map(|second| line(second, LogLevel::Info, &"x".repeat(512))).collect::<Vec<_>>();
    for _ in 0..3 {
        fleet[0].send_logs(1, batch()).await.answer(); // lines that the server has are not charged
    }
    fleet[0].send_logs(65, batch()).await.answer(); // the last batch that starts within the daily limit
    let refusal = fleet[0].send_logs(129, batch()).await.refusal(Code::RateLimited);
    assert!(refusal.message.contains("log limit") && refusal.retry_after_s.unwrap() > 60, "{refusal:?}");
    fleet[0].beat().await.answer();
    fleet[1].send_logs(1, batch()).await.answer();
    assert_eq!(server.count(Count::LogLines), 192);
}

fn is_limited(reply: Reply<LogsStored>) -> bool {
    matches!(reply, Reply::Refused(refusal) if refusal.message.contains("log limit"))
}

/// Goal: the daily limit is also that of a device that hangs up as soon as it has sent its lines.
/// Method: more lines than a day's, none of whose answers is waited for; then a batch that waits.
#[tokio::test]
async fn lines_are_charged_to_a_device_that_hangs_up() {
    let server = start_server(&[("RATE_LIMIT_DEVICE_LOG_BYTES_PER_DAY", "65536"), ("COMMIT_GROUP_MAX", "1")]);
    let mut device = server.registered("KS-1").await;
    let batch = || (0..64).map(|second| line(second, LogLevel::Info, &"x".repeat(512))).collect::<Vec<_>>();
    let unheard = [device.next_logs(1, batch()), device.next_logs(65, batch())];
    device.send_and_hang_up(&server, &unheard).await;
    // Lines that the server has are not charged themselves.
    eventually("the limit is reached", async || is_limited(device.send_logs(1, batch()).await.reply)).await;
    assert_eq!(server.count(Count::LogLines), 128);
}

/// Goal: an operator finds a line by device, time, level and text.
/// Method: two devices, four levels; each filter, and pages.
#[tokio::test]
async fn lines_are_found_by_device_time_level_and_text() {
    let server = start_server(&[]);
    let mut fleet = server.fleet("KS", 2).await;
    let lines = vec![
        line(0, LogLevel::Error, "Reader does not answer"),
        line(60, LogLevel::Debug, "tick"),
        line(120, LogLevel::Warn, "Clock was 3 s off"),
    ];
    fleet[0].send_logs(1, lines).await.answer();
    fleet[1].send_logs(1, vec![line(60, LogLevel::Info, "reader found, \"new\": yes")]).await.answer();
    assert_eq!(found(&server, "text=READER").await, ["KS-1 reader found, \"new\": yes", "KS-0 Reader does not answer"]);
    assert_eq!(found(&server, "level=warn").await, ["KS-0 Clock was 3 s off", "KS-0 Reader does not answer"]);
    let minute = |minute: u64| (START + Duration::from_mins(minute)).to_string();
    let between = format!("since={}&until={}", minute(1), minute(2));
    assert_eq!(found(&server, &between).await, ["KS-1 reader found, \"new\": yes", "KS-0 tick"]);
    assert_eq!(found(&server, "device_id=KS-nobody").await, Vec::<String>::new());
    let page = server.get("/api/devices/logs?limit=3").await.done();
    assert_eq!(page["items"].as_array().unwrap().len(), 3);
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(found(&server, &format!("limit=3&cursor={cursor}")).await, ["KS-0 Reader does not answer"]);
    for wrong in ["level=fatal", "since=yesterday", "cursor=x", "words=a"] {
        server.get(&format!("/api/devices/logs?{wrong}")).await.problem(400);
    }
}

/// Goal: no line of a revoked device is stored, and none of a replayed batch.
/// Method: the same bytes twice; then after a revocation.
#[tokio::test]
async fn batches_that_are_replayed_or_from_revoked_devices_are_refused() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    device.send_logs(1, vec![line(0, LogLevel::Info, "a")]).await.answer();
    device.at = ks_protocol::id::Sequence::new(1, device.at.seq.get() - 1);
    device.send_logs(2, vec![line(1, LogLevel::Info, "b")]).await.refusal(Code::StaleSequence);
    server.revoke(&device).await.done();
    device.send_logs(2, vec![line(1, LogLevel::Info, "b")]).await.refusal(Code::Revoked);
    assert_eq!(server.count(Count::LogLines), 1);
}
