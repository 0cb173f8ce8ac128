use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    explain: ExplainArgs,
}

/// What `explain` prints for this line under these settings.
fn explain(toml: &str, line: &[&str]) -> String {
    let settings = Settings::from_toml(toml).unwrap();
    let policy = RetryPolicy::new(settings.retry.clone());
    let args = Line::try_parse_from([&["explain"], line].concat()).unwrap().explain;
    request(&settings, &policy, &args, args.method.as_ref().unwrap(), args.target.as_ref().unwrap())
}

/// The line that begins with `name`, without it.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

const REBOOT: &str = "/pools/p/nodes/n/reboot";

#[test]
fn one_case_has_its_class_its_decision_and_the_reason() {
    for (line, class, decision) in [
        (&["GET", "/jobs", "--status", "500"][..], "transient", "replay after 2s to 3s: reading twice is harmless"),
        (
            &["POST", "/jobs", "--status", "500"],
            "transient",
            "replay after 2s to 3s: if it was carried out, twice ends like once",
        ),
        (
            &["POST", REBOOT, "--status", "500"],
            "transient",
            "stop (operation): it may have been carried out, and twice could do harm",
        ),
        (
            &["POST", REBOOT, "--failure", "tls_failed"],
            "not_sent",
            "replay after 2s to 3s: nothing was sent, so nothing was carried out",
        ),
        (
            &["POST", REBOOT, "--failure", "connection_lost"],
            "transient",
            "stop (operation): it may have been carried out, and twice could do harm",
        ),
        (
            &["POST", REBOOT, "--status", "429", "--retry-after", "7"],
            "throttled",
            "replay after 7s to 8s: Batch refused it and named the wait",
        ),
        (
            &["POST", REBOOT, "--status", "429"],
            "throttled",
            "stop (operation): twice could do harm, and without a named wait it may have been carried out",
        ),
        (
            &["GET", "/jobs", "--status", "503", "--code", "ServerBusy"],
            "throttled",
            "replay after 2s to 3s: Batch asks for time",
        ),
        (
            &["GET", "/jobs", "--status", "503", "--retry-after", "60"],
            "throttled",
            "stop (deadline): the wait would end past the deadline",
        ),
        (
            &["GET", "/jobs", "--failure", "stale_connection"],
            "not_sent",
            "replay at once: nothing was sent, so nothing was carried out",
        ),
        (&["GET", "/jobs", "--failure", "certificate_invalid"], "permanent", "deliver: who answers there is not Batch"),
        (
            &["POST", "/jobs", "--status", "409", "--code", "JobBeingDeleted"],
            "state",
            "deliver: the state clears by itself, when is not known; the program decides",
        ),
        (
            &["PUT", "/jobs/j", "--status", "409", "--code", "JobBeingDeleted"],
            "permanent",
            "deliver: final, the same request would meet it again",
        ),
        (
            &["POST", "/jobs", "--status", "409", "--code", "ActiveJobAndScheduleQuotaReached"],
            "quota",
            "deliver: a quota clears in minutes or hours, too late for a waiting client",
        ),
        (
            &["POST", "/pools/p/enableautoscale", "--status", "503", "--code", "TooManyEnableAutoScaleRequests"],
            "throttled",
            "replay after 30s to 31s: Batch asks for time",
        ),
    ] {
        let text = explain("", line);
        let found = field(&text, "class ").and_then(|class| class.split(':').next());
        assert_eq!((found, field(&text, "decision ")), (Some(class), Some(decision)), "{line:?}\n{text}");
    }
}

#[test]
fn steps_end_with_the_rule_that_ends_the_replaying() {
    for (toml, line, last) in [
        ("", &["GET", "/jobs", "--status", "404"][..], "1 operation  not asked: nothing of this class is replayed"),
        ("", &["POST", REBOOT, "--status", "500"], "1 operation  not idempotent: ends here"),
        ("retry.max_attempts = 1", &["GET", "/jobs", "--status", "500"], "3 attempts   this was the first of at most 1"),
        (
            "",
            &["GET", "/jobs", "--status", "429", "--retry-after", "60"],
            "4 deadline   50s leave no room for the wait and an answer: ends here",
        ),
        (
            "",
            &["GET", "/jobs", "--status", "500"],
            "6 signature  must still be fresh after the wait; else a signature: stop (signature), a token: stop (token)",
        ),
    ] {
        let text = explain(toml, line);
        let steps = text.split("\n\n").nth(3).unwrap();
        assert_eq!(steps.lines().last(), Some(last), "{text}");
    }
}

#[test]
fn settings_and_the_client_change_what_is_told() {
    let patient =
        explain("", &["GET", "/jobs", "--status", "429", "--retry-after", "60", "--user-agent", "azsdk-python-batch/15"]);
    assert_eq!(field(&patient, "decision "), Some("replay after 1m to 1m 1s: Batch asks for time"));
    let unlisted = explain("retry.statuses = [429]", &["PUT", "/jobs/j", "--status", "500"]);
    assert_eq!(field(&unlisted, "decision "), Some("deliver: final, the same request would meet it again"));
    let few = explain("retry.max_attempts = 3", &["GET", "/jobs", "--status", "500"]);
    assert!(few.contains("After the last, all sends are used up; "), "{few}");
}

#[test]
fn what_the_request_is_stands_first() {
    for (line, name, want) in [
        (&["get", "/jobs/j1"][..], "operation ", "Jobs_GetJob (GET /jobs/{jobId})"),
        (&["POST", "/nonsense"], "operation ", "unlisted: no row of the table has this method and path"),
        (
            &["POST", "/nonsense"],
            "idempotency ",
            "not idempotent: no row of the table matches, and nothing is promised of the method",
        ),
        (&["GET", "/certificates"], "era ", "retired: only in versions older than 2025-06-01"),
        (
            &["GET", "/certificates?api-version=2025-06-01"],
            "api-version ",
            "2025-06-01 does not have this operation; Batch would refuse it",
        ),
        (
            &["GET", "/jobs?api-version=2025-06-01", "--api-version", "2024-07-01.20.0"],
            "api-version ",
            "2024-07-01.20.0 may have this operation: the table does not say",
        ),
        (
            &["GET", "https://A.westeurope.batch.azure.com/jobs"],
            "host ",
            "a.westeurope.batch.azure.com is opened (intercept.hosts)",
        ),
        (
            &["GET", "https://example.com:8443/jobs"],
            "host ",
            "example.com would not be opened (intercept.hosts, intercept.except), so never replayed; if it were:",
        ),
        (
            &["GET", "/jobs", "--status", "503", "--retry-after", "soon"],
            "Retry-After ",
            "`soon` names no wait (neither seconds above 0 nor a date to come), so it counts as absent",
        ),
        (&["POST", "/pools/p/enableautoscale"], "interval ", "Batch wants 30s between two of these"),
    ] {
        let text = explain("", line);
        assert_eq!(field(&text, name), Some(want), "{text}");
    }
}

#[test]
fn a_stale_credential_is_told_of_refusals_only() {
    assert!(explain("", &["GET", "/jobs", "--status", "403"]).contains("\nlater "));
    assert!(!explain("", &["GET", "/jobs", "--status", "404"]).contains("\nlater "));
}

/// What a first answer is not, an answer to a replay may be.
#[test]
fn what_an_answer_means_to_a_replay_is_told() {
    for (toml, line, want) in [
        ("", &["DELETE", "/jobs/j", "--status", "404", "--code", "JobNotFound"][..], Some("a success, 202")),
        (
            "[retry.echo]\nothers='pass'",
            &["DELETE", "/jobs/j", "--status", "404", "--code", "JobNotFound"],
            Some("passed on"),
        ),
        ("", &["POST", "/jobs", "--status", "409", "--code", "JobExists"], Some("201, if a bearer client's GET shows")),
        ("[retry.echo]\ncreates='trust'", &["POST", "/jobs", "--status", "409", "--code", "JobExists"], Some("trusts it")),
        ("", &["POST", "/pools/p/resize", "--status", "409", "--code", "PoolBeingResized"], Some("passed on and marked")),
        ("", &["POST", "/jobs/j/addtaskcollection", "--status", "200"], Some("tasks of the request")),
        ("", &["DELETE", "/jobs/j", "--status", "403"], Some("the credential grew old")),
        ("", &["GET", "/jobs/j", "--status", "404", "--code", "JobNotFound"], None),
        ("", &["DELETE", "/jobs/j", "--status", "409", "--code", "JobBeingTerminated"], None),
    ] {
        let text = explain(toml, line);
        let later = field(&text, "later");
        assert_eq!(later.is_some(), want.is_some(), "{line:?}: {later:?}");
        assert!(later.unwrap_or_default().contains(want.unwrap_or_default()), "{line:?}: {later:?}");
    }
}
