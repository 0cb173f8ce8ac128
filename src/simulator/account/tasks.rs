//! Tasks, one by one and by the hundred.

use serde_json::{Map, Value, json};

use super::super::answer::{Answer, Refusal};
use super::super::store::{Resource, Shelf, key, timestamp};
use super::{Account, Call, Outcome};

impl Account {
    pub(super) fn on_task(&mut self, operation: &str, call: &Call<'_>) -> Outcome {
        self.job(call)?;
        match operation {
            "Tasks_ListTasks" => {
                let none = Shelf::default();
                let tasks = self.tasks.get(&key(call.segment(1))).unwrap_or(&none);
                call.listed(&call.page(tasks)?, "tasks", |task| task_url(call, &task.id))
            }
            "Tasks_CreateTask" => {
                let fields = call.request.object()?;
                let id = self.make_task(fields, call)?;
                let task = self.tasks.get(&key(call.segment(1))).and_then(|tasks| tasks.get(&id, call.now));
                Ok(call.created(task.ok_or(NOT_FOUND)?, &task_url(call, &id)))
            }
            "Tasks_CreateTaskCollection" => self.add_collection(call),
            "Tasks_GetTask" => {
                let task = self.shown(self.task(call), call, NOT_FOUND)?;
                call.found(task, &task_url(call, &task.id), "tasks")
            }
            "Tasks_ReplaceTask" => {
                let fields = call.request.object()?;
                let version = self.next_version();
                let task = self.task_to_write(call)?;
                task.change(fields, version, call.now);
                Ok(call.written(200, task))
            }
            "Tasks_DeleteTask" => {
                self.task_to_write(call)?;
                if let Some(tasks) = self.tasks.get_mut(&key(call.segment(1))) {
                    tasks.remove(call.segment(3));
                }
                self.forget_deleted_files(call);
                self.register.deleted(call.path(4), call.id());
                Ok(Answer::empty(200).changing())
            }
            "Tasks_TerminateTask" => {
                let task = self.task_to_write(call)?;
                if task.state(call.now) == "completed" {
                    return Err(COMPLETED);
                }
                task.enter(call.now, "completed", &[]);
                Ok(call.written(204, task))
            }
            "Tasks_ReactivateTask" => {
                let task = self.task_to_write(call)?;
                if task.state(call.now) != "completed" {
                    return Err(NOT_COMPLETED);
                }
                task.enter(call.now, "active", &call.after(&["running", "completed"]));
                Ok(call.written(204, task))
            }
            _ => self.on_file(operation, call),
        }
    }

    /// The task of the path.
    pub(super) fn task(&self, call: &Call<'_>) -> Result<&Resource, Refusal> {
        let tasks = self.tasks.get(&key(call.segment(1)));
        tasks.and_then(|tasks| tasks.get(call.segment(3), call.now)).ok_or(NOT_FOUND)
    }

    fn task_to_write(&mut self, call: &Call<'_>) -> Result<&mut Resource, Refusal> {
        let tasks = self.tasks.get_mut(&key(call.segment(1)));
        let task = tasks.and_then(|tasks| tasks.get_mut(call.segment(3), call.now)).ok_or(NOT_FOUND)?;
        call.check_conditions(task)?;
        Ok(task)
    }

    /// Makes one task and returns its id.
    fn make_task(&mut self, fields: Map<String, Value>, call: &Call<'_>) -> Result<String, Refusal> {
        match self.job(call)?.state(call.now) {
            "completed" => return Err(super::jobs::COMPLETED),
            "deleting" => return Err(super::jobs::BEING_DELETED),
            "terminating" => return Err(super::jobs::BEING_TERMINATED),
            _ => {}
        }
        let id = call.new_id(&fields)?;
        let version = self.next_version();
        let job = key(call.segment(1));
        let tasks = self.tasks.entry(job.clone()).or_default();
        if tasks.get(&id, call.now).is_some() {
            return Err(EXISTS);
        }
        let mut task = Resource::new(&id, fields, version, "active", call.now);
        task.enter(call.now, "active", &call.after(&["running", "completed"]));
        tasks.insert(task);
        self.register.made(format!("/jobs/{job}/tasks/{}", key(&id)));
        Ok(id)
    }

    /// Answers 200 with a result for each task, whatever became of it.
    fn add_collection(&mut self, call: &Call<'_>) -> Outcome {
        match self.job(call)?.state(call.now) {
            "completed" => return Err(super::jobs::COMPLETED),
            "deleting" => return Err(super::jobs::BEING_DELETED),
            _ => {}
        }
        if call.request.body.len() > MAX_COLLECTION_BYTES {
            return Err(Refusal::new(
                413,
                "RequestBodyTooLarge",
                "The size of the request body exceeds the maximum permitted.",
            ));
        }
        let fields = call.request.object()?;
        let Some(Value::Array(tasks)) = fields.get("value") else {
            return Err(Refusal::MISSING_PROPERTY.telling("PropertyName", "value"));
        };
        if tasks.len() > MAX_COLLECTION {
            return Err(Refusal::INVALID_BODY.telling("Reason", "More than 100 tasks in a collection."));
        }
        let mut made = 0;
        let results: Vec<Value> = tasks
            .iter()
            .map(|task| {
                let fields = task.as_object().cloned().unwrap_or_default();
                let given = fields.get("id").cloned().unwrap_or(Value::Null);
                match self.make_task(fields, call) {
                    Ok(id) => {
                        made += 1;
                        self.success(&id, call)
                    }
                    Err(refusal) => client_error(&given, &refusal, call),
                }
            })
            .collect();
        let metadata = call.url("/$metadata#taskaddresult");
        let answer = Answer::json(&json!({ "odata.metadata": metadata, "value": results }));
        Ok(if made > 0 { answer.changing() } else { answer })
    }

    fn success(&self, id: &str, call: &Call<'_>) -> Value {
        let task = self.tasks.get(&key(call.segment(1))).and_then(|tasks| tasks.get(id, call.now));
        json!({
            "status": "success",
            "taskId": id,
            "eTag": task.map(Resource::etag),
            "lastModified": timestamp(call.now),
            "location": task_url(call, id),
        })
    }
}

fn client_error(id: &Value, refusal: &Refusal, call: &Call<'_>) -> Value {
    let values: Vec<Value> = refusal.values.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    let message = format!("{}\nTime:{}", refusal.message, timestamp(call.now));
    json!({
        "status": "clienterror",
        "taskId": id,
        "error": { "code": refusal.code, "message": { "lang": "en-US", "value": message }, "values": values },
    })
}

fn task_url(call: &Call<'_>, task: &str) -> String {
    call.url(&format!("/jobs/{}/tasks/{task}", call.segment(1)))
}

/// The API's limits of one addtaskcollection.
const MAX_COLLECTION: usize = 100;
const MAX_COLLECTION_BYTES: usize = 1 << 20;

const COMPLETED: Refusal = Refusal::new(409, "TaskCompleted", "The specified task is already in a completed state.");
const EXISTS: Refusal = Refusal::new(409, "TaskExists", "The specified task already exists.");
const NOT_COMPLETED: Refusal = Refusal::new(409, "TaskNotCompleted", "The specified task is not in a completed state.");
pub(super) const NOT_FOUND: Refusal = Refusal::new(404, "TaskNotFound", "The specified task does not exist.");
