//! Timeline steps of a run, both operators' actions and faults: one file for each kind of step, with its keys, checks, effect, and
//! the end of its fault; and one list of them.

mod apply_limits;
mod delay;
mod disk_errors;
mod disk_full;
mod disk_slow;
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
mod run_context;
mod send_command;
mod start_rollout;

use std::{collections::BTreeSet, rc::Rc, sync::Arc, time::Duration};

use ks_protocol::id::DeviceId;
use serde_json::{Value, json};

use crate::{
    drive::rehearse::disk::Disk,
    link::faults::Fault,
    scenario::{
        Plan,
        check::timeline::Judge,
        problem::Problems,
        reader::{Reader, Section},
    },
    seed,
};

pub use run_context::RunContext;

/// Checks the keys read for a step, and returns the step if they are valid.
pub(crate) type Check = Box<dyn FnOnce(&mut Judge<'_>) -> Option<Step>>;

/// A kind of step.
pub(crate) struct Kind {
    /// The value of `do` in a scenario.
    pub(crate) name: &'static str,
    /// Its name in messages, and its keys.
    pub(crate) section: Section,
    /// Whether it is an operator's action, which the server may refuse.
    pub(crate) is_order: bool,
    pub(crate) read: fn(&Reader<'_>, &mut Problems) -> Check,
    /// Its effect, for docs/scenarios.md.
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
            /// The value of `do` in a scenario.
            pub fn as_str(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $module::KIND.name,)*
                }
            }

            /// How long its fault affects the run; none if it is no fault. `beat_interval` is the fleet's.
            pub fn fault(&self, beat_interval: Duration) -> Option<Duration> {
                match self {
                    $(Self::$name(step) => step.fault(beat_interval),)*
                }
            }

            async fn act(&self, context: &mut StepContext<'_>) -> Result<(), String> {
                match self {
                    $(Self::$name(step) => step.act(context).await,)*
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
    apply_limits::ApplyLimits,
    loss::Loss,
    delay::Delay,
    duplicate::Duplicate,
    disk_full::DiskFull,
    disk_errors::DiskErrors,
    disk_slow::DiskSlow,
    restart_server::RestartServer,
    phase::Phase,
}

pub use {loss::LostMessages, outage::OutageScope, rotate_server_key::KeyStep, send_command::Recipients};

/// The behaviour of a step.
trait StepBehavior {
    /// Performs the step; its fault ends by itself later.
    ///
    /// # Errors
    /// A sentence that says why it failed.
    async fn act(&self, _: &mut StepContext<'_>) -> Result<(), String> {
        Ok(())
    }

    /// See [`Step::fault`].
    fn fault(&self, _beat_interval: Duration) -> Option<Duration> {
        None
    }
}

/// What a step acts on.
struct StepContext<'a> {
    plan: &'a Plan,
    run_context: &'a RunContext,
    /// Devices that earlier steps have revoked.
    revoked: BTreeSet<DeviceId>,
    /// Releases that earlier steps have made.
    released: BTreeSet<String>,
    /// Fields of the step in the event log, besides name and outcome.
    notes: Vec<(&'static str, Value)>,
}

impl StepContext<'_> {
    fn note(&mut self, name: &'static str, value: Value) {
        self.notes.push((name, value));
    }

    /// The fleet's devices that are not revoked, neither by a step nor because another one has taken their place.
    fn in_service(&self) -> impl Iterator<Item = &DeviceId> {
        let now = self.run_context.time.elapsed();
        let replacements = self.run_context.replacements.iter().take_while(|device| device.starts_after <= now);
        let replaced: BTreeSet<&DeviceId> = replacements.filter_map(|device| device.replaces.as_ref()).collect();
        let devices = self.run_context.devices.iter();
        devices.filter(move |device| !self.revoked.contains(*device) && !replaced.contains(device))
    }

    /// Chooses `count` devices that are not revoked, always the same ones for a seed.
    fn choose(&self, purpose: &str, count: u32) -> Vec<DeviceId> {
        let mut rng = seed::stream(self.plan.seed, purpose, "choose");
        let mut left: Vec<&DeviceId> = self.in_service().collect();
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

/// Plays the whole timeline, each step at its time; ends after its last step, or after one that failed without `may_fail`.
pub async fn play(plan: &Plan, run_context: &RunContext) {
    let (revoked, released) = (BTreeSet::new(), BTreeSet::new());
    let mut context = StepContext { plan, run_context, revoked, released, notes: Vec::new() };
    for timed in &plan.timeline {
        tokio::time::sleep_until(run_context.time.started + timed.at).await;
        let done = timed.step.act(&mut context).await;
        let outcome = done.as_ref().map_or_else(String::clone, |()| "done".to_owned());
        let mut fields = vec![("do", json!(timed.step.as_str())), ("outcome", json!(outcome))];
        fields.append(&mut context.notes);
        run_context.log.borrow_mut().event_at_once(run_context.time.elapsed(), "step", &fields);
        run_context.played.set(run_context.played.get() + 1);
        if let (Err(why), false) = (done, timed.may_fail) {
            let failed = format!("the step {timed} failed, and the run was ended there: {why}");
            run_context.failures.borrow_mut().push(failed);
            run_context.has_failed.set(true);
            return;
        }
    }
}

/// Adds a network fault for `length`.
fn add_network_fault(run_context: &RunContext, length: Duration, fault: Fault, ended: &'static str) {
    let network_faults = Arc::clone(&run_context.network_faults);
    network_faults.add(fault);
    later(run_context, length, ended, move || network_faults.remove(fault));
}

/// The disk of the run's server, where it can be made to fail.
fn disk(run_context: &RunContext) -> Result<Arc<Disk>, String> {
    let disk = run_context.disk.as_ref().ok_or("disk faults need a rehearsal: this run's server uses a real disk")?;
    Ok(Arc::clone(disk))
}

/// Ends a fault after `length`, while the timeline goes on.
fn later(run_context: &RunContext, length: Duration, what: &'static str, end: impl FnOnce() + 'static) {
    let (log, time) = (Rc::clone(&run_context.log), run_context.time);
    actix::spawn(async move {
        tokio::time::sleep(length).await;
        end();
        log.borrow_mut().event_at_once(time.elapsed(), what, &[]);
    });
}

/// Every step with its keys, as Markdown: the generated part of docs/scenarios.md.
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
