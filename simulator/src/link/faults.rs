//! The network's weather: what a link suffers on its way to the server.

use std::{
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout_at},
};

use super::{HttpRequest, Link, LinkError, Reply};
use crate::seed;

/// A duplicate comes at most so much later than what it is one of.
const DUPLICATE_AFTER_MAX: Duration = Duration::from_secs(30);

/// The weather over every site, shared by all threads.
#[derive(Debug)]
pub struct Weather {
    sites: Vec<Site>,
    /// Requests that are lost, in basis points.
    requests_lost_bp: AtomicU64,
    /// Answers that are lost, in basis points.
    answers_lost_bp: AtomicU64,
    /// Requests that come twice, in basis points.
    duplicated_bp: AtomicU64,
    /// The longest way there, and the longest way back, in milliseconds.
    longest_ms: AtomicU64,
}

/// What can be bad everywhere. What overlaps adds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// That share of requests is lost, in basis points.
    RequestsLost(u16),
    /// That share of answers is lost, in basis points.
    AnswersLost(u16),
    /// That share of requests comes twice, in basis points.
    Duplicated(u16),
    /// Each request, and each answer, takes up to so long.
    Delayed(Duration),
}

impl Bad {
    fn amount(self) -> u64 {
        match self {
            Self::RequestsLost(share_bp) | Self::AnswersLost(share_bp) | Self::Duplicated(share_bp) => share_bp.into(),
            Self::Delayed(longest) => u64::try_from(longest.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

#[derive(Debug, Default)]
struct Site {
    /// Outages that go on now; they may overlap.
    down: AtomicU64,
    /// Partitions that let requests through and no answers.
    half_open: AtomicU64,
    /// Counts outages, so that a call notices one that came and went.
    outages: AtomicU64,
}

/// What the weather makes of one request.
struct Passage {
    there: Duration,
    back: Duration,
    is_lost: bool,
    is_answer_lost: bool,
    /// When a second one comes, after the first has been sent.
    again_after: Option<Duration>,
}

impl Weather {
    /// Fair weather over `sites` sites.
    pub fn fair(sites: usize) -> Self {
        Self {
            sites: (0..sites).map(|_| Site::default()).collect(),
            requests_lost_bp: AtomicU64::new(0),
            answers_lost_bp: AtomicU64::new(0),
            duplicated_bp: AtomicU64::new(0),
            longest_ms: AtomicU64::new(0),
        }
    }

    /// Takes one site off the network, or all of them; each is back after as many [`Weather::bring_up`].
    pub fn take_down(&self, site: Option<usize>) {
        for site in self.chosen(site) {
            site.down.fetch_add(1, Ordering::SeqCst);
            site.outages.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Brings one site back, or all of them.
    pub fn bring_up(&self, site: Option<usize>) {
        for site in self.chosen(site) {
            site.down.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Lets requests of one site, or of all of them, through, and no answers; until as many [`Weather::open`].
    pub fn half_open(&self, site: Option<usize>) {
        for site in self.chosen(site) {
            site.half_open.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Lets answers through again.
    pub fn open(&self, site: Option<usize>) {
        for site in self.chosen(site) {
            site.half_open.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// From now on it is so bad, on top of how bad it is, until [`Weather::clear`] takes that back.
    pub fn worsen(&self, by: Bad) {
        self.measure(by).fetch_add(by.amount(), Ordering::SeqCst);
    }

    /// It is no longer so bad.
    pub fn clear(&self, by: Bad) {
        self.measure(by).fetch_sub(by.amount(), Ordering::SeqCst);
    }

    fn measure(&self, of: Bad) -> &AtomicU64 {
        match of {
            Bad::RequestsLost(_) => &self.requests_lost_bp,
            Bad::AnswersLost(_) => &self.answers_lost_bp,
            Bad::Duplicated(_) => &self.duplicated_bp,
            Bad::Delayed(_) => &self.longest_ms,
        }
    }

    fn chosen(&self, site: Option<usize>) -> impl Iterator<Item = &Site> {
        let (from, count) = site.map_or((0, usize::MAX), |site| (site, 1));
        self.sites.iter().skip(from).take(count)
    }

    /// What becomes of a request that drew `lot`.
    fn passage(&self, lot: u64) -> Passage {
        let below = |number, bound| seed::below_by(seed::nth(lot, number), bound);
        let is_hit = |number, share_bp: &AtomicU64| below(number, 10_000) < share_bp.load(Ordering::SeqCst);
        let longest_ms = self.longest_ms.load(Ordering::SeqCst).saturating_add(1);
        let later_ms = u64::try_from(DUPLICATE_AFTER_MAX.as_millis()).unwrap_or(u64::MAX);
        Passage {
            there: Duration::from_millis(below(0, longest_ms)),
            back: Duration::from_millis(below(1, longest_ms)),
            is_lost: is_hit(2, &self.requests_lost_bp),
            is_answer_lost: is_hit(3, &self.answers_lost_bp),
            again_after: is_hit(4, &self.duplicated_bp).then(|| Duration::from_millis(below(5, later_ms))),
        }
    }

    /// Sends a request from a site; no answer comes during an outage, nor if one began while the request was away: then
    /// the server may have done what was asked, as in life. `lot`, any number, decides what becomes of it.
    pub async fn call(
        &self,
        site: usize,
        link: &Rc<dyn Link>,
        request: HttpRequest,
        timeout: Duration,
        lot: u64,
    ) -> Reply {
        let Some(site) = self.sites.get(site) else { return Err(LinkError::ConnectFailed) };
        let outages_before = site.outages.load(Ordering::SeqCst);
        if site.down.load(Ordering::SeqCst) > 0 {
            link.hang_up();
            return Err(LinkError::ConnectFailed);
        }
        let gives_up_at = Instant::now() + timeout;
        let passage = self.passage(lot);
        if let Some(after) = passage.again_after {
            deliver(link, request.clone(), passage.there + after, Duration::ZERO);
        }
        let reply = if passage.is_lost {
            Err(LinkError::ConnectionLost)
        } else if passage.there.is_zero() && passage.back.is_zero() {
            timeout_at(gives_up_at, link.call(request)).await.unwrap_or(Err(LinkError::TimedOut))
        } else {
            // On its own: it arrives also when nobody waits for it any more.
            let answer = deliver(link, request, passage.there, passage.back);
            let answer = timeout_at(gives_up_at, answer).await;
            answer.map_or(Err(LinkError::TimedOut), |answer| answer.unwrap_or(Err(LinkError::ConnectionLost)))
        };
        if site.half_open.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep_until(gives_up_at).await;
            link.hang_up();
            return Err(LinkError::TimedOut);
        }
        if site.outages.load(Ordering::SeqCst) != outages_before || passage.is_lost || passage.is_answer_lost {
            link.hang_up();
            return Err(LinkError::ConnectionLost);
        }
        reply
    }
}

/// Sends a request after a while, and gives its answer a while after it came.
fn deliver(link: &Rc<dyn Link>, request: HttpRequest, there: Duration, back: Duration) -> oneshot::Receiver<Reply> {
    let (arrives, answer) = oneshot::channel();
    let link = Rc::clone(link);
    actix::spawn(async move {
        sleep(there).await;
        let reply = link.call(request).await;
        sleep(back).await;
        let _ = arrives.send(reply); // whoever waited may have given up
    });
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_adds_up_and_ends_one_by_one() {
        let weather = Weather::fair(1);
        let lost = |weather: &Weather| (0..1_000).filter(|lot| weather.passage(*lot).is_lost).count();
        weather.worsen(Bad::RequestsLost(5_000));
        weather.worsen(Bad::RequestsLost(6_000));
        assert_eq!(lost(&weather), 1_000, "half of them and more than half");
        weather.clear(Bad::RequestsLost(5_000));
        assert!((500..700).contains(&lost(&weather)), "{}", lost(&weather));
        weather.clear(Bad::RequestsLost(6_000));
        assert_eq!(lost(&weather), 0);
    }
}
