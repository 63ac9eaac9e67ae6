//! Measured background failures as `[[fleet.churn]]` tables of a scenario, with what they were measured from.

use std::{collections::BTreeMap, fmt::Write};

use ks_protocol::text::counted;

use super::{Background, Hours, LeftOut, Limits, NotMeasured, OfModel, Silences};

/// Kinds in a scenario.
const UNPLUGGED: &str = "unplugged";
const LINK: &str = "flaky_link";
const REMOVED: &str = "removed";
/// Models that can have tables of their own, and tables for the hours of sites: the format allows 1,000 tables in all.
const MODELS_MAX: usize = 100;
const CLOSINGS_MAX: usize = 400;
/// How long a device of a rehearsal boots, beyond the time without power.
const BOOT_S: f64 = 40.0;
/// Longest failure that the format allows, in seconds.
const LASTS_S_MAX: f64 = 30.0 * DAY_S;
const DAY_S: f64 = 86_400.0;
/// Standard deviations by which a model must differ from the rest of the fleet.
const DEVIATIONS: f64 = 4.0;

/// The devices of each model or site as the scenario names them.
#[derive(Debug, Default)]
pub(in crate::service::rollouts) struct FileNames {
    /// The largest first.
    pub(in crate::service::rollouts) shares: Vec<(String, u32)>,
    /// The name in the file of each name in the inventory.
    pub(in crate::service::rollouts) of: BTreeMap<String, String>,
    /// How many names share the last one in the file, because a scenario can't have so many; 0 if none do.
    pub(in crate::service::rollouts) pooled: usize,
}

/// A kind of background failure.
struct Cause {
    kind: &'static str,
    /// In words: what is counted, and which of them.
    noun: &'static str,
    which: String,
    seen: fn(&OfModel) -> FailureRate,
    /// `lasts` that it may have, in seconds; none for `removed`.
    lasts_s: Option<(f64, f64)>,
    /// What a rehearsal adds to `lasts` until the next heartbeat, on average, in seconds.
    added_s: f64,
}

/// How often it was seen, and in how much time of devices.
struct FailureRate {
    count: u32,
    estimated: f64,
    days: f64,
    mean_s: f64,
}

impl FailureRate {
    fn of(silences: Silences, of: &OfModel) -> Self {
        let days = of.observed_s as f64 / DAY_S;
        Self { count: silences.ended, estimated: silences.estimated, days, mean_s: silences.mean_s() }
    }

    fn of_removals(of: &OfModel) -> Self {
        let days = of.removal_s as f64 / DAY_S;
        Self { count: of.removed, estimated: of.removed.into(), days, mean_s: 0.0 }
    }

    /// How many of 10,000 devices have it on a day.
    fn per_day_bp(&self) -> f64 {
        if self.days > 0.0 { (self.estimated / self.days * 10_000.0).min(10_000.0) } else { 0.0 }
    }

    /// Whether it is at least twice as frequent as elsewhere, or half as frequent at most, by more than chance.
    fn differs_from(&self, rest: &Self) -> bool {
        if self.days <= 0.0 || rest.days <= 0.0 {
            return false;
        }
        let (own, other) = (f64::from(self.count) / self.days, f64::from(rest.count) / rest.days);
        // The variance of a count of rare events is the count.
        let variance = own / self.days + other / rest.days;
        (own >= 2.0 * other || other >= 2.0 * own) && (own - other).abs() > DEVIATIONS * variance.sqrt()
    }
}

/// The tables, and comments; and whether devices are removed, so that a rollout may wait for them in vain.
pub(in crate::service::rollouts) fn tables(
    measured: &Result<Background, NotMeasured>,
    limits: Limits,
    models: &FileNames,
    sites: &FileNames,
) -> (String, bool) {
    let mut text = "\n# Background failures, which no release causes".to_owned();
    let background = match measured {
        Ok(background) => background,
        Err(why) => {
            text += &format!(": not measured, because {why}.\n# Add what you know as [[fleet.churn]].\n");
            return (text, false);
        }
    };
    let mut groups: BTreeMap<&str, OfModel> = BTreeMap::new();
    for (model, of_model) in &background.models {
        if let Some(name) = models.of.get(model) {
            groups.entry(name).or_default().add(of_model);
        }
    }
    let mut all = OfModel::default();
    for group in groups.values() {
        all.add(group);
    }
    let _ = write!(
        text,
        ", measured from the heartbeats of {} of these models,\n\
         # {} to {}: {} device-hours.\n\
         # A silence is longer than {} s, three heartbeat intervals. One of more than {} s, the policy's lost_after_s, counts as a\n\
         # failure, unless the whole site is silent. So the two have tables of their own.\n",
        counted(all.devices, "device"),
        background.from,
        background.to,
        all.observed_s / 3_600,
        limits.silence().as_secs(),
        limits.lost_after.as_secs(),
    ); // a String takes all
    if let Some(looks) = background.looks {
        let (lasts_s, every_s) = (looks.lasts.as_secs(), looks.every.as_secs());
        let _ = writeln!(
            text,
            "# Of so many heartbeats those of {lasts_s} s every {every_s} s were read: some silences of less than {} s are missed.",
            lasts_s + every_s
        ); // a String takes all
    }
    for cause in causes(limits) {
        text += &of_cause(&cause, &groups, models);
    }
    let removes = text.contains(&format!("kind = \"{REMOVED}\""));
    text += &closings(background, sites);
    text += &left_out(&background.left_out);
    (text, removes)
}

fn causes(limits: Limits) -> [Cause; 5] {
    let (interval_s, lost_s) = (limits.interval.as_secs_f64(), limits.lost_after.as_secs_f64());
    let silences = |kind, is_long, seen: fn(&OfModel) -> FailureRate| {
        let is_off = kind == UNPLUGGED;
        let length = if is_long { "more than" } else { "up to" };
        let ending = if is_off { "with a new boot" } else { "without a boot, as of a link that was down" };
        // From half of `lasts` to one and a half times as long is drawn: no short one may be a failure, and each long one must be.
        let short = (1.0, ((lost_s - interval_s - BOOT_S) / 1.5).max(1.0));
        let long = ((2.0 * lost_s).min(LASTS_S_MAX), LASTS_S_MAX);
        Cause {
            kind,
            noun: "silence",
            which: format!("of {length} {lost_s} s that ended {ending}"),
            seen,
            lasts_s: Some(if is_long { long } else { short }),
            added_s: interval_s + if is_off { BOOT_S } else { 0.0 },
        }
    };
    [
        silences(UNPLUGGED, false, |of| FailureRate::of(of.unplugged.short, of)),
        silences(UNPLUGGED, true, |of| FailureRate::of(of.unplugged.long, of)),
        silences(LINK, false, |of| FailureRate::of(of.link_down.short, of)),
        silences(LINK, true, |of| FailureRate::of(of.link_down.long, of)),
        Cause {
            kind: REMOVED,
            noun: "device",
            which: "lost for a week to a month".to_owned(),
            seen: FailureRate::of_removals,
            lasts_s: None,
            added_s: 0.0,
        },
    ]
}

/// One cause: a table for all models, or one for each.
fn of_cause(cause: &Cause, groups: &BTreeMap<&str, OfModel>, models: &FileNames) -> String {
    let seen_of = |of: &dyn Fn(&str) -> bool| {
        let mut sum = OfModel::default();
        groups.iter().filter(|(name, _)| of(name)).for_each(|(_, group)| sum.add(group));
        (cause.seen)(&sum)
    };
    let differs = |name: &str| seen_of(&|other| other == name).differs_from(&seen_of(&|other| other != name));
    let own: Vec<&str> = match groups.len() {
        ..=MODELS_MAX => groups.keys().copied().filter(|name| differs(name)).collect(),
        _ => Vec::new(),
    };
    if own.is_empty() {
        return of_group(cause, &seen_of(&|_| true), None);
    }
    let rest = seen_of(&|name| !own.contains(&name));
    let each = models.shares.iter().filter(|(name, _)| groups.contains_key(name.as_str())).map(|(name, _)| {
        if own.contains(&name.as_str()) {
            of_group(cause, &seen_of(&|other| other == name), Some(name))
        } else {
            of_group(cause, &rest, Some(name))
        }
    });
    each.collect()
}

/// The table of one cause and model.
fn of_group(cause: &Cause, seen: &FailureRate, only_model: Option<&str>) -> String {
    let FailureRate { count, mean_s, .. } = seen;
    let bp = seen.per_day_bp();
    let of = only_model.map_or_else(String::new, |model| format!("{model}: "));
    let mut text = format!("\n# {of}{} {}", counted(*count, cause.noun), cause.which);
    if *count == 0 {
        return text + "\n";
    }
    let long = if cause.lasts_s.is_some() { format!(", {mean_s:.0} s on average") } else { String::new() };
    let _ = write!(text, "{long}:\n# {bp:.2} of 10,000 devices a day"); // a String takes all
    if bp < 0.5 {
        return text + ", too rare for a scenario\n";
    }
    let _ = write!(text, "\n[[fleet.churn]]\nkind = \"{}\"\nper_day_bp = {:.0}\n", cause.kind, bp.round().max(1.0));
    if let Some((min_s, max_s)) = cause.lasts_s {
        let lasts_s = (mean_s - cause.added_s).clamp(min_s, max_s);
        let _ = writeln!(text, "lasts = \"{lasts_s:.0}s\"");
    }
    if cause.kind == LINK {
        text += "loss_bp = 10000\n";
    }
    if let Some(model) = only_model {
        let _ = writeln!(text, "only_model = \"{model}\"");
    }
    text
}

/// The hours in which sites are closed, by their names in the file; and how many that close have none of their own there.
fn closed_by_name<'a>(background: &'a Background, sites: &'a FileNames) -> (BTreeMap<&'a str, &'a Vec<Hours>>, usize) {
    let mut closed: BTreeMap<&str, &Vec<Hours>> = BTreeMap::new();
    let mut unnamed = 0;
    for (site, hours) in &background.closed {
        match sites.of.get(site) {
            // A name that stands for several sites is none of them.
            Some(name) if sites.of.values().filter(|other| *other == name).count() == 1 => {
                closed.insert(name, hours);
            }
            Some(_) => unnamed += 1,
            None => {}
        }
    }
    (closed, unnamed)
}

/// When a rehearsal begins, so that all devices can register before its rollout, or as many as possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service::rollouts) struct RehearsalStart {
    /// The hour of the day in UTC.
    pub(in crate::service::rollouts) hour: u8,
    /// The devices whose sites are open all the time from then until the rollout starts, of all of them.
    pub(in crate::service::rollouts) there: u64,
    pub(in crate::service::rollouts) of: u64,
}

/// The hour to begin at, if sites close; the rollout starts so many hours later. Of equally good hours the first after a worse one:
/// the sites have just opened.
pub(in crate::service::rollouts) fn beginning(
    measured: &Result<Background, NotMeasured>,
    sites: &FileNames,
    lead_hours: u8,
) -> Option<RehearsalStart> {
    let (closed, _) = closed_by_name(measured.as_ref().ok()?, sites);
    if closed.is_empty() {
        return None;
    }
    let devices = |there: &dyn Fn(&str) -> bool| -> u64 {
        sites.shares.iter().filter(|(name, _)| there(name)).map(|(_, share)| u64::from(*share)).sum()
    };
    let there = |hour: u8| {
        let is_open = |name: &str| {
            let mut closed = closed.get(name).into_iter().flat_map(|of| of.iter());
            closed.all(|closed| (0..=lead_hours).all(|later| !closed.contain((hour + later) % 24)))
        };
        devices(&is_open)
    };
    let best = (0..24).map(there).max()?;
    let is_first = |hour: &u8| there(*hour) == best && there((*hour + 23) % 24) < best;
    let hour = (0..24).find(is_first).unwrap_or(0);
    Some(RehearsalStart { hour, there: best, of: devices(&|_| true) })
}

/// The hours in which sites are closed.
fn closings(background: &Background, sites: &FileNames) -> String {
    let (closed, unnamed) = closed_by_name(background, sites);
    if closed.is_empty() && unnamed == 0 {
        return String::new();
    }
    let table = |hours: &Hours, only: Option<&str>| {
        let only = only.map_or_else(String::new, |site| format!("only_site = \"{site}\"\n"));
        format!("[[fleet.churn]]\nkind = \"site_closes\"\nhours = \"{hours}\"\n{only}")
    };
    let by_size = || sites.shares.iter().filter_map(|(name, share)| Some((name, *share, *closed.get(name.as_str())?)));
    let total: u64 = sites.shares.iter().map(|(_, share)| u64::from(*share)).sum();
    let mut with_same: BTreeMap<&Vec<Hours>, u64> = BTreeMap::new();
    for (_, share, hours) in by_size() {
        *with_same.entry(hours).or_default() += u64::from(share);
    }
    if let Some((hours, same)) = with_same.iter().find(|(_, same)| 10 * **same >= 9 * total) {
        let text = format!("\n# Sites close in these hours (UTC), those of {same} of {total} devices\n");
        return text + &hours.iter().map(|hours| table(hours, None)).collect::<String>();
    }
    let mut text = format!("\n# Sites that close in these hours (UTC): {}\n", closed.len());
    let mut tables = by_size().flat_map(|(name, _, hours)| hours.iter().map(move |hours| (name, hours)));
    text.extend(tables.by_ref().take(CLOSINGS_MAX).map(|(name, hours)| table(hours, Some(name))));
    let left = tables.count() + unnamed;
    if left > 0 {
        let _ = writeln!(text, "# Left out: {left} smaller sites that close."); // a String takes all
    }
    text
}

/// What the tables don't have.
fn left_out(left_out: &LeftOut) -> String {
    let LeftOut { outages, in_outages, at_closing, updates, lasting, lost_in_rollouts } = *left_out;
    let parts = [
        (
            in_outages,
            format!("{in_outages} in {} of whole sites, which gates leave out as well", counted(outages, "outage")),
        ),
        (at_closing, format!("{at_closing} that began as a site closed")),
        (updates, format!("{updates} after which the device ran other firmware")),
        (lasting, format!("{lasting} that last and may end")),
        (lost_in_rollouts, format!("{lost_in_rollouts} of lost devices whose update failed")),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|(count, _)| *count > 0).map(|(_, part)| part).collect();
    if parts.is_empty() { String::new() } else { format!("\n# Silences left out: {}.\n", parts.join("; ")) }
}
