//! Goal: systemd is notified when the server serves and when it stops, and commits that succeed feed its watchdog; only a moved
//! database, which a restart would make worse, does not stop the watchdog messages.
//! Method: the real server with a socket of the test as NOTIFY_SOCKET; its commits fail for a while; then its database is moved.

use std::{os::unix::net::UnixDatagram, time::Duration};

use crate::support::{eventually, world};

/// The next message; none if there is none yet.
fn received(socket: &UnixDatagram) -> Option<String> {
    let mut message = [0; 64];
    let bytes = socket.recv(&mut message).ok()?;
    Some(String::from_utf8(message[..bytes].to_vec()).unwrap())
}

async fn wait_for_message(socket: &UnixDatagram, expected: &str) {
    eventually(expected, async || received(socket).as_deref() == Some(expected)).await;
}

#[tokio::test]
async fn only_commits_feed_the_watchdog() {
    let mut world = world(&[]);
    let path = world.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    world.set("NOTIFY_SOCKET", path.to_str().unwrap());
    world.set("WATCHDOG_USEC", &Duration::from_millis(400).as_micros().to_string());
    let mut server = world.start();
    wait_for_message(&socket, "READY=1").await;
    for _ in 0..3 {
        wait_for_message(&socket, "WATCHDOG=1").await; // without any request
    }
    let rename = |from: &str, to: &str| {
        server.sqlite().execute_batch(&format!("ALTER TABLE {from} RENAME TO {to}")).unwrap();
    };
    rename("server_alive", "gone"); // the writes of an idle server fail from now on
    let starved = async |times| {
        eventually("the watchdog is not fed", async || server.log().matches("watchdog is not fed").count() >= times)
            .await;
    };
    starved(1).await;
    while received(&socket).is_some() {}
    starved(4).await;
    assert_eq!(received(&socket), None);
    rename("gone", "server_alive");
    wait_for_message(&socket, "WATCHDOG=1").await;

    // A restart now would make an empty database in place of the missing one.
    std::fs::rename(server.database(), server.path("aside.sqlite")).unwrap();
    eventually("the missing database is noticed", async || server.get("/health").await.status == 503).await;
    while received(&socket).is_some() {}
    wait_for_message(&socket, "WATCHDOG=1").await;
    std::fs::rename(server.path("aside.sqlite"), server.database()).unwrap();

    server.terminate();
    wait_for_message(&socket, "STOPPING=1").await;
    assert_eq!(server.ended().await.code(), Some(0));
}

/// Goal: an unreachable supervisor does not affect heartbeats.
/// Method: NOTIFY_SOCKET names a missing socket, and a folder.
#[tokio::test]
async fn a_missing_socket_is_a_warning_that_names_it() {
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
