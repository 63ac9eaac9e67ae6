//! When each device has background failures: drawn from the seed, the device and the day, before anything runs.
//!
//! An episode depends on nothing that happens in a run, so the devices, which act on it, and the invariants, which must not blame
//! the server for it, compute the same one.

use std::{collections::BTreeSet, time::Duration};

use ks_protocol::time::UnixMs;
use rand_core::Rng;

use super::DeviceSpec;
use crate::{
    scenario::{Churn, ChurnKind, ChurnTime, Plan, Share},
    seed,
};

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 3_600_000;
/// Numbers drawn for one device and day: whether, when, for how long, where to.
const DRAWS: u64 = 4;

/// A failure of one device. Times count from the start of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    pub kind: ChurnKind,
    pub from: Duration,
    /// When it is over: of a swapped device, when another one is in its place; the end of the run for one that is never over. It may
    /// be later than the end of the run.
    pub to: Duration,
    /// Share of requests, and of answers, that are lost meanwhile, in basis points.
    pub loss_bp: u16,
    /// The site that the device is at afterwards, by index, if it is another one.
    pub moves_to: Option<usize>,
    /// What a move drew, which decides where it leads.
    drawn: u64,
}

impl Episode {
    /// Whether the device has no power meanwhile.
    pub fn is_without_power(&self) -> bool {
        matches!(self.kind, ChurnKind::Unplugged | ChurnKind::Moved | ChurnKind::SiteCloses)
    }
}

/// The background failures of a fleet.
#[derive(Debug, Clone, Default)]
pub struct Schedule {
    seed: u64,
    epoch: UnixMs,
    duration: Duration,
    churn: Vec<Churn>,
    models: Vec<String>,
    sites: Vec<Share>,
}

impl Schedule {
    /// Of a run that begins at the wall-clock time `epoch`.
    pub fn of(plan: &Plan, epoch: UnixMs) -> Self {
        Self {
            seed: plan.seed,
            epoch,
            duration: plan.duration,
            churn: plan.fleet.churn.clone(),
            models: plan.fleet.models.iter().map(|model| model.name.clone()).collect(),
            sites: plan.fleet.sites.clone(),
        }
    }

    /// Whether no device has any.
    pub fn is_empty(&self) -> bool {
        self.churn.is_empty()
    }

    /// The name of a site.
    pub fn site(&self, index: usize) -> &str {
        self.sites.get(index).map_or("", |site| &site.name)
    }

    /// What happens to a device: in the order in which it begins, up to its removal. One that has taken the place of another is not
    /// replaced itself.
    pub fn episodes(&self, device: &DeviceSpec) -> Vec<Episode> {
        let (model, site) = (device.model, device.site);
        let mut episodes = Vec::new();
        for (number, churn) in self.churn.iter().enumerate() {
            let is_spared = |only: &Option<String>, own: Option<&str>| only.is_some() && only.as_deref() != own;
            let own_model = self.models.get(model).map(String::as_str);
            let has_its_turn_behind_it = churn.kind == ChurnKind::Swapped && device.replaces.is_some();
            if has_its_turn_behind_it
                || is_spared(&churn.only_model, own_model)
                || is_spared(&churn.only_site, Some(self.site(site)))
            {
                continue;
            }
            match churn.when {
                ChurnTime::Daily(hours) => {
                    let closed = hours.within(self.epoch, self.duration);
                    episodes.extend(closed.map(|(from, to)| episode(churn, from, to)));
                }
                ChurnTime::PerDay { share_bp, lasts } => {
                    let draw =
                        seed::stream(self.seed, device.device_id.as_str(), &format!("churn {number}")).next_u64();
                    episodes.extend(self.drawn(churn, draw, (share_bp, lasts)));
                }
            }
        }
        episodes.sort_by_key(|episode| (episode.from, episode.to, episode.kind));
        if let Some(last) = episodes.iter().position(|episode| episode.kind.is_for_good()) {
            episodes.truncate(last + 1);
        }
        self.settle_moves(&mut episodes, site);
        episodes
    }

    /// Turns what each move drew into the site that it leads to, which is another one than where the device is by then.
    fn settle_moves(&self, episodes: &mut [Episode], mut site: usize) {
        let mut moves: Vec<&mut Episode> = episodes.iter_mut().filter(|of| of.kind == ChurnKind::Moved).collect();
        moves.sort_by_key(|of| of.to);
        for of in moves {
            of.moves_to = self.other_site(site, of.drawn);
            site = of.moves_to.unwrap_or(site);
        }
    }

    /// At most one on each day of the run.
    fn drawn(&self, churn: &Churn, first: u64, (share_bp, lasts): (u16, Duration)) -> impl Iterator<Item = Episode> {
        let days = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX).div_ceil(DAY_MS);
        let lasts_ms = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        (0..days).filter_map(move |day| {
            let draw = |number: u64, bound| seed::below_by(seed::nth(first, day * DRAWS + number), bound);
            let from = Duration::from_millis(day * DAY_MS + draw(1, DAY_MS));
            if draw(0, 10_000) >= u64::from(share_bp) || from >= self.duration {
                return None;
            }
            let to = match churn.kind {
                ChurnKind::Removed => self.duration,
                _ => from + Duration::from_millis(lasts_ms / 2 + draw(2, lasts_ms + 1)),
            };
            Some(Episode { drawn: seed::nth(first, day * DRAWS + 3), ..episode(churn, from, to) })
        })
    }

    /// Another site, drawn by the weights of the sites.
    fn other_site(&self, site: usize, drawn: u64) -> Option<usize> {
        let others = || self.sites.iter().enumerate().filter(|(index, _)| *index != site);
        let total = others().map(|(_, other)| u64::from(other.share)).sum();
        let mut rest = seed::below_by(drawn, total);
        for (index, other) in others() {
            if rest < u64::from(other.share) {
                return Some(index);
            }
            rest -= u64::from(other.share);
        }
        None
    }
}

fn episode(churn: &Churn, from: Duration, to: Duration) -> Episode {
    Episode { kind: churn.kind, from, to, loss_bp: churn.loss_bp, moves_to: None, drawn: 0 }
}

/// The episodes of a device while it runs: which begin or end next.
#[derive(Debug, Default)]
pub struct Agenda {
    /// By time: the number of an episode, and whether it begins.
    next: BTreeSet<(Duration, bool, usize)>,
    episodes: Vec<Episode>,
}

impl Agenda {
    pub fn of(episodes: Vec<Episode>) -> Self {
        let each = episodes.iter().enumerate();
        // Of one moment, ends come first: `false` is less than `true`.
        let moments = each.flat_map(|(number, episode)| [(episode.from, true, number), (episode.to, false, number)]);
        Self { next: moments.collect(), episodes }
    }

    /// When the next one begins or ends.
    pub fn next_at(&self) -> Option<Duration> {
        self.next.first().map(|(at, ..)| *at)
    }

    /// Takes out the next one that begins (`true`) or ends by `now`.
    pub fn take(&mut self, now: Duration) -> Option<(Episode, bool)> {
        self.next_at().filter(|at| *at <= now)?;
        let (_, begins, number) = self.next.pop_first()?;
        Some((self.episodes.get(number)?.clone(), begins))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Hours;

    const DEVICES: u32 = 4_000;

    fn schedule(churn: Vec<Churn>) -> Schedule {
        let sites = ["north", "south", "east"].map(|name| Share { name: name.to_owned(), share: 1 });
        let models = ["A", "B"].map(str::to_owned);
        let (duration, epoch) = (Duration::from_hours(10 * 24), UnixMs(0));
        Schedule { seed: 7, epoch, duration, churn, models: models.into(), sites: sites.into() }
    }

    fn churn(kind: ChurnKind, share_bp: u16) -> Churn {
        let when = ChurnTime::PerDay { share_bp, lasts: Duration::from_hours(2) };
        Churn { kind, when, loss_bp: 0, only_model: None, only_site: None }
    }

    /// Episodes of devices of the model `A` at `north`.
    fn all(schedule: &Schedule) -> Vec<Vec<Episode>> {
        (0..DEVICES).map(|number| schedule.episodes(&device(number))).collect()
    }

    fn device(number: u32) -> DeviceSpec {
        let device_id = format!("SIM-{number}").parse().unwrap();
        DeviceSpec { number, device_id, model: 0, site: 0, cohort: 0, starts_after: Duration::ZERO, replaces: None }
    }

    /// Goal: the rate is that of the scenario. Method: 4,000 devices on 10 days at 2 % a day are 800 on average, with a standard
    /// deviation of 28 (binomial); lengths are even from 1 h to 3 h, so their mean is 2 h, within 4 times 35 min / sqrt(800).
    #[test]
    fn episodes_come_at_their_rate_and_last_about_their_time() {
        let episodes = all(&schedule(vec![churn(ChurnKind::Unplugged, 200)]));
        let of_all: Vec<&Episode> = episodes.iter().flatten().collect();
        assert!(of_all.len().abs_diff(800) < 4 * 28, "{}", of_all.len());
        let lengths: Vec<f64> = of_all.iter().map(|of| of.to.saturating_sub(of.from).as_secs_f64() / 3_600.0).collect();
        assert!(lengths.iter().all(|hours| (1.0..=3.0).contains(hours)));
        let mean = lengths.iter().sum::<f64>() / lengths.len() as f64;
        assert!((mean - 2.0).abs() < 0.09, "{mean}");
        let late = of_all.iter().filter(|of| of.from >= Duration::from_hours(5 * 24)).count();
        assert!(late.abs_diff(400) < 4 * 20, "{late}: as many in the second half of the run");
        assert_eq!(episodes, all(&schedule(vec![churn(ChurnKind::Unplugged, 200)])));
    }

    #[test]
    fn other_models_and_sites_are_spared() {
        let only = |only_model: Option<&str>, only_site: Option<&str>| {
            let (only_model, only_site) = (only_model.map(str::to_owned), only_site.map(str::to_owned));
            all(&schedule(vec![Churn { only_model, only_site, ..churn(ChurnKind::Unplugged, 10_000) }])).concat().len()
        };
        assert_eq!([only(Some("B"), None), only(None, Some("south"))], [0, 0]);
        assert_eq!(only(Some("A"), Some("north")), 10 * 4_000, "each of them on every day");
    }

    #[test]
    fn nothing_happens_to_a_removed_device() {
        let episodes = all(&schedule(vec![churn(ChurnKind::Removed, 2_000), churn(ChurnKind::Unplugged, 5_000)]));
        for of_device in episodes {
            let removed = of_device.iter().position(|of| of.kind == ChurnKind::Removed);
            assert!(removed.is_none_or(|removed| removed + 1 == of_device.len()));
        }
    }

    /// Goal: a move leads to another site than that where the device is, and each of the others is as likely.
    /// Method: moves are followed one after another. Of about 4,000, more than 1,300 are second or later moves.
    #[test]
    fn a_device_moves_to_each_of_the_other_sites() {
        let mut counts = [[0_usize; 3]; 3];
        for mut moves in all(&schedule(vec![churn(ChurnKind::Moved, 1_000)])) {
            moves.sort_by_key(|of| of.to);
            let mut site = 0;
            for to in moves.into_iter().map(|of| of.moves_to.unwrap()) {
                counts[site][to] += 1;
                site = to;
            }
        }
        assert_eq!([counts[0][0], counts[1][1], counts[2][2]], [0, 0, 0], "{counts:?}");
        for [one, other] in [[counts[0][1], counts[0][2]], [counts[1][0], counts[1][2]], [counts[2][0], counts[2][1]]] {
            let deviation = ((one + other) as f64).sqrt() / 2.0; // of a fair coin
            assert!(one.abs_diff(other) as f64 <= 2.0 * 4.0 * deviation && one > 100, "{counts:?}");
        }
    }

    #[test]
    fn a_site_is_closed_every_night_and_an_agenda_is_in_order() {
        let when = ChurnTime::Daily(Hours::parse("22-06").unwrap());
        let closed = Churn { when, ..churn(ChurnKind::SiteCloses, 0) };
        let episodes = all(&schedule(vec![closed])).remove(0);
        assert_eq!(episodes.len(), 11, "the night in which the run begins, nine, and the one in which it ends");
        let mut agenda = Agenda::of(episodes);
        assert_eq!(agenda.next_at(), Some(Duration::ZERO));
        assert!(agenda.take(Duration::ZERO).is_some_and(|(_, begins)| begins));
        assert_eq!(agenda.take(Duration::from_hours(5)), None);
        assert!(agenda.take(Duration::from_hours(6)).is_some_and(|(_, begins)| !begins));
        assert_eq!(agenda.next_at(), Some(Duration::from_hours(22)));
    }
}
