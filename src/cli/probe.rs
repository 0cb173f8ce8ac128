//! `wait` and `healthcheck`: is a proxy ready?

use std::time::Duration;

use tokio::runtime::Builder;

use super::Failure;
use super::args::WaitArgs;
use crate::admin::probe;
use crate::config::Settings;

/// Blocks until the proxy is ready.
pub(super) fn wait(settings: &Settings, args: &WaitArgs) -> Result<(), Failure> {
    block_on(probe::wait_ready(settings.admin.address, args.timeout))?.map_err(|error| Failure::Start(error.into()))
}

/// Fails unless the proxy is ready.
pub(super) fn healthcheck(settings: &Settings) -> Result<(), Failure> {
    block_on(probe::ready(settings.admin.address, HEALTHCHECK_TIMEOUT))?.map_err(|error| Failure::Start(error.into()))
}

/// Runs one question on a runtime of its own.
pub(super) fn block_on<F: Future>(question: F) -> Result<F::Output, Failure> {
    Ok(Builder::new_current_thread().enable_all().build()?.block_on(question))
}

/// Shorter than the probe timeouts people set.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(2);
