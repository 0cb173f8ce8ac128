//! The local certificate authority, the leaves it makes, the files clients trust it by, and the roots Batch is trusted by.

use std::path::PathBuf;
use std::time::Duration;

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
