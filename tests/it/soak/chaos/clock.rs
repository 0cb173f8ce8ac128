//! The clock of the proxy's process, by libfaketime: the time of day jumps, what measures durations goes on.

use std::path::{Path, PathBuf};

use tokio::process::Command;

/// A clock that is told by a file how far it is ahead.
pub(super) struct FakeClock {
    library: PathBuf,
    file: PathBuf,
}

// === impl FakeClock ===

impl FakeClock {
    /// `None` where Debian's libfaketime is not installed.
    pub(super) fn find(folder: &Path) -> Option<Self> {
        let folders = std::fs::read_dir("/usr/lib").ok()?;
        let library = folders
            .filter_map(|entry| Some(entry.ok()?.path().join("faketime/libfaketimeMT.so.1")))
            .find(|library| library.exists())?;
        let clock = Self { library, file: folder.join("ahead") };
        clock.set(0);
        Some(clock)
    }

    /// Lets `command` go by this clock.
    pub(super) fn give(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_DONT_RESET", "1");
    }

    /// So many seconds ahead of the true time, at once.
    pub(super) fn set(&self, seconds: i64) {
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(next, &self.file).unwrap();
    }
}
