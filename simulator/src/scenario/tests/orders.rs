//! Rollouts that the server would refuse, and metrics that depend on the machine's speed.

use super::{VALID, changed, plan, refusals};
use crate::scenario::{Overrides, Timing, refused_rollouts};

/// A rollout whose first stage waits for 60 devices; the fleet has 100.
const ROLLOUT: &str = "
[[firmware]]
version = \"2\"
counter = 2

[[policy]]
name = \"half\"
stages = [{ share_bp = 5000, min_executed = MIN, bake_s = 0 }, { share_bp = 10000, min_executed = 1, bake_s = 0 }]
gates = [{ threshold_bp = 500, min_executed = 1, test = { kind = \"raw\" } }]

[[timeline]]
at = \"20s\"
do = \"start_rollout\"
firmware = \"2\"
policy = \"half\"
";

fn rollout(min_executed: u32) -> String {
    format!("{VALID}{}", ROLLOUT.replace("MIN", &min_executed.to_string()))
}

#[test]
fn a_rollout_that_the_server_would_refuse_is_reported_before_the_run() {
    assert!(plan(&rollout(40)).has_rollouts());
    let wrong = refusals(&rollout(60));
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].starts_with("38:1: the server would refuse this `start_rollout`: policy: stages[0]"), "{wrong:?}");
    let may_fail = format!("{}may_fail = true\n", rollout(60));
    assert!(plan(&may_fail).timeline.iter().any(|step| step.may_fail));
    let twice = format!("{}\n[[timeline]]\nat = \"25s\"\n{}", rollout(40), &ROLLOUT[ROLLOUT.find("do =").unwrap()..]);
    let wrong = refusals(&twice);
    assert!(wrong.len() == 1 && wrong[0].contains("was started before"), "{wrong:?}");
}

#[test]
fn a_smaller_fleet_is_checked_again() {
    let few = Overrides { devices: Some(20), ..Overrides::default() };
    let plan = plan(&rollout(40)).with_overrides(few).unwrap();
    let refused = refused_rollouts(&plan);
    assert!(refused.len() == 1 && refused[0].why.contains("stages[0]"), "{refused:?}");
}

#[test]
fn only_orders_may_fail() {
    let order = changed("do = \"phase\"\nname = \"storm\"", "do = \"revoke\"\ndevices = 1\nmay_fail = true");
    assert!(plan(&order).timeline[0].may_fail);
    assert!(!plan(VALID).timeline[0].may_fail);
    let phase = changed("name = \"storm\"", "name = \"storm\"\nmay_fail = true");
    assert!(refusals(&phase)[0].contains("unknown key `may_fail` in a `phase` step"));
}

#[test]
fn with_timing_ignored_no_expectation_is_a_time_or_a_rate() {
    let ignored = |metric: &str| {
        let text = changed("metric = \"errors\"", &format!("metric = \"{metric}\""));
        text.replace("ramp = \"5s\"", "ramp = \"5s\"\ntiming = \"ignored\"")
    };
    assert_eq!(plan(&ignored("errors")).timing, Timing::Ignored);
    assert_eq!(plan(VALID).timing, Timing::Measured);
    for metric in
        ["heartbeat.p99_ms", "heartbeat.max_ms", "heartbeat.per_min", "register.p99_ms", "rollout.detection_s"]
    {
        let wrong = refusals(&ignored(metric));
        assert!(wrong[0].contains("depends on how fast the machine is"), "{wrong:?}");
    }
}
