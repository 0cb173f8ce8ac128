//! Jobs and schedules, which have the same life.

use serde_json::{Value, json};

use super::{Ask, Others, Planner, Want};
use crate::soak::model::{Gone, Phase, Work};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::soak) enum Sort {
    Job,
    Schedule,
}

// === impl Sort ===

impl Sort {
    fn collection(self) -> &'static str {
        match self {
            Self::Job => "/jobs",
            Self::Schedule => "/jobschedules",
        }
    }

    fn exists(self) -> &'static str {
        match self {
            Self::Job => "JobExists",
            Self::Schedule => "JobScheduleExists",
        }
    }

    fn gone(self) -> &'static [(u16, &'static str)] {
        match self {
            Self::Job => &[(404, "JobNotFound"), (409, "JobBeingDeleted")],
            Self::Schedule => &[(404, "JobScheduleNotFound"), (409, "JobScheduleBeingDeleted")],
        }
    }

    /// What a terminated one answers to changes of its state.
    fn ended(self) -> &'static [(u16, &'static str)] {
        match self {
            Self::Job => ENDED_JOB,
            Self::Schedule => &[(409, "JobScheduleBeingTerminated"), (409, "JobScheduleCompleted")],
        }
    }

    /// The status of a success of disable and enable.
    fn turned(self) -> u16 {
        match self {
            Self::Job => 202,
            Self::Schedule => 204,
        }
    }

    /// The properties that hold a priority.
    fn priority(self, priority: u32) -> Value {
        match self {
            Self::Job => json!({ "priority": priority }),
            Self::Schedule => json!({ "jobSpecification": { "priority": priority } }),
        }
    }
}

// === impl Planner ===

impl Planner {
    pub(super) fn work(&mut self, sort: Sort, id: &str) -> Ask {
        let count = self.works(sort).len();
        let draw = self.rng.u32(0..36);
        let Some(name) = self.choose(sort) else { return self.create_work(sort) };
        let (collection, path) = (sort.collection(), format!("{}/{name}", sort.collection()));
        let work = &self.works(sort)[&name];
        let (phase, since) = (work.phase, work.made_at);
        match draw {
            0..8 if count < 5 => self.create_work(sort),
            8..10 => {
                let want = Want::MadeBefore { code: sort.exists(), since };
                Ask::new("POST", collection, 201, want).body(body(sort, &name, 777))
            }
            10..14 => self.delete_work(sort, &name, id),
            14..17 => self.turn(sort, &name, "terminate", 202, Phase::Terminated),
            17..19 => self.turn(sort, &name, "disable", sort.turned(), Phase::Disabled),
            19..21 => self.turn(sort, &name, "enable", sort.turned(), Phase::Active),
            21 => {
                let ids = self.works(sort).keys().cloned().collect();
                Ask::get(collection, Want::Lists { prefix: self.prefix.clone(), ids, others: Others::Leaving })
            }
            // An update of what has ended is refused or not, by how far it has come.
            22..32 if phase != Phase::Terminated => self.update(sort, &name, draw),
            _ => read(sort, &path[collection.len() + 1..], &self.works(sort)[&name]),
        }
    }

    fn works(&mut self, sort: Sort) -> &mut std::collections::BTreeMap<String, Work> {
        match sort {
            Sort::Job => &mut self.model.jobs,
            Sort::Schedule => &mut self.model.schedules,
        }
    }

    fn choose(&mut self, sort: Sort) -> Option<String> {
        let works = match sort {
            Sort::Job => &self.model.jobs,
            Sort::Schedule => &self.model.schedules,
        };
        self.rng.choice(works.keys()).cloned()
    }

    pub(super) fn create_work(&mut self, sort: Sort) -> Ask {
        let (name, priority) = (self.name("j"), self.rng.u32(1..1000));
        self.model.made(&format!("{}/{name}", sort.collection()));
        let body = body(sort, &name, priority);
        self.works(sort).insert(name, Work::new(priority));
        Ask::new("POST", sort.collection(), 201, Want::Made { code: sort.exists(), verifiable: true }).body(body)
    }

    fn delete_work(&mut self, sort: Sort, name: &str, id: &str) -> Ask {
        self.works(sort).remove(name);
        let path = format!("{}/{name}", sort.collection());
        self.model.deleted(Gone { path: path.clone(), status: 202, refusals: sort.gone() }, id);
        Ask::new("DELETE", path, 202, Want::Done)
    }

    fn turn(&mut self, sort: Sort, name: &str, action: &str, success: u16, to: Phase) -> Ask {
        let target = format!("{}/{name}/{action}", sort.collection());
        let body = if action == "disable" && sort == Sort::Job { Some(json!({ "disableTasks": "requeue" })) } else { None };
        let work = self.works(sort).get_mut(name).unwrap();
        let want = if work.phase == Phase::Terminated {
            Want::Refused { refusals: sort.ended(), echoes: to == Phase::Terminated }
        } else {
            work.phase = to;
            Want::Done
        };
        Ask { body, ..Ask::new("POST", target, success, want) }
    }

    /// A change of the priority: unconditional, with the ETag that was just read, or with one that never was.
    fn update(&mut self, sort: Sort, name: &str, draw: u32) -> Ask {
        let path = format!("{}/{name}", sort.collection());
        let priority = self.rng.u32(1..1000);
        let verb = if draw.is_multiple_of(3) { "PUT" } else { "PATCH" };
        let body = sort.priority(priority);
        if draw == 31 {
            let want = Want::Refused { refusals: &[(412, "ConditionNotMet")], echoes: false };
            let ask = Ask::new(verb, path, 200, want).body(body);
            return Ask { if_match: Some("0x1".to_owned()), ..ask };
        }
        self.works(sort).get_mut(name).unwrap().priority = priority;
        if draw < 27 {
            return Ask::new(verb, path, 200, Want::Done).body(body);
        }
        Ask { etag_of: Some(path.clone()), ..Ask::new(verb, path, 200, Want::Conditional).body(body) }
    }
}

/// A GET, and what it must show.
pub(super) fn read(sort: Sort, name: &str, work: &Work) -> Ask {
    let states = match (work.phase, sort) {
        (Phase::Active, _) => vec![json!("active")],
        (Phase::Disabled, Sort::Job) => vec![json!("disabling"), json!("disabled")],
        (Phase::Disabled, Sort::Schedule) => vec![json!("disabled")],
        (Phase::Terminated, _) => vec![json!("terminating"), json!("completed")],
    };
    let pointer = if sort == Sort::Job { "/priority" } else { "/jobSpecification/priority" };
    let shown = vec![("/id", vec![json!(name)]), ("/state", states), (pointer, vec![json!(work.priority)])];
    Ask::get(format!("{}/{name}", sort.collection()), Want::Shows(shown))
}

fn body(sort: Sort, name: &str, priority: u32) -> Value {
    let mut body = sort.priority(priority);
    body["id"] = json!(name);
    match sort {
        Sort::Job => body["poolInfo"] = json!({ "poolId": "some" }),
        Sort::Schedule => body["schedule"] = json!({ "recurrenceInterval": "PT1H" }),
    }
    body
}

/// What a job that was terminated answers to what needs an active one.
pub(super) const ENDED_JOB: &[(u16, &str)] = &[(409, "JobBeingTerminated"), (409, "JobCompleted")];
