//! What can stop a report: each error names the file, says what was expected there and what to do.

use std::io;
use std::path::PathBuf;

/// Why a run folder could not be read, written or drawn; one sentence, with its remedy.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file of the contract is not there.
    #[error(
        "{file} is missing: the run did not finish, or this is not a run's folder; run the scenario again or name another folder"
    )]
    Missing {
        /// The file looked for.
        file: PathBuf,
    },
    /// The operating system would not let us read.
    #[error("{file} cannot be read ({cause}); check that it is a file and that you may read it")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        #[source]
        cause: io::Error,
    },
    /// The content is not what the contract says.
    #[error(
        "{file}, line {line}: expected {expected}, but {cause}; the file is cut short or damaged, so run the scenario again"
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What should be there.
        expected: &'static str,
        /// What is wrong with what is there.
        cause: String,
    },
    /// The files of the folder do not tell of the same run.
    #[error(
        "{file} does not belong to the summary beside it: {cause}; a file is cut short, changed or from another run, so run the scenario again"
    )]
    Inconsistent {
        /// The file.
        file: PathBuf,
        /// How they differ.
        cause: String,
    },
    /// Written by a later version of the program.
    #[error(
        "{file} has format {found}, and this program reads formats up to {known}; draw it with the program that wrote it, or a later one"
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// Format of the file.
        found: u32,
        /// Greatest format that is read here.
        known: u32,
    },
    /// A summary holds a number that JSON cannot.
    #[error("{file} was not written: expected finite numbers, but {cause}; correct the sum that gave no number")]
    Unwritten {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The operating system would not let us write.
    #[error(
        "{file} cannot be written ({cause}); check that its folder exists, may be written to, and the disk has room"
    )]
    Unwritable {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        #[source]
        cause: io::Error,
    },
    /// A picture failed: our fault, not the folder's.
    #[error("{file} was not drawn ({cause}); expected every run to be drawable, so please report this with the folder")]
    Undrawable {
        /// The picture, without extension.
        file: PathBuf,
        /// What went wrong.
        cause: String,
    },
}

impl ReportError {
    /// Whether the folder is at fault, and not what was to be written into it.
    pub fn is_of_the_folder(&self) -> bool {
        !matches!(self, Self::Unwritten { .. } | Self::Unwritable { .. } | Self::Undrawable { .. })
    }
}
