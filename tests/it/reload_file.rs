//! The file of settings of a running program: when it is read again, what is said of it, and what it cannot do.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::command::Program;
use super::reload::status;
use super::support::client::{Client, Tunnel, request};
use super::support::echo::EchoServer;
use super::support::guard;
use super::support::metric::assert_metric;

/// What Kubernetes does to a mounted ConfigMap: `..data` is a link that is moved, the file is a link through it.
#[tokio::test]
async fn a_config_map_that_is_swapped_is_taken_without_a_signal() {
    let mount = ConfigMap::new("retry.deadline = \"40s\"\n");
    let mut program = Program::start(&["--config", mount.file().to_str().unwrap()]).await;
    assert_eq!(setting(&program, "retry.deadline").await["value"], "\"40s\"");
    mount.swap("[retry]\ndeadline = \"30s\"\n");
    let line = program.line("settings reloaded").await;
    assert!(line.contains("retry.deadline"), "{line}");
    let shown = setting(&program, "retry.deadline").await;
    assert_eq!(shown["value"], "\"30s\"");
    assert_eq!(shown["origin"], format!("{} line 2", mount.file().display()));
    let metrics = program.fetch("/metrics").await;
    assert_metric(&metrics, RELOADS, &[], 1.0);
}

/// Unparsable, unknown and out of range: counted, told, and without effect; the next good file clears it.
#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_so_until_a_good_one_comes() {
    let (file, mut program) = started("retry.deadline = \"40s\"\n", &[]).await;
    let zeros = program.fetch("/metrics").await;
    for result in ["applied", "failed", "unchanged"] {
        assert!(zeros.contains(&format!("batch_retry_proxy_config_reloads_total{{result=\"{result}\"}} 0")), "{zeros}");
    }
    assert_metric(&zeros, "batch_retry_proxy_config_last_reload_successful", &[], 1.0);
    for (count, (text, reason)) in [
        (&b"retry.deadline = "[..], "line 1"),
        (b"retry.deadlin = \"20s\"", "did you mean `retry.deadline`?"),
        (b"retry.deadline = \"20s\"\nretry.max_attempts = 0", "must be a whole number from 1"),
        (b"# \xff\nretry.deadline = \"20s\"", "not UTF-8 text"),
        // It needs a restart, and is judged all the same.
        (b"retry.deadline = \"20s\"\nlisten.max_connections = 0", "listen.max_connections"),
    ]
    .into_iter()
    .enumerate()
    {
        reload(&program, &file, text).await;
        program.until(RELOADS, &[("result", "failed")], count as f64 + 1.0).await;
        assert_eq!(setting(&program, "retry.deadline").await["value"], "\"40s\"", "{reason}");
        let page = program.fetch("/status").await;
        assert!(status(&page)["failed"]["reason"].as_str().unwrap().contains(reason), "{page}");
        assert!(status(&page)["failed"]["since"].is_string());
        program.line(reason).await;
        assert_metric(&program.fetch("/metrics").await, "batch_retry_proxy_config_last_reload_successful", &[], 0.0);
    }
    reload(&program, &file, "# the same as before\nretry.deadline = \"40s\"\n").await;
    program.until(RELOADS, &[("result", "unchanged")], 1.0).await;
    let page = program.fetch("/status").await;
    assert!(status(&page)["failed"].is_null(), "{page}");
    assert_metric(&program.fetch("/metrics").await, "batch_retry_proxy_config_last_reload_successful", &[], 1.0);
    assert_eq!(setting(&program, "retry.deadline").await["origin"], format!("{} line 2", file.path().display()));
}

#[tokio::test]
async fn a_file_that_is_gone_is_no_news_at_once_and_a_failure_when_asked() {
    let mount = ConfigMap::new("retry.deadline = \"40s\"\n");
    let mut program = Program::start(&["--config", mount.file().to_str().unwrap()]).await;
    fs::remove_file(mount.file()).unwrap();
    program.signal("HUP").await;
    program.until(RELOADS, &[("result", "failed")], 1.0).await;
    assert!(program.line("cannot be used").await.contains("cannot read"));
    mount.link();
    program.line("nothing to change").await;
    let metrics = program.fetch("/metrics").await;
    assert_metric(&metrics, RELOADS, &[("result", "failed")], 1.0);
    assert_metric(&metrics, "batch_retry_proxy_config_last_reload_successful", &[], 1.0);
}

#[tokio::test]
async fn what_needs_a_restart_keeps_its_value_and_is_named() {
    let (file, mut program) = started("", &[]).await;
    let before = setting(&program, "ca.leaf_lifetime").await;
    reload(&program, &file, "ca.leaf_lifetime = \"2h\"\nlisten.max_connections = 7\nretry.deadline = \"30s\"\n").await;
    program.line("settings reloaded").await;
    let warnings = program.stderr();
    for key in ["ca.leaf_lifetime", "listen.max_connections"] {
        let told = warnings.lines().any(|line| line.contains(key) && line.contains("after a restart"));
        assert!(told, "{key}: {warnings}");
    }
    assert_eq!(setting(&program, "ca.leaf_lifetime").await, before);
    assert_eq!(setting(&program, "retry.deadline").await["value"], "\"30s\"");
    let page = program.fetch("/status").await;
    assert_eq!(
        status(&page)["waiting_for_restart"],
        serde_json::json!(["listen.max_connections", "ca.leaf_lifetime"]),
        "{page}"
    );
    assert!(status(&page)["file"].as_str() == file.path().to_str(), "{page}");
}

#[tokio::test]
async fn flags_and_set_keep_winning_over_the_file() {
    let (file, mut program) = started("", &["--set", "retry.deadline=40s", "--log-level", "info"]).await;
    reload(&program, &file, "retry.deadline = \"30s\"\nretry.max_attempts = 3\nlog.level = \"off\"\n").await;
    let line = program.line("settings reloaded").await;
    assert!(
        line.contains("retry.max_attempts") && !line.contains("retry.deadline") && !line.contains("log.level"),
        "{line}"
    );
    assert_eq!(setting(&program, "retry.deadline").await["origin"], "--set");
}

/// A reload for another reason leaves alone what somebody set by hand; a level in the file that changes wins.
#[tokio::test]
async fn a_log_level_set_by_hand_stays_until_the_file_names_another() {
    let (file, program) = started("", &[]).await;
    let put = request("PUT", "/log-level", "localhost", &[], "debug");
    assert_eq!(Client::connect(program.admin).await.request(&put).await.status, 200);
    for (count, text, want) in
        [(1.0, "retry.max_attempts = 3", "debug\n"), (2.0, "retry.max_attempts = 3\nlog.level = \"warn\"", "warn\n")]
    {
        reload(&program, &file, text).await;
        program.until(RELOADS, &[("result", "applied")], count).await;
        guard("the level", async {
            while program.fetch("/log-level").await != want {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn the_grace_of_a_reload_counts_when_the_signal_comes() {
    let echo = EchoServer::start().await;
    let resolve = format!("upstream.resolve={{\"login.example:443\" = \"{}\"}}", echo.address());
    let (file, mut program) = started("shutdown.grace = \"10m\"\n", &["--set", &resolve]).await;
    let _client = Tunnel::open(program.proxy, "login.example:443", None).await;
    reload(&program, &file, "shutdown.grace = \"0s\"\n").await;
    program.line("settings reloaded").await;
    program.signal("TERM").await;
    assert_eq!(program.exit_code().await, Some(0));
}

/// There is nothing to read, and that is no reason to end.
#[tokio::test]
async fn a_hangup_without_a_file_that_can_be_read_again_says_so() {
    let mut program = Program::start(&[]).await;
    program.signal("HUP").await;
    program.line("there is no file").await;
    assert_eq!(program.fetch("/livez").await, "ok\n");
    assert_metric(&program.fetch("/metrics").await, RELOADS, &[], 0.0);
    assert!(status(&program.fetch("/status").await)["file"].is_null());
}

/// The proxy of a window that was closed would hold the ports, and nobody would see it. A wish for a reload comes while the terminal is there.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_hangup_ends_it_once_the_terminal_that_it_was_started_on_is_gone() {
    let window = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&window).unwrap();
    unlockpt(&window).unwrap();
    let name = ptsname(&window, Vec::new()).unwrap().into_string().unwrap();
    let terminal = fs::OpenOptions::new().read(true).write(true).custom_flags(O_NOCTTY).open(name).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"))
        .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(terminal)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let id = child.id().unwrap().to_string();
    let hang_up = async || assert!(Command::new("kill").args(["-HUP", &id]).status().await.unwrap().success());
    let window = shown(window.into(), "listening").await;
    hang_up().await;
    let window = shown(window, "there is no file").await;
    drop(window);
    hang_up().await;
    assert_eq!(guard("its end", child.wait()).await.unwrap().code(), Some(0));
}

/// The window, once it shows this.
#[cfg(target_os = "linux")]
async fn shown(mut window: fs::File, words: &'static str) -> fs::File {
    let read = tokio::task::spawn_blocking(move || {
        let mut text = Vec::new();
        while !String::from_utf8_lossy(&text).contains(words) {
            let mut some = [0; 512];
            let count = window.read(&mut some).unwrap();
            text.extend_from_slice(&some[..count]);
        }
        window
    });
    guard(words, read).await.unwrap()
}

/// It gives its content once: read again, it would look like a file that sets nothing.
#[tokio::test]
async fn a_file_that_is_a_pipe_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().await.unwrap().success());
    let writer = pipe.clone();
    let written = tokio::task::spawn_blocking(move || fs::write(writer, "retry.deadline = \"40s\"\n"));
    let mut program = Program::start(&["--config", pipe.to_str().unwrap()]).await;
    written.await.unwrap().unwrap();
    assert_eq!(setting(&program, "retry.deadline").await["value"], "\"40s\"");
    program.signal("HUP").await;
    program.line("there is no file").await;
    assert_eq!(setting(&program, "retry.deadline").await["value"], "\"40s\"");
}

/// Only what has settings to read takes the signal for a wish; it ends `simulate` as it ends any program. Read from the mask of what is caught,
/// since under nohup nothing ends by it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_simulator_leaves_a_hangup_to_the_system() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"))
        .args(["simulate", "--listen", "127.0.0.1:0", "--ca-out"])
        .arg(folder.path().join("ca.pem"))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    guard("the simulator", lines.next_line()).await.unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", child.id().unwrap())).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
    let catches = |signal: u32| caught & (1 << (signal - 1)) != 0;
    assert_eq!((catches(SIGHUP), catches(SIGTERM)), (false, true));
}

/// A mounted ConfigMap with the one file `proxy.toml`.
struct ConfigMap {
    folder: TempDir,
}

// === impl ConfigMap ===

impl ConfigMap {
    fn new(text: &str) -> Self {
        let map = Self { folder: tempfile::tempdir().unwrap() };
        map.swap(text);
        map.link();
        map
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("proxy.toml")
    }

    fn link(&self) {
        symlink(Path::new("..data").join("proxy.toml"), self.file()).unwrap();
    }

    /// As the kubelet does it: a new folder, a new link, moved over the old one, and the old folder removed.
    fn swap(&self, text: &str) {
        let (folder, data) = (self.folder.path(), self.folder.path().join("..data"));
        let old = fs::read_link(&data).ok();
        let new = tempfile::Builder::new().prefix("..2026_11_24_").tempdir_in(folder).unwrap().keep();
        fs::write(new.join("proxy.toml"), text).unwrap();
        symlink(new.file_name().unwrap(), folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), &data).unwrap();
        if let Some(old) = old {
            fs::remove_dir_all(folder.join(old)).unwrap();
        }
    }
}

/// A program with a file of settings, which has this text, and with these further arguments.
async fn started(text: &str, args: &[&str]) -> (NamedTempFile, Program) {
    let file = NamedTempFile::with_suffix(".toml").unwrap();
    fs::write(file.path(), text).unwrap();
    let program = Program::start(&[&["--config", file.path().to_str().unwrap()], args].concat()).await;
    (file, program)
}

/// Has it read the file again, which now has this text.
async fn reload(program: &Program, file: &NamedTempFile, text: impl AsRef<[u8]>) {
    fs::write(file.path(), text).unwrap();
    program.signal("HUP").await;
}

/// What `/config` says of a key.
async fn setting(program: &Program, key: &str) -> Value {
    serde_json::from_str::<Value>(&program.fetch("/config").await).unwrap()[key].take()
}

const RELOADS: &str = "batch_retry_proxy_config_reloads_total";

/// As Linux has it.
#[cfg(target_os = "linux")]
const O_NOCTTY: i32 = 0o400;
const SIGHUP: u32 = 1;
const SIGTERM: u32 = 15;
