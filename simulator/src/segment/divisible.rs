//! What of a scenario can't be divided among processes, with a sentence that names its line.
//!
//! Every segment plays what happens to its own devices: outages, punches, orders for devices that a step chooses. The first segment alone
//! has the adversaries and changes the server's limits. Refused is what one process can't do for the others: rollouts, which are judged
//! by what every device noted, and addresses that devices on several machines can't share.

use super::Segment;
use crate::{
    failure::Failure,
    number::counted,
    scenario::{Addresses, FleetAddresses, Otrt, Plan},
    timeline::Step,
};

/// The remedy for a scenario that can't be divided.
const HELP: &str = "run it without --segment, from one generator, or take that out of the scenario";

/// Refuses a plan that can't be divided. `text` is its scenario.
///
/// # Errors
/// It can't, with the line that says why.
pub fn check(plan: &Plan, text: &str, segment: Segment) -> Result<(), Failure> {
    if segment.of() > plan.fleet.devices {
        let (of, devices) = (segment.of(), plan.fleet.devices);
        return Err(Failure::Impossible {
            why: format!(
                "--segment is {segment}, and the fleet has {}: {of} segments need one each",
                counted(devices, "device")
            ),
            help: "give more --devices, or fewer segments",
        });
    }
    let Some((what, key, value)) = indivisible(plan) else { return Ok(()) };
    let line = line_of(text, key, value).map(|line| format!(", line {line}")).unwrap_or_default();
    Err(Failure::Impossible { why: format!("a fleet in segments can't have {what} ({key}{line})"), help: HELP })
}

/// The first thing that can't be divided: in words, and the key and the value that ask for it.
fn indivisible(plan: &Plan) -> Option<(String, &'static str, &'static str)> {
    let order = plan.timeline.iter().find_map(|timed| match &timed.step {
        step @ (Step::StartRollout(_) | Step::OrderRollout(_) | Step::RevokeRelease(_)) => {
            let what = format!("the step {timed}: rollouts are reviewed by what all devices noted");
            Some((what, "do", step.as_str()))
        }
        _ => None,
    });
    let address = (plan.fleet.addresses != FleetAddresses::Own).then(|| {
        let what = "devices that share an address: on several machines they have several".to_owned();
        (what, "addresses", plan.fleet.addresses.as_str())
    });
    let neighbors = plan.adversaries.iter().any(|part| part.addresses == Addresses::Fleet).then(|| {
        let what = "adversaries at the fleet's address: only the first segment's devices would share it".to_owned();
        (what, "addresses", "shared")
    });
    let token = (plan.fleet.otrt == Otrt::Shared).then(|| {
        let what = "one token for all devices: each segment makes tokens for its own".to_owned();
        (what, "otrt_shared", "true")
    });
    order.or(address).or(neighbors).or(token)
}

/// The first line that gives this value to this key.
fn line_of(text: &str, key: &str, value: &str) -> Option<usize> {
    let is_it = |line: &str| {
        let (before, after) = line.split_once(key)?;
        let is_key = !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_') && !before.contains('#');
        let given = after.trim_start().strip_prefix('=')?.trim_start().trim_start_matches(['"', '\'']);
        (is_key && given.starts_with(value)).then_some(())
    };
    text.lines().position(|line| is_it(line).is_some()).map(|line| line + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{scenario, scenario_settings::ScenarioSettings};

    fn refused(fleet: &str, more: &str, segment: &str) -> Option<String> {
        let text = format!(
            "name = \"t\"\ngoal = \"Segments.\"\nduration = \"9s\"\n[fleet]\ndevices = 9\n{fleet}\n{more}\n[[expect]]\nmetric = \"errors\"\nequals = 0\n"
        );
        let plan = scenario::check("t.toml", text.as_bytes(), &ScenarioSettings);
        let plan = plan.unwrap_or_else(|wrong| panic!("{}", scenario::render_all(&wrong, false)));
        check(&plan, &text, segment.parse().unwrap()).err().map(|failure| failure.to_string())
    }

    #[test]
    fn what_every_segment_does_for_its_own_devices_is_divisible() {
        let steps = "[[timeline]]\nat = \"2s\"\ndo = \"revoke\"\ndevices = 3\n[[timeline]]\nat = \"3s\"\ndo = \"outage\"\nfor = \"1s\"\n";
        let adversary = "[[adversary]]\nkind = \"forger\"\ncount = 2\n";
        assert_eq!(refused("otrt = true", &format!("{steps}{adversary}"), "9/9"), None);
    }

    #[test]
    fn what_can_not_be_divided_is_named_with_its_line() {
        let text = include_str!("../../../scenarios/canary-one-model.toml");
        let plan = scenario::check("t.toml", text.as_bytes(), &ScenarioSettings).unwrap();
        let why = check(&plan, text, "1/2".parse().unwrap()).unwrap_err().to_string();
        assert!(why.contains("the step `start_rollout` at") && why.contains("(do, line 62)"), "{why}");
        let shared = "[[adversary]]\nkind = \"forger\"\ncount = 1\naddresses = \"shared\"\n";
        let why = refused("", shared, "1/2").unwrap();
        assert!(why.contains("adversaries at the fleet's address") && why.contains("(addresses, line 10)"), "{why}");
        let why = refused("addresses = \"one\"", "", "1/2").unwrap();
        assert!(why.contains("devices that share an address") && why.contains("(addresses, line 6)"), "{why}");
        let why = refused("otrt_shared = true", "", "1/2").unwrap();
        assert!(why.contains("(otrt_shared, line 6)"), "{why}");
        let why = refused("", "", "10/10").unwrap();
        assert!(why.contains("--segment is 10/10, and the fleet has 9 devices"), "{why}");
    }
}
