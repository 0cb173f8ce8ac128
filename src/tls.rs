//! The local certificate authority, the leaves it makes, the files clients trust it by, and the roots Batch is trusted by.
//!
//! Towards clients: [`authority`] signs, [`leaf`] presents, [`trust`] publishes what clients need to believe it, and
//! [`handshake`] says why one did not. Towards Batch: [`roots`]. Opening connections is the task of `proxy` and `upstream`.

use std::path::PathBuf;
use std::time::Duration;

pub mod authority;
mod file;
pub mod handshake;
pub mod leaf;
pub mod roots;
#[cfg(test)]
mod testing;
pub mod trust;

/// How long certificates live and where the authority is kept and published.
#[derive(Clone, Debug)]
pub struct CaSettings {
    /// Where a lasting authority is kept; `None` keeps it in memory only (`ca.directory`).
    pub directory: Option<PathBuf>,
    /// Where the files clients need are written (`ca.publish`).
    pub publish: Option<PathBuf>,
    /// Life of the root and intermediate (`ca.lifetime`).
    pub lifetime: Duration,
    /// Life of a leaf, never beyond the authority's own (`ca.leaf_lifetime`).
    pub leaf_lifetime: Duration,
}
