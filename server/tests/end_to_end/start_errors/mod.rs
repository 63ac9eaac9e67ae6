//! Goal: a server that can't start says in one sentence what is wrong, names the setting or file, says what to do, and exits with
//! the documented code: 2 if the input is wrong, 3 if the machine refuses. No secret is ever shown.
//! Method: the executable with each wrong thing; its output and its exit code.

mod backup;
mod database;
mod keys;
mod settings;
mod write_ahead_log;

use crate::support::{CommandOutput, world};

/// Checks that there is one error, in the form that every error has, with this exit code, and that it names each of `named`.
#[track_caller]
fn check_refused(ran: &CommandOutput, code: i32, named: &[&str]) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    assert_eq!(ran.stdout, "", "{ran:?}");
    let errors: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("\n  help: ").count(), 1, "{}", ran.stderr);
    for name in named {
        assert!(errors[0].contains(name), "{name} is not named: {}", ran.stderr);
    }
    check_plain(&ran.stderr);
}

/// Checks that the text has nothing that only a programmer understands.
#[track_caller]
fn check_plain(text: &str) {
    for word in ["panicked", "backtrace", ".rs:", "unwrap", "Error {", "Some(", "Err("] {
        assert!(!text.contains(word), "{word}: {text}");
    }
}

fn refused_with(settings: &[(&str, &str)], code: i32, named: &[&str]) {
    check_refused(&world(settings).serve_expecting_error(), code, named);
}
