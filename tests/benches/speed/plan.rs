//! How each program is started: its command line and its settings, the same for all as far as they can be.
//!
//! TLS 1.3 on both sides with the origin's certificate checked, upstream connections kept, one worker, no cache, no access log (ours logs as
//! it does by default), TCP_NODELAY, and replays where the program knows any.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::client::Opening;
use crate::pki::Pki;

mod envoy;
mod haproxy;
mod nginx;
mod ours;
mod squid;

/// Which program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// None: the client speaks to the origin.
    Direct,
    /// Opens CONNECT to an internal listener of its own, which has one certificate for all hosts.
    Envoy(PathBuf),
    /// A reverse proxy.
    Haproxy(PathBuf),
    Hudsucker(PathBuf),
    /// A reverse proxy.
    Nginx(PathBuf),
    /// A binary of this project.
    Ours(PathBuf),
    Relay,
    Squid(PathBuf),
}

/// Where everything is that a program has to know.
pub(crate) struct Site<'a> {
    pub(crate) listen: SocketAddr,
    pub(crate) origin: SocketAddr,
    pub(crate) pki: &'a Pki,
    /// For its own files.
    pub(crate) folder: &'a Path,
}

/// What a figure needs beside the usual.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setup {
    /// Accounts that can be reached; at least one.
    pub(crate) accounts: usize,
    /// Whether replays come at once and as often as there are faults, so that their work is measured and not their waits.
    pub(crate) hasty: bool,
}

/// How to start a program, and how to get in.
pub(crate) struct Plan {
    pub(crate) command: Command,
    pub(crate) opening: Opening,
    /// What a client must trust; the file may appear with the start.
    pub(crate) trusted: PathBuf,
}

// === impl Kind ===

impl Kind {
    /// Whether it makes a certificate for each new host, rather than to have one for all.
    pub(crate) fn makes_leaves(&self) -> bool {
        matches!(self, Self::Hudsucker(_) | Self::Ours(_) | Self::Squid(_))
    }

    /// Whether it is a proxy that is not ours.
    pub(crate) fn is_peer(&self) -> bool {
        !matches!(self, Self::Direct | Self::Ours(_) | Self::Relay)
    }

    /// As it says itself; hudsucker is a library and says nothing.
    pub(crate) fn version(&self) -> Option<String> {
        let (program, flag) = match self {
            Self::Direct | Self::Relay => return None,
            Self::Hudsucker(_) => return Some("0.25.0".to_owned()),
            Self::Envoy(program) | Self::Ours(program) => (program, "--version"),
            Self::Haproxy(program) | Self::Nginx(program) | Self::Squid(program) => (program, "-v"),
        };
        let output = Command::new(program).arg(flag).output().ok()?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let is_version = |word: &&str| word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit());
        said.split([' ', '/', '\n']).find(is_version).map(str::to_owned)
    }

    /// Writes its settings; there is none for the direct way.
    pub(crate) fn plan(&self, site: &Site<'_>, setup: Setup) -> Result<Option<Plan>> {
        let (listen, origin, pki) = (site.listen.to_string(), site.origin.to_string(), site.pki);
        let (command, opening, trusted) = match self {
            Self::Direct => return Ok(None),
            Self::Envoy(program) => (envoy::command(program, site)?, Opening::Connect, &pki.ca),
            Self::Haproxy(program) => (haproxy::command(program, site)?, Opening::Straight, &pki.ca),
            Self::Hudsucker(program) => {
                let mut command = Command::new(program);
                command.args([&listen, &origin]).args([&pki.ca, &pki.ca_key, &pki.ca]);
                (command, Opening::Connect, &pki.ca)
            }
            Self::Nginx(program) => (nginx::command(program, site)?, Opening::Straight, &pki.ca),
            Self::Ours(program) => (ours::command(program, site, setup)?, Opening::Connect, &site.folder.join("ca.pem")),
            Self::Relay => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["relay", &listen, &origin]).arg(&pki.folder);
                (command, Opening::Connect, &pki.ca)
            }
            Self::Squid(program) => (squid::command(program, site, setup)?, Opening::Connect, &pki.ca),
        };
        Ok(Some(Plan { command, opening, trusted: trusted.clone() }))
    }
}

// === impl Site ===

impl Site<'_> {
    /// Writes a file into the program's folder.
    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}
