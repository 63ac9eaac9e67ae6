//! Reads the values of flags that several commands have.

use std::{net::SocketAddr, time::Duration};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use ks_protocol::number::canonical;
use ks_reports::{Artifacts, run_folder::EventsKept};

use crate::segment::Segment;

/// The value of `--events`.
pub(super) fn events() -> impl TypedValueParser<Value = EventsKept> {
    one_of([EventsKept::All, EventsKept::Decisions, EventsKept::None], EventsKept::as_str)
}

/// The value of `--artifacts`.
pub(super) fn artifacts() -> impl TypedValueParser<Value = Artifacts> {
    one_of([Artifacts::Full, Artifacts::Light], Artifacts::as_str)
}

/// One of these, by its name.
fn one_of<T, const N: usize>(all: [T; N], name: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + Default + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.map(name))
        .map(move |word| all.into_iter().find(|value| name(*value) == word).unwrap_or_default())
}

pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:9900 or [::1]:9900".to_owned())
}

/// `I/N`; `job/N` takes the number from the environment, as an Indexed Job of Kubernetes sets it, counting from 0.
pub(super) fn segment(text: &str) -> Result<Segment, String> {
    const INDEX: &str = "JOB_COMPLETION_INDEX";
    let Some(of) = text.strip_prefix("job/") else { return text.parse() };
    let index = ks_server::edge::environment(INDEX).ok_or_else(|| {
        format!("{INDEX} is not set, which an Indexed Job of Kubernetes sets; expected I/N elsewhere")
    })?;
    let number = canonical::<u32>(&index).and_then(|index| index.checked_add(1));
    let number = number.ok_or_else(|| format!("{INDEX} is `{index}`, expected a whole number from 0"))?;
    format!("{number}/{of}")
        .parse()
        .map_err(|why| format!("{INDEX} is {index}, which counts from 0, so this is segment {number}/{of}: {why}"))
}

/// `all`, or a share in percent.
pub(super) fn verified_share(text: &str) -> Result<u8, String> {
    let percent = if text == "all" { Some(100) } else { text.strip_suffix('%').and_then(canonical::<u8>) };
    percent.filter(|percent| (1..=100).contains(percent)).ok_or_else(|| "expected `all` or 1% to 100%".to_owned())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    ks_protocol::duration::parse(text).map_err(|error| format!("{error}; expected a duration such as 30s, 5m or 48h"))
}
