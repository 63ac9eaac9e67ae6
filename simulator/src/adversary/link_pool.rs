//! One adversary's links to the server: its addresses in turn, each with as many connections as it uses concurrently.

use std::{collections::BTreeMap, net::SocketAddr, rc::Rc, sync::Arc};

use crate::link::{Link, Network};

pub struct LinkPool {
    network: Arc<dyn Network>,
    addresses: Vec<SocketAddr>,
    next: usize,
    idle: BTreeMap<SocketAddr, Vec<Rc<dyn Link>>>,
}

impl LinkPool {
    /// Links from these addresses; there must be at least one.
    pub fn from(network: Arc<dyn Network>, addresses: Vec<SocketAddr>) -> Self {
        Self { network, addresses, next: 0, idle: BTreeMap::new() }
    }

    /// The address whose turn it is.
    pub(super) fn next_address(&mut self) -> Option<SocketAddr> {
        let address = self.addresses.get(self.next % self.addresses.len().max(1)).copied();
        self.next = self.next.wrapping_add(1);
        address
    }

    /// A link that is free, from the address whose turn it is; a new one if all are busy.
    pub(super) fn take(&mut self) -> Option<(SocketAddr, Rc<dyn Link>)> {
        let address = self.next_address()?;
        let idle = self.idle.get_mut(&address).and_then(Vec::pop);
        Some((address, idle.unwrap_or_else(|| self.network.link(address))))
    }

    /// Takes back a link that is free again.
    pub(super) fn give_back(&mut self, address: SocketAddr, link: Rc<dyn Link>) {
        self.idle.entry(address).or_default().push(link);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::Pin,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::link::{HttpRequest, LinkError, Reply};

    struct Nowhere;
    impl Link for Nowhere {
        fn call(&self, _: HttpRequest) -> Pin<Box<dyn Future<Output = Reply> + '_>> {
            Box::pin(async { Err(LinkError::ConnectFailed) })
        }
        fn close(&self) {}
    }
    #[derive(Default)]
    struct Counting(AtomicUsize);
    impl Network for Counting {
        fn link(&self, _: SocketAddr) -> Rc<dyn Link> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Rc::new(Nowhere)
        }
    }

    #[test]
    fn addresses_take_turns_and_a_connection_is_made_only_where_none_is_free() {
        let network = Arc::new(Counting::default());
        let addresses = ["10.0.0.1:0", "10.0.0.2:0"].map(|address| address.parse().unwrap()).to_vec();
        let mut links = LinkPool::from(Arc::clone(&network) as _, addresses.clone());
        let (first, link) = links.take().unwrap();
        let (second, _busy) = links.take().unwrap();
        assert_eq!([first, second], addresses[..]);
        links.give_back(first, link);
        assert_eq!(links.take().unwrap().0, first);
        assert_eq!(network.0.load(Ordering::Relaxed), 2, "the first link was free");
        let (again, _) = links.take().unwrap();
        assert_eq!((again, network.0.load(Ordering::Relaxed)), (second, 3));
    }
}
