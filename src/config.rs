//! Turns text into settings, before anything runs and at each reload: what comes out of here needs no further check.
//!
//! Layers, later wins: the built-in defaults (`config/default.toml`), a file, environment variables, `--set`, flags. Each
//! value keeps the place it came from, so that an error can name it and `config show` can tell. Which values a setting takes
//! is decided in `sections`; what a setting means is documented where its type is declared. The process environment is read
//! by [`crate::cli`], which hands it in.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::config::{Config, Value};

use crate::admin::AdminSettings;
use crate::proxy::{BodySettings, ListenSettings, RouteSettings, ThrottleSettings};
use crate::retry::policy::RetrySettings;
use crate::telemetry::LogSettings;
use crate::tls::CaSettings;
use crate::upstream::UpstreamSettings;

mod cgroup;
mod effective;
mod error;
mod keys;
mod layer;
mod loaded;
mod reader;
mod sections;
mod unit;
mod watch;

pub use effective::{Effective, EffectiveEntry};
pub use error::{ConfigError, Problem};
pub use keys::needs_restart;
pub use layer::ENV_PREFIX;
pub use loaded::Loaded;
pub use unit::parse_duration;
pub use watch::{Sight, Watch};

use layer::Layer;

/// Everything the program can be told, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The listening side (`listen.*`).
    pub listen: ListenSettings,
    /// The admin server (`admin.*`).
    pub admin: AdminSettings,
    /// What becomes of a request by its host (`intercept.*`, `tunnel.*`, `forward.*`).
    pub route: RouteSettings,
    /// How much of bodies is held (`retry.body_limit`, `retry.response_buffer`, `retry.memory_limit`).
    pub bodies: BodySettings,
    /// The certificate authority (`ca.*`).
    pub ca: CaSettings,
    /// How Batch is reached (`upstream.*`).
    pub upstream: UpstreamSettings,
    /// When and how long requests are replayed (`retry.*`).
    pub retry: RetrySettings,
    /// The gates and budgets of accounts (`retry.throttle.*`, `retry.budget.*`).
    pub throttle: ThrottleSettings,
    /// Logs (`log.*`).
    pub log: LogSettings,
    /// How long requests may take to finish once the program is told to stop; zero stops at once (`shutdown.grace`).
    pub shutdown_grace: Duration,
    /// How long requests are taken as before once SIGTERM comes, before the grace begins (`shutdown.delay`).
    pub shutdown_delay: Duration,
}

/// Where settings come from, besides the built-in defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file of `--config` or `BATCH_RETRY_PROXY_CONFIG`.
    pub file: Option<PathBuf>,
    /// Environment variables as name and value; those that do not start with `BATCH_RETRY_PROXY__` are passed over.
    pub env: Vec<(String, String)>,
    /// The arguments of `--set`, `KEY=VALUE`, in the order given; one without `=` has an empty value.
    pub set: Vec<String>,
    /// Flags that stand for one key each.
    pub flags: Vec<Flag>,
}

/// A command line flag that sets one key. Its value is plain text, not TOML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// As the user wrote it, such as `--listen`; it is the origin errors and `config show` name.
    pub name: &'static str,
    /// The key it sets, such as `listen.address`.
    pub key: &'static str,
    /// The value given.
    pub value: String,
}

// === impl Settings ===

impl Settings {
    /// Merges all layers and checks every value, as [`Loaded::load`] does.
    ///
    /// # Errors
    /// A file that cannot be read or is not TOML, or else every unknown key and wrong value found.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        Loaded::load(sources).map(Loaded::into_settings)
    }

    /// The defaults with `text` as the file, and no other layer. Errors call the file `config`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let merged = merge(vec![defaults(), Layer::document(text, "config")?])?;
        Loaded::of(merged).map(Loaded::into_settings)
    }
}

// === impl Effective ===

impl Effective {
    /// The value in force for each key and where it came from. Only valid configurations have one.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        Loaded::load(sources).map(|loaded| loaded.effective())
    }
}

// === impl Sources ===

impl Sources {
    /// What the file holds, where there is one.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`].
    pub fn read_file(&self) -> Result<Option<Vec<u8>>, ConfigError> {
        let Some(path) = &self.file else { return Ok(None) };
        let unreadable = |source| ConfigError::Unreadable { path: path.clone(), source };
        fs::read(path).map(Some).map_err(unreadable)
    }
}

fn defaults() -> Layer {
    Layer::defaults(DEFAULTS).expect("the built-in default.toml is TOML, a test reads it")
}

/// The tree of all values, each with its origin; later layers win.
fn merge(layers: Vec<Layer>) -> Result<Value, ConfigError> {
    let mut problems = Vec::new();
    let mut builder = Config::builder();
    for layer in layers {
        problems.extend(layer.problems);
        builder = builder.add_source(layer.assignments);
    }
    if !problems.is_empty() {
        return Err(ConfigError::Invalid(problems));
    }
    Ok(builder.build().expect("assignments are values already, collecting them cannot fail").cache)
}

/// The text of a file.
fn utf8<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, ConfigError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let line = layer::line_at(bytes, error.valid_up_to());
        ConfigError::NotUtf8 { path: path.to_owned(), line }
    })
}

const DEFAULTS: &str = include_str!("../config/default.toml");

#[cfg(test)]
mod tests;
