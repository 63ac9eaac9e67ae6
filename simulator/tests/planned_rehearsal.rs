//! Goal: the scenario that `ks-server rollout plan --rehearse` writes is accepted, and the rehearsal takes about as long as planned.
//! Method: the server's own plan of a fleet with unusual names; the checks of `ks-fleet`, then the real executable.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure here is a failed test"
)]

mod support;

use std::{collections::BTreeMap, time::Duration};

use ks_fleet::{scenario, scenario_settings::ScenarioSettings};
use ks_protocol::{
    document,
    manifest::Manifest,
    text::{Rows, Sha256, Text},
    time::UnixMs,
};
use ks_server::{
    rollout::{
        plan::{self, Plan, RolloutRequest},
        policy::Policy,
    },
    service::rollouts::rehearsal::{self, Rehearsed},
    store::{
        releases::{ReleaseRecord, ReleaseState},
        rollouts::Candidate,
    },
};
use support::{fleet_in, summary_in, write_scenario};

fn release(version: &str, release_counter: u64) -> ReleaseRecord {
    let release_id: ks_protocol::id::ReleaseId = format!("r-{release_counter}").parse().unwrap();
    let manifest = Manifest {
        kind: Default::default(),
        release_id: release_id.clone(),
        product: Text::truncated("ks-terminal"),
        models: Rows::truncated(vec![Text::truncated("KS 100/b"), Text::truncated("KS-200")]),
        version: Text::truncated(version),
        release_counter,
        sha256: Sha256([0; 32]),
        size_bytes: 50_000,
        min_counter: None,
        not_before: UnixMs(0),
        expires_at: UnixMs(1),
        key_id: "k1".parse().unwrap(),
    };
    ReleaseRecord {
        row: 1,
        release_id,
        product: "ks-terminal".to_owned(),
        version: version.to_owned(),
        release_counter,
        sha256: Sha256([0; 32]),
        manifest: document::encode(&manifest).unwrap(),
        state: ReleaseState::Active,
        created_at: UnixMs(0),
        changed_at: UnixMs(0),
        reason: String::new(),
    }
}

/// 400 devices: three quarters of one model, at sites of 200, 100 and 100.
fn planned(policy: &str) -> (RolloutRequest, Plan) {
    let device = |row: i64| Candidate {
        row,
        device_id: format!("KS-{row}").parse().unwrap(),
        model: if row % 4 == 0 { "KS-200" } else { "KS 100/b" }.to_owned(),
        site: ["Lyon, Gare", "Lyon; Gare", "Zürich", "Zürich"][usize::try_from(row / 4 % 4).unwrap()].to_owned(),
        release_counter: 1,
        open_rollout: None,
        failures: 0,
        has_failed_this: false,
    };
    let policy: Policy = toml::from_str(policy).unwrap();
    let request = RolloutRequest { rollout_id: "Spring.2".parse().unwrap(), policy };
    let devices = (0..400).map(device).collect();
    let (plan, _) = plan::plan(&request, &release("2.1 beta", 7), devices, 60, Vec::new()).unwrap();
    (request, plan)
}

fn written(request: &RolloutRequest, plan: &Plan) -> String {
    rehearsal::scenario(Rehearsed {
        rollout_id: &request.rollout_id,
        plan,
        policy: &request.policy,
        release: &release("2.1 beta", 7),
        back: request.policy.roll_back_to.as_ref().map(|_| release("2.2", 8)).as_ref(),
        heartbeat_interval: Duration::from_mins(1),
    })
}

/// Ten sites' worth of waiting: at most 5 devices of a site at a time; shares in place of counts.
const POLICY: &str = r#"
stages = [
    { share_bp = 2000, min_executed_bp = 8000, bake_s = 3600 },
    { share_bp = 10000, min_executed_bp = 8000, bake_s = 1800 },
]
gates = [{ threshold_bp = 500, min_executed_bp = 7000, test = { kind = "raw" }, action = "abort_and_roll_back" }]
site_unavailable_max = 5
roll_back_to = "r-8"
"#;

#[test]
fn a_written_scenario_is_accepted_and_says_what_was_planned() {
    let (request, plan) = planned(&POLICY.replacen("bake_s = 3600", "bake_s = 3600, approval = \"manual\"", 1));
    let text = written(&request, &plan);
    let checked = scenario::check("planned.toml", text.as_bytes(), &ScenarioSettings);
    let scenario = checked.unwrap_or_else(|problems| panic!("{}\n{text}", problems[0].message));
    assert_eq!(scenario.fleet.devices, 400);
    let shares = |shares: &[scenario::Share]| {
        shares.iter().map(|share| (share.name.clone(), u64::from(share.share))).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(
        shares(&scenario.fleet.models),
        BTreeMap::from([("KS-100-b".to_owned(), 300), ("KS-200".to_owned(), 100)])
    );
    let sites = [("Z-rich", 200), ("Lyon--Gare", 100), ("Lyon--Gare-2", 100)];
    assert_eq!(shares(&scenario.fleet.sites), sites.map(|(name, share)| (name.to_owned(), share)).into());
    assert_eq!(scenario.timeline.len(), 2, "the start, and the approval of the first stage");
    assert!(scenario.timeline[1].at >= scenario.timeline[0].at + Duration::from_secs(plan.stages[0].expected_s));
    let policy = &scenario.policies["planned"];
    assert_eq!((&policy.stages, policy.watch_s), (&request.policy.stages, Some(86_400)));
    let versions: Vec<_> =
        scenario.firmware.iter().map(|firmware| (firmware.version.as_str(), firmware.release_counter)).collect();
    assert_eq!(versions, [("2.1-beta", 7), ("2.2", 8)]);
    assert_eq!(policy.roll_back_to.as_ref().unwrap().as_str(), scenario.firmware[1].release_id());
}

#[test]
fn a_rehearsal_takes_about_as_long_as_its_plan_expects() {
    let (request, plan) =
        planned(&POLICY.replace("abort_and_roll_back", "abort").replace("roll_back_to = \"r-8\"", "watch_s = 0"));
    let folder = tempfile::tempdir().unwrap();
    write_scenario(folder.path(), "planned", &written(&request, &plan));
    let ran =
        fleet_in(folder.path(), &["rehearse", "planned.toml", "--signatures", "modelled", "--quiet", "--out", "run"]);
    assert!(ran.status.success(), "{}{}", String::from_utf8_lossy(&ran.stdout), support::stderr_of(&ran));
    let rollout = &summary_in(&folder.path().join("run"))["rollout"];
    let took_s = rollout["completed_at_s"].as_f64().unwrap() - rollout["started_at_s"].as_f64().unwrap();
    let expected_s = f64::from(u32::try_from(plan.expected_s).unwrap());
    let at_best_s = f64::from(u32::try_from(plan.at_best_s).unwrap());
    assert!(took_s >= at_best_s, "{took_s} s, at best {at_best_s} s");
    assert!((took_s / expected_s - 1.0).abs() < 0.25, "{took_s} s, expected {expected_s} s (at best {at_best_s} s)");
}
