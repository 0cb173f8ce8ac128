//! Logs.

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
