//! Job schedules. They make no jobs.

use super::super::answer::{Answer, Refusal};
use super::super::store::{Resource, State, key};
use super::{Account, Call, NOT_SIMULATED, Outcome};

impl Account {
    pub(super) fn on_schedule(&mut self, operation: &str, call: &Call<'_>) -> Outcome {
        let url = |schedule: &Resource| call.url(&format!("/jobschedules/{}", schedule.id));
        match operation {
            "JobSchedules_ListJobSchedules" => call.listed(&call.page(&self.schedules)?, "jobschedules", url),
            "JobSchedules_CreateJobSchedule" => self.create_schedule(call),
            "JobSchedules_GetJobSchedule" => {
                let schedule = self.schedules.get(call.segment(1), call.now).ok_or(NOT_FOUND);
                let schedule = self.shown(schedule, call, NOT_FOUND)?;
                call.found(schedule, &url(schedule), "jobschedules")
            }
            "JobSchedules_JobScheduleExists" => {
                let schedule = self.schedules.get(call.segment(1), call.now).ok_or(NOT_FOUND)?;
                Ok(super::validated(Answer::empty(200), schedule))
            }
            "JobSchedules_UpdateJobSchedule" | "JobSchedules_ReplaceJobSchedule" => {
                let fields = call.request.object()?;
                let version = self.next_version();
                let schedule = self.schedule_to_write(call)?;
                schedule.change(fields, version, call.now);
                Ok(call.written(200, schedule))
            }
            "JobSchedules_DisableJobSchedule" => self.turn_schedule(call, 204, "disabled", &[]),
            "JobSchedules_EnableJobSchedule" => self.turn_schedule(call, 204, "active", &[]),
            "JobSchedules_TerminateJobSchedule" => self.turn_schedule(call, 202, "terminating", &call.after(&["completed"])),
            "JobSchedules_DeleteJobSchedule" => {
                let gone = call.gone(&self.traits);
                let answer = self.turn_schedule(call, 202, "deleting", &[(gone, State::Gone)])?;
                self.register.deleted(call.path(2), call.id());
                Ok(answer)
            }
            _ => Err(NOT_SIMULATED),
        }
    }

    fn schedule_to_write(&mut self, call: &Call<'_>) -> Result<&mut Resource, Refusal> {
        let schedule = self.schedules.get_mut(call.segment(1), call.now).ok_or(NOT_FOUND)?;
        call.check_conditions(schedule)?;
        if schedule.state(call.now) == "deleting" { Err(BEING_DELETED) } else { Ok(schedule) }
    }

    fn create_schedule(&mut self, call: &Call<'_>) -> Outcome {
        let fields = call.request.object()?;
        let id = call.new_id(&fields)?;
        if let Some(schedule) = self.schedules.get(&id, call.now) {
            return Err(if schedule.state(call.now) == "deleting" { BEING_DELETED } else { EXISTS });
        }
        self.admit_job(call)?;
        let schedule = Resource::new(&id, fields, self.next_version(), "active", call.now);
        let answer = call.created(&schedule, &call.url(&format!("/jobschedules/{id}")));
        self.register.made(format!("/jobschedules/{}", key(&id)));
        self.schedules.insert(schedule);
        Ok(answer)
    }

    fn turn_schedule(
        &mut self,
        call: &Call<'_>,
        status: u16,
        state: &'static str,
        later: &[(std::time::SystemTime, State)],
    ) -> Outcome {
        let version = self.next_version();
        let schedule = self.schedule_to_write(call)?;
        match (schedule.state(call.now), state) {
            (_, "deleting") => {}
            ("completed", _) => return Err(COMPLETED),
            ("terminating", _) => return Err(BEING_TERMINATED),
            _ => {}
        }
        schedule.enter(call.now, state, later);
        schedule.change(serde_json::Map::new(), version, call.now);
        Ok(call.written(status, schedule))
    }
}

const BEING_DELETED: Refusal =
    Refusal::new(409, "JobScheduleBeingDeleted", "The specified job schedule is marked for deletion and is being deleted.");
const BEING_TERMINATED: Refusal =
    Refusal::new(409, "JobScheduleBeingTerminated", "The specified job schedule is being terminated.");
const COMPLETED: Refusal = Refusal::new(409, "JobScheduleCompleted", "The specified job schedule is in a completed state.");
const EXISTS: Refusal = Refusal::new(409, "JobScheduleExists", "The specified job schedule already exists.");
pub(super) const NOT_FOUND: Refusal = Refusal::new(404, "JobScheduleNotFound", "The specified job schedule does not exist.");
