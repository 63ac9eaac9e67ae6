//! Goal: systemd hears when the server serves and when it stops, and its watchdog is fed by commits that succeed; only a database
//! that was moved away, which to start again would make worse, does not starve it.
//! Method: the real server with a socket of the test's as NOTIFY_SOCKET; its commits fail for a while; then its database is moved.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure here is a failed test"
)]

mod support;

use std::{os::unix::net::UnixDatagram, time::Duration};

use support::{eventually, world};

/// The next word; none if there is none yet.
fn heard(socket: &UnixDatagram) -> Option<String> {
    let mut word = [0; 64];
    let bytes = socket.recv(&mut word).ok()?;
    Some(String::from_utf8(word[..bytes].to_vec()).unwrap())
}

async fn until_heard(socket: &UnixDatagram, wanted: &str) {
    eventually(wanted, async || heard(socket).as_deref() == Some(wanted)).await;
}

#[tokio::test]
async fn the_watchdog_is_fed_by_commits_alone() {
    let mut world = world(&[]);
    let path = world.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    world.set("NOTIFY_SOCKET", path.to_str().unwrap());
    world.set("WATCHDOG_USEC", &Duration::from_millis(400).as_micros().to_string());
    let mut server = world.start();
    until_heard(&socket, "READY=1").await;
    for _ in 0..3 {
        until_heard(&socket, "WATCHDOG=1").await; // nobody sends it anything
    }
    let rename = |from: &str, to: &str| {
        server.sqlite().execute_batch(&format!("ALTER TABLE {from} RENAME TO {to}")).unwrap();
    };
    rename("server_alive", "gone"); // what an idle server writes fails from now on
    let starved = async |times| {
        eventually("it starves", async || server.log().matches("watchdog is not fed").count() >= times).await;
    };
    starved(1).await;
    while heard(&socket).is_some() {}
    starved(4).await;
    assert_eq!(heard(&socket), None);
    rename("gone", "server_alive");
    until_heard(&socket, "WATCHDOG=1").await;

    // Whoever started it again now would make an empty database in place of the one that is away.
    std::fs::rename(server.database(), server.path("aside.sqlite")).unwrap();
    eventually("it is noticed", async || server.get("/health").await.status == 503).await;
    while heard(&socket).is_some() {}
    until_heard(&socket, "WATCHDOG=1").await;
    std::fs::rename(server.path("aside.sqlite"), server.database()).unwrap();

    server.terminate();
    until_heard(&socket, "STOPPING=1").await;
    assert_eq!(server.ended().await.code(), Some(0));
}

/// Goal: a supervisor that can't be reached keeps no device from beating.
/// Method: NOTIFY_SOCKET names a socket that is not there, and a folder.
#[tokio::test]
async fn a_socket_that_is_not_there_is_a_warning_that_names_it() {
    for socket in ["/nowhere/notify", "/"] {
        let server = world(&[("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", "400000")]).start();
        server.registered("KS-1").await.beat().await.answer();
        let log = server.log();
        let warned = |line: &str| {
            line.contains("WARN") && line.contains("NOTIFY_SOCKET can't be reached") && line.contains(socket)
        };
        assert_eq!(log.lines().filter(|line| warned(line)).count(), 1, "{log}");
    }
}
