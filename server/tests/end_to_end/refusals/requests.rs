//! Requests that are refused before their document is read: path, method, media type, size, time.

use ks_protocol::{
    document::encode,
    message::{CommandAck, Heartbeat, NextBeat, Register, Request},
    refusal::RefusalCode as Code,
    signature::{NO_SIG_DEV, SignedRequest},
};
use tokio::io::AsyncWriteExt;

use super::documents::valid_text;
use crate::support::{Device, Line, Sent, Server, bare_answer, read_answer, start_server};

/// Goal: unknown paths and methods are refused in the protocol's own format too.
/// Method: near misses of each endpoint.
#[tokio::test]
async fn unknown_paths_and_methods_get_signed_refusals() {
    let server = start_server(&[]);
    let mut device = server.device("KS-1");
    let request = |method, path| Sent { method, path, headers: &[], body: Vec::new() };
    for path in ["/", "/heartbeat/", "/Heartbeat", "/heartbeats", "/commands", "/keys/1", "//heartbeat", "/%2e%2e/etc"]
    {
        let refusal = device.send_unbound(request("POST", path)).await.refusal(Code::NotFound);
        assert!(refusal.message.contains(path), "{refusal:?}");
    }
    let wrong = [
        ("GET", "/heartbeat"),
        ("PUT", "/register"),
        ("DELETE", "/commands/ack"),
        ("POST", "/keys"),
        ("BREW", "/keys"),
    ];
    for (method, path) in wrong {
        let answer = device.send_unbound(request(method, path)).await;
        let allowed = answer.raw.header("allow").unwrap_or_default();
        assert!(allowed.contains(if path == "/keys" { "GET" } else { "POST" }), "{method} {path}: allow: {allowed}");
        answer.refusal(Code::MethodNotAllowed);
    }
}

/// Goal: JSON and anything else that is not TOON in UTF-8 never reaches a parser.
/// Method: a valid heartbeat, under other content types; then other spellings of the right one.
#[tokio::test]
async fn only_the_right_media_type_is_accepted_in_any_spelling() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let text = valid_text(&mut device);
    let wire = device.sign_text("/heartbeat", &text).wire;
    for content_type in ["application/json", "text/plain", "text/toon; charset=latin-1", "text/toonish", ""] {
        let headers: &[(&str, &str)] = if content_type.is_empty() { &[] } else { &[("content-type", content_type)] };
        let sent = Sent { method: "POST", path: "/heartbeat", headers, body: wire.clone().into_bytes() };
        device.send_unbound(sent).await.refusal(Code::UnsupportedMediaType);
    }
    assert!(server.beats().is_empty());
    for content_type in ["text/toon", "Text/TOON;charset=UTF-8", "text/toon; charset=\"utf-8\""] {
        let message = device.next_heartbeat();
        let signed = device.sign(&message);
        let headers = &[("content-type", content_type)];
        let sent = Sent { method: "POST", path: "/heartbeat", headers, body: signed.wire.into_bytes() };
        let raw = device.line.exchange(sent).await.unwrap();
        read_answer::<NextBeat>(raw, &signed.sig_dev.to_string()).answer();
    }
    assert_eq!(server.beats().len(), 3);
}

/// A body of exactly `bytes` that is valid except for its size: an unknown field pads it.
fn padded_body<R: Request>(device: &Device, message: &R, bytes: usize) -> SignedRequest {
    let signed = |filling: usize| {
        let text = format!("{}\nfilling: {}\n", encode(message).unwrap(), "x".repeat(filling));
        device.sign_text(R::PATH, &text)
    };
    signed(bytes - signed(0).wire.len())
}

async fn chunked(server: &Server, path: &str, body: &str) -> crate::support::Answer {
    let mut stream = Line::bare(server.address(), crate::support::HOME).await.unwrap();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: text/toon\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunks = body
        .as_bytes()
        .chunks(1_000)
        .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)));
    let wire = head + &chunks.collect::<String>() + "0\r\n\r\n";
    stream.write_all(wire.as_bytes()).await.unwrap();
    bare_answer(&mut stream).await
}

/// Goal: each endpoint accepts bodies up to its bound, and not a byte more, whether the length is declared or not.
/// Method: a body of exactly the bound and one of a byte more, with content-length and chunked.
#[tokio::test]
async fn a_body_beyond_the_bound_is_too_large_however_it_is_sent() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let max = Heartbeat::BODY_BYTES_MAX;
    for (with_length, bytes, fits) in
        [(true, max, true), (true, max + 1, false), (false, max, true), (false, max + 1, false)]
    {
        let message = device.next_heartbeat();
        let signed = padded_body(&device, &message, bytes);
        assert_eq!(signed.wire.len(), bytes);
        let raw = if with_length {
            device.line.exchange(Sent::toon("/heartbeat", signed.wire.as_str())).await.unwrap()
        } else {
            chunked(&server, "/heartbeat", &signed.wire).await
        };
        if fits {
            read_answer::<NextBeat>(raw, &signed.sig_dev.to_string()).answer();
        } else {
            let refusal = read_answer::<NextBeat>(raw, NO_SIG_DEV).refusal(Code::TooLarge);
            assert!(refusal.message.contains(&max.to_string()), "{refusal:?}");
        }
    }
    assert_eq!(server.beats().len(), 2);
    for (path, bytes) in [(Register::PATH, Register::BODY_BYTES_MAX), (CommandAck::PATH, CommandAck::BODY_BYTES_MAX)] {
        device.send_unbound(Sent::toon(path, vec![b'x'; bytes])).await.refusal(Code::Malformed);
        device.send_unbound(Sent::toon(path, vec![b'x'; bytes + 1])).await.refusal(Code::TooLarge);
    }
}

/// Goal: waiting for a body that does not arrive is bounded.
/// Method: a head that declares a body, half of which is sent.
#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_a_request_timeout() {
    let server = start_server(&[("REQUEST_TIMEOUT_MS", "1000")]);
    let mut stream = Line::bare(server.address(), crate::support::HOME).await.unwrap();
    let half =
        b"POST /heartbeat HTTP/1.1\r\nhost: a\r\ncontent-type: text/toon\r\ncontent-length: 100\r\n\r\ntype: heart";
    stream.write_all(half).await.unwrap();
    let raw = bare_answer(&mut stream).await;
    read_answer::<NextBeat>(raw, NO_SIG_DEV).refusal(Code::RequestTimeout);
    server.registered("KS-1").await.beat().await.answer();
}
