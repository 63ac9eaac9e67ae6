//! How often devices fail by themselves: the chance that a good release is blamed for what `[[fleet.churn]]` does.

use std::time::Duration;

use ks_protocol::time::UnixMs;
use ks_server::{
    clock::ms,
    rollout::policy::{Scope, WHOLE_BP},
};

use super::opening::Opening;
use crate::{
    scenario::{Churn, ChurnKind, ChurnTime, Plan, Share},
    trials::first_rollout,
};

/// Failures without a release.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Background<'a> {
    /// Those of the scenario.
    OfScenario(&'a Plan),
    /// The scenario has none: this chance of each device.
    Assumed(f64),
}

impl<'a> Background<'a> {
    /// That of the scenario, or else this chance.
    pub(super) fn of(plan: &'a Plan, otherwise: f64) -> Self {
        if plan.fleet.churn.is_empty() { Self::Assumed(otherwise) } else { Self::OfScenario(plan) }
    }

    /// The chance that a device of a group, as a gate of this scope judges it, is silent for longer than `lost_after_s` within a
    /// rollout of this length. Of a site that closes for so long after the rollout's start, all devices are. Lost messages are sent
    /// again, unless the link loses all of them.
    pub(super) fn chance(&self, (scope, name): (Scope, &str), lost_after_s: u64, rollout_s: u64) -> f64 {
        let plan = match self {
            Self::Assumed(chance) => return *chance,
            Self::OfScenario(plan) => plan,
        };
        let (lost_after, rollout) = (Duration::from_secs(lost_after_s), Duration::from_secs(rollout_s));
        let (mut spared, mut total) = (0.0, 0.0);
        for (model, site, weight) in plan.fleet.strata() {
            let is_judged = match scope {
                Scope::Model => model.name == name,
                Scope::Site => site.name == name,
                Scope::Stratum => format!("{} at {}", model.name, site.name) == name,
                Scope::Cumulative | Scope::Stage => true,
            };
            if is_judged {
                total += weight;
                spared += weight * spared_of(plan, (model, site), lost_after, rollout);
            }
        }
        if total > 0.0 { 1.0 - spared / total } else { 0.0 }
    }
}

/// The chance of a device of this model and site to be silent for no longer than `lost_after` at a time.
fn spared_of(plan: &Plan, (model, site): (&Share, &Share), lost_after: Duration, rollout: Duration) -> f64 {
    let begins = first_rollout(plan).map_or(Duration::ZERO, |(at, _)| at);
    let unheard = plan.interval() * 2; // before and after it is closed
    let closed = closings(plan, (model, site), begins, rollout);
    // What is closed when the rollout begins gets nothing before it opens.
    if closed.iter().any(|(from, to)| !from.is_zero() && to.saturating_sub(*from) + unheard > lost_after) {
        return 0.0;
    }
    let churn = plan.fleet.churn.iter().filter(|churn| is_of(churn, &model.name, &site.name));
    let of_day: f64 = churn.map(|churn| 1.0 - lost_per_day(churn, lost_after)).product();
    of_day.powf(rollout.as_secs_f64() / DAY_S)
}

/// When the devices of a model and site are without power because it is closed, since the rollout's start, each time as a whole.
fn closings(
    plan: &Plan,
    (model, site): (&Share, &Share),
    begins: Duration,
    length: Duration,
) -> Vec<(Duration, Duration)> {
    let start = UnixMs(plan.starts_at.0.saturating_add(ms(begins)));
    let of_it = plan.fleet.churn.iter().filter(|churn| is_of(churn, &model.name, &site.name));
    let mut closed: Vec<(Duration, Duration)> = of_it
        .filter_map(|churn| if let ChurnTime::Daily(hours) = churn.when { Some(hours) } else { None })
        .flat_map(|hours| hours.within(start, length))
        .collect();
    closed.sort_unstable();
    let mut whole: Vec<(Duration, Duration)> = Vec::new();
    for (from, to) in closed {
        match whole.last_mut() {
            Some((_, ends)) if from <= *ends => *ends = to.max(*ends),
            _ => whole.push((from, to)),
        }
    }
    whole
}

/// When devices of a model and a site have power.
pub(super) fn opening(plan: &Plan, (model, site): (&str, &str)) -> Opening {
    Opening::of(plan.fleet.churn.iter().filter(|churn| is_of(churn, model, site)))
}

/// The longest time for which any site is closed at a stretch.
pub(super) fn longest_closing(plan: &Plan) -> Duration {
    let week = Duration::from_hours(7 * 24);
    let strata = plan.fleet.strata().into_iter().map(|(model, site, _)| (model, site));
    let closed = strata.flat_map(|stratum| closings(plan, stratum, Duration::ZERO, week));
    closed.map(|(from, to)| to.saturating_sub(from)).max().unwrap_or_default()
}

const DAY_S: f64 = 86_400.0;

/// The chance, each day, that it makes a device of its scope silent for so long.
fn lost_per_day(churn: &Churn, lost_after: Duration) -> f64 {
    let ChurnTime::PerDay { share_bp, lasts } = churn.when else { return 0.0 };
    let share = f64::from(share_bp) / 10_000.0;
    match churn.kind {
        ChurnKind::Removed => share,
        // It lasts for half of `lasts` to one and a half times as long, evenly.
        ChurnKind::FlakyLink if churn.loss_bp < WHOLE_BP => 0.0,
        // Until another device has its place, and nobody judges it any more.
        ChurnKind::Unplugged | ChurnKind::Moved | ChurnKind::FlakyLink | ChurnKind::Swapped => {
            let lasts_s = lasts.as_secs_f64();
            share * ((1.5 * lasts_s - lost_after.as_secs_f64()) / lasts_s.max(1.0)).clamp(0.0, 1.0)
        }
        ChurnKind::SiteCloses => 0.0,
    }
}

/// Whether it happens to devices of this model and site.
fn is_of(churn: &Churn, model: &str, site: &str) -> bool {
    let is_it = |only: &Option<String>, own: &str| only.as_ref().is_none_or(|only| only == own);
    is_it(&churn.only_model, model) && is_it(&churn.only_site, site)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{scenario, scenario_settings::ScenarioSettings};

    const FLEET: (Scope, &str) = (Scope::Cumulative, "all");

    fn background_failures() -> Plan {
        let text = include_bytes!("../../../scenarios/background-failures.toml");
        scenario::check("scenario", text, &ScenarioSettings).unwrap()
    }

    #[test]
    fn devices_are_lost_as_often_as_their_episodes_are_long_enough() {
        let mut plan = background_failures();
        plan.fleet.churn.retain(|churn| churn.kind != ChurnKind::SiteCloses);
        // 6 % a day for 90 to 270 minutes, 1 % for 150 to 450, and 1 % for good; flaky links do not count.
        let day = |lost_after_s| Background::of(&plan, 0.5).chance(FLEET, lost_after_s, 86_400);
        let spared = |unplugged: f64, moved: f64| 1.0 - (1.0 - 0.06 * unplugged) * (1.0 - 0.01 * moved) * (1.0 - 0.01);
        for (lost_after_min, unplugged, moved) in [(0, 1.0, 1.0), (90, 1.0, 1.0), (180, 0.5, 0.9), (270, 0.0, 0.6)] {
            let chance = day(lost_after_min * 60);
            let expected = spared(unplugged, moved);
            assert!((chance - expected).abs() < 1e-9, "{lost_after_min} min: {chance} is not {expected}");
        }
        let two_days = Background::of(&plan, 0.5).chance(FLEET, 36_000, 2 * 86_400);
        assert!((two_days - (1.0 - 0.99 * 0.99)).abs() < 1e-9, "only those that are removed: {two_days}");
        plan.fleet.churn.iter_mut().for_each(|churn| churn.kind = ChurnKind::FlakyLink);
        let lossy = Background::of(&plan, 0.5).chance(FLEET, 0, 86_400);
        plan.fleet.churn.iter_mut().for_each(|churn| churn.loss_bp = 10_000);
        let down = Background::of(&plan, 0.5).chance(FLEET, 0, 86_400);
        assert!(lossy.abs() < 1e-9 && down > 0.06, "a link that loses everything is like no power: {lossy}, {down}");
        plan.fleet.churn.clear();
        assert!((Background::of(&plan, 0.25).chance(FLEET, 3_600, 86_400) - 0.25).abs() < 1e-9);
    }

    /// The kiosk, one of seven shares, is closed from 22:00 to 06:00, and the rollout begins at 19:00; heartbeats come every 30 min.
    #[test]
    fn devices_of_a_site_that_closes_for_longer_than_they_may_be_silent_are_lost() {
        let mut plan = background_failures();
        plan.fleet.churn.retain(|churn| churn.kind == ChurnKind::SiteCloses);
        let chance = |plan: &Plan, group: (Scope, &str), lost_after_min: u64, rollout_h: u64| {
            Background::of(plan, 0.5).chance(group, lost_after_min * 60, rollout_h * 3_600)
        };
        let kiosk = plan.fleet.sites.iter().find(|site| site.name == "kiosk").unwrap().share;
        let all: u32 = plan.fleet.sites.iter().map(|site| site.share).sum();
        let of_fleet = f64::from(kiosk) / f64::from(all);
        let unheard_min = 2 * plan.interval().as_secs() / 60;
        assert!((chance(&plan, FLEET, 60, 24) - of_fleet).abs() < 1e-9);
        assert!((chance(&plan, (Scope::Site, "kiosk"), 60, 24) - 1.0).abs() < 1e-9);
        assert!(chance(&plan, (Scope::Site, "north"), 60, 24).abs() < 1e-9, "it does not close");
        assert!(chance(&plan, FLEET, 60, 2).abs() < 1e-9, "the rollout is over before");
        assert!(chance(&plan, FLEET, 8 * 60 + unheard_min - 1, 24) > 0.0);
        assert!(chance(&plan, FLEET, 8 * 60 + unheard_min, 24).abs() < 1e-9, "silent for a shorter time than allowed");
        assert_eq!(longest_closing(&plan), Duration::from_hours(8));
        // Two tables that follow one another are one night.
        let evening = plan.fleet.churn.first().unwrap().clone();
        let hours = |hours: &str| ChurnTime::Daily(crate::scenario::Hours::parse(hours).unwrap());
        plan.fleet.churn =
            ["20-24", "00-05"].map(|of| Churn { when: hours(of), ..evening.clone() }).into_iter().collect();
        assert_eq!(longest_closing(&plan), Duration::from_hours(9));
    }
}
