//! Fuzzes the admin API against its own OpenAPI document: schemathesis sends valid and invalid requests as each role, and
//! looks for a 5xx or a response that is not in the document.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{
    python,
    shell::{self, Failed, root, say},
};

/// The fuzzer, pinned, so that runs are reproducible.
const FUZZER: &str = "schemathesis==4.32.5";
/// Every role, the number of random cases of each operation, and the phases. Admin comes with the token of the settings, which no call
/// can end. What the other roles may not do is refused before its input is read, and what they may do, admin may too: the systematic
/// cases, which take most of the time, would find the same again.
const ROLES: [(&str, &str, &str); 5] = [
    ("viewer", "5", "examples,fuzzing"),
    ("operator", "5", "examples,fuzzing"),
    ("release_manager", "5", "examples,fuzzing"),
    ("factory", "5", "examples,fuzzing"),
    ("admin", "25", "examples,coverage,fuzzing"),
];
/// The checks. Not among them: that valid data is accepted, since a schema can't say which devices exist.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,unsupported_method,allow_header_conformance,ignored_auth,missing_required_header";
/// Token of the server under test, which listens on the loopback only.
const ADMIN_TOKEN: &str = "token-of-the-fuzzed-server";

/// Installs the fuzzer, starts a server, and fuzzes it as each role.
pub(crate) fn run() -> Result<(), Failed> {
    let schemathesis = python::installed("fuzz", FUZZER, "schemathesis")?;
    shell::build()?;
    let folder = root().join("target/fuzz/server");
    let _ = std::fs::remove_dir_all(&folder); // it may not be there
    std::fs::create_dir_all(&folder).map_err(|error| Failed(format!("{}: {error}", folder.display())))?;
    let server = Server::start(&folder)?;
    for (number, (role, examples, phases)) in ROLES.into_iter().enumerate() {
        say(&format!("fuzzing the admin API as {role}"));
        let token = if role == "admin" { ADMIN_TOKEN.to_owned() } else { server.token(role)? };
        let document = format!("http://{}/api/openapi.json", server.address);
        let header = format!("Authorization: Bearer {token}");
        let program = schemathesis.to_string_lossy();
        let arguments = ["run", &document, "--header", &header, "--checks", CHECKS, "--max-examples", examples];
        // Each role has other cases.
        let seed = (number + 1).to_string();
        let arguments = [&arguments[..], &["--phases", phases, "--seed", &seed, "--no-color"]].concat();
        // Logging out would end the token of the run, a live stream of events lasts a minute, and the fuzzer can't write TOML.
        let excluded = [
            "--exclude-path",
            "/api/logout",
            "--exclude-path",
            "/api/events",
            "--exclude-name",
            "PUT /api/limits",
            "--warnings",
            "off",
        ];
        // One call may create 100,000 tokens, in 200 commits between those of others; by default a call has ten seconds.
        let arguments = [&arguments[..], &excluded, &["--request-timeout", "120"]].concat();
        // No `--max-time`: with it the fuzzer draws cases until the time is over, so that a slow machine tries fewer.
        shell::run_in_then_show(&root().join("target/fuzz"), &program, &arguments)?;
    }
    server.finish()
}

/// A server of its own, on a free port; it ends with this program, whose end closes its standard input.
struct Server {
    child: Child,
    address: String,
    folder: PathBuf,
}

fn ks_server(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(root().join("target/debug/ks-server"));
    command.args(arguments).current_dir(folder).env("HOST", "127.0.0.1").env("PORT", "0");
    command.env("RATE_LIMIT_ADDRESS_FAILURES_BURST", "1000000"); // it sends hundreds of wrong tokens and expects 401 each time
    command.env("ADMIN_TOKEN", ADMIN_TOKEN).env("STORE_SYNCHRONOUS", "off").env("DATABASE_URL", "file:./ks.sqlite");
    command
}

impl Server {
    fn start(folder: &Path) -> Result<Self, Failed> {
        let failed = |error: std::io::Error| Failed(format!("the server can't be started: {error}"));
        let log = std::fs::File::create(folder.join("server.log")).map_err(failed)?;
        let mut command = ks_server(folder, &["serve", "--stop-with-stdin"]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn();
        let mut child = child.map_err(failed)?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.as_mut() {
            BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
        }
        let address = line.trim().strip_prefix("listening on http://").map(str::to_owned);
        let address = address.ok_or_else(|| Failed(format!("the server said `{line}`; see {}", folder.display())))?;
        Ok(Self { child, address, folder: folder.to_owned() })
    }

    /// A token with this role, created by the command line while the server runs.
    fn token(&self, role: &str) -> Result<String, Failed> {
        let made = ks_server(&self.folder, &["admin", "token", "create", "--role", role, "--ttl", "1h"]).output();
        let made = made.map_err(|error| Failed(format!("a token can't be made: {error}")))?;
        let token = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        if token.is_empty() { Err(Failed(String::from_utf8_lossy(&made.stderr).into_owned())) } else { Ok(token) }
    }

    /// Stops it; fails if it had ended or anything panicked.
    fn finish(mut self) -> Result<(), Failed> {
        let log = std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
        let has_ended = self.child.try_wait().is_ok_and(|status| status.is_some());
        if has_ended || log.contains("panicked") {
            return Err(Failed(format!("the server did not survive; see {}", self.folder.display())));
        }
        let _ = self.child.kill(); // its data is thrown away
        let _ = self.child.wait();
        Ok(())
    }
}
