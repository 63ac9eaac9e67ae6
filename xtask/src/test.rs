//! Every test of the project.

use crate::{
    fuzz, s3, scenarios,
    shell::{Failed, all_of, cargo, exists},
};

/// Runs them, cheap before dear; all of them, whatever failed before, and names all that failed.
pub(crate) fn run() -> Result<(), Failed> {
    let needs = [
        ("cc", "a C compiler, which builds SQLite: `apt-get install gcc libc6-dev`"),
        ("python3", "Python 3, which runs the API fuzzer and an S3 store: `apt-get install python3-venv`"),
        ("taskset", "taskset, which holds a rehearsal on one core: `apt-get install util-linux`"),
    ];
    let missing: Vec<&str> =
        needs.iter().filter(|(program, _)| !exists(program, &["--version"])).map(|(_, needed)| *needed).collect();
    if !missing.is_empty() {
        return Err(Failed(format!("the tests need {}", missing.join(" and "))));
    }
    cargo(&["test", "--workspace", "--all-targets", "--no-run"])?; // what does not compile fails everything else too
    all_of([
        cargo(&["test", "--workspace", "--all-targets", "--no-fail-fast"]),
        cargo(&["test", "--workspace", "--doc", "--no-fail-fast"]),
        s3::run(),
        fuzz::run(),
        scenarios::run(),
    ])
}
