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

use super::{AT, by, commands::queue, commit, id, named, rollouts, sample_beat};
use crate::{
    rules,
    store::{
        Denied, Store, StoreReader,
        commands::{AckBatch, CommandFilter},
        heartbeats::Beat,
        hot::{HotDone, HotWork},
        logs::{LogBatch, LogFilter},
        punches::{PunchBatch, PunchFilter},
        rollouts::{StatusReport, UpdateFilter},
    },
};

/// Batches drawn, and requests in each.
const ROUNDS: u64 = 30;
const WORKS: u64 = 24;
const COMMANDS_EACH: usize = 8;

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
        let device = self.devices[numbers.below(6)];
        // Up to ten lower, so that some are stale.
        let sequence = Sequence::new(1, number - numbers.below(10) as u64);
        let at = AT + Duration::from_secs(number);
        let device_id = id(device);
        match numbers.below(5) {
            0 => {
                let mut beat = sample_beat(device, (1, sequence.seq.get()));
                beat.keyset_version = numbers.below(2) as u64;
                if numbers.below(4) == 0 {
                    (beat.firmware.version, beat.firmware.release_counter) = (Text::truncated("2.0.0"), 2);
                }
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
            _ => StatusReport { status: status(device, sequence, numbers), at }.into(),
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
    let steps = [U::Downloading, U::Downloading, U::Installing, U::Rebooting, U::Succeeded, U::Halted];
    rollouts::status(device, (sequence.boot_epoch, sequence.seq.get()), steps[numbers.below(steps.len())])
}

/// Two halves of devices: three registered with commands and a release on offer, one that has not registered, one revoked.
fn halves(store: &mut impl Store, reader: &mut impl StoreReader) -> [Half; 2] {
    let mut halves = [["A-1", "A-2", "A-3", "A-4", "A-5", "A-6"], ["B-1", "B-2", "B-3", "B-4", "B-5", "B-6"]]
        .map(|devices| Half { devices, commands: Vec::new() });
    let registered: Vec<&str> = halves.iter().flat_map(|half| half.devices[..3].iter().copied()).collect();
    let and_revoked = registered.iter().copied().chain(halves.iter().map(|half| half.devices[4]));
    let devices: Vec<_> = and_revoked.zip(1..).map(|(device, seed)| (device, seed, "north")).collect();
    rollouts::more_devices(store, &devices);
    for (half, seed) in halves.iter().zip([90, 91]) {
        let whitelisted = super::new_device(half.devices[3], seed);
        let part = super::Part::whole(1);
        commit(store, |store| rules::devices::import(store, std::slice::from_ref(&whitelisted), part, &by())).unwrap();
        commit(store, |store| rules::devices::revoke(store, &named(&half.devices[4..5]), "stolen", &by()));
    }
    rollouts::active(store, "fw-2", 2);
    let targets: Vec<_> = registered.iter().map(|device| (*device, 0, 100)).collect();
    let rollout = rollouts::new_rollout(reader, "r1", "fw-2", &targets);
    rollouts::create(store, &rollout).unwrap();
    assert_eq!(rollouts::offer(store, 1, rollouts::everybody()), 6);
    for round in 0..COMMANDS_EACH {
        for (half, order) in halves.iter_mut().zip(["a", "b"]) {
            half.commands.extend(queue(store, reader, &format!("{order}{round}"), &half.devices[..3]));
        }
    }
    halves
}

/// Guarantee: requests that are run in batches have the same results, and leave the same rows, as one at a time: with repeated
/// devices, stale pairs, and devices that are unknown, not registered or revoked.
pub fn a_batch_equals_its_requests_one_at_a_time(store: &mut impl Store, reader: &mut impl StoreReader) {
    let [together, alone] = halves(store, reader);
    for round in 0..ROUNDS {
        let first = 20 + round * WORKS;
        let works = together.works(round, first);
        let batched = commit(store, |store| {
            let (mut results, mut left) = (Vec::new(), works.as_slice());
            while !left.is_empty() {
                let (batch, rest) = left.split_at(rules::hot::batch_len(left));
                results.extend(rules::hot::record(store, &batch.iter().collect::<Vec<_>>())?);
                left = rest;
            }
            Ok(results)
        });
        let works = alone.works(round, first);
        let one_by_one: Vec<_> =
            works.iter().flat_map(|work| commit(store, |store| rules::hot::record(store, &[work]))).collect();
        assert_eq!(together.named(batched), alone.named(one_by_one), "round {round}");
        assert_eq!(together.stored(reader), alone.stored(reader), "round {round}");
    }
    let ended = |half: &Half, reader: &mut dyn StoreReader| {
        let of_device = CommandFilter { device_id: Some(id(half.devices[0])), ..CommandFilter::default() };
        reader.commands(&of_device, 0, 99).unwrap().iter().filter(|command| command.state.is_terminal()).count()
    };
    assert!(ended(&together, reader) > 0, "the draw reaches commands");
}
