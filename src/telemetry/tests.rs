//! What is written, read back from a buffer in place of standard error.

use std::io::Write;
use std::{panic as std_panic, thread};

use serde_json::Value;
use tracing::{error, info, info_span, trace, warn};

use super::*;
use crate::metrics::{BuildInfo, Metrics};

/// A writer whose clones fill one buffer.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn messages(&self) -> Vec<String> {
        self.lines().iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `events` log with these settings.
fn logged(level: Option<Level>, format: Option<LogFormat>, terminal: bool, events: impl FnOnce(&LogHandle)) -> Buffer {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let (subscriber, handle) = subscriber(LogSettings { level, format }, terminal, move || writer.clone());
    tracing::subscriber::with_default(subscriber, || events(&handle));
    buffer
}

#[test]
fn without_a_terminal_a_line_is_one_flat_json_object_with_a_utc_time() {
    let buffer = logged(Some(Level::INFO), None, false, |_| {
        let _conn = info_span!("conn", id = 7).entered();
        let _request = info_span!("request", operation = "Jobs_GetJob").entered();
        info!(attempt = 2, "replaying");
    });
    let [line] = &buffer.lines()[..] else { panic!("{}", buffer.text()) };
    assert_eq!(line["message"], "replaying");
    assert_eq!(line["attempt"], 2);
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["target"], "batch_retry_proxy::telemetry::tests");
    assert_eq!(line["spans"][0]["id"], 7);
    assert_eq!(line["spans"][1]["operation"], "Jobs_GetJob");
    let time = line["timestamp"].as_str().unwrap();
    assert!(time.ends_with('Z') && humantime::parse_rfc3339(time).is_ok(), "{time}");
}

#[test]
fn on_a_terminal_a_line_is_text_in_columns_with_the_names_of_the_json() {
    let buffer = logged(Some(Level::INFO), Some(LogFormat::Text), false, |_| {
        info!(operation = "Jobs_GetJob", wait_seconds = 2.0_f64 / 3.0, request_id = None::<&str>, "replaying");
        warn!(cause = %"503 ServerBusy", "not replayed");
        info!("listening");
        warn!(target: "rustls::msgs", "odd");
    });
    let lines: Vec<String> = buffer.text().lines().map(|line| line["12:04:31.120Z ".len()..].to_owned()).collect();
    assert_eq!(
        lines,
        [
            "INFO  replaying    operation=Jobs_GetJob wait_seconds=0.667",
            "WARN  not replayed cause=\"503 ServerBusy\"",
            "INFO  listening",
            "WARN  rustls: odd",
        ]
    );
    let text = buffer.text();
    let (time, _) = text.split_once(' ').unwrap();
    assert!(humantime::parse_rfc3339(&format!("2026-01-01T{time}")).is_ok(), "{time}");
}

#[test]
fn what_a_terminal_would_obey_is_written_out() {
    let buffer = logged(Some(Level::INFO), None, true, |_| {
        info!(code = "\x1b[2J\r", "cleared \x1b[2J");
    });
    let text = buffer.text();
    assert!(!text.contains("\x1b[2J") && !text.contains('\r') && text.contains(r"\u{1b}[2J"), "{text:?}");
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn text_has_colours_on_a_terminal_only() {
    let text = |terminal| logged(Some(Level::INFO), Some(LogFormat::Text), terminal, |_| info!("x")).text();
    assert!(!text(false).contains('\x1b'));
    if std::env::var_os("NO_COLOR").is_none() {
        assert!(text(true).contains('\x1b'));
    }
}

#[test]
fn the_format_asked_for_wins_over_the_terminal() {
    assert_eq!(logged(Some(Level::INFO), Some(LogFormat::Json), true, |_| info!("x")).messages(), ["x"]);
}

#[test]
fn the_level_is_for_the_program_and_its_libraries_speak_from_warnings_on() {
    let events = |_: &LogHandle| {
        trace!("own trace");
        info!("own info");
        error!("own error");
        info!(target: "hyper::proto", "library info");
        warn!(target: "rustls", "library warning");
        error!(target: "h2", "library error");
    };
    for (level, want) in [
        (None, &[][..]),
        (Some(Level::ERROR), &["own error", "library error"]),
        (Some(Level::INFO), &["own info", "own error", "library warning", "library error"]),
        (Some(Level::TRACE), &["own trace", "own info", "own error", "library warning", "library error"]),
    ] {
        assert_eq!(logged(level, Some(LogFormat::Json), false, events).messages(), want, "{level:?}");
    }
}

#[test]
fn the_level_changes_while_the_program_runs() {
    let buffer = logged(Some(Level::INFO), Some(LogFormat::Json), false, |handle| {
        let event = || trace!("seen");
        event();
        handle.clone().set_level(Some(Level::TRACE));
        assert_eq!(handle.level(), Some(Level::TRACE));
        event();
        handle.set_level(None);
        assert_eq!(handle.level(), None);
        event();
    });
    assert_eq!(buffer.messages(), ["seen"]);
}

#[test]
fn starting_twice_does_no_harm() {
    let settings = LogSettings { level: None, format: None };
    init(settings);
    let second = init(settings);
    second.set_level(Some(Level::ERROR));
    assert_eq!(second.level(), Some(Level::ERROR));
}

#[test]
fn a_panic_is_counted_and_logged_but_a_formatted_message_is_not() {
    let metrics = Metrics::new(BuildInfo::current());
    let before = std_panic::take_hook();
    install_panic_hook(metrics.clone());
    let panicking = |panic: fn()| {
        thread::Builder::new()
            .name("worker-7".to_owned())
            .spawn(move || {
                let buffer = Buffer::default();
                let writer = buffer.clone();
                let settings = LogSettings { level: Some(Level::ERROR), format: Some(LogFormat::Json) };
                let (subscriber, _) = subscriber(settings, false, move || writer.clone());
                let outcome = tracing::subscriber::with_default(subscriber, || {
                    std_panic::catch_unwind(std_panic::AssertUnwindSafe(panic))
                });
                assert!(outcome.is_err());
                buffer
            })
            .unwrap()
            .join()
    };
    let literal = panicking(|| panic!("a literal"));
    let formatted: [fn(); 4] = [
        || panic!("held {}", String::from("SECRET")),
        || std_panic::panic_any("SECRET".to_owned()),
        || "SECRET".parse::<u32>().map(drop).map_err(|_| "SECRET").unwrap(),
        || assert_eq!("SECRET", ""),
    ];
    let formatted = formatted.map(panicking);
    std_panic::set_hook(before);

    let literal = literal.unwrap();
    let [line] = &literal.lines()[..] else { panic!("{}", literal.text()) };
    assert_eq!((line["level"].as_str(), line["thread"].as_str()), (Some("ERROR"), Some("worker-7")));
    assert!(line["location"].as_str().unwrap().contains("telemetry/tests.rs:"));
    assert_eq!((line["message"].as_str(), line["payload"].as_str()), (Some("panicked"), Some("a literal")));
    for formatted in formatted {
        let formatted = formatted.unwrap();
        assert_eq!(formatted.lines().len(), 1);
        assert!(!formatted.text().contains("SECRET"), "{}", formatted.text());
    }
    // Tests beside this one may panic on purpose as well.
    let text = String::from_utf8(metrics.encode()).unwrap();
    let count = text.lines().find_map(|line| line.strip_prefix("batch_retry_proxy_panics_total ")).unwrap();
    assert!(count.parse::<u64>().unwrap() >= 2);
}
