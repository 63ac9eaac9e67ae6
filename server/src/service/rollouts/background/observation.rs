//! One pass over heartbeats in the order of commits: a few numbers for each device, and every silence.

use std::{collections::BTreeMap, time::Duration};

use ks_protocol::time::UnixMs;

use super::{
    Background, LeftOut, Limits, LookSchedule, NotMeasured, OfModel, SILENCES_PER_DAY_MAX, Silences, WINDOW_MIN, sites,
};
use crate::{
    clock::{is_ahead, ms},
    service::presence::silence_ms,
    store::{
        heartbeats::HeartbeatRecord,
        presence::{LastSeenRecord, ObservationGap},
    },
};

/// Most silences kept in memory, and more than any fleet has whose heartbeats come at their interval.
const SILENCES_MAX: usize = 1_000_000;
/// A site with fewer devices shows no outage of its own: the gates judge no smaller one either.
const SITE_DEVICES_MIN: usize = 3;
/// Most silences that one stands for: it would be nearly as long as the window.
const ESTIMATED_MAX: f64 = 4.0;
/// Devices silent for longer at the end say nothing about their site.
const WITNESS_MS: u64 = 24 * 3_600_000;

/// What was heard of a device.
struct DeviceContact<'a> {
    model: &'a str,
    site: &'a str,
    first: Option<UnixMs>,
    last: UnixMs,
    boot_epoch: u32,
    release_counter: u64,
    /// Its silences, in milliseconds.
    silent_ms: u64,
}

/// When a time between two heartbeats that were heard is a silence.
#[derive(Debug, Clone, Copy)]
struct Rule {
    /// If it is longer.
    limit_ms: u64,
    /// How much longer than the silence it is, on average.
    unheard_ms: u64,
}

impl Rule {
    fn of(limits: Limits, looks: Option<LookSchedule>) -> Self {
        let limit_ms = ms(limits.silence());
        let Some(looks) = looks else { return Self { limit_ms, unheard_ms: 0 } };
        // A device that is not silent is heard in each look, also if it misses a heartbeat. Of its `n` heartbeats from look to look two
        // are in a look. The last one before a silence is the first, second, ... of the other `n - 2` as often as any, so the last
        // that was heard is earlier by (n - 1) (n - 2) / 2n intervals on average; and so is the first after it later.
        let (every_ms, lasts_ms) = (ms(looks.every), ms(looks.lasts));
        let unheard_ms = (every_ms - lasts_ms) * (every_ms - lasts_ms / 2) / every_ms.max(1);
        Self { limit_ms: limit_ms + every_ms, unheard_ms }
    }
}

impl<'a> DeviceContact<'a> {
    /// Its silence up to `to`, if it was one while a server was listening.
    fn silence(
        &mut self,
        first: UnixMs,
        to: UnixMs,
        ending: SilenceEnd,
        rule: Rule,
        gaps: &[ObservationGap],
    ) -> Option<Silence<'a>> {
        let length_ms = silence_ms(self.last, to, gaps).filter(|length_ms| *length_ms > rule.limit_ms)?;
        let length_ms = length_ms - rule.unheard_ms;
        self.silent_ms += length_ms;
        Some(Silence { model: self.model, site: self.site, first, from: self.last, to, length_ms, ending })
    }
}

/// What a silence ended with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SilenceEnd {
    Boot,
    /// The same boot.
    Link,
    /// Other firmware.
    Update,
    /// It has not ended.
    Lasts,
}

struct Silence<'a> {
    model: &'a str,
    site: &'a str,
    /// When its device was first heard.
    first: UnixMs,
    from: UnixMs,
    to: UnixMs,
    /// Without the time in which no server was listening.
    length_ms: u64,
    ending: SilenceEnd,
}

/// Devices as they are heard.
pub struct Observation<'a> {
    limits: Limits,
    looks: Option<LookSchedule>,
    rule: Rule,
    gaps: &'a [ObservationGap],
    devices: Vec<DeviceContact<'a>>,
    by_id: BTreeMap<&'a str, usize>,
    silences: Vec<Silence<'a>>,
    from: Option<UnixMs>,
    to: UnixMs,
}

impl<'a> Observation<'a> {
    /// Of these devices; others are not counted. With `looks`, only what was received within them will be heard.
    pub fn of(
        devices: &'a [LastSeenRecord],
        gaps: &'a [ObservationGap],
        limits: Limits,
        looks: Option<LookSchedule>,
    ) -> Self {
        let heard = |device: &'a LastSeenRecord| DeviceContact {
            model: &device.model,
            site: &device.site,
            first: None,
            last: UnixMs(0),
            boot_epoch: 0,
            release_counter: 0,
            silent_ms: 0,
        };
        let numbered = devices.iter().enumerate();
        Self {
            limits,
            looks,
            rule: Rule::of(limits, looks),
            gaps,
            devices: devices.iter().map(heard).collect(),
            by_id: numbered.map(|(number, device)| (device.device_id.as_str(), number)).collect(),
            silences: Vec::new(),
            from: None,
            to: UnixMs(0),
        }
    }

    /// The next heartbeat, in the order of commits.
    pub fn hear(&mut self, beat: &HeartbeatRecord) {
        let at = beat.received_at;
        if is_ahead(self.to, at) {
            // The clock was set back: times before that are no evidence.
            self.from = None;
            self.silences.clear();
            for device in &mut self.devices {
                (device.first, device.last, device.silent_ms) = (None, at, 0);
            }
            self.to = at;
        }
        self.from.get_or_insert(at);
        self.to = self.to.max(at);
        let Some(number) = self.by_id.get(beat.device_id.as_str()).copied() else { return };
        let Some(device) = self.devices.get_mut(number) else { return };
        let first = *device.first.get_or_insert(at);
        if first < at && at.since_ms(device.last) > self.rule.limit_ms {
            let ending = match () {
                () if beat.release_counter != device.release_counter => SilenceEnd::Update,
                () if beat.sequence.boot_epoch > device.boot_epoch => SilenceEnd::Boot,
                () => SilenceEnd::Link,
            };
            self.silences.extend(device.silence(first, at, ending, self.rule, self.gaps));
        }
        device.last = device.last.max(at);
        device.boot_epoch = beat.sequence.boot_epoch;
        device.release_counter = beat.release_counter;
    }

    /// Whether there are more silences than devices could have.
    pub fn is_too_rare(&self) -> bool {
        self.silences.len() > SILENCES_MAX
    }

    /// That heartbeats come as rarely as most of the silences are long.
    pub fn too_rare(&self) -> NotMeasured {
        let ended = self.silences.iter().filter(|silence| silence.ending != SilenceEnd::Lasts);
        let mut lengths_ms: Vec<u64> = ended.map(|silence| silence.length_ms).collect();
        lengths_ms.sort_unstable();
        let median_ms = lengths_ms.get(lengths_ms.len() / 2).copied().unwrap_or_default();
        NotMeasured::TooRare { every_s: (median_ms + 500) / 1_000 }
    }

    /// The failures of what was heard.
    ///
    /// # Errors
    /// It is too little, or not at the interval.
    pub fn end(mut self) -> Result<Background, NotMeasured> {
        let from = self.from.unwrap_or(self.to);
        if self.to.since_ms(from) < ms(WINDOW_MIN) {
            return Err(NotMeasured::TooShort);
        }
        self.end_devices();
        let ended = self.silences.iter().filter(|silence| silence.ending != SilenceEnd::Lasts).count();
        let observed_ms: u64 = self.devices.iter().map(|device| self.observed_ms(device)).sum();
        if self.is_too_rare() || ended as u64 * 24 * 3_600_000 > SILENCES_PER_DAY_MAX * observed_ms {
            return Err(self.too_rare());
        }
        let mut background = Background {
            from,
            to: self.to,
            looks: self.looks,
            models: BTreeMap::new(),
            closed: BTreeMap::new(),
            left_out: LeftOut::default(),
        };
        for device in self.devices.iter().filter(|device| device.first.is_some()) {
            let of_model = background.models.entry(device.model.to_owned()).or_default();
            of_model.devices += 1;
            of_model.observed_s += self.observed_ms(device) / 1_000;
        }
        self.count(&mut background);
        Ok(background)
    }

    /// Adds the silences that last.
    fn end_devices(&mut self) {
        for device in &mut self.devices {
            let Some(first) = device.first else { continue };
            self.silences.extend(device.silence(first, self.to, SilenceEnd::Lasts, self.rule, self.gaps));
        }
    }

    /// Time in which a device was not silent and a server was listening.
    fn observed_ms(&self, device: &DeviceContact<'_>) -> u64 {
        let known_ms = device.first.and_then(|first| silence_ms(first, self.to, self.gaps));
        known_ms.unwrap_or(0).saturating_sub(device.silent_ms)
    }

    /// Counts every silence as what it was.
    fn count(&self, background: &mut Background) {
        let mut sites: BTreeMap<&str, (usize, Vec<&Silence<'_>>)> = BTreeMap::new();
        for device in self.devices.iter().filter(|device| device.first.is_some()) {
            sites.entry(device.site).or_default().0 += 1;
        }
        for silence in &self.silences {
            sites.entry(silence.site).or_default().1.push(silence);
        }
        let window = (background.from, background.to);
        for (name, (devices, silences)) in sites {
            let (witnesses, absent): (Vec<&Silence<'_>>, Vec<_>) = silences
                .iter()
                .partition(|silence| silence.ending != SilenceEnd::Lasts || silence.length_ms <= WITNESS_MS);
            let times = witnesses.iter().map(|silence| (silence.from, silence.to));
            let site = sites::Site::of(times, devices - absent.len(), window, self.gaps);
            let is_judged = devices >= SITE_DEVICES_MIN;
            let left_out = &mut background.left_out;
            left_out.outages += if is_judged { site.outages() } else { 0 };
            for silence in silences {
                let dark = site.dark_at(silence.from, Duration::from_millis(self.rule.limit_ms));
                match (silence.ending, dark) {
                    (_, Some(dark)) if dark.is_closing => left_out.at_closing += 1,
                    (_, Some(_)) if is_judged => left_out.in_outages += 1,
                    (SilenceEnd::Lasts, _) => left_out.lasting += 1,
                    (SilenceEnd::Update, _) => left_out.updates += 1,
                    (SilenceEnd::Boot | SilenceEnd::Link, _) => {
                        let of_model = background.models.entry(silence.model.to_owned()).or_default();
                        self.add(silence, of_model);
                    }
                }
            }
            if !site.closed.is_empty() {
                background.closed.insert(name.to_owned(), site.closed);
            }
        }
    }

    fn add(&self, silence: &Silence<'_>, of_model: &mut OfModel) {
        let kind = if silence.ending == SilenceEnd::Boot { &mut of_model.unplugged } else { &mut of_model.link_down };
        let window_ms = self.to.since_ms(silence.first) as f64;
        let shown_ms = window_ms - silence.to.since_ms(silence.from) as f64;
        let estimated = if shown_ms * ESTIMATED_MAX < window_ms { ESTIMATED_MAX } else { window_ms / shown_ms };
        let is_long = silence.length_ms > ms(self.limits.lost_after);
        let length_s = estimated * silence.length_ms as f64 / 1_000.0;
        let of_length = if is_long { &mut kind.long } else { &mut kind.short };
        of_length.add(&Silences { ended: 1, estimated, length_s });
    }
}
