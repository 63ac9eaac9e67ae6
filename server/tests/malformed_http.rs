//! Goal: no bytes on a connection stop the server, make it panic, or touch another connection.
//! Method: what no client would send, each on a connection of its own; after it the server must be well and a device's
//! heartbeat, on the connection it had before, is stored.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure here is a failed test"
)]

mod support;

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use ks_protocol::{
    message::NextBeat,
    refusal::RefusalCode,
    signature::{NO_SIG_DEV, SignedRequest},
};
use support::{
    ADMIN_TOKEN, Device, HOME, Line, NO_LIMITS, Sent, Server, WAIT_MAX, bare_answer, bare_exchange, eventually,
    read_answer, start_server,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const fn loopback(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// The server is well, and a neighbour's connection has noticed nothing.
async fn check_unharmed(server: &Server, neighbour: &mut Device) {
    neighbour.beat().await.answer();
    server.is_well().await;
}

/// Bytes that look random and are the same each time.
fn garbage(count: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); // Numerical Recipes' generator
        state.to_be_bytes()[0]
    };
    (0..count).map(next).collect()
}

/// Goal: what is no HTTP is dropped.
/// Method: bytes of no meaning, a TLS handshake, an HTTP/2 preface, lines without an end.
#[tokio::test]
async fn garbage_is_dropped() {
    let server = start_server(&NO_LIMITS);
    let mut neighbour = server.registered("KS-1").await;
    let mut pieces: Vec<Vec<u8>> = (0..20).map(|seed| [&garbage(500, seed)[..], b"\r\n\r\n"].concat()).collect();
    pieces.push(garbage(100_000, 77));
    pieces.push(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec());
    pieces.push(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec());
    pieces.push([&b"GET /"[..], &b"a".repeat(100_000)].concat());
    pieces.push(b"GET /health HTTP/9.9\r\n\r\n".to_vec());
    pieces.push(b"GET http://[::1 HTTP/1.1\r\n\r\n".to_vec());
    pieces.push(b"\0\0\0\0\r\n\r\n".to_vec());
    for piece in pieces {
        let heard = bare_exchange(server.address(), &piece).await;
        assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 4"), "{heard}");
    }
    check_unharmed(&server, &mut neighbour).await;
}

/// Goal: a client that goes away in the middle leaves nothing behind: no row, no connection.
/// Method: every length of the beginning of a good request, then the connection is closed.
#[tokio::test]
async fn half_a_request_is_forgotten() {
    let server = start_server(&NO_LIMITS);
    let mut neighbour = server.registered("KS-1").await;
    let mut device = server.registered("KS-2").await;
    let message = device.next_heartbeat();
    let wire = over_http(&device.sign(&message), "");
    let connections = server.metric("ks_connections").await.unwrap();
    for end in (0..wire.len()).step_by(7) {
        let mut stream = Line::bare(server.address(), HOME).await.unwrap();
        stream.write_all(&wire.as_bytes()[..end]).await.unwrap();
    }
    check_unharmed(&server, &mut neighbour).await;
    eventually("the connections are gone", async || server.metric("ks_connections").await.unwrap() <= connections)
        .await;
    assert_eq!(server.beats(), [("KS-1".to_owned(), 1, 2)]);
    device.send::<NextBeat>("/heartbeat", &device.sign(&message)).await.answer();
}

/// A signed heartbeat as an HTTP request, with more header lines, each ending in CR LF.
fn over_http(signed: &SignedRequest, headers: &str) -> String {
    let (length, wire) = (signed.wire.len(), &signed.wire);
    format!(
        "POST /heartbeat HTTP/1.1\r\nhost: a\r\ncontent-type: text/toon\r\n{headers}content-length: {length}\r\n\r\n{wire}"
    )
}

/// Goal: a body that trickles is cut off by the time-out, however many bytes come in between.
/// Method: a byte each few milliseconds, for as long as the server listens.
#[tokio::test]
async fn a_body_that_trickles_times_out() {
    let server = start_server(&[("REQUEST_TIMEOUT_MS", "1000")]);
    let mut neighbour = server.registered("KS-1").await;
    let stream = Line::bare(server.address(), HOME).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    writing
        .write_all(b"POST /heartbeat HTTP/1.1\r\nhost: a\r\ncontent-type: text/toon\r\ncontent-length: 10000\r\n\r\n")
        .await
        .unwrap();
    let trickle = tokio::spawn(async move {
        let mut pause = tokio::time::interval(std::time::Duration::from_millis(5));
        for _ in 0..9_000 {
            pause.tick().await;
            if writing.write_all(b"a").await.is_err() {
                return; // the server has closed
            }
        }
        panic!("the server has read 9000 bytes in 45 seconds");
    });
    let mut head = [0; 12];
    reading.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 408");
    trickle.await.unwrap();
    check_unharmed(&server, &mut neighbour).await;
}

/// Goal: heads are bounded, in bytes and in lines.
/// Method: one header of 1 MB, a thousand small ones, a path of 1 MB; the greatest head that fits is served.
#[tokio::test]
async fn heads_beyond_the_bound_are_refused() {
    let server = start_server(&NO_LIMITS);
    let mut neighbour = server.registered("KS-1").await;
    let megabyte = "a".repeat(1024 * 1024);
    let many = "x-header: 1\r\n".repeat(1_000);
    for head in [
        format!("GET /health HTTP/1.1\r\nhost: a\r\nx-long: {megabyte}\r\n\r\n"),
        format!("GET /health HTTP/1.1\r\nhost: a\r\n{many}\r\n"),
        format!("GET /{megabyte} HTTP/1.1\r\nhost: a\r\n\r\n"),
    ] {
        let heard = bare_exchange(server.address(), head.as_bytes()).await;
        assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 4"), "{heard}");
    }
    let filling = "a".repeat(12 * 1024);
    let fits = format!("GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-long: {filling}\r\n\r\n");
    assert!(bare_exchange(server.address(), fits.as_bytes()).await.starts_with("HTTP/1.1 200 OK"));
    for (lines, status) in [(100, "HTTP/1.1 200"), (101, "HTTP/1.1 431")] {
        let lines = "x-header: 1\r\n".repeat(lines - 2);
        let head = format!("GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{lines}\r\n");
        let heard = bare_exchange(server.address(), head.as_bytes()).await;
        assert!(heard.starts_with(status), "{heard}");
    }
    check_unharmed(&server, &mut neighbour).await;
}

/// Goal: requests sent without waiting are answered in order, each answer bound to its own request.
/// Method: two heartbeats, a replay and a GET in one write.
#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let (first, second) = (device.next_heartbeat(), device.next_heartbeat());
    let (first, second) = (device.sign(&first), device.sign(&second));
    let mut stream = Line::bare(server.address(), HOME).await.unwrap();
    let wire = [
        over_http(&first, ""),
        over_http(&second, ""),
        over_http(&first, ""),
        "GET /keys HTTP/1.1\r\nhost: a\r\n\r\n".into(),
    ];
    stream.write_all(wire.concat().as_bytes()).await.unwrap();
    for signed in [&first, &second] {
        let answer = bare_answer(&mut stream).await;
        read_answer::<NextBeat>(answer, &signed.sig_dev.to_string()).answer();
    }
    let answer = bare_answer(&mut stream).await;
    read_answer::<NextBeat>(answer, &first.sig_dev.to_string()).refusal(RefusalCode::StaleSequence);
    let answer = bare_answer(&mut stream).await;
    read_answer::<ks_protocol::message::Keyset>(answer, NO_SIG_DEV).answer();
    assert_eq!(server.beats().len(), 2);
    server.is_well().await;
}

/// Goal: lengths that contradict each other or mean nothing store nothing that was not signed.
/// Method: a good heartbeat under each oddity; whatever is stored was answered with 200.
#[tokio::test]
async fn odd_lengths_and_transfer_encodings_do_no_harm() {
    let server = start_server(&[&NO_LIMITS[..], &[("REQUEST_TIMEOUT_MS", "200")]].concat());
    let mut neighbour = server.registered("KS-1").await;
    let mut device = server.registered("KS-2").await;
    let mut stored = 0;
    let framings = [
        ("transfer-encoding: gzip", "{wire}"),
        ("transfer-encoding: gzip, chunked", "{size}\r\n{wire}\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked, chunked", "{size}\r\n{wire}\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked, identity", "{size}\r\n{wire}\r\n0\r\n\r\n"),
        ("transfer-encoding: xchunked", "{size}\r\n{wire}\r\n0\r\n\r\n"),
        ("transfer-encoding:\x0bchunked", "{size}\r\n{wire}\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked\r\ntransfer-encoding: identity", "{size}\r\n{wire}\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked\r\ncontent-length: 3", "{size}\r\n{wire}\r\n0\r\n\r\n"),
        (
            "content-length: 3\r\ntransfer-encoding: chunked",
            "{size}\r\n{wire}\r\n0\r\n\r\nGET /health HTTP/1.1\r\n\r\n",
        ),
        ("transfer-encoding: chunked", "zz\r\n{wire}\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked", "-1\r\n{wire}\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked", "ffffffffffffffffff\r\n{wire}\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked", "7fffffffffffffff\r\n{wire}"),
        ("transfer-encoding: chunked", "{size}\r\n{wire}0\r\n\r\n"),
        ("transfer-encoding: chunked", "{size};ext=\"\r\n\"\r\n{wire}\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked", "{size}\r\n{wire}\r\n0\r\nSIG_DEV: trailer\r\n\r\n"),
        ("content-length: 5\r\ncontent-length: 6", "{wire}"),
        ("content-length: -5", "{wire}"),
        ("content-length: +5", "{wire}"),
        ("content-length: 99999999999999999999999", "{wire}"),
        ("content-length: 5, 5", "{wire}"),
        ("content-length: five", "{wire}"),
        ("content-encoding: gzip\r\ncontent-length: {length}", "{wire}"),
    ];
    for (headers, body) in framings {
        let message = device.next_heartbeat();
        let signed = device.sign(&message);
        let fill = |text: &str| {
            let length = signed.wire.len();
            text.replace("{wire}", &signed.wire)
                .replace("{size}", &format!("{length:x}"))
                .replace("{length}", &length.to_string())
        };
        let start = "POST /heartbeat HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: text/toon\r\n";
        let request = format!("{start}{}\r\n\r\n{}", fill(headers), fill(body));
        let heard = bare_exchange(server.address(), request.as_bytes()).await;
        let statuses = ["HTTP/1.1 4", "HTTP/1.1 200", "HTTP/1.1 501"];
        assert!(heard.is_empty() || statuses.iter().any(|status| heard.starts_with(status)), "{heard}");
        // A length beside it does not count (RFC 9112, 6.3), any other coding does.
        let codings: Vec<&str> = headers.split("\r\n").filter(|line| line.starts_with("transfer-encoding")).collect();
        let is_known = codings.is_empty() || codings == ["transfer-encoding: chunked"];
        assert!(is_known || !heard.starts_with("HTTP/1.1 200"), "{headers} is no framing: {heard}");
        stored += usize::from(heard.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(server.beats().len(), stored);
    check_unharmed(&server, &mut neighbour).await;
}

/// Goal: very many connections that say nothing don't keep others from being served.
/// Method: 500 silent connections; then a device on a new one.
#[tokio::test]
async fn silent_connections_do_not_keep_others_out() {
    let server = start_server(&[]);
    let mut silent = Vec::new();
    for _ in 0..500 {
        silent.push(Line::bare(server.address(), HOME).await.unwrap());
    }
    let mut device = server.registered("KS-1").await;
    device.beat().await.answer();
    eventually("all are accepted", async || server.metric("ks_connections").await.unwrap() > 500.0).await;
    drop(silent);
    eventually("all are gone", async || server.metric("ks_connections").await.unwrap() < 5.0).await;
    check_unharmed(&server, &mut device).await;
}

/// Goal: a full house keeps nobody out: the connection that is idle longest goes.
/// Method: two places, both taken by idle connections; a third is served, and the older of the two is closed.
#[tokio::test]
async fn a_connection_beyond_the_greatest_number_takes_the_place_of_the_longest_idle() {
    let server = start_server(&[("CONNECTIONS_MAX", "2")]);
    let mut places = Vec::new();
    for _ in 0..2 {
        let mut line = Line::bare(server.address(), HOME).await.unwrap();
        line.write_all(b"GET /keys HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert_eq!(bare_answer(&mut line).await.status, 200);
        places.push(line);
    }
    let mut third = Line::new(server.address(), HOME);
    assert_eq!(third.exchange(Sent::get("/keys")).await.unwrap().status, 200);
    assert_eq!(read_to_end(&mut places[0]).await, 0, "the older one is closed");
    places[1].write_all(b"GET /keys HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(bare_answer(&mut places[1]).await.status, 200, "the younger one is not");
}

/// Goal: whoever fills the house with half requests keeps out nobody, and takes no connection away from others.
/// Method: more half bodies and half heads from one address than there are places; a device that was there before goes on on its
/// connection, and newcomers from other addresses are served.
#[tokio::test]
async fn half_requests_of_one_address_keep_nobody_out() {
    let server = start_server(&[("CONNECTIONS_MAX", "20"), ("REQUEST_TIMEOUT_MS", "600000")]);
    let mut resident = server.registered("KS-1").await;
    let mut halves = Vec::new();
    for number in 0..60 {
        let mut half = Line::bare(server.address(), loopback(66)).await.unwrap();
        let head = "POST /heartbeat HTTP/1.1\r\nhost: a\r\ncontent-type: text/toon\r\n";
        let body = if number % 2 == 0 { "content-length: 1000\r\n\r\ntype: " } else { "" };
        half.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        halves.push(half);
    }
    resident.beat().await.answer();
    for last in 1..30 {
        let mut newcomer = Line::new(server.address(), loopback(last));
        assert_eq!(newcomer.exchange(Sent::get("/keys")).await.unwrap().status, 200);
    }
    let held = resident.line.connection_is_open();
    assert!(held, "its connection is the only one of its address, and was not half a request");
    resident.beat().await.answer();
}

/// Bytes that still come until the server closes the connection.
async fn read_to_end(line: &mut TcpStream) -> usize {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(WAIT_MAX, line.read_to_end(&mut rest)).await.expect("it is closed");
    read.unwrap_or(0) // closed with a reset is closed too
}

/// Goal: nobody holds a connection by doing nothing, or too little.
/// Method: a peer that says nothing, one that sends half a head, one that is silent after an answer; each is cut off.
#[tokio::test]
async fn slow_and_silent_peers_are_cut_off() {
    let server = start_server(&[("REQUEST_TIMEOUT_MS", "1000"), ("IDLE_TIMEOUT_MS", "2000")]);
    let mut silent = Line::bare(server.address(), HOME).await.unwrap();
    let mut half = Line::bare(server.address(), HOME).await.unwrap();
    half.write_all(b"GET /keys HTTP/1.1\r\nho").await.unwrap();
    let mut idle = Line::bare(server.address(), HOME).await.unwrap();
    idle.write_all(b"GET /keys HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(bare_answer(&mut idle).await.status, 200);
    for line in [&mut silent, &mut half, &mut idle] {
        read_to_end(line).await;
    }
    server.is_well().await;
}

/// Goal: nobody holds a connection longer by sending half a head together with a request.
/// Method: idle connections outlast the test; half of a second head comes with the first request, or with the end of its body.
#[tokio::test]
async fn half_a_head_behind_a_request_is_timed_like_any_other() {
    let server = start_server(&[("REQUEST_TIMEOUT_MS", "1000"), ("IDLE_TIMEOUT_MS", "600000")]);
    let post = "POST /register HTTP/1.1\r\nhost: x\r\ncontent-type: text/toon\r\ncontent-length: 3\r\n\r\na:1";
    for request in ["GET /keys HTTP/1.1\r\nhost: x\r\n\r\n", post] {
        let mut line = Line::bare(server.address(), HOME).await.unwrap();
        line.write_all(format!("{request}GET /keys HTTP/1.1\r\nho").as_bytes()).await.unwrap();
        bare_answer(&mut line).await;
        read_to_end(&mut line).await;
        let mut idle = Line::bare(server.address(), HOME).await.unwrap();
        idle.write_all(request.as_bytes()).await.unwrap();
        bare_answer(&mut idle).await;
        let nothing = tokio::time::timeout(Duration::from_secs(3), idle.read_u8()).await;
        assert!(nothing.is_err(), "one that has asked for nothing more stays");
    }
    server.is_well().await;
}

/// Goal: nobody holds a connection, and the memory of its answers, by not reading.
/// Method: requests for a long answer are sent until the server takes no more of them; none of the answers is read.
#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off() {
    let server = start_server(&[("REQUEST_TIMEOUT_MS", "1000")]);
    let mut deaf = Line::bare(server.address(), HOME).await.unwrap();
    let requests = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
    // It ends when the server, cut off from writing, closes the connection: the rest can't be sent.
    let sending = async { while deaf.write_all(&requests).await.is_ok() {} };
    tokio::time::timeout(WAIT_MAX, sending).await.expect("it is cut off");
    eventually("it is gone", async || server.metric("ks_connections").await.unwrap() < 2.0).await;
    server.is_well().await;
}

/// Goal: a body that says beforehand that it is too large is refused at once, and not waited for.
/// Method: heads alone, on a server whose time-out would outlast the test; also of one who asks before sending the body.
#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_refused_before_it_comes() {
    let server = start_server(&[&NO_LIMITS[..], &[("REQUEST_TIMEOUT_MS", "600000")]].concat());
    let mut neighbour = server.registered("KS-1").await;
    for path in ["/register", "/heartbeat", "/commands/ack", "/logs", "/attendance", "/rotate-key", "/firmware/status"]
    {
        for more in ["content-length: 1000000000000", "content-length: 70000\r\nexpect: 100-continue"] {
            let mut stream = Line::bare(server.address(), HOME).await.unwrap();
            let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: text/toon\r\n{more}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let answer = bare_answer(&mut stream).await;
            assert_eq!(answer.status, 413, "{path} {more}");
            read_answer::<NextBeat>(answer, NO_SIG_DEV).refusal(RefusalCode::TooLarge);
        }
    }
    for (path, kind) in [("/api/devices", "application/json"), ("/api/artifacts", "application/octet-stream")] {
        let mut stream = Line::bare(server.address(), HOME).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {ADMIN_TOKEN}\r\ncontent-type: {kind}\r\ncontent-length: 1000000000000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(bare_answer(&mut stream).await.status, 413, "{path}");
    }
    check_unharmed(&server, &mut neighbour).await;
}

/// Goal: whoever sends a whole body, and only then reads, has the refusal all the same, and the word that the connection closes.
/// Method: bodies far larger than what the sockets hold, refused by their length, for want of a token, and for their path.
#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let server = start_server(&NO_LIMITS);
    let mut neighbour = server.registered("KS-1").await;
    let body = vec![b'x'; 12 * 1024 * 1024];
    for (path, kind, token, status) in [
        ("/heartbeat", "text/toon", "", 413),
        ("/api/devices", "application/json", ADMIN_TOKEN, 413),
        ("/api/artifacts", "application/octet-stream", "wrong", 401),
        ("/nowhere", "text/toon", "", 404),
    ] {
        let mut stream = Line::bare(server.address(), HOME).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        let answer = bare_answer(&mut stream).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("connection").as_deref(), Some("close"), "{path}");
    }
    check_unharmed(&server, &mut neighbour).await;
}

/// Goal: a request says once for which host it is, as HTTP/1.1 demands, and once what its body is.
/// Method: none and two of each; HTTP/1.0 may leave the host out.
#[tokio::test]
async fn a_request_has_one_host_and_one_content_type() {
    let server = start_server(&NO_LIMITS);
    let mut neighbour = server.registered("KS-1").await;
    for (head, status) in [
        ("GET /health HTTP/1.1\r\nconnection: close", "HTTP/1.1 400"),
        ("GET /health HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close", "HTTP/1.1 400"),
        ("GET /health HTTP/1.0\r\nhost: a\r\nhost: b", "HTTP/1.0 400"),
        ("GET /health HTTP/1.1\r\nhost: a\r\nconnection: close", "HTTP/1.1 200"),
        ("GET /health HTTP/1.0", "HTTP/1.0 200"),
        ("POST /heartbeat HTTP/1.1", "HTTP/1.1 400"),
        ("GET /health HTTP/1.1\r\nhost:\r\nconnection: close", "HTTP/1.1 400"),
        ("GET /health HTTP/1.1\r\nhost: a b\r\nconnection: close", "HTTP/1.1 400"),
        ("GET /health HTTP/1.1\r\nhost: a/b\r\nconnection: close", "HTTP/1.1 400"),
        ("GET /health HTTP/1.1\r\nhost: u@a\r\nconnection: close", "HTTP/1.1 400"),
        ("GET /health HTTP/1.0\r\nhost: a:b", "HTTP/1.0 400"),
        ("GET /health HTTP/1.1\r\nhost: [::1]:3000\r\nconnection: close", "HTTP/1.1 200"),
    ] {
        let heard = bare_exchange(server.address(), format!("{head}\r\n\r\n").as_bytes()).await;
        assert!(heard.starts_with(status), "{head}: {heard}");
    }
    for (first, second) in
        [("text/toon", "application/json"), ("application/json", "text/toon"), ("text/toon", "text/toon")]
    {
        let signed = neighbour.sign_text("/heartbeat", "type: heartbeat\n");
        let wire = over_http(&signed, "connection: close\r\n")
            .replace("content-type: text/toon", &format!("content-type: {first}\r\ncontent-type: {second}"));
        let heard = bare_exchange(server.address(), wire.as_bytes()).await;
        assert!(heard.starts_with("HTTP/1.1 415") && heard.contains("there are 2 content-type lines"), "{heard}");
    }
    check_unharmed(&server, &mut neighbour).await;
}

/// Goal: devices behind a proxy that writes ports into X-Forwarded-For have budgets of their own; what is not understood is counted.
/// Method: one address behind the proxy spends its budget under changing ports, another goes on; then a proxy that says `unknown`.
#[tokio::test]
async fn a_port_in_x_forwarded_for_is_no_part_of_the_address() {
    let budget = [("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "1"), ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "3")];
    let server = start_server(&[&budget[..], &[("TRUSTED_PROXIES", "127.0.0.0/8")]].concat());
    let metric = "ks_forwarded_for_not_understood_total";
    assert_eq!(server.metric(metric).await, Some(0.0));
    let mut line = Line::new(server.address(), HOME);
    let mut codes = Vec::new();
    for hop in ["1.2.3.4:1", "1.2.3.4:2", "1.2.3.4", "1.2.3.4:3", "5.6.7.8:1", "[2001:db8::1]:443"] {
        let headers = [("content-type", ks_protocol::MEDIA_TYPE), ("x-forwarded-for", hop)];
        let sent = Sent { method: "POST", path: "/heartbeat", headers: &headers, body: b"x".to_vec() };
        codes.push(line.exchange(sent).await.unwrap().status);
    }
    assert_eq!(codes, [400, 400, 400, 429, 400, 400]);
    assert_eq!(server.metric(metric).await, Some(0.0));
    for _ in 0..2 {
        let headers = [("content-type", ks_protocol::MEDIA_TYPE), ("x-forwarded-for", "unknown")];
        line.exchange(Sent { method: "POST", path: "/heartbeat", headers: &headers, body: b"x".to_vec() })
            .await
            .unwrap();
    }
    assert_eq!(server.metric(metric).await, Some(2.0));
    let log = std::fs::read_to_string(server.path("server.log")).unwrap();
    assert_eq!(log.matches("X-Forwarded-For by a trusted proxy").count(), 1, "{log}");
}
