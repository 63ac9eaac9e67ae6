//! What operators and nature do during a run: one file for each step that a scenario can have, with its keys, how it is checked,
//! what it does and how the fault that it makes ends; and one list of them.

mod delay;
mod disk_errors;
mod disk_full;
mod duplicate;
mod loss;
mod order_rollout;
mod outage;
mod phase;
mod punch;
mod restart_server;
mod revoke;
mod revoke_release;
mod revoke_server_key;
mod rotate_server_key;
mod send_command;
mod stage;
mod start_rollout;

use std::{collections::BTreeSet, rc::Rc, sync::Arc, time::Duration};

use ks_protocol::id::DeviceId;
use serde_json::{Value, json};

use crate::{
    drive::rehearse::disk::Disk,
    link::faults::Bad,
    scenario::{
        Plan,
        check::timeline::Judge,
        problem::Problems,
        reader::{Reader, Section},
    },
    seed,
};

pub use stage::Stage;

/// Judges what was read of a step, and gives it if it holds.
pub(crate) type Check = Box<dyn FnOnce(&mut Judge<'_>) -> Option<Step>>;

/// A kind of step, as scenarios have it.
pub(crate) struct Kind {
    /// What a scenario writes after `do`.
    pub(crate) name: &'static str,
    /// What messages call it, and its keys.
    pub(crate) section: Section,
    /// Whether it is an operator's, which the server may refuse.
    pub(crate) is_order: bool,
    /// Reads its keys.
    pub(crate) read: fn(&Reader<'_>, &mut Problems) -> Check,
    /// What it does, for docs/scenarios.md.
    pub(crate) does: &'static str,
    /// Its own keys, for docs/scenarios.md.
    pub(crate) keys: &'static [Key],
}

/// A key of a step, for docs/scenarios.md.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) value: &'static str,
    pub(crate) default: &'static str,
    pub(crate) range: &'static str,
    pub(crate) meaning: &'static str,
}

/// A kind with its keys: name, type, default, range, meaning. An `order` has the key `may_fail` too.
macro_rules! kind {
    (@section order, $title:literal, $($key:literal)*) => {
        $crate::scenario::reader::Section { title: $title, keys: &["at", "do", $($key,)* "may_fail"] }
    };
    (@section nature, $title:literal, $($key:literal)*) => {
        $crate::scenario::reader::Section { title: $title, keys: &["at", "do", $($key,)*] }
    };
    (
        $name:literal, $title:literal, $by:ident, $read:path, $does:literal,
        $($key:literal: $value:literal, $default:literal, $range:literal, $meaning:literal;)*
    ) => {
        $crate::timeline::Kind {
            name: $name,
            section: kind!(@section $by, $title, $($key)*),
            is_order: matches!(stringify!($by).as_bytes(), b"order"),
            read: $read,
            does: $does,
            keys: &[$($crate::timeline::Key {
                name: $key,
                value: $value,
                default: $default,
                range: $range,
                meaning: $meaning,
            },)*],
        }
    };
}
use kind;

macro_rules! steps {
    ($($module:ident::$name:ident,)*) => {
        $(pub use $module::$name;)*

        /// Something that happens during a run.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Step {
            $($name($name),)*
        }

        /// Every kind of step.
        pub(crate) const KINDS: &[Kind] = &[$($module::KIND),*];

        impl Step {
            /// What a scenario writes after `do`.
            pub fn as_str(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $module::KIND.name,)*
                }
            }

            /// For how long not all is well because of it; none if it is no fault. `beat_interval` is the fleet's.
            pub fn fault(&self, beat_interval: Duration) -> Option<Duration> {
                match self {
                    $(Self::$name(step) => step.fault(beat_interval),)*
                }
            }

            async fn act(&self, scene: &mut Scene<'_>) -> Result<(), String> {
                match self {
                    $(Self::$name(step) => step.act(scene).await,)*
                }
            }
        }
    };
}

// The list, in the order in which messages name them.
steps! {
    revoke::Revoke,
    outage::Outage,
    send_command::SendCommand,
    punch::Punch,
    rotate_server_key::RotateServerKey,
    revoke_server_key::RevokeServerKey,
    start_rollout::StartRollout,
    order_rollout::OrderRollout,
    revoke_release::RevokeRelease,
    loss::Loss,
    delay::Delay,
    duplicate::Duplicate,
    disk_full::DiskFull,
    disk_errors::DiskErrors,
    restart_server::RestartServer,
    phase::Phase,
}

pub use {loss::Lost, outage::OutageScope, rotate_server_key::KeyStep, send_command::Recipients};

/// What a step does.
trait Act {
    /// Does it; what it makes worse ends by itself later.
    ///
    /// # Errors
    /// A sentence that says why it could not be done.
    async fn act(&self, _: &mut Scene<'_>) -> Result<(), String> {
        Ok(())
    }

    /// As of [`Step::fault`].
    fn fault(&self, _beat_interval: Duration) -> Option<Duration> {
        None
    }
}

/// What a step finds when its time comes.
struct Scene<'a> {
    plan: &'a Plan,
    stage: &'a Stage,
    /// Devices that earlier steps have revoked.
    revoked: BTreeSet<DeviceId>,
    /// Releases that earlier steps have made.
    released: BTreeSet<String>,
    /// What the event log says of the step besides its name and its outcome.
    notes: Vec<(&'static str, Value)>,
}

impl Scene<'_> {
    fn note(&mut self, name: &'static str, value: Value) {
        self.notes.push((name, value));
    }

    /// Chooses `count` devices that are not revoked, always the same ones for a seed.
    fn choose(&self, purpose: &str, count: u32) -> Vec<DeviceId> {
        let mut rng = seed::stream(self.plan.seed, purpose, "choose");
        let mut left: Vec<&DeviceId> =
            self.stage.devices.iter().filter(|device| !self.revoked.contains(device)).collect();
        let mut chosen = Vec::new();
        for _ in 0..count {
            let index = seed::below(&mut rng, u64::try_from(left.len()).unwrap_or(0));
            if left.is_empty() {
                break;
            }
            chosen.push(left.swap_remove(usize::try_from(index).unwrap_or(0)).clone());
        }
        chosen
    }
}

/// Plays the whole timeline, each step at its time; ends after its last step, or after one that failed and may not.
pub async fn play(plan: &Plan, stage: &Stage) {
    let (revoked, released) = (BTreeSet::new(), BTreeSet::new());
    let mut scene = Scene { plan, stage, revoked, released, notes: Vec::new() };
    for timed in &plan.timeline {
        tokio::time::sleep_until(stage.time.started + timed.at).await;
        let done = timed.step.act(&mut scene).await;
        let outcome = done.as_ref().map_or_else(String::clone, |()| "done".to_owned());
        let mut fields = vec![("do", json!(timed.step.as_str())), ("outcome", json!(outcome))];
        fields.append(&mut scene.notes);
        stage.log.borrow_mut().event(stage.time.elapsed(), "step", &fields);
        stage.played.set(stage.played.get() + 1);
        if let (Err(why), false) = (done, timed.may_fail) {
            let failed = format!("the step {timed} failed, and the run was ended there: {why}");
            stage.failures.borrow_mut().push(failed);
            stage.has_failed.set(true);
            return;
        }
    }
}

/// The weather is so bad for so long.
fn bad_weather(stage: &Stage, length: Duration, bad: Bad, ended: &'static str) {
    let weather = Arc::clone(&stage.weather);
    weather.worsen(bad);
    later(stage, length, ended, move || weather.clear(bad));
}

/// The disk of the run's server, where it can be made to fail.
fn disk(stage: &Stage) -> Result<Arc<Disk>, String> {
    let disk = stage.disk.as_ref().ok_or("this run's server is on a disk that obeys nobody")?;
    Ok(Arc::clone(disk))
}

/// Ends a fault after `length`, while the timeline goes on.
fn later(stage: &Stage, length: Duration, what: &'static str, end: impl FnOnce() + 'static) {
    let (log, time) = (Rc::clone(&stage.log), stage.time);
    actix::spawn(async move {
        tokio::time::sleep(length).await;
        end();
        log.borrow_mut().event(time.elapsed(), what, &[]);
    });
}

/// Every step with its keys, as Markdown: what docs/scenarios.md says of them.
pub fn steps_in_words() -> String {
    let mut text = String::new();
    for kind in KINDS {
        text += &format!("\n### `{}`\n\n{}\n", kind.name, kind.does);
        let mut keys = kind.keys.iter().peekable();
        if keys.peek().is_some() {
            text.push('\n');
        }
        for Key { name, value, default, range, meaning } in keys {
            let default = if *default == "required" { "required".to_owned() } else { format!("default {default}") };
            let range = if range.is_empty() { String::new() } else { format!("; {range}") };
            text += &format!("- `{name}` ({value}, {default}{range}): {meaning}\n");
        }
    }
    text.push('\n');
    text
}
