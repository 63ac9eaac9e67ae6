//! A shard: the part of the fleet that one thread runs, from starting its devices to their accounts at the end.

use std::{collections::BTreeMap, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use actix::{Actor, Addr, MailboxError};
use ks_protocol::{id::DeviceId, message::Trust};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{
    AdversarySpec, Caller, DeviceSpec, FACTORY_COUNTER, Provisioned, adversaries::faulty_device_id, churn::Agenda,
};
use crate::{
    adversary::{Adversary, FaultyDevice, Knowledge, LinkPool},
    device::{
        actor::{Account, Device},
        machine::{DeviceInit, Machine},
    },
    host::resources,
    link::{Link, Network},
    run::{ledger::DeviceAccount, measure::Measurements, ticks::Ticks},
    scenario::{Connections, FleetAddresses},
    seed,
    segment::Segment,
    shard::Shard,
};

/// A part of the fleet with everything it needs; can be sent to the thread that runs it.
pub struct ShardPlan {
    /// Number of the shard, from 0.
    pub number: usize,
    /// In the order in which they are switched on.
    pub devices: Vec<DeviceSpec>,
    /// The adversaries, if they are on this shard.
    pub adversaries: Vec<AdversarySpec>,
    /// Names of the whole fleet, for adversaries.
    pub victims: Vec<DeviceId>,
    /// Keys and tokens from the factory; tokens are in the order of the fleet.
    pub provisioned: Arc<Provisioned>,
    /// Connects to the server.
    pub network: Arc<dyn Network>,
    /// Which address a caller has.
    pub addresses: fn(SocketAddr, Caller) -> SocketAddr,
    pub target: SocketAddr,
    pub seed: u64,
    /// How devices' names begin.
    pub id_prefix: String,
    /// The firmware version that devices report.
    pub firmware_version: String,
    /// The longest time that a device has been up when it starts.
    pub uptime_at_start: Duration,
    /// Names of the models, by index.
    pub models: Vec<String>,
    /// Names of the sites, by index.
    pub sites: Vec<String>,
    /// Which devices have the same address.
    pub behind: FleetAddresses,
    pub verify_percent: u8,
    pub connections: Connections,
    /// Number of shards that share the connections.
    pub shards: usize,
    /// The part of the fleet that this process has, if it is not all of it.
    pub segment: Option<Segment>,
    pub ticks: Ticks,
}

/// What a shard reports.
pub enum ShardReport {
    /// The tick's number and what was measured in it.
    Tick(u64, Box<Measurements>),
    /// What devices know about their heartbeats; the last report.
    Accounts(BTreeMap<DeviceId, DeviceAccount>),
    /// The shard, or a device on it, ended before its last report.
    Ended,
}

/// Reports [`ShardReport::Ended`] on drop, unless the last report was sent.
struct ReportGuard {
    reports: mpsc::UnboundedSender<ShardReport>,
    is_sent: bool,
}

impl Drop for ReportGuard {
    fn drop(&mut self) {
        if !self.is_sent {
            let _ = self.reports.send(ShardReport::Ended); // the receiver may have closed
        }
    }
}

/// Runs a part of the fleet: starts devices at their time, reports each tick, and the accounts when asked to finish.
pub async fn run_shard(
    plan: ShardPlan,
    shard: Rc<Shard>,
    reports: mpsc::UnboundedSender<ShardReport>,
    mut finish: watch::Receiver<bool>,
) {
    let started = shard.time.started;
    let mut guard = ReportGuard { reports: reports.clone(), is_sent: false };
    let mut actors = Actors::new(&plan, &shard);
    actors.start_adversaries();
    let mut to_start = plan.devices.iter().peekable();
    let (mut tick, mut cpu) = (0, resources::own_thread_cpu());
    loop {
        let next_tick = started + plan.ticks.end(tick);
        let next_start = to_start.peek().filter(|_| shard.is_running()).map(|device| started + device.starts_after);
        tokio::select! {
            biased;
            _ = finish.wait_for(|finish| *finish) => break,
            () = tokio::time::sleep_until(next_start.unwrap_or(next_tick)), if next_start.is_some_and(|start| start < next_tick) => {
                while let Some(device) = to_start.next_if(|device| started + device.starts_after <= Instant::now()) {
                    actors.start_device(device);
                }
            }
            () = tokio::time::sleep_until(next_tick) => {
                let mut measured = taken(&plan, &shard);
                measured.adversaries_cpu = actors.adversaries_cpu(&mut cpu);
                let _ = reports.send(ShardReport::Tick(tick, Box::new(measured))); // the receiver may have closed
                tick += 1;
            }
        }
    }
    let Ok(accounts) = actors.accounts().await else { return }; // the guard reports it
    guard.is_sent = true;
    let _ = reports.send(ShardReport::Tick(tick, Box::new(taken(&plan, &shard))));
    let _ = reports.send(ShardReport::Accounts(accounts));
}

/// What was measured since the last call. The first shard reports the handshakes of all: their network is the same.
fn taken(plan: &ShardPlan, shard: &Shard) -> Measurements {
    let mut measured = shard.measurements.take();
    if plan.number == 0
        && let Some(handshakes) = plan.network.take_handshakes()
    {
        measured.handshakes = handshakes;
    }
    measured
}

/// The actors of a shard.
struct Actors<'a> {
    plan: &'a ShardPlan,
    shard: &'a Rc<Shard>,
    server_keys: Rc<Trust>,
    firmware_version: Rc<str>,
    models: Vec<Rc<str>>,
    sites: Vec<Rc<str>>,
    shared_links: Vec<Rc<dyn Link>>,
    devices: Vec<(DeviceId, Addr<Device>)>,
    faulty_devices: Vec<(DeviceId, Addr<Adversary>)>,
}

impl<'a> Actors<'a> {
    fn new(plan: &'a ShardPlan, shard: &'a Rc<Shard>) -> Self {
        let shared = match plan.connections {
            Connections::PerDevice => 0,
            Connections::Shared(count) => usize::from(count).div_ceil(plan.shards.max(1)),
        };
        let link = |number: usize| {
            let caller = Caller::Device(u32::try_from(number).unwrap_or(u32::MAX));
            plan.network.link((plan.addresses)(plan.target, caller))
        };
        Self {
            plan,
            shard,
            server_keys: Rc::new(plan.provisioned.trust.clone()),
            firmware_version: plan.firmware_version.as_str().into(),
            models: plan.models.iter().map(|name| name.as_str().into()).collect(),
            sites: plan.sites.iter().map(|name| name.as_str().into()).collect(),
            shared_links: (0..shared).map(link).collect(),
            devices: Vec::with_capacity(plan.devices.len()),
            faulty_devices: Vec::new(),
        }
    }

    fn start_device(&mut self, spec: &DeviceSpec) {
        // In turn by their place here: numbers that are dealt out in turn have gaps, and would leave connections unused.
        let shared = self.shared_links.get(self.devices.len().checked_rem(self.shared_links.len()).unwrap_or(0));
        let link = shared.cloned().unwrap_or_else(|| {
            let caller = match self.plan.behind {
                FleetAddresses::Own => Caller::Device(spec.number),
                FleetAddresses::Site => Caller::Site(u32::try_from(spec.site).unwrap_or(u32::MAX)),
                FleetAddresses::One => Caller::Device(0),
            };
            self.plan.network.link((self.plan.addresses)(self.plan.target, caller))
        });
        let otrts = &self.plan.provisioned.otrts;
        let place = self.plan.segment.map_or(spec.number, |segment| segment.place(spec.number));
        let own = usize::try_from(place).ok().and_then(|place| otrts.get(place));
        let only_one = otrts.first().filter(|_| otrts.len() == 1);
        // What takes the place of another device comes out of its box.
        let up_max = if spec.replaces.is_some() { Duration::ZERO } else { self.plan.uptime_at_start };
        let machine = self.machine(spec.device_id.clone(), spec.model, own.or(only_one), up_max);
        let site = (spec.site, self.sites.get(spec.site).cloned().unwrap_or_default());
        let mut episodes = self.shard.churn.episodes(spec);
        episodes.retain(|episode| episode.to > spec.starts_after);
        let agenda = Agenda::of(episodes);
        let shard = Rc::clone(self.shard);
        let place = (spec.number, spec.cohort);
        let device = Device::new(place, machine, link, site, shard, self.plan.seed, agenda);
        self.devices.push((spec.device_id.clone(), device.start()));
    }

    /// CPU time of this thread since `before`, if only adversaries run on it.
    fn adversaries_cpu(&self, before: &mut Duration) -> Duration {
        let now = resources::own_thread_cpu();
        let spent = now.saturating_sub(std::mem::replace(before, now));
        if self.plan.devices.is_empty() { spent } else { Duration::ZERO }
    }

    /// A device that was just switched on, or has been up for a while, `up_max` at most.
    fn machine(&self, device_id: DeviceId, model: usize, otrt: Option<&String>, up_max: Duration) -> Machine {
        let up_ms_max = u64::try_from(up_max.as_millis()).unwrap_or(u64::MAX);
        let mut rng = seed::stream(self.plan.seed, device_id.as_str(), "uptime");
        let up_ms = seed::below(&mut rng, up_ms_max.saturating_add(1));
        Machine::new(DeviceInit {
            device_id,
            root_seed: self.plan.seed,
            server_keys: Rc::clone(&self.server_keys),
            model: self.models.get(model).cloned().unwrap_or_default(),
            firmware_version: Rc::clone(&self.firmware_version),
            release_counter: FACTORY_COUNTER,
            otrt: otrt.map(|token| token.as_str().into()),
            booted_at: self.shard.time.unix_now().minus_ms(up_ms),
            verify_percent: self.plan.verify_percent,
        })
    }

    fn start_adversaries(&mut self) {
        let victims = Rc::new(self.plan.victims.clone());
        for AdversarySpec { number, part, callers, faulty } in &self.plan.adversaries {
            let addresses = callers.iter().map(|caller| (self.plan.addresses)(self.plan.target, *caller)).collect();
            let links = LinkPool::from(Arc::clone(&self.plan.network), addresses);
            let named = part.victims.and_then(|named| victims.get(..usize::try_from(named).ok()?));
            let knowledge = Knowledge {
                victims: named.map_or_else(|| Rc::clone(&victims), |named| Rc::new(named.to_vec())),
                root_seed: self.plan.seed,
                server_keys: Rc::clone(&self.server_keys),
                target: self.plan.target,
            };
            let rng = seed::stream(self.plan.seed, &format!("adversary-{number}"), "attack");
            let device_id = faulty.and_then(|faulty| faulty_device_id(&self.plan.id_prefix, faulty).ok());
            let device = device_id.clone().map(|device_id| {
                let token =
                    faulty.and_then(|faulty| self.plan.provisioned.faulty_otrts.get(usize::try_from(faulty).ok()?));
                FaultyDevice::new(self.machine(device_id, 0, token, self.plan.uptime_at_start))
            });
            let adversary = Adversary::new(part.clone(), device, knowledge, links, Rc::clone(self.shard), rng).start();
            self.faulty_devices.extend(device_id.map(|device_id| (device_id, adversary)));
        }
    }

    /// Stops every device and returns its account.
    ///
    /// # Errors
    /// A device's actor has ended, which only a panic can cause.
    async fn accounts(self) -> Result<BTreeMap<DeviceId, DeviceAccount>, MailboxError> {
        let mut accounts = BTreeMap::new();
        for (device_id, device) in self.devices {
            accounts.insert(device_id, device.send(Account).await?);
        }
        for (device_id, faulty) in self.faulty_devices {
            accounts.insert(device_id, faulty.send(Account).await?);
        }
        Ok(accounts)
    }
}
