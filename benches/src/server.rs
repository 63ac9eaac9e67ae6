//! A server that a benchmark starts, loads with the simulator and looks at from outside.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use ks_fleet::host::{resources::cpu_s_of, stopwatch::Stopwatch};

/// Why a benchmark could not be made.
pub type Failure = Box<dyn std::error::Error>;

/// Any token will do: the servers listen on the loopback and end with the benchmark.
pub const TOKEN: &str = "bench-token-0123456789abcdef0123456789abcdef";
const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// How long 200 appends of 4 KiB take to be on disk, in milliseconds: half of them, and 99 of 100.
pub fn syncs(folder: &Path) -> Result<(f64, f64), Failure> {
    let path = folder.join("fdatasync");
    let mut file = fs::File::create(&path)?;
    let mut took_ms = Vec::new();
    for _ in 0..200 {
        let begun = Stopwatch::started();
        file.write_all(&[0; 4_096])?;
        file.sync_data()?;
        took_ms.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    fs::remove_file(path)?;
    took_ms.sort_by(f64::total_cmp);
    Ok((took_ms.get(99).copied().unwrap_or(f64::NAN), took_ms.get(197).copied().unwrap_or(f64::NAN)))
}

/// A process that listens on the loopback, and ends with this value.
pub struct Server {
    process: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Server {
    /// Starts `ks-server` with a new database in `folder`, which accepts as many heartbeats as the machine can take. `pinned` is the core
    /// that it may use.
    ///
    /// # Errors
    /// It did not start.
    pub fn ks_server(programs: &Path, folder: &Path, pinned: Option<u32>) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        let (program, key) = (programs.join("ks-server"), folder.join("server.key.pem"));
        let made =
            Command::new(&program).args(["keys", "generate", "--out"]).arg(&key).stdout(Stdio::null()).status()?;
        if !made.success() {
            return Err("the server's key could not be made".into());
        }
        Self::start("ks-server", folder, |port| {
            let mut command = on_core(pinned, &program);
            command.arg("serve").envs([("PORT", port), ("ADMIN_TOKEN", TOKEN)]);
            command.envs([("RATE_LIMIT_DEVICE_PER_MIN", "6000"), ("RATE_LIMIT_ALL_REQUESTS_MODE", "off")]);
            command.env("SERVER_PRIVATE_KEY_FILE", &key).env("DATABASE_URL", folder.join("bench.sqlite"));
            command
        })
    }

    /// Starts what `command` gives for a free port, and waits until it listens. Its output goes to `log` in `folder`.
    ///
    /// # Errors
    /// It did not start.
    pub fn start(name: &str, folder: &Path, command: impl FnOnce(&str) -> Command) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?; // free again at once
        let mut command = command(&address.port().to_string());
        let log = folder.join("log");
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log)?).spawn()?;
        let mut server = Self { process, address, folder: folder.to_owned() };
        let begun = Stopwatch::started();
        while TcpStream::connect(address).is_err() {
            if begun.elapsed() > STARTS_WITHIN || server.process.try_wait()?.is_some() {
                return Err(format!("{name} did not start: see {}", log.display()).into());
            }
            sleep(Duration::from_millis(100));
        }
        Ok(server)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Processor time that it has used so far, in seconds.
    ///
    /// # Errors
    /// It has ended.
    pub fn cpu_s(&self) -> Result<f64, Failure> {
        cpu_s_of(self.process.id()).ok_or_else(|| "the server ended".into())
    }

    /// A command of the simulator against it, with a run folder of that name.
    pub fn fleet(&self, programs: &Path, (what, scenario): (&str, &str), pinned: Option<u32>) -> Command {
        let mut command = on_core(pinned, &programs.join("ks-fleet"));
        command.args([what, scenario, "--target", &format!("http://{}", self.address), "--out"]);
        command.arg(self.folder.join(what)).env("ADMIN_TOKEN", TOKEN).stdin(Stdio::null());
        command
    }

    /// One number of its /metrics, by the whole name of the series.
    ///
    /// # Errors
    /// It does not answer, or has no such series.
    pub fn metric(&self, series: &str) -> Result<f64, Failure> {
        let mut stream = TcpStream::connect(self.address)?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.trim().parse().ok());
        value.ok_or_else(|| format!("no {series} in /metrics").into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended already
        let _ = self.process.wait();
    }
}

/// A program that may use one core only, if one is given.
pub fn on_core(core: Option<u32>, program: &Path) -> Command {
    match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(program);
            command
        }
        None => Command::new(program),
    }
}
