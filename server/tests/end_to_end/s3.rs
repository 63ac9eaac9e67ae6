//! Goal: firmware images live in an S3-compatible store as they do in a folder.
//! Method: the real server against a store on this machine, which `cargo xtask s3` starts and names in S3_TEST_ENDPOINT.

use crate::support::{HOME, Line, Sent, Server, start_server};

const BUCKET: &str = "ks-firmware";

/// A server whose images are in that bucket.
#[expect(clippy::disallowed_methods, reason = "a test learns from its environment where the store is")]
async fn server_with(bucket: &str) -> Server {
    let endpoint = std::env::var("S3_TEST_ENDPOINT").expect("`cargo xtask s3` sets S3_TEST_ENDPOINT");
    let host = endpoint.strip_prefix("http://").unwrap();
    let (address, headers) = (host.parse().unwrap(), [("host", host)]);
    let path = format!("/{BUCKET}");
    let make = Sent { method: "PUT", path: &path, headers: &headers, body: Vec::new() };
    let made = Line::new(address, HOME).exchange(make).await.unwrap();
    assert!(matches!(made.status, 200 | 409), "{made:?}"); // it may exist already
    start_server(&[
        ("ARTIFACTS_S3_BUCKET", bucket),
        ("S3_ENDPOINT", &endpoint),
        ("S3_ACCESS_KEY_ID", "id"),
        ("S3_SECRET_ACCESS_KEY", "secret"),
    ])
}

/// Goal: an image of several parts is uploaded and downloaded, whole and in ranges, and survives a restart of the server.
/// Method: 12 MB up; ranges down; the server is killed and started again in between.
#[tokio::test]
#[ignore = "needs an S3-compatible store: `cargo xtask s3` starts one"]
async fn images_are_stored_in_the_bucket_and_served_in_ranges() {
    let mut server = server_with(BUCKET).await;
    let image: Vec<u8> =
        (0..12_000_000_u32).map(|at| u8::try_from(at.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    let uploaded = server.upload(image.clone()).await;
    assert_eq!(uploaded.status, 200, "{}", server.log());
    let sha256 = server.released("fw-18", 18, &image).await;
    server.kill_9();
    server.start_again();
    let mut device = server.registered("KS-1").await;
    for (range, from, to) in [
        ("bytes=0-65535", 0, 65_536),
        ("bytes=6000000-7000000", 6_000_000, 7_000_001),
        ("bytes=-1", 11_999_999, 12_000_000),
    ] {
        let part = device.fetch(&sha256, &[("range", range)]).await;
        assert_eq!(part.status, 206, "{range}: {}", server.log());
        assert!(part.body[..] == image[from..to], "{range}");
    }
    assert!(!server.path("artifacts").exists(), "nothing is stored on the local disk");
}

/// Goal: an unusable S3 store is reported by name, does not affect heartbeats, and never loses an upload silently.
/// Method: a bucket that does not exist.
#[tokio::test]
#[ignore = "needs an S3-compatible store: `cargo xtask s3` starts one"]
async fn a_missing_bucket_fails_uploads_and_nothing_else() {
    let server = server_with("no-such-bucket").await;
    server.registered("KS-1").await.beat().await.answer();
    server.upload(b"an image".to_vec()).await.problem(500);
    assert!(server.log().contains("NoSuchBucket"), "{}", server.log());
}
