//! Background failures of hand-made heartbeats, counted by hand.

use ks_protocol::id::Sequence;

use super::*;
use crate::{
    service::rollouts::background::tables::{FileNames, tables},
    store::heartbeats::HeartbeatRecord,
};

const START: UnixMs = UnixMs(1_800_000_000_000);
const LIMITS: Limits = Limits { interval: Duration::from_mins(10), lost_after: Duration::from_hours(4) };

fn minute(minute: u64) -> UnixMs {
    START + Duration::from_mins(minute)
}

fn device(row: i64, model: &str, site: &str) -> LastSeenRecord {
    LastSeenRecord {
        row,
        device_id: format!("KS-{row}").parse().unwrap(),
        model: model.to_owned(),
        site: site.to_owned(),
        status: DeviceStatus::Registered,
        registered_at: Some(START),
        last_seen_at: None,
        firmware_version: String::new(),
    }
}

fn beat(device: i64, minute_of: u64, boot_epoch: u32) -> HeartbeatRecord {
    HeartbeatRecord {
        row: 0,
        device_id: format!("KS-{device}").parse().unwrap(),
        sequence: Sequence::new(boot_epoch, 1),
        uptime_s: 0,
        received_at: minute(minute_of),
        release_counter: 1,
    }
}

/// A beat each ten minutes for two days, except in these spans of minutes; the boot epoch is the one given with the last span before.
fn beats(device: i64, silent: &[(u64, u64, u32)]) -> Vec<HeartbeatRecord> {
    let is_heard = |at: &u64| !silent.iter().any(|(from, to, _)| (*from..*to).contains(at));
    let boot = |at: u64| silent.iter().rev().find(|(_, to, _)| *to <= at).map_or(1, |(_, _, boot)| *boot);
    (0..=2 * 24 * 6).map(|beat| beat * 10).filter(is_heard).map(|at| beat(device, at, boot(at))).collect()
}

fn observed(
    devices: &[LastSeenRecord],
    gaps: &[ObservationGap],
    each: &[Vec<HeartbeatRecord>],
) -> Result<Background, NotMeasured> {
    let mut beats = each.concat();
    beats.sort_by_key(|beat| beat.received_at);
    let mut observation = Observation::of(devices, gaps, LIMITS, None);
    for beat in &beats {
        observation.hear(beat);
    }
    observation.end()
}

/// Devices at sites of their own, so that no site is offline.
fn alone(count: i64) -> Vec<LastSeenRecord> {
    (0..count).map(|row| device(row, "A", &format!("site {row}"))).collect()
}

#[test]
fn a_silence_is_what_it_ended_with() {
    // Of two days: 5 h without power (heard at 590 and 890), 60 min without a link, 30 min that are no silence yet.
    let each = vec![beats(0, &[(600, 890, 2)]), beats(1, &[(600, 650, 1)]), beats(2, &[(600, 620, 1)])];
    let of = observed(&alone(3), &[], &each).unwrap().models["A"];
    let seen = |silences: Silences| (silences.ended, (silences.mean_s() / 60.0).round());
    assert_eq!((seen(of.unplugged.long), seen(of.link_down.short)), ((1, 300.0), (1, 60.0)));
    assert_eq!((seen(of.unplugged.short), seen(of.link_down.long)), ((0, 0.0), (0, 0.0)));
    assert_eq!((of.devices, of.observed_s), (3, (3 * 48 - 6) * 3_600));
    assert!((of.unplugged.long.estimated - 48.0 / 43.0).abs() < 1e-9, "43 of 48 hours show the end of one of 5 hours");
}

#[test]
fn time_in_which_no_server_listened_is_no_silence() {
    let down = [ObservationGap { from: minute(600), to: minute(890) }];
    let of = observed(&alone(1), &down, &[beats(0, &[(600, 890, 2)])]).unwrap().models["A"];
    assert_eq!(of.unplugged, ByLength::default());
    assert_eq!(of.observed_s, 48 * 3_600 - 290 * 60);
    let half = [ObservationGap { from: minute(600), to: minute(700) }];
    let of = observed(&alone(1), &half, &[beats(0, &[(600, 890, 2)])]).unwrap().models["A"];
    assert_eq!((of.unplugged.short.ended, of.unplugged.short.mean_s().round()), (1, 12_000.0), "200 minutes remain");
}

#[test]
fn outages_of_sites_updates_and_lasting_silences_are_left_out() {
    let devices: Vec<_> = (0..6).map(|row| device(row, "A", if row < 4 { "north" } else { "south" })).collect();
    let outage = (1_000, 1_200, 1);
    let mut each = vec![
        beats(0, &[outage]),
        beats(1, &[outage]),
        beats(2, &[outage, (2_000, 2_100, 2)]),
        beats(3, &[]),
        beats(4, &[(600, 700, 2)]),
        beats(5, &[(2_600, 9_000, 1)]),
    ];
    for updated in each[4].iter_mut().filter(|beat| beat.received_at >= minute(700)) {
        updated.release_counter = 2;
    }
    let background = observed(&devices, &[], &each).unwrap();
    let LeftOut { outages, in_outages, updates, lasting, .. } = background.left_out;
    assert_eq!((outages, in_outages, updates, lasting), (1, 3, 1, 1));
    assert_eq!((background.models["A"].unplugged.short.ended, background.models["A"].link_down.short.ended), (1, 0));
}

#[test]
fn what_was_before_the_clock_was_set_back_does_not_count() {
    let observation_of = |beats: Vec<HeartbeatRecord>| {
        let devices = alone(1);
        let mut observation = Observation::of(&devices, &[], LIMITS, None);
        for beat in &beats {
            observation.hear(beat);
        }
        observation.end()
    };
    // Ten days ahead for a while.
    let mut wrong: Vec<_> = beats(0, &[]).into_iter().take(20).collect();
    wrong.push(beat(0, 15_000, 1));
    let right = beats(0, &[(1_000, 1_100, 1)]).into_iter().skip(20);
    wrong.extend(right);
    let background = observation_of(wrong).unwrap();
    let of = background.models["A"].link_down;
    assert_eq!((background.from, of.long.ended, of.short.ended), (minute(200), 0, 1));
}

#[test]
fn too_little_is_not_measured() {
    let day: Vec<_> = beats(0, &[]).into_iter().take(6 * 24).collect();
    assert_eq!(observed(&alone(1), &[], &[day]), Err(NotMeasured::TooShort));
    assert_eq!(observed(&[], &[], &[]), Err(NotMeasured::TooShort));
    let hourly = |device| beats(device, &[]).into_iter().step_by(6).collect();
    assert_eq!(observed(&alone(2), &[], &[hourly(0), hourly(1)]), Err(NotMeasured::TooRare { every_s: 3_600 }));
}

#[test]
fn devices_lost_for_a_week_to_a_month_are_removed() {
    let day = |day: u64| START + Duration::from_hours(24 * day);
    let seen = |row, at| LastSeenRecord { last_seen_at: Some(at), ..device(row, "A", "north") };
    let new = LastSeenRecord { registered_at: Some(day(35)), ..seen(5, day(40)) };
    // Heard now, lost for 10, 39 and 10 days, silent for 6, new.
    let devices = [seen(0, day(40)), seen(1, day(30)), seen(2, day(1)), seen(3, day(30)), seen(4, day(34)), new];
    let mut background = Background {
        from: day(38),
        to: day(40),
        looks: None,
        models: BTreeMap::new(),
        closed: BTreeMap::new(),
        left_out: LeftOut::default(),
    };
    removals(&mut background, &devices, &[3], &[], LIMITS.interval);
    let of = background.models["A"];
    assert_eq!((of.removed, background.left_out.lost_in_rollouts), (1, 1));
    // From day 10 to day 33 for two, to day 30 for two; the new one was not there.
    assert_eq!(of.removal_s, (23 + 23 + 20 + 20) * 86_400);
}

fn names(names: &[(&str, &str, u32)]) -> FileNames {
    FileNames {
        shares: names.iter().map(|(_, name, share)| ((*name).to_owned(), *share)).collect(),
        of: names.iter().map(|(own, name, _)| ((*own).to_owned(), (*name).to_owned())).collect(),
        pooled: 0,
    }
}

fn of_model(days: u64, short_outages: u32) -> OfModel {
    let silences = Silences {
        ended: short_outages,
        estimated: short_outages.into(),
        length_s: f64::from(short_outages) * 4_240.0,
    };
    let unplugged = ByLength { short: silences, ..ByLength::default() };
    OfModel { devices: 100, observed_s: days * 86_400, unplugged, removal_s: days * 86_400, ..OfModel::default() }
}

fn written(models: &[(&str, OfModel)], closed: &[(&str, &[Hours])]) -> String {
    let models_named = names(&[("A/1", "A-1", 300), ("B", "B", 100)]);
    let sites_named = names(&[("north", "north", 300), ("süd", "s-d", 100)]);
    let background = Background {
        from: START,
        to: minute(20_000),
        looks: None,
        models: models.iter().map(|(name, of)| ((*name).to_owned(), *of)).collect(),
        closed: closed.iter().map(|(site, hours)| ((*site).to_owned(), hours.to_vec())).collect(),
        left_out: LeftOut { lasting: 7, ..LeftOut::default() },
    };
    tables(&Ok(background), LIMITS, &models_named, &sites_named).0
}

fn tables_in(text: &str) -> Vec<String> {
    let tables = text.split("[[fleet.churn]]\n").skip(1);
    tables.map(|table| table.lines().take_while(|line| line.contains(" = ")).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn models_have_tables_of_their_own_only_if_they_differ() {
    // 20 of 10,000 a day both; then 100 against 20, but too few to tell; then enough.
    let same =
        written(&[("A/1", of_model(30_000, 60)), ("B", of_model(10_000, 21)), ("C", of_model(10_000, 900))], &[]);
    // 4,240 s are 3,600, and an interval and a boot.
    assert_eq!(tables_in(&same), [r#"kind = "unplugged" per_day_bp = 20 lasts = "3600s""#], "{same}");
    let few = written(&[("A/1", of_model(3_000, 6)), ("B", of_model(1_000, 10))], &[]);
    assert_eq!(tables_in(&few).len(), 1, "{few}");
    let differ = written(&[("A/1", of_model(30_000, 60)), ("B", of_model(10_000, 100))], &[]);
    let expected = [
        r#"kind = "unplugged" per_day_bp = 20 lasts = "3600s" only_model = "A-1""#,
        r#"kind = "unplugged" per_day_bp = 100 lasts = "3600s" only_model = "B""#,
    ];
    assert_eq!(tables_in(&differ), expected, "{differ}");
    let rare = written(&[("A/1", of_model(300_000, 2))], &[]);
    assert!(tables_in(&rare).is_empty() && rare.contains("too rare"), "{rare}");
    assert!(rare.contains("Silences left out: 7 that last"), "{rare}");
}

#[test]
fn no_short_silence_becomes_a_failure_and_no_long_one_ceases_to_be() {
    let mut of = of_model(1_000, 0);
    let silences = |mean_s: f64| Silences { ended: 10, estimated: 10.0, length_s: 10.0 * mean_s };
    // 3 h 50 min on average, up to 4 h; and 5 h, more than 4.
    of.unplugged = ByLength { short: silences(13_800.0), long: silences(18_000.0) };
    let text = written(&[("B", of)], &[]);
    let lasts = tables_in(&text);
    // (4 h - 10 min - 40 s) / 1.5 and twice 4 h: at most 4 h with the boot and an interval, and at least 4 h.
    let [short, long] =
        [9_173, 28_800].map(|lasts| format!(r#"kind = "unplugged" per_day_bp = 100 lasts = "{lasts}s""#));
    assert_eq!(lasts, [short, long]);
}

#[test]
fn sites_close_by_their_names_in_the_file_or_all_together() {
    let (night, noon) = (Hours { from: 22, until: 6 }, Hours { from: 12, until: 13 });
    let one = written(&[("B", of_model(10, 0))], &[("süd", &[night, noon]), ("elsewhere", &[night])]);
    let expected =
        ["22-06", "12-13"].map(|hours| format!(r#"kind = "site_closes" hours = "{hours}" only_site = "s-d""#));
    assert_eq!(tables_in(&one), expected);
    let all = written(&[("B", of_model(10, 0))], &[("süd", &[night]), ("north", &[night])]);
    assert_eq!(tables_in(&all), [r#"kind = "site_closes" hours = "22-06""#]);
}

/// Two days of 400 devices; each loses power once for 5 hours, at another time. Looks of 20 minutes every 100: the same silences, their
/// mean within 4 standard deviations. Of 10 heartbeats
/// from look to look 8 are not heard: 0 to 8 are missing at each end, with a standard deviation of 27 minutes.
#[test]
fn looks_show_the_same_silences_less_exactly() {
    let devices = alone(400);
    let looks = LIMITS.looks(5 * BEATS_MAX - 1).unwrap();
    assert_eq!(looks, LookSchedule { lasts: Duration::from_mins(20), every: Duration::from_mins(100) });
    let failed_at = |device: i64| 300 + u64::try_from(device).unwrap() * 37 % 1_900;
    let each = (0..400).map(|device| beats(device, &[(failed_at(device), failed_at(device) + 300, 2)]));
    let mut all: Vec<_> = each.flatten().collect();
    all.sort_by_key(|beat| beat.received_at);
    let of = |looks: Option<LookSchedule>| {
        let mut observation = Observation::of(&devices, &[], LIMITS, looks);
        let is_seen = |beat: &&HeartbeatRecord| {
            looks.is_none_or(|looks| beat.received_at.since_ms(START) % ms(looks.every) < ms(looks.lasts))
        };
        all.iter().filter(is_seen).for_each(|beat| observation.hear(beat));
        observation.end().unwrap().models["A"]
    };
    let (whole, seen) = (of(None).unplugged.long, of(Some(looks)).unplugged);
    assert_eq!((whole.ended, seen.long.ended + seen.short.ended), (400, 400));
    let mean_s = (seen.long.length_s + seen.short.length_s) / (seen.long.estimated + seen.short.estimated);
    assert!(
        (mean_s - whole.mean_s()).abs() < 4.0 * 27.0 * 2_f64.sqrt() * 60.0 / 20.0,
        "{mean_s} s, {} s",
        whole.mean_s()
    );
}

#[test]
fn a_fleet_is_looked_at_only_if_its_heartbeats_are_too_many() {
    let limits = Limits { interval: Duration::from_mins(1), lost_after: Duration::from_hours(1) };
    assert_eq!(limits.looks(BEATS_MAX), None);
    let every = |beats: i64| limits.looks(beats).map(|looks| looks.every.as_secs() / 60);
    assert_eq!([every(BEATS_MAX + 1), every(12 * BEATS_MAX), every(1_000 * BEATS_MAX)], [Some(6), Some(26), Some(30)]);
    assert_eq!(Limits { lost_after: Duration::from_mins(5), ..limits }.looks(2 * BEATS_MAX), None);
}
