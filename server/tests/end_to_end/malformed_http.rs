//! Goal: no bytes on a connection stop the server, make it panic, or affect another connection.
//! Method: bytes that no client would send, each on a separate connection; afterwards the server must be healthy, and a device's
//! heartbeat on an earlier connection is stored.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use crate::support::{
    ADMIN_TOKEN, Device, HOME, Line, NO_LIMITS, Sent, Server, WAIT_MAX, bare_answer, bare_exchange, eventually,
    read_answer, start_server,
};
use ks_protocol::{
    message::NextBeat,
    refusal::RefusalCode,
    signature::{NO_SIG_DEV, SignedRequest},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const fn loopback(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// The server is healthy, and a neighbour's connection was not affected.
async fn check_unharmed(server: &Server, neighbour: &mut Device) {
    neighbour.beat().await.answer();
    server.assert_healthy().await;
}

/// Pseudo-random bytes, the same each time.
fn garbage(count: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); // Numerical Recipes' generator
        state.to_be_bytes()[0]
    };
    (0..count).map(next).collect()
}

/// Goal: connections that do not speak HTTP are dropped.
/// Method: random bytes, a TLS handshake, an HTTP/2 preface, lines without an end.
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
        let answer = bare_exchange(server.address(), &piece).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    check_unharmed(&server, &mut neighbour).await;
}

/// Goal: a client that disconnects in the middle leaves nothing behind: no row, no connection.
/// Method: every length of the beginning of a valid request, then the connection is closed.
#[tokio::test]
async fn half_a_request_leaves_nothing() {
    let server = start_server(&NO_LIMITS);
    let mut neighbour = server.registered("KS-1").await;
    let mut device = server.registered("KS-2").await;
    let message = device.next_heartbeat();
    let wire = as_http_request(&device.sign(&message), "");
    let connections = server.metric("ks_connections").await.unwrap();
    for end in (0..wire.len()).step_by(7) {
        let mut stream = Line::bare(server.address(), HOME).await.unwrap();
        stream.write_all(&wire.as_bytes()[..end]).await.unwrap();
    }
    check_unharmed(&server, &mut neighbour).await;
    eventually("the connections are closed", async || server.metric("ks_connections").await.unwrap() <= connections)
        .await;
    assert_eq!(server.beats(), [("KS-1".to_owned(), 1, 2)]);
    device.send::<NextBeat>("/heartbeat", &device.sign(&message)).await.answer();
}

/// A signed heartbeat as an HTTP request, with more header lines, each ending in CR LF.
fn as_http_request(signed: &SignedRequest, headers: &str) -> String {
    let (length, wire) = (signed.wire.len(), &signed.wire);
    format!(
        "POST /heartbeat HTTP/1.1\r\nhost: a\r\ncontent-type: text/toon\r\n{headers}content-length: {length}\r\n\r\n{wire}"
    )
}

/// Goal: a body that trickles is cut off by the time-out, however many bytes arrive in between.
/// Method: a byte every few milliseconds, until the server closes the connection.
#[tokio::test]
async fn a_trickling_body_times_out() {
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
                return; // the server has closed the connection
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
/// Method: one header of 1 MB, a thousand small ones, a path of 1 MB; the largest head that fits is served.
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
        let answer = bare_exchange(server.address(), head.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let filling = "a".repeat(12 * 1024);
    let fits = format!("GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-long: {filling}\r\n\r\n");
    assert!(bare_exchange(server.address(), fits.as_bytes()).await.starts_with("HTTP/1.1 200 OK"));
    for (lines, status) in [(100, "HTTP/1.1 200"), (101, "HTTP/1.1 431")] {
        let lines = "x-header: 1\r\n".repeat(lines - 2);
        let head = format!("GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{lines}\r\n");
        let answer = bare_exchange(server.address(), head.as_bytes()).await;
        assert!(answer.starts_with(status), "{answer}");
    }
    check_unharmed(&server, &mut neighbour).await;
}

/// Goal: pipelined requests are answered in order, each answer bound to its own request.
/// Method: two heartbeats, a replay and a GET in one write.
#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let (first, second) = (device.next_heartbeat(), device.next_heartbeat());
    let (first, second) = (device.sign(&first), device.sign(&second));
    let mut stream = Line::bare(server.address(), HOME).await.unwrap();
    let wire = [
        as_http_request(&first, ""),
        as_http_request(&second, ""),
        as_http_request(&first, ""),
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
    server.assert_healthy().await;
}

/// Goal: contradictory or invalid lengths store nothing that was not signed.
/// Method: a valid heartbeat with each oddity; whatever is stored was answered with 200.
#[tokio::test]
async fn odd_lengths_and_transfer_encodings_are_harmless() {
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
        let answer = bare_exchange(server.address(), request.as_bytes()).await;
        let statuses = ["HTTP/1.1 4", "HTTP/1.1 200", "HTTP/1.1 501"];
        assert!(answer.is_empty() || statuses.iter().any(|status| answer.starts_with(status)), "{answer}");
        // With it a content-length is ignored (RFC 9112, 6.3); any other coding is refused.
        let codings: Vec<&str> = headers.split("\r\n").filter(|line| line.starts_with("transfer-encoding")).collect();
        let is_known = codings.is_empty() || codings == ["transfer-encoding: chunked"];
        assert!(is_known || !answer.starts_with("HTTP/1.1 200"), "{headers} is not valid framing: {answer}");
        stored += usize::from(answer.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(server.beats().len(), stored);
    check_unharmed(&server, &mut neighbour).await;
}

/// Goal: very many silent connections do not keep other clients from being served.
/// Method: 500 silent connections; then a device on a new one.
#[tokio::test]
async fn silent_connections_do_not_block_other_clients() {
    let server = start_server(&[]);
    let mut silent = Vec::new();
    for _ in 0..500 {
        silent.push(Line::bare(server.address(), HOME).await.unwrap());
    }
    let mut device = server.registered("KS-1").await;
    device.beat().await.answer();
    eventually("all are accepted", async || server.metric("ks_connections").await.unwrap() > 500.0).await;
    drop(silent);
    eventually("all are closed", async || server.metric("ks_connections").await.unwrap() < 5.0).await;
    check_unharmed(&server, &mut device).await;
}

/// Goal: the connection limit locks no client out: the connection that has been idle longest is closed.
/// Method: a limit of two, both used by idle connections; a third is served, and the older of the two is closed.
#[tokio::test]
async fn a_connection_beyond_the_limit_replaces_the_longest_idle() {
    let server = start_server(&[("CONNECTIONS_MAX", "2")]);
    let mut connections = Vec::new();
    for _ in 0..2 {
        let mut line = Line::bare(server.address(), HOME).await.unwrap();
        line.write_all(b"GET /keys HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert_eq!(bare_answer(&mut line).await.status, 200);
        connections.push(line);
    }
    let mut third = Line::new(server.address(), HOME);
    assert_eq!(third.exchange(Sent::get("/keys")).await.unwrap().status, 200);
    assert_eq!(read_to_end(&mut connections[0]).await, 0, "the older one is closed");
    connections[1].write_all(b"GET /keys HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(bare_answer(&mut connections[1]).await.status, 200, "the younger one is not");
}

/// Goal: an attacker who opens half requests up to the limit locks no client out, and takes no connection away from others.
/// Method: more half bodies and half heads from one address than the limit; a device that was connected before continues on its
/// connection, and new clients from other addresses are served.
#[tokio::test]
async fn half_requests_of_one_address_do_not_block_other_clients() {
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
    assert!(held, "the only connection of its address, and not half a request, stays open");
    resident.beat().await.answer();
}

/// Counts the bytes that still arrive until the server closes the connection.
async fn read_to_end(line: &mut TcpStream) -> usize {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(WAIT_MAX, line.read_to_end(&mut rest)).await.expect("it is closed");
    read.unwrap_or(0) // closed with a reset is closed too
}

/// Goal: a peer can't hold a connection by sending nothing, or too little.
/// Method: a peer that sends nothing, one that sends half a head, one that is silent after an answer; each is cut off.
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
    server.assert_healthy().await;
}

/// Goal: a peer can't hold a connection longer by sending half a head together with a request.
/// Method: idle connections outlast the test; half of a second head arrives with the first request, or with the end of its body.
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
        assert!(nothing.is_err(), "a connection without a further request stays open");
    }
    server.assert_healthy().await;
}

/// Goal: a peer can't hold a connection, and the memory of its answers, by not reading.
/// Method: requests for a long answer are sent until the server stops accepting them; none of the answers is read.
#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off() {
    let server = start_server(&[("REQUEST_TIMEOUT_MS", "1000")]);
    let mut deaf = Line::bare(server.address(), HOME).await.unwrap();
    let requests = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
    // It ends when the server, whose writes time out, closes the connection: the rest can't be sent.
    let sending = async { while deaf.write_all(&requests).await.is_ok() {} };
    tokio::time::timeout(WAIT_MAX, sending).await.expect("it is cut off");
    eventually("the connection is closed", async || server.metric("ks_connections").await.unwrap() < 2.0).await;
    server.assert_healthy().await;
}

/// Goal: a body whose declared length is too large is refused immediately, and not waited for.
/// Method: heads alone, on a server whose time-out would outlast the test; also of a client that asks before it sends the body.
#[tokio::test]
async fn a_body_declared_too_large_is_refused_before_it_is_sent() {
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

/// Goal: a client that sends a whole body before it reads still receives the refusal, and the notice that the connection closes.
/// Method: bodies far larger than the socket buffers, refused because of their length, a missing token, and their path.
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

/// Goal: a request names its host exactly once, as HTTP/1.1 requires, and its content type exactly once.
/// Method: none and two of each; HTTP/1.0 may omit the host.
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
        let answer = bare_exchange(server.address(), format!("{head}\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with(status), "{head}: {answer}");
    }
    for (first, second) in
        [("text/toon", "application/json"), ("application/json", "text/toon"), ("text/toon", "text/toon")]
    {
        let signed = neighbour.sign_text("/heartbeat", "type: heartbeat\n");
        let wire = as_http_request(&signed, "connection: close\r\n")
            .replace("content-type: text/toon", &format!("content-type: {first}\r\ncontent-type: {second}"));
        let answer = bare_exchange(server.address(), wire.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 415") && answer.contains("there are 2 content-type lines"), "{answer}");
    }
    check_unharmed(&server, &mut neighbour).await;
}

/// Goal: devices behind a proxy that writes ports into X-Forwarded-For have separate budgets; entries that can't be parsed are
/// counted.
/// Method: one address behind the proxy spends its budget under changing ports, another one continues; then a proxy that sends
/// `unknown`.
#[tokio::test]
async fn a_port_in_x_forwarded_for_is_not_part_of_the_address() {
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

/// Goal: a proxy that TRUSTED_PROXIES does not name is noticed, because its clients share each budget of an address.
/// Method: such a proxy names clients, which changes nothing for them; the counter and the log say so.
#[tokio::test]
async fn a_proxy_that_is_not_trusted_is_noticed() {
    let budget = [("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "1"), ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "2")];
    let server = start_server(&budget);
    let metric = "ks_forwarded_for_untrusted_total";
    let mut line = Line::new(server.address(), HOME);
    let mut codes = Vec::new();
    for hop in ["1.2.3.4", "5.6.7.8", "9.10.11.12"] {
        let headers = [("content-type", ks_protocol::MEDIA_TYPE), ("x-forwarded-for", hop)];
        let sent = Sent { method: "POST", path: "/heartbeat", headers: &headers, body: b"x".to_vec() };
        codes.push(line.exchange(sent).await.unwrap().status);
    }
    assert_eq!(codes, [400, 400, 429]);
    assert_eq!(server.metric(metric).await, Some(3.0));
    let log = std::fs::read_to_string(server.path("server.log")).unwrap();
    assert_eq!(log.matches("X-Forwarded-For is ignored").count(), 1, "{log}");
}
