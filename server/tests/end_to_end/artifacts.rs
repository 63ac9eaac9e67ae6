//! Goal: images are uploaded and downloaded whole, in ranges and within bounds, and only while a release that needs them is
//! ACTIVE.
//! Method: the real server; uploads and downloads over sockets as an operator and a device make them.

use std::net::{IpAddr, Ipv4Addr};

use crate::support::{
    HOME, Line, NO_LIMITS, Sent, VerifiedAnswer, bare_answer, eventually, fetch_with, offered, read_answer,
    single_stage_policy, start_server, world,
};
use ks_protocol::{message::header_of_document, refusal::RefusalCode, signature::NO_SIG_DEV};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

fn image(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}

/// Goal: an interrupted download resumes where it stopped, and never mixes two images.
/// Method: the whole image, ranges of every form, a stale If-Range, a range beyond the end.
#[tokio::test]
async fn images_are_served_whole_or_in_the_requested_range() {
    let server = start_server(&[]);
    let image = image(200_000);
    let sha256 = server.released("fw-2", 2, &image).await;
    let mut device = server.registered("KS-1").await;
    let etag = format!("\"{sha256}\"");

    let whole = device.fetch(&sha256, &[]).await;
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
        ("bytes=0-99999999999999999999999", 0, 200_000),
        ("bytes=-99999999999999999999999", 0, 200_000),
        ("Bytes=00-00", 0, 1),
    ] {
        let part = device.fetch(&sha256, &[("range", range), ("if-range", &etag)]).await;
        assert_eq!((part.status, &part.body[..]), (206, &image[from..to]), "{range}");
        assert_eq!(part.header("content-range"), Some(format!("bytes {from}-{}/200000", to - 1)));
    }
    let of_another = device.fetch(&sha256, &[("range", "bytes=10-20"), ("if-range", "\"of another\"")]).await;
    assert_eq!(
        (of_another.status, of_another.body.len()),
        (200, 200_000),
        "the rest of another image is worth nothing"
    );
    let beyond = device.fetch(&sha256, &[("range", "bytes=200000-")]).await;
    assert_eq!((beyond.status, beyond.header("content-range").as_deref()), (416, Some("bytes */200000")));
    for invalid in ["bytes=5-2", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6"] {
        assert_eq!(device.fetch(&sha256, &[("range", invalid)]).await.status, 200, "{invalid}: as the standard says");
    }
}

/// Goal: only images that a release offers can be fetched.
/// Method: before a release is ACTIVE, after it is revoked, an unknown hash, and invalid paths.
#[tokio::test]
async fn images_are_served_only_while_a_release_is_active() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let sha256 = server.upload(image(10)).await.done()["sha256"].as_str().unwrap().to_owned();
    assert_eq!(device.fetch(&sha256, &[]).await.status, 404);
    server.released("fw-2", 2, &image(10)).await;
    assert_eq!(device.fetch(&sha256, &[]).await.status, 200);
    server.post("/api/releases/fw-2/revoke", &json!({ "reason": "a test" })).await.done();
    assert_eq!(device.fetch(&sha256, &[]).await.status, 404);
    assert_eq!(device.fetch(&"0".repeat(64), &[]).await.status, 404);
    for path in ["x", &"A".repeat(64), "..%2f..%2fks.sqlite"] {
        assert_eq!(device.fetch(path, &[]).await.status, 400, "{path}");
    }
    server.assert_healthy().await;
}

/// Goal: an upload is bounded, and an interrupted one leaves nothing.
/// Method: one byte too many, an empty body, and half of the declared length; then the content of the folder.
#[tokio::test]
async fn too_large_empty_or_interrupted_uploads_leave_nothing() {
    let server = start_server(&[("ARTIFACT_BYTES_MAX", "1000"), ("REQUEST_TIMEOUT_MS", "2000")]);
    server.upload(image(1_001)).await.problem(413);
    server.upload(Vec::new()).await.problem(400);
    let mut half = Line::bare(server.address(), HOME).await.unwrap();
    let head = format!(
        "POST /api/artifacts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 100\r\n\r\nhalf",
        crate::support::ADMIN_TOKEN
    );
    half.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(bare_answer(&mut half).await.status, 400, "it timed out");
    let files = |folder: &str| {
        let entries = std::fs::read_dir(server.path("artifacts").join(folder));
        entries.map_or(0, |entries| entries.filter(|entry| entry.as_ref().unwrap().path().is_file()).count())
    };
    assert_eq!((files("artifacts"), files("incoming")), (0, 0));
    server.upload(image(1_000)).await.done();
    assert_eq!((files("artifacts"), files("incoming")), (1, 0));
}

/// Goal: downloads have their own limit; a client over the limit gets a time to retry after, and heartbeats are not affected.
/// Method: one download slot, held by a peer that does not read; the next download is refused, with the answer that docs/rollouts.md
/// shows, a device beats, and the slot is released.
#[tokio::test]
async fn a_peer_that_does_not_read_loses_its_download_slot() {
    let server = start_server(&[("ARTIFACT_DOWNLOADS_MAX", "1"), ("REQUEST_TIMEOUT_MS", "5000")]);
    let sha256 = server.released("fw-2", 2, &image(32 * 1024 * 1024)).await;
    let mut device = server.registered("KS-1").await;
    let mut lazy = server.registered("KS-2").await;
    let (_held, has_begun) = lazy.start_fetch(&server, &sha256).await;
    assert!(has_begun);
    let refused = device.fetch(&sha256, &[("range", "bytes=0-9")]).await;
    let (_, shown) = include_str!("../../../docs/rollouts.md").split_once("```text\nHTTP/1.1 503 ").unwrap();
    let (shown, _) = shown.split_once("...\n").unwrap();
    let (head, body) = shown.split_once("\n\n").unwrap();
    assert_eq!((refused.status, head.lines().count()), (503, 4));
    for (name, value) in head.lines().skip(1).map(|line| line.split_once(": ").unwrap()) {
        assert_eq!(refused.header(name).as_deref(), Some(value), "{name}, as docs/rollouts.md shows it");
    }
    assert!(refused.text().starts_with("ERR1: OVERLOADED\n") && refused.text().starts_with(body), "{}", refused.text());
    assert_eq!(server.metric("ks_artifact_refusals_total").await, Some(1.0));
    device.beat().await.answer();
    eventually("the slot is free again", async || device.fetch(&sha256, &[("range", "bytes=0-9")]).await.status == 206)
        .await;
}

/// Goal: images go to registered devices only; failures of unknown clients count against their address.
/// Method: requests without a document, with several, and with an invalid one; an unknown device, another device's key, another
/// image's path; before the registration, after the revocation; then failures until the address's budget is spent.
#[tokio::test]
async fn unknown_and_revoked_devices_are_refused_images() {
    let server = start_server(&[("RATE_LIMIT_ADDRESS_FAILURES_BURST", "20")]);
    let sha256 = server.released("fw-2", 2, &image(10)).await;
    let mut device = server.registered("KS-1").await;
    assert_eq!(device.fetch(&sha256, &[]).await.status, 200);

    let mut client = Line::new(server.address(), HOME);
    let path = format!("/firmware/artifacts/{sha256}");
    let bare = Sent { method: "GET", path: &path, headers: &[], body: Vec::new() };
    let unbound = |raw| -> VerifiedAnswer<()> { read_answer(raw, NO_SIG_DEV) };
    let refused = unbound(client.exchange(bare).await.unwrap()).refusal(RefusalCode::Malformed);
    assert!(refused.message.contains("there is no ks-request line"), "{}", refused.message);
    let twice = unbound(fetch_with(&mut client, &sha256, "eA==", &[("ks-request", "eA==")]).await);
    assert!(twice.refusal(RefusalCode::Malformed).message.contains("2 ks-request lines"));
    for (request, code) in [
        ("x".to_owned(), RefusalCode::Malformed),
        ("eA==".to_owned(), RefusalCode::Malformed),
        (header_of_document(&"x".repeat(1_025)), RefusalCode::TooLarge),
    ] {
        unbound(fetch_with(&mut client, &sha256, &request, &[]).await).refusal(code);
    }
    server.device("KS-unknown").fetch_refused(&sha256).await.refusal(RefusalCode::UnknownDevice);
    let mut forger = server.device("KS-forger");
    forger.id = device.id.clone();
    forger.at = device.at;
    forger.fetch_refused(&sha256).await.refusal(RefusalCode::BadSignature);
    let of_another = device.next_fetch(&"0".repeat(64));
    let raw = fetch_with(&mut client, &sha256, &header_of_document(&of_another.wire), &[]).await;
    read_answer::<()>(raw, &of_another.sig_dev.to_string()).refusal(RefusalCode::BadSignature);
    server.whitelisted("KS-new").await.fetch_refused(&sha256).await.refusal(RefusalCode::NotRegistered);
    let mut stolen = server.registered("KS-stolen").await;
    server.revoke(&stolen).await.done();
    stolen.fetch_refused(&sha256).await.refusal(RefusalCode::Revoked);

    eventually("the address's budget is spent", async || {
        fetch_with(&mut client, &sha256, "x", &[]).await.status == 429
    })
    .await;
    stolen.fetch_refused(&sha256).await.refusal(RefusalCode::RateLimited);
    assert_eq!(device.fetch(&sha256, &[]).await.status, 200, "a known device is still served");
}

/// Goal: an attacker who reads the network can't fetch in a device's name, nor spend its budget.
/// Method: a document is replayed, also after a restart; another one is held back until after the device's next heartbeat.
#[tokio::test]
async fn a_replayed_download_request_is_refused() {
    let mut server = start_server(&[]);
    let sha256 = server.released("fw-2", 2, &image(10)).await;
    let mut device = server.registered("KS-1").await;
    let thief = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
    let mut elsewhere = Line::new(server.address(), thief);
    let captured = device.next_fetch(&sha256);
    let (request, sig_dev) = (header_of_document(&captured.wire), captured.sig_dev.to_string());
    assert_eq!(fetch_with(&mut device.line, &sha256, &request, &[]).await.status, 200);
    let again = fetch_with(&mut elsewhere, &sha256, &request, &[]).await;
    let stale = read_answer::<()>(again, &sig_dev).refusal(RefusalCode::StaleSequence);
    assert_eq!((stale.server_boot_epoch, stale.server_seq), (Some(device.at.boot_epoch), Some(device.at.seq)));

    let held_back = device.next_fetch(&sha256);
    let (request, sig_dev) = (header_of_document(&held_back.wire), held_back.sig_dev.to_string());
    device.beat().await.answer();
    for _ in 0..2 {
        let raw = fetch_with(&mut elsewhere, &sha256, &request, &[]).await;
        read_answer::<()>(raw, &sig_dev).refusal(RefusalCode::StaleSequence);
        server.start_again();
        elsewhere = Line::new(server.address(), thief);
    }
    device.moves_to(&server, HOME);
    assert_eq!(device.fetch(&sha256, &[]).await.status, 200);
}

/// Goal: one device can't block the downloads of others.
/// Method: two download slots; one device starts four downloads and reads none of them; another device fetches.
#[tokio::test]
async fn slow_downloads_of_one_device_use_one_slot() {
    let server = start_server(&[("ARTIFACT_DOWNLOADS_MAX", "2"), ("REQUEST_TIMEOUT_MS", "60000")]);
    let sha256 = server.released("fw-2", 2, &image(32 * 1024 * 1024)).await;
    let mut mad = server.registered("KS-mad").await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let (lazy, has_begun) = mad.start_fetch(&server, &sha256).await;
        assert!(has_begun, "the last request counts");
        held.push(lazy);
    }
    let mut device = server.registered("KS-1").await;
    assert_eq!(device.fetch(&sha256, &[("range", "bytes=0-9")]).await.status, 206);
    assert_eq!(server.metric("ks_artifact_refusals_total").await, Some(0.0));
}

/// Goal: repeated requests of one device do not make others wait longer.
/// Method: the one slot is held; a device requests the whole image 200 times, which would take 134 s; another one requests it.
#[tokio::test]
async fn repeated_requests_do_not_delay_other_devices() {
    let limits = [("ARTIFACT_DOWNLOADS_MAX", "1"), ("REQUEST_TIMEOUT_MS", "60000")];
    let server = start_server(&[&NO_LIMITS[..], &limits].concat());
    let sha256 = server.released("fw-2", 2, &image(32 * 1024 * 1024)).await;
    let (_held, has_begun) = server.registered("KS-0").await.start_fetch(&server, &sha256).await;
    assert!(has_begun);
    let mut mad = server.registered("KS-mad").await;
    for _ in 0..200 {
        mad.fetch_refused(&sha256).await.refusal(RefusalCode::Overloaded);
    }
    let refused = server.registered("KS-1").await.fetch_refused(&sha256).await.refusal(RefusalCode::Overloaded);
    assert!(refused.retry_after_s.unwrap() <= 5, "{refused:?}");
}

/// Goal: a firmware image that is corrupted, truncated or missing is served to no device; its rollouts pause; trace, log, metric and
/// doctor report it; once the same image is uploaded again, the rollout can be resumed.
/// Method: the stored image is damaged while the server is down; it starts; then the image is uploaded again.
#[tokio::test]
async fn a_damaged_image_is_not_offered_until_it_is_uploaded_again() {
    type Damage = fn(&std::path::Path);
    let flip = |path: &std::path::Path| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[70_000] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    let cut: Damage = crate::support::cut_in_half;
    let lose = |path: &std::path::Path| std::fs::remove_file(path).unwrap();
    for (damage, why) in
        [(flip as Damage, "has other bytes"), (cut, "has 100000 bytes, and had 200000"), (lose as Damage, "is gone")]
    {
        let mut server = start_server(&NO_LIMITS);
        let image = image(200_000);
        let sha256 = server.released("fw-18", 18, &image).await;
        let mut device = server.registered("KS-1").await;
        server.roll_out("spring", "fw-18", single_stage_policy(1, 50)).await.done();
        eventually("the release is offered", async || offered(&device.beat_running(17).await).is_some()).await;
        assert_eq!(server.metric("ks_artifacts_broken").await, Some(0.0));

        damage(&server.path("artifacts/artifacts").join(&sha256));
        server.start_again();
        device.moves_to(&server, HOME);
        eventually("the damage is noticed", async || server.metric("ks_artifacts_broken").await == Some(1.0)).await;
        assert!(offered(&device.beat_running(17).await).is_none(), "{why}");
        assert_eq!(device.fetch(&sha256, &[]).await.status, 404);
        eventually("the rollout pauses", async || server.rollout("spring").await["status"] == "PAUSED").await;
        let trace = server.get("/api/rollouts/spring/trace").await.done();
        let reported = trace["items"].as_array().unwrap().last().unwrap()["why"].as_str().unwrap().to_owned();
        assert!(reported.contains(why) && reported.contains("fw-18"), "{reported}");
        assert!(server.log().contains("a firmware image is broken"));
        let doctor = server.run(&["doctor"]);
        assert_eq!(doctor.code, Some(1));
        assert!(doctor.stdout.contains("BAD   firmware") && doctor.stdout.contains(why), "{}", doctor.stdout);
        server.order_rollout("spring", "resume").await.done();
        eventually("the rollout pauses again", async || {
            server.decisions("spring").await.iter().filter(|what| *what == "paused").count() == 2
        })
        .await;

        assert_eq!(server.upload(image.clone()).await.done()["sha256"], sha256);
        assert_eq!(server.metric("ks_artifacts_broken").await, Some(0.0), "updated immediately");
        server.order_rollout("spring", "resume").await.done();
        eventually("the release is offered", async || offered(&device.beat_running(17).await).is_some()).await;
        assert_eq!(device.fetch(&sha256, &[]).await.body, image);
    }
}

/// Goal: a release whose image is damaged does not become ACTIVE.
/// Method: a staged release, one byte of its image inverted.
#[tokio::test]
async fn a_release_with_a_damaged_image_is_not_activated() {
    let server = start_server(&[]);
    let sha256 = server.upload(image(1_000)).await.done()["sha256"].as_str().unwrap().to_owned();
    let draft = json!({
        "release_id": "fw-2", "version": "2", "release_counter": 2, "models": ["KS-100"], "sha256": sha256,
    });
    server.post("/api/releases", &draft).await.done();
    let why = json!({ "reason": "a test" });
    server.post("/api/releases/fw-2/stage", &why).await.done();
    std::fs::write(server.path("artifacts/artifacts").join(&sha256), image(999)).unwrap();
    let refused = server.post("/api/releases/fw-2/activate", &why).await.problem(409);
    assert!(refused["detail"].as_str().unwrap().contains("has 999 bytes, and had 1000; upload it again"), "{refused}");
    server.upload(image(1_000)).await.done();
    server.post("/api/releases/fw-2/activate", &why).await.done();
}

/// Goal: the help that the command line prints about a blocked release solves the problem.
/// Method: a damaged image, a wrong state, a field out of range; the help is run where it is a command.
#[tokio::test]
async fn printed_help_for_releases_works() {
    let world = world(&[]);
    world.write("ks.img", image(1_000));
    let ok = |arguments: &[&str]| {
        let ran = world.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        ran.stdout
    };
    let refused = |arguments: &[&str], code: i32, help: &str| {
        let ran = world.run(arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
        let reported = ran.stderr.lines().last().unwrap().to_owned();
        assert!(reported.contains("help: ") && reported.contains(help), "{arguments:?}: {ran:?}");
    };
    ok(&["migrate"]);
    let add = |release_id: &'static str, version: &'static str| {
        let named = ["firmware", "add", "--artifact", "ks.img", "--release-id", release_id, "--version", version];
        [named.as_slice(), &["--counter", "2", "--model", "KS-100"]].concat()
    };
    refused(&add("fw-2", "a version with blanks"), 2, "firmware add --help");
    ok(&add("fw-2", "2"));
    refused(&["firmware", "activate", "fw-2"], 2, "firmware list");
    ok(&["firmware", "stage", "fw-2"]);
    let sha256 = ok(&["firmware", "upload", "--artifact", "ks.img"]);
    let kept = world.path("artifacts/artifacts").join(sha256.trim_end());
    std::fs::write(&kept, image(999)).unwrap();
    refused(&["firmware", "activate", "fw-2"], 2, "firmware upload --artifact FILE");
    std::fs::remove_file(&kept).unwrap();
    refused(&["firmware", "activate", "fw-2"], 2, "firmware upload --artifact FILE");
    assert_eq!(ok(&["firmware", "upload", "--artifact", "ks.img"]), sha256);
    assert!(ok(&["firmware", "activate", "fw-2"]).contains("ACTIVE"));
}
