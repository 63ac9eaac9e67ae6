//! `do = "outage"`: the network is down.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{Check, Kind, Step, StepBehavior, StepContext, kind, later};
use crate::run::outages;
use crate::scenario::{
    problem::{Problem, Problems, any_of, closest_value, quoted},
    reader::{Field, Reader},
};

/// The network is down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// How long; it may outlast the run.
    pub length: Duration,
    pub scope: OutageScope,
    /// Requests arrive but answers don't, as behind a firewall that dropped the connection's state.
    pub half_open: bool,
}

/// The devices that an outage affects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutageScope {
    /// All devices.
    EverySite,
    /// The devices of one site of the fleet.
    Site(String),
}

pub(super) const KIND: Kind = kind! {
    "outage", "an `outage` step", nature, read,
    "The network is down (outages may overlap): a new request fails immediately with `CONNECT_FAILED`; one in flight ends with `CONNECTION_LOST`, though the server may have processed it.",
    "for": "duration", "required", "`\"1ms\"` to `\"90d\"`", "how long; it may outlast the run";
    "site": "label", "every site", "a site of the fleet", "the site affected";
    "half_open": "`true`, `false`", "`false`", "", "`true`: requests still arrive but no answer does, as behind a firewall that dropped the connection's state; each ends as `TIMEOUT`";
};

fn read(table: &Reader<'_>, problems: &mut Problems) -> Check {
    let length = table.duration("for", problems);
    let site = table.text("site", problems);
    let half_open = table.boolean("half_open", problems);
    Box::new(move |judge| {
        let length = judge.length(length);
        let scope = scope(site, judge.known.sites.as_deref(), judge.problems);
        let half_open = judge.or_default(half_open, false);
        let (length, scope, half_open) = (length?, scope?, half_open?.value);
        Some(Step::Outage(Outage { length, scope, half_open }))
    })
}

/// The affected site, or all.
fn scope(site: Field<String>, sites: Option<&[String]>, problems: &mut Problems) -> Option<OutageScope> {
    let site = match site {
        Field::Absent => return Some(OutageScope::EverySite),
        Field::Wrong => return None,
        Field::Given(site) => site,
    };
    let sites: Vec<&str> = sites?.iter().map(String::as_str).collect();
    if sites.contains(&site.value.as_str()) {
        return Some(OutageScope::Site(site.value));
    }
    let near = closest_value(&site.value, sites.iter().copied());
    let message = format!("the fleet has no site {}", quoted(&site.value));
    problems.push(Problem::new(site.at, message).expected(any_of(&sites)).suggest(near));
    None
}

impl StepBehavior for Outage {
    async fn act(&self, context: &mut StepContext<'_>) -> Result<(), String> {
        let site = match &self.scope {
            OutageScope::EverySite => None,
            OutageScope::Site(name) => {
                context.note("site", json!(name));
                context.plan.fleet.sites.iter().position(|site| site.name == *name)
            }
        };
        let (run_context, half_open) = (context.run_context, self.half_open);
        let network_faults = Arc::clone(&run_context.network_faults);
        let (outages, time) = (Arc::clone(&run_context.outages), run_context.time);
        let from = time.elapsed();
        if half_open {
            network_faults.half_open(site);
        } else {
            network_faults.take_down(site);
        }
        later(run_context, self.length, "outage_ended", move || {
            outages.end(outages::Outage { what: KIND.name, site, from, to: time.elapsed() });
            if half_open { network_faults.open(site) } else { network_faults.bring_up(site) }
        });
        Ok(())
    }

    fn fault(&self, _: Duration) -> Option<Duration> {
        Some(self.length)
    }
}
