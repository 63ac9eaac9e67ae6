//! Every test of the project.

use crate::{
    appendix, fuzz, manifests, s3, scenarios,
    shell::{self, Failed, all_of, cargo, exists},
    steps::{Steps, beside},
    web,
};

/// Runs them, the cheap ones first; continues after failures and lists them all.
pub(crate) fn run() -> Result<(), Failed> {
    let needs = [
        ("cc", "--version", "a C compiler, which builds SQLite: `apt-get install gcc libc6-dev`"),
        ("python3", "--version", "Python 3, which runs the API fuzzer and an S3 store: `apt-get install python3-venv`"),
        ("haproxy", "-v", "HAProxy, which terminates TLS before a server: `apt-get install haproxy`"),
        ("faketime", "--version", "faketime, which gives a program another clock: `apt-get install faketime`"),
        ("npm", "--version", "Node.js 20 or newer, which builds the admin web: `apt-get install nodejs npm`"),
        ("chromium", "--version", "Chromium, which opens the admin web: `apt-get install chromium`"),
        ("taskset", "--version", "taskset, which holds a rehearsal on one core: `apt-get install util-linux`"),
    ];
    let missing: Vec<&str> =
        needs.iter().filter(|(program, flag, _)| !exists(program, &[flag])).map(|(.., needed)| *needed).collect();
    if !missing.is_empty() {
        return Err(Failed(format!("the tests need {}", missing.join(" and "))));
    }
    let mut steps = Steps::default();
    // Before the server, which embeds it.
    steps.run("admin web: build", web::build)?;
    // If it does not compile, nothing else can pass.
    steps.run("build", shell::build)?;
    let tests = || {
        all_of([
            steps.run("unit, property and end-to-end tests", || {
                cargo(&["test", "--workspace", "--tests", "--no-fail-fast"])
            }),
            steps.run("the Python of the protocol's appendix", appendix::run),
            steps.run("manifests", manifests::run),
            steps.run("images in S3", s3::run),
            steps.run("admin web: end to end", web::end_to_end),
        ])
    };
    // Many tests wait for sockets and processes, and each of these has one thread or two.
    let background = |steps: &mut Steps| {
        all_of([
            steps.run("fuzz the admin API", fuzz::run),
            steps.run("rehearsals", scenarios::suite),
            scenarios::exploration(steps),
        ])
    };
    scenarios::beside_loads(|| beside(background, tests))
}
