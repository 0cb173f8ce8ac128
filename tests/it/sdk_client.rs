//! A real client as a user starts it: a script of `tests/sdk` behind `run`, towards a scripted origin. What the clients are called, and where
//! `make test-sdk` says they are.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use super::support::batch::HOST;
use super::support::guard_for;
use super::support::origin::Origin;

/// Runs `command` behind a proxy of its own with `settings` (`KEY=VALUE`), and gives what it printed.
pub(crate) async fn behind_run(origin: &Origin, settings: &[&str], command: &[&str], patience: Duration) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
    program
        .args(["run", "--set", &format!("upstream.resolve={{\"{HOST}:443\" = \"{}\"}}", origin.address())])
        .args(["--set", &format!("upstream.ca_files=['{}']", origin.ca_file().display())])
        .args(settings.iter().flat_map(|setting| ["--set", setting]))
        .arg("--")
        .args(command)
        .env("BATCH_ACCOUNT", "testacct")
        .env("BATCH_KEY", "ZmFrZS1rZXktb2YtdGhlLXRlc3RzLW5vdC1hLXNlY3JldA==")
        .env("BATCH_ENDPOINT", format!("https://{HOST}"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    guard_for(patience, &format!("the end of {command:?}"), program.output()).await.unwrap()
}

/// A variable that `make test-sdk` sets.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: make test-sdk sets it"))
}

/// The path of a file of `tests/sdk`.
pub(crate) fn script(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(name).display().to_string()
}
