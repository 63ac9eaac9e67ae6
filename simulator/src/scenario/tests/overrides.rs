//! Overrides by the command line, and what no longer fits then.

use std::time::Duration;

use super::{VALID, changed, plan};
use crate::scenario::{Overrides, Plan};

const fn s(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn lasting(plan: &Plan, duration: Duration) -> Result<Plan, Vec<String>> {
    plan.with_overrides(Overrides { duration: Some(duration), ..Overrides::default() })
}

fn of_devices(plan: &Plan, devices: u32) -> Result<Plan, Vec<String>> {
    plan.with_overrides(Overrides { devices: Some(devices), ..Overrides::default() })
}

#[test]
fn without_overrides_a_plan_stays_as_it_is() {
    let plan = plan(VALID);
    assert_eq!(plan.with_overrides(Overrides::default()), Ok(plan.clone()));
}

#[test]
fn a_longer_run_keeps_its_ramp_and_attacks_last_to_the_new_end() {
    let longer = lasting(&plan(VALID), s(60)).expect("it fits");
    assert_eq!((longer.duration, longer.ramp), (s(60), s(5)));
    assert_eq!(longer.adversaries.first().map(|adversary| adversary.until), Some(s(60)));
}

#[test]
fn a_ramp_that_no_longer_fits_is_scaled() {
    let text = changed("at = \"10s\"", "at = \"1s\"").replace("ramp = \"5s\"", "ramp = \"15s\"");
    let shorter = lasting(&plan(&text), s(10)).expect("it fits");
    assert_eq!((shorter.duration, shorter.ramp), (s(10), s(5)));
}

#[test]
fn steps_and_attacks_after_a_shorter_end_are_reported() {
    let text = changed("count = 5", "count = 5\nfrom = \"8s\"").replace("max = 0", "max = 0\nevery = \"9s\"");
    let wrong = lasting(&plan(&text), s(6)).expect_err("nothing fits");
    assert_eq!(
        wrong,
        [
            "the `phase` at 10s is after the end of the run, which lasts 6s",
            "the `forger` from 8s would not start before the end of the run, which lasts 6s",
            "`errors <= 0, every 9s` would be measured over 6s: no full window fits",
        ]
    );
}

#[test]
fn a_phase_that_is_left_without_length_cannot_be_measured() {
    let text = changed("max = 0", "max = 0\nduring = \"storm\"");
    let wrong = lasting(&plan(&text), s(10)).expect_err("the phase starts at the end");
    assert_eq!(wrong, ["`errors <= 0 during storm` would be measured over 0s: no full window fits"]);
}

#[test]
fn values_out_of_range_are_reported() {
    let plan = plan(VALID);
    let all =
        Overrides { devices: Some(0), duration: Some(s(8 * 86_400)), seed: Some(u64::MAX), ..Overrides::default() };
    assert_eq!(
        plan.with_overrides(all).expect_err("all are wrong"),
        [
            "the seed is 18446744073709551615, expected 0 to 9223372036854775807",
            "the fleet has 0 devices, expected 1 to 1,000,000",
            "the duration is 8d, expected 1s to 7d in mode load",
        ]
    );
}

#[test]
fn a_smaller_fleet_must_have_the_devices_that_steps_name() {
    let step = "[[timeline]]\nat = \"1s\"\ndo = \"send_command\"\nkind = \"x\"\ndevices = 50\n";
    let revokes = "[[timeline]]\nat = \"2s\"\ndo = \"revoke\"\ndevices = 30\n".repeat(2);
    let text = format!("{VALID}{step}{revokes}");
    assert_eq!(
        of_devices(&plan(&text), 40).expect_err("two steps need more"),
        [
            "the `send_command` at 1s needs 50 devices, the fleet has 40",
            "the `revoke` at 2s needs 60 devices, the fleet has 40",
        ]
    );
    assert!(of_devices(&plan(&text), 60).is_ok());
}

#[test]
fn a_larger_fleet_must_not_offer_too_much() {
    let text = changed("devices = 100", "devices = 100\nheartbeat_interval = \"1s\"");
    assert_eq!(
        of_devices(&plan(&text), 200_001).expect_err("one too many"),
        ["200,001 devices, each every 1s, send 200,001 heartbeats a second, expected at most 200,000"]
    );
}

#[test]
fn socket_attacks_are_refused_in_a_rehearsal() {
    use crate::scenario::Mode;
    let flood = plan(&changed("kind = \"forger\"", "kind = \"slow_body\""));
    let rehearsed = flood.with_overrides(Overrides { mode: Some(Mode::Rehearse), ..Overrides::default() });
    let wrong = ["the adversary `slow_body` attacks sockets, and a rehearsal has none: use `ks-fleet run`".to_owned()];
    assert_eq!(rehearsed, Err(wrong.to_vec()));
    assert_eq!(flood.with_overrides(Overrides { mode: Some(Mode::Load), ..Overrides::default() }), Ok(flood.clone()));
}
