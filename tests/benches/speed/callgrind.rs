//! valgrind's callgrind around a program: how many instructions it executed, all its threads together.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;

/// Where one run writes its count.
pub(crate) struct Count {
    file: PathBuf,
}

// === impl Count ===

impl Count {
    /// For one run, in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        Self { file: folder.join("callgrind.out") }
    }

    /// `command` under callgrind, with one worker thread.
    pub(crate) fn wrap(&self, command: &Command) -> Command {
        let mut wrapped = Command::new(PROGRAM);
        wrapped.args(["--tool=callgrind", "--quiet"]).arg(format!("--callgrind-out-file={}", self.file.display()));
        wrapped.arg(command.get_program()).args(command.get_args()).env("TOKIO_WORKER_THREADS", "1");
        // glibc copies what is large with an instruction that repeats itself, and callgrind counts each time.
        wrapped.env("GLIBC_TUNABLES", "glibc.cpu.x86_rep_movsb_threshold=1000000000");
        wrapped
    }

    /// How many there were, once the program has ended.
    pub(crate) fn read(self) -> Result<f64> {
        let text = fs::read_to_string(&self.file).map_err(|error| format!("callgrind has written no count: {error}"))?;
        let total =
            text.lines().rev().find_map(|line| line.strip_prefix("totals:")).ok_or("callgrind's file has no totals")?;
        Ok(total.trim().parse()?)
    }
}

/// An error that says what is missing where callgrind cannot be run.
pub(crate) fn check() -> Result<()> {
    let tried = Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).status();
    match tried {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{PROGRAM} --version` ended with {status}").into()),
        Err(error) => Err(format!("counting instructions needs {PROGRAM}, which cannot be started: {error}").into()),
    }
}

const PROGRAM: &str = "valgrind";
