//! `ks-fleet limits probe`: what a server's limits do, measured from outside, against what it declares.

use std::time::Duration;

use ks_protocol::{duration, number::within};
use ks_server::{clock::SystemClock, limit::Limit};

use crate::{
    cli::{
        interrupt::interruptible,
        output::{complain, say, say_json},
        target::TargetOptions,
    },
    failure::Failure,
    limits::probe::{BY_DEFAULT, Edge, Findings, PROBED, ProbeBounds, Probed, Secrets, Shape, probe, range},
};

pub(super) const EXAMPLES: &str = "\
Examples:
  ADMIN_TOKEN=... ks-fleet limits probe --target http://127.0.0.1:3000
  ADMIN_TOKEN=... ks-fleet limits probe --target http://127.0.0.1:3000 --limit device_requests --budget 5m --json
  ADMIN_TOKEN=... ks-fleet limits probe --target http://127.0.0.1:3000 --limit address_unsigned --calls 100000

Two devices are whitelisted and registered with keys from the operating system's randomness, and revoked at the end, also after Ctrl-C or
an error; if that is not possible, it says how to revoke them. They stay in the inventory as revoked. To probe address_failures, failing
requests are sent: to a server on this machine from an address that nobody else has, otherwise from this machine's address, where
strangers are refused meanwhile; registered devices are not. To probe address_unsigned, which 20,000 calls at once use up by default,
so many requests for a path that does not exist are sent in the same way.

A range is every value that explains what was seen, whatever the delays between this machine and the server. A limit differs only if
what it declares is not among them.

Exit codes: 0 the limits do what the server declares, 99 one does not, 4 something could not be measured (or Ctrl-C), 3 the server can't be
probed, or answers what is not its protocol, or devices of the probe are not revoked.";

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
    let names = || PROBED.map(|limit| limit.spec().name).join(", ");
    match Limit::from_name(name) {
        Some(limit) if PROBED.contains(&limit) => Ok(limit),
        Some(_) => Err(format!("it can't be probed without harm to others; expected one of {}", names())),
        None => Err(format!("there is no such limit; expected one of {}", names())),
    }
}

pub(super) fn run(options: ProbeOptions) -> Result<u8, Failure> {
    let without = || Failure::BadRequest("give the server to probe: --target http://HOST:PORT".to_owned());
    let target = options.target.target()?.ok_or_else(without)?.reached()?;
    let mut limits = if options.limit.is_empty() { BY_DEFAULT.to_vec() } else { options.limit };
    limits.sort_unstable();
    limits.dedup();
    let calls_max = usize::try_from(options.calls).unwrap_or(usize::MAX);
    let bounds = ProbeBounds { budget: options.budget, calls_max };
    let drawn = || ks_server::edge::os_randomness().map_err(|error| Failure::Server(error.to_string()));
    let secrets = Secrets { visible: drawn()?, keys: [drawn()?, drawn()?] };
    let stop = interruptible()?;
    let edge = Edge { clock: &SystemClock, secrets: &secrets, stop: &stop };
    let found = probe(&target, &limits, bounds, edge, |what: String| complain(&what));
    let found = actix::System::new().block_on(found)?;
    shown(found, &target.url, options.json)
}

/// Shows what was found, and what is left of the probe; returns the exit code.
fn shown(found: Findings, target: &str, is_json: bool) -> Result<u8, Failure> {
    let Findings { probed, failure, is_interrupted, left } = found;
    if is_json {
        say_json(&probed, true)?;
    } else if !probed.is_empty() {
        say(&probed.iter().map(in_words).collect::<Vec<_>>().join("\n"))?;
    }
    if let Some(left) = &left {
        let names = left.devices.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        complain(&format!(
            "NOT REVOKED: {names}, devices of this probe ({}). Revoke them once the server answers:\n  {}\nTheir one-time tokens are valid for these devices only, and expire within 5 minutes.",
            left.why,
            left.command(target)
        ));
    }
    if is_interrupted {
        complain("interrupted: what is shown was measured until then");
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    let has = |found: fn(&Probed) -> bool| probed.iter().any(found);
    Ok(if left.is_some() {
        3
    } else if has(|of| !of.comparison.differences.is_empty()) {
        99
    } else if is_interrupted || has(|of| !of.comparison.unknown.is_empty()) {
        4
    } else {
        0
    })
}

/// One limit, a line for each thing that was found.
fn in_words(of: &Probed) -> String {
    let burst = match of.measured.burst {
        Some((least, most)) if least == most => format!("{least} at once, then "),
        Some((least, u64::MAX)) => format!("{least} or more at once, then "),
        Some((least, most)) => format!("{least} to {most} at once, then "),
        None => String::new(),
    };
    let shape = match of.measured.shape {
        Shape::Even { per_min_least, per_min_most } => {
            format!("{}, evenly (GCRA or a token bucket)", range(per_min_least, per_min_most))
        }
        Shape::FixedWindow { window_s, count } => format!("{count} at once every {window_s:.1} s (a fixed window)"),
        Shape::SlidingWindow { window_s, .. } => format!("each again after {window_s:.1} s (a sliding window)"),
        Shape::Irregular { per_min } => format!("about {per_min:.1} a minute, unevenly"),
        Shape::OnceAgain { after_s } => format!("one after {after_s:.1} s"),
        Shape::NothingAgain { waited_s } => format!("nothing for {waited_s:.1} s"),
        Shape::NeverRefused { calls, took_s } => format!("all of {calls} calls in {took_s:.1} s"),
    };
    let retry = of.measured.retry_after;
    let mut lines = vec![format!("{} (mode {}): {burst}{shape}", of.limit, of.mode)];
    lines.push(format!("  calls: {}, the slowest answered after {} ms", of.measured.calls, of.measured.answer_ms_max));
    if retry.refusals > 0 {
        let wrong = retry.unsigned + retry.missing + retry.too_short + retry.too_long;
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
