//! Keeps the `account` label bounded: hosts are chosen by clients, and every new value is a new set of series.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::batch::endpoint;

/// The `account` label of a host: its account's name and region, or `other`.
///
/// Cheap to clone; resolve it once per connection and keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account(Arc<str>);

/// The accounts seen so far, [`Accounts::LIMIT`] of them by name.
#[derive(Debug)]
pub struct Accounts {
    names: RwLock<HashSet<Arc<str>>>,
    other: Account,
}

// === impl Account ===

impl Account {
    /// The label value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Accounts ===

impl Accounts {
    /// How many accounts keep their name. A program talks to one or two, a busy sidecar to a few; each costs about a
    /// hundred series.
    pub const LIMIT: usize = 32;

    /// The label of `host` (no port), compared without regard to case.
    pub fn label(&self, host: &str) -> Account {
        let name = endpoint::account(host);
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.named(&name.to_ascii_lowercase());
        }
        self.named(name)
    }

    fn named(&self, name: &str) -> Account {
        {
            let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = names.get(name) {
                return Account(Arc::clone(known));
            }
            if names.len() >= Self::LIMIT {
                return self.other.clone();
            }
        }
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        // Others may have come between the two locks.
        if let Some(known) = names.get(name) {
            return Account(Arc::clone(known));
        }
        if names.len() >= Self::LIMIT {
            return self.other.clone();
        }
        let name: Arc<str> = name.into();
        names.insert(Arc::clone(&name));
        Account(name)
    }
}

impl Default for Accounts {
    fn default() -> Self {
        Self { names: RwLock::default(), other: Account("other".into()) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn an_account_is_named_by_name_and_region_whatever_the_case() {
        let accounts = Accounts::default();
        for (host, want) in [
            ("acct.westeurope.batch.azure.com", "acct.westeurope"),
            ("ACCT.WestEurope.batch.azure.com", "acct.westeurope"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(accounts.label(host).as_str(), want);
        }
        assert_eq!(accounts.names.read().unwrap().len(), 2);
    }

    #[test]
    fn the_first_accounts_keep_their_names_and_later_ones_are_other() {
        let accounts = Accounts::default();
        let host = |n: usize| format!("a{n}.westeurope.batch.azure.com");
        for n in 0..Accounts::LIMIT {
            assert_eq!(accounts.label(&host(n)).as_str(), format!("a{n}.westeurope"));
        }
        assert_eq!(accounts.label(&host(Accounts::LIMIT)).as_str(), "other");
        assert_eq!(accounts.label(&host(0)).as_str(), "a0.westeurope");
    }

    #[test]
    fn the_bound_holds_when_many_threads_meet_new_accounts_at_once() {
        const THREADS: usize = 8;
        for _ in 0..50 {
            let accounts = Accounts::default();
            let start = Barrier::new(THREADS);
            let seen: BTreeSet<String> = thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS)
                    .map(|thread| {
                        let (accounts, start) = (&accounts, &start);
                        scope.spawn(move || {
                            start.wait();
                            // Each thread has hosts of its own and some in common with all.
                            (0..40)
                                .flat_map(|n| {
                                    [format!("own{thread}-{n}.x.batch.azure.com"), format!("all{n}.x.batch.azure.com")]
                                })
                                .map(|host| accounts.label(&host).to_string())
                                .collect::<Vec<_>>()
                        })
                    })
                    .collect();
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(seen.len(), Accounts::LIMIT + 1, "{seen:?}");
            assert!(seen.contains("other"));
        }
    }
}
