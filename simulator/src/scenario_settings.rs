//! Server settings that a scenario may change, checked by the server's own rules.

use std::collections::BTreeMap;

use ks_protocol::refusal::RefusalCode;
use ks_server::{
    config::{Config, LimitsDocument, LimitsFault, SETTINGS},
    failure::StartError,
};

use crate::scenario::ServerSettings;

/// Server settings that a scenario may change, from the server's own table.
pub struct ScenarioSettings;

impl ServerSettings for ScenarioSettings {
    fn names(&self) -> Vec<&'static str> {
        let is_free = |name: &&str| !self.decided_by_run().contains(name) && !self.reaches_outside().contains(name);
        SETTINGS.iter().map(|setting| setting.name).filter(is_free).collect()
    }

    fn decided_by_run(&self) -> &'static [&'static str] {
        // Where the server listens and stores, and who may call its admin API.
        &[
            "HOST",
            "PORT",
            "DATABASE_URL",
            "ADMIN_TOKEN",
            "ADMIN_TOKEN_FILE",
            "SERVER_PRIVATE_KEY",
            "SERVER_PRIVATE_KEY_FILE",
            "SENTRY_DSN",
        ]
    }

    fn reaches_outside(&self) -> &'static [&'static str] {
        // Where it would create folders and keys, which files it would read, and which hosts it would call.
        &[
            "SERVER_KEYS_DIR",
            "FIRMWARE_PRIVATE_KEY",
            "FIRMWARE_PRIVATE_KEY_FILE",
            "ARTIFACTS_DIR",
            "ARTIFACTS_S3_BUCKET",
            "S3_ENDPOINT",
            "S3_REGION",
            "S3_ACCESS_KEY_ID",
            "S3_SECRET_ACCESS_KEY",
            "S3_SECRET_ACCESS_KEY_FILE",
            "RATE_LIMITS_FILE",
            "TLS_CERT_FILE",
            "TLS_KEY_FILE",
        ]
    }

    fn wrong(&self, given: &BTreeMap<String, String>) -> Vec<(String, String)> {
        let wrong = Config::from_map(given).err().unwrap_or_default();
        let named = wrong.into_iter().filter_map(|error| match error {
            StartError::InvalidSetting { name, given, expected, .. } => {
                Some((name, format!("`{given}` is not {expected}")))
            }
            StartError::InvalidKey { place, why } => Some((place, why)),
            _ => None,
        });
        named.collect()
    }

    fn wrong_limits(&self, settings: &BTreeMap<String, String>, limits: &str) -> Vec<String> {
        let mut settings = settings.clone();
        settings.insert("DATABASE_URL".to_owned(), "ks.sqlite".to_owned());
        // Settings that are wrong are reported where they are.
        let Ok(config) = Config::from_map(&settings) else { return Vec::new() };
        let checked = LimitsDocument::check(limits, &config.limits, config.heartbeat_interval);
        let faults = checked.err().unwrap_or_default();
        faults.into_iter().map(|LimitsFault { what, help, .. }| format!("{what}; {help}")).collect()
    }

    fn answer_codes(&self) -> Vec<&'static str> {
        RefusalCode::ALL.iter().map(|code| code.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: no setting that names a path, a host or a secret can be set by a scenario, a future setting included.
    #[test]
    fn a_scenario_sets_no_path_no_host_and_no_secret() {
        let names = ScenarioSettings.names();
        let outside = ["path", "folder", "bucket", "URL", "http", "address", "key", "secret"];
        let is_outside = |setting: &&ks_server::config::Setting| {
            setting.secret || outside.iter().any(|word| setting.expected.contains(word))
        };
        let left: Vec<&str> = SETTINGS.iter().filter(is_outside).map(|setting| setting.name).collect();
        let left: Vec<&str> = left.into_iter().filter(|name| names.contains(name)).collect();
        assert_eq!(left, ["ADMIN_WEB_ORIGIN", "TRUSTED_PROXIES"], "peers that it trusts; it does not call them");
        assert!(names.contains(&"ARTIFACT_BYTES_MAX") && names.contains(&"LOG_LEVEL"));
    }

    #[test]
    fn a_setting_that_reaches_outside_is_refused_with_reason_and_help() {
        let text = "name = \"x\"\ngoal = \"Hostile.\"\nduration = \"5s\"\n[fleet]\ndevices = 1\n[server]\nS3_ENDPOINT = \"http://10.0.0.1\"\nSERVER_KEYS_DIR = \"/etc/x\"\n[[expect]]\nmetric = \"errors\"\nequals = 0\n";
        let wrong = crate::scenario::check("x.toml", text.as_bytes(), &ScenarioSettings).unwrap_err();
        let messages: Vec<(usize, &str)> = wrong.iter().map(|wrong| (wrong.line, wrong.message.as_str())).collect();
        let why = "would let the server reach outside the run's folder and process, which a scenario may not do";
        assert_eq!(messages, [(7, &*format!("`S3_ENDPOINT` {why}")), (8, &*format!("`SERVER_KEYS_DIR` {why}"))]);
        assert!(wrong[0].help.as_deref().unwrap().contains("--target"));
    }
}
