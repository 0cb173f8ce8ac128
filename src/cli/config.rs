//! `config show` and `config check`.

use super::{Failure, print};
use crate::config::{Effective, Settings, Sources};

/// Prints every setting in force with its origin.
pub(super) fn show(sources: &Sources) -> Result<(), Failure> {
    print(Effective::load(sources)?.to_string().as_bytes())
}

/// Says that the settings are valid and which file was read, or fails with what is wrong.
pub(super) fn check(sources: &Sources) -> Result<(), Failure> {
    Settings::load(sources)?;
    let file = sources.file.as_ref().map_or_else(|| "no file read".to_owned(), |path| format!("read {}", path.display()));
    print(format!("configuration is valid ({file})\n").as_bytes())
}
