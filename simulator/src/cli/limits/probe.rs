//! `ks-fleet limits probe`: what a server's limits do, measured from outside, against what it declares.

use std::time::Duration;

use ks_protocol::{duration, number::within};
use ks_server::{clock::SystemClock, limit::Limit};

use crate::{
    cli::{
        output::{complain, say, say_json},
        target::TargetOptions,
    },
    failure::Failure,
    limits::probe::{PROBED, ProbeBounds, Probed, Shape, probe},
};

pub(super) const EXAMPLES: &str = "\
Examples:
  ADMIN_TOKEN=... ks-fleet limits probe --target http://127.0.0.1:3000
  ADMIN_TOKEN=... ks-fleet limits probe --target http://127.0.0.1:3000 --limit device_requests --budget 5m --json

Two devices are whitelisted, registered, and revoked at the end. To probe address_failures, failing requests are sent from this
machine's address: strangers behind the same address are refused meanwhile, registered devices are not.

Exit codes: 0 the limits do what the server declares, 99 one does not, 4 something could not be measured.";

/// Range of the time for one limit.
const BUDGET: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);

/// Options of `limits probe`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ProbeOptions {
    #[command(flatten)]
    target: TargetOptions,
    /// Probe only this limit; may be repeated [default: device_requests and address_failures]
    #[arg(long, value_name = "LIMIT", value_parser = probed_limit)]
    limit: Vec<Limit>,
    /// The longest time for each limit
    #[arg(long, value_name = "D", default_value = "2m", value_parser = duration::within(BUDGET))]
    budget: Duration,
    /// The most calls for each limit
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = within(10..=1_000_000_u32))]
    calls: u32,
    /// Write the results as JSON to standard output
    #[arg(long)]
    json: bool,
}

fn probed_limit(name: &str) -> Result<Limit, String> {
    let names = || PROBED.map(|limit| limit.spec().name).join(" and ");
    let found = PROBED.into_iter().find(|limit| limit.spec().name == name);
    found.ok_or_else(|| format!("can't be probed without harm to others; expected one of {}", names()))
}

pub(super) fn run(options: ProbeOptions) -> Result<u8, Failure> {
    let without = || Failure::BadRequest("give the server to probe: --target http://HOST:PORT".to_owned());
    let target = options.target.target()?.ok_or_else(without)?.reached()?;
    let limits = if options.limit.is_empty() { PROBED.to_vec() } else { options.limit };
    let calls_max = usize::try_from(options.calls).unwrap_or(usize::MAX);
    let bounds = ProbeBounds { budget: options.budget, calls_max };
    let random = ks_server::edge::os_randomness().map_err(|error| Failure::Server(error.to_string()))?;
    let seed = random.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let at_most = duration::format(options.budget);
    let progress = |what: String| complain(&format!("{what}, for {at_most} at most"));
    let probed = probe(&target, &limits, bounds, (&SystemClock, seed), progress);
    let probed = actix::System::new().block_on(probed)?;
    if options.json {
        say_json(&probed, true)?;
    } else {
        say(&probed.iter().map(in_words).collect::<Vec<_>>().join("\n"))?;
    }
    let has = |found: fn(&Probed) -> bool| probed.iter().any(found);
    Ok(if has(|of| !of.comparison.differences.is_empty()) {
        99
    } else if has(|of| !of.comparison.unknown.is_empty()) {
        4
    } else {
        0
    })
}

/// One limit, a line for each thing that was found.
fn in_words(of: &Probed) -> String {
    let burst = match of.measured.burst {
        Some((least, most)) if least == most => format!("{least} at once, then "),
        Some((least, most)) => format!("{least} to {most} at once, then "),
        None => String::new(),
    };
    let shape = match of.measured.shape {
        Shape::Even { per_min_least, per_min_most } => {
            format!("{per_min_least:.1} to {per_min_most:.1} a minute, evenly (GCRA or a token bucket)")
        }
        Shape::FixedWindow { window_s, count } => format!("{count} at once each {window_s:.1} s (a fixed window)"),
        Shape::SlidingWindow { window_s, .. } => format!("each again after {window_s:.1} s (a sliding window)"),
        Shape::Irregular { per_min } => format!("about {per_min:.1} a minute, unevenly"),
        Shape::OnceAgain { after_s } => format!("one after {after_s:.1} s"),
        Shape::NothingAgain { waited_s } => format!("nothing for {waited_s:.1} s"),
        Shape::NeverRefused { calls, took_s } => format!("all of {calls} calls in {took_s:.1} s"),
    };
    let retry = of.measured.retry_after;
    let mut lines = vec![format!("{} (mode {}): {burst}{shape}", of.limit, of.mode)];
    if retry.refusals > 0 {
        let wrong = retry.missing + retry.too_short + retry.too_long;
        lines.push(format!("  budget of: {}", of.subject.as_str()));
        lines.push(format!("  retry_after_s: {} refusals, {wrong} wrong", retry.refusals));
    }
    if let Some(is_served) = of.honest_device_is_served {
        let served = if is_served { "served" } else { "refused" };
        lines.push(format!("  a registered device at the same address is {served} meanwhile"));
    }
    lines.extend(of.comparison.differences.iter().map(|found| format!("  DIFFERS: {found}")));
    lines.extend(of.comparison.unknown.iter().map(|found| format!("  unknown: {found}")));
    if of.comparison.differences.is_empty() && of.comparison.unknown.is_empty() {
        lines.push("  as the server declares".to_owned());
    }
    lines.join("\n")
}
