//! Shares of devices in a policy, as counts: fixed when the rollout is planned, from the devices that each stage adds. Only the limit
//! of sites stays a share if it is one, because each site has its own count.
//!
//! A share scales with the fleet, a count does not: one policy serves a school of 40 terminals and a company of 12,000. What is
//! stored is the count, so that an evaluation never depends on a rounding.

use super::{
    policy::{Gate, Policy, Scope, count_of},
    power,
    stage::PlannedStage,
};

/// The policy with a count in place of each share, and what it left to the defaults.
pub(super) fn resolved(policy: &Policy, stages: &[PlannedStage]) -> Policy {
    let targets = stages.last().map_or(0, |stage| stage.devices);
    let mut resolved = policy.clone().paced(targets);
    for (stage, planned) in resolved.stages.iter_mut().zip(stages) {
        if let Some(share_bp) = stage.min_executed_bp.take() {
            stage.min_executed = count_of(share_bp, planned.adds);
        }
    }
    for gate in &mut resolved.gates {
        if let Some(share_bp) = gate.min_executed_bp.take() {
            gate.min_executed = count_of(share_bp, devices_to_pass_with(gate, stages));
        }
    }
    resolved.watch_s = Some(policy.watch_s());
    resolved
}

/// The fewest devices that a gate has to pass with: those that it judges in the first stage. A gate by stage judges each on its own,
/// so the smallest counts. Of groups, the largest: a smaller one is too small to hold the stage up, and can only fail.
fn devices_to_pass_with(gate: &Gate, stages: &[PlannedStage]) -> u32 {
    if gate.scope == Scope::Stage {
        return stages.iter().map(|stage| stage.adds).min().unwrap_or(0);
    }
    let groups = power::groups(gate.scope, stages);
    groups.values().filter_map(|added| added.first().copied()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rollout::policy::{WHOLE_BP, tests::playbook};

    /// 101, 299 and 600 devices of two models: three quarters of each stage are KS-100, rounded.
    fn stages() -> Vec<PlannedStage> {
        let stage = |share_bp, of: [u32; 2], devices| PlannedStage {
            share_bp,
            adds: of[0] + of[1],
            devices,
            by_model: BTreeMap::from([("KS-100".to_owned(), of[0]), ("KS-200".to_owned(), of[1])]),
            ..PlannedStage::default()
        };
        vec![stage(1_000, [76, 25], 101), stage(4_000, [224, 75], 400), stage(WHOLE_BP, [450, 150], 1_000)]
    }

    #[test]
    fn a_share_becomes_a_count_rounded_up_and_at_least_one() {
        let mut policy = playbook();
        policy.stages = vec![policy.stages[0]; 3];
        for (stage, share_bp) in policy.stages.iter_mut().zip([9_000, 5_000, 1]) {
            (stage.min_executed, stage.min_executed_bp) = (0, Some(share_bp));
        }
        policy.watch_s = None;
        let counts = resolved(&policy, &stages());
        // 90 % of 101 are 90.9, half of 299 are 149.5, 0.01 % of 600 are 0.06.
        assert_eq!(counts.stages.iter().map(|stage| stage.min_executed).collect::<Vec<_>>(), [91, 150, 1]);
        assert!(counts.stages.iter().all(|stage| stage.min_executed_bp.is_none()));
        assert_eq!(counts.watch_s, Some(86_400));
        assert_eq!(resolved(&counts, &stages()), counts, "it is what is stored");
    }

    #[test]
    fn a_gates_share_refers_to_what_it_judges_first() {
        let mut policy = playbook();
        let of = |scope| Gate { scope, min_executed: 0, min_executed_bp: Some(9_000), ..policy.gates[0].clone() };
        let gates = [Scope::Cumulative, Scope::Stage, Scope::Model].map(of);
        policy.gates = gates.to_vec();
        let counts = resolved(&policy, &stages());
        // 90 % of 101 devices; of 101, the smallest stage; of 76, the larger model in the first stage: 68.4.
        assert_eq!(counts.gates.iter().map(|gate| gate.min_executed).collect::<Vec<_>>(), [91, 91, 69]);
    }

    /// Of 1,000 targets 2.5 % are 25 at a time, 0.11 % are 1.1 a minute; of a site with 41 targets 5 % are 2.05, of one with 2 are 0.1.
    #[test]
    fn pace_and_the_limit_of_sites_can_be_shares() {
        let mut policy = playbook();
        policy.stages = vec![policy.stages[0]; 3];
        (policy.in_flight_max_bp, policy.starts_per_min_bp) = (Some(250), Some(11));
        policy.site_unavailable_max_bp = Some(500);
        assert_eq!(policy.validate_for_fleet(&[101, 299, 600], 60), Vec::<String>::new());
        let counts = resolved(&policy, &stages());
        assert_eq!((counts.in_flight_max, counts.starts_per_min), (25, 2));
        assert_eq!((counts.in_flight_max_bp, counts.starts_per_min_bp), (None, None));
        assert_eq!([41, 2, 0].map(|targets| counts.site_max(targets)), [Some(3), Some(1), Some(1)]);
        assert_eq!(resolved(&counts, &stages()), counts, "it is what is stored");
        let counted = Policy { site_unavailable_max: Some(4), site_unavailable_max_bp: None, ..policy };
        assert_eq!([41, 2].map(|targets| counted.site_max(targets)), [Some(4), Some(4)]);
        assert_eq!(playbook().site_max(41), None);
    }

    #[test]
    fn no_share_of_no_devices_is_one_device() {
        assert_eq!([count_of(WHOLE_BP, 0), count_of(WHOLE_BP, u32::MAX)], [1, u32::MAX]);
    }
}
