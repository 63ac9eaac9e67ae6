//! How a release really behaves, hidden from the server: a list of faults, each with the devices that it can hit.

use std::time::Duration;

use super::{Share, hours::Hours, plan::Fleet};

/// One fault of a release. The shares are of the devices in its scope that install the release, in basis points, together at
/// most 10,000: a device has one of these outcomes or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Devices on which writing it into the slot fails.
    pub install_fails_bp: u16,
    /// Devices on which it does not boot, so that the old firmware runs again.
    pub boot_fails_bp: u16,
    /// Devices that never come back.
    pub bricks_bp: u16,
    /// Devices that die later.
    pub dies_bp: u16,
    /// After about how long.
    pub dies_after: Duration,
    /// Devices that report it without running it.
    pub lies_bp: u16,
    /// The devices that it can hit.
    pub scope: Scope,
}

/// Which devices a fault can hit, and when: all conditions together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Devices of this model only.
    pub only_model: Option<String>,
    /// Devices that are at this site only.
    pub only_site: Option<String>,
    /// Devices that run this version before only.
    pub from_version: Option<String>,
    /// Devices that have been up for at least this long when the image is written.
    pub uptime_min: Duration,
    /// Devices that have been up for less than this.
    pub uptime_max: Option<Duration>,
    /// When the image is written.
    pub hours: Option<Hours>,
}

impl Fault {
    /// One that never happens.
    pub fn none(scope: Scope) -> Self {
        let [install_fails_bp, boot_fails_bp, bricks_bp, dies_bp, lies_bp] = [0; 5];
        let dies_after = Duration::from_hours(1);
        Self { install_fails_bp, boot_fails_bp, bricks_bp, dies_bp, dies_after, lies_bp, scope }
    }

    /// The shares of all outcomes.
    pub fn shares_bp(&self) -> [u16; 5] {
        [self.install_fails_bp, self.boot_fails_bp, self.bricks_bp, self.dies_bp, self.lies_bp]
    }

    /// Devices in its scope that it hits, in basis points.
    pub fn hits_bp(&self) -> u32 {
        self.shares_bp().into_iter().map(u32::from).sum()
    }

    /// Changes every share to `share * numerator / denominator`, rounded down.
    pub fn scale(&mut self, numerator: u64, denominator: u64) {
        let Self { install_fails_bp, boot_fails_bp, bricks_bp, dies_bp, lies_bp, .. } = self;
        for share_bp in [install_fails_bp, boot_fails_bp, bricks_bp, dies_bp, lies_bp] {
            let scaled = (u64::from(*share_bp) * numerator).checked_div(denominator);
            *share_bp = scaled.and_then(|scaled| u16::try_from(scaled).ok()).unwrap_or(u16::MAX);
        }
    }
}

impl Scope {
    /// Whether every device of `other` is in this scope too.
    pub fn covers(&self, other: &Self) -> bool {
        let same = |own: &Option<String>, other: &Option<String>| own.is_none() || own == other;
        same(&self.only_model, &other.only_model)
            && same(&self.only_site, &other.only_site)
            && same(&self.from_version, &other.from_version)
            && self.uptime_min <= other.uptime_min
            && self.uptime_max.is_none_or(|own| other.uptime_max.is_some_and(|other| other <= own))
            && self.hours.is_none_or(|own| other.hours.is_some_and(|other| own.cover(other)))
    }
}

/// The share of the fleet that these faults hit, in basis points, rounded up: each fault is drawn for itself, and models and sites
/// count by their weights. Conditions on version, uptime and hour are taken as met.
pub fn hit_bp_of_fleet(faults: &[Fault], fleet: &Fleet) -> u16 {
    let weight = |of: &Share| f64::from(of.share);
    let total = |shares: &[Share]| shares.iter().map(weight).sum::<f64>().max(1.0);
    let is_spared = |only: &Option<String>, own: &Share| only.as_deref().is_some_and(|only| only != own.name);
    let mut hit = 0.0;
    for model in &fleet.models {
        for site in &fleet.sites {
            let can_hit =
                |fault: &&Fault| !is_spared(&fault.scope.only_model, model) && !is_spared(&fault.scope.only_site, site);
            let spared: f64 =
                faults.iter().filter(can_hit).map(|fault| 1.0 - f64::from(fault.hits_bp()) / 10_000.0).product();
            hit += weight(model) * weight(site) * (1.0 - spared);
        }
    }
    let share_bp = hit / total(&fleet.models) / total(&fleet.sites) * 10_000.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share is from 0 to 10,000")]
    let rounded = (share_bp - 1e-6).ceil().clamp(0.0, 10_000.0) as u16;
    rounded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_covers_what_is_narrower_in_every_respect() {
        let all = Scope::default();
        let narrow = Scope {
            only_model: Some("A".to_owned()),
            uptime_min: Duration::from_hours(2),
            uptime_max: Some(Duration::from_hours(3)),
            hours: Hours::parse("22-06"),
            ..Scope::default()
        };
        assert!(all.covers(&narrow) && all.covers(&all) && narrow.covers(&narrow) && !narrow.covers(&all));
        let wider = Scope { uptime_max: Some(Duration::from_hours(4)), ..narrow.clone() };
        assert!(wider.covers(&narrow) && !narrow.covers(&wider));
        let earlier = Scope { uptime_min: Duration::from_hours(1), hours: None, ..narrow.clone() };
        assert!(earlier.covers(&narrow) && !narrow.covers(&earlier));
        let elsewhere = Scope { only_site: Some("north".to_owned()), ..Scope::default() };
        assert!(!elsewhere.covers(&narrow) && !narrow.covers(&elsewhere));
    }
}
