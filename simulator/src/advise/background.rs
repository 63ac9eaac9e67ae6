//! How often devices fail by themselves: the chance that a good release is blamed for what `[[fleet.churn]]` does.

use std::time::Duration;

use crate::scenario::{Churn, ChurnKind, Plan, Share, When};

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

    /// The chance that a device is silent for longer than `lost_after_s` within a rollout of this length. Sites that close are
    /// not blamed on a release, and lost messages are sent again, unless the link loses all of them.
    pub(super) fn chance(&self, lost_after_s: u64, rollout_s: u64) -> f64 {
        match self {
            Self::Assumed(chance) => *chance,
            Self::OfScenario(plan) => {
                let lost_after = Duration::from_secs(lost_after_s);
                let of_day = |churn: &Churn| share_of_fleet(plan, churn) * lost_per_day(churn, lost_after);
                let spared: f64 = plan.fleet.churn.iter().map(|churn| 1.0 - of_day(churn)).product();
                1.0 - spared.powf(Duration::from_secs(rollout_s).as_secs_f64() / DAY_S)
            }
        }
    }
}

const DAY_S: f64 = 86_400.0;
/// A link that loses everything.
const ALL_BP: u16 = 10_000;

/// The chance, each day, that it makes a device of its scope silent for so long.
fn lost_per_day(churn: &Churn, lost_after: Duration) -> f64 {
    let When::PerDay { share_bp, lasts } = churn.when else { return 0.0 };
    let share = f64::from(share_bp) / 10_000.0;
    match churn.kind {
        ChurnKind::Removed => share,
        // It lasts for half of `lasts` to one and a half times as long, evenly.
        ChurnKind::FlakyLink if churn.loss_bp < ALL_BP => 0.0,
        ChurnKind::Unplugged | ChurnKind::Moved | ChurnKind::FlakyLink => {
            let lasts_s = lasts.as_secs_f64();
            share * ((1.5 * lasts_s - lost_after.as_secs_f64()) / lasts_s.max(1.0)).clamp(0.0, 1.0)
        }
        ChurnKind::SiteCloses => 0.0,
    }
}

/// The share of the fleet in its scope, by the weights of models and sites.
fn share_of_fleet(plan: &Plan, churn: &Churn) -> f64 {
    let share = |only: &Option<String>, all: &[Share]| {
        let weight = |of: &Share| f64::from(of.share);
        let Some(only) = only else { return 1.0 };
        let own: f64 = all.iter().filter(|of| of.name == *only).map(weight).sum();
        own / all.iter().map(weight).sum::<f64>().max(1.0)
    };
    share(&churn.only_model, &plan.fleet.models) * share(&churn.only_site, &plan.fleet.sites)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{scenario, scenario_settings::ScenarioSettings};

    #[test]
    fn devices_are_lost_as_often_as_their_episodes_are_long_enough() {
        let text = include_bytes!("../../../scenarios/background-failures.toml");
        let mut plan = scenario::check("scenario", text, &ScenarioSettings).unwrap();
        // 6 % a day for 90 to 270 minutes, 1 % for 150 to 450, and 1 % for good; flaky links and nights do not count.
        let day = |lost_after_s| Background::of(&plan, 0.5).chance(lost_after_s, 86_400);
        let spared = |unplugged: f64, moved: f64| 1.0 - (1.0 - 0.06 * unplugged) * (1.0 - 0.01 * moved) * (1.0 - 0.01);
        for (lost_after_min, unplugged, moved) in [(0, 1.0, 1.0), (90, 1.0, 1.0), (180, 0.5, 0.9), (270, 0.0, 0.6)] {
            let chance = day(lost_after_min * 60);
            let expected = spared(unplugged, moved);
            assert!((chance - expected).abs() < 1e-9, "{lost_after_min} min: {chance} is not {expected}");
        }
        let two_days = Background::of(&plan, 0.5).chance(36_000, 2 * 86_400);
        assert!((two_days - (1.0 - 0.99 * 0.99)).abs() < 1e-9, "only those that are removed: {two_days}");
        plan.fleet.churn.iter_mut().for_each(|churn| churn.kind = ChurnKind::FlakyLink);
        let lossy = Background::of(&plan, 0.5).chance(0, 86_400);
        plan.fleet.churn.iter_mut().for_each(|churn| churn.loss_bp = 10_000);
        let down = Background::of(&plan, 0.5).chance(0, 86_400);
        assert!(lossy.abs() < 1e-9 && down > 0.06, "a link that loses everything is like no power: {lossy}, {down}");
        plan.fleet.churn.clear();
        assert!((Background::of(&plan, 0.25).chance(3_600, 86_400) - 0.25).abs() < 1e-9);
    }
}
