//! The words for log levels, as settings and the admin server spell them.

use thiserror::Error;
use tracing::Level;

/// A text that names no log level.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{text}` is not a log level: use off, error, warn, info, debug or trace")]
pub struct InvalidLevel {
    text: String,
}

/// The level a word stands for, without regard to case and surrounding space; `off` is `None`.
///
/// # Errors
///
/// Where the word is none of `off`, `error`, `warn`, `info`, `debug` and `trace`.
pub fn parse_level(text: &str) -> Result<Option<Level>, InvalidLevel> {
    let word = text.trim();
    let named = LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    named.map(|(_, level)| *level).ok_or_else(|| InvalidLevel { text: word.chars().take(LONGEST_QUOTE).collect() })
}

/// The word for a level; `None` is `off`.
pub fn level_name(level: Option<Level>) -> &'static str {
    LEVELS.iter().find(|(_, named)| *named == level).map_or("off", |(name, _)| name)
}

/// Every word and its level.
pub(crate) const LEVELS: [(&str, Option<Level>); 6] = [
    ("off", None),
    ("error", Some(Level::ERROR)),
    ("warn", Some(Level::WARN)),
    ("info", Some(Level::INFO)),
    ("debug", Some(Level::DEBUG)),
    ("trace", Some(Level::TRACE)),
];

/// In characters. The text comes from outside and is repeated in an error message.
const LONGEST_QUOTE: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_read_from_its_word_and_written_as_it() {
        for (name, level) in LEVELS {
            assert_eq!(parse_level(name), Ok(level));
            assert_eq!(level_name(level), name);
        }
        assert_eq!(parse_level(" WARN\n"), Ok(Some(Level::WARN)));
    }

    #[test]
    fn another_word_is_refused_and_the_choices_are_named() {
        for text in ["", "verbose", "3", "infos"] {
            let message = parse_level(text).unwrap_err().to_string();
            assert!(message.starts_with(&format!("`{text}`")) && message.contains("debug"), "{message}");
        }
        assert!(parse_level(&"x".repeat(10_000)).unwrap_err().to_string().len() < 200);
    }
}
