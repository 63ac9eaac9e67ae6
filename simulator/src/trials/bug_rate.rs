//! On how many devices a release with several faults fails.

use crate::scenario::{Fault, Fleet, Share};

/// The share of the fleet that these faults hit, in basis points, rounded up: each fault is drawn for itself, and models and sites
/// count by their weights. Conditions on version, uptime and hour are taken as met.
pub(super) fn hit_bp_of_fleet(faults: &[Fault], fleet: &Fleet) -> u16 {
    let is_spared = |only: &Option<String>, own: &Share| only.as_deref().is_some_and(|only| only != own.name);
    let (mut hit, mut total) = (0.0, 0.0);
    for (model, site, weight) in fleet.strata() {
        let can_hit =
            |fault: &&Fault| !is_spared(&fault.scope.only_model, model) && !is_spared(&fault.scope.only_site, site);
        let spared: f64 =
            faults.iter().filter(can_hit).map(|fault| 1.0 - f64::from(fault.hits_bp()) / 10_000.0).product();
        hit += weight * (1.0 - spared);
        total += weight;
    }
    let share_bp = hit / total.max(1.0) * 10_000.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share is from 0 to 10,000")]
    let rounded = (share_bp - 1e-6).ceil().clamp(0.0, 10_000.0) as u16;
    rounded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{scenario, scenario_settings::ScenarioSettings};

    /// Goal: the rate of a score is the share of the fleet that is hit. Method: by hand, for three devices of A to one of B: 0.1 % of A;
    /// of B all but 99.9 % of 50 %. 0.75 x 0.001 + 0.25 x 0.5005 = 12.5875 %, rounded up to a basis point.
    #[test]
    fn faults_that_overlap_are_not_added_up() {
        let text = r#"
            name = "t"
            goal = "Two faults."
            mode = "rehearse"
            duration = "1h"
            fleet = { devices = 100, model = [{ name = "A", share = 3 }, { name = "B", share = 1 }] }
            firmware = [{ version = "2", counter = 2, fault = [{ bricks_bp = 10 }, { lies_bp = 5000, only_model = "B" }] }]
            expect = [{ metric = "errors", max = 0 }]
        "#;
        let plan = scenario::check("t.toml", text.as_bytes(), &ScenarioSettings).unwrap();
        let faults = &plan.firmware[0].faults;
        assert_eq!(hit_bp_of_fleet(faults, &plan.fleet), 1_259);
        assert_eq!(hit_bp_of_fleet(&faults[..1], &plan.fleet), 10);
        assert_eq!(hit_bp_of_fleet(&[], &plan.fleet), 0);
    }

    /// Of 100 devices in groups, the 10 of B at one site are hit: 10 % of the fleet, and not 25 % of 40 %, as if both were drawn.
    #[test]
    fn groups_count_as_they_are() {
        let text = r#"
            name = "t"
            goal = "Groups."
            mode = "rehearse"
            duration = "1h"
            [fleet]
            group = [
                { model = "A", site = "x", count = 15 },
                { model = "B", site = "x", count = 10 },
                { model = "B", site = "y", count = 30 },
                { model = "A", site = "y", count = 45 },
            ]
            [[firmware]]
            version = "2"
            counter = 2
            fault = [{ bricks_bp = 10000, only_model = "B", only_site = "x" }]
            [[expect]]
            metric = "errors"
            max = 0
        "#;
        let plan = scenario::check("t.toml", text.as_bytes(), &ScenarioSettings).unwrap();
        assert_eq!(hit_bp_of_fleet(&plan.firmware[0].faults, &plan.fleet), 1_000);
    }
}
