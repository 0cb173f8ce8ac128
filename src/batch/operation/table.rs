//! The rows of the operation table, by resource, with the choice of the resource a path belongs to.
//!
//! Why a row has its idempotency: a create names its id, so that a second one is refused as existing; an update writes the
//! same values again; an action that wants a state finds it reached. Reboot, reimage and reactivate come back to where
//! they began, and a late second one runs the node or the task again; an upload of logs stores another copy.

use std::time::Duration;

use super::path::{Path, Shape};
use super::{Era, Idempotency, Kind, Operation, Verb};

use Idempotency::{Idempotent, NonIdempotent, Safe};
use Kind::{Create, CreateCollection, FileRead, Other};
use Verb::{Delete, Get, Head, Patch, Post, Put};

/// An operation and what its paths look like.
pub(super) struct Row {
    pub(super) operation: Operation,
    shape: Shape,
}

// === impl Row ===

impl Row {
    pub(super) fn matches(&self, verb: Verb, path: &Path<'_>) -> bool {
        self.operation.method == verb && self.shape.matches(path)
    }

    const fn legacy_path(self) -> Self {
        self.of_era(Era::LegacyPath)
    }

    /// The specification asks for it in the text of the operation; the service answers an earlier call with
    /// `TooManyEnableAutoScaleRequests`.
    const fn min_interval(mut self, seconds: u64) -> Self {
        self.operation.min_interval = Duration::from_secs(seconds);
        self
    }

    const fn retired(self) -> Self {
        self.of_era(Era::Retired)
    }

    const fn of_era(mut self, era: Era) -> Self {
        self.operation.era = era;
        self.shape = Shape::of(self.operation.path, era);
        self
    }
}

/// A row of the current API that asks for no interval.
const fn row(method: Verb, path: &'static str, name: &'static str, idempotency: Idempotency, kind: Kind) -> Row {
    let era = Era::Current;
    let operation = Operation { name, method, path, idempotency, kind, min_interval: Duration::ZERO, era };
    Row { operation, shape: Shape::of(path, era) }
}

/// The only rows a path can belong to.
pub(super) fn rows_for(path: &Path<'_>) -> &'static [Row] {
    match (path.collection(), path.subcollection()) {
        ("jobs", "addtaskcollection" | "tasks") => TASKS,
        ("jobs", _) => JOBS,
        ("jobschedules", _) => JOB_SCHEDULES,
        ("pools", "nodes") => NODES,
        ("pools", _) => POOLS,
        (collection, _) if collection.starts_with("certificates") => CERTIFICATES,
        _ => ACCOUNT,
    }
}

/// All rows.
pub(super) static GROUPS: &[&[Row]] = &[ACCOUNT, CERTIFICATES, JOB_SCHEDULES, JOBS, NODES, POOLS, TASKS];

/// What belongs to the account as a whole: lists at the top level.
static ACCOUNT: &[Row] = &[
    row(Get, "/applications", "Applications_ListApplications", Safe, Other),
    row(Get, "/applications/{applicationId}", "Applications_GetApplication", Safe, Other),
    row(Get, "/lifetimejobstats", "Job_GetAllLifetimeStatistics", Safe, Other).retired(),
    row(Get, "/lifetimepoolstats", "Pool_GetAllLifetimeStatistics", Safe, Other).retired(),
    row(Get, "/nodeagentskus", "Account_ListNodeAgentSkus", Safe, Other).retired(),
    row(Get, "/nodecounts", "Pools_ListPoolNodeCounts", Safe, Other),
    row(Get, "/poolusagemetrics", "Pools_ListPoolUsageMetrics", Safe, Other),
    row(Get, "/supportedimages", "Pools_ListSupportedImages", Safe, Other),
];

/// Certificates, in the API until 2024-07-01.20.0.
static CERTIFICATES: &[Row] = &[
    row(Get, "/certificates", "Certificates_ListCertificates", Safe, Other).retired(),
    row(Post, "/certificates", "Certificates_CreateCertificate", Idempotent, Create).retired(),
    row(Get, CERTIFICATE, "Certificates_GetCertificate", Safe, Other).retired(),
    row(Delete, CERTIFICATE, "Certificates_DeleteCertificate", Idempotent, Kind::Delete).retired(),
    row(
        Post,
        "/certificates(thumbprintAlgorithm={thumbprintAlgorithm},thumbprint={thumbprint})/canceldelete",
        "Certificates_CancelCertificateDeletion",
        Idempotent,
        Other,
    )
    .retired(),
];

/// Jobs, without their tasks.
static JOBS: &[Row] = &[
    row(Get, "/jobs", "Jobs_ListJobs", Safe, Other),
    row(Post, "/jobs", "Jobs_CreateJob", Idempotent, Create),
    row(Get, "/jobs/{jobId}", "Jobs_GetJob", Safe, Other),
    row(Put, "/jobs/{jobId}", "Jobs_ReplaceJob", Idempotent, Other),
    row(Patch, "/jobs/{jobId}", "Jobs_UpdateJob", Idempotent, Other),
    row(Delete, "/jobs/{jobId}", "Jobs_DeleteJob", Idempotent, Kind::Delete),
    row(Post, "/jobs/{jobId}/disable", "Jobs_DisableJob", Idempotent, Other),
    row(Post, "/jobs/{jobId}/enable", "Jobs_EnableJob", Idempotent, Other),
    row(Get, "/jobs/{jobId}/jobpreparationandreleasetaskstatus", "Jobs_ListJobPreparationAndReleaseTaskStatus", Safe, Other),
    row(Get, "/jobs/{jobId}/taskcounts", "Jobs_GetJobTaskCounts", Safe, Other),
    row(Post, "/jobs/{jobId}/terminate", "Jobs_TerminateJob", Idempotent, Other),
];

/// Job schedules.
static JOB_SCHEDULES: &[Row] = &[
    row(Get, "/jobschedules", "JobSchedules_ListJobSchedules", Safe, Other),
    row(Post, "/jobschedules", "JobSchedules_CreateJobSchedule", Idempotent, Create),
    row(Head, "/jobschedules/{jobScheduleId}", "JobSchedules_JobScheduleExists", Safe, Other),
    row(Get, "/jobschedules/{jobScheduleId}", "JobSchedules_GetJobSchedule", Safe, Other),
    row(Put, "/jobschedules/{jobScheduleId}", "JobSchedules_ReplaceJobSchedule", Idempotent, Other),
    row(Patch, "/jobschedules/{jobScheduleId}", "JobSchedules_UpdateJobSchedule", Idempotent, Other),
    row(Delete, "/jobschedules/{jobScheduleId}", "JobSchedules_DeleteJobSchedule", Idempotent, Kind::Delete),
    row(Post, "/jobschedules/{jobScheduleId}/disable", "JobSchedules_DisableJobSchedule", Idempotent, Other),
    row(Post, "/jobschedules/{jobScheduleId}/enable", "JobSchedules_EnableJobSchedule", Idempotent, Other),
    row(Get, "/jobschedules/{jobScheduleId}/jobs", "Jobs_ListJobsFromSchedule", Safe, Other),
    row(Post, "/jobschedules/{jobScheduleId}/terminate", "JobSchedules_TerminateJobSchedule", Idempotent, Other),
];

/// Compute nodes, with their files, users and extensions.
static NODES: &[Row] = &[
    row(Get, "/pools/{poolId}/nodes", "Nodes_ListNodes", Safe, Other),
    row(Get, "/pools/{poolId}/nodes/{nodeId}", "Nodes_GetNode", Safe, Other),
    row(Post, "/pools/{poolId}/nodes/{nodeId}/deallocate", "Nodes_DeallocateNode", Idempotent, Other),
    row(Post, "/pools/{poolId}/nodes/{nodeId}/disablescheduling", "Nodes_DisableNodeScheduling", Idempotent, Other),
    row(Post, "/pools/{poolId}/nodes/{nodeId}/enablescheduling", "Nodes_EnableNodeScheduling", Idempotent, Other),
    row(Get, "/pools/{poolId}/nodes/{nodeId}/extensions", "Nodes_ListNodeExtensions", Safe, Other),
    row(Get, "/pools/{poolId}/nodes/{nodeId}/extensions/{extensionName}", "Nodes_GetNodeExtension", Safe, Other),
    row(Get, "/pools/{poolId}/nodes/{nodeId}/files", "Nodes_ListNodeFiles", Safe, Other),
    row(Head, "/pools/{poolId}/nodes/{nodeId}/files/{filePath}", "Nodes_GetNodeFileProperties", Safe, Other),
    row(Get, "/pools/{poolId}/nodes/{nodeId}/files/{filePath}", "Nodes_GetNodeFile", Safe, FileRead),
    row(Delete, "/pools/{poolId}/nodes/{nodeId}/files/{filePath}", "Nodes_DeleteNodeFile", Idempotent, Kind::Delete),
    row(Get, "/pools/{poolId}/nodes/{nodeId}/rdp", "ComputeNode_GetRemoteDesktop", Safe, FileRead).retired(),
    row(Post, "/pools/{poolId}/nodes/{nodeId}/reboot", "Nodes_RebootNode", NonIdempotent, Other),
    row(Post, "/pools/{poolId}/nodes/{nodeId}/reimage", "Nodes_ReimageNode", NonIdempotent, Other),
    row(Get, "/pools/{poolId}/nodes/{nodeId}/remoteloginsettings", "Nodes_GetNodeRemoteLoginSettings", Safe, Other),
    row(Post, "/pools/{poolId}/nodes/{nodeId}/start", "Nodes_StartNode", Idempotent, Other),
    row(Post, "/pools/{poolId}/nodes/{nodeId}/uploadbatchservicelogs", "Nodes_UploadNodeLogs", NonIdempotent, Other),
    row(Post, "/pools/{poolId}/nodes/{nodeId}/users", "Nodes_CreateNodeUser", Idempotent, Create),
    row(Put, "/pools/{poolId}/nodes/{nodeId}/users/{userName}", "Nodes_ReplaceNodeUser", Idempotent, Other),
    row(Delete, "/pools/{poolId}/nodes/{nodeId}/users/{userName}", "Nodes_DeleteNodeUser", Idempotent, Kind::Delete),
    row(Head, "/pools/{poolId}/nodes/{nodeId}/files/{fileName}", "File_GetNodeFilePropertiesFromComputeNode", Safe, Other)
        .legacy_path(),
    row(Get, "/pools/{poolId}/nodes/{nodeId}/files/{fileName}", "File_GetFromComputeNode", Safe, FileRead).legacy_path(),
    row(Delete, "/pools/{poolId}/nodes/{nodeId}/files/{fileName}", "File_DeleteFromComputeNode", Idempotent, Kind::Delete)
        .legacy_path(),
];

/// Pools, without their nodes.
static POOLS: &[Row] = &[
    row(Get, "/pools", "Pools_ListPools", Safe, Other),
    row(Post, "/pools", "Pools_CreatePool", Idempotent, Create),
    row(Head, "/pools/{poolId}", "Pools_PoolExists", Safe, Other),
    row(Get, "/pools/{poolId}", "Pools_GetPool", Safe, Other),
    row(Patch, "/pools/{poolId}", "Pools_UpdatePool", Idempotent, Other),
    row(Delete, "/pools/{poolId}", "Pools_DeletePool", Idempotent, Kind::Delete),
    row(Post, "/pools/{poolId}/disableautoscale", "Pools_DisablePoolAutoScale", Idempotent, Other),
    row(Post, "/pools/{poolId}/enableautoscale", "Pools_EnablePoolAutoScale", Idempotent, Other).min_interval(30),
    row(Post, "/pools/{poolId}/evaluateautoscale", "Pools_EvaluatePoolAutoScale", Safe, Other),
    row(Post, "/pools/{poolId}/removenodes", "Pools_RemoveNodes", Idempotent, Other),
    row(Post, "/pools/{poolId}/resize", "Pools_ResizePool", Idempotent, Other),
    row(Post, "/pools/{poolId}/stopresize", "Pools_StopPoolResize", Idempotent, Other),
    row(Post, "/pools/{poolId}/updateproperties", "Pools_ReplacePoolProperties", Idempotent, Other),
    row(Post, "/pools/{poolId}/upgradeos", "Pool_UpgradeOS", Idempotent, Other).retired(),
];

/// Tasks of a job, with their files.
static TASKS: &[Row] = &[
    row(Post, "/jobs/{jobId}/addtaskcollection", "Tasks_CreateTaskCollection", Idempotent, CreateCollection),
    row(Get, "/jobs/{jobId}/tasks", "Tasks_ListTasks", Safe, Other),
    row(Post, "/jobs/{jobId}/tasks", "Tasks_CreateTask", Idempotent, Create),
    row(Get, "/jobs/{jobId}/tasks/{taskId}", "Tasks_GetTask", Safe, Other),
    row(Put, "/jobs/{jobId}/tasks/{taskId}", "Tasks_ReplaceTask", Idempotent, Other),
    row(Delete, "/jobs/{jobId}/tasks/{taskId}", "Tasks_DeleteTask", Idempotent, Kind::Delete),
    row(Get, "/jobs/{jobId}/tasks/{taskId}/files", "Tasks_ListTaskFiles", Safe, Other),
    row(Head, "/jobs/{jobId}/tasks/{taskId}/files/{filePath}", "Tasks_GetTaskFileProperties", Safe, Other),
    row(Get, "/jobs/{jobId}/tasks/{taskId}/files/{filePath}", "Tasks_GetTaskFile", Safe, FileRead),
    row(Delete, "/jobs/{jobId}/tasks/{taskId}/files/{filePath}", "Tasks_DeleteTaskFile", Idempotent, Kind::Delete),
    row(Post, "/jobs/{jobId}/tasks/{taskId}/reactivate", "Tasks_ReactivateTask", NonIdempotent, Other),
    row(Get, "/jobs/{jobId}/tasks/{taskId}/subtasksinfo", "Tasks_ListSubTasks", Safe, Other),
    row(Post, "/jobs/{jobId}/tasks/{taskId}/terminate", "Tasks_TerminateTask", Idempotent, Other),
    row(Head, "/jobs/{jobId}/tasks/{taskId}/files/{fileName}", "File_GetNodeFilePropertiesFromTask", Safe, Other)
        .legacy_path(),
    row(Get, "/jobs/{jobId}/tasks/{taskId}/files/{fileName}", "File_GetFromTask", Safe, FileRead).legacy_path(),
    row(Delete, "/jobs/{jobId}/tasks/{taskId}/files/{fileName}", "File_DeleteFromTask", Idempotent, Kind::Delete)
        .legacy_path(),
];

const CERTIFICATE: &str = "/certificates(thumbprintAlgorithm={thumbprintAlgorithm},thumbprint={thumbprint})";
