//! The project's chores: `cargo xtask COMMAND`. CI and people run the same. No dependencies, so that it builds at once.

mod appendix;
mod bench;
mod fuzz;
mod lint;
mod python;
mod repeats;
mod s3;
mod sbom;
mod scenarios;
mod shell;
mod steps;
mod test;
mod tidy;

use std::process::ExitCode;

use shell::{Failed, say};

const HELP: &str = "\
cargo xtask COMMAND

  test         every test of the project: unit, property, end to end, then the scenario suite
  scenarios    the scenario suite alone
  lint         format, clippy with warnings denied, cargo deny (installed if it is missing), then sbom
  fuzz         the admin API against its own OpenAPI document, as each role; needs Python 3
  appendix     the Python client of docs/protocol.md against the test vectors; needs Python 3
  s3           firmware images in an S3-compatible store, started for it; needs Python 3
  tidy         sizes, cycles of modules, paths in documents, dependencies; part of lint
  sbom         what is in each program, as CycloneDX, into target/sbom/
  bench        every published number again, into reports/bench/; `bench floods`: what honest devices pay under floods, alone
  vectors      make protocol/vectors/ again
  documents    make the parts of documents that the code knows again: settings, routes, steps, metrics
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["test"] => test::run(),
        ["scenarios"] => scenarios::run(),
        ["lint"] => lint::run(),
        ["fuzz"] => fuzz::run(),
        ["appendix"] => appendix::run(),
        ["s3"] => s3::run(),
        ["tidy"] => tidy::run(),
        ["sbom"] => sbom::run(),
        ["bench"] => bench::run(),
        ["bench", "floods"] => bench::floods(),
        ["vectors"] => shell::cargo(&["run", "--quiet", "--package", "ks-protocol", "--example", "vectors"]),
        ["documents"] => shell::cargo(&["run", "--quiet", "--package", "ks-fleet", "--example", "documents"]),
        [] | ["help" | "--help" | "-h"] => {
            say(HELP);
            Ok(())
        }
        other => Err(Failed(format!("there is no command `{}`\n\n{HELP}", other.join(" ")))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(why)) => {
            say(&format!("error: {why}"));
            ExitCode::FAILURE
        }
    }
}
