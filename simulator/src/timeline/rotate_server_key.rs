//! `do = "rotate_server_key"`: the operator performs a step of rotating the server's key.

use super::{Check, Kind, Step, StepBehavior, StepContext, kind};
use crate::scenario::{check::value::one_of, problem::Problems, reader::Reader};

/// The operator performs a step of rotating the server's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotateServerKey {
    pub step: KeyStep,
    /// Even if it strands devices.
    pub force: bool,
}

/// A step of rotating the server's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStep {
    /// A new key is published.
    Announce,
    /// The new key signs from now on.
    Activate,
    /// The old key is no longer trusted.
    Retire,
}

impl KeyStep {
    /// Every step, in order.
    pub const ALL: [Self; 3] = [Self::Announce, Self::Activate, Self::Retire];

    /// The word in scenarios.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Announce => "announce",
            Self::Activate => "activate",
            Self::Retire => "retire",
        }
    }
}

pub(super) const KIND: Kind = kind! {
    "rotate_server_key", "a `rotate_server_key` step", order, read,
    "The operator performs a step of rotating the server's key: [deployment.md, section 12](deployment.md#12-rotating-the-servers-key).",
    "step": "word", "required", "`announce`, `activate`, `retire`", "which";
    "force": "`true`, `false`", "`false`", "", "`false`: an activation or a retirement is refused while too many devices have not confirmed the newest keyset, and the step fails. `true`: it is done, even if devices are stranded";
};

fn read(table: &Reader<'_>, problems: &mut Problems) -> Check {
    let step = table.text("step", problems);
    let force = table.boolean("force", problems);
    Box::new(move |judge| {
        let step = judge.required(step, "step", "step = \"announce\"");
        let force = judge.or_default(force, false);
        let choices = KeyStep::ALL.map(|step| (step.as_str(), step));
        let step = one_of("step", step.as_ref(), &choices, judge.problems);
        let (step, force) = step.zip(force)?;
        Some(Step::RotateServerKey(RotateServerKey { step, force: force.value }))
    })
}

impl StepBehavior for RotateServerKey {
    async fn act(&self, context: &mut StepContext<'_>) -> Result<(), String> {
        let rotated = context.run_context.operator.rotate_server_key(self.step.as_str(), self.force).await;
        rotated.map_err(|error| error.to_string())
    }
}
