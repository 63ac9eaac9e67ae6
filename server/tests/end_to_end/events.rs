//! Goal: a client learns of changes within seconds, and after a break of those that it missed; nobody holds up the end of the server.
//! Method: a live stream while a device is imported; then the id of an earlier event; then SIGTERM with the stream open.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::support::{ADMIN_TOKEN, HOME, Line, WAIT_MAX, start_server};

#[tokio::test]
async fn events_name_what_has_changed_and_are_resumed_by_id() {
    let mut server = start_server(&[]);
    server.wait_until_idle().await;
    let once = async |headers: &[(&str, &str)]| {
        let bearer = format!("Bearer {ADMIN_TOKEN}");
        let headers = [&[("authorization", bearer.as_str())][..], headers].concat();
        server.call("GET", "/api/events", &headers, "").await
    };
    let first = once(&[]).await;
    assert_eq!((first.status, first.content_type.as_str()), (200, "text/event-stream"));
    let text = first.body.as_str().unwrap().to_owned();
    assert!(text.ends_with("\nevent: changed\ndata: {\"topics\":[]}\n\n"), "{text}");
    let id = text.strip_prefix("id: ").unwrap().split('\n').next().unwrap().to_owned();

    let (status, mut live) = opened(server.address(), &format!("Bearer {ADMIN_TOKEN}")).await;
    assert_eq!(status, 200);
    let mut received = String::new();
    let mut chunk = [0; 1_024];
    let mut imported = false;
    while !received.contains("data: {\"topics\":[\"devices\"]}") {
        let count = timeout(WAIT_MAX, live.read(&mut chunk)).await.unwrap().unwrap();
        assert!(count > 0, "the stream ended: {received}");
        received += std::str::from_utf8(&chunk[..count]).unwrap();
        if received.contains("data: {\"topics\":[]}") && !imported {
            server.whitelisted("KS-1").await;
            imported = true;
        }
    }
    let missed = once(&[("last-event-id", &id)]).await.body;
    assert!(missed.as_str().unwrap().contains("{\"topics\":[\"devices\"]}"), "{missed}");
    once(&[("last-event-id", "yesterday")]).await.problem(400);

    server.terminate();
    assert!(server.ended().await.success());
}

/// Opens a live stream; its status.
async fn opened(address: std::net::SocketAddr, authorization: &str) -> (u16, tokio::net::TcpStream) {
    let mut stream = Line::bare(address, HOME).await.unwrap();
    let head = format!(
        "GET /api/events HTTP/1.1\r\nHost: a\r\nAuthorization: {authorization}\r\nAccept: text/event-stream\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    timeout(WAIT_MAX, stream.read_exact(&mut status)).await.unwrap().unwrap();
    (std::str::from_utf8(&status[9..]).unwrap().parse().unwrap(), stream)
}

/// Goal: one caller can't take the streams of all. Method: 16 streams of a token, which is what a caller may have, then one more, and
/// one of another token.
#[tokio::test]
async fn streams_of_one_caller_are_bounded() {
    let server = start_server(&[]);
    let (eager, other) = (server.token("viewer").await, server.token("operator").await);
    let mut held = Vec::new();
    for _ in 0..16 {
        let (status, stream) = opened(server.address(), &eager).await;
        assert_eq!(status, 200);
        held.push(stream);
    }
    assert_eq!(opened(server.address(), &eager).await.0, 503);
    assert_eq!(opened(server.address(), &other).await.0, 200);
    drop(held);
}
