//! Goal: the server's own TLS listener serves as plain HTTP does, follows its certificate's files, and can't be held up by peers
//! that don't finish their handshake.
//! Method: certificates made on the spot, and clients that trust them alone.

use std::{sync::Arc, time::Duration};

use ks_server::tls::provider;
use rcgen::generate_simple_self_signed;
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{HOME, Line, Server, WAIT_MAX, World, eventually, world};

const HOST: &str = "fleet.example";

/// Writes a new certificate into a world, and gives what trusts it.
fn issue(world: &World) -> CertificateDer<'static> {
    let issued = generate_simple_self_signed([HOST.to_owned()]).unwrap();
    world.write("cert.pem", issued.cert.pem());
    world.write("key.pem", issued.signing_key.serialize_pem());
    issued.cert.der().clone()
}

fn world_with_tls(settings: &[(&str, &str)]) -> (World, CertificateDer<'static>) {
    let tls = [("TLS_CERT_FILE", "cert.pem"), ("TLS_KEY_FILE", "key.pem")];
    let world = world(&[&tls, settings].concat());
    let certificate = issue(&world);
    (world, certificate)
}

fn trusting(certificate: &CertificateDer<'static>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth()).into()
}

async fn connect(server: &Server, with: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = Line::bare(server.address(), HOME).await?;
    with.connect(ServerName::try_from(HOST).unwrap(), stream).await
}

/// The answer to a request on a connection of its own.
async fn answer(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(WAIT_MAX, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn requests_are_served_and_sessions_resumed() {
    let (world, certificate) = world_with_tls(&[]);
    let server = world.start();
    let client = trusting(&certificate);
    let mut first = connect(&server, &client).await.unwrap();
    assert_eq!(first.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    assert_eq!(first.get_ref().1.alpn_protocol(), None, "the client offered none");
    assert!(answer(&mut first, "/health").await.starts_with("HTTP/1.1 200 OK"));
    let mut second = connect(&server, &client).await.unwrap();
    assert_eq!(second.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
    let stranger = trusting(&generate_simple_self_signed([HOST.to_owned()]).unwrap().cert.der().clone());
    assert!(connect(&server, &stranger).await.is_err(), "another certificate is trusted");
    let counted = answer(&mut second, "/metrics").await;
    for line in [r#"{result="full"} 1"#, r#"{result="resumed"} 1"#] {
        assert!(counted.contains(&format!("ks_tls_handshakes_total{line}")), "{counted}");
    }
    let failed = async || {
        let mut stream = connect(&server, &client).await.unwrap();
        answer(&mut stream, "/metrics").await.contains(r#"ks_tls_handshakes_total{result="failed"} 1"#)
    };
    eventually("the stranger's handshake is counted", failed).await;
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let (world, old) = world_with_tls(&[("REQUEST_TIMEOUT_MS", "600000")]);
    let server = world.start();
    let mut kept = connect(&server, &trusting(&old)).await.unwrap();
    server.write("cert.pem", "half a certificate");
    eventually("the broken one is reported", async || server.log().contains("can't be used; the previous one stays"))
        .await;
    assert!(connect(&server, &trusting(&old)).await.is_ok());
    let new = trusting(&issue(&server));
    eventually("the new one is used", async || connect(&server, &new).await.is_ok()).await;
    assert!(connect(&server, &trusting(&old)).await.is_err());
    assert!(answer(&mut kept, "/health").await.starts_with("HTTP/1.1 200 OK"), "open connections go on");
}

#[tokio::test]
async fn a_handshake_that_is_not_finished_ends_in_time() {
    let (world, certificate) = world_with_tls(&[("REQUEST_TIMEOUT_MS", "300"), ("CONNECTIONS_MAX", "2")]);
    let server = world.start();
    let mut silent = Line::bare(server.address(), HOME).await.unwrap();
    let closed = timeout(WAIT_MAX, silent.read(&mut [0])).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    // Peers that speak plain HTTP are answered by a TLS alert.
    let mut plain = Line::bare(server.address(), HOME).await.unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    let _ = timeout(WAIT_MAX, plain.read_to_end(&mut said)).await.unwrap();
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
    // Those that hold every slot give way to one that goes on.
    let _held = [Line::bare(server.address(), HOME).await.unwrap(), Line::bare(server.address(), HOME).await.unwrap()];
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut honest = connect(&server, &trusting(&certificate)).await.unwrap();
    assert!(answer(&mut honest, "/health").await.starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn a_certificate_that_cannot_be_used_prevents_the_start() {
    let (mut world, _) = world_with_tls(&[]);
    let refused = |world: &World, code, what: &str| {
        let ended = world.serve_expecting_error();
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert!(ended.stderr.contains(what), "{}", ended.stderr);
    };
    let another = generate_simple_self_signed([HOST.to_owned()]).unwrap().signing_key.serialize_pem();
    world.write("key.pem", another);
    refused(&world, 2, "TLS_CERT_FILE and TLS_KEY_FILE: the certificate cert.pem can't be used with the key key.pem");
    let doctor = world.run(&["doctor"]);
    assert!(doctor.stdout.contains("BAD   tls       TLS_CERT_FILE and TLS_KEY_FILE:"), "{}", doctor.stdout);
    world.set("TLS_CERT_FILE", "key.pem");
    refused(&world, 2, "key.pem has no certificate in valid PEM");
    world.set("TLS_CERT_FILE", "none.pem");
    refused(&world, 3, "cannot read none.pem");
    world.set("TLS_CERT_FILE", "");
    refused(&world, 2, "TLS_KEY_FILE is set, but TLS_CERT_FILE is not");
}
