//! Panics are counted and logged, without text that may hold what a client sent.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};
use std::thread;

use tracing::error;

use crate::metrics::Metrics;

/// From now on a panic is counted and logged with its place and thread, and then unwinds or aborts as before.
///
/// The message is logged only where it is a literal of the source. A formatted one may hold a header or a body, so the
/// standard hook, which prints it, is replaced. A backtrace is logged where `RUST_BACKTRACE` asks for it.
pub fn install_panic_hook(metrics: Metrics) {
    panic::set_hook(Box::new(move |info| {
        metrics.panicked();
        log(info);
    }));
}

fn log(info: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let payload = info.payload().downcast_ref::<&'static str>().unwrap_or(&"(not shown: it may hold secrets)");
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    error!(
        location = info.location().map(tracing::field::display),
        thread = thread.name().unwrap_or("unnamed"),
        payload,
        backtrace,
        "panicked"
    );
}
