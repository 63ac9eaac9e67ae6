//! What scenarios may set of the server: the server's own table and its own check.

use std::collections::BTreeMap;

use ks_protocol::refusal::RefusalCode;
use ks_server::config::{Config, SETTINGS, StartError};

use crate::scenario::ServerSettings;

/// What a scenario may set of the server: the server's own table and its own check.
pub struct KnownSettings;

impl ServerSettings for KnownSettings {
    fn names(&self) -> Vec<&'static str> {
        SETTINGS.iter().map(|setting| setting.name).filter(|name| !self.decided_by_run().contains(name)).collect()
    }

    fn decided_by_run(&self) -> &'static [&'static str] {
        // Where the server listens and stores, and who may call its admin API.
        &["HOST", "PORT", "DATABASE_URL", "ADMIN_TOKEN", "SERVER_PRIVATE_KEY", "SERVER_PRIVATE_KEY_FILE", "SENTRY_DSN"]
    }

    fn wrong(&self, given: &BTreeMap<String, String>) -> Vec<(String, String)> {
        let wrong = Config::from_map(given).err().unwrap_or_default();
        let named = wrong.into_iter().filter_map(|error| match error {
            StartError::BadSetting { name, given, expected, .. } => {
                Some((name, format!("`{given}` is not {expected}")))
            }
            _ => None,
        });
        named.collect()
    }

    fn answer_codes(&self) -> Vec<&'static str> {
        RefusalCode::ALL.iter().map(|code| code.as_str()).collect()
    }
}
