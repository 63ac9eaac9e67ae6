//! Tests of the scenario format: what is accepted, what is refused, and with which messages.

mod hostile;
mod orders;
mod overrides;
mod plans;
mod refusals;
mod refusals_churn;
mod refusals_firmware;
mod refusals_fleet;
mod refusals_run;
mod rendering;
mod shipped;

use std::collections::BTreeMap;

use super::{Diagnostic, Plan, ServerSettings, check};

/// A valid scenario; tests change one line of it. The messages below refer to its line numbers.
const VALID: &str = r#"name = "demo"
goal = "Show one thing."
duration = "30s"
ramp = "5s"

[fleet]
devices = 100

[[fleet.site]]
name = "north"
share = 1

[server]
PORT = 3000

[[adversary]]
kind = "forger"
count = 5

[[timeline]]
at = "10s"
do = "phase"
name = "storm"

[[expect]]
metric = "errors"
max = 0
"#;

/// A server with two settings, both whole numbers, and three codes.
struct Stub;

impl ServerSettings for Stub {
    fn names(&self) -> Vec<&'static str> {
        vec!["PORT", "RATE_LIMIT_DEVICE_PER_MIN"]
    }

    fn wrong(&self, given: &BTreeMap<String, String>) -> Vec<(String, String)> {
        let is_wrong = |value: &String| value.parse::<u16>().is_err();
        let wrong = given.iter().filter(|(_, value)| is_wrong(value));
        wrong.map(|(name, value)| (name.clone(), format!("`{value}`, expected 0 to 65535"))).collect()
    }

    fn answer_codes(&self) -> Vec<&'static str> {
        vec!["REVOKED", "RATE_LIMITED", "BAD_SIGNATURE"]
    }
}

/// A server that accepts every setting that a shipped scenario uses.
struct Permissive;

impl ServerSettings for Permissive {
    fn names(&self) -> Vec<&'static str> {
        let limits = ks_server::limit::TABLE;
        let limits = limits.iter().flat_map(|spec| {
            spec.numbers().map(|number| number.setting).chain([spec.mode_setting]).collect::<Vec<_>>()
        });
        limits
            .chain([
                "ARTIFACT_BYTES_PER_S_MAX",
                "ARTIFACT_DOWNLOADS_MAX",
                "COMMIT_GROUP_MAX",
                "CONNECTIONS_MAX",
                "OVERLOAD_TARGET_MS",
            ])
            .collect()
    }

    fn wrong(&self, _given: &BTreeMap<String, String>) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// The valid scenario with one place changed.
fn changed(from: &str, to: &str) -> String {
    assert_eq!(VALID.matches(from).count(), 1, "`{from}` occurs once in the valid scenario");
    VALID.replace(from, to)
}

fn checked(text: &str) -> Result<Plan, Vec<Diagnostic>> {
    check("demo.toml", text.as_bytes(), &Stub)
}

fn plan(text: &str) -> Plan {
    checked(text).unwrap_or_else(|wrong| panic!("{}", super::render_all(&wrong, false)))
}

/// Every diagnostic in its one-line form, without the file's name.
fn refusals(text: &str) -> Vec<String> {
    let wrong = checked(text).expect_err("the scenario is invalid");
    wrong.iter().map(|wrong| wrong.to_string().replace("demo.toml:", "")).collect()
}
