//! The devices of a rollout, counted by the state of their updates: all that an evaluation sees of them.

use super::update::UpdateState;

/// The number of devices of one stage and stratum in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The stage that adds them.
    pub stage: usize,
    pub model: String,
    pub site: String,
    /// The state of their updates.
    pub state: UpdateState,
    pub count: u32,
}

impl Cell {
    /// The stage, model and site of its devices.
    pub(super) fn place(&self) -> (usize, &str, &str) {
        (self.stage, &self.model, &self.site)
    }

    /// Whether it counts the same kind of devices.
    fn is_like(&self, other: &Self) -> bool {
        self.state == other.state && self.place() == other.place()
    }
}

/// The devices of a rollout, counted by the state of their updates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// One cell for each stage, model, site and state that occurs.
    pub cells: Vec<Cell>,
    /// Devices that have begun to install, are silent now and not yet lost, by cell; `cells` counts them in the same states. Nothing is
    /// promoted that would not be if they were lost.
    pub suspects: Vec<Cell>,
    /// Confirmed devices that another rollout has taken since: whatever becomes of them counts there. Counted with `suspects`.
    pub taken: u32,
}

impl Tally {
    /// The devices of matching cells.
    pub fn count(&self, matches: impl Fn(&Cell) -> bool) -> u32 {
        self.cells.iter().filter(|cell| matches(cell)).map(|cell| cell.count).sum()
    }

    /// How many devices are suspects.
    pub fn silent(&self) -> u32 {
        self.suspects.iter().map(|cell| cell.count).sum()
    }

    /// The tally if every suspect were lost.
    pub(super) fn with_suspects_lost(&self) -> Self {
        let mut cells = self.cells.clone();
        for suspect in &self.suspects {
            if let Some(cell) = cells.iter_mut().find(|cell| cell.is_like(suspect)) {
                cell.count = cell.count.saturating_sub(suspect.count);
            }
            cells.push(Cell { state: UpdateState::Lost, ..suspect.clone() });
        }
        Self { cells, ..Tally::default() }
    }
}

/// Devices whose update failed.
pub fn failed(tally: &Tally) -> u32 {
    tally.count(|cell| cell.state.is_failure())
}
