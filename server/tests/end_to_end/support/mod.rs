//! Starts the real executable in a temporary folder (`start_server`), and talks to it as a device, as an admin and through SQLite.
//!
//! A [`World`] is a folder with settings; [`World::start`] runs `ks-server serve` in it on a free port of the loopback.
//! The server ends with the test: it is killed on drop, and it watches its standard input in case the test itself is killed.

mod changed;
mod device;
mod firmware;
mod http;
mod sqlite;
mod stored;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    time::Duration,
};

use ks_protocol::{key::PrivateKey, message::CommandOrder};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) use device::{Device, VerifiedAnswer, fetch_with, read_answer, read_answer_of};
pub(crate) use firmware::{offered, single_stage_policy};
pub(crate) use http::{Answer, Line, Sent, bare_answer, bare_exchange};
pub(crate) use sqlite::CommitHold;
pub(crate) use stored::{AuditLine, Count};

/// Bearer token of every server whose settings do not say otherwise.
pub(crate) const ADMIN_TOKEN: &str = "the-admin-token-of-tests";
/// Where requests come from unless a test says otherwise; all of 127/8 is this machine.
pub(crate) const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Settings under which no device and no address ever runs out of budget.
pub(crate) const NO_LIMITS: [(&str, &str); 5] = [
    ("OVERLOAD_TARGET_MS", "0"), // a slow machine is no overload: only a full queue is
    ("RATE_LIMIT_DEVICE_PER_MIN", "60000000"),
    ("RATE_LIMIT_DEVICE_BURST", "1000000"),
    ("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "60000000"),
    ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "1000000"),
];
/// The longest wait of any test; only a failing test waits so long.
pub(crate) const WAIT_MAX: Duration = Duration::from_mins(2);
/// Pause between two checks of a condition that a test waits for.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The key that every server signs with, unless a test says otherwise.
pub(crate) fn server_key() -> PrivateKey {
    PrivateKey::from_seed(&[42; 32])
}

/// Starts a server in a new world.
pub(crate) fn start_server(settings: &[(&str, &str)]) -> Server {
    world(settings).start()
}

/// A new folder, and the settings for everything that runs in it. An empty value unsets a setting.
pub(crate) fn world(settings: &[(&str, &str)]) -> World {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("file:{}", folder.path().join("ks.sqlite").display());
    let key = server_key().to_pem().unwrap();
    let usual = [
        ("HOST", "127.0.0.1"),
        ("PORT", "0"),
        ("DATABASE_URL", database.as_str()),
        ("SERVER_PRIVATE_KEY", key.as_str()),
        ("ADMIN_TOKEN", ADMIN_TOKEN),
        ("STORE_SYNCHRONOUS", "off"), // a crash of the process loses nothing even then; only durability.rs needs the disk
    ];
    let settings = usual.iter().chain(settings).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    World { settings: settings.collect(), folder }
}

/// Waits until a condition holds. Every wait of the tests for anything but an answer or an exit uses this.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let polling = async {
        while !holds().await {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    assert!(tokio::time::timeout(WAIT_MAX, polling).await.is_ok(), "waited {WAIT_MAX:?} without success until {what}");
}

/// A folder and the settings of the programs that run in it.
pub(crate) struct World {
    settings: BTreeMap<String, String>,
    folder: TempDir,
}

/// A command's exit code and output.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the folder.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Changes a setting for programs that start from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.settings.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path("ks.sqlite")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ks-server"));
        command.args(arguments).env_clear().envs(&self.settings).current_dir(self.folder.path());
        command
    }

    /// Runs the executable until it ends; its standard input is empty.
    pub(crate) fn run(&self, arguments: &[&str]) -> CommandOutput {
        let output = self.command(arguments).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        CommandOutput { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The same as an unprivileged user if the tester is root; none if that user can't run the
    /// executable. The world's folder becomes readable for all users.
    pub(crate) fn run_without_rights(&self, arguments: &[&str]) -> Option<CommandOutput> {
        use std::os::unix::{fs::PermissionsExt as _, process::CommandExt as _};
        std::fs::set_permissions(self.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = self.command(arguments);
        if rustix::process::geteuid().is_root() {
            command.uid(65_534).gid(65_534);
        }
        let output = command.stdin(Stdio::null()).output().ok()?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Some(CommandOutput { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) })
    }

    /// The same with another standard output, which is not captured.
    pub(crate) fn run_into(&self, arguments: &[&str], stdout: impl Into<Stdio>) -> CommandOutput {
        let child = self.command(arguments).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        CommandOutput { code: output.status.code(), stdout: String::new(), stderr }
    }

    /// The same with a standard output that is closed, as `>&-` leaves it.
    pub(crate) fn run_without_stdout(&self, arguments: &[&str]) -> CommandOutput {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exec \"$0\" \"$@\" >&-", env!("CARGO_BIN_EXE_ks-server")]).args(arguments);
        let command = command.env_clear().envs(&self.settings).current_dir(self.folder.path());
        let output = command.stdin(Stdio::null()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        CommandOutput { code: output.status.code(), stdout: String::new(), stderr }
    }

    /// Runs `ks-server serve` where it must fail. If it starts, its empty input stops it immediately.
    pub(crate) fn serve_expecting_error(&self) -> CommandOutput {
        self.run(&["serve", "--stop-with-stdin"])
    }

    pub(crate) fn start(self) -> Server {
        let process = Process::start(&self);
        Server { process, world: self }
    }

    fn log_path(&self) -> PathBuf {
        self.path("server.log")
    }

    /// Everything that servers in this world have written to standard error.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

/// One run of the executable.
struct Process {
    child: Child,
    address: SocketAddr,
    stdin: Option<ChildStdin>,
    _stdout: BufReader<ChildStdout>,
}

impl Process {
    fn start(world: &World) -> Self {
        let log = File::options().create(true).append(true).open(world.log_path()).unwrap();
        let mut command = world.command(&["serve", "--stop-with-stdin"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let schemes = ["listening on http://", "listening on https://"];
        let Some(address) = schemes.iter().find_map(|scheme| line.trim_end().strip_prefix(scheme)) else {
            let _ = child.kill(); // it may have exited already
            panic!("printed {line:?} instead of its address, {:?}: {}", child.wait(), world.log());
        };
        Self { address: address.parse().unwrap(), stdin: child.stdin.take(), child, _stdout: stdout }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have exited already
        let _ = self.child.wait();
    }
}

/// A running server and its world.
pub(crate) struct Server {
    process: Process,
    world: World,
}

impl Deref for Server {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

/// A changed setting is in force after [`Server::start_again`].
impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl Server {
    /// The address on which it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.process.address
    }

    /// SIGKILL; returns when the process has exited.
    pub(crate) fn kill_9(&mut self) {
        self.process.child.kill().unwrap();
        self.process.child.wait().unwrap();
    }

    /// SIGTERM, without waiting.
    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.process.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// SIGHUP, without waiting.
    pub(crate) fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(&self.process.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    }

    /// Ends the server's standard input.
    pub(crate) fn close_stdin(&mut self) {
        drop(self.process.stdin.take());
    }

    /// Waits until the process has exited by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the server ends", async || {
            status = self.process.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    /// Starts the executable again on the same database; the port changes.
    pub(crate) fn start_again(&mut self) {
        self.process.child.kill().unwrap(); // no error if it has ended
        self.process.child.wait().unwrap();
        self.process = Process::start(&self.world);
    }

    /// A device that only exists in the test: not imported.
    pub(crate) fn device(&self, device_id: &str) -> Device {
        Device::new(device_id, Line::new(self.address(), HOME))
    }

    pub(crate) async fn whitelist(&self, devices: &[&Device]) {
        let answer = self.import(inventory(devices)).await.done();
        assert_eq!(answer["added"], devices.len());
    }

    pub(crate) async fn whitelisted(&self, device_id: &str) -> Device {
        let device = self.device(device_id);
        self.whitelist(&[&device]).await;
        device
    }

    /// An imported and registered device.
    pub(crate) async fn registered(&self, device_id: &str) -> Device {
        let mut device = self.whitelisted(device_id).await;
        device.register(None).await.answer();
        device
    }

    /// Imported and registered devices: `{prefix}-0` and so on.
    pub(crate) async fn fleet(&self, prefix: &str, count: usize) -> Vec<Device> {
        let mut devices: Vec<Device> = (0..count).map(|number| self.device(&format!("{prefix}-{number}"))).collect();
        self.whitelist(&devices.iter().collect::<Vec<_>>()).await;
        for device in &mut devices {
            device.register(None).await.answer();
        }
        devices
    }

    /// One request on a new connection, with the admin token.
    pub(crate) async fn admin(&self, method: &str, path: &str, body: impl Into<String>) -> Json {
        self.admin_as(&format!("Bearer {ADMIN_TOKEN}"), method, path, body).await
    }

    /// The same with this `Authorization`; none if it is empty.
    pub(crate) async fn admin_as(
        &self,
        authorization: &str,
        method: &str,
        path: &str,
        body: impl Into<String>,
    ) -> Json {
        let headers = [("content-type", "application/json"), ("authorization", authorization)];
        self.call(method, path, &headers, body).await
    }

    /// The same with these headers; those without a value are left out.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<String>,
    ) -> Json {
        let headers: Vec<_> = headers.iter().copied().filter(|(_, value)| !value.is_empty()).collect();
        let sent = Sent { method, path, headers: &headers, body: body.into().into_bytes() };
        Json::of(Line::new(self.address(), HOME).exchange(sent).await.unwrap())
    }

    /// A bearer token with this role.
    pub(crate) async fn token(&self, role: &str) -> String {
        let order = json!({ "name": format!("test-{role}"), "role": role, "ttl_s": 600 });
        format!("Bearer {}", self.post("/api/tokens", &order).await.done()["token"].as_str().unwrap())
    }

    /// GET of an admin or operations endpoint.
    pub(crate) async fn get(&self, path: &str) -> Json {
        self.admin("GET", path, "").await
    }

    /// POST of JSON to an admin endpoint.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Json {
        self.admin("POST", path, body.to_string()).await
    }

    /// POST of an inventory.
    pub(crate) async fn import(&self, csv: impl Into<String>) -> Json {
        self.admin("POST", "/api/devices/import", csv).await
    }

    pub(crate) async fn revoke(&self, device: &Device) -> Json {
        self.post(&format!("/api/devices/{}/revoke", device.id), &json!({ "reason": "a test says so" })).await
    }

    /// Creates one token, bound as `binding` says, such as `{"device_id": "KS-1"}`.
    pub(crate) async fn otrt(&self, binding: Value) -> String {
        let mut order = json!({ "count": 1, "ttl_s": 600 });
        order.as_object_mut().unwrap().extend(binding.as_object().unwrap().clone());
        self.post("/api/otrts", &order).await.done()["tokens"][0].as_str().unwrap().to_owned()
    }

    /// Queues one command for one device, and returns its id.
    pub(crate) async fn enqueue(&self, device: &Device, kind: &str, argument: &str) -> String {
        let command = CommandOrder::from_wire(kind, argument).unwrap();
        let order = json!({ "which": { "device_ids": [device.id.as_str()] }, "command": command, "ttl_s": 600 });
        let order_id = self.post("/api/commands", &order).await.done()["order_id"].as_str().unwrap().to_owned();
        let commands = self.get(&format!("/api/commands?order_id={order_id}")).await.done();
        commands["items"][0]["command_id"].as_str().unwrap().to_owned()
    }

    /// A metric's value; none while it does not exist. `name` includes its labels, as in the exposition.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let text = Line::new(self.address(), HOME).exchange(Sent::get("/metrics")).await.unwrap().text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        line.map(|value| value.parse().unwrap())
    }

    /// Writes in the store's queue now; the group in progress is not among them.
    pub(crate) async fn queued_writes(&self) -> u64 {
        self.get("/health").await.done()["writes_waiting"].as_u64().unwrap()
    }

    /// Waits until that many writes are in the store's queue.
    pub(crate) async fn wait_for_queued_writes(&self, writes: u64) {
        eventually("writes are queued", async || self.queued_writes().await >= writes).await;
    }

    /// Waits for the first keyset and for retention's first run; from then on the store's queue holds only the test's own writes.
    pub(crate) async fn wait_until_idle(&self) {
        let commits = "ks_store_commits_total";
        eventually("retention has run", async || self.metric(commits).await.is_some_and(|count| count >= 2.0)).await;
    }

    /// Asserts that the server serves and has not panicked.
    pub(crate) async fn assert_healthy(&self) {
        assert_eq!(self.get("/health").await.done()["status"], "ok");
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// An inventory as CSV.
pub(crate) fn inventory(devices: &[&Device]) -> String {
    let mut csv = String::from("serial,device_id,public_key,manufacturer,model,site\n");
    for device in devices {
        csv.push_str(&device.inventory_row());
    }
    csv
}

/// An answer in JSON.
#[derive(Debug)]
pub(crate) struct Json {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: Value,
    answer: Answer,
}

impl Json {
    fn of(answer: Answer) -> Self {
        let text = answer.text();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        let content_type = answer.header("content-type").unwrap_or_default();
        Self { status: answer.status, content_type, body, answer }
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.answer.header(name)
    }

    /// The body of an answer that must be a success.
    #[track_caller]
    pub(crate) fn done(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// The body of an answer that must be a problem with this status.
    #[track_caller]
    pub(crate) fn problem(self, status: u16) -> Value {
        assert_eq!((self.status, self.content_type.as_str()), (status, "application/problem+json"), "{}", self.body);
        assert_eq!(self.body["status"], status);
        assert!(self.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{}", self.body);
        self.body
    }
}

/// Truncates a file to half its length, as a broken disk or copy does.
pub(crate) fn cut_in_half(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    let mut file = File::create(path).unwrap();
    file.write_all(bytes.get(..bytes.len() / 2).unwrap()).unwrap();
}
