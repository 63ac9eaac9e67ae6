//! Goal: images get in and out whole, in parts and within bounds, and only while a release that needs them is ACTIVE.
//! Method: the real server; uploads and downloads over sockets as an operator and a device make them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure here is a failed test"
)]

mod support;

use serde_json::json;
use support::{Answer, HOME, Line, Sent, Server, bare_answer, eventually, start_server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn image(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}

async fn get(server: &Server, sha256: &str, headers: &[(&str, &str)]) -> Answer {
    let path = format!("/firmware/artifacts/{sha256}");
    let sent = Sent { method: "GET", path: &path, headers, body: Vec::new() };
    Line::new(server.address(), HOME).exchange(sent).await.unwrap()
}

/// Goal: a download that broke off goes on where it was, and never mixes two images.
/// Method: the whole, ranges of every form, a stale If-Range, a range beyond the end.
#[tokio::test]
async fn an_image_comes_whole_or_in_the_part_that_is_asked_for() {
    let server = start_server(&[]);
    let image = image(200_000);
    let sha256 = server.released("fw-2", 2, &image).await;
    let etag = format!("\"{sha256}\"");

    let whole = get(&server, &sha256, &[]).await;
    assert_eq!((whole.status, &whole.body[..]), (200, &image[..]));
    assert_eq!(whole.header("etag"), Some(etag.clone()));
    assert_eq!(whole.header("accept-ranges").as_deref(), Some("bytes"));
    assert!(whole.header("cache-control").unwrap().contains("immutable"));

    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=100000-150000", 100_000, 150_001),
        ("bytes=199999-", 199_999, 200_000),
        ("bytes=-10", 199_990, 200_000),
        ("bytes=65536-9999999", 65_536, 200_000),
    ] {
        let part = get(&server, &sha256, &[("range", range), ("if-range", &etag)]).await;
        assert_eq!((part.status, &part.body[..]), (206, &image[from..to]), "{range}");
        assert_eq!(part.header("content-range"), Some(format!("bytes {from}-{}/200000", to - 1)));
    }
    let of_another = get(&server, &sha256, &[("range", "bytes=10-20"), ("if-range", "\"of another\"")]).await;
    assert_eq!(
        (of_another.status, of_another.body.len()),
        (200, 200_000),
        "the rest of another image is worth nothing"
    );
    let beyond = get(&server, &sha256, &[("range", "bytes=200000-")]).await;
    assert_eq!((beyond.status, beyond.header("content-range").as_deref()), (416, Some("bytes */200000")));
    for nonsense in ["bytes=5-2", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6"] {
        assert_eq!(get(&server, &sha256, &[("range", nonsense)]).await.status, 200, "{nonsense}: as the standard says");
    }
}

/// Goal: nobody fetches what no release offers.
/// Method: before a release is ACTIVE, after it is revoked, a hash that nobody has, and paths that are none.
#[tokio::test]
async fn an_image_is_served_only_while_a_release_is_active() {
    let server = start_server(&[]);
    let sha256 = server.upload(image(10)).await.done()["sha256"].as_str().unwrap().to_owned();
    assert_eq!(get(&server, &sha256, &[]).await.status, 404);
    server.released("fw-2", 2, &image(10)).await;
    assert_eq!(get(&server, &sha256, &[]).await.status, 200);
    server.post("/api/releases/fw-2/revoke", &json!({ "reason": "a test" })).await.done();
    assert_eq!(get(&server, &sha256, &[]).await.status, 404);
    assert_eq!(get(&server, &"0".repeat(64), &[]).await.status, 404);
    for path in ["x", &"A".repeat(64), "..%2f..%2fks.sqlite"] {
        assert_eq!(get(&server, path, &[]).await.status, 400, "{path}");
    }
    server.is_well().await;
}

/// Goal: an upload has a bound, and what breaks off leaves nothing.
/// Method: one byte too many, none at all, and half of what was announced; then what the folder holds.
#[tokio::test]
async fn an_upload_that_is_too_large_empty_or_broken_leaves_nothing() {
    let server = start_server(&[("ARTIFACT_BYTES_MAX", "1000"), ("REQUEST_TIMEOUT_MS", "500")]);
    server.upload(image(1_001)).await.problem(413);
    server.upload(Vec::new()).await.problem(400);
    let mut half = Line::bare(server.address(), HOME).await.unwrap();
    let head = format!(
        "POST /api/artifacts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 100\r\n\r\nhalf",
        support::ADMIN_TOKEN
    );
    half.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(bare_answer(&mut half).await.status, 400, "it stalled");
    let files = |folder: &str| {
        let entries = std::fs::read_dir(server.path("artifacts").join(folder));
        entries.map_or(0, |entries| entries.filter(|entry| entry.as_ref().unwrap().path().is_file()).count())
    };
    assert_eq!((files("artifacts"), files("incoming")), (0, 0));
    server.upload(image(1_000)).await.done();
    assert_eq!((files("artifacts"), files("incoming")), (1, 0));
}

/// Goal: downloads have a bound of their own; who finds no room is told when to come again, and heartbeats feel nothing.
/// Method: one place, held by a peer that reads nothing; the next one is refused, a device beats, and the place comes free.
#[tokio::test]
async fn a_peer_that_does_not_read_holds_a_place_for_a_while_only() {
    let server = start_server(&[("ARTIFACT_DOWNLOADS_MAX", "1"), ("REQUEST_TIMEOUT_MS", "1000")]);
    let sha256 = server.released("fw-2", 2, &image(32 * 1024 * 1024)).await;
    let mut device = server.registered("KS-1").await;
    let mut lazy = Line::bare(server.address(), HOME).await.unwrap();
    let request = format!("GET /firmware/artifacts/{sha256} HTTP/1.1\r\nhost: x\r\n\r\n");
    lazy.write_all(request.as_bytes()).await.unwrap();
    lazy.read_exact(&mut [0; 15]).await.unwrap(); // it has begun
    let refused = get(&server, &sha256, &[("range", "bytes=0-9")]).await;
    assert_eq!((refused.status, refused.header("retry-after").as_deref()), (503, Some("2")));
    assert!(refused.text().starts_with("ERR1: OVERLOADED\n"), "{}", refused.text());
    assert_eq!(server.metric("ks_artifact_refusals_total").await, Some(1.0));
    device.beat().await.answer();
    eventually("the place is free again", async || {
        get(&server, &sha256, &[("range", "bytes=0-9")]).await.status == 206
    })
    .await;
}
