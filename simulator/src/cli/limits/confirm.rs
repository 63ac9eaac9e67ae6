//! `--confirm`: the recommended configuration under load, over sockets, by the program of its own that `ks-fleet run` is: this process
//! may have modelled signatures, which no server over sockets accepts.

use std::{path::Path, process::Command, time::Duration};

use ks_protocol::duration;
use ks_reports::sweep::Sweep;

use crate::{cli::execute::quoted, failure::Failure, limits::in_scenario, trials::Request};

/// The scenario with the recommended settings, in the sweep's folder.
const SCENARIO: &str = "recommended.toml";
/// The folder of the run, in the sweep's folder.
const FOLDER: &str = "confirmed";

/// Runs it, and notes how it ended; returns the exit code of the run.
pub(super) fn confirm(
    result: &mut Sweep,
    (path, text): (&Path, &[u8]),
    lasts: Option<Duration>,
    (request, is_quiet): (&Request, bool),
    folder: &Path,
) -> Result<u8, Failure> {
    let Some(name) = result.recommended.clone() else {
        let why = "Nothing was run under load: no configuration met the scenario's expectations, so there is nothing to confirm.";
        result.confirmed = Some(why.to_owned());
        return Ok(99);
    };
    let best = result.tried.iter().find(|of| of.configuration.name == name);
    let settings = best.map(|of| &of.configuration.settings).cloned().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let unreadable = |error: toml::de::Error| Failure::BadRequest(format!("{}: {}", path.display(), error.message()));
    let mut scenario: toml::Table = toml::from_str(&text).map_err(unreadable)?;
    scenario.insert("mode".to_owned(), "load".into());
    let settings: Vec<(String, String)> =
        settings.into_iter().filter(|(name, value)| !in_scenario(&mut scenario, name, value)).collect();
    let server = scenario.entry("server").or_insert_with(|| toml::Value::Table(toml::Table::new()));
    if let toml::Value::Table(server) = server {
        for (name, value) in settings {
            let value = value.parse::<i64>().map_or_else(|_| toml::Value::String(value.clone()), toml::Value::Integer);
            server.insert(name, value);
        }
    }
    let (file, out) = (folder.join(SCENARIO), folder.join(FOLDER));
    let written = toml::to_string(&scenario).unwrap_or_default(); // it was read as TOML
    std::fs::write(&file, written).map_err(|cause| Failure::File { what: "write", path: file.clone(), cause })?;
    let machine = |what| move |cause| Failure::Machine { what, cause };
    let program = std::env::current_exe().map_err(machine("find this program's file"))?;
    let mut command = Command::new(program);
    command.arg("run").arg(&file).arg("--out").arg(&out);
    for (flag, value) in [
        ("--devices", request.devices.map(|of| of.to_string())),
        ("--duration", lasts.or(request.duration_ms.map(Duration::from_millis)).map(duration::format)),
        ("--seed", request.seed.map(|of| of.to_string())),
    ] {
        if let Some(value) = value {
            command.args([flag, &value]);
        }
    }
    if is_quiet {
        command.arg("--quiet");
    }
    let ended = command.status().map_err(machine("start the run that confirms"))?;
    let code = ended.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(3);
    let how = match code {
        0 => "passed",
        4 => "was inconclusive",
        99 => "failed: it did not meet the scenario's expectations",
        _ => "did not run",
    };
    let report = quoted(&out.join(ks_reports::REPORT).display().to_string());
    result.confirmed = Some(format!("Under load, over sockets, the recommended configuration {how}; see {report}."));
    Ok(code)
}
