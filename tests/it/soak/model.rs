//! What a worker knows of its resources. A success changes it, and so does an answer that means the same.
//!
//! It is changed when the call is drawn, not when it is answered: an answer that does not bear it out ends the worker.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

/// All that a worker made and knows of.
#[derive(Default)]
pub(super) struct Model {
    pub(super) pools: BTreeMap<String, Pool>,
    pub(super) jobs: BTreeMap<String, Work>,
    pub(super) schedules: BTreeMap<String, Work>,
    /// What was deleted lately.
    pub(super) gone: VecDeque<Gone>,
    /// What the account must have in its register, by path.
    pub(super) lives: BTreeMap<String, Expected>,
}

/// A job or a schedule.
pub(super) struct Work {
    pub(super) made_at: Instant,
    pub(super) phase: Phase,
    pub(super) priority: u32,
    /// A job's tasks.
    pub(super) tasks: BTreeMap<String, Task>,
}

/// Where a job or a schedule is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Active,
    Disabled,
    Terminated,
}

/// A task.
pub(super) struct Task {
    pub(super) made_at: Instant,
    /// Whether it must be completed whatever the clock says.
    pub(super) terminated: bool,
    /// Files it had and has no more.
    pub(super) deleted_files: BTreeSet<&'static str>,
}

/// A pool with its nodes.
pub(super) struct Pool {
    pub(super) made_at: Instant,
    pub(super) mark: u32,
    pub(super) nodes: Vec<Node>,
}

/// A node.
#[derive(Clone, Default)]
pub(super) struct Node {
    pub(super) scheduling_disabled: bool,
    /// Whether it may be rebooting.
    pub(super) rebooted: bool,
    pub(super) users: BTreeMap<String, Instant>,
}

/// Something that was deleted.
#[derive(Clone)]
pub(super) struct Gone {
    pub(super) path: String,
    /// The status of its deletion.
    pub(super) status: u16,
    /// What a second deletion may be refused with.
    pub(super) refusals: &'static [(u16, &'static str)],
}

/// What the register must say of a path.
#[derive(Default)]
pub(super) struct Expected {
    pub(super) made: u64,
    /// The calls that deleted it.
    pub(super) deleted_by: Vec<String>,
}

// === impl Model ===

impl Model {
    /// Something is made under this path.
    pub(super) fn made(&mut self, path: &str) {
        self.lives.entry(path.to_owned()).or_default().made += 1;
    }

    /// The call `id` deletes what is there.
    pub(super) fn deleted(&mut self, gone: Gone, id: &str) {
        self.lives.entry(gone.path.clone()).or_default().deleted_by.push(id.to_owned());
        self.gone.push_back(gone);
        if self.gone.len() > REMEMBERED {
            self.gone.pop_front();
        }
    }

    /// The state everything comes to in the end; what is missing is gone.
    pub(super) fn states(&self) -> BTreeMap<String, &'static str> {
        let mut states = BTreeMap::new();
        for (id, job) in &self.jobs {
            states.insert(format!("/jobs/{id}"), job.phase.as_str());
            states.extend(job.tasks.keys().map(|task| (format!("/jobs/{id}/tasks/{task}"), "completed")));
        }
        for (id, schedule) in &self.schedules {
            states.insert(format!("/jobschedules/{id}"), schedule.phase.as_str());
        }
        for (id, pool) in &self.pools {
            states.insert(format!("/pools/{id}"), "active");
            for (number, node) in pool.nodes.iter().enumerate() {
                let path = |user: &String| format!("{}/users/{user}", node_path(id, number));
                states.extend(node.users.keys().map(|user| (path(user), "present")));
            }
        }
        states
    }
}

// === impl Work ===

impl Work {
    pub(super) fn new(priority: u32) -> Self {
        Self { made_at: Instant::now(), phase: Phase::Active, priority, tasks: BTreeMap::new() }
    }
}

// === impl Task ===

impl Task {
    pub(super) fn new() -> Self {
        Self { made_at: Instant::now(), terminated: false, deleted_files: BTreeSet::new() }
    }
}

// === impl Phase ===

impl Phase {
    /// The state the account comes to.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Terminated => "completed",
        }
    }
}

/// The path of a pool's node.
pub(super) fn node_path(pool: &str, number: usize) -> String {
    format!("/pools/{pool}/nodes/tvmps_{:08x}_d", number + 1)
}

/// How many deleted things are asked for again.
const REMEMBERED: usize = 6;
