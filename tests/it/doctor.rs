//! `doctor` as a process: what it finds of programs, real and fake, of a proxy that runs, of variables and of an account, and what it leaves.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::command::Program;
use crate::support::action::respond;
use crate::support::batch::HOST;
use crate::support::guard_for;
use crate::support::origin::Origin;

/// A shell for the doctor: no variables but these, and a folder for temporary files.
struct Shell {
    temporary: TempDir,
    command: Command,
}

/// What it found.
struct Found {
    code: Option<i32>,
    report: Value,
    text: String,
}

// === impl Shell ===

impl Shell {
    /// With nothing on `PATH`, and ports that are free.
    fn new() -> Self {
        let temporary = TempDir::new().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
        command.arg("doctor").env_clear().env("TMPDIR", temporary.path()).stdin(Stdio::null()).kill_on_drop(true);
        Self { temporary, command }.setting("listen.address", "127.0.0.1:0").setting("admin.address", "127.0.0.1:0")
    }

    fn setting(mut self, key: &str, value: &str) -> Self {
        self.command.args(["--set", &format!("{key}={value}")]);
        self
    }

    fn argument(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    fn path(self, folder: &Path) -> Self {
        self.variable("PATH", folder.to_str().unwrap())
    }

    /// What a shell has that read the `proxy.env` of `program`, which published in `folder`.
    async fn behind(program: &Program, folder: &Path) -> Self {
        let script = ". \"$1/proxy.env\" && env";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", folder.to_str().unwrap()]).env_clear();
        let variables = String::from_utf8(command.output().await.unwrap().stdout).unwrap();
        let mut shell = Self::new();
        for (name, value) in variables.lines().filter_map(|line| line.split_once('=')) {
            shell = shell.variable(name, value);
        }
        let shell = shell.setting("listen.address", &program.proxy.to_string());
        shell.setting("admin.address", &program.admin.to_string())
    }

    /// What it finds where this program alone is on `PATH`.
    async fn with_only(self, name: &str) -> Found {
        let folder = TempDir::new().unwrap();
        let path = std::env::var_os("PATH").unwrap();
        let program = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.exists()).unwrap();
        std::os::unix::fs::symlink(program, folder.path().join(name)).unwrap();
        self.path(folder.path()).found().await
    }

    /// What it finds of all programs of this machine, of which one test at a time makes use: together they would take too long.
    async fn with_all(self) -> Found {
        let _alone = MACHINE.lock().await;
        self.variable("PATH", &machine_path().await).found().await
    }

    async fn output(mut self) -> Output {
        let output = guard_for(PATIENCE, "the doctor", self.command.output()).await.unwrap();
        let left: Vec<_> = fs::read_dir(self.temporary.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{left:?} left behind");
        output
    }

    async fn found(self) -> Found {
        let output = self.argument("--json").output().await;
        let text = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let report = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text} {stderr}"));
        assert_eq!(stderr, "");
        Found { code: output.status.code(), report, text }
    }
}

// === impl Found ===

impl Found {
    /// The first check whose name begins like this.
    #[track_caller]
    fn check(&self, name: &str) -> &Value {
        self.find(name).unwrap_or_else(|| panic!("no {name} in {}", self.text))
    }

    fn find(&self, name: &str) -> Option<&Value> {
        let sections = self.report["sections"].as_array().unwrap().iter();
        let mut checks = sections.flat_map(|section| section["checks"].as_array().unwrap());
        checks.find(|check| check["name"].as_str().unwrap().starts_with(name))
    }

    #[track_caller]
    fn assert(&self, name: &str, status: &str, words: &str) {
        let check = self.check(name);
        let finding = check["finding"].as_str().unwrap();
        assert!(check["status"] == status && finding.contains(words), "wanted {status} with {words:?}: {check}");
    }

    /// The lines to paste for a check.
    #[track_caller]
    fn lines(&self, name: &str) -> Vec<&str> {
        let lines = self.check(name)["advice"]["lines"].as_array();
        lines.map(|lines| lines.iter().map(|line| line.as_str().unwrap()).collect()).unwrap_or_default()
    }
}

#[tokio::test]
async fn with_nothing_but_the_binary_it_passes_and_says_what_was_not_tried() {
    let origin = Origin::later(&["a.example"]);
    let found = Shell::new().variable("SSL_CERT_FILE", origin.ca_file().to_str().unwrap()).found().await;
    for name in ["python3", "node", "java", "go", "curl", "git", "dotnet"] {
        found.assert(name, "skip", "not on PATH");
    }
    found.assert("running", "ok", "`run --`");
    found.assert("account", "skip", "--account https://");
    assert_eq!((found.code, &found.report["passed"]), (Some(0), &Value::Bool(true)), "{}", found.text);
    // Not on PATH itself, it is called by its place.
    assert_eq!(found.lines("HTTPS_PROXY")[0], format!("{} run -- COMMAND", env!("CARGO_BIN_EXE_batch-retry-proxy")));

    let nothing = found_without_roots().await;
    nothing.assert("roots", "fail", "no trusted root certificates");
    assert_eq!(nothing.code, Some(69));
    assert!(nothing.lines("roots")[0].starts_with("export SSL_CERT_FILE="));
}

#[tokio::test]
async fn a_machine_without_a_place_for_files_is_told_so() {
    let shell = Shell::new().variable("TMPDIR", "/no/such/folder");
    let found = shell.found().await;
    found.assert("programs", "fail", "set TMPDIR");
    assert_eq!((found.code, found.lines("programs")), (Some(69), vec!["mkdir -p -m 1777 /no/such/folder"]));
    let mut run = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
    let output = run.args(["run", "--", "true"]).env("TMPDIR", "/no/such/folder").output().await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{stderr}");
    assert!(
        stderr.starts_with("batch-retry-proxy: no place for temporary files: ") && stderr.contains("TMPDIR"),
        "{stderr}"
    );
}

async fn found_without_roots() -> Found {
    let empty = TempDir::new().unwrap();
    let shell =
        Shell::new().variable("SSL_CERT_FILE", "/no/such/file").variable("SSL_CERT_DIR", empty.path().to_str().unwrap());
    shell.found().await
}

#[tokio::test]
async fn the_table_is_for_people_and_has_no_colours_in_a_pipe() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let shell = Shell::new().setting("listen.address", &taken.local_addr().unwrap().to_string());
    let output = shell.output().await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert!(
        text.contains("\n  fail  listen.address  ") && text.contains("\n  skip  python3         not on PATH\n"),
        "{text}"
    );
    assert!(text.contains("What to do\n  1. listen.address: ") && text.ends_with("1 check failed, 0 warnings.\n"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

/// Whatever of them is here: a machine without one skips it.
#[tokio::test]
async fn the_programs_of_this_machine_work_with_what_run_sets() {
    let found = Shell::new().with_all().await;
    for name in ["python3", "node", "java", "curl", "git"] {
        match found.find(name) {
            Some(check) if check["finding"] == "not on PATH" => eprintln!("skipped: there is no {name}"),
            Some(_) if name == "git" => found.assert("git", "ok", "tunnelled untouched"),
            Some(check) if check["finding"].as_str().unwrap().starts_with("not tried") => eprintln!("skipped: {check}"),
            _ => found.assert(name, "ok", "works with `run --`"),
        }
    }
    assert_eq!(found.code, Some(0), "{}", found.text);
}

#[tokio::test]
async fn a_shell_is_told_whether_it_uses_and_trusts_the_proxy_that_runs() {
    let folder = TempDir::new().unwrap();
    // Quotes and blanks are to survive.
    let directory = folder.path().join("it's here");
    let program = Program::start(&["--publish", directory.to_str().unwrap()]).await;
    let found = Shell::behind(&program, &directory).await.with_all().await;
    found.assert("running", "ok", "yes");
    found.assert("listen.address", "ok", "the proxy that runs has it");
    found.assert("HTTPS_PROXY", "ok", "the proxy that runs");
    found.assert("published files", "ok", "fits the proxy that runs");
    for name in ["python3", "node", "java", "curl"] {
        match found.find(name).map(|check| &check["status"]) {
            Some(status) if status == "skip" => eprintln!("skipped: {}", found.check(name)),
            _ => found.assert(name, "ok", "uses and trusts the proxy, as this shell is"),
        }
    }
    assert_eq!(found.code, Some(0), "{}", found.text);

    // The certificates of somebody else, and none at all.
    let other = Origin::later(&["a.example"]);
    let other = other.ca_file().to_str().unwrap();
    let shell =
        Shell::behind(&program, &directory).await.variable("JAVA_TOOL_OPTIONS", "").variable("CURL_CA_BUNDLE", "/none");
    let shell =
        shell.variable("REQUESTS_CA_BUNDLE", other).variable("SSL_CERT_FILE", other).variable("NODE_EXTRA_CA_CERTS", other);
    let found = shell.with_all().await;
    let bundle = directory.join("bundle.pem").display().to_string().replace('\'', r"'\''");
    for (name, words, line) in [
        ("python3", "does not trust the proxy", format!("='{bundle}'")),
        (
            "node",
            "does not trust the proxy",
            format!("export NODE_EXTRA_CA_CERTS='{}'", bundle.replace("bundle.pem", "ca.pem")),
        ),
        ("java", "goes around the proxy", "export JAVA_TOOL_OPTIONS='-Dhttps.proxyHost=127.0.0.1 ".to_owned()),
        ("curl", "fails: curl: (77)", format!("export CURL_CA_BUNDLE='{bundle}'")),
    ] {
        let tried = found.find(name).filter(|check| check["status"] != "skip");
        if tried.is_none() {
            eprintln!("skipped: there is no {name}");
            continue;
        }
        found.assert(name, "fail", words);
        assert!(found.lines(name)[0].contains(&line), "{line}: {}", found.check(name));
    }
}

#[tokio::test]
async fn files_of_a_proxy_that_ran_before_are_found_out() {
    let folder = TempDir::new().unwrap();
    let directory = folder.path().to_str().unwrap();
    let program = Program::start(&["--publish", directory]).await;
    for (name, format) in [("truststore.p12", "p12"), ("bundle.pem", "bundle"), ("ca.pem", "pem")] {
        // One file after the other is another time's; the first that is, is named.
        fs::write(folder.path().join(name), "another time's").unwrap();
        let found = Shell::new().setting("admin.address", &program.admin.to_string()).found().await;
        found.assert("published files", "fail", &format!("{name} does not hold the certificate of the proxy that runs"));
        assert!(found.lines("published files").iter().any(|line| line.contains(&format!("--format {format} "))));
    }
    let shell = Shell::new().setting("admin.address", &program.admin.to_string());
    let found = shell.variable("HTTPS_PROXY", "http://127.0.0.1:9").found().await;
    let lines = found.lines("published files");
    assert!(lines[1].ends_with(&format!(
        "ca export --set admin.address={} --format bundle --out {directory}/bundle.pem",
        program.admin
    )));
    // Pasted, they put it right.
    for line in lines {
        assert!(Command::new("sh").args(["-c", line]).status().await.unwrap().success(), "{line}");
    }
    let shell = Shell::new().setting("admin.address", &program.admin.to_string());
    shell.found().await.assert("published files", "ok", "");
    // Whoever cannot see the folder is in another container.
    fs::rename(folder.path(), folder.path().with_extension("away")).unwrap();
    let away = Shell::new().setting("admin.address", &program.admin.to_string()).found().await;
    away.assert("published files", "warn", "is not here");
    fs::rename(folder.path().with_extension("away"), folder.path()).unwrap();
    found.assert("HTTPS_PROXY", "warn", "not the proxy that runs");
    assert_eq!(found.lines("HTTPS_PROXY"), [format!(". {directory}/proxy.env")]);
}

/// The key stays where it is; the shell's programs are tried with the authority itself.
#[tokio::test]
async fn a_kept_authority_is_what_programs_are_tried_with() {
    if !on_machine("curl").await {
        return;
    }
    let folder = TempDir::new().unwrap();
    let kept = folder.path().to_str().unwrap().to_owned();
    let make = Program::start(&["--set", &format!("ca.directory={kept}")]).await;
    make.signal("TERM").await;
    make.exit_code().await;
    let shell = || Shell::new().setting("ca.directory", &kept);
    let trusting = shell().variable("CURL_CA_BUNDLE", &format!("{kept}/ca.pem")).with_only("curl").await;
    trusting.assert("curl", "ok", "trusts the proxy, as this shell is; see HTTPS_PROXY");
    let other = Origin::later(&["a.example"]);
    let not = shell().variable("CURL_CA_BUNDLE", other.ca_file().to_str().unwrap()).with_only("curl").await;
    not.assert("curl", "ok", "as this shell is: does not trust the proxy");
    fs::set_permissions(folder.path().join("ca-key.pem"), Permissions::from_mode(0o644)).unwrap();
    shell().found().await.assert("ca.directory", "fail", "ca-key.pem");
}

#[tokio::test]
async fn entries_of_no_proxy_are_judged_by_the_programs_that_obey_them() {
    let tried = on_machine("curl").await;
    for (entry, status, code, curl) in [
        (".batch.azure.com", "fail", 69, ("fail", "goes around the proxy")),
        ("*.batch.azure.com", "warn", 0, ("ok", "does not trust the proxy")),
        ("localhost,127.0.0.1", "ok", 0, ("ok", "does not trust the proxy")),
    ] {
        let folder = TempDir::new().unwrap();
        let kept = folder.path().to_str().unwrap().to_owned();
        fs::write(folder.path().join("ca.pem"), fs::read_to_string(Origin::later(&["x"]).ca_file()).unwrap()).unwrap();
        // A published certificate from before: with it, it can be said whether the shell trusts the proxy.
        let shell = Shell::new().setting("ca.publish", &kept).variable("NO_PROXY", entry);
        let found = if tried { shell.with_only("curl").await } else { shell.found().await };
        found.assert("NO_PROXY", status, "");
        assert_eq!(found.code, Some(code), "{entry}: {}", found.text);
        if tried {
            found.assert("curl", curl.0, curl.1);
        }
    }
}

#[tokio::test]
async fn a_port_that_somebody_else_has_is_named_with_one_that_is_free() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let found = Shell::new().setting("listen.address", &address).found().await;
    found.assert("listen.address", "fail", &address);
    let line = found.lines("listen.address")[0];
    let free = line.rsplit(' ').next().unwrap();
    assert!(line.contains(" --listen 127.0.0.1:") && free != address, "{line}");
    drop(TcpListener::bind(free).unwrap());
    assert_eq!(found.code, Some(69));
    // On the admin server's port it may be a proxy that is asked wrongly.
    let found = Shell::new().setting("admin.address", &address).found().await;
    found.assert("admin.address", "fail", &address);
    found.assert("running", "warn", &address);
}

#[tokio::test]
async fn an_account_is_reached_verified_and_its_clock_compared() {
    let origin = Origin::start(&[HOST]).await;
    let named = format!("https://{HOST}/");
    let account = |trusted: bool| {
        let shell = Shell::new().setting("upstream.resolve", &format!("{{\"{HOST}:443\" = \"{}\"}}", origin.address()));
        if trusted { shell.setting("upstream.ca_files", &format!("[\"{}\"]", origin.ca_file().display())) } else { shell }
    };
    for (skew, status, code) in [(0, "ok", 0), (-200, "warn", 0), (3600, "fail", 69)] {
        let date = SystemTime::UNIX_EPOCH
            + Duration::from_secs(
                SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().saturating_add_signed(skew),
            );
        let date = httpdate::fmt_http_date(date);
        origin.script(move |request| {
            let secrets = ["authorization", "cookie", "ocp-date"];
            assert!(secrets.iter().all(|name| request.header(name).is_none()), "{:?}", request.headers);
            respond(401, &[("Date", &date)], "").closing()
        });
        let found = account(true).variable("AZURE_BATCH_ACCOUNT_URL", &named).found().await;
        found.assert("account", "ok", &format!("{HOST}, from AZURE_BATCH_ACCOUNT_URL"));
        found.assert("DNS", "ok", &origin.address().to_string());
        found.assert("connection", "ok", "401");
        found.assert("clock", status, "the endpoint's");
        assert_eq!(found.code, Some(code), "{}", found.text);
    }
    assert_eq!(origin.requests().len(), 3);
    origin.tolerate_broken_connections();
    let found = account(false).argument("--account").argument(HOST).found().await;
    found.assert("account", "ok", "from --account");
    found.assert("connection", "fail", "does not prove who it is");
    assert!(found.lines("connection")[0].contains("upstream.ca_files"), "{}", found.text);
    origin.finish().await;

    let found = Shell::new()
        .argument("--account=https://not-batch.example")
        .setting("upstream.resolve", "{\"not-batch.example:443\" = \"127.0.0.1:9\"}");
    let found = found.found().await;
    found.assert("account", "fail", "intercept.hosts");
    found.assert("connection", "fail", "cannot connect to not-batch.example:443");
    let output = Shell::new().argument("--account=nonsense").output().await;
    assert_eq!(output.status.code(), Some(2));
}

/// Each of them in the place of a program.
#[tokio::test]
async fn programs_that_hang_fail_flood_or_talk_nonsense_are_told_apart_and_ended() {
    let folder = TempDir::new().unwrap();
    let (pids, go_ran_in) = (folder.path().join("pids"), folder.path().join("go-ran-in"));
    for (name, script) in [
        ("python3", "echo \u{1b}[2Jgarbage; exit 0".to_owned()),
        ("node", format!("/bin/sleep 600 & echo $! >> {0}; echo $$ >> {0}; wait", pids.display())),
        ("java", "echo 'java.lang.module.FindException: Module jdk.compiler not found' >&2; exit 1".to_owned()),
        // As one does that is ended.
        (
            "go",
            format!("pwd > {}; /bin/mkdir \"${{GOTMPDIR:-$TMPDIR}}/go-build1\"; echo no >&2; exit 2", go_ran_in.display()),
        ),
        ("curl", "while :; do echo flood flood flood flood flood; done".to_owned()),
        ("git", "kill -9 $$".to_owned()),
        ("dotnet", format!("echo called >> {}", pids.display())),
    ] {
        fake(folder.path(), name, &script);
    }
    let found = Shell::new().path(folder.path()).found().await;
    found.assert("python3", "warn", "not known:  [2Jgarbage");
    found.assert("node", "warn", "it takes longer than");
    found.assert("java", "skip", "it has no compiler");
    found.assert("go", "skip", "it does not compile the probe");
    found.assert("curl", "warn", "it writes without end");
    found.assert("git", "warn", "a signal ended it");
    found.assert("dotnet", "skip", "found, not tried");
    assert_eq!(found.lines("node"), ["command -v node; node --version"]);
    assert_eq!(found.code, Some(0), "{}", found.text);
    assert!(!Path::new(fs::read_to_string(go_ran_in).unwrap().trim()).exists(), "a folder of the doctor's own");
    let pids = fs::read_to_string(pids).unwrap();
    assert_eq!(pids.lines().count(), 4, "{pids}");
    for pid in pids.lines() {
        wait_until_gone(pid).await;
    }
}

#[tokio::test]
async fn a_signal_ends_it_with_all_that_it_started() {
    let folder = TempDir::new().unwrap();
    let pids = folder.path().join("pids");
    fake(folder.path(), "node", &format!("echo $$ >> {0}; exec /bin/sleep 600", pids.display()));
    let Shell { temporary, mut command } = Shell::new().path(folder.path());
    let mut child = command.spawn().unwrap();
    let started = || fs::read_to_string(&pids).unwrap_or_default().lines().count() == 2;
    guard_for(PATIENCE, "both tries of the fake", async {
        while !started() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let status = guard_for(PATIENCE, "the end of the doctor", child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(128 + 15));
    for pid in fs::read_to_string(&pids).unwrap().lines() {
        wait_until_gone(pid).await;
    }
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn secrets_of_the_environment_are_never_shown() {
    let folder = TempDir::new().unwrap();
    fake(folder.path(), "node", "echo \"$HTTP_PROXY $AZURE_BATCH_ACCESS_KEY\"; exit 1");
    let shell = || {
        let shell = Shell::new().path(folder.path()).variable("HTTPS_PROXY", "http://user:hunter22@corp.example:8080");
        let shell = shell.variable("https_proxy", "user:hunter22@corp.example:8080");
        shell.variable("HTTP_PROXY", "http://me:hunter33@corp.example:8080").variable("AZURE_BATCH_ACCESS_KEY", "hunter44")
    };
    let found = shell().found().await;
    found.assert("HTTPS_PROXY", "warn", "http://***@corp.example:8080");
    found.assert("node", "warn", "http://***@corp.example:8080 ***");
    let text = String::from_utf8(shell().output().await.stdout).unwrap();
    assert!(!found.text.contains("hunter") && !text.contains("hunter"), "{text}");
}

fn fake(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
}

/// The test's own `PATH`, with the Python that `python3` really is before it: a wrapper needs variables that are not there.
async fn machine_path() -> String {
    let path = std::env::var("PATH").unwrap();
    let script = "import os, sys; print(os.path.dirname(sys.executable))";
    match Command::new("python3").args(["-c", script]).output().await {
        Ok(output) => format!("{}:{path}", String::from_utf8(output.stdout).unwrap().trim()),
        Err(_) => path,
    }
}

async fn on_machine(name: &str) -> bool {
    let found = Command::new(name).arg("--version").output().await.is_ok();
    if !found {
        eprintln!("skipped: there is no {name}");
    }
    found
}

/// Ended, though perhaps not yet waited for by whoever inherits the orphans.
async fn wait_until_gone(pid: &str) {
    let stat = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    guard_for(PATIENCE, &format!("the end of {pid}"), async {
        while !(stat().is_empty() || stat().contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// Held by who uses all programs of this machine.
static MACHINE: Mutex<()> = Mutex::const_new(());

/// The doctor waits 20 s for a program, and the machine may have other work.
const PATIENCE: Duration = Duration::from_secs(90);
