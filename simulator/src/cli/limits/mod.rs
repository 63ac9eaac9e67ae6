//! `ks-fleet limits`: rate limits that are tried before they are turned on.

mod confirm;
mod probe;
mod sweep;
mod verify;

use super::execute::red_without_verdict;
use crate::failure::Failure;

/// What is done with limits.
#[derive(Debug, clap::Subcommand)]
pub(super) enum LimitsCommand {
    /// Rehearse the same traffic against many configurations of limits: what each costs honest devices, and what it lets through
    #[command(after_help = sweep::EXAMPLES)]
    Sweep(sweep::SweepOptions),
    /// Check that deployed limits keep what scenarios ask for; for CI: exit code 99 if they do not
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::VerifyOptions),
    /// Measure a server's limits from outside, with devices of its own, and compare them with what the server declares
    #[command(after_help = probe::EXAMPLES)]
    Probe(probe::ProbeOptions),
}

pub(super) fn run(command: LimitsCommand) -> Result<u8, Failure> {
    match command {
        LimitsCommand::Sweep(options) => {
            let (named, out) = (options.named(), options.out());
            red_without_verdict(&named, out.as_deref(), |folder| sweep::run(&options, folder))
        }
        LimitsCommand::Verify(options) => {
            let (named, out) = (options.named(), options.out());
            red_without_verdict(&named, out.as_deref(), |folder| verify::run(&options, folder))
        }
        LimitsCommand::Probe(options) => probe::run(options),
    }
}
