//! The demonstration, as a new user runs it.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use super::support::guard_for;

/// Under a scenario of errors the program alone fails, and behind the proxy it does not.
#[tokio::test]
async fn the_demo_shows_failures_without_the_proxy_and_none_with_it() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
    command.args(["demo", "--json", "--scenario", "errors", "--tasks", "60"]).stdin(Stdio::null()).kill_on_drop(true);
    let output = guard_for(Duration::from_secs(120), "the demo", command.output()).await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), stderr.as_ref()), (Some(0), ""));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["passed"], true, "{report}");
    let failures = |run: &str| report[run]["program"]["failures"].as_object().unwrap().len();
    assert!(failures("straight") > 0, "{report}");
    assert_eq!(failures("proxied"), 0, "{report}");
    assert_eq!(report["proxied"]["program"]["listed"], 60, "{report}");
    assert!(report["proxied"]["proxy"]["replays"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["proxied"]["service"]["tasks_doubled"], 0, "{report}");
}

#[tokio::test]
async fn an_unknown_scenario_is_refused_with_the_names_there_are() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
    let output = command.args(["demo", "--scenario", "sunshine"]).output().await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("sunshine") && stderr.contains("throttle"), "{stderr}");
}
