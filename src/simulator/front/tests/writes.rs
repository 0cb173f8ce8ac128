//! What the account keeps of writes: nodes that change, properties that are selected, and the register of what was made and deleted.

use super::*;

/// What is done to a node, and what its state forbids.
#[test]
fn a_node_has_a_scheduling_state_and_users() {
    let mut bench = Bench::new("");
    let (none, user) = (Value::Null, json!({ "name": "Eve", "password": "p" }));
    bench.told("POST /pools", &json!({ "id": "p", "targetDedicatedNodes": 2 }));
    let node = "/pools/p/nodes/tvmps_00000001_d";
    for (method, action, body, want) in [
        ("POST", "/enablescheduling", &none, "409 NodeAlreadyInTargetSchedulingState"),
        ("POST", "/disablescheduling", &json!({ "nodeDisableSchedulingOption": "requeue" }), "200"),
        ("POST", "/disablescheduling", &none, "409 NodeAlreadyInTargetSchedulingState"),
        ("PUT", "/users/eve", &json!({ "password": "q" }), "404 NodeUserNotFound"),
        ("POST", "/users", &json!({ "password": "p" }), "400 MissingRequiredProperty"),
        ("POST", "/users", &user, "201"),
        ("POST", "/users", &user, "409 NodeUserExists"),
        ("PUT", "/users/eve", &json!({ "password": "q" }), "200"),
        ("DELETE", "/users/Eve", &none, "200"),
        ("DELETE", "/users/Eve", &none, "404 NodeUserNotFound"),
        ("POST", "/users", &user, "201"),
    ] {
        assert_eq!(bench.told(&format!("{method} {node}{action}"), body), want, "{method} {action}");
    }
    assert_eq!(bench.json(&format!("GET {node}"))["schedulingState"], "disabled");
    assert_eq!(bench.told("POST /pools/p/nodes/tvmps_00000002_d/users", &user), "201");
    assert_eq!(bench.told("POST /pools/p/nodes/tvmps_00000003_d/users", &user), "404 NodeNotFound");

    bench.later();
    bench.told("POST /pools/p/resize", &json!({ "targetDedicatedNodes": 1 }));
    let state = |bench: &Bench, node: &str| {
        let path = format!("/pools/p/nodes/tvmps_0000000{node}_d/users/eve");
        bench.front.ledger(bench.now).lives[&path].state.clone()
    };
    assert_eq!((state(&bench, "1").as_deref(), state(&bench, "2")), (Some("present"), None));
    bench.told("DELETE /pools/p", &none);
    bench.later();
    bench.told("POST /pools", &json!({ "id": "p", "targetDedicatedNodes": 2 }));
    assert_eq!((state(&bench, "1"), state(&bench, "2")), (None, None));
}

/// Who looks only whether a thing is the one it made asks for no more than that.
#[test]
fn only_selected_properties_are_shown() {
    let mut bench = Bench::new("");
    bench.told("POST /jobs", &json!({ "id": "j", "priority": 3 }));
    bench.told("POST /jobs/j/tasks", &json!({ "id": "t" }));
    bench.told("POST /pools", &json!({ "id": "p" }));
    bench.told("POST /jobschedules", &json!({ "id": "s" }));
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    for target in ["/jobs/j", "/jobs/j/tasks/t", "/pools/p", "/jobschedules/s"] {
        let found = bench.json(&format!("GET {target}?$select=id,%20creationTime"));
        assert_eq!(names(&found), "creationTime id odata.metadata", "{target}");
    }
    for target in ["/jobs", "/jobs/j/tasks", "/pools", "/jobschedules"] {
        let found = bench.json(&format!("GET {target}?$select=id,creationTime"));
        assert_eq!(names(&found["value"][0]), "creationTime id", "{target}");
    }
}

/// What a test compares with what it asked for: counts, who deleted, and the state at any time.
#[test]
fn the_register_knows_what_was_made_and_who_deleted_it() {
    let mut bench = Bench::new("");
    let delete = |bench: &mut Bench, target: &str, id: &str| {
        bench.answer(&format!("DELETE {target}"), &[("client-request-id", id)], &Value::Null);
    };
    bench.told("POST /jobs", &json!({ "id": "J" }));
    for id in ["one", "two"] {
        bench.told("POST /jobs/j/tasks", &json!({ "id": "T" }));
        delete(&mut bench, "/jobs/j/tasks/t/files/wd%2Fresult.txt", id);
        delete(&mut bench, "/jobs/j/tasks/t", id);
        delete(&mut bench, "/jobs/j/tasks/t", "in vain");
    }
    bench.told("POST /jobs/j/addtaskcollection", &tasks(0..2));
    bench.told("POST /jobschedules", &json!({ "id": "s" }));
    delete(&mut bench, "/jobschedules/s", "three");

    let now = bench.front.ledger(bench.now).lives;
    let two = ["one".to_owned(), "two".to_owned()];
    let (task, file) = (&now["/jobs/j/tasks/t"], &now["/jobs/j/tasks/t/files/wd/result.txt"]);
    assert_eq!((task.made, &task.deleted_by[..], task.state.as_deref()), (2, &two[..], None));
    assert_eq!((file.made, &file.deleted_by[..]), (0, &two[..]));
    let states = |lives: &std::collections::BTreeMap<String, crate::simulator::Life>| {
        ["/jobs/j", "/jobs/j/tasks/t000", "/jobschedules/s"].map(|path| lives[path].state.clone().unwrap_or_default())
    };
    assert_eq!(states(&now), ["active", "active", "deleting"]);
    let later = bench.front.ledger(bench.now + Duration::from_secs(3)).lives;
    assert_eq!(states(&later), ["active", "completed", ""]);

    delete(&mut bench, "/jobs/j", "four");
    bench.later();
    let gone = bench.front.ledger(bench.now).lives;
    assert_eq!(states(&gone), ["", "", ""]);
    assert_eq!(
        (&gone["/jobs/j"].deleted_by[..], gone["/jobs/j/tasks/t000"].deleted_by.len()),
        (&["four".to_owned()][..], 0)
    );
}
