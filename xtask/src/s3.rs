//! The tests against an S3-compatible store: moto, which speaks S3, is started on the loopback for them.

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{
    python,
    shell::{self, Failed, say},
};

/// The store, pinned.
const STORE: &str = "moto[s3,server]==5.2.5";
/// How often to check whether it listens, a quarter of a second apart.
const CHECKS_MAX: u32 = 240;

/// Starts the store, runs the tests, ends it.
pub(crate) fn run() -> Result<(), Failed> {
    let program = python::installed("s3", STORE, "moto_server")?;
    let failed = |error: std::io::Error| Failed(format!("the store can't be started: {error}"));
    // A free port, released again before the store binds it.
    let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map_err(failed)?;
    let port = address.port().to_string();
    let mut command = Command::new(program);
    command.args(["-H", "127.0.0.1", "-p", &port]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut store = Store(command.spawn().map_err(failed)?);
    let mut checks = 0;
    while TcpStream::connect(address).is_err() {
        checks += 1;
        if checks > CHECKS_MAX || store.0.try_wait().is_ok_and(|status| status.is_some()) {
            return Err(Failed("the store did not start to listen".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    say(&format!("a store listens on http://{address}"));
    let endpoint = format!("http://{address}");
    let arguments = ["test", "--workspace", "--test", "end_to_end", "s3::", "--", "--ignored"];
    shell::run_with(&[("S3_TEST_ENDPOINT", &endpoint)], option_env!("CARGO").unwrap_or("cargo"), &arguments)
}

/// The store's process; stopped on drop.
struct Store(Child);

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended already
        let _ = self.0.wait();
    }
}
