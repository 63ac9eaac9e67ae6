//! Guarantees about hot work: a batch has the same results as its requests one at a time.

use std::time::Duration;

use ks_protocol::{
    id::{CommandId, Sequence},
    message::{Ack, AckState, Direction, FirmwareStatus, LogLevel, LogLine, Punch, PunchMethod, UpdateStep},
    text::{Rows, Text},
    time::UnixMs,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::{AT, by, commands::queue, commit, id, named, requests, rollout_setup, sample_beat};
use crate::{
    rules,
    store::{
        Denied, Store, StoreReader,
        commands::{AckBatch, CommandFilter},
        heartbeats::Beat,
        hot::{HotDone, HotWork},
        logs::{LogBatch, LogFilter},
        punches::{PunchBatch, PunchFilter},
        updates::{StatusReport, UpdateFilter},
    },
};

/// Batches drawn, and requests in each.
const ROUNDS: u64 = 30;
const WORKS: u64 = 24;
const COMMANDS_EACH: usize = 8;

/// What the requests must lead to somewhere: their results, and states of commands and updates.
const REACHED: [&str; 21] = [
    "Err(Unknown)",
    "Err(NotRegistered)",
    "Err(Revoked)",
    "Err(Stale",
    "firmware: Some(",
    "is_update_further: true",
    "Command {",
    "Acks([None",
    "Acks([Some(",
    "known: 1",
    "conflicts: [1",
    "stored: 0",
    "go_on: false",
    "go_on: true, has_changed: true",
    "Delivered",
    "Received",
    "Succeeded",
    "Installing",
    "Confirmed",
    "RolledBack",
    "Halted",
];

/// Half of the devices: the same as the other half except for their names. The last of them is unknown.
struct Half {
    devices: [&'static str; 6],
    commands: Vec<CommandId>,
}

impl Half {
    /// Requests that are the same for both halves, drawn from the same numbers. `first` numbers the first of them.
    fn works(&self, seed: u64, first: u64) -> Vec<HotWork> {
        let mut numbers = Numbers(ChaCha20Rng::seed_from_u64(seed));
        (first..first + WORKS).map(|number| self.work(&mut numbers, number)).collect()
    }

    fn work(&self, numbers: &mut Numbers, number: u64) -> HotWork {
        let position = numbers.below(6);
        let device = self.devices[position];
        // Up to ten lower, so that some are stale. Every so often all boot.
        let seq = number - numbers.below(10) as u64;
        let sequence = Sequence::new(u32::try_from(1 + seq / 50).unwrap(), seq);
        let at = AT + Duration::from_secs(10 * number);
        let device_id = id(device);
        match numbers.below(5) {
            0 => {
                let mut beat = sample_beat(device, (sequence.boot_epoch, seq));
                beat.keyset_version = numbers.below(2) as u64;
                // The first device takes the release for good, the third never does.
                let is_new = numbers.below(4) == 0;
                let old_version = ["1.0.0", "1.0.1"][numbers.below(2)];
                (beat.firmware.version, beat.firmware.release_counter) =
                    if (is_new && position != 2) || (position == 0 && number > 50) {
                        (Text::truncated("2.0.0"), 2)
                    } else {
                        (Text::truncated(old_version), 1)
                    };
                beat.acks = Rows::truncated(self.acks(numbers));
                Beat { heartbeat: beat, at }.into()
            }
            1 => AckBatch { device_id, sequence, acks: self.acks(numbers), at }.into(),
            2 => {
                let punches = (0..numbers.below(5)).map(|_| punch(numbers)).collect();
                PunchBatch { device_id, sequence, punches, at }.into()
            }
            3 => {
                let line = |numbers: &mut Numbers| LogLine {
                    at: AT,
                    level: LogLevel::Info,
                    message: Text::truncated(&format!("line {}", numbers.below(100))),
                };
                let first_line_no = 1 + number / 8 + numbers.below(4) as u64;
                let lines = (0..numbers.below(5)).map(|_| line(numbers)).collect();
                LogBatch { device_id, sequence, first_line_no, lines, at }.into()
            }
            _ => {
                let mut status = status(device, sequence, numbers);
                match (position, status.step) {
                    (0, UpdateStep::Succeeded | UpdateStep::Halted) => status.step = UpdateStep::Downloading,
                    (2, _) => status.step = UpdateStep::Halted,
                    _ => {}
                }
                StatusReport { status, at }.into()
            }
        }
    }

    /// ACKs of commands of any device of this half; some are repeated.
    fn acks(&self, numbers: &mut Numbers) -> Vec<Ack> {
        let states = [AckState::Received, AckState::Received, AckState::Succeeded, AckState::Failed];
        let ack = |numbers: &mut Numbers| Ack {
            command_id: self.commands[numbers.below(self.commands.len())].clone(),
            state: states[numbers.below(states.len())],
            detail: Text::truncated(&format!("detail {}", numbers.below(100))),
        };
        (0..numbers.below(4)).map(|_| ack(numbers)).collect()
    }

    /// A text in which the half's own names are those of any half.
    fn without_names(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (number, device) in self.devices.iter().enumerate() {
            text = text.replace(device, &format!("device {number}"));
        }
        for (number, command_id) in self.commands.iter().enumerate() {
            text = text.replace(command_id.as_str(), &format!("command {number}"));
        }
        text
    }

    /// All that is stored of the half's devices, without their names and rows.
    fn stored(&self, reader: &mut impl StoreReader) -> Vec<String> {
        let mut stored = Vec::new();
        for beat in reader.heartbeats(0, 9_999).unwrap() {
            if self.devices.contains(&beat.device_id.as_str()) {
                stored.push(format!("{:?}", (beat.device_id, beat.sequence, beat.uptime_s, beat.received_at)));
            }
        }
        for device_id in self.devices.map(id) {
            let device = reader.device(&device_id).unwrap();
            stored.push(format!(
                "{:?}",
                device.map(|device| {
                    let runs = (device.firmware_version, device.release_counter, device.keyset_version);
                    (device.status, device.sequence, device.last_seen_at, runs)
                })
            ));
            stored.push(format!("{:?}", reader.last_heartbeat(&device_id).unwrap()));
            stored.push(format!("{:?}", reader.firmware_history(&device_id, 99).unwrap()));
            let of_device = CommandFilter { device_id: Some(device_id.clone()), ..CommandFilter::default() };
            for command in reader.commands(&of_device, 0, 99).unwrap() {
                let times = (command.delivered_at, command.finished_at);
                stored.push(format!("{:?}", (command.command_id, command.state, times, command.detail)));
            }
            let lines = LogFilter { device_id: Some(device_id.clone()), ..LogFilter::default() };
            for line in reader.logs(&lines, i64::MAX, 9_999, 9_999).unwrap().lines {
                stored.push(format!("{:?}", (line.at, line.received_at, line.level, line.message)));
            }
            let (since, until) = (UnixMs(0), AT + Duration::from_hours(9_999));
            let punches = PunchFilter { site: None, device_id: Some(device_id), since, until };
            stored.push(format!("{:?}", reader.punches(&punches, None, 9_999).unwrap().0));
        }
        for update in reader.updates(1, &UpdateFilter::default(), 0, 99).unwrap() {
            if self.devices.contains(&update.device_id.as_str()) {
                stored.push(format!("{:?}", (update.device_id, update.update, update.detail)));
            }
        }
        stored.iter().map(|text| self.without_names(text)).collect()
    }

    fn named(&self, results: Vec<Result<HotDone, Denied>>) -> Vec<String> {
        results.into_iter().map(|result| self.without_names(&format!("{result:?}"))).collect()
    }
}

struct Numbers(ChaCha20Rng);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0.next_u32() as usize % bound
    }
}

fn punch(numbers: &mut Numbers) -> Punch {
    Punch {
        punch_no: Sequence::new(0, 1 + numbers.below(40) as u64).seq,
        at: AT,
        badge: Text::truncated(["anna", "ben"][numbers.below(2)]),
        direction: Direction::In,
        method: PunchMethod::Card,
    }
}

fn status(device: &str, sequence: Sequence, numbers: &mut Numbers) -> FirmwareStatus {
    use UpdateStep as U;
    let steps = [U::Downloading, U::Downloading, U::Installing, U::Rebooting];
    let ends = [U::Succeeded, U::Halted];
    let step = if numbers.below(8) == 0 { ends[numbers.below(2)] } else { steps[numbers.below(4)] };
    rollout_setup::status(device, (sequence.boot_epoch, sequence.seq.get()), step)
}

/// Two halves of devices: three registered with commands and a release on offer, one that has not registered, one revoked.
fn halves(store: &mut impl Store, reader: &mut impl StoreReader) -> [Half; 2] {
    let mut halves = [["A-1", "A-2", "A-3", "A-4", "A-5", "A-6"], ["B-1", "B-2", "B-3", "B-4", "B-5", "B-6"]]
        .map(|devices| Half { devices, commands: Vec::new() });
    let registered: Vec<&str> = halves.iter().flat_map(|half| half.devices[..3].iter().copied()).collect();
    let and_revoked = registered.iter().copied().chain(halves.iter().map(|half| half.devices[4]));
    let devices: Vec<_> = and_revoked.zip(1..).map(|(device, seed)| (device, seed, "north")).collect();
    rollout_setup::more_devices(store, &devices);
    for (half, seed) in halves.iter().zip([90, 91]) {
        let whitelisted = super::new_device(half.devices[3], seed);
        let part = super::Part::whole(1);
        commit(store, |store| rules::devices::import(store, std::slice::from_ref(&whitelisted), part, &by())).unwrap();
        commit(store, |store| rules::devices::revoke(store, &named(&half.devices[4..5]), "stolen", &by()));
    }
    rollout_setup::active(store, "fw-2", 2);
    let targets: Vec<_> = registered.iter().map(|device| (*device, 0, 100)).collect();
    let rollout = rollout_setup::new_rollout(reader, "r1", "fw-2", &targets);
    rollout_setup::create(store, &rollout).unwrap();
    assert_eq!(rollout_setup::offer(store, 1, rollout_setup::everybody()), 6);
    for round in 0..COMMANDS_EACH {
        for (half, order) in halves.iter_mut().zip(["a", "b"]) {
            half.commands.extend(queue(store, reader, &format!("{order}{round}"), &half.devices[..3]));
        }
    }
    halves
}

/// For each kind of hot work, a request of each of this many devices that changes all that such a request can change.
pub fn works_of_each_kind(store: &mut impl Store, reader: &mut impl StoreReader, devices: u8) -> Vec<Vec<HotWork>> {
    let names: Vec<String> = (0..devices).map(|number| format!("D-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    rollout_setup::more_devices(
        store,
        &names.iter().zip(1..).map(|(name, seed)| (*name, seed, "north")).collect::<Vec<_>>(),
    );
    rollout_setup::active(store, "fw-2", 2);
    let targets: Vec<_> = names.iter().map(|name| (*name, 0, 100)).collect();
    rollout_setup::create(store, &rollout_setup::new_rollout(reader, "r1", "fw-2", &targets)).unwrap();
    assert_eq!(rollout_setup::offer(store, 1, rollout_setup::everybody()), u32::from(devices));
    // One command to be ACKed by each device's heartbeat, and one to be delivered by its answer and ACKed alone.
    let [early, late] = ["early", "late"].map(|order| queue(store, reader, order, &names));
    let numbers = &mut Numbers(ChaCha20Rng::seed_from_u64(1));
    let ack = |command_id: &CommandId| Ack {
        command_id: command_id.clone(),
        state: AckState::Succeeded,
        detail: Text::truncated("done"),
    };
    let (mut beats, mut acks, mut punches, mut lines, mut statuses) = (vec![], vec![], vec![], vec![], vec![]);
    for (name, (early, late)) in names.iter().zip(early.iter().zip(&late)) {
        let (device_id, sequence, at) = (id(name), |seq| Sequence::new(2, seq), AT);
        let mut beat = sample_beat(name, (2, 1));
        (beat.firmware.version, beat.firmware.release_counter) = (Text::truncated("2.0.0"), 2);
        beat.acks = Rows::truncated(vec![ack(early)]);
        beats.push(Beat { heartbeat: beat, at }.into());
        acks.push(AckBatch { device_id: device_id.clone(), sequence: sequence(2), acks: vec![ack(late)], at }.into());
        let twice = vec![punch(numbers); 2];
        punches.push(PunchBatch { device_id: device_id.clone(), sequence: sequence(3), punches: twice, at }.into());
        let line = LogLine { at, level: LogLevel::Info, message: Text::truncated("a line") };
        lines.push(LogBatch { device_id, sequence: sequence(4), first_line_no: 1, lines: vec![line], at }.into());
        statuses.push(StatusReport { status: rollout_setup::status(name, (2, 5), UpdateStep::RolledBack), at }.into());
    }
    vec![beats, acks, punches, lines, statuses]
}

/// Guarantee: requests that are run in batches have the same results, and leave the same rows, as one at a time: with repeated
/// devices, stale pairs, and devices that are unknown, not registered or revoked.
pub fn a_batch_equals_its_requests_one_at_a_time(store: &mut impl Store, reader: &mut impl StoreReader) {
    let mut halves = halves(store, reader);
    let mut drawn = String::new();
    for round in 0..ROUNDS {
        // Commands that wait, so that a batch delivers some to several devices.
        for (half, order) in halves.iter_mut().zip(["c", "d"]) {
            half.commands.extend(queue(store, reader, &format!("{order}{round}"), &half.devices[..3]));
        }
        let [together, alone] = &halves;
        let first = 20 + round * WORKS;
        let works = together.works(round, first);
        let batched = commit(store, |store| {
            let works = requests(store, &works)?;
            let (mut results, mut left) = (Vec::new(), works.as_slice());
            while !left.is_empty() {
                let (batch, rest) = left.split_at(rules::hot::batch_len(left));
                results.extend(rules::hot::record(store, &batch.iter().collect::<Vec<_>>())?);
                left = rest;
            }
            Ok(results)
        });
        let works = alone.works(round, first);
        let works = commit(store, |store| requests(store, &works));
        let one_by_one: Vec<_> =
            works.iter().flat_map(|work| commit(store, |store| rules::hot::record(store, &[work]))).collect();
        let results = alone.named(one_by_one);
        assert_eq!(together.named(batched), results, "round {round}");
        assert_eq!(together.stored(reader), alone.stored(reader), "round {round}");
        drawn += &format!("{results:?}{:?}", alone.stored(reader));
    }
    let missed: Vec<&str> = REACHED.into_iter().filter(|reached| !drawn.contains(reached)).collect();
    assert!(missed.is_empty(), "the draw does not reach {missed:?}: draw other numbers");
}
