//! Whose budget was used up: what calls of others show, unless their own budgets explain it. Pure.

use ks_server::limit::Limit;

use super::{
    Subject,
    fit::Gcra,
    record::{Attempt, CallerKind},
};

/// What a limit and the others' budgets are declared to be, and what is known of their state at the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeclaredLimits {
    pub(super) limit: Limit,
    /// None if the limit is not enforced.
    pub(super) declared: Option<Gcra>,
    /// `device_requests`; none if it is not enforced.
    pub(super) of_devices: Option<Gcra>,
    /// The most that the probe's own budget owed at the start, in calls.
    pub(super) owed_max: f64,
    /// The same of the other device's.
    pub(super) owed_max_of_other_device: f64,
}

impl DeclaredLimits {
    /// Calls that are charged to the budget of `by`.
    pub(super) fn calls_of(&self, by: CallerKind, attempts: &[Attempt]) -> Vec<Attempt> {
        // A device's budget goes with it.
        let is_shared = self.limit == Limit::DeviceRequests && matches!(by, CallerKind::Own | CallerKind::Elsewhere);
        let is_its = |attempt: &&Attempt| {
            attempt.by == by || (is_shared && matches!(attempt.by, CallerKind::Own | CallerKind::Elsewhere))
        };
        attempts.iter().filter(is_its).copied().collect()
    }

    /// Whether the declared budgets explain what `by` met.
    fn is_explained(&self, by: CallerKind, attempts: &[Attempt]) -> bool {
        let calls = self.calls_of(by, attempts);
        let (limit, owed_max) = match by {
            CallerKind::OtherDevice => (self.of_devices, self.owed_max_of_other_device),
            CallerKind::Own => (self.declared, self.owed_max),
            CallerKind::Elsewhere if self.limit == Limit::DeviceRequests => (self.declared, self.owed_max),
            CallerKind::Neighbor | CallerKind::Elsewhere => (self.declared, 0.0),
        };
        limit.is_some_and(|limit| limit.explains_nearly(&calls, owed_max).is_ok())
    }

    /// Whether `by` is refused when the probe has used up the limit; none if the calls do not show it.
    pub(super) fn is_refused(&self, by: CallerKind, attempts: &[Attempt]) -> Option<bool> {
        let is_of_the_device = self.limit == Limit::DeviceRequests && by == CallerKind::Elsewhere;
        let was_refused = attempts.iter().any(|attempt| attempt.by == by && attempt.is_refused());
        if was_refused {
            // A device that is refused elsewhere too met its own budget, or one that is shared even more widely.
            return (is_of_the_device || !self.is_explained(by, attempts)).then_some(true);
        }
        if !is_of_the_device {
            return was_served(by, attempts).then_some(false);
        }
        // Its budget may have come back meanwhile: served, although there was nothing left in it?
        let is_its_own = self.is_explained(CallerKind::Elsewhere, attempts);
        (was_served(by, attempts) && !is_its_own).then_some(false)
    }

    /// Whose budget it is.
    pub(super) fn subject(&self, attempts: &[Attempt]) -> Subject {
        let refused = |by| self.is_refused(by, attempts);
        match self.limit {
            Limit::DeviceRequests => {
                subject_of_device(refused(CallerKind::OtherDevice), refused(CallerKind::Elsewhere))
            }
            _ => subject_of_address(refused(CallerKind::Neighbor), refused(CallerKind::Elsewhere)),
        }
    }
}

/// Whether `by` was served between two refusals of the probe, with nothing that came through for the probe in between.
fn was_served(by: CallerKind, attempts: &[Attempt]) -> bool {
    let served = attempts.iter().enumerate().filter(|(_, attempt)| attempt.by == by && attempt.is_admitted());
    served.map(|(number, _)| number).any(|number| {
        let (before, after) = attempts.split_at(number);
        let own = |attempt: &&Attempt| attempt.by == CallerKind::Own;
        let is_refused = |attempt: Option<&Attempt>| attempt.is_some_and(Attempt::is_refused);
        is_refused(before.iter().rev().find(own)) && is_refused(after.iter().find(own))
    })
}

/// Whose budget a device used up, by whether another device, and the same one elsewhere, are refused too.
pub(super) fn subject_of_device(other_device: Option<bool>, elsewhere: Option<bool>) -> Subject {
    match (other_device, elsewhere) {
        (Some(false), Some(true)) => Subject::Device,
        (Some(false), Some(false)) => Subject::DeviceAndAddress,
        (Some(true), Some(false)) => Subject::Address,
        (Some(true), Some(true)) => Subject::Server,
        _ => Subject::Unknown,
    }
}

/// Whose budget an address used up, by whether a neighbor, and an address elsewhere, are refused too.
pub(super) fn subject_of_address(neighbor: Option<bool>, elsewhere: Option<bool>) -> Subject {
    match (neighbor, elsewhere) {
        (Some(false), Some(false)) => Subject::Address,
        (Some(true), Some(false)) => Subject::Network,
        (Some(true), Some(true)) => Subject::Server,
        _ => Subject::Unknown,
    }
}
