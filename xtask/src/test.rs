//! Every test of the project.

use crate::{
    fuzz, s3, scenarios,
    shell::{Failed, cargo, exists},
};

/// Runs them, cheap before dear.
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
    cargo(&["test", "--workspace", "--all-targets"])?;
    cargo(&["test", "--workspace", "--doc"])?;
    s3::run()?;
    fuzz::run()?;
    scenarios::run()
}
