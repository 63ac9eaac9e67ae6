//! A small fleet whose devices take offers and reach outcomes, so that every tally is a possible one.

use std::collections::BTreeMap;

use crate::rollout::{
    outcome::Outcome,
    tally::{Cell, Tally},
    update::UpdateState,
};

/// A device of the fleet.
#[derive(Debug, Clone)]
pub(super) struct Device {
    stage: usize,
    model: &'static str,
    site: &'static str,
    state: UpdateState,
}

/// Devices that take offers and reach outcomes, so that every tally is a possible one.
#[derive(Debug, Clone)]
pub(super) struct Fleet {
    devices: Vec<Device>,
    /// Percentage that fails, by model.
    failing: [u64; 2],
}

pub(in crate::rollout) const MODELS: [&str; 2] = ["KS-100", "KS-200"];
pub(in crate::rollout) const SITES: [&str; 2] = ["north", "south"];

/// The next pseudo-random number (SplitMix64).
pub(in crate::rollout) fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*seed ^ *seed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

/// The tally with up to so many of its confirmed devices silent, the last cells first.
pub(super) fn silent(mut count: u32, tally: Tally) -> Tally {
    let mut suspects = Vec::new();
    for cell in tally.cells.iter().rev().filter(|cell| cell.state == UpdateState::Confirmed && cell.count > 0) {
        let of_cell = count.min(cell.count);
        if of_cell > 0 {
            suspects.push(Cell { count: of_cell, ..cell.clone() });
        }
        count -= of_cell;
    }
    Tally { suspects, ..tally }
}

/// The tally once its suspects are lost, device by device.
pub(super) fn once_lost(tally: &Tally) -> Tally {
    let mut devices: Vec<Cell> = Vec::new();
    for cell in &tally.cells {
        let of_it = tally.suspects.iter().filter(|suspect| suspect.place() == cell.place());
        let mut silent: u32 = of_it.filter(|_| cell.state == UpdateState::Confirmed).map(|suspect| suspect.count).sum();
        for _ in 0..cell.count {
            let state = if silent > 0 { UpdateState::Lost } else { cell.state };
            silent = silent.saturating_sub(1);
            devices.push(Cell { state, count: 1, ..cell.clone() });
        }
    }
    Tally { cells: devices, ..Tally::default() }
}

impl Fleet {
    /// A quarter of the devices in each stage but the last, the rest there.
    pub(super) fn new(count: usize, stages: usize, failing: [u64; 2]) -> Self {
        let device = |number: usize| Device {
            stage: (number % 4).min(stages - 1),
            model: MODELS[number / 4 % 2],
            site: SITES[number / 8 % 2],
            state: UpdateState::Pending,
        };
        Self { devices: (0..count).map(device).collect(), failing }
    }

    pub(super) fn tally(&self, suspects: u32) -> Tally {
        let mut cells: BTreeMap<_, u32> = BTreeMap::new();
        for Device { stage, model, site, state } in &self.devices {
            *cells.entry((*stage, *model, *site, *state)).or_default() += 1;
        }
        let cells = cells.into_iter().map(|((stage, model, site, state), count)| Cell {
            stage,
            model: model.to_owned(),
            site: site.to_owned(),
            state,
            count,
        });
        silent(suspects, Tally { cells: cells.collect(), ..Tally::default() })
    }

    fn is_so(&mut self, so: impl Fn(&Device) -> bool) -> impl Iterator<Item = &mut Device> {
        self.devices.iter_mut().filter(move |device| so(device))
    }

    pub(super) fn offer(&mut self, count: u32, stage: usize) -> u32 {
        let waiting = self.is_so(|device| device.state == UpdateState::Pending && device.stage <= stage);
        let offered = waiting.take(count as usize).map(|device| device.state = UpdateState::Offered);
        u32::try_from(offered.count()).unwrap()
    }

    pub(super) fn halt(&mut self) {
        for device in self.is_so(|device| matches!(device.state, UpdateState::Pending | UpdateState::Offered)) {
            device.state = UpdateState::Halted;
        }
    }

    /// Some devices progress, some fail, and sometimes a person withdraws one.
    pub(super) fn move_on(&mut self, seed: &mut u64) {
        use UpdateState as S;
        let failing = self.failing;
        // What breaks devices hours later, once all have it.
        let is_quiet = !self.devices.iter().any(|device| device.state == S::Pending || device.state.is_in_flight());
        for device in &mut self.devices {
            let is_final = device.state.outcome().is_some_and(Outcome::is_failure) || device.state == S::Halted;
            if random(seed).is_multiple_of(256) && !is_final {
                device.state = S::Withdrawn;
            }
            let fails = random(seed) % 100 < failing[usize::from(device.model == MODELS[1])];
            device.state = match (device.state, random(seed) % 8) {
                (S::Offered, 0) => S::Pending,
                (S::Offered, 1..=5) => S::Downloading,
                (S::Downloading, 0..=5) if fails => [S::Failed, S::Rejected, S::TimedOut][(random(seed) % 3) as usize],
                (S::Downloading, 0..=5) => S::Installing,
                (S::Installing, 0..=5) if fails => {
                    [S::RolledBack, S::FalseSuccess, S::Lost][(random(seed) % 3) as usize]
                }
                (S::Installing, 0..=5) => S::Confirming,
                (S::Confirming, 0..=5) => S::Confirmed,
                (S::Confirmed, 0) if fails && random(seed).is_multiple_of(8) => S::Lost,
                (S::Confirmed, 1) if is_quiet && random(seed).is_multiple_of(16) => S::Lost,
                (state, _) => state,
            };
        }
    }
}
