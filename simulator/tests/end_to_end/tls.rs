//! Goal: a load run against an `https://` target uses TLS as a fleet does (checked certificates, each device's own session), and what
//! is wrong with a target is said before anything starts.
//! Method: the real server with certificates made on the spot, directly and behind a proxy with a path.

#![allow(clippy::disallowed_methods, reason = "a proxy has threads")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;

use crate::support::{Server, TOKEN, fleet, stderr_of, summary_in, write_scenario};

/// An authority in `ca.pem`, and in `cert.pem` and `key.pem` a certificate that it issued for these names.
fn issue(folder: &Path, names: &[&str]) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
}

fn server(folder: &Path) -> Server {
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.join(name).display().to_string());
    Server::start(folder, &[("TLS_CERT_FILE", &certificate), ("TLS_KEY_FILE", &key)])
}

/// 20 devices for some seconds; each loses its connections once.
const SCENARIO: &str = r#"
name = "small"
goal = "A fleet that loses its connections."
timing = "ignored"
duration = "4s"
ramp = "500ms"
[fleet]
devices = 20
heartbeat_interval = "200ms"
answer_timeout = "30s"
[[timeline]]
at = "2s"
do = "outage"
for = "500ms"
[[expect]]
metric = "ledger.lost"
equals = 0
"#;

/// The same of TLS.
const NONE_FAILED: &str = "[[expect]]\nmetric = \"tls.failed\"\nequals = 0\n";

/// Runs it against a target; the system's authorities are those in `system.pem`.
fn run(folder: &Path, target: &str, more: &[&str]) -> Output {
    let of_tls = if target.starts_with("https://") { NONE_FAILED } else { "" };
    let scenario = write_scenario(folder, "small", &format!("{SCENARIO}{of_tls}"));
    let mut command = fleet();
    command.env("ADMIN_TOKEN", TOKEN).env("SSL_CERT_FILE", folder.join("system.pem"));
    command.arg("run").arg(scenario).arg("--out").arg(folder.join("run")).args(["--target", target]).args(more);
    command.output().unwrap()
}

fn passed(folder: &Path, output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(output));
    summary_in(&folder.join("run"))
}

#[test]
fn each_device_resumes_its_own_session() {
    let folder = tempfile::tempdir().unwrap();
    issue(folder.path(), &["localhost"]);
    let server = server(folder.path());
    let ca = folder.path().join("ca.pem").display().to_string();
    let output = run(folder.path(), &format!("https://localhost:{}", server.address.port()), &["--ca", &ca]);
    let tls = passed(folder.path(), &output)["tls"].clone();
    // A full handshake is made by each device at its first connection and by each operator, and by nobody else.
    let (full, resumed) = (tls["full"].as_u64().unwrap(), tls["resumed"].as_u64().unwrap());
    assert!((20..=24).contains(&full), "{tls}");
    assert!((1..=20).contains(&resumed), "{tls}");
    assert_eq!(tls["handshake_ms"]["count"], full + resumed);
    let repeat = summary_in(&folder.path().join("run"))["replay"].as_str().unwrap().to_owned();
    assert!(repeat.contains(&format!("--ca {ca}")), "{repeat}");
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    issue(folder.path(), &["localhost"]);
    let server = server(folder.path());
    let port = server.address.port();
    let ca = folder.path().join("ca.pem").display().to_string();
    let key = folder.path().join("key.pem").display().to_string();
    let none = folder.path().join("none.pem").display().to_string();
    let (by_name, by_address) = (format!("https://localhost:{port}"), format!("https://127.0.0.1:{port}"));
    let other = tempfile::tempdir().unwrap();
    issue(other.path(), &["localhost"]);
    std::fs::copy(other.path().join("ca.pem"), folder.path().join("system.pem")).unwrap();
    let plain = Server::start(other.path(), &[]);
    let no_tls = format!("https://localhost:{}", plain.address.port());
    let fragment = format!("{by_name}#there");
    let cases: [(&str, &[&str], i32, &str); 7] = [
        (&fragment, &["--ca", &ca], 2, "it contains a query or a fragment"),
        (&by_address, &["--ca", &ca], 3, "its certificate is not for `127.0.0.1`"),
        (&no_tls, &["--ca", &ca], 3, "it does not speak TLS; is it an http:// server?"),
        (&by_name, &["--ca", &key], 2, "key.pem has no certificate in valid PEM"),
        (&by_name, &["--ca", &none], 2, "cannot read"),
        (&format!("http://localhost:{port}"), &["--ca", &ca], 2, "--ca is for https://"),
        (&by_name, &[], 3, "not from an authority that is trusted here"),
    ];
    for (target, more, code, said) in cases {
        let output = run(folder.path(), target, more);
        assert_eq!(output.status.code(), Some(code), "{target} {more:?}: {}", stderr_of(&output));
        assert!(stderr_of(&output).contains(said), "{target} {more:?}: {}", stderr_of(&output));
    }
}

/// A proxy that serves `/ks/...` with what is at `/...` of the server, and answers everything else with 404.
fn prefix_proxy(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("[::1]:0").or_else(|_| TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || drop(relay(client, server)));
        }
    });
    address
}

/// One connection of the proxy: the path of each head is changed, everything else passes.
fn relay(mut client: TcpStream, server: SocketAddr) -> std::io::Result<()> {
    let mut upstream = TcpStream::connect(server)?;
    let (mut answers, mut back) = (upstream.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
    let mut piece = vec![0; 64 * 1024];
    loop {
        let read = client.read(&mut piece)?;
        if read == 0 {
            return upstream.shutdown(std::net::Shutdown::Both);
        }
        let text = String::from_utf8_lossy(&piece[..read]).into_owned();
        let mut changed = text.clone();
        for method in ["GET ", "POST ", "PUT "] {
            if let Some(path) = text.strip_prefix(method) {
                let Some(path) = path.strip_prefix("/ks/") else {
                    client.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
                    return Ok(());
                };
                changed = format!("{method}/{path}");
            }
        }
        upstream.write_all(changed.as_bytes())?;
    }
}

#[test]
fn a_path_before_the_servers_own_and_an_ipv6_address_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let proxy = prefix_proxy(server.address);
    let without = run(folder.path(), &format!("http://{proxy}"), &[]);
    assert_eq!(without.status.code(), Some(3), "{}", stderr_of(&without));
    let with = run(folder.path(), &format!("http://{proxy}/ks/"), &[]);
    let summary = passed(folder.path(), &with);
    assert!(summary["heartbeats"]["acked"].as_u64().unwrap() > 0, "{summary}");
    assert!(summary.get("tls").is_none(), "{summary}");
}

/// HAProxy, which terminates TLS before a server, as it is usually done; stopped when dropped.
struct HaProxy {
    process: Child,
    port: u16,
}

impl HaProxy {
    /// Starts it with the certificate in `folder`.
    fn start(folder: &Path, server: SocketAddr) -> Self {
        let pair = ["cert.pem", "key.pem"].map(|name| std::fs::read_to_string(folder.join(name)).unwrap());
        std::fs::write(folder.join("pair.pem"), pair.concat()).unwrap();
        // Bound here and free again: HAProxy can't choose a port itself.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "global\n maxconn 4000\n\
             defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n option forwardfor\n\
             frontend fleet\n bind 127.0.0.1:{port} ssl crt {}\n default_backend ks\n\
             backend ks\n http-reuse safe\n server one {server}\n",
            folder.join("pair.pem").display()
        );
        let path = folder.join("haproxy.cfg");
        std::fs::write(&path, config).unwrap();
        let process = Command::new("haproxy").arg("-db").arg("-f").arg(path).stdout(Stdio::null()).spawn();
        let process = process.expect("HAProxy is missing: apt-get install haproxy");
        let started = (0..600).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        assert!(started, "HAProxy does not listen");
        Self { process, port }
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Goal: the shipped storm holds behind the usual proxy and at the server's own listener alike.
#[test]
fn a_fleet_reconnects_by_its_sessions_through_a_proxy_and_without_one() {
    let folder = tempfile::tempdir().unwrap();
    issue(folder.path(), &["localhost"]);
    let ca = folder.path().join("ca.pem").display().to_string();
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/reconnect-storm-tls.toml");
    let storm = |name: &str, port: u16| {
        let out = folder.path().join(name);
        let mut command = fleet();
        command.env("ADMIN_TOKEN", TOKEN).arg("run").arg(&scenario).arg("--out").arg(&out).args(["--ca", &ca]);
        let target = format!("https://localhost:{port}");
        let output = command.args(["--id-prefix", name, "--target", &target]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}: {}", stderr_of(&output));
        let report = std::fs::read_to_string(out.join("report.html")).unwrap();
        assert!(report.contains("TLS handshakes"), "{name}");
        summary_in(&out)["tls"].clone()
    };
    let own = server(folder.path());
    let tls = storm("OWN", own.address.port());
    assert!((500..=510).contains(&tls["full"].as_u64().unwrap()), "{tls}");
    let other = tempfile::tempdir().unwrap();
    let plain = Server::start(other.path(), &[("TRUSTED_PROXIES", "127.0.0.1")]);
    let proxy = HaProxy::start(folder.path(), plain.address);
    let tls = storm("PROXY", proxy.port);
    assert!((500..=510).contains(&tls["full"].as_u64().unwrap()), "{tls}");
}
