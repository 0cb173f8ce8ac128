//! The register of births and deaths: what was made and deleted, how often and by which call.
//!
//! It is what a test compares with what it asked for. What a resource holds is [`super::account`]'s matter.

use std::collections::BTreeMap;

use serde::Serialize;

/// What became of one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Life {
    /// How often it was made.
    pub made: u64,
    /// The calls that deleted it, in their order, by `client-request-id`; an empty text is a call without one. What goes with its owner,
    /// such as the tasks of a job, is not deleted by a call of its own.
    pub deleted_by: Vec<String>,
    /// The state it is in; none if it does not exist. Of what has no states it is `present`.
    pub state: Option<String>,
}

/// Lives by path, ids in lower case: `/jobs/j`, `/jobs/j/tasks/t`, `/pools/p/nodes/n/users/u`.
#[derive(Debug, Default)]
pub(super) struct Register {
    lives: BTreeMap<String, Life>,
}

// === impl Register ===

impl Register {
    /// Something was made.
    pub(super) fn made(&mut self, path: String) {
        self.lives.entry(path).or_default().made += 1;
    }

    /// Something was deleted by this call.
    pub(super) fn deleted(&mut self, path: String, by: &str) {
        self.lives.entry(path).or_default().deleted_by.push(by.to_owned());
    }

    /// All lives, with the states they are in.
    pub(super) fn lives(&self, state: impl Fn(&str) -> Option<String>) -> BTreeMap<String, Life> {
        let with_state = |(path, life): (&String, &Life)| (path.clone(), Life { state: state(path), ..life.clone() });
        self.lives.iter().map(with_state).collect()
    }

    /// How often each task was made, by job and task.
    pub(super) fn tasks(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        let mut tasks = BTreeMap::<String, BTreeMap<String, u64>>::new();
        for (path, life) in &self.lives {
            if let ["", "jobs", job, "tasks", task] = path.split('/').collect::<Vec<_>>()[..] {
                tasks.entry(job.to_owned()).or_default().insert(task.to_owned(), life.made);
            }
        }
        tasks
    }
}
