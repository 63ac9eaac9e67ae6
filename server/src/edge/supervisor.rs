//! Notifies systemd that the server is ready, that it is stopping and, for the watchdog, that commits succeed.
//!
//! This is the protocol of sd_notify(3): a datagram to the socket in `NOTIFY_SOCKET`. Without one nothing is sent.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

/// How often the watchdog is fed within its timeout.
const FEEDS_PER_TIMEOUT: u32 = 4;

/// The service manager that started the server.
pub(crate) struct Supervisor {
    socket: Option<UnixDatagram>,
    /// The watchdog's timeout, if there is a watchdog.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// Reads `NOTIFY_SOCKET` and `WATCHDOG_USEC`. A socket that can't be reached is ignored: serving devices matters more.
    pub(crate) fn of(var: impl Fn(&str) -> Option<String>) -> Self {
        let socket = var("NOTIFY_SOCKET").filter(|name| !name.is_empty()).and_then(|name| match connect(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(%error, socket = name, "NOTIFY_SOCKET can't be reached, so no supervisor is notified");
                None
            }
        });
        let usec = var("WATCHDOG_USEC").and_then(|usec| usec.parse::<u64>().ok()).filter(|usec| *usec > 0);
        Self { watchdog: usec.map(Duration::from_micros).filter(|_| socket.is_some()), socket }
    }

    /// The server is ready.
    pub(crate) fn ready(&self) {
        self.send("READY=1");
    }

    /// The server finishes what it has accepted and exits.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Time between two checks for commits; none without a watchdog.
    pub(crate) fn pause(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| watchdog / FEEDS_PER_TIMEOUT)
    }

    /// A commit has succeeded since the last call, or a restart would not help.
    pub(crate) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, state: &str) {
        if let Some(Err(error)) = self.socket.as_ref().map(|socket| socket.send(state.as_bytes())) {
            tracing::warn!(%error, state, "the supervisor could not be notified");
        }
    }
}

/// A socket in the file system, or, behind `@`, an abstract one.
fn connect(name: &str) -> io::Result<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name.as_bytes())?,
        None => SocketAddr::from_pathname(OsStr::from_bytes(name.as_bytes()))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supervisor(socket: &str, watchdog_usec: &str) -> Supervisor {
        Supervisor::of(|name| match name {
            "NOTIFY_SOCKET" => Some(socket.to_owned()),
            "WATCHDOG_USEC" => Some(watchdog_usec.to_owned()),
            _ => None,
        })
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut state = [0; 64];
        let bytes = socket.recv(&mut state).unwrap();
        String::from_utf8(state[..bytes].to_vec()).unwrap()
    }

    #[test]
    fn notifications_are_sent_to_a_path_and_to_an_abstract_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let named = format!("@ks-server-test-{}", std::process::id());
        let bound = [
            (path.to_str().unwrap().to_owned(), UnixDatagram::bind(&path).unwrap()),
            (named.clone(), UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&named[1..]).unwrap()).unwrap()),
        ];
        for (name, socket) in bound {
            let supervisor = supervisor(&name, "8000000");
            assert_eq!(supervisor.pause(), Some(Duration::from_secs(2)));
            supervisor.ready();
            supervisor.alive();
            supervisor.stopping();
            assert_eq!([(); 3].map(|()| received(&socket)), ["READY=1", "WATCHDOG=1", "STOPPING=1"]);
        }
    }

    #[test]
    fn without_a_supervisor_nothing_is_sent() {
        for socket in ["", "/nowhere/notify"] {
            let none = supervisor(socket, "8000000");
            assert_eq!(none.pause(), None);
            none.ready();
        }
    }
}
