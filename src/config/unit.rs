//! Durations and sizes with units.

use std::time::Duration;

/// Reads a duration such as `3s`, `1m 30s` or `365d`. A number alone is refused, even 0: its unit would be a guess.
///
/// # Errors
/// What is wrong and how to write it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if is_bare_number(text) {
        return Err(format!("a duration needs a unit, write it as \"{text}s\" or \"{text}m\""));
    }
    humantime::parse_duration(text).map_err(|_| NOT_A_DURATION.to_owned())
}

/// Reads a size such as `100B`, `4MB` (10^6) or `4MiB` (2^20), in bytes.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    if is_bare_number(text) {
        return Err(format!("a size needs a unit, write it as \"{text}B\" or \"{text}MiB\""));
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = SIZES.iter().find(|(name, _)| *name == unit.trim_start());
    let (Ok(number), Some((_, bytes))) = (number.parse::<u64>(), unit) else { return Err(NOT_A_SIZE.to_owned()) };
    number.checked_mul(*bytes).ok_or_else(|| "too large".to_owned())
}

fn is_bare_number(text: &str) -> bool {
    text.parse::<f64>().is_ok()
}

/// The unit of each suffix, in bytes.
const SIZES: [(&str, u64); 8] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

/// What is said of a value that is no duration at all.
pub(super) const NOT_A_DURATION: &str = "not a duration, write it as \"50s\" or \"2m\"";
/// What is said of a value that is no size at all.
pub(super) const NOT_A_SIZE: &str = "not a size, write it as \"512KiB\" or \"4MiB\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_units() {
        for (text, want) in [
            ("3s", Ok(Duration::from_secs(3))),
            ("0s", Ok(Duration::ZERO)),
            ("250ms", Ok(Duration::from_millis(250))),
            ("1m 30s", Ok(Duration::from_secs(90))),
            ("1m30s", Ok(Duration::from_secs(90))),
            ("365d", Ok(Duration::from_secs(365 * 86_400))),
            ("50", Err("a duration needs a unit, write it as \"50s\" or \"50m\"")),
            ("0", Err("a duration needs a unit, write it as \"0s\" or \"0m\"")),
            ("1.5", Err("a duration needs a unit, write it as \"1.5s\" or \"1.5m\"")),
            ("40 parsecs", Err(NOT_A_DURATION)),
            ("", Err(NOT_A_DURATION)),
            ("-3s", Err(NOT_A_DURATION)),
        ] {
            assert_eq!(parse_duration(text), want.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn sizes_carry_units() {
        for (text, want) in [
            ("100B", Ok(100)),
            ("0B", Ok(0)),
            ("4MB", Ok(4_000_000)),
            ("4MiB", Ok(4 << 20)),
            ("4 MiB", Ok(4 << 20)),
            ("512KiB", Ok(512 << 10)),
            ("2kB", Ok(2_000)),
            ("3GB", Ok(3_000_000_000)),
            ("1GiB", Ok(1 << 30)),
            ("4096", Err("a size needs a unit, write it as \"4096B\" or \"4096MiB\"")),
            ("4M", Err(NOT_A_SIZE)),
            ("MiB", Err(NOT_A_SIZE)),
            ("-4MiB", Err(NOT_A_SIZE)),
            ("1.5MiB", Err(NOT_A_SIZE)),
            ("", Err(NOT_A_SIZE)),
            ("18446744073709551615GiB", Err("too large")),
        ] {
            assert_eq!(parse_size(text), want.map_err(str::to_owned), "{text}");
        }
    }
}
