//! Plans of valid files: defaults, every key, the order of steps, phases.

use ks_protocol::message::CommandOrder;
use std::time::Duration;

use super::{VALID, changed, plan};
use crate::scenario::{
    Addresses, Adversary, AdversaryKind, Bound, Connections, During, Expectation, Fleet, FleetAddresses,
    HeartbeatInterval, Metric, Mode, Otrt, Share,
};
use crate::{
    server_under_test::process::StopPoint,
    timeline::{Outage, OutageScope, Phase, Recipients, RestartServer, Revoke, SendCommand, Step},
};

const fn s(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn missing_keys_have_their_defaults() {
    let text = r#"
        name = "least"
        goal = "As little as possible."
        duration = "30s"
        fleet.devices = 10
        expect = [{ metric = "errors", max = 0 }]
    "#;
    let plan = plan(text);
    assert_eq!((plan.mode, plan.seed, plan.ramp, plan.drain), (Mode::Load, 1, s(0), s(11)));
    let share = |name: &str| vec![Share { name: name.to_owned(), share: 1 }];
    let fleet = Fleet {
        devices: 10,
        heartbeat_interval: HeartbeatInterval::Server,
        connections: Connections::PerDevice,
        id_prefix: "SIM".to_owned(),
        otrt: Otrt::None,
        answer_timeout: s(10),
        firmware_version: "1.0.0".to_owned(),
        uptime_at_start: Duration::ZERO,
        cohorts: Vec::new(),
        addresses: FleetAddresses::Own,
        churn: Vec::new(),
        models: share("KS-100"),
        sites: share("HQ"),
        groups: Vec::new(),
    };
    assert_eq!(plan.fleet, fleet);
    assert!(plan.server.is_empty() && plan.adversaries.is_empty() && plan.timeline.is_empty());
    let expectation = Expectation {
        metric: Metric::Errors,
        bound: Bound::Max(0.0),
        during: During::WholeRun,
        every: None,
        allow_empty: false,
        abort: false,
    };
    assert_eq!(plan.expectations, [expectation]);
    assert_eq!(plan.offered_per_min(), None);
}

#[test]
fn every_key_is_read() {
    let text = changed(
        "[fleet]\ndevices = 100",
        "drain = \"2s\"\nmode = \"load\"\nseed = 9223372036854775807\n[fleet]\ndevices = 100\nheartbeat_interval = \
         \"250ms\"\nconnections = 64\nid_prefix = \"K.1_-\"\notrt = true\nanswer_timeout = \"100ms\"\n\
         firmware_version = \"2.0.0-rc1\"\nmodel = [{ name = \"A\", share = 7 }, { name = \"B\", share = 3 }]",
    );
    let plan = plan(&text);
    assert_eq!((plan.seed, plan.drain), (i64::MAX.unsigned_abs(), s(2)));
    assert_eq!(plan.fleet.heartbeat_interval, HeartbeatInterval::Fixed(Duration::from_millis(250)));
    assert_eq!(plan.offered_per_min(), Some(24_000.0));
    assert_eq!(plan.fleet.connections, Connections::Shared(64));
    assert_eq!(plan.fleet.otrt, Otrt::Each);
    assert_eq!(plan.fleet.models.len(), 2);
    assert_eq!(plan.server.get("PORT").map(String::as_str), Some("3000"));
    let (kind, addresses) = (AdversaryKind::Forger, Addresses::Own);
    let forger = Adversary {
        kind,
        count: 5,
        addresses,
        victims: None,
        interval: s(1),
        at_once: 1,
        from: s(0),
        until: plan.duration,
    };
    assert_eq!(plan.adversaries, [forger]);
}

/// The valid scenario with other sites.
fn with_sites(sites: &str) -> String {
    changed("[[fleet.site]]\nname = \"north\"\nshare = 1", sites)
}

#[test]
fn a_series_is_the_plan_of_its_tables_written_out() {
    // 1, 1/2, 1/3 and 1/4 of 12/25 of a million.
    let zipf = [480_000, 240_000, 160_000, 120_000];
    for (sizes, shares) in [("", [1; 4]), (", sizes = \"equal\"", [1; 4]), (", sizes = \"zipf\"", zipf)] {
        for (series, table) in [("sites", "site"), ("models", "model")] {
            let written = (1..=4).zip(shares);
            let written = written.map(|(k, share)| format!("[[fleet.{table}]]\nname = \"x-{k}\"\nshare = {share}\n"));
            let written = plan(&with_sites(&written.collect::<String>()));
            let short = format!("{series} = {{ count = 4, prefix = \"x\"{sizes} }}");
            assert_eq!(plan(&with_sites(&short)), written, "{short}");
        }
    }
}

#[test]
fn a_zipf_series_is_within_one_of_the_exact_shares_and_adds_up() {
    for count in [1_u32, 3, 40, 1_000] {
        let sites = format!("sites = {{ count = {count}, prefix = \"store\", sizes = \"zipf\" }}");
        let sites = plan(&with_sites(&sites)).fleet.sites;
        let harmonic: f64 = (1..=count).map(|k| 1.0 / f64::from(k)).sum();
        assert_eq!(sites.iter().map(|site| site.share).sum::<u32>(), 1_000_000);
        for (k, site) in (1..=count).zip(&sites) {
            let exact = 1e6 / (f64::from(k) * harmonic);
            assert!((f64::from(site.share) - exact).abs() < 1.0, "{} of {count}: {exact}", site.share);
        }
        assert!(sites.is_sorted_by(|a, b| a.share >= b.share && a.name < b.name), "{count}");
        let last = sites.last().map(|site| site.name.clone());
        assert_eq!((sites.len(), last), (count as usize, Some(format!("store-{count}"))));
    }
}

#[test]
fn steps_are_sorted_and_steps_of_one_time_keep_their_order() {
    let text = changed(
        "at = \"10s\"\ndo = \"phase\"\nname = \"storm\"",
        r#"at = "20s"
do = "phase"
name = "second"
[[timeline]]
at = "10s"
do = "outage"
for = "1m"
site = "north"
[[timeline]]
at = "10s"
do = "send_command"
kind = "reboot"
[[timeline]]
at = "0s"
do = "revoke"
devices = 100
[[timeline]]
at = "30s"
do = "restart_server"
kill = true"#,
    );
    let steps: Vec<_> = plan(&text).timeline.into_iter().map(|step| (step.at, step.step)).collect();
    let site = OutageScope::Site("north".to_owned());
    let command = CommandOrder::Reboot;
    let expected = [
        (s(0), Step::Revoke(Revoke { devices: 100 })),
        (s(10), Step::Outage(Outage { length: s(60), scope: site, half_open: false })),
        (s(10), Step::SendCommand(SendCommand { command, recipients: Recipients::All })),
        (s(20), Step::Phase(Phase { name: "second".to_owned() })),
        (s(30), Step::RestartServer(RestartServer { kill: true, down_for: s(0), moment: StopPoint::Now })),
    ];
    assert_eq!(steps, expected);
}

#[test]
fn a_phase_lasts_until_the_next_or_the_end() {
    let more = format!("{VALID}\n[[timeline]]\nat = \"20s\"\ndo = \"phase\"\nname = \"after\"");
    let phases = plan(&more).phases();
    let phases: Vec<_> = phases.iter().map(|(name, start, end)| (name.as_str(), *start, *end)).collect();
    let expected = [("ramp", s(0), s(5)), ("steady", s(5), s(30)), ("storm", s(10), s(20)), ("after", s(20), s(30))];
    assert_eq!(phases, expected);
    let no_ramp = plan(&changed("ramp = \"5s\"\n", "")).phases();
    assert_eq!(no_ramp.first().map(|(name, start, end)| (name.as_str(), *start, *end)), Some(("steady", s(0), s(30))));
}

#[test]
fn an_expectation_reads_as_a_sentence_and_evaluates_numbers() {
    let text = changed("max = 0", "max = 50.5\nduring = \"storm\"\nevery = \"10s\"\nabort = true");
    let expectation = plan(&text).expectations.remove(0);
    assert_eq!(expectation.to_string(), "errors <= 50.5 during storm, every 10s");
    for (bound, actual, holds) in [
        (Bound::Max(1.0), 1.0, true),
        (Bound::Max(1.0), 1.5, false),
        (Bound::Min(1.0), 1.0, true),
        (Bound::Min(1.0), 0.5, false),
        (Bound::Equals(0.0), 0.0, true),
        (Bound::Equals(0.0), 1.0, false),
        (Bound::Max(1.0), f64::NAN, false),
        (Bound::Min(1.0), f64::NAN, false),
        (Bound::Equals(0.0), f64::NAN, false),
    ] {
        assert_eq!(bound.holds(actual), holds, "{bound} of {actual}");
    }
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_change_nothing() {
    let text = format!("\u{feff}{}", VALID.replace('\n', "\r\n"));
    assert_eq!(plan(&text), plan(VALID));
}

#[test]
fn a_date_is_accepted_with_and_without_quotes_and_milliseconds() {
    let starting = |line: &str| plan(&VALID.replacen("goal", &format!("{line}\ngoal"), 1)).starts_at.to_string();
    assert_eq!(plan(VALID).starts_at.to_string(), "2026-01-01T00:00:00.000Z");
    for line in [
        "starts_at = 2026-03-29T00:30:00Z",
        "starts_at = \"2026-03-29T00:30:00Z\"",
        "starts_at = 2026-03-29T00:30:00.000Z",
    ] {
        assert_eq!(starting(line), "2026-03-29T00:30:00.000Z", "{line}");
    }
    assert_eq!(starting("starts_at = 2000-01-01T00:00:00Z"), "2000-01-01T00:00:00.000Z");
    assert_eq!(starting("starts_at = 2099-12-31T23:59:59.999Z"), "2099-12-31T23:59:59.999Z");
}
