//! Files that appear whole or not at all: written beside their place, flushed, then renamed into it.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::NamedTempFile;

/// A flushed file in `directory` that has no final name yet and goes away unless it gets one.
pub(super) fn stage(directory: &Path, contents: &[u8], mode: u32) -> io::Result<NamedTempFile> {
    // Created with mode 0600, so that a key is never readable by others, not even before its mode is set.
    let mut file = NamedTempFile::with_prefix_in(".new-", directory)?;
    file.write_all(contents)?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Puts `contents` at `directory/name`; who reads there sees the old file or the new one.
pub(super) fn replace(directory: &Path, name: &str, contents: &[u8], mode: u32) -> io::Result<()> {
    stage(directory, contents, mode)?.persist(directory.join(name))?;
    Ok(())
}
