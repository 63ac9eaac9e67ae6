//! The log on standard error, and error reports.

use tracing_subscriber::{Layer, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

use super::complain;
use crate::{
    config::Config,
    error_report::{self, Reporting},
    failure::StartError,
};

/// Starts the log on standard error, and error reports if the settings name a DSN. Reports are sent as long as the returned value
/// lives.
pub fn start_log(config: &Config) -> Result<Reporting, StartError> {
    let reporting = match &config.sentry {
        None => Reporting::default(),
        Some(dsn) => error_report::start(dsn)
            .map_err(|expected| StartError::refused("SENTRY_DSN can't be used", format!("give {expected}")))?,
    };
    let level: LevelFilter = config.log_level.parse().unwrap_or(LevelFilter::INFO);
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if config.log_json {
        lines.json().flatten_event(true).with_filter(level).boxed()
    } else {
        lines.with_ansi(is_terminal).with_target(false).with_filter(level).boxed()
    };
    let started = tracing_subscriber::registry().with(lines).with(error_report::layer()).try_init();
    if let Err(error) = started {
        complain(&format!("the log could not start: {error}"));
    }
    Ok(reporting)
}
