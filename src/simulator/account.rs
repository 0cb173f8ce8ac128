//! The account: pools, jobs, schedules, tasks, nodes and task files, and what each operation does to them.
//!
//! Pure: a request and the time come in, an answer or a refusal goes out. What goes wrong on purpose is [`super::faults`]'
//! task. Tasks run by themselves and cost nothing: they are running after a moment and completed after another.
//! States, codes and statuses follow the Batch REST reference; filters are ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use serde_json::{Map, Value, json};

use super::answer::{Answer, Refusal};
use super::register::{Life, Register};
use super::request::Request;
use super::store::{Page, Resource, Shelf, State, key};
use super::traits::Traits;

mod files;
mod jobs;
mod nodes;
mod pools;
mod schedules;
mod tasks;

/// All that the account holds.
#[derive(Debug, Default)]
pub(super) struct Account {
    traits: Traits,
    /// When it was first asked.
    begun: Option<SystemTime>,
    /// The number of changes so far.
    version: u64,
    pools: Shelf,
    /// By pool.
    nodes: BTreeMap<String, Shelf>,
    jobs: Shelf,
    /// By job.
    tasks: BTreeMap<String, Shelf>,
    schedules: Shelf,
    /// Task files that were deleted: job, task and path.
    deleted_files: BTreeSet<[String; 3]>,
    /// Users of nodes: pool, node and name.
    users: BTreeSet<[String; 3]>,
    register: Register,
}

/// One request to the account.
pub(super) struct Call<'a> {
    request: &'a Request,
    segments: Vec<String>,
    /// The account's URL as the client writes it, without a slash at its end.
    base: &'a str,
    now: SystemTime,
}

type Outcome = Result<Answer, Refusal>;

// === impl Account ===

impl Account {
    /// An empty one.
    pub(super) fn new(traits: Traits) -> Self {
        Self { traits, ..Self::default() }
    }

    /// Does what the operation of this name does.
    pub(super) fn perform(&mut self, operation: &str, call: &Call<'_>) -> Outcome {
        self.begun.get_or_insert(call.now);
        match operation.split_once('_').map_or("", |(group, _)| group) {
            "Jobs" => self.on_job(operation, call),
            "JobSchedules" => self.on_schedule(operation, call),
            "Nodes" => self.on_node(operation, call),
            "Pools" => self.on_pool(operation, call),
            "Tasks" | "File" => self.on_task(operation, call),
            _ => Err(NOT_SIMULATED),
        }
    }

    /// The jobs, with their states.
    pub(super) fn jobs(&self, now: SystemTime) -> BTreeMap<String, String> {
        self.jobs.iter(now).map(|job| (job.id.clone(), job.state(now).to_owned())).collect()
    }

    /// How often each task was made, by job and task.
    pub(super) fn tasks(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        self.register.tasks()
    }

    /// What became of everything that was made or deleted, by path.
    pub(super) fn lives(&self, now: SystemTime) -> BTreeMap<String, Life> {
        self.register.lives(|path| self.state_of(path, now))
    }

    fn state_of(&self, path: &str, now: SystemTime) -> Option<String> {
        let state = |shelf: &Shelf, id: &str| shelf.get(id, now).map(|resource| resource.state(now).to_owned());
        match path.split('/').skip(1).collect::<Vec<_>>()[..] {
            ["jobs", job] => state(&self.jobs, job),
            ["jobs", job, "tasks", task] => self.jobs.get(job, now).and_then(|_| state(self.tasks.get(job)?, task)),
            ["jobschedules", schedule] => state(&self.schedules, schedule),
            ["pools", pool] => state(&self.pools, pool),
            ["pools", pool, "nodes", node, "users", user] => {
                let present = self.users.contains(&[pool, node, user].map(str::to_owned));
                self.pools.get(pool, now).filter(|_| present).map(|_| "present".to_owned())
            }
            _ => None,
        }
    }

    /// What was asked for by itself, unless it is too new to be seen.
    fn shown<'a>(
        &self,
        found: Result<&'a Resource, Refusal>,
        call: &Call<'_>,
        not_found: Refusal,
    ) -> Result<&'a Resource, Refusal> {
        found.and_then(|found| if self.traits.hides(found.created, call.now) { Err(not_found) } else { Ok(found) })
    }

    /// Whether one more job or schedule may be active.
    fn admit_job(&self, call: &Call<'_>) -> Result<(), Refusal> {
        let active = |shelf: &Shelf| shelf.iter(call.now).filter(|one| one.state(call.now) != "completed").count();
        self.traits.admit_job(active(&self.jobs) + active(&self.schedules), self.begun.unwrap_or(call.now), call.now)
    }

    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }
}

// === impl Call ===

impl<'a> Call<'a> {
    pub(super) fn new(request: &'a Request, base: &'a str, now: SystemTime) -> Self {
        Self { request, segments: request.segments(), base, now }
    }

    /// The `n`th segment of the path, decoded.
    fn segment(&self, n: usize) -> &str {
        self.segments.get(n).map_or("", String::as_str)
    }

    /// The path's first segments, as the register has them.
    fn path(&self, segments: usize) -> String {
        self.segments.iter().take(segments).map(|segment| format!("/{}", key(segment))).collect()
    }

    /// What the client calls this request.
    fn id(&self) -> &str {
        self.request.header("client-request-id").unwrap_or_default()
    }

    /// The absolute URL of a path.
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// When what is deleted now is gone.
    fn gone(&self, traits: &Traits) -> SystemTime {
        self.now + traits.deletion.unwrap_or(SETTLE)
    }

    fn after(&self, states: &[&'static str]) -> Vec<(SystemTime, State)> {
        let mut at = self.now;
        let mut next = || {
            at += SETTLE;
            at
        };
        states.iter().map(|state| (next(), State::Named(state))).collect()
    }

    /// The JSON of one resource with its validators.
    fn found(&self, resource: &Resource, url: &str, kind: &str) -> Outcome {
        if let Some(wanted) = self.request.header("if-none-match")
            && matches_etag(wanted, &resource.etag())
        {
            return Err(Refusal::new(304, "ConditionNotMet", ""));
        }
        let mut rendered = self.selected(resource.render(url, self.now));
        rendered["odata.metadata"] = json!(self.url(&format!("/$metadata#{kind}/@Element")));
        Ok(validated(Answer::json(&rendered), resource))
    }

    /// The properties that the client selects, all of them unless it does.
    fn selected(&self, rendered: Value) -> Value {
        let Some(select) = self.request.parameter("$select") else { return rendered };
        let Value::Object(mut properties) = rendered else { return rendered };
        properties.retain(|name, _| select.split(',').any(|wanted| wanted.trim() == name));
        Value::Object(properties)
    }

    /// A page of resources.
    fn listed(&self, page: &Page<'_>, kind: &str, url: impl Fn(&Resource) -> String) -> Outcome {
        let render = |resource: &&Resource| self.selected(resource.render(&url(resource), self.now));
        let value: Vec<Value> = page.resources.iter().map(render).collect();
        Ok(self.page_of(&value, page.next.as_deref(), kind))
    }

    fn page_of(&self, value: &[Value], next: Option<&str>, kind: &str) -> Answer {
        let mut body = json!({ "odata.metadata": self.url(&format!("/$metadata#{kind}")), "value": value });
        if let Some(next) = next {
            let kept = self.request.query.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("$skiptoken"));
            let kept: String = kept.map(|(name, value)| format!("{}={}&", encoded(name), encoded(value))).collect();
            let token = BASE64_URL_SAFE_NO_PAD.encode(next);
            body["odata.nextLink"] = json!(self.url(&format!("{}?{kept}$skiptoken={token}", self.request.path)));
        }
        Answer::json(&body)
    }

    /// The resources of a shelf that the request asks for.
    fn page<'s>(&self, shelf: &'s Shelf) -> Result<Page<'s>, Refusal> {
        let (after, max) = self.window()?;
        Ok(shelf.page(after.as_deref(), max, self.now))
    }

    /// After which id a page begins, and how many it may hold.
    fn window(&self) -> Result<(Option<String>, usize), Refusal> {
        let max = match self.request.parameter("maxresults") {
            None => PAGE,
            Some(text) => match text.parse() {
                Ok(max @ 1..=PAGE) => max,
                _ => return Err(bad_parameter("maxresults", text)),
            },
        };
        let after = match self.request.parameter("$skiptoken") {
            None => None,
            Some(token) => {
                let key = BASE64_URL_SAFE_NO_PAD.decode(token).ok().and_then(|key| String::from_utf8(key).ok());
                Some(key.ok_or_else(|| bad_parameter("$skiptoken", token))?)
            }
        };
        Ok((after, max))
    }

    /// Whether the conditional headers let a write to this resource pass.
    fn check_conditions(&self, resource: &Resource) -> Result<(), Refusal> {
        let etag = resource.etag();
        let failed = self.request.header("if-match").is_some_and(|wanted| !matches_etag(wanted, &etag))
            || self.request.header("if-none-match").is_some_and(|wanted| matches_etag(wanted, &etag));
        if failed { Err(CONDITION_NOT_MET) } else { Ok(()) }
    }

    /// The id in the body of a create.
    fn new_id(&self, fields: &Map<String, Value>) -> Result<String, Refusal> {
        let id = fields.get("id").and_then(Value::as_str);
        let id = id.ok_or_else(|| Refusal::MISSING_PROPERTY.telling("PropertyName", "id"))?;
        let allowed = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
        if id.is_empty() || id.len() > 64 || !id.chars().all(allowed) {
            let refusal = Refusal::new(
                400,
                "InvalidPropertyValue",
                "The value provided for one of the properties in the request body is invalid.",
            );
            return Err(refusal.telling("PropertyName", "id").telling("PropertyValue", id));
        }
        Ok(id.to_owned())
    }

    /// The answer to a create.
    fn created(&self, resource: &Resource, url: &str) -> Answer {
        validated(Answer::empty(201), resource).with("dataserviceid", url).with("location", url).changing()
    }

    /// The answer to a write of something that exists.
    fn written(&self, status: u16, resource: &Resource) -> Answer {
        validated(Answer::empty(status), resource).with("dataserviceid", &self.url(&self.request.path)).changing()
    }
}

fn validated(answer: Answer, resource: &Resource) -> Answer {
    answer.with("etag", &resource.etag()).with("last-modified", &httpdate::fmt_http_date(resource.modified))
}

fn matches_etag(wanted: &str, etag: &str) -> bool {
    wanted.split(',').map(|one| one.trim().trim_matches('"')).any(|one| one == "*" || one == etag)
}

fn bad_parameter(name: &str, value: &str) -> Refusal {
    let message = "The value specified for one of the query parameters is invalid.";
    Refusal::new(400, "InvalidQueryParameterValue", message)
        .telling("QueryParameterName", name)
        .telling("QueryParameterValue", value)
}

/// A query name or value as it stands in a URL.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~$".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

const CONDITION_NOT_MET: Refusal = Refusal::new(
    412,
    "ConditionNotMet",
    "The condition specified in the conditional header(s) was not met for a write operation.",
);

const NOT_SIMULATED: Refusal = Refusal::new(400, "InvalidInput", "The simulator does not have this operation.");

/// The most a page holds, and what it holds unless told; the API's own number.
const PAGE: usize = 1000;

/// How long what takes time takes: a deletion, a resize, the life of a task in each state. Long enough that a client can meet
/// the state, short enough for a demonstration.
const SETTLE: Duration = Duration::from_millis(500);
