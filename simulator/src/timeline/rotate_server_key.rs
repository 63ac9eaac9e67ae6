//! `do = "rotate_server_key"`: the operator takes a step of the rotation of the server's key.

use super::{Act, Check, Kind, Scene, Step, kind};
use crate::scenario::{check::value::one_of, problem::Problems, reader::Reader};

/// The operator takes a step of the rotation of the server's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotateServerKey {
    /// Which.
    pub step: KeyStep,
    /// Also if devices are stranded by it.
    pub force: bool,
}

/// A step of the rotation of the server's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStep {
    /// A new key is published.
    Announce,
    /// It signs.
    Activate,
    /// The old one is no longer believed.
    Retire,
}

impl KeyStep {
    /// Every step, in their order.
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
    "The operator takes a step of the rotation of the server's key: [deployment.md, section 12](deployment.md#12-rotating-the-servers-key).",
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

impl Act for RotateServerKey {
    async fn act(&self, scene: &mut Scene<'_>) -> Result<(), String> {
        let rotated = scene.stage.operator.rotate_server_key(self.step.as_str(), self.force).await;
        rotated.map_err(|error| error.to_string())
    }
}
