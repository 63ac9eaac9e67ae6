//! The project's tasks: `cargo xtask COMMAND`, the same in CI and by hand. No dependencies, so that it builds quickly.

mod against;
mod appendix;
mod bench;
mod fuzz;
mod lint;
mod manifests;
mod pictures;
mod python;
mod repeats;
mod s3;
mod sbom;
mod scenarios;
mod shell;
mod steps;
mod test;
mod tidy;
mod web;

use std::process::ExitCode;

use shell::{Failed, say};

const HELP: &str = "\
cargo xtask COMMAND

  test         run every test: unit, property, end to end, then the scenario suite
  scenarios    run the scenario suite only
  lint         rustfmt, clippy with warnings denied, cargo deny (installed if missing), tidy, sbom; the admin web's types and logic
  fuzz         fuzz the admin API against its OpenAPI document, as each role; needs Python 3
  appendix     run the Python client of docs/protocol.md against the test vectors; needs Python 3
  manifests    check docker-compose.yml and ops/k8s against their schemas; needs Python 3
  s3           test firmware images in an S3-compatible store that it starts; needs Python 3
  web          build the admin web into admin-web/dist, from where the server embeds it; needs Node.js 20. `web schema` regenerates its
               client, `web check` tests types and logic, `web test` all of it in Chromium, `web pictures` takes its pictures again
  tidy         sizes, module cycles, broken paths, unused dependencies, retired words; part of lint
  sbom         write a CycloneDX SBOM of each program to target/sbom/
  bench        measure every published number again, into reports/bench/; `bench floods` and `bench limits` run a part; `bench peers`
               compares the server with another stack, `bench per-core` with the parts that it is made of, `bench --against REVISION`
               this build with an earlier one
  pictures     make the pictures of the documents again, or those that are named; needs Chromium
  vectors      regenerate protocol/vectors/
  documents    regenerate parts of documents: settings, routes, steps, metrics; and admin-web/openapi.json
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["test"] => test::run(),
        ["scenarios"] => scenarios::run(),
        ["lint"] => lint::run(),
        ["fuzz"] => fuzz::run(),
        ["appendix"] => appendix::run(),
        ["manifests"] => manifests::run(),
        ["s3"] => s3::run(),
        ["web"] => web::build(),
        ["web", "schema"] => web::schema(),
        ["web", "check"] => web::check(),
        ["web", "test"] => web::test(),
        ["web", "pictures"] => web::pictures(),
        ["tidy"] => tidy::run(),
        ["sbom"] => sbom::run(),
        ["bench"] => bench::run(),
        ["bench", "floods"] => bench::floods(),
        ["bench", "limits"] => bench::limits(),
        ["bench", "peers"] => bench::peers(),
        ["bench", "per-core"] => bench::per_core(),
        ["bench", "--against", revision] => against::run(revision),
        ["pictures", named @ ..] => pictures::run(named),
        ["vectors"] => shell::cargo(&["run", "--quiet", "--package", "ks-protocol", "--example", "vectors"]),
        ["documents"] => shell::documents(),
        [] | ["help" | "--help" | "-h"] => {
            say(HELP);
            Ok(())
        }
        other => Err(Failed(format!("unknown command `{}`\n\n{HELP}", other.join(" ")))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(why)) => {
            say(&format!("error: {why}"));
            ExitCode::FAILURE
        }
    }
}
