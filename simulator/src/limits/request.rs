//! What a sweep was begun with: `sweep-request.json`. It is continued only with the same.

use std::path::Path;

use ks_reports::{
    bounded::{self, FILE_BYTES_MAX},
    sweep::{Configuration, SWEEP_REQUEST, VariedSetting},
};
use serde::{Deserialize, Serialize};

use crate::{
    failure::{Failure, LIMITS_SWEEP},
    trials::Request,
};

/// Everything that decides how a sweep ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepRequest {
    /// What it has in common with other trials.
    #[serde(flatten)]
    pub base: Request,
    pub varied: Vec<VariedSetting>,
    pub configurations: Vec<Configuration>,
}

impl SweepRequest {
    /// Reads the request of a folder.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(SWEEP_REQUEST);
        let refused = |why: String| Failure::NotResumable { by: LIMITS_SWEEP, path: folder.to_owned(), why };
        let text = bounded::read(&path, FILE_BYTES_MAX).map_err(|cause| match cause.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                refused(format!("it has no {SWEEP_REQUEST}, so it is not the folder of a sweep"))
            }
            _ => Failure::File { what: "read", path: path.clone(), cause },
        })?;
        let damaged = |why: &str| refused(format!("{SWEEP_REQUEST} is damaged: {why}"));
        let request: Self = serde_json::from_slice(&text).map_err(|error| damaged(&error.to_string()))?;
        request.base.check().map_err(|why| damaged(&why))?;
        Ok(request)
    }

    /// Writes it into a folder.
    ///
    /// # Errors
    /// The folder can't be written.
    pub fn write(&self, folder: &Path) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(self).unwrap_or_default(); // text and numbers always serialize
        Ok(ks_reports::score::write_lines(folder, SWEEP_REQUEST, &text)?)
    }

    /// Why a sweep that was begun with this can't be continued with `now`; empty if it can.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut found = self.base.differences(&now.base);
        if self.configurations != now.configurations {
            let (before, now) = (self.configurations.len(), now.configurations.len());
            found.push(format!("it was begun with {before} configurations, which differ from these {now}"));
        }
        found
    }
}
