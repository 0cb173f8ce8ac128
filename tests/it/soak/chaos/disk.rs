//! A disk small enough to be filled.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of four megabytes in memory. Dropped, it is gone.
pub(super) struct SmallDisk {
    place: PathBuf,
}

// === impl SmallDisk ===

impl SmallDisk {
    /// Mounts it on `place`; `None` where that is not permitted.
    pub(super) fn mount(place: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m,mode=755", "soak"]).arg(place).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self { place: place.to_owned() })
    }

    /// Leaves no room.
    pub(super) fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        while filler.write_all(&[0; 4096]).is_ok() {}
    }

    /// Makes room again.
    pub(super) fn clear(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    /// What is on it, filler aside.
    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(&self.place).unwrap().map(|entry| entry.unwrap().path());
        let files = entries.filter(|path| *path != self.filler());
        files.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())).collect()
    }

    fn filler(&self) -> PathBuf {
        self.place.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.place).status());
    }
}
