use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A path for a template, with `id` in every place where any id may stand.
fn example(operation: &Operation, id: &str) -> String {
    let mut path = String::new();
    let mut rest = operation.path;
    while let Some((before, after)) = rest.split_once('{') {
        let (parameter, after) = after.split_once('}').unwrap();
        path += before;
        path += match parameter {
            "fileName" => "wd/logs/stdout.txt",
            "filePath" => "wd%2Fstdout.txt",
            "thumbprint" => "0123456789abcdefABCDEF0123456789abcdef01",
            "thumbprintAlgorithm" => "sha1",
            _ => id,
        };
        rest = after;
    }
    path + rest
}

fn method(verb: Verb) -> Method {
    verb.as_str().parse().unwrap()
}

fn name_of(method: Method, path: &str) -> Option<&'static str> {
    OperationTable::find(&method, path).map(|operation| operation.name)
}

#[test]
fn every_row_is_found_by_its_own_path_whatever_its_ids_look_like() {
    for id in
        ["job1", "a", "-_.", "job%20A:x", "jobs", "tasks", "files", "nodes", "job%2Fx", "tvm-1_1-20160101t000000z", "é"]
    {
        for operation in OperationTable::all() {
            let path = example(operation, id);
            assert_eq!(OperationTable::find(&method(operation.method), &path), Some(operation), "{path}");
        }
    }
}

/// Every row is asked, also those of other resources, so that no path depends on the order of the rows.
#[test]
fn no_path_is_claimed_by_two_rows() {
    for operation in OperationTable::all() {
        let path = example(operation, "id1");
        let cut = Path::of(&path).unwrap();
        let rows = table::GROUPS.iter().copied().flatten();
        let claims: Vec<_> = rows.filter(|row| row.matches(operation.method, &cut)).map(|row| row.operation.name).collect();
        assert_eq!(claims, [operation.name], "{path}");
    }
}

#[test]
fn the_table_holds_72_current_10_retired_and_6_legacy_rows_with_distinct_names() {
    let count = |era| OperationTable::all().filter(|operation| operation.era == era).count();
    assert_eq!((count(Era::Current), count(Era::Retired), count(Era::LegacyPath)), (72, 10, 6));
    let names: BTreeSet<_> = OperationTable::all().map(|operation| operation.name).collect();
    assert_eq!(names.len(), 88);
}

#[test]
fn each_post_has_the_idempotency_its_effect_has() {
    let want = BTreeMap::from([
        ("Certificates_CancelCertificateDeletion", Idempotency::Idempotent),
        ("Certificates_CreateCertificate", Idempotency::Idempotent),
        ("JobSchedules_CreateJobSchedule", Idempotency::Idempotent),
        ("JobSchedules_DisableJobSchedule", Idempotency::Idempotent),
        ("JobSchedules_EnableJobSchedule", Idempotency::Idempotent),
        ("JobSchedules_TerminateJobSchedule", Idempotency::Idempotent),
        ("Jobs_CreateJob", Idempotency::Idempotent),
        ("Jobs_DisableJob", Idempotency::Idempotent),
        ("Jobs_EnableJob", Idempotency::Idempotent),
        ("Jobs_TerminateJob", Idempotency::Idempotent),
        ("Nodes_CreateNodeUser", Idempotency::Idempotent),
        ("Nodes_DeallocateNode", Idempotency::Idempotent),
        ("Nodes_DisableNodeScheduling", Idempotency::Idempotent),
        ("Nodes_EnableNodeScheduling", Idempotency::Idempotent),
        ("Nodes_RebootNode", Idempotency::NonIdempotent),
        ("Nodes_ReimageNode", Idempotency::NonIdempotent),
        ("Nodes_StartNode", Idempotency::Idempotent),
        ("Nodes_UploadNodeLogs", Idempotency::NonIdempotent),
        ("Pool_UpgradeOS", Idempotency::Idempotent),
        ("Pools_CreatePool", Idempotency::Idempotent),
        ("Pools_DisablePoolAutoScale", Idempotency::Idempotent),
        ("Pools_EnablePoolAutoScale", Idempotency::Idempotent),
        ("Pools_EvaluatePoolAutoScale", Idempotency::Safe),
        ("Pools_RemoveNodes", Idempotency::Idempotent),
        ("Pools_ReplacePoolProperties", Idempotency::Idempotent),
        ("Pools_ResizePool", Idempotency::Idempotent),
        ("Pools_StopPoolResize", Idempotency::Idempotent),
        ("Tasks_CreateTask", Idempotency::Idempotent),
        ("Tasks_CreateTaskCollection", Idempotency::Idempotent),
        ("Tasks_ReactivateTask", Idempotency::NonIdempotent),
        ("Tasks_TerminateTask", Idempotency::Idempotent),
    ]);
    let posts = OperationTable::all().filter(|operation| operation.method == Verb::Post);
    let got: BTreeMap<_, _> = posts.map(|operation| (operation.name, operation.idempotency)).collect();
    assert_eq!(got, want);
}

#[test]
fn a_row_that_is_no_post_has_the_idempotency_of_its_method() {
    for operation in OperationTable::all().filter(|operation| operation.method != Verb::Post) {
        let want = match operation.method {
            // Batch's PATCH replaces the properties it names.
            Verb::Patch => Idempotency::Idempotent,
            verb => Idempotency::of_method(&method(verb)),
        };
        assert_eq!(operation.idempotency, want, "{}", operation.name);
    }
}

#[test]
fn only_enabling_autoscale_asks_for_an_interval() {
    let asking: Vec<_> =
        OperationTable::all().filter(|o| !o.min_interval.is_zero()).map(|o| (o.name, o.min_interval)).collect();
    assert_eq!(asking, [("Pools_EnablePoolAutoScale", Duration::from_secs(30))]);
}

#[test]
fn kinds_pick_out_creates_deletes_and_file_reads() {
    let of_kind = |kind| OperationTable::all().filter(|o| o.kind == kind).map(|o| o.name).collect::<BTreeSet<_>>();
    let creates = [
        "Certificates_CreateCertificate",
        "JobSchedules_CreateJobSchedule",
        "Jobs_CreateJob",
        "Nodes_CreateNodeUser",
        "Pools_CreatePool",
        "Tasks_CreateTask",
    ];
    let file_reads = [
        "ComputeNode_GetRemoteDesktop",
        "File_GetFromComputeNode",
        "File_GetFromTask",
        "Nodes_GetNodeFile",
        "Tasks_GetTaskFile",
    ];
    assert_eq!(of_kind(Kind::Create), creates.into());
    assert_eq!(of_kind(Kind::CreateCollection), ["Tasks_CreateTaskCollection"].into());
    assert_eq!(of_kind(Kind::FileRead), file_reads.into());
    for operation in OperationTable::all() {
        assert_eq!(operation.kind == Kind::Delete, operation.method == Verb::Delete, "{}", operation.name);
    }
}

#[test]
fn a_path_that_deviates_from_every_template_is_no_row() {
    for (method, path) in [
        (Method::DELETE, "/jobs"),
        (Method::PUT, "/pools/p"),
        (Method::HEAD, "/jobs/j"),
        (Method::GET, "/jobs/j/terminate"),
        (Method::POST, "/pools/p/nodes/n/rdp"),
        (Method::OPTIONS, "/jobs"),
        (Method::CONNECT, "/jobs"),
        (Method::from_bytes(b"get").unwrap(), "/jobs"),
        (Method::GET, ""),
        (Method::GET, "/"),
        (Method::GET, "*"),
        (Method::GET, "jobs"),
        (Method::GET, "//jobs"),
        (Method::GET, "/job"),
        (Method::GET, "/jobsx"),
        (Method::GET, "/Jobs"),
        (Method::GET, "/nodes"),
        (Method::GET, "/jobs/"),
        (Method::GET, "/jobs/j/"),
        (Method::GET, "/jobs//tasks"),
        (Method::GET, "/jobs/j/tasks//files"),
        (Method::GET, "/jobs/j/tasks/t/files/"),
        (Method::GET, "/jobs/j/tasks/t/files/wd/"),
        (Method::GET, "/jobs/j/tasks/t/files/wd//stdout.txt"),
        (Method::GET, "/jobs/j/tasks/t/file/wd/stdout.txt"),
        (Method::GET, "/jobs/j/tasks/t/subtasksinfo/x/y"),
        (Method::GET, "/jobs/j/tasks?maxresults=1"),
        (Method::GET, "/pools/p/nodes/n/extensions/e/x"),
        (Method::GET, "/jobschedules/s/jobs/j"),
        (Method::POST, "/jobs/j/tasks/t/Reactivate"),
        (Method::POST, "/jobs/j/tasks/t/%72eactivate"),
        (Method::POST, "/jobs/j/terminate/"),
        (Method::POST, "/jobs/j/addtaskcollection/x"),
        (Method::POST, "/pools/p/nodes/n/reboot/"),
        (Method::POST, "/jobs/j%2Fterminate"),
    ] {
        assert_eq!(name_of(method.clone(), path), None, "{method} {path}");
    }
}

/// The file path is one segment in the current API; raw slashes are how the first one sent it.
#[test]
fn raw_slashes_in_a_file_name_make_it_the_legacy_operation() {
    for (file, legacy) in [
        ("stdout.txt", false),
        ("wd%2Fstdout.txt", false),
        ("wd%2fout%20put.txt", false),
        ("wd%5Cstdout.txt", false),
        ("startup%2Fwd%5Ca+b@c.txt", false),
        ("wd/stdout.txt", true),
        ("a/b/c/d/e/f", true),
        ("wd%2Fa/b", true),
    ] {
        for (method, of_task, of_task_legacy, of_node, of_node_legacy) in [
            (Method::GET, "Tasks_GetTaskFile", "File_GetFromTask", "Nodes_GetNodeFile", "File_GetFromComputeNode"),
            (
                Method::HEAD,
                "Tasks_GetTaskFileProperties",
                "File_GetNodeFilePropertiesFromTask",
                "Nodes_GetNodeFileProperties",
                "File_GetNodeFilePropertiesFromComputeNode",
            ),
            (
                Method::DELETE,
                "Tasks_DeleteTaskFile",
                "File_DeleteFromTask",
                "Nodes_DeleteNodeFile",
                "File_DeleteFromComputeNode",
            ),
        ] {
            let pick = |new, old| Some(if legacy { old } else { new });
            let task_file = name_of(method.clone(), &format!("/jobs/j/tasks/t/files/{file}"));
            assert_eq!(task_file, pick(of_task, of_task_legacy), "{method} {file}");
            let node_file = name_of(method.clone(), &format!("/pools/p/nodes/n/files/{file}"));
            assert_eq!(node_file, pick(of_node, of_node_legacy), "{method} {file}");
        }
    }
}

#[test]
fn a_certificate_is_recognised_with_plain_and_with_encoded_punctuation() {
    for segment in [
        "certificates(thumbprintAlgorithm=sha1,thumbprint=abc)",
        "certificates%28thumbprintAlgorithm%3Dsha1%2Cthumbprint%3Dabc%29",
        "certificates%28thumbprintAlgorithm%3dsha1%2cthumbprint%3dabc%29",
        "certificates(thumbprintAlgorithm=sha1%2Cthumbprint=abc)",
    ] {
        let path = format!("/{segment}");
        assert_eq!(name_of(Method::GET, &path), Some("Certificates_GetCertificate"), "{path}");
        assert_eq!(name_of(Method::DELETE, &path), Some("Certificates_DeleteCertificate"), "{path}");
        let path = format!("/{segment}/canceldelete");
        assert_eq!(name_of(Method::POST, &path), Some("Certificates_CancelCertificateDeletion"), "{path}");
    }
    for segment in [
        "certificates(",
        "certificates()",
        "certificates%",
        "certificates%2",
        "certificates%2é",
        "certificates(thumbprintAlgorithm=sha1)",
        "certificates(thumbprintAlgorithm=,thumbprint=abc)",
        "certificates(thumbprintAlgorithm=sha1,thumbprint=)",
        "certificates(thumbprintAlgorithm=sha1,thumbprint=abc",
        "certificates(thumbprintAlgorithm=sha1,thumbprint=abc)x",
        "certificates(thumbprintAlgorithm=sha1,thumbprint=abc)%29",
        "certificates(thumbprint=abc,thumbprintAlgorithm=sha1)",
        "certificates(ThumbprintAlgorithm=sha1,thumbprint=abc)",
        "certificates[thumbprintAlgorithm=sha1,thumbprint=abc]",
        "xcertificates(thumbprintAlgorithm=sha1,thumbprint=abc)",
    ] {
        assert_eq!(name_of(Method::GET, &format!("/{segment}")), None, "{segment}");
        assert_eq!(name_of(Method::POST, &format!("/{segment}/canceldelete")), None, "{segment}");
    }
}

#[test]
fn a_request_that_matches_no_row_is_judged_by_its_method() {
    for (method, want) in [
        (Method::GET, Idempotency::Safe),
        (Method::HEAD, Idempotency::Safe),
        (Method::OPTIONS, Idempotency::Safe),
        (Method::TRACE, Idempotency::Safe),
        (Method::DELETE, Idempotency::Idempotent),
        (Method::PUT, Idempotency::Idempotent),
        (Method::CONNECT, Idempotency::NonIdempotent),
        (Method::PATCH, Idempotency::NonIdempotent),
        (Method::POST, Idempotency::NonIdempotent),
        (Method::from_bytes(b"MERGE").unwrap(), Idempotency::NonIdempotent),
        (Method::from_bytes(b"get").unwrap(), Idempotency::NonIdempotent),
    ] {
        assert_eq!(Idempotency::of_method(&method), want, "{method}");
    }
}

#[test]
fn a_verb_and_its_method_name_each_other() {
    for verb in [Verb::Delete, Verb::Get, Verb::Head, Verb::Patch, Verb::Post, Verb::Put] {
        assert_eq!(Verb::of(&method(verb)), Some(verb));
    }
    assert_eq!(Verb::of(&Method::OPTIONS), None);
}

proptest! {
    /// Four operations must not run twice: however the parents are spelled, none may be taken for another operation.
    #[test]
    fn a_post_to_an_action_that_must_not_run_twice_is_never_found_as_repeatable(
        parents in "(/(pools|p|nodes|n|jobs|j|tasks|t|files|\\.\\.|%2F|)){0,6}",
        action in "reboot|reimage|reactivate|uploadbatchservicelogs"
    ) {
        let path = format!("{parents}/{action}");
        let found = OperationTable::find(&Method::POST, &path);
        prop_assert!(found.is_none_or(|operation| operation.idempotency == Idempotency::NonIdempotent), "{path} {found:?}");
    }

    #[test]
    fn any_text_can_be_looked_up(path in "[/certifas()=%,2-9é]{0,40}|\\PC*") {
        for verb in [Method::GET, Method::POST, Method::DELETE] {
            OperationTable::find(&verb, &path);
        }
    }
}

#[test]
fn the_era_says_of_a_version_what_the_table_knows_and_no_more() {
    for (era, version, want) in [
        (Era::Current, "2025-06-01", Presence::Present),
        (Era::Current, "2024-07-01.20.0", Presence::Unknown),
        (Era::Current, "2026-10-01", Presence::Unknown),
        (Era::Retired, "2024-07-01.20.0", Presence::Unknown),
        (Era::Retired, "2025-06-01", Presence::Absent),
        (Era::Retired, "2026-10-01", Presence::Absent),
        (Era::LegacyPath, "2016-07-01.3.1", Presence::Present),
        (Era::LegacyPath, "2017-01-01.4.0", Presence::Absent),
        (Era::LegacyPath, "2025-06-01", Presence::Absent),
    ] {
        assert_eq!(era.presence_in(version), want, "{era:?} {version}");
    }
}
