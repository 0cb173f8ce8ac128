//! The process: hand the arguments to the command line and exit with its code.

use std::process::ExitCode;

fn main() -> ExitCode {
    batch_retry_proxy::cli::run(std::env::args_os())
}

/// A request allocates some sixty times. docs/speed.md says what that costs with other allocators.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
