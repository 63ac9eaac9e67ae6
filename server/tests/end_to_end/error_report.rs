//! Goal: an error of the server is reported to the endpoint that SENTRY_DSN names.
//! Method: a listener acts as that endpoint; the database is broken under the server, so that a commit fails.
#![cfg(feature = "error-reports")]

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
    time::Duration,
};

use crate::support::start_server;
use ks_protocol::refusal::RefusalCode as Code;

/// Answers one request with 200 and returns its bytes, up to the end of the event that it carries.
fn one_report(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let (mut request, mut part) = (Vec::new(), [0; 4_096]);
    while !String::from_utf8_lossy(&request).contains("commits fail") {
        let read = stream.read(&mut part).unwrap();
        assert!(read > 0, "the report ended early: {}", String::from_utf8_lossy(&request));
        request.extend_from_slice(&part[..read]);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
    String::from_utf8_lossy(&request).into_owned()
}

#[tokio::test]
async fn a_failed_commit_is_reported_and_the_device_is_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dsn = format!("http://0123456789abcdef@{}/42", listener.local_addr().unwrap());
    let server = start_server(&[("SENTRY_DSN", &dsn)]);
    let mut device = server.registered("KS-1").await;
    let reported = thread::Builder::new().spawn(move || one_report(&listener)).unwrap();
    server.break_heartbeats();
    device.beat().await.refusal(Code::Internal);
    let report = reported.join().unwrap();
    assert!(report.starts_with("POST /api/42/envelope/"), "{report}");
    assert!(report.contains("commits fail"), "{report}");
}
