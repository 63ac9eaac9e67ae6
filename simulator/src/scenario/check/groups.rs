//! Checks `[[fleet.group]]`: how many devices of each model at each site, in place of shares of models and of sites.

use std::collections::BTreeMap;

use super::value::{LABEL, at_most, integer_in, required, text_like};
use crate::number::{counted, grouped};
use crate::scenario::limits;
use crate::scenario::plan::{Group, Share};
use crate::scenario::problem::{Problem, Problems, quoted};
use crate::scenario::raw::{GROUP, MODEL, MODELS, RawGroup, RawShares, SITE, SITES};
use crate::scenario::reader::{At, Field, Section};
use crate::scenario::source::Place;

/// Groups, and the models and sites in them, in the order in which they are named first.
pub(super) struct CheckedGroups {
    pub(super) models: Vec<Share>,
    pub(super) sites: Vec<Share>,
    pub(super) groups: Vec<Group>,
    /// All devices, and where the first group is.
    pub(super) devices: At<u32>,
}

/// At least one group.
pub(super) fn check(
    raw: Vec<RawGroup>,
    (models, sites): (&RawShares, &RawShares),
    problems: &mut Problems,
) -> Option<CheckedGroups> {
    let at = raw.first()?.at;
    let is_both = refuse_both(at, models, (MODEL, MODELS), problems) | refuse_both(at, sites, (SITE, SITES), problems);
    let first_beyond = raw.get(limits::GROUPS_MAX).map(|group| group.at);
    at_most(raw.len(), limits::GROUPS_MAX, GROUP.title, first_beyond, problems);
    let count = raw.len();
    let mut places = BTreeMap::new();
    let (mut models, mut sites) = (NamedShares::new("models"), NamedShares::new("sites"));
    let groups: Vec<Group> = raw
        .into_iter()
        .take(limits::GROUPS_MAX)
        .filter_map(|raw| {
            let at = raw.at;
            let (model, site, count) = check_one(raw, problems)?;
            if let Some(first) = places.insert((model.clone(), site.clone()), at) {
                let message = format!("a second {} of {} at {}", GROUP.title, quoted(&model), quoted(&site));
                let problem = Problem::new(at, message).expected("one for each model at each site");
                problems.push(problem.first_at(first));
                return None;
            }
            let (model, site) =
                (models.number(model, (count, at), problems)?, sites.number(site, (count, at), problems)?);
            Some(Group { model, site, count })
        })
        .collect();
    if is_both || groups.len() != count {
        return None;
    }
    let devices = groups.iter().fold(0, |sum: u32, group| sum.saturating_add(group.count));
    if !limits::DEVICES.contains(&i64::from(devices)) {
        let max = grouped(limits::DEVICES.end());
        let problem = Problem::new(at, format!("the groups have {}", counted(devices, "device")));
        problems.push(problem.expected(format!("at most {max} in all")));
        return None;
    }
    Some(CheckedGroups { models: models.shares, sites: sites.shares, groups, devices: At { at, value: devices } })
}

/// How many there are: of the groups, if a number is given too, it must be the same.
pub(super) fn check_devices(given: Option<&At<u32>>, groups: &At<u32>, problems: &mut Problems) {
    if let Some(given) = given.filter(|given| given.value != groups.value) {
        let message = format!("`devices` is {}, and the groups have {}", grouped(given.value), grouped(groups.value));
        let near = Some(groups.value.to_string());
        problems
            .push(Problem::new(given.at, message).expected("the sum of their counts, or no `devices`").suggest(near));
    }
}

fn check_one(raw: RawGroup, problems: &mut Problems) -> Option<(String, String, u32)> {
    let owner = (GROUP.title, raw.at);
    let model = required(raw.model, "model", owner, "model = \"KS-100\"", problems);
    let model = text_like("model", model, LABEL, problems);
    let site = required(raw.site, "site", owner, "site = \"HQ\"", problems);
    let site = text_like("site", site, LABEL, problems);
    let count = required(raw.count, "count", owner, "count = 100", problems);
    let count = integer_in::<u32>("count", count, &limits::DEVICES, problems);
    Some((model?.value, site?.value, count?.value))
}

/// Refuses shares beside groups. Returns whether there are any.
fn refuse_both(at: Place, shares: &RawShares, (table, series): (Section, Section), problems: &mut Problems) -> bool {
    let tables = shares.tables.as_deref().unwrap_or_default().first().map(|share| (share.at, table));
    let series = if let Field::Given(given) = &shares.series { Some((given.at, series)) } else { None };
    let Some((other, section)) = tables.or(series) else { return false };
    let (first, second) = if at < other { (at, other) } else { (other, at) };
    let message = format!("the fleet has both {} and {}", GROUP.title, section.title);
    problems.push(Problem::new(second, message).expected("groups, or shares of models and of sites").first_at(first));
    true
}

/// Models or sites, with the devices that each has so far.
struct NamedShares {
    title: &'static str,
    shares: Vec<Share>,
    numbers: BTreeMap<String, usize>,
}

impl NamedShares {
    fn new(title: &'static str) -> Self {
        Self { title, shares: Vec::new(), numbers: BTreeMap::new() }
    }

    /// The number of a name; none if there are too many, which is reported once.
    fn number(&mut self, name: String, (count, at): (u32, Place), problems: &mut Problems) -> Option<usize> {
        if let Some(number) = self.numbers.get(&name).copied() {
            if let Some(share) = self.shares.get_mut(number) {
                share.share = share.share.saturating_add(count);
            }
            return Some(number);
        }
        let number = self.shares.len();
        self.numbers.insert(name.clone(), number);
        self.shares.push(Share { name, share: count });
        let max = limits::SHARES_MAX;
        if number == max {
            let message = format!("more than {} {}", grouped(max), self.title);
            problems.push(Problem::new(at, message).expected(format!("at most {}", grouped(max))));
        }
        (number < max).then_some(number)
    }
}
