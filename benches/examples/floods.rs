//! Prints the table of docs/performance.md, "Under attack": what each flood of a run of `scenarios/floods.toml` cost honest devices,
//! compared with the quiet phases before and after it. The argument is the run's folder.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints")]

use std::{path::PathBuf, process::ExitCode};

use ks_reports::{
    files::read_summary,
    run_folder::{Phase, PhaseFigures},
};

/// The prefix of the names of phases without an attack.
const QUIET: &str = "quiet";

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("error: expected the folder of a run");
        return ExitCode::from(2);
    };
    match read_summary(&folder) {
        Ok(summary) => {
            println!("{}", table(&summary.phases));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One row for each flood, in Markdown.
fn table(phases: &[Phase]) -> String {
    let head = "| flood | sent/s | honest requests `OK` | honest p99 | p99 in the quiet around it | ratio | cores: server, flood | server's memory at its peak |\n\
                | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";
    let rows = phases.iter().enumerate().filter(|(_, phase)| !is_quiet(phase));
    head.to_owned() + &rows.filter_map(|(index, phase)| row(phases, index, phase)).collect::<String>()
}

fn is_quiet(phase: &Phase) -> bool {
    phase.name.starts_with(QUIET)
}

/// None for a phase that was not measured, such as the ramp.
fn row(phases: &[Phase], index: usize, phase: &Phase) -> Option<String> {
    let figures = phase.figures.as_ref()?;
    let around = [index.checked_sub(1)?, index + 1].map(|index| phases.get(index).filter(|phase| is_quiet(phase)));
    let quiet: Vec<f64> = around.into_iter().flatten().filter_map(|phase| p99_ms(phase.figures.as_ref()?)).collect();
    let quiet_ms = quiet.iter().sum::<f64>() / quiet.len().max(1) as f64;
    let (p99_ms, length_s) = (p99_ms(figures)?, phase.to_s - phase.from_s);
    let sent: u64 = figures.adversary_requests.values().map(|requests| requests.sent).sum();
    let cores = |cpu_s: f64| format!("{:.2}", cpu_s / length_s);
    Some(format!(
        "| `{}` | {:.0} | {} of {} | {p99_ms:.1} ms | {quiet_ms:.1} ms | {:.1} | {}, {} | {} |\n",
        phase.name,
        sent as f64 / length_s,
        figures.ok,
        figures.requests,
        p99_ms / quiet_ms,
        figures.server_cpu_s.map_or_else(|| "unknown".to_owned(), cores),
        cores(figures.adversaries_cpu_s),
        figures.server_rss_bytes.map_or_else(|| "unknown".to_owned(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6)),
    ))
}

fn p99_ms(figures: &PhaseFigures) -> Option<f64> {
    figures.heartbeat_ms.map(|percentiles| percentiles.p99)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ks_reports::run_folder::{AdversaryRequests, Percentiles};

    use super::*;

    fn phase(name: &str, from_s: f64, to_s: f64, p99: f64, sent: u64) -> Phase {
        let sent = AdversaryRequests { sent, by_code: BTreeMap::new() };
        let figures = PhaseFigures {
            requests: 100,
            ok: 99,
            heartbeat_ms: Some(Percentiles { p99, ..Percentiles::default() }),
            adversary_requests: BTreeMap::from([("forger".to_owned(), sent)]),
            adversaries_cpu_s: 1.0,
            server_cpu_s: Some(5.0),
            server_rss_bytes: Some(21_000_000),
            ..PhaseFigures::default()
        };
        Phase { name: name.to_owned(), from_s, to_s, figures: Some(figures) }
    }

    #[test]
    fn a_flood_is_compared_with_the_quiet_phases_around_it() {
        let phases =
            [phase("quiet-1", 0.0, 5.0, 2.0, 0), phase("a", 5.0, 15.0, 9.0, 500), phase("quiet-2", 15.0, 20.0, 4.0, 0)];
        let table = table(&phases);
        let row = "| `a` | 50 | 99 of 100 | 9.0 ms | 3.0 ms | 3.0 | 0.50, 0.10 | 21.0 MB |";
        assert_eq!(table.lines().skip(2).collect::<Vec<_>>(), [row]);
    }
}
