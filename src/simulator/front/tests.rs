use super::*;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use crate::simulator::answer::Framing;
use crate::simulator::scenario::Scenario;

mod writes;

/// An account, and the time that its requests come at.
struct Bench {
    front: Front,
    now: SystemTime,
}

impl Bench {
    fn new(faults: &str) -> Self {
        let scenario = Scenario::parse("x", &format!("name='x'\ndescription='x'\n{faults}")).unwrap();
        let gatekeeper = Gatekeeper::new("demo", "c2VjcmV0").unwrap();
        let front = Front::new(
            gatekeeper,
            Dealer::new(&scenario, 1),
            Account::new(scenario.account),
            "demo.simulated.batch.azure.com",
            1,
        );
        Self { front, now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) }
    }

    fn react(&mut self, call: &str, headers: &[(&'static str, &str)], body: &Value) -> Reaction {
        let (method, target) = call.split_once(' ').unwrap();
        let mut map = HeaderMap::new();
        map.insert("authorization", HeaderValue::from_static("Bearer x"));
        for (name, value) in headers {
            map.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let between = if target.contains('?') { '&' } else { '?' };
        let target =
            if target.contains("api-version") { target.to_owned() } else { format!("{target}{between}api-version=1") };
        self.front.receive(&Request::new(method.parse::<Method>().unwrap(), &target, map, body), self.now)
    }

    fn answer(&mut self, call: &str, headers: &[(&'static str, &str)], body: &Value) -> Answer {
        match self.react(call, headers, body) {
            Reaction::Answer(answer) => answer,
            other => panic!("{call}: {other:?}"),
        }
    }

    /// Status and, of an error, the code.
    fn told(&mut self, call: &str, body: &Value) -> String {
        told(&self.answer(call, &[], body))
    }

    fn json(&mut self, call: &str) -> Value {
        serde_json::from_slice(&self.answer(call, &[], &Value::Null).body).unwrap()
    }

    fn later(&mut self) {
        self.now += Duration::from_secs(3);
    }
}

fn told(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = if answer.status.is_success() { None } else { body["code"].as_str() };
    [answer.status.as_str(), code.unwrap_or_default()].join(" ").trim_end().to_owned()
}

fn tasks(ids: std::ops::Range<usize>) -> Value {
    json!({ "value": ids.map(|n| json!({ "id": format!("t{n:03}"), "commandLine": "true" })).collect::<Vec<_>>() })
}

/// What each call is answered, in an account that goes through all of it; `later` is when everything begun is done.
#[test]
fn the_account_has_states_and_says_what_they_forbid() {
    let mut bench = Bench::new("");
    let job = json!({ "id": "Job-1", "poolInfo": { "poolId": "p" } });
    let pool = json!({ "id": "p", "vmSize": "a1", "targetDedicatedNodes": 2 });
    let none = Value::Null;
    for (call, body, want) in [
        ("GET /jobs/job-1", &none, "404 JobNotFound"),
        ("POST /jobs", &json!({}), "400 MissingRequiredProperty"),
        ("POST /jobs", &json!({ "id": "a/b" }), "400 InvalidPropertyValue"),
        ("POST /jobs", &json!([]), "400 InvalidRequestBody"),
        ("POST /jobs", &job, "201"),
        ("POST /jobs", &job, "409 JobExists"),
        ("GET /jobs/job-1", &none, "200"),
        ("PATCH /jobs/Job-1", &json!({ "priority": 5 }), "200"),
        ("PUT /jobs/Job-1", &json!({ "priority": 6 }), "200"),
        ("POST /jobs/Job-1/disable", &json!({ "disableTasks": "requeue" }), "202"),
        ("POST /jobs/Job-1/enable", &none, "202"),
        ("POST /jobs/Job-1/tasks", &json!({ "id": "a" }), "201"),
        ("POST /jobs/job-1/tasks", &json!({ "id": "A" }), "409 TaskExists"),
        ("GET /jobs/Job-1/tasks/a", &none, "200"),
        ("GET /jobs/Job-1/tasks/b", &none, "404 TaskNotFound"),
        ("GET /jobs/nope/tasks", &none, "404 JobNotFound"),
        ("POST /jobs/Job-1/tasks/a/reactivate", &none, "409 TaskNotCompleted"),
        ("POST /jobs/Job-1/tasks/a/terminate", &none, "204"),
        ("POST /jobs/Job-1/tasks/a/terminate", &none, "409 TaskCompleted"),
        ("GET /jobs/Job-1/taskcounts", &none, "200"),
        ("GET /jobs/Job-1/tasks/a/files", &none, "200"),
        ("GET /jobs/Job-1/tasks/a/files/wd%2Fresult.txt", &none, "200"),
        ("GET /jobs/Job-1/tasks/a/files/wd/result.txt", &none, "200"),
        ("HEAD /jobs/Job-1/tasks/a/files/stdout.txt", &none, "200"),
        ("DELETE /jobs/Job-1/tasks/a/files/stdout.txt", &none, "200"),
        ("GET /jobs/Job-1/tasks/a/files/stdout.txt", &none, "404 FileNotFound"),
        ("DELETE /jobs/Job-1/tasks/a", &none, "200"),
        ("DELETE /jobs/Job-1/tasks/a", &none, "404 TaskNotFound"),
        ("POST /jobs/Job-1/terminate", &none, "202"),
        ("POST /jobs/Job-1/terminate", &none, "409 JobBeingTerminated"),
        ("later", &none, ""),
        ("POST /jobs/Job-1/terminate", &none, "409 JobCompleted"),
        ("POST /jobs/Job-1/tasks", &json!({ "id": "b" }), "409 JobCompleted"),
        ("DELETE /jobs/Job-1", &none, "202"),
        ("DELETE /jobs/Job-1", &none, "409 JobBeingDeleted"),
        ("POST /jobs", &job, "409 JobBeingDeleted"),
        ("later", &none, ""),
        ("GET /jobs/Job-1", &none, "404 JobNotFound"),
        ("POST /jobs", &job, "201"),
        ("HEAD /pools/p", &none, "404 PoolNotFound"),
        ("POST /pools", &pool, "201"),
        ("HEAD /pools/p", &none, "200"),
        ("POST /pools/p/resize", &json!({ "targetDedicatedNodes": 3 }), "409 PoolBeingResized"),
        ("later", &none, ""),
        ("POST /pools/p/resize", &json!({ "targetDedicatedNodes": 3 }), "202"),
        ("GET /pools/p/nodes/tvmps_00000003_d", &none, "200"),
        ("GET /pools/p/nodes/tvmps_00000004_d", &none, "404 NodeNotFound"),
        ("POST /pools/p/nodes/tvmps_00000003_d/reboot", &none, "202"),
        ("POST /pools/p/nodes/tvmps_00000003_d/reboot", &none, "409 NodeBeingRebooted"),
        ("DELETE /pools/p", &none, "202"),
        ("DELETE /pools/p", &none, "409 PoolBeingDeleted"),
        ("POST /pools", &pool, "409 PoolBeingDeleted"),
        ("later", &none, ""),
        ("GET /pools/p", &none, "404 PoolNotFound"),
        ("POST /jobschedules", &json!({ "id": "s" }), "201"),
        ("POST /jobschedules", &json!({ "id": "S" }), "409 JobScheduleExists"),
        ("HEAD /jobschedules/s", &none, "200"),
        ("POST /jobschedules/s/disable", &none, "204"),
        ("GET /jobschedules/s/jobs", &none, "200"),
        ("POST /jobschedules/s/enable", &none, "204"),
        ("POST /jobschedules/s/terminate", &none, "202"),
        ("POST /jobschedules/s/terminate", &none, "409 JobScheduleBeingTerminated"),
        ("later", &none, ""),
        ("POST /jobschedules/s/terminate", &none, "409 JobScheduleCompleted"),
        ("DELETE /jobschedules/s", &none, "202"),
        ("DELETE /jobschedules/s", &none, "409 JobScheduleBeingDeleted"),
        ("GET /nonsense", &none, "404 ResourceNotFound"),
        ("GET /applications", &none, "400 InvalidInput"),
        ("GET /jobs?api-version=", &none, "400 MissingRequiredQueryParameter"),
        ("GET /jobs?maxresults=1001", &none, "400 InvalidQueryParameterValue"),
    ] {
        if call == "later" {
            bench.later();
        } else {
            assert_eq!(bench.told(call, body), want, "{call}");
        }
    }
}

/// Pages have no gap and no repetition, and the link holds what the client had asked.
#[test]
fn pages_are_linked_absolutely() {
    let mut bench = Bench::new("");
    bench.told("POST /jobs", &json!({ "id": "j" }));
    for hundred in 0..3 {
        assert_eq!(bench.told("POST /jobs/j/addtaskcollection", &tasks(hundred * 100..hundred * 100 + 100)), "200");
    }
    let prefix = "https://demo.simulated.batch.azure.com";
    let mut link = format!("{prefix}/jobs/j/tasks?maxresults=70&%24select=id");
    let mut seen = Vec::new();
    let mut sizes = Vec::new();
    loop {
        let page = bench.json(&format!("GET {}", link.strip_prefix(prefix).unwrap()));
        let value = page["value"].as_array().unwrap();
        sizes.push(value.len());
        seen.extend(value.iter().map(|task| task["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["odata.nextLink"].as_str() else { break };
        assert!(next.contains("maxresults=70&$select=id&api-version=1&$skiptoken="), "{next}");
        link = next.to_owned();
    }
    assert_eq!(sizes, [70, 70, 70, 70, 20]);
    assert_eq!(seen, (0..300).map(|n| format!("t{n:03}")).collect::<Vec<_>>());
}

/// The second time each task is refused by itself, and nothing was done twice.
#[test]
fn a_repeated_collection_makes_no_task_twice() {
    let mut bench = Bench::new("");
    bench.told("POST /jobs", &json!({ "id": "j" }));
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let answer = bench.answer("POST /jobs/j/addtaskcollection", &[("client-request-id", "c")], &tasks(0..2));
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        for item in body["value"].as_array().unwrap() {
            statuses.push((item["status"].clone(), item["error"]["code"].clone()));
        }
    }
    let (made, refused) = ((json!("success"), Value::Null), (json!("clienterror"), json!("TaskExists")));
    assert_eq!(statuses, [made.clone(), made, refused.clone(), refused]);
    let ledger = bench.front.ledger(bench.now);
    assert_eq!((ledger.tasks_made(), ledger.tasks_doubled(), ledger.executed_twice.len()), (2, 0, 0));
    assert_eq!(bench.told("POST /jobs/j/addtaskcollection", &tasks(0..101)), "400 InvalidRequestBody");
}

/// A task that is deleted and made again was made twice; a reboot that the same call repeats is a second one.
#[test]
fn the_ledger_knows_what_was_done_twice() {
    let mut bench = Bench::new("");
    bench.told("POST /jobs", &json!({ "id": "J" }));
    bench.told("POST /pools", &json!({ "id": "p", "targetDedicatedNodes": 1 }));
    for _ in 0..2 {
        bench.told("POST /jobs/j/tasks", &json!({ "id": "a" }));
        bench.told("DELETE /jobs/j/tasks/a", &Value::Null);
        bench.answer("POST /pools/p/nodes/tvmps_00000001_d/reboot", &[("client-request-id", "r")], &Value::Null);
        bench.later();
    }
    let ledger = bench.front.ledger(bench.now);
    assert_eq!(ledger.tasks["j"]["a"], 2);
    assert_eq!(ledger.executed_twice.get("Nodes_RebootNode"), Some(&1));
    assert_eq!(ledger.asked_again, ledger.executed_twice);
    bench.answer("POST /pools/p/nodes/tvmps_00000001_d/reboot", &[("client-request-id", "r")], &Value::Null);
    bench.answer("POST /pools/p/nodes/tvmps_00000001_d/reboot", &[("client-request-id", "r")], &Value::Null);
    let ledger = bench.front.ledger(bench.now);
    assert_eq!(ledger.executed_twice["Nodes_RebootNode"], 2, "the second was refused: the node was rebooting");
    assert_eq!(ledger.asked_again["Nodes_RebootNode"], 3, "it was asked again all the same");
    assert_eq!(ledger.jobs["J"], "active");
}

/// ETags change with writes, are compared in conditions and sent with a read.
#[test]
fn a_write_on_a_condition_that_fails_is_refused() {
    let mut bench = Bench::new("");
    bench.told("POST /jobs", &json!({ "id": "j" }));
    let etag = |answer: &Answer| answer.headers["etag"].to_str().unwrap().to_owned();
    let first = etag(&bench.answer("GET /jobs/j", &[], &Value::Null));
    let patch = json!({ "priority": 1 });
    for (if_match, want) in
        [("0x0", "412 ConditionNotMet"), (first.as_str(), "200"), (first.as_str(), "412 ConditionNotMet"), ("*", "200")]
    {
        assert_eq!(told(&bench.answer("PATCH /jobs/j", &[("if-match", if_match)], &patch)), want, "{if_match}");
    }
    let now = etag(&bench.answer("GET /jobs/j", &[], &Value::Null));
    assert_ne!(now, first);
    let unchanged = bench.answer("GET /jobs/j", &[("if-none-match", &now)], &Value::Null);
    assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0));
}

/// Success is chunked and errors have a length; both have the headers that Batch sends.
#[test]
fn answers_have_the_shape_of_the_service() {
    let mut bench = Bench::new("");
    let made = bench.answer(
        "POST /jobs",
        &[("client-request-id", "c"), ("return-client-request-id", "True")],
        &json!({ "id": "j" }),
    );
    assert_eq!(made.framing, Framing::Chunked);
    assert_eq!(made.headers["dataserviceid"], "https://demo.simulated.batch.azure.com/jobs/j");
    assert_eq!(made.headers["client-request-id"], "c");
    assert!(made.headers.contains_key("last-modified") && made.headers.contains_key("etag"));
    let refused = bench.answer("GET /jobs/x", &[], &Value::Null);
    assert_eq!(refused.framing, Framing::Sized);
    let body: Value = serde_json::from_slice(&refused.body).unwrap();
    let message = body["message"]["value"].as_str().unwrap();
    let id = refused.headers["request-id"].to_str().unwrap();
    assert!(message.contains(&format!("\nRequestId:{id}\nTime:2027-")), "{message}");
    assert_eq!(bench.json("GET /jobs/j")["state"], "active");
    let with_port = bench.answer("GET /jobs/j", &[("host", "demo.simulated.batch.azure.com:4443")], &Value::Null);
    let body: Value = serde_json::from_slice(&with_port.body).unwrap();
    assert_eq!(body["url"], "https://demo.simulated.batch.azure.com:4443/jobs/j");
}

/// What is refused or reset before the work leaves no trace, what is lost after it does.
#[test]
fn a_fault_before_the_work_leaves_none() {
    for (fault, made) in [
        ("kind='refuse'\nstatus=503\nretry_after='2s'", 0),
        ("kind='reset-before-work'", 0),
        ("kind='stall'\nhold='1s'", 0),
        ("kind='throttle'\nfor='1s'", 0),
        ("kind='refuse-after-work'\nstatus=429\nretry_after='2s'", 2),
        ("kind='reset-after-work'", 2),
        ("kind='truncate'", 2),
    ] {
        let mut bench = Bench::new(&format!("[[fault]]\non=['Tasks_CreateTaskCollection']\nevery=1\n{fault}"));
        bench.told("POST /jobs", &json!({ "id": "j" }));
        let reaction = bench.react("POST /jobs/j/addtaskcollection", &[], &tasks(0..2));
        assert_eq!(bench.front.ledger(bench.now).tasks_made(), made, "{fault}");
        let ledger = bench.front.ledger(bench.now);
        assert_eq!((ledger.faults_dealt(), ledger.answers_lost()), (1, u64::from(made > 0)), "{fault}");
        if let Reaction::Answer(answer) = reaction {
            assert!(answer.headers.contains_key("retry-after"), "{fault}");
        }
    }
}

/// What the `[account]` of a scenario says, told by the clock.
#[test]
fn an_account_may_be_slow_to_delete_slow_to_show_and_short_of_quota() {
    let none = Value::Null;
    let job = |id: &str| json!({ "id": id, "poolInfo": { "poolId": "p" } });
    let wait = |bench: &mut Bench, millis| bench.now += Duration::from_millis(millis);

    let mut bench = Bench::new("[account]\ndeletion='5s'");
    assert_eq!(bench.told("POST /jobs", &job("j")), "201");
    assert_eq!(bench.told("DELETE /jobs/j", &none), "202");
    wait(&mut bench, 4999);
    assert_eq!(bench.told("POST /jobs", &job("j")), "409 JobBeingDeleted");
    wait(&mut bench, 1);
    assert_eq!(bench.told("POST /jobs", &job("j")), "201");

    let mut bench = Bench::new("[account]\nread_lag='1s'");
    for (create, get, code) in [
        ("/pools", "/pools/j", "PoolNotFound"),
        ("/jobs", "/jobs/j", "JobNotFound"),
        ("/jobs/j/tasks", "/jobs/j/tasks/j", "TaskNotFound"),
        ("/jobschedules", "/jobschedules/j", "JobScheduleNotFound"),
    ] {
        assert_eq!(bench.told(&format!("POST {create}"), &job("j")), "201");
        wait(&mut bench, 999);
        assert_eq!(bench.told(&format!("GET {get}"), &none), format!("404 {code}"));
        wait(&mut bench, 1);
        assert_eq!(bench.told(&format!("GET {get}"), &none), "200");
    }

    let mut bench = Bench::new("[account]\njobs=2\npools=1\noccupied='3s'");
    assert_eq!(bench.told("POST /jobs", &job("a")), "409 ActiveJobAndScheduleQuotaReached");
    assert_eq!(bench.told("POST /pools", &job("a")), "409 PoolQuotaReached");
    wait(&mut bench, 3000);
    assert_eq!(bench.told("POST /pools", &job("a")), "201");
    assert_eq!(bench.told("POST /pools", &job("b")), "409 PoolQuotaReached");
    assert_eq!(bench.told("POST /jobs", &job("a")), "201");
    assert_eq!(bench.told("POST /jobschedules", &job("s")), "201");
    assert_eq!(bench.told("POST /jobs", &job("b")), "409 ActiveJobAndScheduleQuotaReached");
    assert_eq!(bench.told("POST /jobs/a/terminate", &none), "202");
    bench.later();
    assert_eq!(bench.told("POST /jobs", &job("b")), "201", "a completed job is not active");
}

#[test]
fn a_slow_answer_is_whole_and_its_work_done() {
    let mut bench = Bench::new("[[fault]]\nkind='slow'\non=['creates']\nevery=1\nhold='7s'");
    let job = json!({ "id": "j", "poolInfo": { "poolId": "p" } });
    let Reaction::Late(answer, hold) = bench.react("POST /jobs", &[], &job) else { panic!("not late") };
    assert_eq!((told(&answer), hold), ("201".to_owned(), Duration::from_secs(7)));
    assert_eq!(bench.told("GET /jobs/j", &Value::Null), "200");
}
