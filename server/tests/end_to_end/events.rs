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

    let mut live = Line::bare(server.address(), HOME).await.unwrap();
    let head = format!(
        "GET /api/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\nAccept: text/event-stream\r\n\r\n"
    );
    live.write_all(head.as_bytes()).await.unwrap();
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
