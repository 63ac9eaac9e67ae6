//! Network faults between devices and the server.

use std::{
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout_at},
};

use ks_protocol::{key::PublicKey, message::Heartbeat};

use super::{BeatAnswer, HttpRequest, Link, LinkError, Reply};
use crate::seed;

/// A duplicate arrives at most this much after the original.
const DUPLICATE_AFTER_MAX: Duration = Duration::from_secs(30);

/// The current faults of every site's network, shared by all threads.
#[derive(Debug)]
pub struct NetworkFaults {
    sites: Vec<Site>,
    /// Share of requests lost, in basis points.
    requests_lost_bp: AtomicU64,
    /// Share of answers lost, in basis points.
    answers_lost_bp: AtomicU64,
    /// Share of requests duplicated, in basis points.
    duplicated_bp: AtomicU64,
    /// Maximum delay each way, in milliseconds.
    longest_ms: AtomicU64,
}

/// A fault of the whole network. Overlapping faults add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Share of requests lost, in basis points.
    RequestsLost(u16),
    /// Share of answers lost, in basis points.
    AnswersLost(u16),
    /// Share of requests duplicated, in basis points.
    Duplicated(u16),
    /// Maximum delay of each request and each answer.
    Delayed(Duration),
}

impl Fault {
    fn amount(self) -> u64 {
        match self {
            Self::RequestsLost(share_bp) | Self::AnswersLost(share_bp) | Self::Duplicated(share_bp) => share_bp.into(),
            Self::Delayed(longest) => u64::try_from(longest.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// What decides which faults hit one request.
#[derive(Debug, Clone, Copy)]
pub struct FaultDraw {
    /// Its random number.
    pub draw: u64,
    /// Share of requests, and of answers, that the caller's own link loses, in basis points.
    pub loss_bp: u16,
}

#[derive(Debug, Default)]
struct Site {
    /// Current outages; they may overlap.
    down: AtomicU64,
    /// Partitions that let requests through and no answers.
    half_open: AtomicU64,
    /// Counts outages, so that a call notices one that came and went.
    outages: AtomicU64,
}

/// How the faults affect one request.
struct Passage {
    there: Duration,
    back: Duration,
    is_lost: bool,
    is_answer_lost: bool,
    /// When a duplicate arrives, after the first has been sent.
    again_after: Option<Duration>,
}

impl NetworkFaults {
    /// No faults on `sites` sites.
    pub fn none(sites: usize) -> Self {
        Self {
            sites: (0..sites).map(|_| Site::default()).collect(),
            requests_lost_bp: AtomicU64::new(0),
            answers_lost_bp: AtomicU64::new(0),
            duplicated_bp: AtomicU64::new(0),
            longest_ms: AtomicU64::new(0),
        }
    }

    /// Takes one site, or all, off the network; each is back after as many calls of [`NetworkFaults::bring_up`].
    pub fn take_down(&self, site: Option<usize>) {
        for site in self.selected(site) {
            site.down.fetch_add(1, Ordering::SeqCst);
            site.outages.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Brings one site back, or all of them.
    pub fn bring_up(&self, site: Option<usize>) {
        for site in self.selected(site) {
            site.down.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Lets requests of one site, or of all, through but no answers, until as many calls of [`NetworkFaults::open`].
    pub fn half_open(&self, site: Option<usize>) {
        for site in self.selected(site) {
            site.half_open.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Lets answers through again.
    pub fn open(&self, site: Option<usize>) {
        for site in self.selected(site) {
            site.half_open.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Adds a fault to the current ones, until [`NetworkFaults::remove`].
    pub fn add(&self, fault: Fault) {
        self.rate(fault).fetch_add(fault.amount(), Ordering::SeqCst);
    }

    /// Removes a fault added before.
    pub fn remove(&self, fault: Fault) {
        self.rate(fault).fetch_sub(fault.amount(), Ordering::SeqCst);
    }

    fn rate(&self, fault: Fault) -> &AtomicU64 {
        match fault {
            Fault::RequestsLost(_) => &self.requests_lost_bp,
            Fault::AnswersLost(_) => &self.answers_lost_bp,
            Fault::Duplicated(_) => &self.duplicated_bp,
            Fault::Delayed(_) => &self.longest_ms,
        }
    }

    fn selected(&self, site: Option<usize>) -> impl Iterator<Item = &Site> {
        let (from, count) = site.map_or((0, usize::MAX), |site| (site, 1));
        self.sites.iter().skip(from).take(count)
    }

    /// How the faults affect a request.
    fn passage(&self, FaultDraw { draw, loss_bp }: FaultDraw) -> Passage {
        let below = |number, bound| seed::below_by(seed::nth(draw, number), bound);
        let is_hit = |number, share_bp: &AtomicU64| below(number, 10_000) < share_bp.load(Ordering::SeqCst);
        let longest_ms = self.longest_ms.load(Ordering::SeqCst).saturating_add(1);
        let later_ms = u64::try_from(DUPLICATE_AFTER_MAX.as_millis()).unwrap_or(u64::MAX);
        Passage {
            there: Duration::from_millis(below(0, longest_ms)),
            back: Duration::from_millis(below(1, longest_ms)),
            is_lost: is_hit(2, &self.requests_lost_bp) || below(6, 10_000) < u64::from(loss_bp),
            is_answer_lost: is_hit(3, &self.answers_lost_bp) || below(7, 10_000) < u64::from(loss_bp),
            again_after: is_hit(4, &self.duplicated_bp).then(|| Duration::from_millis(below(5, later_ms))),
        }
    }

    /// Sends a request from a site; no answer comes during an outage, nor if one began while the request was in flight: then
    /// the server may have processed it, as on a real network.
    pub async fn call(
        &self,
        site: usize,
        link: &Rc<dyn Link>,
        request: HttpRequest,
        timeout: Duration,
        luck: FaultDraw,
    ) -> Reply {
        let Some(site) = self.sites.get(site) else { return Err(LinkError::ConnectFailed) };
        let outages_before = site.outages.load(Ordering::SeqCst);
        if site.down.load(Ordering::SeqCst) > 0 {
            link.close();
            return Err(LinkError::ConnectFailed);
        }
        let gives_up_at = Instant::now() + timeout;
        let passage = self.passage(luck);
        if let Some(after) = passage.again_after {
            deliver(link, request.clone(), passage.there + after, Duration::ZERO);
        }
        let reply = if passage.is_lost {
            Err(LinkError::ConnectionLost)
        } else if passage.there.is_zero() && passage.back.is_zero() {
            timeout_at(gives_up_at, link.call(request)).await.unwrap_or(Err(LinkError::TimedOut))
        } else {
            // A task of its own: the request arrives even if the caller has given up.
            let answer = deliver(link, request, passage.there, passage.back);
            let answer = timeout_at(gives_up_at, answer).await;
            answer.map_or(Err(LinkError::TimedOut), |answer| answer.unwrap_or(Err(LinkError::ConnectionLost)))
        };
        let is_lost = passage.is_lost || passage.is_answer_lost || site.had_outage_since(outages_before);
        site.pass(link, gives_up_at, is_lost, reply).await
    }

    /// Hands over a heartbeat as a value, if nothing hits it; `None` if its document must be sent.
    pub async fn hand(
        &self,
        site: usize,
        link: &Rc<dyn Link>,
        (beat, key): (&Heartbeat, &PublicKey),
        timeout: Duration,
    ) -> Option<Result<BeatAnswer, LinkError>> {
        let site = self.sites.get(site)?;
        let outages_before = site.outages.load(Ordering::SeqCst);
        let shares = [&self.requests_lost_bp, &self.answers_lost_bp, &self.duplicated_bp, &self.longest_ms];
        let faults = shares.into_iter().chain([&site.down, &site.half_open]);
        if faults.into_iter().any(|fault| fault.load(Ordering::SeqCst) > 0) {
            return None;
        }
        let gives_up_at = Instant::now() + timeout;
        let handed = link.hand(beat, key)?;
        let answer = timeout_at(gives_up_at, handed).await.unwrap_or(Err(LinkError::TimedOut));
        Some(site.pass(link, gives_up_at, site.had_outage_since(outages_before), answer).await)
    }
}

impl Site {
    fn had_outage_since(&self, outages_before: u64) -> bool {
        self.outages.load(Ordering::SeqCst) != outages_before
    }

    /// What becomes of an answer on its way back.
    async fn pass<T>(
        &self,
        link: &Rc<dyn Link>,
        gives_up_at: Instant,
        is_lost: bool,
        answer: Result<T, LinkError>,
    ) -> Result<T, LinkError> {
        if self.half_open.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep_until(gives_up_at).await;
            link.close();
            return Err(LinkError::TimedOut);
        }
        if is_lost {
            link.close();
            return Err(LinkError::ConnectionLost);
        }
        answer
    }
}

/// Sends a request after the delay `there`, and returns its answer after the delay `back`.
fn deliver(link: &Rc<dyn Link>, request: HttpRequest, there: Duration, back: Duration) -> oneshot::Receiver<Reply> {
    let (arrives, answer) = oneshot::channel();
    let link = Rc::clone(link);
    actix::spawn(async move {
        sleep(there).await;
        let reply = link.call(request).await;
        sleep(back).await;
        let _ = arrives.send(reply); // the caller may have given up
    });
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_faults_add_up_and_end_one_by_one() {
        let network_faults = NetworkFaults::none(1);
        let lost = |network_faults: &NetworkFaults| {
            (0..1_000).filter(|draw| network_faults.passage(FaultDraw { draw: *draw, loss_bp: 0 }).is_lost).count()
        };
        network_faults.add(Fault::RequestsLost(5_000));
        network_faults.add(Fault::RequestsLost(6_000));
        assert_eq!(lost(&network_faults), 1_000, "half of them and more than half");
        network_faults.remove(Fault::RequestsLost(5_000));
        assert!((500..700).contains(&lost(&network_faults)), "{}", lost(&network_faults));
        network_faults.remove(Fault::RequestsLost(6_000));
        assert_eq!(lost(&network_faults), 0);
        let own = (0..1_000).map(|draw| network_faults.passage(FaultDraw { draw, loss_bp: 5_000 }));
        let both = own.filter(|passage| passage.is_lost && passage.is_answer_lost).count();
        assert!((200..300).contains(&both), "{both}: a caller's own link loses each way for itself");
    }
}
