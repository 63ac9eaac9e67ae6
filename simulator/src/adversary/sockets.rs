//! Connections without a complete request: half a head, or a head and a body that arrives byte by byte. Each is held until the
//! server closes or answers it, or the attack is over.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use crate::{
    link::{LinkError, socket},
    scenario::AdversaryKind,
};

const HALF_HEAD: &[u8] = b"POST /heartbeat HTTP/1.1\r\nhost: ks\r\ncontent-ty";
/// A head whose body never completes.
const HEAD: &[u8] = b"POST /logs HTTP/1.1\r\nhost: ks\r\ncontent-type: text/toon\r\ncontent-length: 60000\r\n\r\n";
/// Between two bytes of a body.
const DRIP_EVERY: Duration = Duration::from_secs(1);

/// The code of a connection that the server held to the end of the attack.
pub(super) const HELD: &str = "HELD";
/// The code of one that the server answered.
pub(super) const ANSWERED: &str = "ANSWERED";

/// Opens one connection from an address and holds it until `until` at most; returns the code of its outcome.
pub(super) async fn hold(kind: AdversaryKind, target: SocketAddr, from: SocketAddr, until: Instant) -> &'static str {
    let held = async {
        let mut stream = socket::connect(target, from).await?;
        Ok(if kind == AdversaryKind::SlowBody { drip(&mut stream).await } else { half_request(&mut stream).await })
    };
    match tokio::time::timeout_at(until, held).await {
        Ok(Ok(Ok(code))) => code,
        Ok(Ok(Err(_))) => LinkError::ConnectionLost.code(),
        Ok(Err(error)) => LinkError::code(error),
        Err(_) => HELD,
    }
}

async fn half_request(stream: &mut TcpStream) -> std::io::Result<&'static str> {
    stream.write_all(HALF_HEAD).await?;
    first_answer_byte(stream).await
}

async fn drip(stream: &mut TcpStream) -> std::io::Result<&'static str> {
    stream.write_all(HEAD).await?;
    loop {
        match tokio::time::timeout(DRIP_EVERY, first_answer_byte(stream)).await {
            Ok(answered) => return answered,
            Err(_) => stream.write_all(b"a").await?,
        }
    }
}

/// Waits for the first byte of an answer, or for the connection to close.
async fn first_answer_byte(stream: &mut TcpStream) -> std::io::Result<&'static str> {
    let read = stream.read(&mut [0]).await?;
    Ok(if read == 0 { LinkError::ConnectionLost.code() } else { ANSWERED })
}
