//! Passwords: argon2id, one at a time on a separate loop, so that the 19 MiB and the tenth of a second of a hash are needed only
//! once at a time and delay nothing else.
//!
//! Parameters: 19 MiB, 2 passes, 1 lane (OWASP Password Storage Cheat Sheet); hashes are PHC strings, which include their
//! parameters.

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::{mpsc, oneshot};

/// The most passwords that wait for their turn.
const WAITING_MAX: usize = 16;
/// The shortest password, in characters.
pub const CHARS_MIN: usize = 12;
/// The longest password, in bytes.
pub const BYTES_MAX: usize = 256;
/// The hash that is compared when there is no such user, so that an answer takes as long.
const DUMMY_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes a password with 16 bytes of salt.
///
/// # Errors
/// It is too short or too long; the sentence says what was expected.
pub fn hash(password: &str, salt: &[u8; 32]) -> Result<String, String> {
    if password.chars().count() < CHARS_MIN || password.len() > BYTES_MAX {
        return Err(format!("{CHARS_MIN} characters at least, and at most {BYTES_MAX} bytes"));
    }
    let salt = salt.get(..16).unwrap_or(salt);
    let hashed = Argon2::default().hash_password_with_salt(password.as_bytes(), salt);
    hashed.map(|hash| hash.to_string()).map_err(|error| format!("a password that can be hashed ({error})"))
}

/// Whether a password matches a hash; without a hash it never does, which takes as long.
fn is_right(password: &str, hash: Option<&str>) -> bool {
    let parsed = PasswordHash::new(hash.unwrap_or(DUMMY_HASH));
    let verified = parsed.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
    verified && hash.is_some()
}

/// Work for the loop.
type Work = Box<dyn FnOnce() + Send>;

/// The handle for handlers; cheap to clone.
#[derive(Clone)]
pub struct Passwords(mpsc::Sender<Work>);

/// Waiting passwords; [`drive`] empties it.
pub struct PasswordQueue(mpsc::Receiver<Work>);

/// A handle and the queue that [`drive`] empties.
pub fn passwords() -> (Passwords, PasswordQueue) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Passwords(sender), PasswordQueue(receiver))
}

/// Works until every [`Passwords`] is dropped.
pub async fn drive(mut queue: PasswordQueue) {
    while let Some(work) = queue.0.recv().await {
        work();
    }
}

impl Passwords {
    /// Does the work in its turn. Of a caller that has left by then it costs nothing, so that logins which hang up take no turns from others.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move || {
            if !reply.is_closed() {
                let _ = reply.send(work()); // the caller may have left meanwhile
            }
        });
        self.0.try_send(work).ok()?;
        answer.await.ok()
    }

    /// Whether a password matches a hash. None when too many wait.
    pub async fn is_right(&self, password: String, hash: Option<String>) -> Option<bool> {
        self.run(move || is_right(&password, hash.as_deref())).await
    }

    /// Hashes a password, as [`hash`] does. None when too many wait.
    pub async fn hash(&self, password: String, salt: [u8; 32]) -> Option<Result<String, String>> {
        self.run(move || hash(&password, &salt)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[tokio::test]
    async fn only_the_hashed_password_is_right() {
        let (passwords, queue) = passwords();
        let loop_ = tokio::spawn(drive(queue));
        let hashed = passwords.hash("correct horse".to_owned(), [7; 32]).await.unwrap().unwrap();
        assert!(hashed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hashed}");
        let is_right = async |password: &str, hash: Option<&str>| {
            passwords.is_right(password.to_owned(), hash.map(str::to_owned)).await.unwrap()
        };
        assert!(is_right("correct horse", Some(&hashed)).await);
        assert!(!is_right("correct horsf", Some(&hashed)).await);
        assert!(!is_right("correct horse", None).await);
        assert!(!is_right("correct horse", Some("no hash")).await);
        assert!(passwords.hash("short".to_owned(), [7; 32]).await.unwrap().is_err());
        drop(passwords);
        loop_.await.unwrap();
    }

    #[tokio::test]
    async fn callers_that_have_left_take_no_turns() {
        let (passwords, queue) = passwords();
        let done = Arc::new(AtomicUsize::new(0));
        let caller = || {
            let (passwords, done) = (passwords.clone(), Arc::clone(&done));
            async move { passwords.run(move || done.fetch_add(1, Ordering::Relaxed)).await }
        };
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| tokio::spawn(caller())).collect();
        tokio::task::yield_now().await;
        assert_eq!(caller().await, None, "all places are taken");
        let stays = waiting.remove(0);
        for leaves in waiting {
            leaves.abort();
            assert!(leaves.await.unwrap_err().is_cancelled());
        }
        drop(passwords);
        drive(queue).await;
        assert_eq!((stays.await.unwrap(), done.load(Ordering::Relaxed)), (Some(0), 1));
    }

    #[test]
    fn the_dummy_hash_is_valid() {
        assert!(PasswordHash::new(DUMMY_HASH).is_ok());
    }
}
