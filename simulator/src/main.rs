//! `ks-fleet`: see [`ks_fleet::cli`].

fn main() -> std::process::ExitCode {
    ks_fleet::cli::run(std::env::args_os())
}
