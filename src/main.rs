//! The process: hand the arguments to the command line and exit with its code.

use std::process::ExitCode;

fn main() -> ExitCode {
    batch_retry_proxy::cli::run(std::env::args_os())
}

/// musl's own allocator costs a request a quarter more CPU; docs/speed.md has what was measured.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
