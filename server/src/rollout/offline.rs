//! Sites that are offline: silence there does not count against the release, so people are shown what is not judged.
//!
//! Which sites are offline is decided where the store is read: [`crate::rules::rollouts`]. Each evaluation in which a site still is
//! marks it again; the time of its devices begins anew when that ends.

use std::time::Duration;

use ks_protocol::{text::counted, time::UnixMs};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    policy::Policy,
    step::{GAP_MS, State, Step},
    tally::{Cell, Tally},
};
use crate::clock::ms;

/// A site is offline for this long at the most; from then on, silence there counts.
pub const OFFLINE_MAX: Duration = Duration::from_hours(14 * 24);
/// Most sites that a sentence names.
const NAMED_MAX: usize = 5;

/// A site that is offline now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OfflineSite {
    pub site: String,
    /// Since when the whole site has been silent, as the engine saw it.
    pub since: UnixMs,
    /// When silence there counts again at the latest, if the site is not heard before.
    pub until_at_most: UnixMs,
    /// Devices of the rollout there that have the release, or have begun to install it.
    pub begun: u32,
    /// How many of these are silent: they may be broken, and no gate counts them.
    pub not_judged: u32,
}

impl State {
    /// From when on the silence of a device at this site counts.
    pub fn silence_counts_from(&self, site: &str) -> UnixMs {
        self.dark_until.get(site).map_or(self.observing_since, |until| self.observing_since.max(*until))
    }

    /// These sites are offline now.
    pub fn mark_offline(&mut self, sites: impl IntoIterator<Item = String>, at: UnixMs) {
        for site in sites {
            let goes_on = self.is_offline(&site, at);
            let since = self.dark_since.entry(site.clone()).or_insert(at);
            if !goes_on {
                *since = at;
            }
            self.dark_until.insert(site, at);
        }
    }

    /// Forgets sites that were offline, once their devices' time has certainly begun again.
    pub fn forget_offline(&mut self, before: UnixMs) {
        self.dark_until.retain(|_, until| *until > before);
        self.dark_since.retain(|site, _| self.dark_until.contains_key(site));
    }

    /// Whether a site is offline, or was until a moment ago.
    pub fn is_offline(&self, site: &str, at: UnixMs) -> bool {
        self.dark_until.get(site).is_some_and(|until| at.since_ms(*until) <= GAP_MS)
    }

    /// The sites that are offline now, with how many devices of the rollout are not judged there.
    pub fn offline_sites(&self, tally: &Tally, at: UnixMs) -> Vec<OfflineSite> {
        let sites = self.dark_until.iter().filter(|(site, _)| self.is_offline(site, at));
        let of = |(site, until): (&String, &UnixMs)| {
            let since = self.dark_since.get(site).copied().unwrap_or(*until);
            let count = |cells: &[Cell]| {
                let there = cells.iter().filter(|cell| cell.site == *site && cell.state.may_be_lost());
                there.map(|cell| cell.count).sum::<u32>()
            };
            OfflineSite {
                site: site.clone(),
                since,
                until_at_most: since + OFFLINE_MAX,
                begun: count(&tally.cells),
                not_judged: count(&tally.suspects),
            }
        };
        sites.map(of).collect()
    }

    /// The sites that are offline now, as the end of a sentence; nothing if none is.
    pub(super) fn offline_sites_in_words(&self, at: UnixMs) -> String {
        let offline = self.offline_sites(&Tally::default(), at);
        if offline.is_empty() {
            return String::new();
        }
        let named = offline.iter().take(NAMED_MAX).map(|of| format!("{} since {}", of.site, of.since));
        let mut names: Vec<String> = named.collect();
        if offline.len() > NAMED_MAX {
            names.push(format!("{} more", offline.len() - NAMED_MAX));
        }
        format!(", {} offline ({})", counted(offline.len(), "site"), names.join(", "))
    }

    /// Whether devices at a site that is offline would have been lost by now, and nobody has been alerted to it.
    pub(super) fn is_offline_unreported(&self, policy: &Policy, at: UnixMs) -> bool {
        let Some(watch) = self.watch.as_ref().filter(|_| !self.is_closed) else { return false };
        self.dark_since.iter().any(|(site, since)| {
            self.is_offline(site, at) && !watch.sites_reported.contains(site) && is_due(policy, *since, at)
        })
    }
}

fn is_due(policy: &Policy, since: UnixMs, at: UnixMs) -> bool {
    at.since_ms(since) >= ms(Duration::from_secs(policy.lost_after_s))
}

impl Step {
    /// Reports sites whose devices would have been lost by now if the site did not look offline, once each.
    pub(super) fn report_offline_sites(&mut self, policy: &Policy, tally: &Tally, at: UnixMs) {
        if !self.state.is_offline_unreported(policy, at) {
            return;
        }
        let mut offline = self.state.offline_sites(tally, at);
        let Some(watch) = &mut self.state.watch else { return };
        offline.retain(|of| is_due(policy, of.since, at) && watch.sites_reported.insert(of.site.clone()));
        offline.retain(|of| of.not_judged > 0);
        if offline.is_empty() {
            return;
        }
        offline.sort_by_key(|of| std::cmp::Reverse(of.not_judged)); // stable
        let mut names: Vec<String> = offline.iter().take(NAMED_MAX).map(OfflineSite::to_string).collect();
        if offline.len() > NAMED_MAX {
            let more: u32 = offline.iter().skip(NAMED_MAX).map(|of| of.not_judged).sum();
            names.push(format!("{more} at {} more", counted(offline.len() - NAMED_MAX, "site")));
        }
        let why = format!(
            "after completion, silent and not judged, because their site looks offline: {}; a release that kills them would look the same, so a person must see whether the site is really offline",
            names.join(", ")
        );
        self.decide("alert", why, Vec::new());
    }
}

impl std::fmt::Display for OfflineSite {
    /// `92 of 100 devices with the release at b1 since 2026-01-01T05:00:00Z`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { site, since, begun, not_judged, .. } = self;
        write!(f, "{not_judged} of {} with the release at {site} since {since}", counted(*begun, "device"))
    }
}

/// What is not judged at the end of a watch, as the end of a sentence.
pub(super) fn not_judged_in_words(offline: &[OfflineSite]) -> String {
    match offline.iter().map(|of| of.not_judged).sum::<u32>() {
        0 => String::new(),
        devices => format!(", {devices} of them not judged, because their site looks offline"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{
        status::Status,
        tests::{Rollout, at, cell, decisions_of, small},
        update::UpdateState as S,
        watched::Watch,
    };

    const HOUR_S: u64 = 3_600;

    #[test]
    fn a_site_is_offline_since_it_was_first_seen_so_and_after_a_break_since_then() {
        let mut state = State::new(at(0));
        let since = |state: &State, second| {
            let offline = state.offline_sites(&Tally::default(), at(second)).into_iter();
            offline.map(|of| (of.site, of.since, of.until_at_most)).collect::<Vec<_>>()
        };
        for second in [60, 120, 180] {
            state.mark_offline(["north".to_owned()], at(second));
        }
        assert_eq!(since(&state, 240), [("north".to_owned(), at(60), at(60) + OFFLINE_MAX)]);
        assert_eq!(since(&state, 180 + GAP_MS / 1_000 + 1), [], "it is heard again");
        state.mark_offline(["north".to_owned()], at(4_000));
        assert_eq!(since(&state, 4_000), [("north".to_owned(), at(4_000), at(4_000) + OFFLINE_MAX)]);
        state.forget_offline(at(3_999));
        assert_eq!(since(&state, 4_000).len(), 1);
        state.forget_offline(at(4_000));
        assert!(state.dark_until.is_empty() && state.dark_since.is_empty());
    }

    #[test]
    fn many_sites_are_named_as_far_as_a_sentence_allows() {
        let mut state = State::new(at(0));
        assert_eq!(state.offline_sites_in_words(at(0)), "");
        state.mark_offline((0..7).map(|number| format!("s{number}")), at(0));
        let said = state.offline_sites_in_words(at(0));
        assert!(said.starts_with(", 7 sites offline (s0 since ") && said.ends_with(", 2 more)"), "{said}");
    }

    /// A completed rollout of 200 devices at two sites, of which one looks offline from second 60 on.
    #[test]
    fn what_a_watch_does_not_judge_is_reported_once_for_each_site() {
        let mut rollout = Rollout::new(Policy { watch_s: Some(8 * HOUR_S + 60), lost_after_s: HOUR_S, ..small() });
        (rollout.state.status, rollout.state.watch) = (Status::Completed, Some(Watch::new(at(0), 0)));
        let at_site = |site, count| cell(0, ("KS-100", site), S::Confirmed, count);
        let cells = vec![at_site("north", 100), at_site("south", 100)];
        let tally = Tally { cells, suspects: vec![at_site("north", 92), at_site("south", 1)], taken: 0 };
        let mut reported = Vec::new();
        for second in (60..=8 * HOUR_S).step_by(60) {
            let sites: &[&str] = if second > 6 * HOUR_S { &["north", "south"] } else { &["north"] };
            rollout.state.mark_offline(sites.iter().map(|site| (*site).to_owned()), at(second));
            let step = rollout.evaluate(second, &tally);
            reported.extend(step.decisions.iter().map(|decision| (second, decision.what, decision.why.clone())));
        }
        let of: Vec<_> = reported.iter().map(|(second, what, _)| (*second, *what)).collect();
        assert_eq!(of, [(60 + HOUR_S, "alert"), (7 * HOUR_S + 60, "alert")]);
        let north = format!("92 of 100 devices with the release at north since {};", at(60));
        assert!(reported[0].2.contains(&north) && !reported[0].2.contains("south"), "{}", reported[0].2);
        assert!(!reported[1].2.contains("north"), "{}", reported[1].2);
        let last = rollout.evaluate(8 * HOUR_S + 60, &tally);
        assert_eq!(decisions_of(&last), ["watched"]);
        let why = &last.decisions[0].why;
        assert!(
            why.contains("silent now: 93 devices, 93 of them not judged, because their site looks offline"),
            "{why}"
        );
    }
}
