//! Echoes: answers to a replay that may speak of an earlier send of the same request.
//!
//! A create that landed although its answer was lost is refused as existing when it is sent again, a delete as not found. What such an
//! answer proves depends on the operation, so it stands in a table. Only the codes that the operation's own success leads to are in it:
//! everything else an operation may be refused with is a refusal like any other. Whether there was an earlier send, and what is made of
//! its echo, is for [`crate::retry`] to say.
//!
//! Sources: the operation texts of the Batch TypeSpec, "Batch Status and Error Codes", and the integration tests of the SDKs. Which call
//! returns which code is inferred for some rows that are only [`Echo::Ambiguous`]; no live account was asked.

use http::StatusCode;

use super::operation::Operation;

/// What an answer to a replay may say about an earlier send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// The earlier send may be what it speaks of, and so may something else.
    Ambiguous,
    /// What was to be made is there: the earlier send made it, or someone else did before.
    Exists,
    /// The end that the operation wants is reached, whoever brought it about.
    Reached,
}

/// What an operation may meet once it has landed.
#[derive(Debug)]
struct Row {
    /// Its name in the operation table.
    operation: &'static str,
    /// The status of its success.
    success: u16,
    ambiguous: &'static [&'static str],
    exists: &'static [&'static str],
    reached: &'static [&'static str],
}

// === impl Echo ===

impl Echo {
    /// What an answer with this status and code says about an earlier send of `operation`; `None` where it says nothing.
    pub fn of(operation: &Operation, status: StatusCode, code: &str) -> Option<Self> {
        // A code is believed only with the status that it is documented with: not found is 404, all else a conflict.
        if !carries(status, code) {
            return None;
        }
        let row = row_of(operation)?;
        let is_in = |codes: &[&str]| codes.contains(&code);
        if is_in(row.reached) {
            Some(Self::Reached)
        } else if is_in(row.exists) {
            Some(Self::Exists)
        } else {
            is_in(row.ambiguous).then_some(Self::Ambiguous)
        }
    }

    /// Every code that says something about an earlier send of `operation`.
    pub fn all(operation: &Operation) -> impl Iterator<Item = (&'static str, Self)> {
        let groups = row_of(operation).map(|row| {
            [(row.reached, Self::Reached), (row.exists, Self::Exists), (row.ambiguous, Self::Ambiguous)].into_iter()
        });
        groups.into_iter().flatten().flat_map(|(codes, echo)| codes.iter().map(move |code| (*code, echo)))
    }
}

/// The status of the operation's success, where an answer can be read as that.
pub fn success(operation: &Operation) -> Option<StatusCode> {
    row_of(operation).and_then(|row| StatusCode::from_u16(row.success).ok())
}

fn row_of(operation: &Operation) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.operation == operation.name)
}

fn carries(status: StatusCode, code: &str) -> bool {
    let own = match code {
        "PoolVersionEqualsUpgradeVersion" => StatusCode::BAD_REQUEST,
        _ if code.ends_with("NotFound") => StatusCode::NOT_FOUND,
        _ => StatusCode::CONFLICT,
    };
    status == own
}

// === impl Row ===

impl Row {
    const fn new(operation: &'static str, success: u16) -> Self {
        Self { operation, success, ambiguous: &[], exists: &[], reached: &[] }
    }

    const fn ambiguous(mut self, codes: &'static [&'static str]) -> Self {
        self.ambiguous = codes;
        self
    }

    const fn exists(mut self, codes: &'static [&'static str]) -> Self {
        self.exists = codes;
        self
    }

    const fn reached(mut self, codes: &'static [&'static str]) -> Self {
        self.reached = codes;
        self
    }
}

/// A delete is proved by the absence of its own resource alone: a job that is gone or going proves nothing about the deletion of its task.
/// Resizes, removals of nodes and what comes back to where it began (reboot, reimage, reactivate) are never proved: another client's
/// doing looks the same, or a second execution would be one more.
static ROWS: &[Row] = &[
    Row::new("Certificates_CancelCertificateDeletion", 204).reached(&["CertificateStateActive"]),
    Row::new("Certificates_CreateCertificate", 201).exists(&["CertificateExists"]),
    Row::new("Certificates_DeleteCertificate", 202).reached(&["CertificateBeingDeleted", "CertificateNotFound"]),
    Row::new("File_DeleteFromComputeNode", 200).reached(&["FileNotFound"]),
    Row::new("File_DeleteFromTask", 200).reached(&["FileNotFound"]).ambiguous(&["TaskFilesCleanedup"]),
    Row::new("JobSchedules_CreateJobSchedule", 201)
        .exists(&["JobScheduleExists"])
        .ambiguous(&["ActiveJobAndScheduleQuotaReached"]),
    Row::new("JobSchedules_DeleteJobSchedule", 202).reached(&["JobScheduleBeingDeleted", "JobScheduleNotFound"]),
    Row::new("JobSchedules_DisableJobSchedule", 204).ambiguous(&["JobScheduleDisabled"]),
    Row::new("JobSchedules_EnableJobSchedule", 204).ambiguous(&["OperationInvalidForCurrentState"]),
    Row::new("JobSchedules_TerminateJobSchedule", 202)
        .reached(&["JobScheduleBeingTerminated", "JobScheduleCompleted"])
        .ambiguous(&["JobScheduleBeingDeleted"]),
    Row::new("Jobs_CreateJob", 201).exists(&["JobExists"]).ambiguous(&["ActiveJobAndScheduleQuotaReached"]),
    Row::new("Jobs_DeleteJob", 202).reached(&["JobBeingDeleted", "JobNotFound"]),
    Row::new("Jobs_EnableJob", 202).ambiguous(&["OperationInvalidForCurrentState"]),
    Row::new("Jobs_TerminateJob", 202)
        .reached(&["JobBeingTerminated", "JobCompleted"])
        .ambiguous(&["JobBeingDeleted", "JobNotFound"]),
    Row::new("Jobs_UpdateJob", 200).ambiguous(&["JobCompleted"]),
    Row::new("Nodes_CreateNodeUser", 201).exists(&["NodeUserExists"]),
    Row::new("Nodes_DeallocateNode", 202).ambiguous(&["OperationInvalidForCurrentState", "OperationNotValidOnNode"]),
    Row::new("Nodes_DeleteNodeFile", 200).reached(&["FileNotFound"]),
    Row::new("Nodes_DeleteNodeUser", 200).reached(&["NodeUserNotFound"]),
    Row::new("Nodes_DisableNodeScheduling", 200).reached(&["NodeAlreadyInTargetSchedulingState"]),
    Row::new("Nodes_EnableNodeScheduling", 200).reached(&["NodeAlreadyInTargetSchedulingState"]),
    Row::new("Nodes_RebootNode", 202).ambiguous(&["NodeBeingRebooted", "NodeBeingStarted"]),
    Row::new("Nodes_ReimageNode", 202).ambiguous(&["NodeBeingReimaged", "NodeBeingStarted"]),
    Row::new("Nodes_StartNode", 202).ambiguous(&["NodeBeingStarted", "OperationNotValidOnNode"]),
    Row::new("Pool_UpgradeOS", 202).ambiguous(&["PoolVersionEqualsUpgradeVersion"]),
    Row::new("Pools_CreatePool", 201).exists(&["PoolExists"]).ambiguous(&["PoolQuotaReached"]),
    Row::new("Pools_DeletePool", 202).reached(&["PoolBeingDeleted", "PoolNotFound"]),
    Row::new("Pools_DisablePoolAutoScale", 200).ambiguous(&["OperationInvalidForCurrentState"]),
    Row::new("Pools_RemoveNodes", 202).ambiguous(&["NodeNotFound", "PoolBeingResized"]),
    Row::new("Pools_ResizePool", 202).ambiguous(&["PoolBeingResized"]),
    Row::new("Pools_StopPoolResize", 202).ambiguous(&["OperationInvalidForCurrentState"]),
    Row::new("Tasks_CreateTask", 201).exists(&["TaskExists"]).ambiguous(&["JobBeingTerminated", "JobCompleted"]),
    Row::new("Tasks_CreateTaskCollection", 200).ambiguous(&["JobBeingTerminated", "JobCompleted"]),
    Row::new("Tasks_DeleteTask", 200).reached(&["TaskNotFound"]),
    Row::new("Tasks_DeleteTaskFile", 200).reached(&["FileNotFound"]).ambiguous(&["TaskFilesCleanedup"]),
    Row::new("Tasks_ReactivateTask", 204).ambiguous(&["TaskNotCompleted", "TaskSucceeded"]),
    Row::new("Tasks_TerminateTask", 204).reached(&["TaskCompleted"]).ambiguous(&["TaskNotFound"]),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::batch::fault;
    use crate::batch::operation::{Idempotency, Kind, OperationTable};

    fn operation(name: &str) -> &'static Operation {
        OperationTable::all().find(|operation| operation.name == name).unwrap_or_else(|| panic!("no operation {name}"))
    }

    fn read(name: &str, status: u16, code: &str) -> Option<Echo> {
        Echo::of(operation(name), StatusCode::from_u16(status).unwrap(), code)
    }

    #[test]
    fn every_row_names_an_operation_once_and_known_codes_only() {
        let names: BTreeSet<_> = ROWS.iter().map(|row| row.operation).collect();
        assert_eq!(names.len(), ROWS.len());
        let known: BTreeSet<_> = fault::known().collect();
        for row in ROWS {
            assert_ne!(operation(row.operation).idempotency, Idempotency::Safe, "{}", row.operation);
            for (code, echo) in Echo::all(operation(row.operation)) {
                assert!(known.contains(code), "{code}");
                let statuses = [400, 404, 409].map(|status| read(row.operation, status, code));
                assert_eq!(statuses.iter().flatten().collect::<Vec<_>>(), [&echo], "{} {code}", row.operation);
            }
        }
    }

    /// The issue's own list, and no more: each operation with what proves its end.
    #[test]
    fn these_answers_and_no_others_prove_the_wanted_end() {
        let mut found = Vec::new();
        for operation in OperationTable::all() {
            let mut codes: Vec<_> =
                Echo::all(operation).filter(|(_, echo)| *echo == Echo::Reached).map(|(code, _)| code).collect();
            codes.sort_unstable();
            if !codes.is_empty() {
                found.push((operation.name, success(operation).unwrap().as_u16(), codes.join(" ")));
            }
        }
        found.sort_unstable();
        let found: Vec<_> = found.iter().map(|(name, success, codes)| (*name, *success, codes.as_str())).collect();
        assert_eq!(
            found,
            [
                ("Certificates_CancelCertificateDeletion", 204, "CertificateStateActive"),
                ("Certificates_DeleteCertificate", 202, "CertificateBeingDeleted CertificateNotFound"),
                ("File_DeleteFromComputeNode", 200, "FileNotFound"),
                ("File_DeleteFromTask", 200, "FileNotFound"),
                ("JobSchedules_DeleteJobSchedule", 202, "JobScheduleBeingDeleted JobScheduleNotFound"),
                ("JobSchedules_TerminateJobSchedule", 202, "JobScheduleBeingTerminated JobScheduleCompleted"),
                ("Jobs_DeleteJob", 202, "JobBeingDeleted JobNotFound"),
                ("Jobs_TerminateJob", 202, "JobBeingTerminated JobCompleted"),
                ("Nodes_DeleteNodeFile", 200, "FileNotFound"),
                ("Nodes_DeleteNodeUser", 200, "NodeUserNotFound"),
                ("Nodes_DisableNodeScheduling", 200, "NodeAlreadyInTargetSchedulingState"),
                ("Nodes_EnableNodeScheduling", 200, "NodeAlreadyInTargetSchedulingState"),
                ("Pools_DeletePool", 202, "PoolBeingDeleted PoolNotFound"),
                ("Tasks_DeleteTask", 200, "TaskNotFound"),
                ("Tasks_DeleteTaskFile", 200, "FileNotFound"),
                ("Tasks_TerminateTask", 204, "TaskCompleted"),
            ]
        );
    }

    #[test]
    fn every_create_and_nothing_else_can_meet_its_own_existence() {
        for operation in OperationTable::all() {
            let exists: Vec<_> = Echo::all(operation).filter(|(_, echo)| *echo == Echo::Exists).collect();
            assert_eq!(exists.len(), usize::from(operation.kind == Kind::Create), "{}", operation.name);
        }
    }

    #[test]
    fn a_code_counts_only_with_its_own_status_and_its_own_operation() {
        for (name, status, code, want) in [
            ("Jobs_DeleteJob", 404, "JobNotFound", Some(Echo::Reached)),
            ("Jobs_DeleteJob", 409, "JobNotFound", None),
            ("Jobs_DeleteJob", 409, "JobBeingDeleted", Some(Echo::Reached)),
            ("Jobs_DeleteJob", 404, "JobBeingDeleted", None),
            ("Jobs_DeleteJob", 500, "JobBeingDeleted", None),
            ("Jobs_DeleteJob", 409, "JobBeingTerminated", None),
            ("Jobs_DeleteJob", 404, "ResourceNotFound", None),
            ("Tasks_DeleteTask", 404, "JobNotFound", None),
            ("Tasks_DeleteTask", 409, "JobBeingDeleted", None),
            ("Tasks_DeleteTaskFile", 404, "TaskNotFound", None),
            ("Nodes_DeleteNodeUser", 404, "NodeNotFound", None),
            ("Jobs_CreateJob", 409, "JobExists", Some(Echo::Exists)),
            ("Jobs_CreateJob", 409, "JobScheduleWithSameIdExists", None),
            ("Jobs_CreateJob", 409, "JobBeingDeleted", None),
            ("Pools_ResizePool", 409, "PoolBeingResized", Some(Echo::Ambiguous)),
            ("Nodes_RebootNode", 409, "NodeBeingRebooted", Some(Echo::Ambiguous)),
            ("Pool_UpgradeOS", 400, "PoolVersionEqualsUpgradeVersion", Some(Echo::Ambiguous)),
            ("Jobs_GetJob", 404, "JobNotFound", None),
        ] {
            assert_eq!(read(name, status, code), want, "{name} {status} {code}");
        }
    }
}
