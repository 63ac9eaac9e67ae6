//! What operators and nature do during a run, each step at its time, through the admin API, the weather or the process.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use ks_protocol::id::{DeviceId, RolloutId};
use serde_json::{Value, json};

use crate::{
    event_log::EventLog,
    fleet,
    link::faults::{Bad, Weather},
    operator::{NewRelease, Operator, OperatorError},
    promises::Witness,
    rehearse::disk::Disk,
    scenario::{Lost, Moment, OutageScope, Plan, Recipients, Step, release_id},
    seed,
    shard::RunTime,
    truth,
};

/// Who can stop the server and start it again; nobody can if the server is somebody else's.
pub trait ServerProcess {
    /// Stops the server, by `kill -9` or in peace, and starts it again on the same database, after `down_for` or at once.
    /// Comes back when it has stopped, or has got the order to stop at a later moment.
    ///
    /// # Errors
    /// A sentence that says why it did not stop, or, where that is known by now, why it did not come back.
    fn restart(self: Rc<Self>, kill: bool, moment: Moment, down_for: Duration) -> Acting;

    /// Sees to it that the server is up.
    ///
    /// # Errors
    /// A sentence that says why it is not.
    fn bring_up(self: Rc<Self>) -> Acting;

    /// Why the server runs no more, if it has ended by itself.
    fn ended(&self) -> Option<String>;

    /// What it has used; none where it is no process of its own.
    fn usage(&self) -> Option<Usage> {
        None
    }
}

/// What a server's process has used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// CPU seconds so far.
    pub cpu_s: f64,
    /// Resident memory at its peak since this was last asked, in bytes; none where the system can't say.
    pub rss_bytes: Option<u64>,
}

/// What is done to a server.
pub type Acting = Pin<Box<dyn Future<Output = Result<(), String>>>>;

/// What a timeline acts through.
pub struct Stage {
    /// The run's time.
    pub time: RunTime,
    /// The admin API.
    pub operator: Rc<Operator>,
    /// The same on a link of its own, for looking while the timeline acts.
    pub watcher: Operator,
    /// The network's weather.
    pub weather: Arc<Weather>,
    /// The fleet by name.
    pub devices: Rc<Vec<DeviceId>>,
    /// The server, where it can be restarted.
    pub server: Option<Rc<dyn ServerProcess>>,
    /// Its disk, where that can be made to fail.
    pub disk: Option<Arc<Disk>>,
    /// Who sees what the server answers, where it is in this process.
    pub witness: Option<Arc<Witness>>,
    /// Where steps are logged.
    pub log: Rc<RefCell<EventLog>>,
    /// What went wrong, for the report.
    pub failures: Rc<RefCell<Vec<String>>>,
    /// How many steps are done, well or badly.
    pub played: Cell<usize>,
    /// Whether a step has failed that may not: the run is to end.
    pub has_failed: Cell<bool>,
}

impl Stage {
    /// Why the run's own server runs no more, if so.
    pub fn server_ended(&self) -> Option<String> {
        self.server.as_ref().and_then(|server| server.ended())
    }
}

/// Plays the whole timeline; ends after its last step, or after one that failed and may not.
pub async fn play(plan: &Plan, stage: &Stage) {
    let (mut revoked, mut released) = (BTreeSet::new(), BTreeSet::new());
    for timed in &plan.timeline {
        tokio::time::sleep_until(stage.time.started + timed.at).await;
        let name = timed.step.as_str();
        let revoked_before = matches!(timed.step, Step::Revoke { .. }).then(|| revoked.clone());
        let done = act(plan, stage, &timed.step, &mut revoked, &mut released).await;
        let outcome = done.as_ref().map_or_else(String::clone, |()| "done".to_owned());
        let mut fields = vec![("do", json!(name)), ("outcome", json!(outcome))];
        fields.extend(whom(&timed.step));
        if let Some(before) = revoked_before {
            let new: Vec<&DeviceId> = revoked.difference(&before).collect();
            fields.push(("devices", json!(new)));
        }
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

/// Whom a step is for, where that is not everybody: for the event log.
fn whom(step: &Step) -> Option<(&'static str, Value)> {
    match step {
        Step::Outage { scope: OutageScope::Site(site), .. } => Some(("site", json!(site))),
        Step::StartRollout { rollout_id, .. } | Step::OrderRollout { rollout_id, .. } => {
            Some(("rollout_id", json!(rollout_id)))
        }
        _ => None,
    }
}

async fn act(
    plan: &Plan,
    stage: &Stage,
    step: &Step,
    revoked: &mut BTreeSet<DeviceId>,
    released: &mut BTreeSet<String>,
) -> Result<(), String> {
    let said = |error: OperatorError| error.to_string();
    match step {
        Step::Revoke { devices } => {
            let chosen = choose(plan.seed, "revoke", &stage.devices, *devices, revoked);
            revoked.extend(chosen.iter().cloned());
            stage.operator.revoke(&chosen).await.map_err(said)
        }
        Step::SendCommand { command, recipients } => {
            let chosen = match recipients {
                Recipients::All => stage.devices.iter().filter(|device| !revoked.contains(device)).cloned().collect(),
                Recipients::Some(count) => choose(plan.seed, "send_command", &stage.devices, *count, revoked),
            };
            stage.operator.send_command(&chosen, command).await.map_err(said)
        }
        Step::Outage { length, scope, half_open } => {
            let site = match scope {
                OutageScope::EverySite => None,
                OutageScope::Site(name) => plan.fleet.sites.iter().position(|site| site.name == *name),
            };
            let weather = Arc::clone(&stage.weather);
            if *half_open {
                weather.half_open(site);
                later(stage, *length, "outage_ended", move || weather.open(site));
            } else {
                weather.take_down(site);
                later(stage, *length, "outage_ended", move || weather.bring_up(site));
            }
            Ok(())
        }
        Step::RotateServerKey { step, force } => {
            stage.operator.rotate_server_key(step.as_str(), *force).await.map_err(said)
        }
        Step::RevokeServerKey => stage.operator.revoke_server_key().await.map_err(said),
        Step::StartRollout { firmware, policy, rollout_id } => {
            start_rollout(plan, stage, firmware, policy, rollout_id, released).await
        }
        Step::OrderRollout { rollout_id, order } => {
            stage.operator.order_rollout(rollout_id, *order).await.map_err(said)
        }
        Step::RevokeRelease { firmware } => stage.operator.revoke_release(&release_id(firmware)).await.map_err(said),
        Step::Loss { length, share_bp, of } => {
            let lost = match of {
                Lost::Requests => Bad::RequestsLost,
                Lost::Answers => Bad::AnswersLost,
            };
            bad_weather(stage, *length, lost(*share_bp), "loss_ended");
            Ok(())
        }
        Step::Delay { length, longest } => {
            bad_weather(stage, *length, Bad::Delayed(*longest), "delay_ended");
            Ok(())
        }
        Step::Duplicate { length, share_bp } => {
            bad_weather(stage, *length, Bad::Duplicated(*share_bp), "duplicate_ended");
            Ok(())
        }
        Step::Disk { length, errors_bp } => {
            let disk = Arc::clone(stage.disk.as_ref().ok_or("this run's server is on a disk that obeys nobody")?);
            match errors_bp {
                None => {
                    disk.fill();
                    later(stage, *length, "disk_full_ended", move || disk.free());
                }
                &Some(share_bp) => {
                    disk.fail(share_bp);
                    later(stage, *length, "disk_errors_ended", move || disk.recover(share_bp));
                }
            }
            Ok(())
        }
        Step::RestartServer { kill, down_for, moment } => match &stage.server {
            Some(server) => {
                let restarted = Rc::clone(server).restart(*kill, *moment, *down_for).await;
                stage.operator.hang_up(); // its connection was to the server that is gone
                stage.watcher.hang_up();
                restarted
            }
            None => Err("this run did not start the server, so it can't restart it".to_owned()),
        },
        // The plan knows when phases are, and devices when shifts start.
        Step::Phase { .. } | Step::Punch { .. } => Ok(()),
    }
}

/// The weather is so bad for so long.
fn bad_weather(stage: &Stage, length: Duration, bad: Bad, ended: &'static str) {
    let weather = Arc::clone(&stage.weather);
    weather.worsen(bad);
    later(stage, length, ended, move || weather.clear(bad));
}

/// Makes the release, and what the policy would roll back to, unless they are made already; then rolls it out.
async fn start_rollout(
    plan: &Plan,
    stage: &Stage,
    version: &str,
    policy: &str,
    rollout_id: &RolloutId,
    released: &mut BTreeSet<String>,
) -> Result<(), String> {
    let policy = plan.policies.get(policy).ok_or("the scenario has no such policy")?;
    let wanted = release_id(version);
    let back = policy.roll_back_to.as_ref().map(ToString::to_string);
    let models = fleet::names(&plan.fleet.models);
    for release_id in [Some(wanted.clone()), back].into_iter().flatten() {
        let Some(firmware) = plan.firmware.iter().find(|firmware| firmware.release_id() == release_id) else {
            continue; // then the server says that there is none
        };
        if !released.insert(release_id.clone()) {
            continue;
        }
        let release = NewRelease {
            release_id: &release_id,
            version: &firmware.version,
            release_counter: firmware.release_counter,
            models: &models,
        };
        let image = truth::image(plan.seed, firmware);
        stage.operator.release(&release, image).await.map_err(|error| error.to_string())?;
    }
    stage.operator.roll_out(rollout_id, &wanted, policy).await.map_err(|error| error.to_string())
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

/// Chooses `count` devices that are not in `except`, always the same ones for a seed.
fn choose(
    root_seed: u64,
    purpose: &str,
    devices: &[DeviceId],
    count: u32,
    except: &BTreeSet<DeviceId>,
) -> Vec<DeviceId> {
    let mut rng = seed::stream(root_seed, purpose, "choose");
    let mut left: Vec<&DeviceId> = devices.iter().filter(|device| !except.contains(device)).collect();
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
