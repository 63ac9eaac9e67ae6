//! `ks-fleet`: see [`ks_fleet::cli`].

/// Rehearsals allocate in long and short lives side by side, and the system's allocator kept four times the memory for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    ks_fleet::cli::run(std::env::args_os())
}
