//! Task files: each task has a standard output of a few kilobytes, an empty standard error and a working directory.

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::answer::{Answer, Framing, Refusal};
use super::super::store::{Resource, key, timestamp};
use super::{Account, Call, NOT_SIMULATED, Outcome};

impl Account {
    pub(super) fn on_file(&mut self, operation: &str, call: &Call<'_>) -> Outcome {
        let task = self.task(call)?;
        match operation {
            "Tasks_ListTaskFiles" => self.list_files(task, call),
            "Tasks_GetTaskFile" | "File_GetFromTask" => {
                let content = self.file(task, call)?;
                let content = match call.request.header("ocp-range").or_else(|| call.request.header("range")) {
                    Some(range) => part(&content, range).ok_or(INVALID_RANGE)?,
                    None => content,
                };
                let mut answer = properties(task, call);
                answer.body = content;
                Ok(answer)
            }
            "Tasks_GetTaskFileProperties" | "File_GetNodeFilePropertiesFromTask" => {
                let length = self.file(task, call)?.len();
                Ok(properties(task, call).with("content-length", &length.to_string()))
            }
            "Tasks_DeleteTaskFile" | "File_DeleteFromTask" => {
                self.file(task, call)?;
                let [job, task, name] = self.file_key(call);
                self.register.deleted(format!("/jobs/{job}/tasks/{task}/files/{name}"), call.id());
                self.deleted_files.insert([job, task, name]);
                Ok(Answer::empty(200).changing())
            }
            _ => Err(NOT_SIMULATED),
        }
    }

    /// A task made anew under the same id has all its files.
    pub(super) fn forget_deleted_files(&mut self, call: &Call<'_>) {
        let (job, task) = (key(call.segment(1)), key(call.segment(3)));
        self.deleted_files.retain(|[of_job, of_task, _]| *of_job != job || *of_task != task);
    }

    fn list_files(&self, task: &Resource, call: &Call<'_>) -> Outcome {
        let present: Vec<&str> = FILES.into_iter().filter(|name| !self.is_deleted(call, name)).collect();
        let (after, max) = call.window()?;
        let mut rest = present.into_iter().filter(|name| after.as_deref().is_none_or(|after| *name > after));
        let page: Vec<&str> = rest.by_ref().take(max).collect();
        let next = if rest.next().is_some() { page.last().copied() } else { None };
        let value: Vec<Value> = page
            .iter()
            .map(|name| {
                let url = call.url(&format!("{}/{}", call.request.path, name.replace('/', "%2F")));
                let Some(content) = content(task, name) else {
                    return json!({ "name": name, "url": url, "isDirectory": true });
                };
                let properties = json!({
                    "creationTime": timestamp(task.created),
                    "lastModified": timestamp(task.modified),
                    "contentLength": content.len().to_string(),
                    "contentType": "application/octet-stream",
                    "fileMode": "0x00008180",
                });
                json!({ "name": name, "url": url, "isDirectory": false, "properties": properties })
            })
            .collect();
        Ok(call.page_of(&value, next, "files"))
    }

    /// The content of the file that the path names.
    fn file(&self, task: &Resource, call: &Call<'_>) -> Result<Bytes, Refusal> {
        let [_, _, name] = self.file_key(call);
        let content = content(task, &name).filter(|_| !self.is_deleted(call, &name));
        content.map(Bytes::from).ok_or(NOT_FOUND)
    }

    fn is_deleted(&self, call: &Call<'_>, name: &str) -> bool {
        self.deleted_files.contains(&[key(call.segment(1)), key(call.segment(3)), name.to_owned()])
    }

    /// Job, task and name of the path's file. The first version of the API left the name's slashes as they are.
    fn file_key(&self, call: &Call<'_>) -> [String; 3] {
        let name = call.segments.get(5..).unwrap_or_default().join("/").replace('\\', "/");
        [key(call.segment(1)), key(call.segment(3)), name]
    }
}

/// The answer that tells a file's properties in its headers.
fn properties(task: &Resource, call: &Call<'_>) -> Answer {
    let mut answer = super::validated(Answer::empty(200), task)
        .with("content-type", "application/octet-stream")
        .with("ocp-batch-file-isdirectory", "False")
        .with("ocp-batch-file-mode", "0x00008180")
        .with("ocp-batch-file-url", &call.url(&call.request.path).replace('/', "%2F").replace(':', "%3A"))
        .with("ocp-creation-time", &httpdate::fmt_http_date(task.created));
    answer.framing = Framing::Sized;
    answer
}

/// What a file of this name holds; `None` for a directory and for what is not there.
fn content(task: &Resource, name: &str) -> Option<Vec<u8>> {
    match name {
        "stdout.txt" | "wd/result.txt" => {
            let lines = (1..=LINES).map(|line| format!("{} of task {}: line {line} of {LINES}\n", name, task.id));
            Some(lines.collect::<String>().into_bytes())
        }
        "stderr.txt" => Some(Vec::new()),
        _ => None,
    }
}

/// The part of `content` that a range like `bytes=2-5` or `bytes=2-` names, its end cut to what is there.
fn part(content: &Bytes, range: &str) -> Option<Bytes> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first: usize = first.parse().ok()?;
    let last = if last.is_empty() { content.len() } else { last.parse::<usize>().ok()?.checked_add(1)? };
    let last = last.min(content.len());
    (first < last).then(|| content.slice(first..last))
}

/// In the order of a list.
const FILES: [&str; 4] = ["stderr.txt", "stdout.txt", "wd", "wd/result.txt"];

/// The length of a file in lines.
const LINES: usize = 100;

const INVALID_RANGE: Refusal =
    Refusal::new(416, "InvalidRange", "The range specified is invalid for the current size of the resource.");
const NOT_FOUND: Refusal = Refusal::new(404, "FileNotFound", "The specified file does not exist.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_the_file() {
        let content = Bytes::from_static(b"0123456789");
        for (range, want) in [
            ("bytes=2-5", Some("2345")),
            ("bytes=8-", Some("89")),
            ("bytes=8-99", Some("89")),
            ("bytes=10-", None),
            ("bytes=5-2", None),
            ("bytes=x-2", None),
        ] {
            assert_eq!(part(&content, range).as_deref(), want.map(str::as_bytes), "{range}");
        }
    }
}
