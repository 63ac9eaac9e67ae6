//! The network's weather: what a link suffers on its way to the server.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{HttpRequest, Link, LinkError, Reply};

/// The weather over every site, shared by all threads.
#[derive(Debug)]
pub struct Weather {
    sites: Vec<Site>,
    /// Answers that are lost, in basis points.
    loss_bp: AtomicU64,
}

#[derive(Debug, Default)]
struct Site {
    /// Outages that go on now; they may overlap.
    down: AtomicU64,
    /// Counts outages, so that a call notices one that came and went.
    outages: AtomicU64,
}

impl Weather {
    /// Fair weather over `sites` sites.
    pub fn fair(sites: usize) -> Self {
        Self { sites: (0..sites).map(|_| Site::default()).collect(), loss_bp: AtomicU64::new(0) }
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

    /// Loses that share of all answers from now on, in basis points.
    pub fn lose(&self, share_bp: u16) {
        self.loss_bp.store(share_bp.into(), Ordering::SeqCst);
    }

    /// Whether an answer is lost, by a number drawn from 0 to 9,999.
    fn is_lost(&self, drawn: u64) -> bool {
        drawn < self.loss_bp.load(Ordering::SeqCst)
    }

    fn chosen(&self, site: Option<usize>) -> impl Iterator<Item = &Site> {
        let (from, count) = site.map_or((0, usize::MAX), |site| (site, 1));
        self.sites.iter().skip(from).take(count)
    }

    /// Sends a request from a site; no answer comes during an outage, nor if one began while the request was away: then
    /// the server may have done what was asked, as in life. `drawn`, from 0 to 9,999, decides whether the answer is lost.
    pub async fn call(
        &self,
        site: usize,
        link: &dyn Link,
        request: HttpRequest,
        timeout: Duration,
        drawn: u64,
    ) -> Reply {
        let Some(site) = self.sites.get(site) else { return Err(LinkError::ConnectFailed) };
        let outages_before = site.outages.load(Ordering::SeqCst);
        if site.down.load(Ordering::SeqCst) > 0 {
            link.hang_up();
            return Err(LinkError::ConnectFailed);
        }
        let reply = tokio::time::timeout(timeout, link.call(request)).await.unwrap_or(Err(LinkError::TimedOut));
        if site.outages.load(Ordering::SeqCst) != outages_before || self.is_lost(drawn) {
            link.hang_up();
            return Err(LinkError::ConnectionLost);
        }
        reply
    }
}
