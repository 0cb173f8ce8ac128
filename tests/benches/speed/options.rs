//! The command line.

use std::path::{Path, PathBuf};

use clap::Parser;

use crate::figure::Figure;
use crate::plan::Kind;
use crate::target::Target;

/// Measures the proxy against a bare relay and other proxies, each alone on one core.
#[derive(Debug, Parser)]
#[command(name = "speed", override_usage = "make bench BENCH=\"[OPTIONS]\"\n       cargo bench --bench speed -- [OPTIONS]")]
pub(crate) struct Options {
    /// How often everything is measured; shown are medians
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// How long each run counts
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// Measure this only (may be repeated)
    #[arg(long = "figure", value_name = "NAME")]
    pub(crate) figures: Vec<Figure>,
    /// Measure this target only: direct, relay, ours, image, hudsucker, envoy, nginx, haproxy, squid, or one of --binary (may be repeated)
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<String>,
    /// Measure another binary of this project in the same rounds (may be repeated); `ours=PATH` takes the place of the one just built
    #[arg(long = "binary", value_name = "NAME=PATH", value_parser = named)]
    binaries: Vec<(String, PathBuf)>,
    /// Where the program of a peer is, if not where `make bench` puts it or on the PATH (may be repeated)
    #[arg(long = "peer", value_name = "NAME=PATH", value_parser = named)]
    peers: Vec<(String, PathBuf)>,
    /// Count instructions with callgrind instead of measuring time (needs valgrind)
    #[arg(long, conflicts_with_all = ["figures", "strict"])]
    pub(crate) instructions: bool,
    /// Put the tables into docs/speed.md
    #[arg(long)]
    pub(crate) write: bool,
    /// Fail where a goal is missed that must be met
    #[arg(long)]
    pub(crate) strict: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

// === impl Options ===

impl Options {
    /// What is measured, and what is not because it is not there.
    pub(crate) fn targets(&self) -> crate::Result<(Vec<Target>, Vec<String>)> {
        let built = PathBuf::from(env!("CARGO_BIN_EXE_batch-retry-proxy"));
        let own = self.binaries.iter().rev().find(|(name, _)| name == OURS).map_or(built, |(_, path)| path.clone());
        let mut known = vec![("direct", Some(Kind::Direct)), ("relay", Some(Kind::Relay)), (OURS, Some(Kind::Ours(own)))];
        let others = self.binaries.iter().filter(|(name, _)| name != OURS);
        if !self.binaries.iter().any(|(name, _)| name == IMAGE) {
            let image = made(IMAGE);
            known.push((IMAGE, image.is_file().then_some(Kind::Ours(image))));
        }
        known.extend(others.map(|(name, path)| (name.as_str(), Some(Kind::Ours(path.clone())))));
        known.extend(PEERS.map(|(name, kind)| (name, self.program(name).map(kind))));
        if let Some(unknown) = self.targets.iter().find(|wanted| known.iter().all(|(name, _)| name != wanted)) {
            return Err(format!("there is no target {unknown}").into());
        }

        let (mut targets, mut left_out) = (Vec::new(), Vec::new());
        let wanted = |name: &str| self.targets.is_empty() || self.targets.iter().any(|target| target == name);
        for (name, kind) in known.into_iter().filter(|(name, _)| wanted(name)) {
            match kind {
                Some(kind) => targets.push(Target { name: name.to_owned(), kind }),
                None => left_out.push(name.to_owned()),
            }
        }
        Ok((targets, left_out))
    }

    /// The program of a peer: named, built or fetched by `make bench`, or installed.
    fn program(&self, name: &str) -> Option<PathBuf> {
        if let Some((_, path)) = self.peers.iter().rev().find(|(peer, _)| peer == name) {
            return Some(path.clone());
        }
        let search = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&search).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
        std::iter::once(made(name)).chain(folders.map(|folder| folder.join(name))).find(|path| path.is_file())
    }
}

/// Where `make bench` puts the program called `name`.
fn made(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench").join(name)
}

fn named(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("NAME=PATH is needed")?;
    let path = PathBuf::from(path);
    if path.is_file() { Ok((name.to_owned(), path)) } else { Err(format!("there is no file {}", path.display())) }
}

/// The proxy that is measured against the others.
pub(crate) const OURS: &str = "ours";

/// The same built as for the container image: smaller, and on musl.
const IMAGE: &str = "image";

type Peer = (&'static str, fn(PathBuf) -> Kind);

const PEERS: [Peer; 5] = [
    ("hudsucker", Kind::Hudsucker),
    ("envoy", Kind::Envoy),
    ("nginx", Kind::Nginx),
    ("haproxy", Kind::Haproxy),
    ("squid", Kind::Squid),
];
