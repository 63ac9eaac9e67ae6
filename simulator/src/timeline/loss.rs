//! `do = "loss"`: the network loses requests or answers.

use std::time::Duration;

use super::{Check, Kind, Step, StepBehavior, StepContext, add_network_fault, kind};
use crate::{
    link::faults::Fault,
    scenario::{problem::Problems, reader::Reader},
};

/// Loses requests or answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    pub length: Duration,
    /// Share lost, in basis points.
    pub share_bp: u16,
    pub of: LostMessages,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostMessages {
    /// Requests: the server never receives them.
    Requests,
    /// Answers: the server processed the request.
    Answers,
}

impl LostMessages {
    pub const ALL: [Self; 2] = [Self::Requests, Self::Answers];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Answers => "answers",
        }
    }
}

pub(super) const KIND: Kind = kind! {
    "loss", "a `loss` step", nature, read,
    "Requests or answers are lost, each by an independent draw. Steps of `loss`, `delay`, `duplicate` and `disk_errors` that overlap add up, each kind on its own.",
    "for": "duration", "required", "`\"1ms\"` to `\"90d\"`", "how long";
    "share_bp": "whole number", "required", "0 to 10,000", "share lost, in basis points";
    "of": "word", "`\"answers\"`", "`answers`, `requests`", "`answers`: the server may have processed the request; `requests`: it never received it";
};

fn read(table: &Reader<'_>, problems: &mut Problems) -> Check {
    let length = table.duration("for", problems);
    let share_bp = table.integer("share_bp", problems);
    let of = table.text("of", problems);
    Box::new(move |judge| {
        let length = judge.length(length);
        let share_bp = judge.share_bp(share_bp);
        let of = judge.word(of, "of", &LostMessages::ALL.map(|lost| (lost.as_str(), lost)), LostMessages::Answers);
        Some(Step::Loss(Loss { length: length?, share_bp: share_bp?, of: of? }))
    })
}

impl StepBehavior for Loss {
    async fn act(&self, context: &mut StepContext<'_>) -> Result<(), String> {
        let lost = match self.of {
            LostMessages::Requests => Fault::RequestsLost,
            LostMessages::Answers => Fault::AnswersLost,
        };
        add_network_fault(context.run_context, self.length, lost(self.share_bp), "loss_ended");
        Ok(())
    }

    fn fault(&self, _: Duration) -> Option<Duration> {
        Some(self.length)
    }
}
