//! What trials were begun with: `trials.json`. They are continued only with the same, or results of different things would be mixed.

use std::{
    fs::File,
    io::Read,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use ks_protocol::text::hex;
use ks_reports::{
    bounded::{self, FILE_BYTES_MAX},
    score::{Goal, TRIALS_REQUEST},
};
use ks_server::rollout::policy::WHOLE_BP;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::failure::{Failure, REHEARSE};

/// The format of `trials.json`.
const FORMAT: u32 = 1;
/// How many seeds can be tried.
pub const TRIALS: RangeInclusive<u32> = 1..=100_000;
/// How far the limits of a share may be apart, in basis points, for trials to end early.
pub const WIDTH_BP: RangeInclusive<u16> = 10..=9_900;

/// Everything that decides how trials end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub format: u32,
    /// Version and build of the program.
    pub program: String,
    pub scenario: Source,
    pub policies: Vec<Source>,
    pub bug_rates_bp: Vec<u16>,
    /// The only model that the bug is on, instead of the scenario's.
    #[serde(default)]
    pub bug_model: Option<String>,
    /// The only site that the bug is at, likewise.
    #[serde(default)]
    pub bug_site: Option<String>,
    /// Trials of each policy and rate.
    pub trials: u32,
    pub until: Option<Goal>,
    /// The first seed, if it replaces the scenario's.
    pub seed: Option<u64>,
    pub devices: Option<u32>,
    pub duration_ms: Option<u64>,
    pub id_prefix: Option<String>,
    /// `real` or `modelled`.
    pub signatures: String,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// As it was given.
    pub path: String,
    /// The same from the root, for a resumption in another working directory.
    #[serde(default)]
    absolute: String,
    sha256: String,
}

impl Source {
    pub fn of(path: &Path, content: &[u8]) -> Self {
        let absolute = std::path::absolute(path).unwrap_or_default().display().to_string();
        Self { path: path.display().to_string(), absolute, sha256: hex(&Sha256::digest(content)) }
    }

    /// Where it is: as it was given, unless the same file is only found from the root.
    pub fn place(&self) -> PathBuf {
        let is_it = |path: &&String| {
            let content = bounded::read(Path::new(path), FILE_BYTES_MAX);
            content.is_ok_and(|content| hex(&Sha256::digest(&content)) == self.sha256)
        };
        let found = [&self.path, &self.absolute].into_iter().find(is_it);
        PathBuf::from(found.unwrap_or(&self.path))
    }
}

impl Request {
    /// A request of this program for one trial of a scenario.
    ///
    /// # Errors
    /// The program can't read itself.
    pub fn of(scenario: Source) -> Result<Self, Failure> {
        Ok(Self {
            format: FORMAT,
            program: this_program()?,
            scenario,
            policies: Vec::new(),
            bug_rates_bp: Vec::new(),
            bug_model: None,
            bug_site: None,
            trials: 1,
            until: None,
            seed: None,
            devices: None,
            duration_ms: None,
            id_prefix: None,
            signatures: String::new(),
        })
    }

    /// Reads the request of a folder.
    ///
    /// # Errors
    /// There is none, it is damaged, or another version wrote it.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(TRIALS_REQUEST);
        let refused = |why: String| Failure::NotResumable { by: REHEARSE, path: folder.to_owned(), why };
        let text = bounded::read(&path, FILE_BYTES_MAX).map_err(|cause| match cause.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                refused(format!("it has no {TRIALS_REQUEST}, so it is not the folder of trials"))
            }
            _ => Failure::File { what: "read", path: path.clone(), cause },
        })?;
        let damaged = |why: &str| refused(format!("{TRIALS_REQUEST} is damaged: {why}"));
        let request: Self = serde_json::from_slice(&text).map_err(|error| damaged(&error.to_string()))?;
        request.check().map_err(|why| damaged(&why))?;
        Ok(request)
    }

    /// The bounds of the command line, for a file that was edited.
    pub(crate) fn check(&self) -> Result<(), String> {
        let rates = self.bug_rates_bp.iter().all(|rate_bp| *rate_bp <= WHOLE_BP);
        let width = match self.until {
            Some(Goal::WidthBp(width_bp)) => WIDTH_BP.contains(&width_bp),
            _ => true,
        };
        for (is_within, what) in [
            (TRIALS.contains(&self.trials), format!("trials is {}: expected 1 to {}", self.trials, TRIALS.end())),
            (rates, format!("bug_rates_bp: expected 0 to {WHOLE_BP}")),
            (width, format!("until: expected a width of {} to {} basis points", WIDTH_BP.start(), WIDTH_BP.end())),
        ] {
            if !is_within {
                return Err(what);
            }
        }
        Ok(())
    }

    /// Writes it into a folder.
    ///
    /// # Errors
    /// The folder can't be written.
    pub fn write(&self, folder: &Path) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(self).unwrap_or_default(); // text and numbers always serialize
        Ok(ks_reports::score::write_request(folder, &text)?)
    }

    /// Why trials that were begun with this can't be continued with `now`; empty if they can. More trials may be requested, and
    /// another goal.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let mut unless = |is_same: bool, why: String| found.extend((!is_same).then_some(why));
        unless(
            self.program == now.program,
            format!("it was begun by ks-fleet {}, and this is {}", self.program, now.program),
        );
        unless(
            self.format == now.format,
            format!("its format is {}, and this program's is {}", self.format, now.format),
        );
        unless(
            self.scenario.sha256 == now.scenario.sha256,
            format!("the scenario {} is not the one that it was begun with", now.scenario.path),
        );
        let named = |policies: &[Source]| policies.iter().map(|of| of.path.clone()).collect::<Vec<_>>().join(", ");
        if self.policies.len() == now.policies.len() {
            for (before, now) in self.policies.iter().zip(&now.policies) {
                let why = format!("the policy {} is not the one that it was begun with, {}", now.path, before.path);
                unless(before.sha256 == now.sha256 && name(before) == name(now), why);
            }
        } else {
            unless(false, format!("it was begun with the policies: {}", named(&self.policies)));
        }
        let rates =
            |of: &Self| of.bug_rates_bp.iter().map(|bp| format!("{} %", f64::from(*bp) / 100.0)).collect::<Vec<_>>();
        unless(
            self.bug_rates_bp == now.bug_rates_bp,
            format!("it was begun with the bug rates: {}", rates(self).join(", ")),
        );
        let given =
            |of: Option<&dyn std::fmt::Display>| of.map_or_else(|| "the scenario's".to_owned(), ToString::to_string);
        let mut number = |what: &str, before: Option<u64>, now: Option<u64>| {
            let why = format!("{what}: it was begun with {}", given(before.as_ref().map(|of| of as _)));
            unless(before == now, why);
        };
        number("--seed", self.seed, now.seed);
        number("--devices", self.devices.map(u64::from), now.devices.map(u64::from));
        number("--duration (in ms)", self.duration_ms, now.duration_ms);
        let mut word = |what: &str, before: Option<&String>, now: Option<&String>| {
            unless(before == now, format!("{what}: it was begun with {}", given(before.map(|of| of as _))));
        };
        word("--id-prefix", self.id_prefix.as_ref(), now.id_prefix.as_ref());
        word("--bug-model", self.bug_model.as_ref(), now.bug_model.as_ref());
        word("--bug-site", self.bug_site.as_ref(), now.bug_site.as_ref());
        unless(self.signatures == now.signatures, format!("--signatures: it was begun with {}", self.signatures));
        found
    }
}

/// The name under which a policy's trials are recorded.
fn name(policy: &Source) -> Option<&std::ffi::OsStr> {
    Path::new(&policy.path).file_stem()
}

/// The version of this program, and which build it is: its own file's hash, because the same version built from other code may end
/// a trial differently.
fn this_program() -> Result<String, Failure> {
    let path = std::env::current_exe().map_err(|cause| Failure::Machine { what: "find this program's file", cause })?;
    let cannot = |cause| Failure::File { what: "read", path: path.clone(), cause };
    let (mut file, mut hash, mut piece) = (File::open(&path).map_err(cannot)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece).map_err(cannot)? {
            0 => break,
            read => hash.update(piece.get(..read).unwrap_or_default()),
        }
    }
    let build: String = hex(&hash.finalize()).chars().take(16).collect();
    Ok(format!("{}, build {build}", env!("CARGO_PKG_VERSION")))
}
