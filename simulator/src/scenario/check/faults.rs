//! Judges the steps by which nature acts: networks that fail, disks that fail, servers that stop.

use std::time::Duration;

use super::Known;
use super::timeline::check_site;
use super::value::{duration_in, integer_in, one_of, or_default, required};
use crate::scenario::limits;
use crate::scenario::plan::{Lost, Mode, Moment, Step};
use crate::scenario::problem::{Problem, Problems};
use crate::scenario::raw::RawAction;
use crate::scenario::reader::{At, Field};
use crate::scenario::source::Place;

/// A fault whose word is at `at`, in a step that stands at `place`; none if it is wrong, or no fault.
pub(super) fn check(
    action: RawAction,
    at: Place,
    place: Place,
    known: &Known<'_>,
    problems: &mut Problems,
) -> Option<Step> {
    let mut judge = Judge { at, place, is_rehearsal: known.mode == Some(Mode::Rehearse), problems };
    match action {
        RawAction::Outage { length, site, half_open } => {
            let length = judge.length(length, "an `outage` step");
            let scope = check_site(site, known.sites.as_deref(), judge.problems);
            let half_open = or_default(half_open, false, place);
            let (length, scope, half_open) = (length?, scope?, half_open?.value);
            Some(Step::Outage { length, scope, half_open })
        }
        RawAction::Loss { length, share_bp, of } => {
            let length = judge.length(length, "a `loss` step");
            let share_bp = judge.share_bp(share_bp, "a `loss` step");
            let of = judge.word(of, "of", &Lost::ALL.map(|lost| (lost.as_str(), lost)), Lost::Answers);
            Some(Step::Loss { length: length?, share_bp: share_bp?, of: of? })
        }
        RawAction::Delay { length, longest } => {
            let is_possible = judge.only_rehearsed();
            let length = judge.length(length, "a `delay` step");
            let longest = required(longest, "longest", ("a `delay` step", place), "longest = \"2s\"", judge.problems);
            let longest = duration_in("longest", longest, &limits::DELAY, judge.problems);
            let (length, longest) = (length?, longest?.value);
            is_possible.then_some(Step::Delay { length, longest })
        }
        RawAction::Duplicate { length, share_bp } => {
            let is_possible = judge.only_rehearsed();
            let length = judge.length(length, "a `duplicate` step");
            let share_bp = judge.share_bp(share_bp, "a `duplicate` step");
            let (length, share_bp) = (length?, share_bp?);
            is_possible.then_some(Step::Duplicate { length, share_bp })
        }
        RawAction::DiskFull { length } => {
            let is_possible = judge.only_rehearsed();
            let length = judge.length(length, "a `disk_full` step")?;
            is_possible.then_some(Step::Disk { length, errors_bp: None })
        }
        RawAction::DiskErrors { length, share_bp } => {
            let is_possible = judge.only_rehearsed();
            let length = judge.length(length, "a `disk_errors` step");
            let share_bp = judge.share_bp(share_bp, "a `disk_errors` step");
            let (length, share_bp) = (length?, share_bp?);
            is_possible.then_some(Step::Disk { length, errors_bp: Some(share_bp) })
        }
        RawAction::RestartServer { kill, down_for, moment } => {
            let kill = or_default(kill, false, place);
            let down_for = or_default(down_for, Duration::ZERO, place);
            let down_for = duration_in("for", down_for, &(Duration::ZERO..=*limits::OUTAGE.end()), judge.problems);
            let moment = judge.word(moment, "moment", &Moment::ALL.map(|when| (when.as_str(), when)), Moment::Now);
            let (kill, down_for, moment) = (kill?.value, down_for?.value, moment?);
            let is_possible = moment == Moment::Now || judge.only_rehearsed();
            is_possible.then_some(Step::RestartServer { kill, down_for, moment })
        }
        _ => None,
    }
}

/// What the faults' own checks share.
struct Judge<'a> {
    at: Place,
    place: Place,
    is_rehearsal: bool,
    problems: &'a mut Problems,
}

impl Judge<'_> {
    /// Load runs have a network, a disk and a process of the machine's, which obey nobody.
    fn only_rehearsed(&mut self) -> bool {
        if !self.is_rehearsal {
            let problem = Problem::new(self.at, "only a rehearsal has a network and a disk that do as they are told");
            self.problems.push(problem.expected("`mode = \"rehearse\"`, or no such step"));
        }
        self.is_rehearsal
    }

    fn length(&mut self, length: Field<Duration>, title: &str) -> Option<Duration> {
        let length = required(length, "for", (title, self.place), "for = \"10s\"", self.problems);
        duration_in("for", length, &limits::OUTAGE, self.problems).map(|length| length.value)
    }

    fn share_bp(&mut self, share_bp: Field<i64>, title: &str) -> Option<u16> {
        let share_bp = required(share_bp, "share_bp", (title, self.place), "share_bp = 500", self.problems);
        integer_in::<u16>("share_bp", share_bp, &limits::SHARE_BP, self.problems).map(|share| share.value)
    }

    fn word<T: Copy>(
        &mut self,
        given: Field<String>,
        key: &str,
        choices: &[(&'static str, T)],
        default: T,
    ) -> Option<T> {
        match given {
            Field::Absent => Some(default),
            Field::Wrong => None,
            Field::Given(At { at, value }) => one_of(key, Some(&At { at, value }), choices, self.problems),
        }
    }
}
