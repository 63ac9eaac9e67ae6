//! What can stop a report: each error names the file, says what was expected and how to fix it.

use std::io;
use std::path::PathBuf;

/// Why a run folder could not be read, written or drawn; one sentence, with its help.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file of the contract is not there.
    #[error(
        "{file} is missing: the run did not finish, or this is not a run's folder; run the scenario again or name another folder"
    )]
    Missing { file: PathBuf },
    /// The operating system refused to read the file.
    #[error("{file} cannot be read ({cause}); check that it is a file and that you may read it")]
    Unreadable {
        file: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// The content does not match the contract.
    #[error(
        "{file}, line {line}: expected {expected}, but {cause}; the file is cut short or damaged, so run the scenario again"
    )]
    Damaged {
        file: PathBuf,
        /// Line, counted from 1.
        line: usize,
        expected: &'static str,
        cause: String,
    },
    /// The files of the folder are not of the same run.
    #[error(
        "{file} does not belong to the summary next to it: {cause}; a file is cut short, changed or from another run, so run the scenario again"
    )]
    Inconsistent { file: PathBuf, cause: String },
    /// Written by a later version of the program.
    #[error(
        "{file} has format {found}, and this program reads formats up to {known}; draw it with the program that wrote it, or a later one"
    )]
    Newer {
        file: PathBuf,
        found: u32,
        /// Greatest format that is read here.
        known: u32,
    },
    /// A summary holds a number that JSON cannot.
    #[error("{file} was not written: expected finite numbers, but {cause}; fix the calculation that produced it")]
    Unwritten { file: PathBuf, cause: String },
    /// The operating system refused to write the file.
    #[error(
        "{file} cannot be written ({cause}); check that its folder exists, may be written to, and the disk has free space"
    )]
    Unwritable {
        file: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// A picture failed: a defect of this program, not of the folder.
    #[error("{file} was not drawn ({cause}); expected every run to be drawable, so please report this with the folder")]
    Undrawable {
        /// The picture, without extension.
        file: PathBuf,
        cause: String,
    },
}

impl ReportError {
    /// Whether the folder's content is at fault, not the output to be written.
    pub fn is_of_the_folder(&self) -> bool {
        !matches!(self, Self::Unwritten { .. } | Self::Unwritable { .. } | Self::Undrawable { .. })
    }
}
