//! The fleet: which devices there are, how the factory provisions them, and the shard that runs a part of them.

pub mod by_device;
pub mod churn;
pub(crate) mod cohort_members;
pub(crate) mod places;
mod replacements;

use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use actix::{Actor, Addr, MailboxError};
use ks_protocol::{id::DeviceId, message::Trust, time::UnixMs};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{
    adversary::{Adversary, FaultyDevice, Knowledge, LinkPool},
    device::{
        actor::{Account, Device},
        machine::{DeviceInit, Machine, device_key},
    },
    fleet::churn::Agenda,
    link::{Link, Network},
    machine::resources,
    operator::{Operator, OperatorError},
    run::{ledger::DeviceAccount, measure::Measurements, ticks::Ticks},
    scenario::{Addresses, Adversary as AdversaryPart, AdversaryKind, Connections, FleetAddresses, Otrt, Plan, Share},
    seed,
    segment::Segment,
    shard::Shard,
};

pub use replacements::with_replacements;

/// Counter of the factory firmware; releases of a scenario have greater ones.
pub const FACTORY_COUNTER: u64 = 1;
/// Devices in one inventory that the factory imports: each import is one transaction.
const INVENTORY_ROWS: usize = 50_000;

/// A device of the plan, before it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSpec {
    /// Number within the fleet, from 0.
    pub number: u32,
    pub device_id: DeviceId,
    /// Index of its model.
    pub model: usize,
    /// Index of its site.
    pub site: usize,
    /// Number of its cohort; the number of cohorts if it is in none.
    pub cohort: usize,
    /// When it is switched on, from the start of the run.
    pub starts_after: Duration,
    /// The device whose place it takes, if it does.
    pub replaces: Option<DeviceId>,
}

/// The devices of a plan. The same plan and seed give the same devices.
pub fn devices(plan: &Plan) -> Result<Vec<DeviceSpec>, ks_protocol::id::InvalidId> {
    let (count, no_cohort) = (plan.fleet.devices, plan.fleet.cohorts.len());
    let mut devices = (0..count)
        .map(|number| {
            let (device_id, starts_after) = (device_id(plan, number)?, plan.ramp * number / count);
            Ok(DeviceSpec { number, device_id, model: 0, site: 0, cohort: no_cohort, starts_after, replaces: None })
        })
        .collect::<Result<Vec<_>, _>>()?;
    places::assign(plan, &mut devices);
    cohort_members::assign(plan, &mut devices);
    Ok(devices)
}

/// What the device of this number, from 0, is called.
fn device_id(plan: &Plan, number: u32) -> Result<DeviceId, ks_protocol::id::InvalidId> {
    format!("{}-{:06}", plan.fleet.id_prefix, number + 1).parse()
}

/// The number of a device of a fleet, from 0, by its name.
pub fn device_number(device_id: &DeviceId) -> Option<u32> {
    device_id.as_str().rsplit_once('-')?.1.parse::<u32>().ok()?.checked_sub(1)
}

/// By site, whether an adversary has the address of its devices; empty if none has.
pub fn abused_sites(plan: &Plan) -> Vec<bool> {
    let sharing = plan.adversaries.iter().filter(|part| part.addresses == Addresses::Fleet);
    let members = sharing.map(|part| usize::from(part.count)).max().unwrap_or(0);
    if members == 0 {
        return Vec::new();
    }
    let is_by_site = plan.fleet.addresses == FleetAddresses::Site;
    (0..plan.fleet.sites.len()).map(|site| !is_by_site || site < members).collect()
}

/// In the name of how many devices, the first of the fleet, adversaries send requests.
pub fn named_victims(plan: &Plan) -> u32 {
    let naming = plan.adversaries.iter().filter(|part| part.kind.names_victims());
    naming.map(|part| part.victims.unwrap_or(plan.fleet.devices)).max().unwrap_or(0)
}

/// An adversary of the plan, before it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdversarySpec {
    /// Number among all of them, from 0.
    pub number: u32,
    pub part: AdversaryPart,
    pub callers: Vec<Caller>,
    /// Which of the faulty devices it is.
    pub faulty: Option<u32>,
}

/// The adversaries of a plan.
pub fn adversaries(plan: &Plan) -> Vec<AdversarySpec> {
    let (mut specs, mut first_address, mut faulty_devices) = (Vec::new(), 0, 0..);
    for part in &plan.adversaries {
        let count = u32::from(part.count);
        let addresses = match part.addresses {
            Addresses::Fleet => 0,
            Addresses::Own => count,
            Addresses::Some(addresses) => u32::from(addresses),
        };
        for member in 0..count {
            // Every `count`th address from its own on; with fewer addresses than adversaries, some share one.
            let dealt = (member % addresses.max(1)..addresses).step_by(usize::from(part.count));
            let callers = match part.addresses {
                Addresses::Fleet if plan.fleet.addresses == FleetAddresses::Site => {
                    // The first stands at the first site, the second at the second, and so on.
                    let sites = u32::try_from(plan.fleet.sites.len()).unwrap_or(u32::MAX).max(1);
                    vec![Caller::Site(member % sites)]
                }
                Addresses::Fleet => vec![Caller::Device(0)],
                _ => dealt.map(|address| Caller::Adversary(first_address + address)).collect(),
            };
            let number = u32::try_from(specs.len()).unwrap_or(u32::MAX);
            let faulty = (part.kind == AdversaryKind::FaultyDevice).then(|| faulty_devices.next()).flatten();
            specs.push(AdversarySpec { number, part: part.clone(), callers, faulty });
        }
        first_address += addresses;
    }
    specs
}

/// The faulty devices among the adversaries: whitelisted like the fleet, with its first model and first site, but not part of it. Their
/// numbers follow those of so many other devices.
///
/// # Errors
/// As of [`devices`].
pub fn faulty_devices(plan: &Plan, others: u32) -> Result<Vec<DeviceSpec>, ks_protocol::id::InvalidId> {
    let of_part =
        |part: &AdversaryPart| if part.kind == AdversaryKind::FaultyDevice { u32::from(part.count) } else { 0 };
    let count = plan.adversaries.iter().map(of_part).sum();
    let spec = |number| {
        let (device_id, number) = (faulty_device_id(&plan.fleet.id_prefix, number)?, others + number);
        let (cohort, starts_after) = (plan.fleet.cohorts.len(), Duration::ZERO);
        Ok(DeviceSpec { number, device_id, model: 0, site: 0, cohort, starts_after, replaces: None })
    };
    (0..count).map(spec).collect()
}

/// What a faulty device is called.
fn faulty_device_id(id_prefix: &str, number: u32) -> Result<DeviceId, ks_protocol::id::InvalidId> {
    format!("{id_prefix}-FAULTY-{:06}", number + 1).parse()
}

/// Keys and tokens that the factory gave the fleet.
#[derive(Debug, Clone)]
pub struct Provisioned {
    pub trust: Trust,
    /// A one-time token for each device, or one for all of them, if the fleet has them.
    pub otrts: Vec<String>,
    /// A one-time token for each faulty device, if the fleet has them.
    pub faulty_otrts: Vec<String>,
}

/// The factory: whitelists every device, fetches the server's keys, creates tokens, all through the admin API. `progress`
/// receives what it is waiting for.
pub async fn provision(
    plan: &Plan,
    devices: &[DeviceSpec],
    faulty_devices: &[DeviceSpec],
    operator: &Operator,
    now: UnixMs,
    progress: impl Fn(String),
) -> Result<Provisioned, OperatorError> {
    progress("waiting for the server's keys".to_owned());
    let trust = operator.server_keys(now).await?;
    let mut imported = 0;
    for part in devices.chunks(INVENTORY_ROWS).chain(faulty_devices.chunks(INVENTORY_ROWS)) {
        progress(format!("whitelisting devices: {imported} of {} done", devices.len() + faulty_devices.len()));
        operator.import(inventory(plan, part)).await?;
        imported += part.len();
    }
    if plan.fleet.otrt != Otrt::None {
        progress("waiting for one-time tokens".to_owned());
    }
    let otrts = match plan.fleet.otrt {
        Otrt::None => Vec::new(),
        Otrt::Each => operator.make_otrts(devices.len()).await?,
        Otrt::Shared => operator.make_otrts(1).await?,
    };
    let faulty_count = if plan.fleet.otrt == Otrt::None { 0 } else { faulty_devices.len() };
    let faulty_otrts = operator.make_otrts(faulty_count).await?;
    Ok(Provisioned { trust, otrts, faulty_otrts })
}

/// The first line of an inventory, as CSV.
pub(crate) const INVENTORY_HEADER: &str = "serial,device_id,public_key,manufacturer,model,site\n";

/// The inventory of these devices, as CSV.
fn inventory(plan: &Plan, devices: &[DeviceSpec]) -> String {
    let mut csv = INVENTORY_HEADER.to_owned();
    let name = |shares: &[Share], index: usize| {
        shares.get(index).map_or_else(String::new, |share| format!("\"{}\"", share.name.replace('"', "\"\"")))
    };
    for DeviceSpec { number, device_id, model, site, .. } in devices {
        let key = device_key(plan.seed, device_id).public_key();
        let (model, site) = (name(&plan.fleet.models, *model), name(&plan.fleet.sites, *site));
        // Marked as simulated, so that nobody mistakes one for a real device.
        let _ = writeln!(csv, "SIMULATED-{number},{device_id},{key},simulated,{model},{site}"); // writing to a String cannot fail
    }
    csv
}

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

/// Their names, in order.
pub fn names(shares: &[Share]) -> Vec<String> {
    shares.iter().map(|share| share.name.clone()).collect()
}

/// A client of the server, for choosing an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    Operator,
    /// A device by number.
    Device(u32),
    /// The devices of a site, by its number, where they share an address.
    Site(u32),
    /// An adversary at its address of this number.
    Adversary(u32),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{scenario, scenario_settings::ScenarioSettings};

    #[test]
    fn each_adversary_table_has_its_own_addresses() {
        let adversary = |kind: &str, count: u32, addresses: &str| {
            format!("[[adversary]]\nkind = \"{kind}\"\ncount = {count}\naddresses = {addresses}\n")
        };
        let tables = [
            adversary("forger", 2, "5"),
            adversary("faulty_device", 3, "2"),
            adversary("replayer", 2, "\"shared\""),
            adversary("faulty_device", 1, "\"own\""),
        ];
        let text = format!(
            "name = \"t\"\ngoal = \"Addresses.\"\nduration = \"9s\"\n[fleet]\ndevices = 1\n{}[[expect]]\nmetric = \"errors\"\nequals = 0\n",
            tables.concat()
        );
        let plan = scenario::check("t.toml", text.as_bytes(), &ScenarioSettings).unwrap();
        let specs = adversaries(&plan);
        let callers: Vec<Vec<Caller>> = specs.iter().map(|spec| spec.callers.clone()).collect();
        let at = |numbers: &[u32]| numbers.iter().copied().map(Caller::Adversary).collect::<Vec<_>>();
        let fleets = vec![Caller::Device(0)];
        let dealt = [at(&[0, 2, 4]), at(&[1, 3]), at(&[5]), at(&[6]), at(&[5]), fleets.clone(), fleets, at(&[7])];
        assert_eq!(callers, dealt);
        let faulty: Vec<Option<u32>> = specs.iter().map(|spec| spec.faulty).collect();
        assert_eq!(faulty, [None, None, Some(0), Some(1), Some(2), None, None, Some(3)]);
        let named: Vec<String> =
            faulty_devices(&plan, 1).unwrap().iter().map(|spec| spec.device_id.to_string()).collect();
        assert_eq!(named, ["SIM-FAULTY-000001", "SIM-FAULTY-000002", "SIM-FAULTY-000003", "SIM-FAULTY-000004"]);
    }
}
