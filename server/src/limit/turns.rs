//! Questions of people have one reader. Each caller asks it one question at a time, so that nobody waits for more than one long
//! search of each other caller, however many somebody sends.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::Semaphore;

/// Whose turn it is, by caller. A caller without a question is not remembered.
#[derive(Debug, Default)]
pub struct Turns(Mutex<BTreeMap<String, Weak<Semaphore>>>);

impl Turns {
    /// The turn that all questions of a caller share.
    pub fn of(&self, caller: &str) -> Arc<Semaphore> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(caller).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Semaphore::new(1));
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

    /// Goal: one who asks a lot at once is one of those who wait.
    /// Method: a hundred questions of one caller, then one of another, on a queue that nobody empties yet.
    #[tokio::test]
    async fn one_callers_questions_wait_for_one_another() {
        let turns = Turns::default();
        let (reader, mut queue) = writer::reader(1_000, &Damage::default());
        let (told, mut heard) = mpsc::unbounded_channel();
        for caller in std::iter::repeat_n("eager", 100).chain(["other"]) {
            let (reader, told) = (reader.in_turn(turns.of(caller)), told.clone());
            tokio::spawn(async move {
                let _ = reader.ask(|_| Ok(())).await; // nobody answers
                let _ = told.send(caller);
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
        let mut first = [heard.recv().await.unwrap(), heard.recv().await.unwrap()];
        first.sort_unstable();
        assert_eq!(first, ["eager", "other"]);
    }

    #[test]
    fn who_asks_nothing_is_not_remembered() {
        let turns = Turns::default();
        let held = turns.of("a");
        assert!(Arc::ptr_eq(&held, &turns.of("a")) && !Arc::ptr_eq(&held, &turns.of("b")));
        drop(held);
        drop(turns.of("c"));
        assert_eq!(turns.0.lock().unwrap().len(), 1);
    }
}
