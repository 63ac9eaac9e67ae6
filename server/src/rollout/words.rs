//! A policy in sentences, for people who must say yes to it: what each stage waits for, what each gate does, at which pace.

use ks_protocol::text::counted;

use super::{
    gate::Test,
    policy::{Action, Approval, Gate, Policy, Scope, Stage, WHOLE_BP},
    update::UpdateState,
};

/// The policy in sentences: its stages, its gates, then its pace and timeouts. Stages and gates count from 1.
pub fn sentences(policy: &Policy) -> Vec<String> {
    let last = policy.stages.len();
    let stages = policy.stages.iter().enumerate().map(|(number, stage)| of_stage(number + 1, last, stage));
    let gates = policy.gates.iter().enumerate().map(|(number, gate)| of_gate(number + 1, gate));
    let rest = [of_pace(policy), of_timeouts(policy), of_watch(policy)];
    stages.chain(gates).chain(rest).chain(of_rollback(policy)).collect()
}

fn of_stage(number: usize, last: usize, stage: &Stage) -> String {
    let to = if stage.share_bp >= WHOLE_BP {
        "to all targets".to_owned()
    } else {
        format!("to {} of the targets", percent(stage.share_bp))
    };
    let bake = if stage.bake_s == 0 {
        "is not watched any longer".to_owned()
    } else {
        format!("is then watched for {}", span(stage.bake_s))
    };
    let next = match (stage.approval, number == last) {
        (Approval::Auto, false) => format!("stage {} follows by itself once every gate passes", number + 1),
        (Approval::Manual, false) => {
            format!("stage {} follows once every gate passes and a person has approved", number + 1)
        }
        (Approval::Auto, true) => "the rollout is complete once every gate passes".to_owned(),
        (Approval::Manual, true) => {
            "the rollout is complete once every gate passes and a person has approved".to_owned()
        }
    };
    format!(
        "Stage {number} offers the release {to}. It needs the outcome of {} at least, and {bake}; {next}.",
        counted(stage.min_executed, "device")
    )
}

fn of_gate(number: usize, gate: &Gate) -> String {
    let devices = judged(gate.scope);
    let does = match gate.action {
        Action::Pause => "pauses the rollout until a person resumes it",
        Action::Abort => "ends the rollout",
        Action::AbortAndRollBack => "ends the rollout and rolls its devices back",
    };
    let least = counted(gate.min_executed, "device");
    let threshold = percent(gate.threshold_bp);
    let when = match gate.test {
        Test::Raw => {
            let tolerated = tolerated(gate);
            let from_the_start = match tolerated {
                0 => "the first failure".to_owned(),
                _ => format!("failure number {}", tolerated + 1),
            };
            format!(
                "more than {threshold} of them failed. Below {least} that is so as soon as it is certain: with {from_the_start}. It passes from {least} on"
            )
        }
        Test::ClopperPearson { confidence_bp } => {
            let confidence = percent(confidence_bp);
            format!(
                "it is shown with {confidence} confidence that more than {threshold} fail. It passes once it is shown with the same confidence that fewer do, from {least} on"
            )
        }
        Test::Sprt { p0_bp, p1_bp, alpha_bp, beta_bp } => {
            let [p0, p1, alpha, beta] = [p0_bp, p1_bp, alpha_bp, beta_bp].map(percent);
            format!(
                "Wald's sequential test decides that {p1} fail and not {p0} (chance to stop acceptable firmware {alpha}, to pass unacceptable firmware {beta}). It passes once the test decides for {p0}, from {least} on"
            )
        }
    };
    format!("Gate {number} judges {devices}: it {does} as soon as {when}.{}", counted_failures(gate))
}

/// Which devices a gate of this scope judges.
pub fn judged(scope: Scope) -> &'static str {
    match scope {
        Scope::Cumulative => "all devices that have an outcome",
        Scope::Stage => "the devices that the current stage added",
        Scope::Model => "the devices of each model on their own",
        Scope::Site => "the devices of each site on their own",
        Scope::Stratum => "the devices of each model at each site on their own",
    }
}

/// Failures that a raw gate tolerates from the first device on.
fn tolerated(gate: &Gate) -> u64 {
    u64::from(gate.threshold_bp) * u64::from(gate.min_executed) / u64::from(WHOLE_BP)
}

/// Which outcomes count as failures; empty if all but CONFIRMED do.
fn counted_failures(gate: &Gate) -> String {
    let failures = UpdateState::ALL.into_iter().filter(|state| state.is_failure());
    let is_counted = |state: &UpdateState| state.outcome().is_some_and(|outcome| gate.outcomes.contains(&outcome));
    let (counted, rest): (Vec<UpdateState>, Vec<UpdateState>) = failures.partition(is_counted);
    if rest.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = counted.into_iter().map(UpdateState::as_str).collect();
    format!(" It counts as failures only {}.", names.join(", "))
}

fn of_pace(policy: &Policy) -> String {
    let most = match (policy.site_unavailable_max, policy.site_unavailable_max_bp) {
        (Some(most), _) => Some(format!("{} of one site", counted(most, "device"))),
        (None, Some(share_bp)) => {
            Some(format!("{} of the targets at each site, and one in any case,", percent(share_bp)))
        }
        (None, None) => None,
    };
    let at_a_site = most.map_or_else(String::new, |most| format!("; at most {most} are updating or lost at a time"));
    let of = |count: u32, share_bp: Option<u16>, one: &str, many: &str| match share_bp {
        Some(share_bp) => format!("{} of the targets {many}", percent(share_bp)),
        None => counted_verb(count, one, many),
    };
    format!(
        "At most {} at a time, and at most {} a minute{at_a_site}.",
        of(policy.in_flight_max, policy.in_flight_max_bp, "is updating", "are updating"),
        of(policy.starts_per_min, policy.starts_per_min_bp, "starts", "start")
    )
}

/// `1 device is updating`, `2 devices are updating`.
fn counted_verb(count: u32, one: &str, many: &str) -> String {
    format!("{} {}", counted(count, "device"), if count == 1 { one } else { many })
}

fn of_timeouts(policy: &Policy) -> String {
    let [confirm, progress, lost, wait] =
        [policy.confirm_window_s, policy.progress_timeout_s, policy.lost_after_s, policy.max_wait_s].map(span);
    format!(
        "A device is CONFIRMED once its heartbeats have shown the new firmware for {confirm}, TIMED_OUT after {progress} without progress, and LOST after {lost} of silence once it has begun to install. A stage that is undecided after {wait} pauses the rollout."
    )
}

fn of_watch(policy: &Policy) -> String {
    let watch_s = policy.watch_s();
    if watch_s == 0 {
        return "Once the rollout is complete, its devices are no longer watched: one that is silent by then is never counted as lost."
            .to_owned();
    }
    let rolls_back = policy.gates.iter().filter(|gate| gate.action == Action::AbortAndRollBack).count();
    let then = match (rolls_back, policy.gates.len()) {
        (0, _) => "a gate that fails then alerts people and stops nothing",
        (some, all) if some == all => "a gate that fails then rolls them back",
        _ => "a gate that fails then rolls them back if it does so before, and otherwise alerts people",
    };
    let watched =
        format!("Once the rollout is complete, its devices are watched for another {}: {then}.", span(watch_s));
    if watch_s > policy.lost_after_s {
        return watched;
    }
    let lost_after = span(policy.lost_after_s);
    format!("{watched} That finds no device that falls silent: it is lost only after {lost_after}.")
}

fn of_rollback(policy: &Policy) -> Option<String> {
    let release_id = policy.roll_back_to.as_ref()?;
    Some(format!("A rollback installs release {release_id}."))
}

/// Basis points as per cent: `5 %`, `0.50 %`.
fn percent(bp: u16) -> String {
    let (whole, hundredths) = (bp / 100, bp % 100);
    if hundredths == 0 { format!("{whole} %") } else { format!("{whole}.{hundredths:02} %") }
}

/// `24 h`, `1 h 30 min`, `15 min`, `45 s`; whole days from three days on.
fn span(seconds: u64) -> String {
    const DAY: u64 = 86_400;
    if seconds >= 3 * DAY && seconds.is_multiple_of(DAY) {
        return format!("{} days", seconds / DAY);
    }
    let parts = [(seconds / 3_600, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let words: Vec<String> =
        parts.into_iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count} {unit}")).collect();
    if words.is_empty() { "0 s".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{gate::judge, outcome::Outcome, policy::tests::playbook};

    #[test]
    fn the_playbook_reads_as_a_person_would_say_it() {
        assert_eq!(
            sentences(&playbook()),
            [
                "Stage 1 offers the release to 5 % of the targets. It needs the outcome of 50 devices at least, and is then watched for 24 h; stage 2 follows by itself once every gate passes.",
                "Stage 2 offers the release to all targets. It needs the outcome of 100 devices at least, and is then watched for 1 h; the rollout is complete once every gate passes.",
                "Gate 1 judges all devices that have an outcome: it ends the rollout as soon as more than 0.50 % of them failed. Below 50 devices that is so as soon as it is certain: with the first failure. It passes from 50 devices on.",
                "At most 500 devices are updating at a time, and at most 200 devices start a minute.",
                "A device is CONFIRMED once its heartbeats have shown the new firmware for 15 min, TIMED_OUT after 1 h without progress, and LOST after 1 h of silence once it has begun to install. A stage that is undecided after 14 days pauses the rollout.",
                "Once the rollout is complete, its devices are no longer watched: one that is silent by then is never counted as lost.",
            ]
        );
    }

    #[test]
    fn every_other_choice_of_a_policy_is_said() {
        let mut policy = playbook();
        policy.stages[0].approval = Approval::Manual;
        policy.stages[0].bake_s = 0;
        let shares = Policy {
            in_flight_max_bp: Some(150),
            starts_per_min_bp: Some(100),
            site_unavailable_max_bp: Some(1_000),
            ..policy.clone()
        };
        let said = "At most 1.50 % of the targets are updating at a time, and at most 1 % of the targets start a minute; at most 10 % of the targets at each site, and one in any case, are updating or lost at a time.";
        assert!(sentences(&shares).iter().any(|sentence| sentence == said), "{:?}", sentences(&shares));
        (policy.site_unavailable_max, policy.in_flight_max) = (Some(3), 1);
        (policy.watch_s, policy.roll_back_to) = (None, Some("fw-old".parse().unwrap()));
        let watched = sentences(&policy).join("\n");
        assert!(watched.contains("watched for another 24 h: a gate that fails then alerts people and stops nothing."));
        let gate = policy.gates[0].clone();
        let proof = Test::ClopperPearson { confidence_bp: 9_500 };
        let wald = Test::Sprt { p0_bp: 50, p1_bp: 200, alpha_bp: 500, beta_bp: 450 };
        policy.gates.push(Gate { test: proof, scope: Scope::Model, action: Action::Pause, ..gate.clone() });
        let lost = vec![Outcome::Lost, Outcome::Failed];
        policy.gates.push(Gate {
            test: wald,
            scope: Scope::Site,
            action: Action::AbortAndRollBack,
            outcomes: lost,
            ..gate
        });
        let said = sentences(&policy).join("\n");
        assert!(said.contains("watched for another 24 h: a gate that fails then rolls them back if it does so before, and otherwise alerts people."));
        policy.gates.drain(..2);
        policy.watch_s = Some(1_800);
        let rolled_back = sentences(&policy).join("\n");
        assert!(
            rolled_back.contains("its devices are watched for another 30 min: a gate that fails then rolls them back."),
            "{rolled_back}"
        );
        for part in [
            "is not watched any longer; stage 2 follows once every gate passes and a person has approved.",
            "Gate 2 judges the devices of each model on their own: it pauses the rollout until a person resumes it as soon as it is shown with 95 % confidence that more than 0.50 % fail.",
            "Gate 3 judges the devices of each site on their own: it ends the rollout and rolls its devices back as soon as Wald's sequential test decides that 2 % fail and not 0.50 % (chance to stop acceptable firmware 5 %, to pass unacceptable firmware 4.50 %).",
            "It counts as failures only FAILED, LOST.",
            "At most 1 device is updating at a time, and at most 200 devices start a minute; at most 3 devices of one site are updating or lost at a time.",
            "A rollback installs release fw-old.",
        ] {
            assert!(said.contains(part), "{part}\n{said}");
        }
    }

    /// The number of the failure that a sentence names is that at which the gate itself fails, and not the one before.
    #[test]
    fn the_failure_that_a_raw_gate_does_not_tolerate_is_the_one_that_stops_it() {
        for (threshold_bp, min_executed) in [(50, 50), (50, 200), (50, 199), (300, 70), (0, 10), (9_999, 3)] {
            let gate = Gate { threshold_bp, min_executed, ..playbook().gates[0].clone() };
            let fails = |failed: u64| {
                let failed = u32::try_from(failed).unwrap();
                let judged = judge(gate.test, threshold_bp, min_executed, failed, failed.max(1)).unwrap();
                judged.verdict == crate::rollout::gate::Verdict::Fail
            };
            let named = tolerated(&gate) + 1;
            assert!(fails(named) && !fails(named - 1), "{threshold_bp} bp, {min_executed} devices: {named}");
        }
    }

    #[test]
    fn spans_are_short_and_whole() {
        let said = [0, 45, 900, 5_400, 86_400, 172_800, 259_200, 1_209_600].map(span);
        assert_eq!(said, ["0 s", "45 s", "15 min", "1 h 30 min", "24 h", "48 h", "3 days", "14 days"]);
    }
}
