//! Echoes inside the answer to addtaskcollection: a 200 with a result for each task, where a task that an earlier send made is refused as
//! existing.
//!
//! Such a result becomes a success where the proof allows it, and only for a task of the same request. Every other byte of the answer
//! stays as it was: results are exchanged in the text, not written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::SystemTime;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Window;
use super::proof::{is_plain_id, made, selection};

/// The tasks of an answer that the service refused as existing and the request had asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing<'a> {
    answer: &'a str,
    /// Their ids, as the answer spells them, and where their results stand in it.
    results: Vec<(String, Range<usize>)>,
}

// === impl Existing ===

impl<'a> Existing<'a> {
    /// The tasks in `answer` that may be echoes of a request with this body; `None` where there are none.
    pub fn of(request: &[u8], answer: &'a str) -> Option<Self> {
        let asked = asked(request)?;
        let place = |result: &RawValue| {
            // A raw value is a part of the text it was read from.
            let start = (result.get().as_ptr() as usize).checked_sub(answer.as_ptr() as usize)?;
            Some(start..start + result.get().len())
        };
        let results: Vec<_> = results(answer)?
            .into_iter()
            .filter_map(|result| Some((refused_as_existing(result)?, place(result)?)))
            .filter(|(id, _)| asked.contains(&key(id)))
            .collect();
        (!results.is_empty()).then_some(Self { answer, results })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.results.len()
    }

    /// The target of the one GET that tells when they were made: the beginning of the job's list of tasks. `None` where the request has
    /// no version of the API.
    pub fn lookup(&self, path: &str, query: &str) -> Option<String> {
        let job = path.strip_suffix("/addtaskcollection")?;
        Some(format!("{job}/tasks?{}", selection(query)?))
    }

    /// Those that `list`, the answer to the read, shows to be made within `window`.
    #[must_use]
    pub fn proved_by(&self, list: &[u8], window: &Window) -> Self {
        let list: Value = serde_json::from_slice(list).unwrap_or_default();
        let tasks = list.get("value").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let ours: BTreeSet<String> = tasks
            .iter()
            .filter_map(made)
            .filter(|(_, time): &(&str, SystemTime)| window.contains(*time))
            .map(|(id, _)| key(id))
            .collect();
        let results = self.results.iter().filter(|(id, _)| ours.contains(&key(id))).cloned().collect();
        Self { answer: self.answer, results }
    }

    /// The answer with these tasks as successes.
    pub fn as_successes(&self) -> String {
        let (answer, mut written) = (self.answer, 0);
        let mut rewritten = String::with_capacity(answer.len());
        for (id, place) in &self.results {
            rewritten.push_str(&answer[written..place.start]);
            rewritten.push_str(&json!({ "status": "success", "taskId": id }).to_string());
            written = place.end;
        }
        rewritten.push_str(&answer[written..]);
        rewritten
    }
}

/// The paths of the tasks that a request asks for.
pub(super) fn created(path: &str, request: &[u8]) -> Vec<String> {
    let Some(job) = path.strip_suffix("/addtaskcollection") else { return Vec::new() };
    asked(request).into_iter().flatten().map(|id| format!("{job}/tasks/{id}")).collect()
}

/// The ids a request asks for, as they are compared.
fn asked(request: &[u8]) -> Option<BTreeSet<String>> {
    let body: Value = serde_json::from_slice(request).ok()?;
    let tasks = body.get("value")?.as_array()?;
    Some(tasks.iter().filter_map(|task| task.get("id")?.as_str()).filter(|id| is_plain_id(id)).map(key).collect())
}

/// The results of an answer, each as it stands in the text.
fn results(answer: &str) -> Option<Vec<&RawValue>> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(answer).ok()?;
    serde_json::from_str(members.get("value")?.get()).ok()
}

/// The id of a task whose result says that it exists.
fn refused_as_existing(result: &RawValue) -> Option<String> {
    let result: Value = serde_json::from_str(result.get()).ok()?;
    let refused = result.get("status")?.as_str()?.eq_ignore_ascii_case("clienterror");
    let exists = result.get("error")?.get("code")?.as_str()? == "TaskExists";
    (refused && exists).then(|| result.get("taskId")?.as_str().map(str::to_owned)).flatten()
}

/// Ids are compared without regard to case, as the service compares them.
fn key(id: &str) -> String {
    id.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const REQUEST: &[u8] = br#"{"value":[{"id":"A"},{"id":"b"},{"id":"c"},{"id":"d/e"}]}"#;

    /// A result whose text differs from what any writer would make of it.
    fn existing(id: &str) -> String {
        format!(r#"{{ "taskId" : "{id}","status":"ClientError", "error":{{"code":"TaskExists","values":[1.0]}} }}"#)
    }

    fn other() -> &'static str {
        r#"{ "status":"clienterror","taskId":"c" ,"error":{"code":"InvalidPropertyValue"}}"#
    }

    fn answer(results: &[String]) -> String {
        format!("{{ \"odata.metadata\":\"x\", \"value\" :[ {} ],\"n\":1.50 }}", results.join(" , "))
    }

    fn success(id: &str) -> String {
        format!(r#"{{"status":"success","taskId":"{id}"}}"#)
    }

    #[test]
    fn a_task_of_the_request_that_exists_becomes_a_success_and_nothing_else_changes() {
        let done = r#"{"status":"success","taskId":"b","eTag":"0x1"}"#.to_owned();
        let before = answer(&[existing("a"), done.clone(), other().to_owned(), existing("stranger")]);
        let existing_tasks = Existing::of(REQUEST, &before).unwrap();
        assert_eq!(existing_tasks.count(), 1);
        let after = answer(&[success("a"), done, other().to_owned(), existing("stranger")]);
        assert_eq!(existing_tasks.as_successes(), after);
    }

    #[test]
    fn an_answer_without_echoes_has_none() {
        for (request, answer) in [
            (REQUEST, answer(&[other().to_owned()])),
            (REQUEST, answer(&[])),
            (REQUEST, "{}".to_owned()),
            (REQUEST, "not json".to_owned()),
            (REQUEST, answer(&[existing("stranger")])),
            (b"".as_slice(), answer(&[existing("a")])),
            (br#"{"value":[{"id":7}]}"#.as_slice(), answer(&[existing("7")])),
        ] {
            assert_eq!(Existing::of(request, &answer), None, "{answer}");
        }
    }

    #[test]
    fn only_tasks_made_in_the_window_are_proved() {
        let answer = answer(&[existing("a"), existing("b"), existing("c")]);
        let existing = Existing::of(REQUEST, &answer).unwrap();
        assert_eq!(
            existing.lookup("/jobs/j/addtaskcollection", "api-version=1&timeOut=3").as_deref(),
            Some("/jobs/j/tasks?api-version=1&$select=id,creationTime")
        );
        assert_eq!(existing.lookup("/jobs/j/addtaskcollection", ""), None);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let mut window = Window::default();
        window.observe(now, Duration::ZERO);
        let made = |id, time| json!({ "id": id, "creationTime": humantime::format_rfc3339(time).to_string() });
        let list = json!({ "value": [made("A", now), made("b", now - Duration::from_secs(9)), { "id": "c" }] }).to_string();
        let proved = existing.proved_by(list.as_bytes(), &window);
        assert_eq!(proved.results.iter().map(|(id, _)| id).collect::<Vec<_>>(), ["a"]);
        assert_eq!(existing.proved_by(b"nonsense", &window).count(), 0);
        assert_eq!(existing.proved_by(list.as_bytes(), &Window::default()).count(), 0);
    }
}
