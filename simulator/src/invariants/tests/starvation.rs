//! Starvation: what is not answered in time, and what is nobody's fault.

use std::{collections::BTreeSet, time::Duration};

use ks_protocol::id::DeviceId;

use super::{End, Invariant, SCENARIO, Witness, at_times, beat, command, exchange, pass, plan, stored};
use crate::{
    device::{exchange::MessageType, pending::PendingPeriod},
    scenario::{self, Plan},
    scenario_settings::ScenarioSettings,
};

#[test]
fn without_faults_every_device_is_answered_and_every_command_arrives() {
    at_times(async |witness| {
        let alive = BTreeSet::from(["A".parse().unwrap()]);
        pass(60).await;
        beat(&witness, "A", 1, "1", "");
        stored(&witness, "A", 1);
        let end = End { alive: alive.clone(), ..End::default() };
        end.breaks(&witness, Invariant::NoStarvation, "A: none of its requests was accepted in the last 15m");
        pass(50).await;
        beat(&witness, "A", 2, "1", "");
        stored(&witness, "A", 2);
        assert_eq!(end.judged(&witness), []);
        let end = End { alive, commands: vec![command("QUEUED")], ..End::default() };
        end.breaks(&witness, Invariant::NoStarvation, "A: its command c1 is still QUEUED");
    });
}

#[test]
fn a_revoked_device_is_owed_no_answer_even_if_it_does_not_know() {
    let revoke = |witness: &Witness| {
        exchange(witness, "/api/devices/revoke", br#"{"which":{"device_ids":["A"]}}"#, b"{}");
    };
    let waited = |since, until| {
        let (since, until) = (Duration::from_mins(since), Duration::from_mins(until));
        let wait = PendingPeriod { kind: MessageType::Heartbeat, since, until };
        let alive = BTreeSet::from(["A".parse().unwrap()]);
        End { alive, pending_periods: vec![("A".parse().unwrap(), wait)], ..End::default() }
    };
    at_times(async |witness| {
        pass(50).await;
        beat(&witness, "A", 1, "1", "");
        stored(&witness, "A", 1);
        waited(50, 110).breaks(&witness, Invariant::NoStarvation, "A: none of its requests was accepted");
        pass(10).await;
        revoke(&witness);
        assert_eq!(waited(50, 110).judged(&witness), [], "ten minutes in service, fifty after it was revoked");
        waited(40, 110).breaks(&witness, Invariant::NoStarvation, "heartbeat of A waited from 2400 s to 3600 s");
    });
}

/// Goal: a device is owed nothing while it has no power, and other devices are. Method: the fleet's only site closes for the last
/// hour; the device `A` is not of the fleet.
#[test]
fn a_device_with_a_background_failure_is_not_starved_by_the_server() {
    let closing = "[[fleet.churn]]\nkind = \"site_closes\"\nhours = \"01-02\"\n[[firmware]]";
    let text = SCENARIO.replace("[[firmware]]", closing);
    let plan = scenario::check("made-up", text.as_bytes(), &ScenarioSettings).unwrap();
    let end = |name: &str, since, until| {
        let (since, until) = (Duration::from_mins(since), Duration::from_mins(until));
        let (device_id, kind): (DeviceId, _) = (name.parse().unwrap(), MessageType::Heartbeat);
        let alive = BTreeSet::from([device_id.clone()]);
        let pending_periods = vec![(device_id, PendingPeriod { kind, since, until })];
        End { plan: plan.clone(), alive, pending_periods, ..End::default() }
    };
    at_times(async |witness| {
        pass(50).await;
        for name in ["A", "SIM-000001"] {
            beat(&witness, name, 1, "1", "");
            stored(&witness, name, 1);
        }
        assert_eq!(end("SIM-000001", 50, 110).judged(&witness), [], "ten minutes with power");
        end("SIM-000001", 40, 110).breaks(&witness, Invariant::NoStarvation, "waited from 2400 s to 3600 s");
        end("A", 50, 110).breaks(&witness, Invariant::NoStarvation, "A: none of its requests was accepted");
    });
}

#[test]
fn every_kind_of_message_is_accepted_without_faults() {
    use MessageType::{Attendance, CommandAck, FirmwareStatus, Heartbeat, Logs, Register, RotateKey};
    let minutes = Duration::from_mins;
    let waited = |kind, since, until, plan: &Plan| {
        let wait = PendingPeriod { kind, since: minutes(since), until: minutes(until) };
        End { pending_periods: vec![("A".parse().unwrap(), wait)], plan: plan.clone(), ..End::default() }
    };
    let with = |steps: &str| {
        let text = SCENARIO.replace("[[expect]]", &format!("{steps}\n[[expect]]"));
        scenario::check("made-up", text.as_bytes(), &ScenarioSettings).unwrap()
    };
    at_times(async |witness| {
        for kind in [Register, Heartbeat, CommandAck, Attendance, Logs, RotateKey, FirmwareStatus] {
            let end = waited(kind, 20, 36, &plan());
            let reported = format!(
                "1 device had pending messages and none was accepted for 15m without faults: {} of A waited from 1200 s to 2160 s",
                kind.as_str()
            );
            end.breaks(&witness, Invariant::NoStarvation, &reported);
            assert_eq!(waited(kind, 20, 34, &plan()).judged(&witness), [], "14 minutes are not starvation");
        }
        let offline = with("[[timeline]]\nat = \"30m\"\ndo = \"outage\"\nfor = \"10m\"");
        assert_eq!(waited(Attendance, 20, 55, &offline).judged(&witness), [], "ten minutes before it, fourteen after");
        waited(Attendance, 20, 56, &offline).breaks(&witness, Invariant::NoStarvation, "attendance of A");
        waited(Attendance, 10, 31, &offline).breaks(&witness, Invariant::NoStarvation, "to 1800 s");
        assert_eq!(waited(Attendance, 110, 130, &plan()).judged(&witness), [], "most of it was after the end");
    });
}
