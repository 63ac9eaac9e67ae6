//! Cohorts of a fleet: how its devices react when the server refuses them.

use std::time::Duration;

use ks_protocol::duration;

/// A part of the fleet whose devices react in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cohort {
    pub name: String,
    pub size: CohortSize,
    pub retry: Retry,
    /// Only devices of this model belong to it.
    pub only_model: Option<String>,
    /// Only devices of this site.
    pub only_site: Option<String>,
}

impl Cohort {
    /// Whether devices of that model and site can belong to it.
    pub fn admits(&self, model: &str, site: &str) -> bool {
        self.only_model.as_ref().is_none_or(|only| only == model)
            && self.only_site.as_ref().is_none_or(|only| only == site)
    }
}

/// How many devices a cohort has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CohortSize {
    /// By this weight, at least 1, among the cohorts with a weight that a device can belong to.
    Share(u32),
    /// So many; all that can belong to it, if they are fewer.
    Count(u32),
}

/// When a device tries again after a refusal that says `retry_after_s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Exactly then.
    Obey,
    /// Then, and a random time later: up to this, or up to half of what was asked, as the protocol requires.
    Jitter(Option<Duration>),
    /// As if nothing had been asked: on its fixed schedule, or after a backoff as after a lost connection.
    Ignore,
    /// After this long, whatever the server asks, and also after a failure without an answer.
    Fixed(Duration),
}

impl Retry {
    /// What the protocol requires of devices.
    pub const DEFAULT: Self = Self::Jitter(None);
    /// The words in scenarios.
    pub const EXPECTED: &'static str = "`obey`, `ignore`, `jitter`, `jitter:30s` or `fixed:5s`, with 100 ms to 24 h";

    /// As in a scenario; none if it is no such word.
    pub fn parse(word: &str) -> Option<Self> {
        let length = |text: &str| {
            let length = duration::parse(text).ok()?;
            (Duration::from_millis(100)..=Duration::from_hours(24)).contains(&length).then_some(length)
        };
        Some(match word.split_once(':') {
            None if word == "obey" => Self::Obey,
            None if word == "ignore" => Self::Ignore,
            None if word == "jitter" => Self::Jitter(None),
            Some(("jitter", longest)) => Self::Jitter(Some(length(longest)?)),
            Some(("fixed", pause)) => Self::Fixed(length(pause)?),
            _ => return None,
        })
    }
}

impl std::fmt::Display for Retry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Obey => f.write_str("obey"),
            Self::Ignore => f.write_str("ignore"),
            Self::Jitter(None) => f.write_str("jitter"),
            Self::Jitter(Some(longest)) => write!(f, "jitter:{}", duration::format(*longest)),
            Self::Fixed(pause) => write!(f, "fixed:{}", duration::format(*pause)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_reads_back_and_others_are_refused() {
        for word in ["obey", "ignore", "jitter", "jitter:30s", "fixed:5s", "fixed:100ms"] {
            assert_eq!(Retry::parse(word).expect(word).to_string(), word);
        }
        for word in ["", "jitter:", "fixed", "fixed:0ms", "obey:1s", "fixed:25h", "Obey"] {
            assert_eq!(Retry::parse(word), None, "{word}");
        }
    }
}
