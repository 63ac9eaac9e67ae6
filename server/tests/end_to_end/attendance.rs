//! Goal: a punch is stored exactly once by its device and number, through retries, days offline and crashes, and appears in the
//! export of its day.
//! Method: devices send punches, some of them repeatedly; they are read through the admin API and its export.

use std::time::Duration;

use crate::support::{Count, Server, eventually, start_server};
use ks_protocol::{
    id::Sequence,
    message::{Direction, Punch, PunchMethod, PunchesStored},
    refusal::RefusalCode as Code,
    signature::Reply,
    text::Text,
    time::UnixMs,
};
use serde_json::Value;

/// 2026-11-23T23:30:00Z: half an hour after midnight in Berlin.
const START: UnixMs = UnixMs(1_795_476_600_000);

fn punch(punch_no: u64, badge: &str) -> Punch {
    Punch {
        punch_no: Sequence::new(0, punch_no).seq,
        at: START + Duration::from_hours(punch_no - 1),
        badge: Text::truncated(badge),
        direction: if punch_no % 2 == 1 { Direction::In } else { Direction::Out },
        method: PunchMethod::Card,
    }
}

async fn numbers(server: &Server) -> Vec<u64> {
    let page = server.get("/api/attendance?limit=10000").await.done();
    page["items"].as_array().unwrap().iter().map(|punch| punch["punch_no"].as_u64().unwrap()).collect()
}

fn is_limited(reply: Reply<PunchesStored>) -> bool {
    matches!(reply, Reply::Refused(refusal) if refusal.message.contains("punch limit"))
}

/// Goal: no device can fill the disk with punches.
/// Method: a day's punches, in batches, until one is refused; the device's heartbeats are still accepted. The same by a device that
/// hangs up as soon as it has sent a batch.
#[tokio::test]
async fn daily_punches_per_device_are_bounded() {
    let server = start_server(&[("RATE_LIMIT_DEVICE_PUNCHES_PER_DAY", "1440"), ("COMMIT_GROUP_MAX", "1")]);
    let mut device = server.registered("KS-1").await;
    let batch = |number: u64| (1 + 256 * number..=256 * (number + 1)).map(|no| punch(no, "anna")).collect();
    for number in 0..5 {
        assert_eq!(device.punch(batch(number)).await.answer().stored, 256);
    }
    for _ in 0..3 {
        assert_eq!(device.punch(batch(0)).await.answer().known, 256, "punches that the server has are not charged");
    }
    device.punch(batch(5)).await.answer(); // the last batch that starts within the daily limit
    let refusal = device.punch(batch(6)).await.refusal(Code::RateLimited);
    assert!(refusal.message.contains("punch limit") && refusal.retry_after_s.unwrap() > 30, "{refusal:?}");
    let mut hasty = server.registered("KS-2").await;
    let unheard: Vec<_> = (0..6).map(|number| hasty.next_attendance(batch(number))).collect();
    hasty.send_and_hang_up(&server, &unheard).await;
    eventually("the limit is reached", async || is_limited(hasty.punch(batch(0)).await.reply)).await;
    device.beat().await.answer();
}

/// Goal: exactly-once storage, whatever is sent again.
/// Method: overlapping batches, one whose answer was lost in a kill -9, one sent twice at the same moment.
#[tokio::test]
async fn punches_are_stored_once_through_retries_and_a_crash() {
    let mut server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let counts = |stored: PunchesStored| (stored.stored, stored.known);
    assert_eq!(counts(device.punch(vec![punch(1, "anna"), punch(2, "anna")]).await.answer()), (2, 0));
    assert_eq!(counts(device.punch(vec![punch(2, "anna"), punch(3, "ben")]).await.answer()), (1, 1));
    server.kill_9();
    server.start_again();
    device.moves_to(&server, crate::support::HOME);
    let all: Vec<Punch> = (1..=5).map(|no| punch(no, if no < 3 { "anna" } else { "ben" })).collect();
    assert_eq!(counts(device.punch(all).await.answer()), (2, 3));
    assert_eq!(numbers(&server).await, [1, 2, 3, 4, 5]);
}

/// Goal: a number identifies one punch permanently: a different punch with the same number is reported, and does not replace the
/// first.
/// Method: a device that lost its counter counts from 1 again.
#[tokio::test]
async fn a_different_punch_with_a_used_number_is_reported_and_not_stored() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    device.punch(vec![punch(1, "anna")]).await.answer();
    let answer = device.punch(vec![punch(1, "eve"), punch(2, "eve")]).await.answer();
    assert_eq!((answer.stored, answer.known), (1, 0));
    assert_eq!(answer.conflicts.as_slice(), [Sequence::new(0, 1).seq]);
    assert_eq!(server.badges(), ["anna", "eve"]);
    assert_eq!(server.metric("ks_punch_conflicts_total").await, Some(1.0));
}

/// Goal: a batch is bounded, and nothing is stored for a revoked device.
/// Method: one punch more than a batch holds; a revocation.
#[tokio::test]
async fn batches_are_bounded_and_revoked_devices_are_refused() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let most: Vec<Punch> = (1..=256).map(|no| punch(no, "anna")).collect();
    assert_eq!(device.punch(most).await.answer().stored, 256);
    let message = device.next_attendance(vec![punch(300, "anna")]);
    let text = device.sign(&message).wire;
    let row = text.lines().find(|line| line.trim_start().starts_with("300,")).unwrap().to_owned();
    let body = text.split_once("SIG_DEV").unwrap().0.replace("punches[1]", "punches[257]");
    let body = body.replace(&row, &vec![row.clone(); 257].join("\n"));
    let signed = device.sign_text("/attendance", &body);
    device.send::<PunchesStored>("/attendance", &signed).await.refusal(Code::Malformed);
    server.revoke(&device).await.done();
    device.punch(vec![punch(400, "anna")]).await.refusal(Code::Revoked);
    assert_eq!(server.count(Count::Punches), 256);
}

/// Goal: the export of a site's day follows the site's time zone, and is complete.
/// Method: punches around midnight in Berlin and in UTC, at two sites; the export of each.
#[tokio::test]
async fn a_day_is_exported_in_the_sites_time_zone() {
    let server = start_server(&[]);
    let mut fleet = server.fleet("KS", 2).await;
    fleet[0].punch((1..=3).map(|no| punch(no, "=anna")).collect()).await.answer();
    fleet[1].punch(vec![punch(1, "ben")]).await.answer();
    server.admin("PATCH", "/api/devices/KS-1", r#"{"site": "south"}"#).await.done();
    let export = async |query: &str| {
        let file = server.get(&format!("/api/attendance/export?{query}")).await;
        assert_eq!((file.status, file.content_type.as_str()), (200, "text/csv; charset=utf-8"), "{}", file.body);
        let Value::String(text) = file.body else { panic!("{}", file.body) };
        text.lines().skip(1).map(|line| line.split(',').take(3).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(export("day=2026-11-23").await, ["north KS-0 1", "south KS-1 1"], "by UTC");
    assert_eq!(export("day=2026-11-24").await, ["north KS-0 2", "north KS-0 3"]);
    let berlin = export("day=2026-11-24&utc_offset_min=60").await;
    assert_eq!(berlin, ["north KS-0 1", "south KS-1 1", "north KS-0 2", "north KS-0 3"]);
    assert_eq!(export("day=2026-11-24&utc_offset_min=60&site=south").await, ["south KS-1 1"]);
    let Value::String(text) = server.get("/api/attendance/export?day=2026-11-23&device_id=KS-0").await.body else {
        panic!()
    };
    let rows: Vec<&str> = text.lines().collect();
    assert_eq!(rows[0], "site,device_id,punch_no,at,badge,direction,method,received_at");
    assert!(rows[1].starts_with("north,KS-0,1,2026-11-23T23:30:00.000Z,'=anna,in,card,2"), "{}", rows[1]);
    for wrong in ["", "day=yesterday", "day=2026-02-30", "day=2026-11-24&utc_offset_min=9999"] {
        server.get(&format!("/api/attendance/export?{wrong}")).await.problem(400);
    }
}
