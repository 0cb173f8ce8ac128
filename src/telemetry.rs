//! Logs: where they go, what is written, and how a panic appears in them.
//!
//! Everything goes to standard error, which leaves standard output to commands that print results. Nothing here is asked on
//! a request's path. What may be logged of a request's target is in [`target_for_log`]; no header is ever logged.

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber, debug};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

mod level;
mod panic;
mod target;
mod text;

pub(crate) use self::level::LEVELS;
pub use self::level::{InvalidLevel, level_name, parse_level};
pub use self::panic::install_panic_hook;
pub use self::target::target_for_log;
use self::text::TextLines;

/// What is logged and how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The least severe level that is written; `None` writes nothing (`log.level`).
    pub level: Option<tracing::Level>,
    /// `None` is text on a terminal and JSON otherwise (`log.format`).
    pub format: Option<LogFormat>,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Reads and changes the level while the program runs. Clones share it.
#[derive(Clone, Debug)]
pub struct LogHandle {
    filter: reload::Handle<Targets, Registry>,
    level: Arc<Mutex<Option<Level>>>,
}

// === impl LogHandle ===

impl LogHandle {
    /// The level of the program's own events; `None` writes nothing.
    pub fn level(&self) -> Option<Level> {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the level at once, for all threads.
    ///
    /// Where the handle's subscriber is not installed, because another one was first, the level is only remembered.
    pub fn set_level(&self, level: Option<Level>) {
        let mut current = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        *current = level;
        if let Err(error) = self.filter.reload(filter(level)) {
            debug!(%error, "log level is remembered but not applied");
        }
    }
}

/// Starts logging to standard error. A second call leaves the first in place.
pub fn init(settings: LogSettings) -> LogHandle {
    let (subscriber, handle) = subscriber(settings, io::stderr().is_terminal(), io::stderr);
    if let Err(error) = subscriber.try_init() {
        debug!(%error, "logging was started before");
    }
    handle
}

/// A subscriber that writes to `writer`, and its handle. `terminal` says whether a person reads there.
fn subscriber<W>(settings: LogSettings, terminal: bool, writer: W) -> (impl Subscriber + Send + Sync, LogHandle)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter(settings.level));
    let automatic = if terminal { LogFormat::Text } else { LogFormat::Json };
    let lines = fmt::layer().with_writer(writer);
    let lines = match settings.format.unwrap_or(automatic) {
        // The list of spans holds the current one as well.
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Text if terminal => lines.event_format(TextLines).boxed(),
        LogFormat::Text => lines.with_ansi(false).event_format(TextLines).boxed(),
    };
    let handle = LogHandle { filter: handle, level: Arc::new(Mutex::new(settings.level)) };
    (tracing_subscriber::registry().with(filter).with(lines), handle)
}

/// The program's own events at `level`, those of its libraries from warnings on, or less if `level` is stricter.
fn filter(level: Option<Level>) -> Targets {
    let own = LevelFilter::from(level);
    Targets::new().with_default(own.min(LevelFilter::WARN)).with_target(env!("CARGO_CRATE_NAME"), own)
}

#[cfg(test)]
mod tests;
