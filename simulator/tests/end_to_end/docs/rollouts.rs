//! As the parent module: docs/rollouts.md, whose commands need a fleet of 3,000 devices, before a rollout and during one.

use std::path::Path;

use super::{Shell, check_in};
use crate::support::{fleet_in, rehearse, stderr_of, summary_in, write_scenario};
use ks_fleet::{scenario, scenario_settings::ScenarioSettings, seed};
use ks_protocol::key::PrivateKey;
use ks_server::rollout::plan::RolloutRequest;

const PAGE: &str = include_str!("../../../../docs/rollouts.md");

/// When the page's commands are run: when the rehearsed rollout has come to where it is shown.
const CLOCK: &str = "2026-11-29 15:50:00";

/// 2,000 devices of one model and 1,000 of another at four sites, registered by the end of the ramp.
const FLEET: &str = r#"
name = "fleet"
goal = "The fleet of the page."
mode = "rehearse"
seed = 1
starts_at = 2026-11-29T14:00:00Z
ramp = "10m"
[fleet]
devices = 3000
heartbeat_interval = "5m"
id_prefix = "KS"
group = [
    { model = "KS-100", site = "lille", count = 500 },
    { model = "KS-100", site = "lyon", count = 500 },
    { model = "KS-100", site = "nice", count = 500 },
    { model = "KS-100", site = "paris", count = 500 },
    { model = "KS-200", site = "lille", count = 250 },
    { model = "KS-200", site = "lyon", count = 250 },
    { model = "KS-200", site = "nice", count = 250 },
    { model = "KS-200", site = "paris", count = 250 },
]
[[expect]]
metric = "ledger.lost"
equals = 0
"#;

/// Some devices are unplugged, and on some the release can't be installed.
const ROLLOUT: &str = r#"
[[fleet.churn]]
kind = "unplugged"
per_day_bp = 300
lasts = "2h"
[[firmware]]
version = "1.4.0"
counter = 14
size_kib = 293
install_fails_bp = 60
[[timeline]]
at = "30m"
do = "start_rollout"
rollout = "spring"
firmware = "1.4.0"
policy = "careful"
"#;

/// The policy of the page: its first block of TOML.
fn policy() -> &'static str {
    PAGE.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap()
}

/// The database of a rehearsal that ends after so long.
fn rehearsed(folder: &Path, name: &str, (more, duration): (&str, &str), signatures: &str) {
    let text = FLEET.replacen("ramp", &format!("duration = \"{duration}\"\nramp"), 1) + more;
    write_scenario(folder, name, &text);
    let flags = ["--signatures", signatures, "--quiet", "--events", "none", "--keep-database", "--out", name];
    let ran = fleet_in(folder, &[&["rehearse", &format!("{name}.toml")][..], &flags].concat());
    assert!(ran.status.success(), "{}{}", String::from_utf8_lossy(&ran.stdout), stderr_of(&ran));
    std::fs::rename(folder.join(name).join("ks.sqlite"), folder.join(format!("{name}.sqlite"))).unwrap();
}

#[test]
fn what_the_page_about_rollouts_shows_is_what_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    // Its keys are real, and that of the server is derived from the seed.
    rehearsed(folder.path(), "ks", ("", "15m"), "real");
    let key = PrivateKey::from_seed(&seed::bytes(1, "server", "key")).to_pem().unwrap();
    std::fs::write(folder.path().join("development-server-key.pem"), key).unwrap();
    let rollout = format!("{ROLLOUT}[[policy]]\nname = \"careful\"\n{}", policy());
    rehearsed(folder.path(), "in-stage-1", (&rollout, "110m"), "modelled");
    std::fs::write(folder.path().join("ks.img"), vec![0; 300_000]).unwrap();
    let shell = Shell {
        settings: &[("in-stage-1", "HEARTBEAT_INTERVAL_MS", "300000")],
        ..Shell::new(folder.path(), Some(CLOCK))
    };
    assert_eq!(check_in("docs/rollouts.md", shell), 9);
}

/// How a rollout of 300 devices is held up, in the order of the page's table: the heartbeat interval in seconds, and a line of the policy.
const WAYS: [(u64, &str); 4] =
    [(300, ""), (300, "site_unavailable_max = 3"), (300, "starts_per_min = 1"), (60, "site_unavailable_max = 3")];

/// A tenth of the page's fleet gets a good release under the page's stages, with an hour of bake time each.
fn baked_for_three_hours((interval_s, limit): (u64, &str)) -> String {
    let devices = FLEET.replace("devices = 3000", "devices = 300").replace("count = 500", "count = 50");
    let devices = devices.replace("count = 250", "count = 25").replace("5m", &format!("{interval_s}s"));
    let ms = interval_s * 1_000;
    format!(
        r#"{}
[server]
HEARTBEAT_INTERVAL_MS = {ms}
[[firmware]]
version = "1.4.0"
counter = 14
[[policy]]
name = "p"
{limit}
watch_s = 0
stages = [
    {{ share_bp = 1500, min_executed = 40, bake_s = 3600 }},
    {{ share_bp = 4000, min_executed = 65, bake_s = 3600 }},
    {{ share_bp = 10000, min_executed = 150, bake_s = 3600 }},
]
gates = [{{ threshold_bp = 300, min_executed = 40, test = {{ kind = "raw" }} }}]
[[timeline]]
at = "30m"
do = "start_rollout"
rollout = "spring"
firmware = "1.4.0"
policy = "p"
"#,
        devices.replacen("ramp", "duration = \"24h\"\nramp", 1)
    )
}

/// Goal: rehearsals take the time that the page says, beside the plan's. Method: the same rollouts, planned and rehearsed.
#[test]
fn rehearsed_plans_take_as_long_as_the_page_says() {
    let (_, table) = PAGE.split_once("| rehearsed with |").unwrap();
    let rows: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    let folder = tempfile::tempdir().unwrap();
    let mut measured = Vec::new();
    for (number, way) in WAYS.into_iter().enumerate() {
        let (name, text) = (format!("way-{number}"), baked_for_three_hours(way));
        let plan = scenario::check("way.toml", text.as_bytes(), &ScenarioSettings).unwrap();
        let request = RolloutRequest { rollout_id: "spring".parse().unwrap(), policy: plan.policies["p"].clone() };
        let devices = ks_fleet::fleet::devices(&plan).unwrap();
        let at = plan.timeline[0].at;
        let planned = scenario::planned_rollout(&plan, &devices, &plan.firmware[0], &request, at).unwrap().unwrap().0;
        write_scenario(folder.path(), &name, &text);
        let ran = rehearse(folder.path(), &format!("{name}.toml"), &name, &["--events", "none"]);
        assert!(ran.status.success(), "{}{}", String::from_utf8_lossy(&ran.stdout), stderr_of(&ran));
        let rollout = &summary_in(&folder.path().join(&name))["rollout"];
        let took_s = rollout["completed_at_s"].as_f64().unwrap() - rollout["started_at_s"].as_f64().unwrap();
        measured.push(format!("{:.1} %", took_s / planned.expected_s as f64 * 100.0));
    }
    let shown: Vec<&str> = rows.iter().map(|row| row.trim_matches('|').rsplit('|').next().unwrap().trim()).collect();
    assert_eq!(shown, measured);
}
