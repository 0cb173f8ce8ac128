//! The command as a process: started, told what the proxy is told, and its end as an exit code.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind};
use tracing::{debug, warn};

use crate::cli::Failure;

/// The signals that are passed on.
#[derive(Debug)]
pub(in crate::cli) struct Signals {
    hangup: unix::Signal,
    interrupt: unix::Signal,
    quit: unix::Signal,
    terminate: unix::Signal,
}

// === impl Signals ===

impl Signals {
    /// Catches them from now on, so that this process outlives the command.
    pub(in crate::cli) fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: unix::signal(SignalKind::hangup())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            quit: unix::signal(SignalKind::quit())?,
            terminate: unix::signal(SignalKind::terminate())?,
        })
    }

    /// The next of them.
    pub(in crate::cli) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hangup.recv() => Signal::HUP,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.quit.recv() => Signal::QUIT,
            _ = self.terminate.recv() => Signal::TERM,
        }
    }
}

/// Starts the command with `variables` besides our own, on our own terminal and streams.
pub(in crate::cli) fn spawn(command: &[OsString], variables: &[(&'static str, OsString)]) -> Result<Child, Failure> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::Internal("no command".into()));
    };
    let variables = variables.iter().map(|(name, value)| (name, value));
    Command::new(program).args(arguments).envs(variables).spawn().map_err(|source| {
        let command = program.to_string_lossy().into_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Failure::CommandNotFound { command },
            _ => Failure::CommandNotExecutable { command, source },
        }
    })
}

/// Passes signals on until the command has ended.
pub(in crate::cli) async fn wait(child: &mut Child, signals: &mut Signals) -> io::Result<ExitStatus> {
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    loop {
        tokio::select! {
            // The command's end first: after it the id may be another's.
            biased;
            ended = child.wait() => return ended,
            signal = signals.next() => {
                if terminal_told_the_command(signal) {
                    debug!(?signal, "the terminal has told the command itself");
                } else if let Some(Err(error)) = id.map(|id| kill_process(id, signal)) {
                    warn!(%error, ?signal, "the command cannot be told");
                }
            }
        }
    }
}

/// Whether the signal reached the command without us: Ctrl-C and Ctrl-\ go to all in the foreground. Passed on, they would count
/// twice, and for many programs the second one means to stop at once. A `kill -INT` of this process alone, while it is in the
/// foreground of a terminal, looks the same and is the price.
fn terminal_told_the_command(signal: Signal) -> bool {
    if signal != Signal::INT && signal != Signal::QUIT {
        return false;
    }
    let foreground = File::open("/dev/tty").ok().and_then(|terminal| tcgetpgrp(terminal).ok());
    foreground == Some(getpgrp())
}

/// The command's status as a shell has it: its own, or 128 and the number of the signal that ended it.
pub(in crate::cli) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_told_as_a_shell_tells_it() {
        for (wait_status, want) in [(0, 0), (7 << 8, 7), (255 << 8, 255), (15, 143), (9, 137), (6 | 0x80, 134)] {
            assert_eq!(exit_code(ExitStatus::from_raw(wait_status)), want, "{wait_status:#x}");
        }
    }
}
