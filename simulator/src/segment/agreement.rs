//! Which segments belong together: all of one run, each once, made by the same version of the same scenario against the same target.

use std::{path::Path, time::Duration};

use ks_protocol::duration;

use super::{
    Segment,
    file::{Header, PlanInShort, TargetSeen},
};
use crate::{failure::Failure, number::counted};

/// Segments that start further apart did not offer the load that the scenario says.
pub const START_SPREAD_MAX: Duration = Duration::from_secs(1);
/// Most missing segments that are named.
const NAMED_MAX: usize = 8;

/// A segment that is to be merged.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    pub folder: &'a Path,
    pub segment: Segment,
    pub header: &'a Header,
}

impl Candidate<'_> {
    fn words(&self) -> String {
        format!("{} (segment {} of {})", self.folder.display(), self.segment.number(), self.segment.of())
    }
}

/// Checks that these are all segments of one run.
///
/// # Errors
/// One is missing, there twice, or of another run; the sentence names it.
pub fn check(candidates: &[Candidate<'_>]) -> Result<(), Failure> {
    let Some((first, others)) = candidates.split_first() else {
        return Err(refused("no segment was named", "name the folder of each segment"));
    };
    for other in others {
        if let Some((difference, help)) = difference(first, other) {
            let why = format!("{} does not belong to {}: {difference}", other.words(), first.words());
            return Err(refused(&why, help));
        }
    }
    let of = first.segment.of();
    for number in 1..=of {
        let mut found = candidates.iter().filter(|candidate| candidate.segment.number() == number);
        if let (Some(one), Some(other)) = (found.next(), found.next()) {
            let (one, other) = (one.folder.display(), other.folder.display());
            let why = format!("segment {number} of {of} is there twice: in {one} and in {other}");
            return Err(refused(&why, "name each segment's folder once"));
        }
    }
    let is_missing = |number: &u32| !candidates.iter().any(|candidate| candidate.segment.number() == *number);
    let missing: Vec<String> = (1..=of).filter(is_missing).map(|number| number.to_string()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let shown = missing.get(..missing.len().min(NAMED_MAX)).unwrap_or_default().join(", ");
    let more = if missing.len() > NAMED_MAX { " and more" } else { "" };
    let noun = if missing.len() == 1 { "segment" } else { "segments" };
    let verb = if missing.len() == 1 { "is" } else { "are" };
    let why =
        format!("{noun} {shown}{more} of {of} {verb} missing: {} given", counted(candidates.len() as u64, "folder"));
    Err(refused(
        &why,
        "name the folder of every segment; one that never ran can't be made up for, so run all of them again, together",
    ))
}

fn refused(why: &str, help: &str) -> Failure {
    Failure::Segments { why: why.to_owned(), help: help.to_owned() }
}

/// The first thing in which two segments differ that must be equal, and what to do.
fn difference(one: &Candidate<'_>, other: &Candidate<'_>) -> Option<(String, &'static str)> {
    const VERSION: &str = "run all segments with the same version of this program";
    const SCENARIO: &str = "run all segments with the same scenario and the same flags, but for --segment and --out";
    const TARGET: &str = "run all segments against the same server, and change none of its settings meanwhile";
    const TOGETHER: &str = "name the folders of segments that ran together: with the same --start-at";
    let differs = |what: &str, there: String, here: String, help| {
        (there != here).then(|| (format!("its {what} is {here}, and there it is {there}"), help))
    };
    let (a, b) = (one.header, other.header);
    let none = || "none".to_owned();
    let start = |header: &Header| header.start_at.map_or_else(none, |at| at.to_string());
    let counts = || {
        let [there, here] = [one.segment.of(), other.segment.of()].map(|of| of.to_string());
        differs("number of segments", there, here, SCENARIO)
    };
    differs("version", a.version.clone(), b.version.clone(), VERSION)
        .or_else(|| of_plans(&a.plan, &b.plan).map(|what| (what, SCENARIO)))
        .or_else(counts)
        .or_else(|| of_targets(&a.target, &b.target).map(|what| (what, TARGET)))
        .or_else(|| differs("--start-at", start(a), start(b), TOGETHER))
        .or_else(|| {
            let apart = Duration::from_millis(start_by_target_ms(a).abs_diff(start_by_target_ms(b)));
            let is_apart = apart >= a.plan.duration;
            is_apart.then(|| (format!("it ran {} apart from it", duration::format(whole_seconds(apart))), TOGETHER))
        })
}

/// The first value that differs between two plans.
fn of_plans(a: &PlanInShort, b: &PlanInShort) -> Option<String> {
    let values = |plan: &PlanInShort| {
        [
            ("scenario", plan.name.clone()),
            ("seed", plan.seed.to_string()),
            ("number of devices", plan.devices.to_string()),
            ("duration", duration::format(plan.duration)),
            ("id prefix", plan.id_prefix.clone()),
            ("share of verified signatures", format!("{} %", plan.verify_percent)),
        ]
    };
    let mut pairs = values(a).into_iter().zip(values(b));
    let named = pairs.find(|((_, there), (_, here))| there != here);
    let named = named.map(|((what, there), (_, here))| format!("its {what} is {here}, and there it is {there}"));
    named.or_else(|| (a.sha256 != b.sha256).then(|| "its scenario has another text, with other values".to_owned()))
}

/// The first thing in which two servers differ.
fn of_targets(a: &TargetSeen, b: &TargetSeen) -> Option<String> {
    if a.keys_sha256 != b.keys_sha256 {
        return Some(format!("{} is another server than {}: its public keys differ", b.url, a.url));
    }
    let names = a.limits.keys().chain(b.limits.keys());
    let changed = names.into_iter().find(|name| a.limits.get(*name) != b.limits.get(*name));
    changed.map(|name| format!("the target's limit `{name}` had another value before it began"))
}

/// The start of a segment by the target's clock, in milliseconds since 1970.
pub fn start_by_target_ms(header: &Header) -> i64 {
    i64::try_from(header.started_at.0).unwrap_or(i64::MAX).saturating_sub(header.clock.ahead_ms)
}

/// How far apart segments started, by the target's clock.
pub fn start_spread<'a>(headers: impl Iterator<Item = &'a Header>) -> Duration {
    let starts: Vec<i64> = headers.map(start_by_target_ms).collect();
    let [first, last] = [starts.iter().min(), starts.iter().max()].map(|start| start.copied().unwrap_or_default());
    Duration::from_millis(last.abs_diff(first))
}

fn whole_seconds(length: Duration) -> Duration {
    Duration::from_secs(length.as_secs())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use ks_protocol::time::UnixMs;
    use ks_reports::run_folder::ClockOffset;

    use super::*;
    use crate::segment::file::{SeenLimit, sample::header};

    /// The sentence and the remedy for segments with these headers, in folders `0`, `1` and so on.
    fn refusal(headers: &[Header]) -> Option<(String, String)> {
        let folders: Vec<PathBuf> = (0..headers.len()).map(|place| PathBuf::from(place.to_string())).collect();
        let candidates: Vec<Candidate<'_>> = headers
            .iter()
            .zip(&folders)
            .map(|(header, folder)| Candidate {
                folder,
                segment: Segment::new(header.number, header.of).unwrap(),
                header,
            })
            .collect();
        check(&candidates).err().map(|failure| (failure.to_string(), failure.help()))
    }

    #[test]
    fn all_segments_of_one_run_belong_together_in_any_order() {
        assert_eq!(refusal(&[header(2, 3), header(1, 3), header(3, 3)]), None);
        assert_eq!(refusal(&[header(1, 1)]), None);
        let mut elsewhere = header(2, 2);
        elsewhere.target.url = "http://10.0.0.5:3000".to_owned();
        assert_eq!(refusal(&[header(1, 2), elsewhere]), None, "another name of the same server");
    }

    #[test]
    fn a_missing_or_repeated_segment_is_named() {
        let (why, help) = refusal(&[header(1, 4), header(3, 4)]).unwrap();
        assert_eq!(why, "segments 2, 4 of 4 are missing: 2 folders given");
        assert!(help.contains("name the folder of every segment"), "{help}");
        assert_eq!(refusal(&[header(1, 2)]).unwrap().0, "segment 2 of 2 is missing: 1 folder given");
        let (why, help) = refusal(&[header(1, 2), header(2, 2), header(2, 2)]).unwrap();
        assert_eq!(
            (why.as_str(), help.as_str()),
            ("segment 2 of 2 is there twice: in 1 and in 2", "name each segment's folder once")
        );
        assert!(refusal(&[header(1, 200)]).unwrap().0.contains("segments 2, 3, 4, 5, 6, 7, 8, 9 and more of 200"));
        assert!(refusal(&[]).unwrap().0.contains("no segment was named"));
    }

    #[test]
    fn a_segment_of_another_run_is_named_with_what_differs() {
        let differs = |change: &dyn Fn(&mut Header)| {
            let mut other = header(2, 2);
            change(&mut other);
            refusal(&[header(1, 2), other]).unwrap().0
        };
        let begin = "1 (segment 2 of 2) does not belong to 0 (segment 1 of 2): ";
        let why = differs(&|other| other.plan.seed = 7);
        assert_eq!(why, format!("{begin}its seed is 7, and there it is 42"));
        let why = differs(&|other| other.plan.name = "t".to_owned());
        assert_eq!(why, format!("{begin}its scenario is t, and there it is s"));
        assert!(differs(&|other| other.version = "0.2.0".to_owned()).contains("its version is 0.2.0"));
        assert!(differs(&|other| other.plan.duration *= 2).contains("its duration is 1m, and there it is 30s"));
        assert!(differs(&|other| other.plan.sha256 = "ff".to_owned()).contains("with other values"));
        assert!(
            differs(&|other| other.target.keys_sha256 = "ff".to_owned()).contains("is another server than http://a")
        );
        assert!(
            differs(&|other| other.start_at = Some(UnixMs(0))).contains("its --start-at is 1970-01-01T00:00:00.000Z")
        );
        let limit = SeenLimit { per_min: Some(1), per_day: None, burst: None, mode: "enforce".to_owned() };
        let limit = |other: &mut Header| drop(other.target.limits.insert("device_requests".to_owned(), limit.clone()));
        assert!(differs(&limit).contains("the target's limit `device_requests` had another value"));
        let why = differs(&|other| other.started_at = UnixMs(1_800_000_300_000));
        assert_eq!(why, format!("{begin}it ran 5m apart from it"));
        let (why, _) = refusal(&[header(1, 2), header(2, 3)]).unwrap();
        assert!(why.contains("its number of segments is 3, and there it is 2"), "{why}");
    }

    /// By hand: one began at 1 s by a clock that is 1 s fast, the other at 0.2 s by one that is right.
    #[test]
    fn starts_are_compared_by_the_targets_clock() {
        let at = |started_at, ahead_ms| {
            let clock = ClockOffset { ahead_ms, within_ms: 1 };
            Header { started_at: UnixMs(started_at), clock, ..header(1, 2) }
        };
        assert_eq!(start_spread([at(1_000, 1_000), at(200, 0)].iter()), Duration::from_millis(200));
    }
}
