//! Log lines for people: one event a line, the words first, then what they are about.
//!
//! ```text
//! 12:04:31.120Z INFO  replaying    operation=Jobs_DeleteJob account=acct.westeurope attempt=1 class=throttled ...
//! ```
//!
//! Names are those of the JSON, so that what was read here can be searched for there. The module that logs is left out: it says nothing to
//! whoever runs the program, but for the name of a library that warns.

use std::fmt::{self, Debug, Display, Write};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes the lines. Colours are up to the writer.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextLines;

/// An event's words and fields, the latter as written.
#[derive(Default)]
struct Parts {
    message: String,
    fields: Vec<(&'static str, String)>,
}

/// A style of the terminal, or none.
#[derive(Clone, Copy)]
struct Style(&'static str);

// === impl TextLines ===

impl<S, N> FormatEvent<S, N> for TextLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut parts = Parts::default();
        event.record(&mut parts);
        let library = event.metadata().target().split("::").next().filter(|name| *name != env!("CARGO_CRATE_NAME"));
        if let Some(library) = library {
            parts.message.insert_str(0, &format!("{library}: "));
        }
        let style = |style: &'static str| Style(if writer.has_ansi_escapes() { style } else { "" });
        let level = *event.metadata().level();
        let severity = match level {
            Level::ERROR => style(RED),
            Level::WARN => style(YELLOW),
            Level::INFO => style(GREEN),
            Level::DEBUG | Level::TRACE => style(DIM),
        };
        let (quiet, loud) = (style(DIM), style(BOLD));
        // The day is known to whoever watches.
        let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let time = now.split_once('T').map_or(now.as_str(), |(_, time)| time);
        let message = format!("{:MESSAGE_WIDTH$}", parts.message);
        write!(writer, "{} {} {}", quiet.of(time), severity.of(&format!("{level:5}")), loud.of(message.trim_end()))?;
        if !parts.fields.is_empty() {
            writer.write_str(&message[message.trim_end().len()..])?;
        }
        for (name, value) in &parts.fields {
            write!(writer, " {}{value}", quiet.of(&format!("{name}=")))?;
        }
        writeln!(writer)
    }
}

// === impl Parts ===

impl Parts {
    fn add(&mut self, field: &Field, value: impl Display) {
        if field.name() == "message" {
            self.message = printable(&value.to_string());
            return;
        }
        let text = value.to_string();
        let plain = !text.is_empty() && text.chars().all(|sign| !sign.is_whitespace() && !sign.is_control() && sign != '"');
        self.fields.push((field.name(), if plain { text } else { format!("\"{}\"", text.escape_debug()) }));
    }
}

impl Visit for Parts {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, format_args!("{value:.3}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}

// === impl Style ===

impl Style {
    fn of(self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { format!("{}{text}{RESET}", self.0) }
    }
}

/// Without what a terminal would obey: parts of a line come from clients and from the service.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for sign in text.chars() {
        if sign.is_control() {
            let _ = write!(shown, "{}", sign.escape_debug());
        } else {
            shown.push(sign);
        }
    }
    shown
}

/// Wide enough for `not replayed`, below which `replaying` is to stand.
const MESSAGE_WIDTH: usize = 12;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";
