//! What is asked next, drawn from a seed: the same seed asks the same, whatever is answered.
//!
//! This file draws what is common and what is done to pools; [`works`] has jobs and schedules, [`tasks`] tasks and their files,
//! [`nodes`] nodes and their users.

use std::time::Instant;

use fastrand::Rng;
use serde_json::{Value, json};

use super::model::{Gone, Model, Node, Pool};

mod nodes;
mod tasks;
mod works;

pub(super) use self::works::Sort;

/// One call to make.
pub(super) struct Ask {
    pub(super) verb: &'static str,
    /// Path and query; the caller adds the version.
    pub(super) target: String,
    pub(super) body: Option<Value>,
    pub(super) if_match: Option<String>,
    /// Where the ETag for `if_match` is read first.
    pub(super) etag_of: Option<String>,
    /// The status of a success.
    pub(super) success: u16,
    pub(super) want: Want,
}

/// What may be answered.
pub(super) enum Want {
    /// A success, or that the condition does not hold any more because an attempt of the same call has landed.
    Conditional,
    /// A result for each task: success for those that are new, `TaskExists` for the others.
    Collection { new: Vec<String>, old: Vec<String> },
    /// A success and nothing else.
    Done,
    /// A success, or one of these refusals: what only the clock of the account decides.
    DoneOr { refusals: &'static [(u16, &'static str)] },
    /// A file's content.
    File { name: &'static str, task: String },
    /// Gone: 404, or 200 and `deleting` for a moment.
    Gone,
    /// A list with these ids, of those that begin with `prefix`.
    Lists { prefix: String, ids: Vec<String>, others: Others },
    /// A success: it was not there. Where creates are not verified, an echo with this code.
    Made { code: &'static str, verifiable: bool },
    /// It was there since then: the code, or a success where an echo is taken for one.
    MadeBefore { code: &'static str, since: Instant },
    /// What must not be done twice: any failure leaves its end unknown.
    Once { refusals: &'static [(u16, &'static str)] },
    /// One of these refusals; a success only where a replay finds what it wanted.
    Refused { refusals: &'static [(u16, &'static str)], echoes: bool },
    /// A resource of which these JSON pointers have one of these values.
    Shows(Vec<(&'static str, Vec<Value>)>),
}

/// Whether a list may have more of the worker's own than it is known to have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    /// Those that are being deleted are listed still.
    Leaving,
    No,
}

/// Draws the calls of a worker.
pub(super) struct Planner {
    rng: Rng,
    prefix: String,
    named: u32,
    pub(super) model: Model,
}

// === impl Ask ===

impl Ask {
    fn new(verb: &'static str, target: impl Into<String>, success: u16, want: Want) -> Self {
        Self { verb, target: target.into(), body: None, if_match: None, etag_of: None, success, want }
    }

    fn get(target: impl Into<String>, want: Want) -> Self {
        Self::new("GET", target, 200, want)
    }

    fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// The resource at the top that it is about, for which the journal is kept.
    pub(super) fn root(&self) -> String {
        let id = self.body.as_ref().and_then(|body| body["id"].as_str());
        match id.filter(|_| self.target.matches('/').count() == 1) {
            Some(id) => format!("{}/{id}", self.target),
            None => root(&self.target),
        }
    }
}

/// The resource at the top of a path.
pub(super) fn root(target: &str) -> String {
    let path = target.split('?').next().unwrap_or_default();
    path.split('/').take(3).collect::<Vec<_>>().join("/")
}

// === impl Planner ===

impl Planner {
    pub(super) fn new(seed: u64, number: usize) -> Self {
        let rng = Rng::with_seed(seed.wrapping_mul(1000).wrapping_add(number as u64));
        Self { rng, prefix: format!("w{number}-"), named: 0, model: Model::default() }
    }

    /// How the ids of all its resources begin.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The next call, which will have this id.
    pub(super) fn next(&mut self, id: &str) -> Ask {
        match self.rng.u32(0..100) {
            0..8 => self.pool(id),
            8..26 => self.work(Sort::Job, id),
            26..35 => self.work(Sort::Schedule, id),
            35..68 => self.task(id),
            68..77 => self.file(id),
            77..94 => self.node(id),
            _ => self.gone(),
        }
    }

    /// Reads of everything there is: what a write left must be there to see.
    pub(super) fn closing(&self) -> Vec<Ask> {
        let mut asks = Vec::new();
        for (sort, works) in [(Sort::Job, &self.model.jobs), (Sort::Schedule, &self.model.schedules)] {
            for (id, work) in works {
                asks.push(works::read(sort, id, work));
                if sort == Sort::Job {
                    asks.push(tasks::list(id, work, 1000));
                }
            }
        }
        for (id, pool) in &self.model.pools {
            asks.push(read_pool(id, pool));
            asks.extend((0..pool.nodes.len()).map(|number| nodes::read(id, pool, number)));
        }
        asks
    }

    fn name(&mut self, kind: &str) -> String {
        self.named += 1;
        format!("{}{kind}{:05}", self.prefix, self.named)
    }

    fn pool(&mut self, id: &str) -> Ask {
        let count = self.model.pools.len();
        let Some(pool) = self.rng.choice(self.model.pools.keys()).cloned() else { return self.create_pool() };
        let path = format!("/pools/{pool}");
        match self.rng.u32(0..20) {
            0..4 if count < 4 => self.create_pool(),
            4 => self.delete_pool(&pool, id),
            5..9 => {
                let mark = self.rng.u32(1..1000);
                self.model.pools.entry(pool).and_modify(|pool| pool.mark = mark);
                Ask::new("PATCH", path, 200, Want::Done).body(json!({ "metadata": metadata(mark) }))
            }
            9..11 => {
                let since = self.model.pools[&pool].made_at;
                let want = Want::MadeBefore { code: "PoolExists", since };
                Ask::new("POST", "/pools", 201, want).body(json!({ "id": pool, "vmSize": "other" }))
            }
            11..13 => Ask::new("HEAD", path, 200, Want::Done),
            13 => {
                let ids = self.model.pools.keys().cloned().collect();
                Ask::get("/pools", Want::Lists { prefix: self.prefix.clone(), ids, others: Others::Leaving })
            }
            _ => read_pool(&pool, &self.model.pools[&pool]),
        }
    }

    fn create_pool(&mut self) -> Ask {
        let (pool, mark, count) = (self.name("p"), self.rng.u32(1..1000), self.rng.usize(1..4));
        self.model.made(&format!("/pools/{pool}"));
        let body = json!({
            "id": pool, "vmSize": "standard_d2s_v3", "targetDedicatedNodes": count, "metadata": metadata(mark),
        });
        self.model.pools.insert(pool, Pool { made_at: Instant::now(), mark, nodes: vec![Node::default(); count] });
        Ask::new("POST", "/pools", 201, Want::Made { code: "PoolExists", verifiable: true }).body(body)
    }

    fn delete_pool(&mut self, pool: &str, id: &str) -> Ask {
        self.model.pools.remove(pool);
        let path = format!("/pools/{pool}");
        self.model.deleted(Gone { path: path.clone(), status: 202, refusals: POOL_GONE }, id);
        Ask::new("DELETE", path, 202, Want::Done)
    }

    /// Asks again for what was deleted.
    fn gone(&mut self) -> Ask {
        let Some(gone) = self.rng.choice(&self.model.gone).cloned() else { return self.create_pool() };
        let readable = !gone.path.contains("/users/");
        if readable && self.rng.bool() {
            return Ask::get(gone.path, Want::Gone);
        }
        Ask::new("DELETE", gone.path, gone.status, Want::Refused { refusals: gone.refusals, echoes: true })
    }
}

fn read_pool(id: &str, pool: &Pool) -> Ask {
    let shown = vec![
        ("/state", vec![json!("active")]),
        ("/metadata", vec![metadata(pool.mark)]),
        ("/vmSize", vec![json!("standard_d2s_v3")]),
    ];
    Ask::get(format!("/pools/{id}"), Want::Shows(shown))
}

fn metadata(mark: u32) -> Value {
    json!([{ "name": "mark", "value": mark.to_string() }])
}

/// A failure is worth little that cannot be asked for again.
#[test]
fn the_same_seed_asks_the_same() {
    let asks = |seed| {
        let mut planner = Planner::new(seed, 3);
        let ask = |number: u32| {
            let ask = planner.next(&number.to_string());
            format!("{} {} {:?} {:?} {:?}", ask.verb, ask.target, ask.body, ask.if_match, ask.etag_of)
        };
        (0..3000).map(ask).collect::<Vec<_>>()
    };
    assert_eq!(asks(1), asks(1));
    assert_ne!(asks(1), asks(2));
}

const POOL_GONE: &[(u16, &str)] = &[(404, "PoolNotFound"), (409, "PoolBeingDeleted")];
