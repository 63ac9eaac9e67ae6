//! The record of trials: a line of a file for each, appended when it has ended, so that nothing that was made is lost.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use ks_reports::{
    bounded::{self, FILE_BYTES_MAX},
    score::{TRIALS, Trial},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    failure::{Failure, REHEARSE},
    host::no_link::NO_LINK,
};

/// What a rehearsal among many leaves behind: a line of a record.
pub trait Recorded: Clone + Send + Serialize + DeserializeOwned {
    /// The file of the lines.
    const FILE: &'static str;
    /// The command that continues them.
    const RESUMED_BY: &'static str;

    /// Which one it is, in words.
    fn described(&self) -> String;

    /// Whether a rehearsal can have given these numbers: a line may have been edited.
    fn is_possible(&self) -> bool;
}

impl Recorded for Trial {
    const FILE: &'static str = TRIALS;
    const RESUMED_BY: &'static str = REHEARSE;

    fn described(&self) -> String {
        format!("policy `{}`, seed {}", self.policy, self.seed)
    }

    fn is_possible(&self) -> bool {
        self.has_possible_times()
    }
}

/// The trials that were made, by their number, and the file that they are in.
pub struct Record<T> {
    folder: PathBuf,
    file: File,
    /// Bytes of whole lines.
    length: u64,
    /// Each with its line: only what was read back from a line is used, so that a resumed score has the same numbers.
    made: BTreeMap<u64, (String, T)>,
}

impl<T: Recorded> Record<T> {
    /// Begins an empty record in a folder.
    ///
    /// # Errors
    /// It can't be created.
    pub fn begin(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(T::FILE);
        let file = ks_reports::create_new(&path).map_err(|cause| Failure::File { what: "create", path, cause })?;
        Ok(Self { folder: folder.to_owned(), file, length: 0, made: BTreeMap::new() })
    }

    /// Continues the record of a folder. A last line without an end, as after a power cut, is removed. `number` gives a trial's
    /// number, or none if it is not one of those that were requested.
    ///
    /// # Errors
    /// It can't be read or written, or a line is damaged, of another trial, or a second one of the same.
    pub fn resume(folder: &Path, number: impl Fn(&T) -> Option<u64>) -> Result<Self, Failure> {
        let path = folder.join(T::FILE);
        let file = |what| {
            let path = path.clone();
            move |cause| Failure::File { what, path, cause }
        };
        let refused = |why: String| {
            let why = format!("{}: {why}", T::FILE);
            Failure::NotResumable { by: T::RESUMED_BY, path: folder.to_owned(), why }
        };
        let mut options = OpenOptions::new();
        let appended = options.append(true).create(true).custom_flags(NO_LINK).open(&path).map_err(file("write"))?;
        let bytes = bounded::read(&path, FILE_BYTES_MAX).map_err(file("read"))?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let length = u64::try_from(whole).unwrap_or(u64::MAX);
        appended.set_len(length).map_err(file("write"))?;
        let text = std::str::from_utf8(bytes.get(..whole).unwrap_or_default());
        let text = text.map_err(|_| refused("it is not text in UTF-8".to_owned()))?;
        let mut made = BTreeMap::new();
        for (nth, line) in text.lines().enumerate() {
            let refused = |why: String| refused(format!("line {}: {why}", nth + 1));
            let trial: T = serde_json::from_str(line)
                .map_err(|error| refused(format!("expected a trial as a JSON object, but {error}")))?;
            let which = trial.described();
            if !trial.is_possible() {
                return Err(refused(format!("{which}: its numbers are impossible")));
            }
            let number = number(&trial);
            let number = number.ok_or_else(|| refused(format!("{which}: no such trial was requested")))?;
            if made.contains_key(&number) {
                return Err(refused(format!("{which}: this trial is there twice")));
            }
            made.insert(number, (line.to_owned() + "\n", trial));
        }
        Ok(Self { folder: folder.to_owned(), file: appended, length, made })
    }

    /// Writes down a trial; once this returns, it is not lost even if the machine stops.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn append(&mut self, number: u64, trial: &T) -> Result<(), Failure> {
        let cannot = |cause| Failure::File { what: "write", path: self.folder.join(T::FILE), cause };
        let line = serde_json::to_string(trial).map_err(|error| cannot(error.into()))? + "\n";
        let read_back = serde_json::from_str(&line).map_err(|error| cannot(error.into()))?;
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(cause) = written {
            let _ = self.file.set_len(self.length); // or the next line would follow a part of this one
            return Err(cannot(cause));
        }
        self.length += u64::try_from(line.len()).unwrap_or(0);
        self.made.insert(number, (line, read_back));
        Ok(())
    }

    /// Puts the file in the order of the numbers: trials end in another one, which depends on the cores.
    ///
    /// # Errors
    /// It can't be written.
    pub fn put_in_order(&self) -> Result<(), Failure> {
        let lines: Vec<&str> = self.made.values().map(|(line, _)| line.as_str()).collect();
        Ok(ks_reports::score::write_lines(&self.folder, T::FILE, lines.concat().as_bytes())?)
    }

    pub(super) fn has(&self, number: u64) -> bool {
        self.made.contains_key(&number)
    }

    pub fn count(&self) -> u64 {
        u64::try_from(self.made.len()).unwrap_or(u64::MAX)
    }

    /// The number after the greatest one.
    pub fn end(&self) -> u64 {
        self.made.last_key_value().map_or(0, |(number, _)| number + 1)
    }

    /// Every trial, in order.
    pub fn trials(&self) -> Vec<T> {
        self.trials_below(u64::MAX)
    }

    /// Those with smaller numbers.
    pub(super) fn trials_below(&self, end: u64) -> Vec<T> {
        self.made.range(..end).map(|(_, (_, trial))| trial.clone()).collect()
    }

    /// Removes the others.
    pub(super) fn keep_below(&mut self, end: u64) {
        self.made.split_off(&end);
    }
}
