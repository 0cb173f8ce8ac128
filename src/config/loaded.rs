//! Settings together with the values they were made of, so that those of a reload can be compared with those in force.

use std::path::Path;

use ::config::{Value, ValueKind};

use super::effective::{Effective, to_toml};
use super::error::ConfigError;
use super::keys::KEYS;
use super::layer::Layer;
use super::{Settings, Sources, defaults, merge, reader, sections};

/// Settings, and where each comes from.
#[derive(Clone, Debug)]
pub struct Loaded {
    settings: Settings,
    merged: Value,
}

// === impl Loaded ===

impl Loaded {
    /// Merges all layers and checks every value.
    ///
    /// Reads the file and, for `retry.memory_limit = "auto"`, the cgroup's memory limit.
    ///
    /// # Errors
    /// A file that cannot be read or is not TOML, or else every unknown key and wrong value found.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        Self::with_file(sources, sources.read_file()?.as_deref())
    }

    /// The same, where the file, if there is one, holds `text`.
    ///
    /// # Errors
    /// As [`Self::load`], but for what concerns reading the file.
    pub fn with_file(sources: &Sources, text: Option<&[u8]>) -> Result<Self, ConfigError> {
        let mut layers = vec![defaults()];
        if let (Some(path), Some(text)) = (&sources.file, text) {
            layers.push(Layer::document(super::utf8(path, text)?, &path.display().to_string())?);
        }
        layers.extend([Layer::environment(&sources.env), Layer::set(&sources.set), Layer::flags(&sources.flags)]);
        Self::of(merge(layers)?)
    }

    pub(super) fn of(merged: Value) -> Result<Self, ConfigError> {
        Ok(Self { settings: sections::settings(&merged, Path::new("/"))?, merged })
    }

    /// What the program is told.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the program is told, and nothing else.
    pub fn into_settings(self) -> Settings {
        self.settings
    }

    /// The value in force for each key and where it came from.
    pub fn effective(&self) -> Effective {
        Effective::of(&self.merged)
    }

    /// The keys whose values differ in `other`, in the order of `config/default.toml`.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let text = |loaded: &Self, key| to_toml(reader::lookup(&loaded.merged, key));
        KEYS.into_iter().filter(|key| text(self, key) != text(other, key)).collect()
    }

    /// These settings, but `keys` with the values they have in `other`.
    ///
    /// # Errors
    /// They do not go together.
    pub fn keeping(mut self, other: &Self, keys: &[&'static str]) -> Result<Self, ConfigError> {
        for key in keys {
            *value_mut(&mut self.merged, key) = reader::lookup(&other.merged, key).clone();
        }
        Self::of(self.merged)
    }
}

/// The value of a known key in the merged tree.
fn value_mut<'a>(merged: &'a mut Value, key: &str) -> &'a mut Value {
    key.split('.').fold(merged, |value, name| match &mut value.kind {
        ValueKind::Table(table) => table.get_mut(name).expect("default.toml sets every known key"),
        _ => unreachable!("`layer` refuses values in the place of a section"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::needs_restart;

    fn loaded(file: &str, set: &[&str]) -> Loaded {
        let set = set.iter().map(ToString::to_string).collect();
        let sources = Sources { file: Some("proxy.toml".into()), set, ..Sources::default() };
        Loaded::with_file(&sources, Some(file.as_bytes())).unwrap()
    }

    #[test]
    fn what_differs_is_told_by_value_and_not_by_place() {
        let old = loaded("retry.deadline = \"20s\"\n[upstream]\nresolve = { \"a.b:443\" = \"127.0.0.1:1\" }", &[]);
        for (file, set, want) in [
            ("\n\n[retry]\ndeadline = \"20s\"\n[upstream.resolve]\n\"A.B:443\" = \"127.0.0.1:1\"", &[][..], &[][..]),
            ("retry.deadline = \"20s\"", &[], &["upstream.resolve"]),
            ("upstream.resolve = { \"a.b:443\" = \"127.0.0.1:1\" }", &["retry.deadline=20s"], &[]),
            (
                "retry.deadline = \"30s\"\nlisten.address = \"127.0.0.1:1\"",
                &[],
                &["listen.address", "upstream.resolve", "retry.deadline"],
            ),
        ] {
            assert_eq!(old.differences(&loaded(file, set)), want, "{file}");
        }
    }

    #[test]
    fn a_key_that_is_kept_has_its_old_value_and_origin_and_the_others_the_new() {
        let old = loaded("listen.address = \"127.0.0.1:1\"", &[]);
        let new = loaded("\nlisten.address = \"127.0.0.1:2\"\nretry.deadline = \"20s\"", &[]);
        let kept = new.keeping(&old, &["listen.address"]).unwrap();
        assert_eq!(kept.settings().listen.address.port(), 1);
        assert_eq!(kept.settings().retry.deadline.as_secs(), 20);
        assert_eq!(kept.effective().entries[0].to_string(), "listen.address = \"127.0.0.1:1\"   # proxy.toml line 1");
    }

    #[test]
    fn what_stands_above_the_file_wins_at_a_reload_too() {
        let old = loaded("", &["retry.deadline=20s"]);
        assert!(old.differences(&loaded("retry.deadline = \"30s\"", &["retry.deadline=20s"])).is_empty());
        let env = vec![("BATCH_RETRY_PROXY__RETRY__DEADLINE".to_owned(), "20s".to_owned())];
        let sources = Sources { file: Some("proxy.toml".into()), env, ..Sources::default() };
        let read = |text: &str| Loaded::with_file(&sources, Some(text.as_bytes())).unwrap();
        assert!(read("").differences(&read("retry.deadline = \"30s\"")).is_empty());
    }

    #[test]
    fn the_keys_that_need_a_restart_are_those_that_what_is_made_once_depends_on() {
        let kept: Vec<_> = KEYS.into_iter().filter(|key| needs_restart(key)).collect();
        let want = [
            "listen.address",
            "listen.max_connections",
            "admin.address",
            "ca.directory",
            "ca.publish",
            "ca.lifetime",
            "ca.leaf_lifetime",
            "upstream.ca_files",
            "log.format",
        ];
        assert_eq!(kept, want);
        assert!(needs_restart("a.key.nobody.thought.of"));
    }
}
