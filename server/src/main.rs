//! `ks-server`: see [`ks_server::cli`].

fn main() -> std::process::ExitCode {
    ks_server::cli::run(std::env::args_os())
}
