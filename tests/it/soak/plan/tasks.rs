//! Tasks, one by one and by the dozen, and their files.

use serde_json::{Value, json};

use super::works::ENDED_JOB;
use super::{Ask, Others, Planner, Sort, Want};
use crate::soak::model::{Gone, Phase, Task, Work};

// === impl Planner ===

impl Planner {
    pub(super) fn task(&mut self, id: &str) -> Ask {
        let Some(job) = self.rng.choice(self.model.jobs.keys()).cloned() else { return self.create_work(Sort::Job) };
        let draw = self.rng.u32(0..33);
        let work = &self.model.jobs[&job];
        if draw < 16 && work.phase == Phase::Terminated {
            return self.create_in_vain(&job);
        }
        let Some(task) = self.rng.choice(work.tasks.keys()).cloned() else { return self.create_task(&job) };
        let known = &work.tasks[&task];
        let path = format!("/jobs/{job}/tasks/{task}");
        match draw {
            0..9 => self.create_task(&job),
            9..14 => self.create_collection(&job),
            14..16 => {
                let want = Want::MadeBefore { code: "TaskExists", since: known.made_at };
                Ask::new("POST", format!("/jobs/{job}/tasks"), 201, want).body(body(&task))
            }
            16..21 => {
                self.model.jobs.entry(job).and_modify(|job| drop(job.tasks.remove(&task)));
                self.model.deleted(Gone { path: path.clone(), status: 200, refusals: GONE }, id);
                Ask::new("DELETE", path, 200, Want::Done)
            }
            21..24 => {
                self.known_task(&job, &task).terminated = true;
                // It may have ended by itself, which only the account can know.
                Ask::new("POST", format!("{path}/terminate"), 204, Want::DoneOr { refusals: ENDED })
            }
            24 => {
                self.known_task(&job, &task).terminated = false;
                Ask::new("POST", format!("{path}/reactivate"), 204, Want::Once { refusals: NOT_ENDED })
            }
            25..27 => {
                let constraints = json!({ "constraints": { "maxTaskRetryCount": self.rng.u32(0..9) } });
                Ask::new("PUT", path, 200, Want::Done).body(constraints)
            }
            27..30 => {
                let size = self.rng.usize(3..9);
                list(&job, &self.model.jobs[&job], size)
            }
            _ => {
                let states = if known.terminated { &["completed"][..] } else { &["active", "running", "completed"] };
                let states: Vec<Value> = states.iter().map(|state| json!(state)).collect();
                Ask::get(path, Want::Shows(vec![("/id", vec![json!(task)]), ("/state", states)]))
            }
        }
    }

    pub(super) fn file(&mut self, id: &str) -> Ask {
        let jobs: Vec<&String> = self.model.jobs.iter().filter(|(_, job)| !job.tasks.is_empty()).map(|(id, _)| id).collect();
        let Some(job) = self.rng.choice(jobs).cloned() else { return self.create_work(Sort::Job) };
        let Some(task) = self.rng.choice(self.model.jobs[&job].tasks.keys()).cloned() else {
            return self.create_task(&job);
        };
        let name = if self.rng.bool() { "stdout.txt" } else { "wd/result.txt" };
        let path = format!("/jobs/{job}/tasks/{task}/files/{name}");
        let target = format!("/jobs/{job}/tasks/{task}/files/{}", name.replace('/', "%2F"));
        let deletes = self.rng.u32(0..3) == 0;
        let is_deleted = self.known_task(&job, &task).deleted_files.contains(name);
        match (is_deleted, deletes) {
            (false, false) => Ask::get(target, Want::File { name, task }),
            (false, true) => {
                self.known_task(&job, &task).deleted_files.insert(name);
                self.model.lives.entry(path).or_default().deleted_by.push(id.to_owned());
                Ask::new("DELETE", target, 200, Want::Done)
            }
            (true, false) => Ask::get(target, Want::Refused { refusals: NO_FILE, echoes: false }),
            (true, true) => Ask::new("DELETE", target, 200, Want::Refused { refusals: NO_FILE, echoes: true }),
        }
    }

    fn known_task(&mut self, job: &str, task: &str) -> &mut Task {
        self.model.jobs.get_mut(job).and_then(|job| job.tasks.get_mut(task)).unwrap()
    }

    fn create_task(&mut self, job: &str) -> Ask {
        if self.model.jobs[job].phase == Phase::Terminated {
            return self.create_in_vain(job);
        }
        let task = self.new_task(job);
        let want = Want::Made { code: "TaskExists", verifiable: true };
        Ask::new("POST", format!("/jobs/{job}/tasks"), 201, want).body(body(&task))
    }

    /// A task that a job which has ended does not take.
    fn create_in_vain(&mut self, job: &str) -> Ask {
        let task = self.name("t");
        let want = Want::Refused { refusals: ENDED_JOB, echoes: false };
        Ask::new("POST", format!("/jobs/{job}/tasks"), 201, want).body(body(&task))
    }

    /// Some new tasks and some that are there.
    fn create_collection(&mut self, job: &str) -> Ask {
        let known = &self.model.jobs[job].tasks;
        let count = self.rng.usize(0..3).min(known.len());
        let old = self.rng.choose_multiple(known.keys(), count).into_iter().cloned().collect::<Vec<_>>();
        let count = self.rng.usize(1..8);
        let new: Vec<String> = (0..count).map(|_| self.new_task(job)).collect();
        let mut ids: Vec<&String> = new.iter().chain(&old).collect();
        self.rng.shuffle(&mut ids);
        let value: Vec<Value> = ids.into_iter().map(|id| body(id)).collect();
        let target = format!("/jobs/{job}/addtaskcollection");
        Ask::new("POST", target, 200, Want::Collection { new, old }).body(json!({ "value": value }))
    }

    fn new_task(&mut self, job: &str) -> String {
        // An id that was there before, at times: only the account's register tells its lives apart.
        let prefix = format!("/jobs/{job}/tasks/");
        let free = |id: &String| !self.model.jobs[job].tasks.contains_key(id);
        let freed = self.model.gone.iter().filter_map(|gone| gone.path.strip_prefix(&prefix).map(str::to_owned)).find(free);
        let task = match freed.filter(|_| self.rng.bool()) {
            Some(freed) => freed,
            None => self.name("t"),
        };
        let path = format!("{prefix}{task}");
        self.model.gone.retain(|gone| gone.path != path);
        self.model.made(&path);
        self.model.jobs.entry(job.to_owned()).and_modify(|job| drop(job.tasks.insert(task.clone(), Task::new())));
        task
    }
}

/// The list of a job's tasks, in pages of this size.
pub(super) fn list(job: &str, work: &Work, size: usize) -> Ask {
    let ids = work.tasks.keys().cloned().collect();
    let want = Want::Lists { prefix: String::new(), ids, others: Others::No };
    Ask::get(format!("/jobs/{job}/tasks?maxresults={size}"), want)
}

fn body(task: &str) -> Value {
    json!({ "id": task, "commandLine": "true" })
}

const ENDED: &[(u16, &str)] = &[(409, "TaskCompleted")];
const GONE: &[(u16, &str)] = &[(404, "TaskNotFound"), (404, "JobNotFound"), (409, "JobBeingDeleted")];
const NO_FILE: &[(u16, &str)] = &[(404, "FileNotFound")];
const NOT_ENDED: &[(u16, &str)] = &[(409, "TaskNotCompleted")];
