//! `do = "loss"`: the network loses what is sent.

use std::time::Duration;

use super::{Act, Check, Kind, Scene, Step, bad_weather, kind};
use crate::{
    link::faults::Bad,
    scenario::{problem::Problems, reader::Reader},
};

/// The network loses what is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// How long.
    pub length: Duration,
    /// How many are lost, in basis points.
    pub share_bp: u16,
    /// What is lost.
    pub of: Lost,
}

/// What a network loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Requests: the server never hears of them.
    Requests,
    /// Answers: the server did what was asked.
    Answers,
}

impl Lost {
    /// Either.
    pub const ALL: [Self; 2] = [Self::Requests, Self::Answers];

    /// The word in scenarios.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Answers => "answers",
        }
    }
}

pub(super) const KIND: Kind = kind! {
    "loss", "a `loss` step", nature, read,
    "What is sent is lost, drawn one by one. Steps of `loss`, `delay`, `duplicate` and `disk_errors` that overlap add up, each kind on its own.",
    "for": "duration", "required", "`\"1ms\"` to `\"90d\"`", "how long";
    "share_bp": "whole number", "required", "0 to 10,000", "how many are lost, in basis points";
    "of": "word", "`\"answers\"`", "`answers`, `requests`", "`answers`: the server may have done what was asked; `requests`: it never heard of it";
};

fn read(table: &Reader<'_>, problems: &mut Problems) -> Check {
    let length = table.duration("for", problems);
    let share_bp = table.integer("share_bp", problems);
    let of = table.text("of", problems);
    Box::new(move |judge| {
        let length = judge.length(length);
        let share_bp = judge.share_bp(share_bp);
        let of = judge.word(of, "of", &Lost::ALL.map(|lost| (lost.as_str(), lost)), Lost::Answers);
        Some(Step::Loss(Loss { length: length?, share_bp: share_bp?, of: of? }))
    })
}

impl Act for Loss {
    async fn act(&self, scene: &mut Scene<'_>) -> Result<(), String> {
        let lost = match self.of {
            Lost::Requests => Bad::RequestsLost,
            Lost::Answers => Bad::AnswersLost,
        };
        bad_weather(scene.stage, self.length, lost(self.share_bp), "loss_ended");
        Ok(())
    }

    fn fault(&self, _: Duration) -> Option<Duration> {
        Some(self.length)
    }
}
