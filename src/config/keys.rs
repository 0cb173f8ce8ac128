//! The keys there are, in the order of `config/default.toml`.

/// What a dotted name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A setting.
    Key(&'static str),
    /// The common front of several settings, such as `retry`.
    Section,
    /// Nothing.
    Unknown,
}

// === impl Name ===

impl Name {
    pub(super) fn of(dotted: &str) -> Self {
        if let Some(key) = KEYS.iter().find(|key| **key == dotted) {
            return Self::Key(key);
        }
        let is_front = |key: &&str| key.strip_prefix(dotted).is_some_and(|rest| rest.starts_with('.'));
        if KEYS.iter().any(is_front) { Self::Section } else { Self::Unknown }
    }
}

/// The known key that `wrong` was probably meant to be.
pub(super) fn nearest(wrong: &str) -> Option<String> {
    nearest_of(wrong, &KEYS)
}

/// The candidate that `wrong` was probably meant to be: a third of its letters may differ, and its section is worth two.
pub(super) fn nearest_of(wrong: &str, candidates: &[&str]) -> Option<String> {
    let wrong = wrong.to_lowercase();
    let distance = |candidate: &str| {
        let whole = strsim::damerau_levenshtein(&wrong, candidate);
        let last = strsim::damerau_levenshtein(last_segment(&wrong), last_segment(candidate));
        whole.min(last + 2)
    };
    let (best, far) = candidates.iter().map(|&key| (key, distance(key))).min_by_key(|(_, far)| *far)?;
    (far <= 1 + last_segment(&wrong).len() / 3).then(|| best.to_owned())
}

fn last_segment(key: &str) -> &str {
    key.rsplit_once('.').map_or(key, |(_, last)| last)
}

/// Every key of this version.
pub(super) const KEYS: [&str; 56] = [
    "listen.address",
    "listen.max_connections",
    "listen.header_timeout",
    "listen.idle_timeout",
    "listen.allow",
    "listen.credentials",
    "admin.address",
    "admin.allow_shutdown",
    "intercept.hosts",
    "intercept.except",
    "tunnel.ports",
    "tunnel.allow",
    "tunnel.deny",
    "tunnel.idle_timeout",
    "forward.allow",
    "ca.directory",
    "ca.publish",
    "ca.lifetime",
    "ca.leaf_lifetime",
    "upstream.ca_files",
    RESOLVE,
    "upstream.connect_timeout",
    "upstream.response_timeout",
    "upstream.body_idle_timeout",
    "upstream.pool_idle_timeout",
    "retry.max_attempts",
    "retry.deadline",
    "retry.deadline_for",
    "retry.statuses",
    "retry.body_limit",
    "retry.response_buffer",
    "retry.memory_limit",
    "retry.repeat_memory",
    "retry.read_after_create",
    "retry.backoff.initial",
    "retry.backoff.factor",
    "retry.backoff.max",
    "retry.backoff.jitter",
    "retry.throttle.hint_max",
    "retry.throttle.initial_share",
    "retry.throttle.growth_per_second",
    "retry.throttle.cut",
    "retry.throttle.max_waiting",
    "retry.budget.ratio",
    "retry.budget.min_per_second",
    "retry.budget.window",
    "retry.echo.creates",
    "retry.echo.others",
    "retry.state.attempts",
    "retry.state.wait",
    "retry.quota.attempts",
    "retry.quota.wait",
    "shutdown.grace",
    "shutdown.delay",
    "log.level",
    "log.format",
];

/// Whether another value of `key` takes effect after a restart only. So it is for what nobody has thought of.
pub fn needs_restart(key: &str) -> bool {
    let reloads = |name: &&str| key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    !RELOADED.iter().any(reloads)
}

/// Keys and sections that a reload puts in force. Not among them is what is made once: the sockets, the authority and the files that clients
/// read once, the roots that are given to clients too, and the shape of logs. `intercept.hosts` reloads as far as the authority may vouch for the
/// hosts.
const RELOADED: [&str; 17] = [
    "listen.header_timeout",
    "listen.idle_timeout",
    "listen.allow",
    "listen.credentials",
    "admin.allow_shutdown",
    "intercept",
    "tunnel",
    "forward",
    RESOLVE,
    "upstream.connect_timeout",
    "upstream.response_timeout",
    "upstream.body_idle_timeout",
    "upstream.pool_idle_timeout",
    "retry",
    "shutdown.grace",
    "shutdown.delay",
    "log.level",
];

/// The one key whose value is a table; the names in it are hosts and may hold dots.
pub(super) const RESOLVE: &str = "upstream.resolve";

/// Keys whose values are never shown.
pub(super) const SECRETS: [&str; 1] = ["listen.credentials"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_key_a_section_or_nothing() {
        for (dotted, want) in [
            ("retry.deadline", Name::Key("retry.deadline")),
            ("retry", Name::Section),
            ("retry.backoff", Name::Section),
            ("retr", Name::Unknown),
            ("retry.deadlin", Name::Unknown),
            ("retry.deadline.x", Name::Unknown),
        ] {
            assert_eq!(Name::of(dotted), want, "{dotted}");
        }
    }

    #[test]
    fn a_misspelt_key_is_led_back_to_the_nearest_one() {
        for (wrong, want) in [
            ("retry.deadlin", Some("retry.deadline")),
            ("retyr.deadline", Some("retry.deadline")),
            ("RETRY.Deadline", Some("retry.deadline")),
            ("retry.max_atempts", Some("retry.max_attempts")),
            ("retry.max-attempts", Some("retry.max_attempts")),
            ("max_attempts", Some("retry.max_attempts")),
            ("backoff.jitter", Some("retry.backoff.jitter")),
            ("upstream.proxy_password_file", None),
            ("zzz", None),
        ] {
            assert_eq!(nearest(wrong).as_deref(), want, "{wrong}");
        }
    }
}
