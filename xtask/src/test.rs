//! Every test of the project.

use crate::{
    scenarios,
    shell::{Failed, cargo, exists},
};

/// Runs them, cheap before dear.
pub(crate) fn run() -> Result<(), Failed> {
    let needs = [
        ("cc", "a C compiler, which builds SQLite: `apt-get install gcc libc6-dev`"),
        ("taskset", "taskset, which holds a rehearsal on one core: `apt-get install util-linux`"),
    ];
    let missing: Vec<&str> =
        needs.iter().filter(|(program, _)| !exists(program, &["--version"])).map(|(_, needed)| *needed).collect();
    if !missing.is_empty() {
        return Err(Failed(format!("the tests need {}", missing.join(" and "))));
    }
    cargo(&["test", "--workspace", "--all-targets"])?;
    cargo(&["test", "--workspace", "--doc"])?;
    scenarios::run()
}
