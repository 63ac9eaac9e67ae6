//! What systemd is told of the server: that it serves, that it stops, and, as its watchdog, that commits succeed.
//!
//! The protocol of sd_notify(3): a datagram to the socket that `NOTIFY_SOCKET` names. Without one nothing is sent.

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

/// How often the watchdog is fed at most: so many times within the time that it waits.
const FEEDINGS: u32 = 4;

/// Whoever started the server and watches it.
pub(crate) struct Supervisor {
    socket: Option<UnixDatagram>,
    /// How long the watchdog waits; none if there is none.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment names, if it does: `NOTIFY_SOCKET` and `WATCHDOG_USEC`. One that can't be reached is none:
    /// devices come before whoever watches.
    pub(crate) fn of(var: impl Fn(&str) -> Option<String>) -> Self {
        let socket = var("NOTIFY_SOCKET").filter(|name| !name.is_empty()).and_then(|name| match connect(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(%error, socket = name, "NOTIFY_SOCKET can't be reached, so no supervisor hears of this server");
                None
            }
        });
        let usec = var("WATCHDOG_USEC").and_then(|usec| usec.parse::<u64>().ok()).filter(|usec| *usec > 0);
        Self { watchdog: usec.map(Duration::from_micros).filter(|_| socket.is_some()), socket }
    }

    /// It serves from now on.
    pub(crate) fn ready(&self) {
        self.send("READY=1");
    }

    /// It finishes what it has accepted, and ends.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// How long to wait between two looks for commits; none if nobody waits for them.
    pub(crate) fn pause(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| watchdog / FEEDINGS)
    }

    /// A commit has succeeded since this was said last, or to start again would mend nothing.
    pub(crate) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, word: &str) {
        if let Some(Err(error)) = self.socket.as_ref().map(|socket| socket.send(word.as_bytes())) {
            tracing::warn!(%error, word, "the supervisor can't be told");
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

    fn heard(socket: &UnixDatagram) -> String {
        let mut word = [0; 64];
        let bytes = socket.recv(&mut word).unwrap();
        String::from_utf8(word[..bytes].to_vec()).unwrap()
    }

    #[test]
    fn words_go_to_a_socket_with_a_path_and_to_an_abstract_one() {
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
            assert_eq!([(); 3].map(|()| heard(&socket)), ["READY=1", "WATCHDOG=1", "STOPPING=1"]);
        }
    }

    #[test]
    fn without_a_supervisor_nothing_is_sent() {
        for socket in ["", "/nowhere/notify"] {
            let nobody = supervisor(socket, "8000000");
            assert_eq!(nobody.pause(), None);
            nobody.ready();
        }
    }
}
