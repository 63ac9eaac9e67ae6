//! What trials are requested: the flags, and for trials that are continued, the folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use ks_protocol::{
    duration,
    number::{canonical, within},
};
use ks_reports::score::Goal;
use ks_server::rollout::policy::Policy;

use crate::{
    advise::Group,
    cli::{
        Options,
        execute::{read, read_start},
    },
    drive::rehearse::Signatures,
    failure::{Failure, REHEARSE},
    scenario::check::firmware::as_rehearsed,
    trials::{NamedPolicy, Request, Source, TRIALS, WIDTH_BP},
};

/// Largest policy file that is read.
const POLICY_BYTES_MAX: usize = 64 * 1024;
/// Longest time that trials may be given.
pub(in crate::cli) const BUDGET_MAX: Duration = Duration::from_hours(7 * 24);

/// Options of `rehearse` for trials.
#[derive(Debug, Default, clap::Args)]
pub(in crate::cli) struct TrialOptions {
    /// Rehearse this many seeds, on all cores, and report rates
    #[arg(long, value_name = "N", value_parser = within(TRIALS))]
    trials: Option<u32>,
    /// Score this rollout policy instead of the scenario's: a TOML file with the keys of a [[policy]]; may be repeated
    #[arg(long, value_name = "FILE")]
    policy: Vec<PathBuf>,
    /// Make the firmware break these percentages of devices: 0,0.5,1,2
    #[arg(long, value_name = "RATES", value_delimiter = ',', value_parser = rate_bp)]
    bug_rates: Vec<u16>,
    /// Make the firmware break devices of this model only
    #[arg(long, value_name = "MODEL", conflicts_with = "bug_site")]
    bug_model: Option<String>,
    /// Make the firmware break devices at this site only
    #[arg(long, value_name = "SITE")]
    bug_site: Option<String>,
    /// End once every policy is `distinguished` from every other one, or with `width=5%` once no limits of a share are
    /// further apart; valid however often it is looked at
    #[arg(long, value_name = "GOAL", value_parser = goal)]
    until: Option<Goal>,
    /// Start no trial after this much real time: 20m
    #[arg(long, value_name = "D", value_parser = duration::within(Duration::from_secs(1)..=BUDGET_MAX))]
    budget: Option<Duration>,
    /// Make the trials that this folder of an interrupted score lacks; other flags may be omitted, or must be the same
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    resume: Option<PathBuf>,
}

/// `0.5` per cent is 50 basis points.
pub(in crate::cli) fn rate_bp(text: &str) -> Result<u16, String> {
    let bad = || format!("`{text}`: expected a percentage from 0 to 100 with two decimals at most, such as 0.5");
    let number = text.strip_suffix('%').unwrap_or(text);
    let (whole, parts) = number.split_once('.').unwrap_or((number, "0"));
    if !(1..=2).contains(&parts.len()) || !(whole.to_owned() + parts).bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let whole: u16 = canonical(whole).ok_or_else(bad)?;
    let parts: u16 = format!("{parts:0<2}").parse().map_err(|_| bad())?;
    whole.checked_mul(100).and_then(|bp| bp.checked_add(parts)).filter(|bp| *bp <= 10_000).ok_or_else(bad)
}

/// `distinguished`, or `width=5%`.
fn goal(text: &str) -> Result<Goal, String> {
    let bad = || {
        format!(
            "`{text}`: expected `distinguished`, or a width of limits in percentage points from 0.1 to 99, such as width=5%"
        )
    };
    match text.split_once('=') {
        None if text == "distinguished" => Ok(Goal::Distinguished),
        Some(("width", width)) => match rate_bp(width) {
            Ok(width_bp) if WIDTH_BP.contains(&width_bp) => Ok(Goal::WidthBp(width_bp)),
            _ => Err(bad()),
        },
        _ => Err(bad()),
    }
}

/// Trials to be made: their request, and what was read for it.
pub(in crate::cli) struct RequestedTrials {
    pub(in crate::cli) request: Request,
    pub(in crate::cli) policies: Vec<NamedPolicy>,
    pub(super) budget: Option<Duration>,
    /// The folder of trials that are continued.
    pub(super) resumed: Option<PathBuf>,
    pub(in crate::cli) scenario: PathBuf,
    pub(in crate::cli) text: Vec<u8>,
    pub(in crate::cli) options: Options,
    /// Whether the results are printed: what requested them may print its own.
    pub(in crate::cli) is_printed: bool,
}

impl TrialOptions {
    /// Trials of these policies, with these rates of bugs in a group of devices.
    pub(in crate::cli) fn of(
        trials: u32,
        policies: Vec<PathBuf>,
        (bug_rates, group): (Vec<u16>, &Group),
        budget: Duration,
    ) -> Self {
        let (model, site) = group.names();
        let (bug_model, bug_site) = (model.map(str::to_owned), site.map(str::to_owned));
        let (trials, budget) = (Some(trials), Some(budget));
        Self { trials, policy: policies, bug_rates, bug_model, bug_site, budget, ..Self::default() }
    }

    /// Whether trials were requested.
    pub(in crate::cli) fn are_given(&self) -> bool {
        self.trials.is_some() || self.resume.is_some()
    }

    /// Refuses flags of trials without any trials.
    pub(in crate::cli) fn check(&self) -> Result<(), Failure> {
        let flags = [
            ("--policy", !self.policy.is_empty()),
            ("--bug-rates", !self.bug_rates.is_empty()),
            ("--bug-model", self.bug_model.is_some()),
            ("--bug-site", self.bug_site.is_some()),
            ("--until", self.until.is_some()),
            ("--budget", self.budget.is_some()),
        ];
        match flags.into_iter().find(|(_, is_given)| *is_given && !self.are_given()) {
            Some((flag, _)) => Err(Failure::BadRequest(format!("{flag} is for many trials: add --trials N"))),
            None => Ok(()),
        }
    }

    /// A file that is missing, said of the folder that is continued, if one is.
    fn missing(&self, failure: Failure) -> Failure {
        let (Failure::Scenario { path, cause } | Failure::Policy { path, cause }) = &failure else { return failure };
        match &self.resume {
            Some(folder) if cause.kind() == std::io::ErrorKind::NotFound => Failure::NotResumable {
                by: REHEARSE,
                path: folder.clone(),
                why: format!("{} is missing, which it was begun with: put that file back, unchanged", path.display()),
            },
            _ => failure,
        }
    }

    /// Reads everything that is requested, and chooses how this process signs. What is not given is that of the folder
    /// that is continued.
    ///
    /// # Errors
    /// A file can't be read, a policy is wrong, flags contradict each other, or the folder can't be continued with them.
    pub(in crate::cli) fn requested(
        &self,
        scenario: Option<&Path>,
        signatures: Option<Signatures>,
        options: Options,
    ) -> Result<RequestedTrials, Failure> {
        let before = self.resume.as_deref().map(Request::read).transpose()?;
        let scenario = scenario.map(Path::to_owned).or_else(|| before.as_ref().map(|of| of.scenario.place()));
        let scenario = scenario.unwrap_or_default(); // the command line requires it, or a folder that has one
        let found = |failure| self.missing(failure);
        let text = read(&scenario).map_err(found)?;
        let paths = match &before {
            Some(before) if self.policy.is_empty() => before.policies.iter().map(Source::place).collect(),
            _ => self.policy.clone(),
        };
        let read: Vec<(Source, NamedPolicy)> =
            paths.iter().map(|path| read_policy(path).map_err(found)).collect::<Result<_, _>>()?;
        let (sources, policies): (Vec<Source>, Vec<NamedPolicy>) = read.into_iter().unzip();
        let fresh = Request::of(Source::of(&scenario, &text))?;
        let of = before.as_ref().unwrap_or(&fresh);
        let signatures = signatures.map_or_else(|| of.signatures.clone(), |given| given.as_str().to_owned());
        let signatures =
            if signatures == Signatures::Modelled.as_str() { Signatures::Modelled } else { Signatures::Real };
        let request = Request {
            policies: sources,
            bug_rates_bp: if self.bug_rates.is_empty() { of.bug_rates_bp.clone() } else { self.bug_rates.clone() },
            bug_model: self.bug_model.clone().or_else(|| of.bug_model.clone()),
            bug_site: self.bug_site.clone().or_else(|| of.bug_site.clone()),
            trials: self.trials.unwrap_or(of.trials),
            until: self.until.or(of.until),
            seed: options.seed.or(of.seed),
            devices: options.devices.or(of.devices),
            duration_ms: options.duration.map(millis).or(of.duration_ms),
            id_prefix: options.id_prefix.clone().or_else(|| of.id_prefix.clone()),
            signatures: signatures.as_str().to_owned(),
            ..fresh.clone()
        };
        let differences = before.as_ref().map(|before| before.differences(&request)).unwrap_or_default();
        if let Some(folder) = self.resume.as_ref().filter(|_| !differences.is_empty()) {
            return Err(Failure::NotResumable { by: REHEARSE, path: folder.clone(), why: differences.join("; ") });
        }
        check(&request, &policies)?;
        // Commands that repeat a trial name the files as they were named first.
        let request = match before {
            Some(Request { scenario, policies, .. }) => Request { scenario, policies, ..request },
            None => request,
        };
        let scenario = PathBuf::from(&request.scenario.path);
        signatures.choose();
        let options = Options {
            seed: request.seed,
            devices: request.devices,
            duration: request.duration_ms.map(Duration::from_millis),
            id_prefix: request.id_prefix.clone(),
            ..options
        };
        let (budget, resumed) = (self.budget, self.resume.clone());
        Ok(RequestedTrials { request, policies, budget, resumed, scenario, text, options, is_printed: true })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Refuses what is given twice, and a goal that can't be reached.
fn check(request: &Request, policies: &[NamedPolicy]) -> Result<(), Failure> {
    refuse_twice(&request.bug_rates_bp, "--bug-rates", |rate_bp| format!("{} %", f64::from(*rate_bp) / 100.0))?;
    refuse_twice(policies, "--policy", |(name, _)| name.clone())?;
    if request.until == Some(Goal::Distinguished) && policies.len() < 2 {
        let why = "--until distinguished compares policies: give two or more with --policy, or use --until width=5%";
        return Err(Failure::BadRequest(why.to_owned()));
    }
    Ok(())
}

/// Refuses duplicates: both would be one line of the score, with trials that count twice.
fn refuse_twice<T>(given: &[T], flag: &str, called: impl Fn(&T) -> String) -> Result<(), Failure> {
    let mut names = BTreeSet::new();
    match given.iter().map(called).find(|name| !names.insert(name.clone())) {
        Some(name) => Err(Failure::BadRequest(format!("{flag} gives {name} twice; each line of a score has one"))),
        None => Ok(()),
    }
}

/// Reads a policy; its name is the file's name without the extension.
fn read_policy(path: &Path) -> Result<(Source, NamedPolicy), Failure> {
    let bad = |why: String| Failure::BadRequest(format!("{}: {why}", path.display()));
    let cannot = |cause| Failure::Policy { path: path.to_owned(), cause };
    let text = read_start(path, POLICY_BYTES_MAX + 1).map_err(cannot)?;
    if text.len() > POLICY_BYTES_MAX {
        return Err(bad(format!("it is larger than {POLICY_BYTES_MAX} bytes")));
    }
    let source = Source::of(path, &text);
    let text = String::from_utf8(text).map_err(|_| bad("it is not text in UTF-8".to_owned()))?;
    let mut table: BTreeMap<String, toml::Value> =
        toml::from_str(&text).map_err(|error| bad(in_one_line(&text, &error)))?;
    table.remove("name"); // a [[policy]] of a scenario has one
    let json = serde_json::to_value(table).map_err(|error| bad(error.to_string()))?;
    let policy: Policy = serde_path_to_error::deserialize(json).map_err(|error| bad(error.to_string()))?;
    let wrong = policy.validate();
    if !wrong.is_empty() {
        return Err(bad(wrong.join("; ")));
    }
    let name = path.file_stem().map_or_else(|| "policy".to_owned(), |stem| stem.to_string_lossy().into_owned());
    Ok((source, (name, as_rehearsed(policy))))
}

/// A TOML error with its line.
fn in_one_line(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_in_per_cent() {
        let rates = ["0", "0.5", "1", "2.25", "100", "3%"].map(|text| rate_bp(text).unwrap());
        assert_eq!(rates, [0, 50, 100, 225, 10_000, 300]);
        for wrong in ["", ".", "-1", "100.01", "0.125", "x", "1e2"] {
            assert!(rate_bp(wrong).unwrap_err().contains("expected a percentage"), "{wrong}");
        }
    }

    #[test]
    fn goals_are_read_with_their_bounds() {
        assert_eq!(goal("distinguished"), Ok(Goal::Distinguished));
        assert_eq!([goal("width=5%"), goal("width=0.1")], [Ok(Goal::WidthBp(500)), Ok(Goal::WidthBp(10))]);
        for wrong in ["", "width", "width=", "width=0%", "width=100%", "distinguished=1", "5%"] {
            assert!(goal(wrong).unwrap_err().contains("expected `distinguished`, or a width"), "{wrong}");
        }
    }
}
