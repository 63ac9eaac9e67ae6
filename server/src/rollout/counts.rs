//! Shares of devices in a policy, as counts: fixed when the rollout is planned, from the devices that each stage adds.
//!
//! A share scales with the fleet, a count does not: one policy serves a school of 40 terminals and a company of 12,000. What is
//! stored is the count, so that an evaluation never depends on a rounding.

use super::{
    policy::{Gate, Policy, Scope, WHOLE_BP},
    power,
    stage::PlannedStage,
};

/// The policy with a count in place of each share, and what it left to the defaults.
pub(super) fn resolved(policy: &Policy, stages: &[PlannedStage]) -> Policy {
    let mut resolved = policy.clone();
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

/// A share of these devices, rounded up, and at least one.
fn count_of(share_bp: u16, devices: u32) -> u32 {
    let count = (u64::from(devices) * u64::from(share_bp)).div_ceil(u64::from(WHOLE_BP));
    u32::try_from(count).unwrap_or(u32::MAX).max(1)
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
    use crate::rollout::policy::tests::playbook;

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

    #[test]
    fn no_share_of_no_devices_is_one_device() {
        assert_eq!([count_of(WHOLE_BP, 0), count_of(WHOLE_BP, u32::MAX)], [1, u32::MAX]);
    }
}
