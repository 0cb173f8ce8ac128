//! A program of the machine, run for a moment: its output is kept, its time is limited, and nothing of it is left behind.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout_at};

/// How it ended.
#[derive(Debug)]
pub(super) enum End {
    /// By itself.
    Exited(Output),
    /// It could not be started.
    NotStarted(io::Error),
    /// It was ended because it took longer than this.
    TimedOut(Duration),
    /// It was ended because it wrote without end.
    Endless,
}

/// What a program that ended by itself left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Output {
    /// Its status; none if a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// The program with all that it started, which end with this value.
struct Group(Pid);

/// Runs `command` without input, in a process group of its own, for `limit` at most.
pub(super) async fn run(mut command: Command, limit: Duration) -> End {
    let deadline = Instant::now() + limit;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return End::NotStarted(error),
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) else {
        return End::NotStarted(io::Error::other("no process id"));
    };
    // Not waited for while this lives, so that the number cannot have become another's.
    let group = Group(pid);
    let written = timeout_at(deadline, async {
        let written = tokio::try_join!(all(stdout), all(stderr))?;
        exited(pid).await;
        Ok::<_, Endless>(written)
    });
    let written = written.await;
    drop(group);
    let status = child.wait().await;
    match written {
        Ok(Ok((stdout, stderr))) => {
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            End::Exited(Output {
                code: status.ok().and_then(|status| status.code()),
                stdout: text(stdout),
                stderr: text(stderr),
            })
        }
        Ok(Err(Endless)) => End::Endless,
        Err(_) => End::TimedOut(limit),
    }
}

/// More was written than any answer has.
struct Endless;

async fn all(stream: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, Endless> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // A stream that fails has said what it had to say.
        let _ = stream.take(LONGEST_OUTPUT + 1).read_to_end(&mut bytes).await;
    }
    if bytes.len() as u64 > LONGEST_OUTPUT { Err(Endless) } else { Ok(bytes) }
}

/// Waits for the end of a child whose output has ended, without taking its status.
async fn exited(pid: Pid) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while let Ok(None) = waitid(WaitId::Pid(pid), options) {
        sleep(POLL).await;
    }
}

// === impl Group ===

impl Drop for Group {
    fn drop(&mut self) {
        // Fails where all have ended.
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

/// In bytes, of each stream.
const LONGEST_OUTPUT: u64 = 64 * 1024;

/// Seldom more than one: a program ends when its output does.
const POLL: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn output_and_status_are_kept() {
        let End::Exited(output) = run(shell("cat; echo out; echo err >&2; exit 3"), PATIENCE).await else {
            panic!("it should have ended");
        };
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (Some(3), "out\n", "err\n"));
    }

    #[tokio::test]
    async fn what_hangs_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        // The grandchild keeps the streams open after the child is gone.
        let command = shell(&format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}", pid.display()));
        assert!(matches!(run(command, Duration::from_secs(1)).await, End::TimedOut(_)));
        let pid = std::fs::read_to_string(pid).unwrap();
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            // One that nobody has waited for yet is gone as well.
            stat.is_empty() || stat.contains(") Z ")
        };
        let ended = tokio::time::timeout(PATIENCE, async {
            while !gone() {
                sleep(POLL).await;
            }
        });
        ended.await.expect("the grandchild ends with the child");
    }

    #[tokio::test]
    async fn what_writes_without_end_is_ended_at_once() {
        assert!(matches!(run(shell("while :; do echo no end in sight; done"), PATIENCE).await, End::Endless));
    }

    #[tokio::test]
    async fn what_is_no_program_does_not_start() {
        assert!(matches!(run(Command::new("/dev/null"), PATIENCE).await, End::NotStarted(_)));
    }

    const PATIENCE: Duration = Duration::from_secs(30);
}
