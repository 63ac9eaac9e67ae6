//! Segments: parts of a run's fleet, each simulated by a process of its own, on one machine or on several.
//!
//! A segment is a shard in another process. It writes what it measured, tick by tick, into its folder (`file.rs`, `saved.rs`, `reader.rs`), and
//! `ks-fleet merge` collects those ticks as a run collects its shards' ([`crate::conductor::merged`]): the same judge, the same summary.
//! `divisible.rs` refuses what can't be divided, `running.rs` is a segment as it runs, `start.rs` is about the common start and the clocks, `agreement.rs` says which segments
//! belong together.

pub mod agreement;
pub mod divisible;
pub mod file;
pub mod merge;
pub mod reader;
pub mod running;
pub mod saved;
pub mod start;

use std::{fmt, str::FromStr};

use ks_protocol::number::canonical;

use crate::scenario::Connections;

/// Most segments of a run: merging has the files of all of them open, with some megabytes for each.
pub const SEGMENTS_MAX: u32 = 256;

/// One of the parts into which a fleet is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// From 1 to `of`.
    number: u32,
    of: u32,
}

impl Segment {
    /// Segment `number` of `of`; none if there is no such segment.
    pub fn new(number: u32, of: u32) -> Option<Self> {
        ((1..=SEGMENTS_MAX).contains(&of) && (1..=of).contains(&number)).then_some(Self { number, of })
    }

    /// From 1.
    pub fn number(self) -> u32 {
        self.number
    }

    /// How many segments there are.
    pub fn of(self) -> u32 {
        self.of
    }

    /// Whether the device of this number, from 0, belongs to it: devices are dealt out in turn, so that each segment has its part of the
    /// ramp.
    pub fn has(self, device: u32) -> bool {
        device % self.of == self.number - 1
    }

    /// Which of the segment's own devices it is, from 0.
    pub fn place(self, device: u32) -> u32 {
        device / self.of
    }

    /// How many devices of a fleet belong to it.
    pub fn devices(self, fleet: u32) -> u32 {
        part(fleet, self)
    }

    /// Whether it also does what is done once for all segments: adversaries, and orders that are about the server.
    pub fn is_first(self) -> bool {
        self.number == 1
    }

    /// Its part of the fleet's connections, at least one if they are shared.
    pub fn connections(self, of_fleet: Connections) -> Connections {
        match of_fleet {
            Connections::PerDevice => Connections::PerDevice,
            Connections::Shared(count) => {
                Connections::Shared(u16::try_from(part(count.into(), self)).unwrap_or(count).max(1))
            }
        }
    }
}

/// A segment's part of so many things.
fn part(all: u32, segment: Segment) -> u32 {
    all / segment.of + u32::from(segment.number <= all % segment.of)
}

/// `2/4`, as in `--segment`.
impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Segment {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(number, of)| Some((canonical(number)?, canonical(of)?)));
        numbers.and_then(|(number, of)| Self::new(number, of)).ok_or_else(|| {
            format!("expected I/N, such as 2/4 for the second of four: I from 1 to N, N at most {SEGMENTS_MAX}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: every device belongs to exactly one segment. Method: all fleets of up to 40 devices, divided in up to 9.
    #[test]
    fn every_device_has_one_segment_and_one_place_in_it() {
        for fleet in 1..40_u32 {
            for of in 1..9 {
                let segments: Vec<Segment> = (1..=of).filter_map(|number| Segment::new(number, of)).collect();
                for device in 0..fleet {
                    assert_eq!(segments.iter().filter(|segment| segment.has(device)).count(), 1);
                }
                for segment in &segments {
                    let own: Vec<u32> = (0..fleet).filter(|device| segment.has(*device)).collect();
                    let places: Vec<u32> = own.iter().map(|device| segment.place(*device)).collect();
                    assert!(places.iter().copied().eq(0..segment.devices(fleet)), "{segment} of {fleet}: {places:?}");
                }
            }
        }
    }

    #[test]
    fn shared_connections_are_divided_too() {
        let divided = |count, of: u32| {
            let parts = (1..=of).filter_map(|number| Segment::new(number, of));
            let parts = parts.map(|segment| match segment.connections(Connections::Shared(count)) {
                Connections::Shared(count) => count,
                Connections::PerDevice => 0,
            });
            parts.collect::<Vec<_>>()
        };
        assert_eq!(divided(10, 4), [3, 3, 2, 2]);
        assert_eq!(divided(1, 2), [1, 1], "each needs one");
        assert_eq!(Segment { number: 1, of: 2 }.connections(Connections::PerDevice), Connections::PerDevice);
    }

    #[test]
    fn a_segment_is_written_as_one_of_how_many() {
        assert_eq!("2/4".parse(), Ok(Segment { number: 2, of: 4 }));
        for wrong in ["0/4", "5/4", "2", "2/", "/4", "1/0", "01/4", "1/257", "-1/4", "1/4/2", "a/b"] {
            assert!(wrong.parse::<Segment>().unwrap_err().contains("such as 2/4"), "{wrong}");
        }
        assert_eq!(Segment { number: 2, of: 4 }.to_string(), "2/4");
    }
}
