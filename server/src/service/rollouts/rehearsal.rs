//! A plan as a scenario for `ks-fleet rehearse`: this rollout on the same fleet, with as many devices of each model at each site.
//!
//! The server only writes the file. How devices fail without the release is measured from their heartbeats. How the release may fail
//! is left to the person who runs it; the file says where.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::Duration,
};

use ks_protocol::{id::RolloutId, text::counted};
use serde_json::Value;

use super::background::{self, Background, FileNames, Limits, NotMeasured, RehearsalStart};
use crate::{
    rollout::{
        plan::{self, Plan},
        policy::{Approval, Policy},
    },
    store::releases::ReleaseRecord,
};

/// Longest rehearsal, and most models or sites, that the format allows.
const HOURS_MAX: u64 = 90 * 24;
const SHARES_MAX: usize = 1_000;
/// Most models at sites that the format allows, and how much of a scenario's 1 MiB they may take.
const GROUPS_MAX: usize = 10_000;
const GROUPS_BYTES_MAX: usize = 768 * 1_024;
/// Longest name of a model, a site or a version.
const LABEL_CHARS_MAX: usize = 64;
/// Site or model of the rest, if there are more than the format allows.
const REST: &str = "others";
/// Images that a rehearsal can make, in KiB.
const IMAGE_KIB_MAX: u64 = 65_536;

#[derive(Debug, Clone, Copy)]
pub struct Rehearsed<'a> {
    pub rollout_id: &'a RolloutId,
    pub plan: &'a Plan,
    /// As it was given: shares stay shares.
    pub policy: &'a Policy,
    pub release: &'a ReleaseRecord,
    /// The policy's `roll_back_to`.
    pub back: Option<&'a ReleaseRecord>,
    pub heartbeat_interval: Duration,
    /// How devices failed of themselves.
    pub background: &'a Result<Background, NotMeasured>,
}

/// The text of the scenario.
pub fn scenario(of: Rehearsed<'_>) -> String {
    let Rehearsed { rollout_id, plan, policy, release, back, heartbeat_interval, background } = of;
    let version = label(&release.version);
    let (models, sites) = (totals(plan, |stage| &stage.by_model), totals(plan, |stage| &stage.by_site));
    let ramp = Duration::from_mins(30).max(heartbeat_interval * 2);
    let starts_at = ramp + heartbeat_interval * 2;
    let lead_hours = u8::try_from(starts_at.as_secs().div_ceil(3_600)).unwrap_or(23).min(23);
    let beginning = background::beginning(background, &sites, lead_hours);
    let approvals = approvals(plan, policy, starts_at.as_secs());
    let approved_s = approvals.last().map_or(0, |(at_s, _)| *at_s);
    // Half as long again as expected, and the watch; it ends early if nothing is left to happen.
    let lasts_s = starts_at.as_secs() + approved_s + plan.expected_s / 2 * 3 + policy.watch_s() + 4 * 3_600;
    let hours = lasts_s.div_ceil(3_600).min(HOURS_MAX);
    let devices = plan.targets;
    let name = scenario_name(rollout_id);
    let mut text = format!(
        "# The rollout {rollout_id} of {}, as planned for {}. `ks-fleet rehearse` runs it.\n\
         # Its devices are those that would get the release.\n\
         # Expected to take {} s from its start.\n\
         name = {}\n\
         goal = {}\n\
         mode = \"rehearse\"\n\
         seed = 1\n\
         duration = \"{hours}h\"\n\
         {}ramp = {}\n\n\
         [fleet]\n\
         devices = {devices}\n\
         heartbeat_interval = {}\n",
        release.release_id,
        counted(devices, "device"),
        plan.expected_s,
        quoted(&name),
        quoted(&format!("The rollout {rollout_id} goes through a fleet like ours, and breaks nothing.")),
        beginning.map_or_else(String::new, begins_at),
        duration(ramp),
        duration(heartbeat_interval),
    );
    text += &places(plan, &models, &sites);
    let limits = Limits { interval: heartbeat_interval, lost_after: Duration::from_secs(policy.lost_after_s) };
    let (failures, removes) = background::tables(background, limits, &models, &sites);
    text += &failures;
    text += "\n# How the release might fail: bricks_bp, dies_bp with dies_after, install_fails_bp, boot_fails_bp, lies_bp, of 10,000.\n";
    text += &firmware(release);
    text += &back.map(firmware).unwrap_or_default();
    text += "\n";
    text += &policy_table(policy, back);
    let _ = write!(
        text,
        "\n[[timeline]]\nat = {}\ndo = \"start_rollout\"\nfirmware = {}\npolicy = \"planned\"\nrollout = {}\n",
        duration(starts_at),
        quoted(&version),
        quoted(rollout_id.as_str())
    );
    text += &approvals.into_iter().map(|(at_s, stage)| approval(rollout_id, at_s, stage)).collect::<String>();
    text += &expectations(plan, &version, removes, beginning);
    text
}

/// How many devices of each model are at each site; if those are too many for a scenario, the shares of models and of sites.
fn places(plan: &Plan, models: &FileNames, sites: &FileNames) -> String {
    let mut text = String::new();
    for (what, named) in [("model", models), ("site", sites)] {
        if let (1.., Some((name, _))) = (named.pooled, named.shares.last()) {
            let _ = writeln!(
                text,
                "\n# The {what} {} stands for the {} smallest, since a scenario has {SHARES_MAX} at most: gates and limits by {what} \
                 take it as one.",
                quoted(name),
                named.pooled
            ); // a String takes all
        }
    }
    let mut groups: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for ((model, site), devices) in plan.stages.iter().flat_map(|stage| &stage.by_stratum) {
        if let (Some(model), Some(site)) = (models.of.get(model), sites.of.get(site)) {
            *groups.entry((model, site)).or_default() += devices;
        }
    }
    let group = |((model, site), count): (&(&str, &str), &u32)| {
        format!("\n[[fleet.group]]\nmodel = {}\nsite = {}\ncount = {count}\n", quoted(model), quoted(site))
    };
    let tables: String = groups.iter().map(group).collect();
    if groups.len() <= GROUPS_MAX && tables.len() <= GROUPS_BYTES_MAX {
        return text + &tables;
    }
    let _ = writeln!(
        text,
        "\n# Models and sites have the shares of the devices; who is of which model at which site is drawn, since the {} models at \
         sites are more than a scenario takes.",
        groups.len()
    );
    for (table, named) in [("model", models), ("site", sites)] {
        for (name, share) in &named.shares {
            let _ = write!(text, "\n[[fleet.{table}]]\nname = {}\nshare = {share}\n", quoted(name));
        }
    }
    text
}

/// The time of day at which the rehearsal begins.
fn begins_at(RehearsalStart { hour, there, of }: RehearsalStart) -> String {
    let open = if there == of {
        "all sites are open".to_owned()
    } else {
        format!("the sites of {there} of {of} devices are open, the most at any hour; the others may be no targets")
    };
    format!("# From now on until the rollout starts, {open}.\nstarts_at = 2026-01-01T{hour:02}:00:00Z\n")
}

/// The step that approves a stage.
fn approval(rollout_id: &RolloutId, at_s: u64, stage: u32) -> String {
    format!(
        "\n# Stage {stage} waits for a person, who comes this late. Before it waits, an approval is refused.\n\
         [[timeline]]\nat = \"{at_s}s\"\ndo = \"order_rollout\"\nrollout = {}\norder = \"approve\"\n",
        quoted(rollout_id.as_str())
    )
}

/// What the rehearsal of a good release must show: it completes, and as many devices have it as its stages need. Where devices are
/// removed, the last stage may wait for one of them.
fn expectations(plan: &Plan, version: &str, removes: bool, beginning: Option<RehearsalStart>) -> String {
    let outcomes: u64 = plan.stages.iter().map(|stage| u64::from(stage.min_executed)).sum();
    // Devices of a site that opens later are no targets.
    let outcomes = beginning.map_or(outcomes, |of| outcomes * of.there / of.of.max(1));
    let completed = if removes {
        "\n# `rollout.completed = 1` is not expected: the last stage waits for devices that were removed before their turn.\n"
    } else {
        "\n[[expect]]\nmetric = \"rollout.completed\"\nequals = 1\n"
    };
    let expected = [
        ("rollout.aborted".to_owned(), "equals = 0".to_owned()),
        ("rollout.broken_devices".to_owned(), "equals = 0".to_owned()),
        (format!("updated.{version}"), format!("min = {outcomes}")),
    ];
    let each = expected.map(|(metric, bound)| format!("\n[[expect]]\nmetric = {}\n{bound}\n", quoted(&metric)));
    completed.to_owned() + &each.concat()
}

/// When a person approves each stage that needs it, in seconds from the start of the rehearsal, and its number from 1: a quarter later
/// than expected and half an hour, so that the stage surely waits.
fn approvals(plan: &Plan, policy: &Policy, starts_at_s: u64) -> Vec<(u64, u32)> {
    let mut approvals = Vec::new();
    let mut at_s = starts_at_s;
    for (number, (stage, planned)) in (1..).zip(policy.stages.iter().zip(&plan.stages)) {
        at_s += planned.expected_s;
        if stage.approval == Approval::Manual {
            at_s += planned.expected_s / 4 + 1_800;
            approvals.push((at_s, number));
        }
    }
    approvals
}

/// The devices of each model or site in all stages, by names that the format allows.
fn totals(plan: &Plan, by: impl Fn(&crate::rollout::stage::PlannedStage) -> &BTreeMap<String, u32>) -> FileNames {
    let mut totals: BTreeMap<&str, u32> = BTreeMap::new();
    for (name, devices) in plan.stages.iter().flat_map(&by) {
        *totals.entry(name).or_default() += devices;
    }
    let mut largest: Vec<(&str, u32)> = totals.into_iter().collect();
    largest.sort_by_key(|(_, devices)| std::cmp::Reverse(*devices));
    let rest = if largest.len() > SHARES_MAX { largest.split_off(SHARES_MAX - 1) } else { Vec::new() };
    let mut used = BTreeSet::new();
    let mut unique = |name: &str| {
        let wanted = label(name);
        let numbered = (2..).map(|number: u32| {
            let number = format!("-{number}");
            wanted.chars().take(LABEL_CHARS_MAX - number.len()).collect::<String>() + &number
        });
        let name =
            std::iter::once(wanted.clone()).chain(numbered).find(|name| !used.contains(name)).unwrap_or_default();
        used.insert(name.clone());
        name
    };
    let mut named = FileNames::default();
    for (name, devices) in largest {
        let in_file = unique(name);
        named.of.insert(name.to_owned(), in_file.clone());
        named.shares.push((in_file, devices));
    }
    if !rest.is_empty() {
        let in_file = unique(REST);
        named.pooled = rest.len();
        named.shares.push((in_file.clone(), rest.iter().map(|(_, devices)| devices).sum()));
        named.of.extend(rest.into_iter().map(|(name, _)| (name.to_owned(), in_file.clone())));
    }
    named
}

fn firmware(release: &ReleaseRecord) -> String {
    let size_kib = plan::read(&release.manifest).map_or(256, |manifest| manifest.size_bytes.div_ceil(1_024));
    let (version, counter) = (quoted(&label(&release.version)), release.release_counter.max(2)); // the factory's has 1
    let size_kib = size_kib.clamp(1, IMAGE_KIB_MAX);
    format!("[[firmware]]\nversion = {version}\ncounter = {counter}\nsize_kib = {size_kib}\n")
}

/// The policy as `[[policy]]`, with all that the server would assume.
fn policy_table(policy: &Policy, back: Option<&ReleaseRecord>) -> String {
    let mut policy = Policy { watch_s: Some(policy.watch_s()), ..policy.clone() };
    // A rehearsal names releases after their versions.
    policy.roll_back_to = back.and_then(|back| format!("fw-{}", label(&back.version)).parse().ok());
    let Ok(Value::Object(fields)) = serde_json::to_value(&policy) else { return String::new() }; // a struct is an object
    let lines =
        fields.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| format!("{key} = {}\n", toml(value)));
    format!("[[policy]]\nname = \"planned\"\n{}", lines.collect::<String>())
}

/// A value as TOML on one line. JSON's strings and numbers are TOML's; it has no null.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let fields: Vec<String> = fields.map(|(key, value)| format!("{key} = {}", toml(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        scalar => scalar.to_string(),
    }
}

/// A name that the format allows for models, sites and versions: other characters become `-`.
fn label(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let label: String = name.chars().take(LABEL_CHARS_MAX).map(allowed).collect();
    if label.is_empty() { "none".to_owned() } else { label }
}

/// A name that the format allows for scenarios.
fn scenario_name(rollout_id: &RolloutId) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    rollout_id.as_str().chars().take(LABEL_CHARS_MAX).map(allowed).collect()
}

fn quoted(text: &str) -> String {
    toml(&text.into())
}

fn duration(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("\"{}s\"", duration.as_secs()),
        _ => format!("\"{}ms\"", duration.as_millis()),
    }
}
