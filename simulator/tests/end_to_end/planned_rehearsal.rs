//! Goal: the scenario that `ks-server rollout plan --rehearse` writes is accepted, and the rehearsal takes about as long as planned.
//! Its background failures are those of the fleet.
//! Method: the server's own plan of a fleet with unusual names; the checks of `ks-fleet`, then the real executable. For background
//! failures: a rehearsal with declared ones, whose database is measured.

use std::{collections::BTreeMap, path::Path, time::Duration};

use crate::support::{rehearse, summary_in, write_scenario};
use ks_fleet::{
    scenario::{self, ChurnTime, Hours},
    scenario_settings::ScenarioSettings,
};
use ks_protocol::{
    document,
    manifest::Manifest,
    text::{Rows, Sha256, Text},
    time::UnixMs,
};
use ks_server::{
    config::Locking,
    rollout::{
        plan::{self, Plan, RolloutRequest},
        policy::Policy,
        stage::PlannedStage,
    },
    service::rollouts::{
        background::{self, Background, ByLength, NotMeasured, OfModel, Silences},
        rehearsal::{self, Rehearsed},
    },
    store::{
        Damage, SqliteReader,
        releases::{ReleaseRecord, ReleaseState},
        rollouts::Candidate,
        writer,
    },
};

fn release(version: &str, release_counter: u64) -> ReleaseRecord {
    release_of(version, release_counter, &["KS 100/b".to_owned(), "KS-200".to_owned()])
}

fn release_of(version: &str, release_counter: u64, models: &[String]) -> ReleaseRecord {
    let release_id: ks_protocol::id::ReleaseId = format!("r-{release_counter}").parse().unwrap();
    let manifest = Manifest {
        kind: Default::default(),
        release_id: release_id.clone(),
        product: Text::truncated("ks-terminal"),
        models: Rows::truncated(models.iter().map(|model| Text::truncated(model)).collect()),
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
    planned_of(policy, 400, |row| {
        ["Lyon, Gare", "Lyon; Gare", "Zürich", "Zürich"][usize::try_from(row / 4 % 4).unwrap()].to_owned()
    })
}

fn planned_of(policy: &str, count: i64, site: impl Fn(i64) -> String) -> (RolloutRequest, Plan) {
    let model = |row: i64| if row % 4 == 0 { "KS-200" } else { "KS 100/b" }.to_owned();
    planned_with(policy, &release("2.1 beta", 7), (0..count).map(|row| candidate(row, model(row), site(row))).collect())
}

fn candidate(row: i64, model: String, site: String) -> Candidate {
    let device_id = format!("KS-{row}").parse().unwrap();
    Candidate {
        row,
        device_id,
        model,
        site,
        release_counter: 1,
        open_rollout: None,
        failures: 0,
        has_failed_this: false,
    }
}

fn planned_with(policy: &str, release: &ReleaseRecord, devices: Vec<Candidate>) -> (RolloutRequest, Plan) {
    let policy: Policy = toml::from_str(policy).unwrap();
    let request = RolloutRequest { rollout_id: "Spring.2".parse().unwrap(), policy };
    let (plan, _) = plan::plan(&request, release, devices, 60, Vec::new()).unwrap();
    (request, plan)
}

fn written(request: &RolloutRequest, plan: &Plan, background: &Result<Background, NotMeasured>) -> String {
    written_at(Duration::from_mins(1), request, plan, background)
}

fn written_at(
    heartbeat_interval: Duration,
    request: &RolloutRequest,
    plan: &Plan,
    background: &Result<Background, NotMeasured>,
) -> String {
    rehearsal::scenario(Rehearsed {
        rollout_id: &request.rollout_id,
        plan,
        policy: &request.policy,
        release: &release("2.1 beta", 7),
        back: request.policy.roll_back_to.as_ref().map(|_| release("2.2", 8)).as_ref(),
        heartbeat_interval,
        background,
    })
}

/// Long ones, ten times as often on one of the models as on the other, and hours of one site.
fn failures() -> Background {
    let of = |days: u64, count: u32, hours: f64| {
        let length_s = f64::from(count) * (hours * 3_600.0 + 60.0); // and an interval
        let long = Silences { ended: count, estimated: count.into(), length_s };
        OfModel {
            devices: 100,
            observed_s: days * 86_400,
            link_down: ByLength { long, ..ByLength::default() },
            removed: u32::try_from(days / 2_000).unwrap(),
            removal_s: days * 86_400,
            ..OfModel::default()
        }
    };
    let models = [("KS 100/b", of(30_000, 600, 6.0)), ("KS-200", of(10_000, 20, 5.0))];
    Background {
        from: UnixMs(0),
        to: UnixMs(86_400_000),
        looks: None,
        models: models.map(|(model, of)| (model.to_owned(), of)).into(),
        closed: BTreeMap::from([("Lyon; Gare".to_owned(), vec![background::Hours { from: 22, until: 6 }])]),
        left_out: Default::default(),
    }
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
    let text = written(&request, &plan, &Ok(failures()));
    let checked = scenario::check("planned.toml", text.as_bytes(), &ScenarioSettings);
    let scenario = checked.unwrap_or_else(|problems| panic!("{}\n{text}", problems[0].message));
    assert_eq!(scenario.fleet.devices, 400);
    assert_eq!(scenario.starts_at, MIDNIGHT + Duration::from_hours(6), "one site is closed until then");
    let shares = |shares: &[scenario::Share]| {
        shares.iter().map(|share| (share.name.clone(), u64::from(share.share))).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(
        shares(&scenario.fleet.models),
        BTreeMap::from([("KS-100-b".to_owned(), 300), ("KS-200".to_owned(), 100)])
    );
    let sites = [("Z-rich", 200), ("Lyon--Gare", 100), ("Lyon--Gare-2", 100)];
    assert_eq!(shares(&scenario.fleet.sites), sites.map(|(name, share)| (name.to_owned(), share)).into());
    let churn = |churn: &scenario::Churn| {
        let only = churn.only_model.as_deref().or(churn.only_site.as_deref()).unwrap_or("all");
        (churn.kind.as_str(), only.to_owned(), churn.loss_bp, churn.when)
    };
    let often = |share_bp, hours| ChurnTime::PerDay { share_bp, lasts: Duration::from_hours(hours) };
    let expected = [
        ("flaky_link", "KS-100-b".to_owned(), 10_000, often(200, 6)),
        ("flaky_link", "KS-200".to_owned(), 10_000, often(20, 5)),
        ("removed", "all".to_owned(), 0, often(5, 0)),
        ("site_closes", "Lyon--Gare-2".to_owned(), 0, ChurnTime::Daily(Hours::parse("22-06").unwrap())),
    ];
    assert_eq!(scenario.fleet.churn.iter().map(churn).collect::<Vec<_>>(), expected);
    assert!(!text.contains("metric = \"rollout.completed\""), "removed devices are waited for");
    assert_eq!(scenario.timeline.len(), 2, "the start, and the approval of the first stage");
    assert!(scenario.timeline[1].at >= scenario.timeline[0].at + Duration::from_secs(plan.stages[0].expected_s));
    let policy = &scenario.policies["planned"];
    assert_eq!((&policy.stages, policy.watch_s), (&request.policy.stages, Some(86_400)));
    let versions: Vec<_> =
        scenario.firmware.iter().map(|firmware| (firmware.version.as_str(), firmware.release_counter)).collect();
    assert_eq!(versions, [("2.1-beta", 7), ("2.2", 8)]);
    assert_eq!(policy.roll_back_to.as_ref().unwrap().as_str(), scenario.firmware[1].release_id());
}

/// When a rehearsal begins that does not say it.
const MIDNIGHT: UnixMs = UnixMs(1_767_225_600_000);

/// All devices are at a site that is closed at midnight: a rehearsal that began then would have no targets.
#[test]
fn a_written_scenario_begins_when_its_sites_are_open() {
    let (request, plan) = planned_of(POLICY, 100, |_| "kiosk".to_owned());
    let night = background::Hours { from: 21, until: 5 };
    let background = Background { closed: BTreeMap::from([("kiosk".to_owned(), vec![night])]), ..failures() };
    let text = written(&request, &plan, &Ok(background));
    let check = |text: &str| scenario::check("planned.toml", text.as_bytes(), &ScenarioSettings).unwrap();
    let checked = check(&text);
    assert_eq!(checked.starts_at, MIDNIGHT + Duration::from_hours(5), "{text}");
    assert!(text.contains("# From now on until the rollout starts, all sites are open."), "{text}");
    assert_eq!(scenario::refused_rollouts(&checked), []);
    let at_midnight = text.replace("starts_at = 2026-01-01T05:00:00Z", "");
    let refused = scenario::check("planned.toml", at_midnight.as_bytes(), &ScenarioSettings).unwrap_err();
    assert!(refused[0].message.contains("no device"), "devices that never had power are no targets: {refused:?}");
    let folder = tempfile::tempdir().unwrap();
    write_scenario(folder.path(), "planned", &text);
    let ran = rehearse(folder.path(), "planned.toml", "run", &["--events", "none"]);
    assert!(summary_in(&folder.path().join("run"))["rollout"]["targets"] == 100, "{}", crate::support::stderr_of(&ran));
}

/// The format has 1,000 sites at most.
#[test]
fn the_smallest_of_too_many_sites_are_one_and_the_file_says_so() {
    let (request, plan) = planned_of(POLICY, 2_004, |row| format!("site-{}", row % 1_002));
    let text = written(&request, &plan, &Err(NotMeasured::TooShort));
    let scenario = scenario::check("planned.toml", text.as_bytes(), &ScenarioSettings).unwrap();
    let sites = &scenario.fleet.sites;
    let others: Vec<u32> = sites.iter().filter(|site| site.name == "others").map(|site| site.share).collect();
    assert_eq!((sites.len(), others), (1_000, vec![6]));
    let said = "# The site \"others\" stands for the 3 smallest, since a scenario has 1000 at most";
    assert!(text.contains(said), "{text}");
}

/// Who a fleet has in a plan's strata: devices by model, site, and number of the stage.
fn by_stage(stages: &[PlannedStage]) -> Vec<BTreeMap<(String, String), u32>> {
    stages.iter().map(|stage| stage.by_stratum.clone()).collect()
}

/// Goal: gates by model, site and stratum judge the same groups in a rehearsal as in the fleet. Method: models that are each at one
/// site, but for a few; the server's plan of the devices that the scenario makes is that of the real ones, stage by stage. By hand: of
/// 400 devices 100 are KS-200, of which 98 are at `warehouse` and 2 at `shop`, where the other 300 are.
#[test]
fn each_stratum_of_a_rehearsal_has_as_many_devices_as_planned() {
    let (request, plan) =
        planned_of(POLICY, 400, |row| if row % 4 == 0 && row >= 8 { "warehouse" } else { "shop" }.to_owned());
    let text = written(&request, &plan, &Err(NotMeasured::TooShort));
    for seed in [1, 2] {
        let text = text.replacen("seed = 1", &format!("seed = {seed}"), 1);
        let scenario = scenario::check("planned.toml", text.as_bytes(), &ScenarioSettings).unwrap();
        let devices = ks_fleet::fleet::devices(&scenario).unwrap();
        let mut counts = BTreeMap::new();
        for device in &devices {
            let names =
                (scenario.fleet.models[device.model].name.clone(), scenario.fleet.sites[device.site].name.clone());
            *counts.entry(names).or_insert(0_u32) += 1;
        }
        let of = |model: &str, site: &str, count: u32| ((model.to_owned(), site.to_owned()), count);
        let by_hand =
            [of("KS-100-b", "shop", 300), of("KS-200", "shop", 2), of("KS-200", "warehouse", 98)].into_iter().collect();
        assert_eq!(counts, by_hand, "{text}");
        let firmware = scenario.firmware.iter().find(|of| of.version == "2.1-beta").unwrap();
        let start = scenario.timeline[0].at;
        let rehearsed = scenario::planned_rollout(&scenario, &devices, firmware, &request, start).unwrap().unwrap().0;
        let renamed = by_stage(&plan.stages).into_iter().map(|strata| {
            strata
                .into_iter()
                .map(|((model, site), count)| ((model.replace("KS 100/b", "KS-100-b"), site), count))
                .collect()
        });
        let totals = |stages: &[BTreeMap<(String, String), u32>]| {
            let mut totals: BTreeMap<(String, String), u32> = BTreeMap::new();
            for (stratum, count) in stages.iter().flatten() {
                *totals.entry(stratum.clone()).or_default() += count;
            }
            totals
        };
        let renamed: Vec<BTreeMap<(String, String), u32>> = renamed.collect();
        assert_eq!(totals(&by_stage(&rehearsed.stages)), totals(&renamed));
        // A stratum's offset follows from its name, which the file had to change for one model: a stage may differ by a device.
        for (rehearsed, planned) in by_stage(&rehearsed.stages).iter().zip(&renamed) {
            for (stratum, count) in planned {
                assert!(rehearsed.get(stratum).is_some_and(|own| own.abs_diff(*count) <= 1), "{stratum:?}: {count}");
                assert!(stratum.0 != "KS-200" || rehearsed[stratum] == *count, "{stratum:?}: {count}");
            }
        }
    }
}

/// 32 models at 320 sites: more groups than a scenario takes.
#[test]
fn too_many_groups_are_written_as_shares_and_the_file_says_so() {
    let models: Vec<String> = (0..32).map(|model| format!("KS-{model}")).collect();
    let device = |row: i64| candidate(row, format!("KS-{}", row % 32), format!("site-{}", row / 32));
    let release = release_of("2.1 beta", 7, &models);
    let (request, plan) = planned_with(POLICY, &release, (0..10_240).map(device).collect());
    let text = written(&request, &plan, &Err(NotMeasured::TooShort));
    let scenario = scenario::check("planned.toml", text.as_bytes(), &ScenarioSettings).unwrap();
    assert_eq!((scenario.fleet.models.len(), scenario.fleet.sites.len(), scenario.fleet.groups.len()), (32, 320, 0));
    assert!(text.contains("since the 10240 models at sites are more than a scenario takes"), "{text}");
}

#[test]
fn a_rehearsal_takes_about_as_long_as_its_plan_expects() {
    let (request, plan) =
        planned(&POLICY.replace("abort_and_roll_back", "abort").replace("roll_back_to = \"r-8\"", "watch_s = 0"));
    let folder = tempfile::tempdir().unwrap();
    write_scenario(folder.path(), "planned", &written(&request, &plan, &Err(NotMeasured::TooShort)));
    let ran = rehearse(folder.path(), "planned.toml", "run", &[]);
    assert!(ran.status.success(), "{}{}", String::from_utf8_lossy(&ran.stdout), crate::support::stderr_of(&ran));
    let rollout = &summary_in(&folder.path().join("run"))["rollout"];
    let took_s = rollout["completed_at_s"].as_f64().unwrap() - rollout["started_at_s"].as_f64().unwrap();
    let expected_s = f64::from(u32::try_from(plan.expected_s).unwrap());
    let at_best_s = f64::from(u32::try_from(plan.at_best_s).unwrap());
    assert!(took_s >= at_best_s, "{took_s} s, at best {at_best_s} s");
    assert!((took_s / expected_s - 1.0).abs() < 0.25, "{took_s} s, expected {expected_s} s (at best {at_best_s} s)");
}

/// Goal: the tables that docs/rollouts.md shows are what is written. Method: counts from which its numbers follow by hand: 59.696
/// silences (59 of them seen to end) of 15,392 s in 1,110 device-days of one model, none in 99,362 device-hours of the other.
#[test]
fn background_failures_are_written_as_the_page_shows_them() {
    let long = Silences { ended: 59, estimated: 59.696, length_s: 59.696 * 15_392.0 };
    let unplugged = ByLength { long, ..ByLength::default() };
    let seen = |devices, observed_s| OfModel { devices, observed_s, ..OfModel::default() };
    let models = [
        ("KS 100/b".to_owned(), seen(297, 99_362 * 3_600)),
        ("KS-200".to_owned(), OfModel { unplugged, ..seen(100, 1_110 * 86_400) }),
    ];
    let from = UnixMs(MIDNIGHT.0 + 86_394_000);
    let to = UnixMs(MIDNIGHT.0 + 15 * 86_400_000 - 3_000);
    let background = Background { from, to, models: models.into(), closed: BTreeMap::new(), ..failures() };
    let (request, plan) = planned(&format!("lost_after_s = 7200\n{POLICY}"));
    let text = written_at(Duration::from_mins(20), &request, &plan, &Ok(background));
    let page = include_str!("../../../docs/rollouts.md");
    let (_, shown) = page.split_once("```toml\n# Background failures").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let mut rest = text.split_once("# Background failures").unwrap().1;
    for part in shown.split("# ...\n") {
        let at = rest.find(part).unwrap_or_else(|| panic!("not written:\n{part}\nwritten:\n{text}"));
        rest = &rest[at + part.len()..];
    }
}

/// 100 devices for ten days; one small site is closed at night.
const DECLARED: &str = r#"
name = "declared"
goal = "Background failures are measured as they are."
mode = "rehearse"
duration = "10d"
ramp = "20m"
[fleet]
devices = 100
heartbeat_interval = "20m"
[[fleet.site]]
name = "office"
share = 9
[[fleet.site]]
name = "kiosk"
share = 1
[[fleet.churn]]
kind = "unplugged"
per_day_bp = 1600
lasts = "12h"
[[fleet.churn]]
kind = "flaky_link"
per_day_bp = 1200
lasts = "3h"
loss_bp = 10000
[[fleet.churn]]
kind = "removed"
per_day_bp = 400
[[fleet.churn]]
kind = "site_closes"
hours = "22-06"
only_site = "kiosk"
[[expect]]
metric = "ledger.lost"
equals = 0
"#;

/// What the database of a run has, measured by the server.
fn measured(database: &Path, limits: background::Limits, now: UnixMs) -> Background {
    let store = SqliteReader::open(database, Locking::Shared).unwrap();
    let (reader, queries) = writer::reader(8, &Damage::default());
    let work = async move { background::measure(&reader, limits, now, &mut |_, _| ()).await };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (measured, ()) = runtime.block_on(async { tokio::join!(work, writer::drive_reads(store, queries)) });
    measured.unwrap().unwrap()
}

/// Goal: rates and lengths are those that were declared, within 4 standard deviations: of a count, its square root; of a length that
/// is drawn evenly from half to one and a half times `lasts`, `lasts / sqrt(12)`, over the square root of the count.
#[test]
fn what_is_measured_is_what_was_declared() {
    let folder = tempfile::tempdir().unwrap();
    write_scenario(folder.path(), "declared", DECLARED);
    let ran = rehearse(folder.path(), "declared.toml", "run", &["--events", "none", "--keep-database"]);
    assert!(ran.status.success(), "{}", crate::support::stderr_of(&ran));
    let limits = background::Limits { interval: Duration::from_mins(20), lost_after: Duration::from_hours(5) };
    let end = UnixMs(1_767_225_600_000) + Duration::from_hours(10 * 24);
    let background = measured(&folder.path().join("run/ks.sqlite"), limits, end);
    let (_, of) = background.models.first_key_value().unwrap();
    let close = |what: &str, got: f64, declared: f64, deviation: f64| {
        assert!(
            (got - declared).abs() < 4.0 * deviation,
            "{what}: {got}, declared {declared} +- {deviation}\n{background:#?}"
        );
    };
    let days = of.observed_s as f64 / 86_400.0;
    // Until the next heartbeat it takes half an interval more, before the first missing one too; a boot takes 40 s.
    for (what, of, per_day, lasts_s, added_s) in [
        ("unplugged", of.unplugged.long, 0.16, 43_200.0, 1_240.0),
        ("flaky_link", of.link_down.short, 0.12, 10_800.0, 1_200.0),
    ] {
        let count = f64::from(of.ended);
        close(what, of.estimated, per_day * days, of.estimated / count.sqrt());
        close(what, of.mean_s() - added_s, lasts_s, lasts_s / 12_f64.sqrt() / count.sqrt());
    }
    let removal_days = of.removal_s as f64 / 86_400.0;
    close("removed", of.removed.into(), 0.04 * removal_days, (0.04 * removal_days).sqrt());
    assert_eq!((of.unplugged.short.ended, background.left_out.outages), (0, 0), "{background:#?}");
    let night = background::Hours { from: 22, until: 6 };
    assert_eq!(background.closed, BTreeMap::from([("kiosk".to_owned(), vec![night])]));
    assert!(background.left_out.at_closing > 40, "10 devices or so on most of ten nights: {background:#?}");
}
