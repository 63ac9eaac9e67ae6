//! What operators and nature do during a run, each step at its time, through the admin API, the weather or the process.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use ks_protocol::id::{DeviceId, RolloutId};
use serde_json::json;

use crate::{
    event_log::EventLog,
    fleet,
    link::faults::Weather,
    operator::{NewRelease, Operator, OperatorError},
    scenario::{OutageScope, Plan, Recipients, Step, release_id},
    seed,
    shard::RunTime,
    truth,
};

/// Who can stop the server and start it again; nobody can if the server is somebody else's.
pub trait ServerProcess {
    /// Stops the server, by `kill -9` or in peace, and starts it again on the same database.
    ///
    /// # Errors
    /// A sentence that says why it did not come back.
    fn restart(&mut self, kill: bool) -> Result<(), String>;

    /// Why the server runs no more, if it has ended by itself.
    fn ended(&mut self) -> Option<String>;
}

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
    pub server: Option<Rc<RefCell<dyn ServerProcess>>>,
    /// Where steps are logged.
    pub log: Rc<RefCell<EventLog>>,
    /// What went wrong, for the report.
    pub failures: Rc<RefCell<Vec<String>>>,
    /// How many steps are done, well or badly.
    pub played: Cell<usize>,
}

impl Stage {
    /// Why the run's own server runs no more, if so.
    pub fn server_ended(&self) -> Option<String> {
        self.server.as_ref().and_then(|server| server.borrow_mut().ended())
    }
}

/// Plays the whole timeline; ends after its last step.
pub async fn play(plan: &Plan, stage: &Stage) {
    let (mut revoked, mut released) = (BTreeSet::new(), BTreeSet::new());
    for timed in &plan.timeline {
        tokio::time::sleep_until(stage.time.started + timed.at).await;
        let name = timed.step.as_str();
        let done = act(plan, stage, &timed.step, &mut revoked, &mut released).await;
        let outcome = done.as_ref().map_or_else(String::clone, |()| "done".to_owned());
        stage.log.borrow_mut().event(stage.time.elapsed(), "step", &[("do", json!(name)), ("outcome", json!(outcome))]);
        if let Err(why) = done {
            stage.failures.borrow_mut().push(format!("the step {timed} failed: {why}"));
        }
        stage.played.set(stage.played.get() + 1);
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
        Step::Outage { length, scope } => {
            let site = match scope {
                OutageScope::EverySite => None,
                OutageScope::Site(name) => plan.fleet.sites.iter().position(|site| site.name == *name),
            };
            outage(stage, site, *length);
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
        Step::Loss { length, share_bp } => {
            loss(stage, *length, *share_bp);
            Ok(())
        }
        Step::RestartServer { kill } => match &stage.server {
            Some(server) => {
                let restarted = server.borrow_mut().restart(*kill);
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

/// Loses answers from now on, for a while.
fn loss(stage: &Stage, length: Duration, share_bp: u16) {
    stage.weather.lose(share_bp);
    let (weather, log, time) = (Arc::clone(&stage.weather), Rc::clone(&stage.log), stage.time);
    actix::spawn(async move {
        tokio::time::sleep(length).await;
        weather.lose(0);
        log.borrow_mut().event(time.elapsed(), "loss_ended", &[]);
    });
}

/// Takes a site down now and brings it back later, while the timeline goes on.
fn outage(stage: &Stage, site: Option<usize>, length: Duration) {
    stage.weather.take_down(site);
    let (weather, log, time) = (Arc::clone(&stage.weather), Rc::clone(&stage.log), stage.time);
    actix::spawn(async move {
        tokio::time::sleep(length).await;
        weather.bring_up(site);
        log.borrow_mut().event(time.elapsed(), "outage_ended", &[]);
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
