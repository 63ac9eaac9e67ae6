//! What a caller may do at the same time. Queries of the admin API: one, so that a caller waits for at most one long search of each
//! other caller, however many of them one caller sends. Event streams: as many as a person has pages open.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::Semaphore;

/// Turns by caller. A caller who holds none is not remembered.
#[derive(Debug)]
pub struct Turns {
    of_each: usize,
    callers: Mutex<BTreeMap<String, Weak<Semaphore>>>,
}

impl Turns {
    /// So many at the same time for each caller.
    pub fn new(of_each: usize) -> Self {
        Self { of_each, callers: Mutex::default() }
    }

    /// The turns that all work of a caller shares.
    pub fn of(&self, caller: &str) -> Arc<Semaphore> {
        let mut turns = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(caller).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Semaphore::new(self.of_each));
        turns.insert(caller.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;
    use crate::store::{Damage, writer};

    /// Goal: a caller with many concurrent queries waits in line like any other.
    /// Method: a hundred queries of one caller, then one of another, on a queue that nothing empties yet.
    #[tokio::test]
    async fn queries_of_one_caller_run_one_at_a_time() {
        let turns = Turns::new(1);
        let (reader, mut queue) = writer::reader(1_000, &Damage::default());
        let (sender, mut receiver) = mpsc::unbounded_channel();
        for caller in std::iter::repeat_n("eager", 100).chain(["other"]) {
            let (reader, sender) = (reader.in_turn(turns.of(caller)), sender.clone());
            tokio::spawn(async move {
                let _ = reader.ask(|_| Ok(())).await; // no answer comes
                let _ = sender.send(caller);
            });
        }
        tokio::time::timeout(Duration::from_mins(1), async {
            while queue.len() < 2 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(queue.len(), 2, "one of each");
        drop((queue.recv().await, queue.recv().await));
        let mut first = [receiver.recv().await.unwrap(), receiver.recv().await.unwrap()];
        first.sort_unstable();
        assert_eq!(first, ["eager", "other"]);
    }

    #[test]
    fn a_caller_without_a_query_is_not_remembered() {
        let turns = Turns::new(1);
        let held = turns.of("a");
        assert!(Arc::ptr_eq(&held, &turns.of("a")) && !Arc::ptr_eq(&held, &turns.of("b")));
        drop(held);
        drop(turns.of("c"));
        assert_eq!(turns.callers.lock().unwrap().len(), 1);
    }
}
