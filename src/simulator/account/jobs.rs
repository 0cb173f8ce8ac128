//! Jobs.

use serde_json::{Value, json};

use super::super::answer::{Answer, Refusal};
use super::super::store::{Resource, Shelf, State, key};
use super::{Account, Call, NOT_SIMULATED, Outcome};

impl Account {
    pub(super) fn on_job(&mut self, operation: &str, call: &Call<'_>) -> Outcome {
        let id = call.segment(1);
        let url = |job: &Resource| call.url(&format!("/jobs/{}", job.id));
        match operation {
            "Jobs_ListJobs" => call.listed(&call.page(&self.jobs)?, "jobs", url),
            "Jobs_CreateJob" => self.create_job(call),
            "Jobs_GetJob" => {
                let job = self.shown(self.job(call), call, NOT_FOUND)?;
                call.found(job, &url(job), "jobs")
            }
            "Jobs_ListJobsFromSchedule" => {
                self.schedules.get(id, call.now).ok_or(super::schedules::NOT_FOUND)?;
                Ok(call.page_of(&[], None, "jobs"))
            }
            "Jobs_GetJobTaskCounts" => {
                self.job(call)?;
                Ok(self.task_counts(call))
            }
            "Jobs_UpdateJob" | "Jobs_ReplaceJob" => {
                let fields = call.request.object()?;
                let version = self.next_version();
                let job = self.job_to_write(call)?;
                if job.state(call.now) == "completed" {
                    return Err(COMPLETED);
                }
                job.change(fields, version, call.now);
                Ok(call.written(200, job))
            }
            "Jobs_DeleteJob" => {
                let gone = call.gone(&self.traits);
                let answer = self.turn_job(call, "deleting", &[(gone, State::Gone)])?;
                self.register.deleted(call.path(2), call.id());
                Ok(answer)
            }
            "Jobs_DisableJob" => self.turn_job(call, "disabling", &call.after(&["disabled"])),
            "Jobs_EnableJob" => self.turn_job(call, "active", &[]),
            "Jobs_TerminateJob" => self.turn_job(call, "terminating", &call.after(&["completed"])),
            _ => Err(NOT_SIMULATED),
        }
    }

    /// The job of the path.
    pub(super) fn job(&self, call: &Call<'_>) -> Result<&Resource, Refusal> {
        self.jobs.get(call.segment(1), call.now).ok_or(NOT_FOUND)
    }

    fn job_to_write(&mut self, call: &Call<'_>) -> Result<&mut Resource, Refusal> {
        let job = self.jobs.get_mut(call.segment(1), call.now).ok_or(NOT_FOUND)?;
        call.check_conditions(job)?;
        if job.state(call.now) == "deleting" { Err(BEING_DELETED) } else { Ok(job) }
    }

    fn create_job(&mut self, call: &Call<'_>) -> Outcome {
        let fields = call.request.object()?;
        let id = call.new_id(&fields)?;
        if let Some(job) = self.jobs.get(&id, call.now) {
            return Err(if job.state(call.now) == "deleting" { BEING_DELETED } else { EXISTS });
        }
        self.admit_job(call)?;
        self.deleted_files.retain(|[job, ..]| *job != key(&id));
        let mut job = Resource::new(&id, fields, self.next_version(), "active", call.now);
        job.fields.entry("priority").or_insert(json!(0));
        let start = super::super::store::timestamp(call.now);
        job.fields.insert("executionInfo".to_owned(), json!({ "startTime": start }));
        let answer = call.created(&job, &call.url(&format!("/jobs/{id}")));
        self.register.made(format!("/jobs/{}", key(&id)));
        self.tasks.insert(key(&id), Shelf::default());
        self.jobs.insert(job);
        Ok(answer)
    }

    /// Lets the job enter a state now and others later.
    fn turn_job(&mut self, call: &Call<'_>, state: &'static str, later: &[(std::time::SystemTime, State)]) -> Outcome {
        let version = self.next_version();
        let job = self.job_to_write(call)?;
        match (job.state(call.now), state) {
            (_, "deleting") => {}
            ("completed", _) => return Err(COMPLETED),
            ("terminating", _) => return Err(BEING_TERMINATED),
            _ => {}
        }
        job.enter(call.now, state, later);
        job.change(serde_json::Map::new(), version, call.now);
        Ok(call.written(202, job))
    }

    fn task_counts(&self, call: &Call<'_>) -> Answer {
        let mut counts = [("active", 0), ("running", 0), ("completed", 0)];
        for task in self.tasks.get(&key(call.segment(1))).into_iter().flat_map(|tasks| tasks.iter(call.now)) {
            let state = task.state(call.now);
            counts.iter_mut().filter(|(name, _)| *name == state).for_each(|(_, count)| *count += 1);
        }
        let [(_, active), (_, running), (_, completed)] = counts;
        let counts: Value = json!({
            "active": active, "running": running, "completed": completed, "succeeded": completed, "failed": 0,
        });
        Answer::json(&json!({
            "odata.metadata": call.url("/$metadata#taskCountsResult/@Element"),
            "taskCounts": counts, "taskSlotCounts": counts,
        }))
    }
}

pub(super) const BEING_DELETED: Refusal =
    Refusal::new(409, "JobBeingDeleted", "The specified job is marked for deletion and is being deleted.");
pub(super) const BEING_TERMINATED: Refusal =
    Refusal::new(409, "JobBeingTerminated", "The specified job is being terminated.");
pub(super) const COMPLETED: Refusal = Refusal::new(409, "JobCompleted", "The specified job is in a completed state.");
const EXISTS: Refusal = Refusal::new(409, "JobExists", "The specified job already exists.");
pub(super) const NOT_FOUND: Refusal = Refusal::new(404, "JobNotFound", "The specified job does not exist.");
