//! What was created through the proxy a short time ago: a read that does not find it may just not have caught up.
//!
//! Empty, and free of cost, unless `retry.read_after_create` asks for it.

use std::time::{Duration, Instant as StdInstant};

use moka::Expiry;
use moka::sync::Cache;
use tokio::time::Instant;

use super::route::Target;

/// The memory of creations, by the resource's path; of none, by default.
#[derive(Clone, Debug, Default)]
pub(super) struct Creations {
    lag: Duration,
    /// When a read of it is taken to see it; `None` where no read is taken to lag.
    cache: Option<Cache<String, Instant>>,
}

/// Each entry lives until its own time has come: a reload changes the lag for those to come.
struct UntilSeen;

// === impl Creations ===

impl Creations {
    /// The same memory, in which reads of what is created from now on may lag behind by `lag`.
    pub(super) fn lagging(&self, lag: Duration) -> Self {
        let new = || Cache::builder().max_capacity(MOST).expire_after(UntilSeen).build();
        Self { lag, cache: (!lag.is_zero()).then(|| self.cache.clone().unwrap_or_else(new)) }
    }

    /// Whether anything is remembered at all.
    pub(super) fn are_kept(&self) -> bool {
        self.cache.is_some()
    }

    /// Remembers that `path` was created just now.
    pub(super) fn remember(&self, target: &Target, path: &str) {
        if let Some(cache) = &self.cache {
            cache.insert(key(target, path), Instant::now() + self.lag);
        }
    }

    /// Until when a read of `path` may not see what was created: the resource itself, or one that it belongs to.
    pub(super) fn lags_until(&self, target: &Target, path: &str) -> Option<Instant> {
        let cache = self.cache.as_ref()?;
        let ends = path.match_indices('/').map(|(end, _)| end).skip(2).step_by(2).chain([path.len()]);
        ends.filter_map(|end| cache.get(&key(target, path.get(..end)?))).max()
    }
}

// === impl UntilSeen ===

impl Expiry<String, Instant> for UntilSeen {
    fn expire_after_create(&self, _: &String, seen: &Instant, created: StdInstant) -> Option<Duration> {
        Some(seen.into_std().saturating_duration_since(created))
    }

    fn expire_after_update(&self, _: &String, seen: &Instant, updated: StdInstant, _: Option<Duration>) -> Option<Duration> {
        Some(seen.into_std().saturating_duration_since(updated))
    }
}

/// Ids are compared without regard to case, as the service compares them.
fn key(target: &Target, path: &str) -> String {
    format!("{target}{}", path.to_ascii_lowercase())
}

/// A burst of submissions; what is forgotten is read as before.
const MOST: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_may_lag_where_the_resource_or_what_it_belongs_to_was_just_created() {
        let target = Target::new("acct.example", 443);
        let creations = Creations::default().lagging(Duration::from_secs(5));
        creations.remember(&target, "/jobs/J");
        creations.remember(&target, "/jobs/other/tasks/T");
        for (path, want) in [
            ("/jobs/J", true),
            ("/jobs/j", true),
            ("/jobs/j/tasks", true),
            ("/jobs/j/tasks/t", true),
            ("/jobs/j/taskcounts", true),
            ("/jobs/jj", false),
            ("/jobs", false),
            ("/jobs/other", false),
            ("/jobs/other/tasks/t", true),
            ("/jobs/other/tasks/t/files/x", true),
            ("/pools/j", false),
        ] {
            assert_eq!(creations.lags_until(&target, path).is_some(), want, "{path}");
        }
        assert!(creations.lags_until(&Target::new("else.example", 443), "/jobs/J").is_none());
    }

    #[test]
    fn another_lag_keeps_what_was_created_under_the_one_before() {
        let target = Target::new("acct.example", 443);
        let creations = Creations::default().lagging(Duration::from_secs(5));
        creations.remember(&target, "/jobs/j");
        let until = creations.lags_until(&target, "/jobs/j");
        let longer = creations.lagging(Duration::from_secs(500));
        assert_eq!(longer.lags_until(&target, "/jobs/j"), until);
        longer.remember(&target, "/jobs/j");
        assert!(longer.lags_until(&target, "/jobs/j") > until);
        assert_eq!(creations.lagging(Duration::ZERO).lags_until(&target, "/jobs/j"), None);
    }
}
