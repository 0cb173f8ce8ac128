//! `explain` as a process: what it prints, its exit codes, and that the page in `docs/` is what it prints.

use std::path::Path;
use std::process::Command;

/// Exit code, standard output and standard error.
fn explain(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
    let output = command.arg("explain").args(args).env_clear().output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn one_case_is_explained_step_by_step() {
    let (code, stdout, stderr) = explain(&["POST", "/pools/p/nodes/n/reboot", "--failure", "connection_lost"]);
    let want = "\
POST /pools/p/nodes/n/reboot

operation    Nodes_RebootNode (POST /pools/{poolId}/nodes/{nodeId}/reboot)
era          current: in 2025-06-01
idempotency  not idempotent: a second execution does its work once more
limits       50s from the end of the body (retry.deadline), 20 sends (retry.max_attempts)

outcome      connection_lost: reset or closed before an answer came
class        transient: may have been carried out, or not

1 operation  not idempotent: ends here

decision     stop (operation): it may have been carried out, and twice could do harm
";
    assert_eq!((code, &*stdout, &*stderr), (Some(0), want, ""));
}

#[test]
fn settings_apply_and_the_waits_are_shown() {
    let set = ["--set", "retry.backoff.jitter=0", "--set", "retry.deadline=20s"];
    let (code, stdout, stderr) = explain(&[&set[..], &["GET", "/jobs", "--status", "502"]].concat());
    let want = "
decision     replay after 2s: reading twice is harmless

If every send ended with it, and chance adds jitter:

SEND  WAIT BEFORE IT  BEGINS AT
1     0s              0s
2     2s              2s
3     4s              6s
4     8s              14s
5     5s              19s

After the last, the deadline leaves no room, which the last waits are shortened to fill; the program gets what there is.
";
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert!(stdout.ends_with(want), "{stdout}");
}

#[test]
fn bad_input_is_exit_code_2_and_says_what_would_be_good() {
    for (args, want) in [
        (&["GET"][..], "<TARGET>"),
        (&["GET", "jobs"], "write it as /jobs/j1"),
        (&["GET", "ftp://host/jobs"], "write it as /jobs/j1"),
        (&["GET", "http://a.b.batch.azure.com/jobs"], "plain http is never opened"),
        (&["G(T", "/jobs"], "not an HTTP method"),
        (&["GET", "/jobs", "--failure", "reset"], "the names are dns_not_found, dns_failed, address_prohibited"),
        (&["GET", "/jobs", "--status", "600"], "600 is not in 200..=599"),
        (&["GET", "/jobs", "--status", "500", "--failure", "truncated"], "cannot be used with"),
        (&["GET", "/jobs", "--code", "ServerBusy"], "--status"),
        (&["GET", "/jobs", "--retry-after", "5"], "--status"),
        (&["GET", "/jobs", "--api-version", "newest"], "it begins with a date"),
        (&["--all", "GET", "/jobs"], "cannot be used with"),
    ] {
        let (code, stdout, stderr) = explain(args);
        assert_eq!((code, &*stdout), (Some(2), ""), "{args:?}");
        assert!(stderr.contains(want), "{args:?}: {stderr}");
    }
}

#[test]
fn a_wait_that_cannot_be_read_is_no_error() {
    for value in ["soon", "-1", "0", ""] {
        let (code, stdout, stderr) = explain(&["GET", "/jobs", "--status", "503", "--retry-after", value]);
        assert_eq!((code, &*stderr), (Some(0), ""), "{value}");
        assert!(stdout.contains(&format!("`{value}` names no wait")), "{stdout}");
    }
}

#[test]
fn a_bad_configuration_is_exit_code_78() {
    assert_eq!(explain(&["GET", "/jobs", "--set", "retry.deadline=soon"]).0, Some(78));
}

#[test]
fn the_page_of_decisions_is_what_explain_all_prints() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/decisions.md")).unwrap();
    let (code, stdout, stderr) = explain(&["--all"]);
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert!(page == stdout, "docs/decisions.md is out of date; run: cargo run -- explain --all > docs/decisions.md");
}
