//! The command line as a process: exit codes, and what stands on which stream.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the program in `dir` with no variables of its own but `env`.
fn run(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
    command.current_dir(dir).args(args).env_clear().envs(env.iter().copied());
    command.output().expect("the program can be executed")
}

/// Exit code, standard output and standard error.
fn report(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("the program writes UTF-8");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn assert_refused(output: &Output, want: &str) {
    let (code, stdout, stderr) = report(output);
    assert_eq!((code, &*stdout, &*stderr), (Some(78), "", &*format!("batch-retry-proxy: {want}\n")));
}

#[test]
fn an_unknown_key_is_exit_code_78_and_one_line_wherever_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x.toml"), "[retry]\n\ndeadlin = \"3s\"\n").unwrap();
    assert_refused(
        &run(dir.path(), &["--config", "./x.toml", "serve"], &[]),
        "unknown key `retry.deadlin` (./x.toml line 3), did you mean `retry.deadline`?",
    );
    assert_refused(
        &run(dir.path(), &["config", "check"], &[("BATCH_RETRY_PROXY__LISTEN__ADRESS", "127.0.0.1:0")]),
        "unknown key `listen.adress` (BATCH_RETRY_PROXY__LISTEN__ADRESS), did you mean `listen.address`?",
    );
    assert_refused(
        &run(dir.path(), &["config", "show", "--set", "retry.max_attempt=3"], &[]),
        "unknown key `retry.max_attempt` (--set), did you mean `retry.max_attempts`?",
    );
}

#[test]
fn each_fault_of_a_configuration_has_its_own_line() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x.toml"), "[retry]\n\ndeadline = \"40 parsecs\"\nstatuses = [200]\n").unwrap();
    assert_refused(
        &run(dir.path(), &["config", "check", "--config", "./x.toml"], &[]),
        "`retry.deadline` = \"40 parsecs\" (./x.toml line 3): not a duration, write it as \"50s\" or \"2m\"\n\
         batch-retry-proxy: `retry.statuses[0]` = 200 (./x.toml line 4): must be a whole number from 400 to 599",
    );
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = report(&run(dir.path(), &["--config", "none.toml"], &[]));
    assert_eq!((code, &*stdout, stderr.lines().count()), (Some(78), "", 1));
    assert!(stderr.starts_with("batch-retry-proxy: cannot read none.toml: "), "{stderr}");
    fs::write(dir.path().join("x.toml"), "[log]\nlevel = info\n").unwrap();
    let (code, stdout, stderr) = report(&run(dir.path(), &["config", "check"], &[("BATCH_RETRY_PROXY_CONFIG", "x.toml")]));
    assert_eq!((code, &*stdout, stderr.lines().count()), (Some(78), "", 1));
    assert!(stderr.starts_with("batch-retry-proxy: x.toml line 2: "), "{stderr}");
}

#[test]
fn each_layer_wins_over_the_ones_before_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x.toml"), "log.level = \"error\"\n").unwrap();
    let shown = |args: &[&str], env: &[(&str, &str)]| {
        let (code, stdout, stderr) = report(&run(dir.path(), args, env));
        assert_eq!((code, &*stderr), (Some(0), ""), "{args:?}");
        stdout.lines().find(|line| line.starts_with("log.level ")).map(str::to_owned).unwrap()
    };
    let file = ("BATCH_RETRY_PROXY_CONFIG", "x.toml");
    let env = ("BATCH_RETRY_PROXY__LOG__LEVEL", "warn");
    assert_eq!(shown(&["config", "show"], &[]), "log.level = \"info\"   # default");
    assert_eq!(shown(&["config", "show"], &[file]), "log.level = \"error\"   # x.toml line 1");
    assert_eq!(shown(&["config", "show"], &[file, env]), "log.level = \"warn\"   # BATCH_RETRY_PROXY__LOG__LEVEL");
    assert_eq!(shown(&["--set", "log.level=debug", "config", "show"], &[file, env]), "log.level = \"debug\"   # --set");
    assert_eq!(
        shown(&["--set", "log.level=debug", "config", "show", "--log-level", "off"], &[file, env]),
        "log.level = \"off\"   # --log-level"
    );
}

#[test]
fn set_takes_lists_and_tables() {
    let dir = tempfile::tempdir().unwrap();
    let args = [
        "--set",
        "retry.statuses=[429, 503]",
        "config",
        "show",
        "--set",
        r#"upstream.resolve={ "A.b.batch.azure.com:443" = "127.0.0.1:8443" }"#,
    ];
    let (code, stdout, stderr) = report(&run(dir.path(), &args, &[]));
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert!(stdout.lines().any(|line| line == "retry.statuses = [429, 503]   # --set"), "{stdout}");
    let entry = r#"upstream.resolve."a.b.batch.azure.com:443" = "127.0.0.1:8443"   # --set"#;
    assert!(stdout.lines().any(|line| line == entry), "{stdout}");
}

#[test]
fn config_check_says_which_file_it_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x.toml"), "").unwrap();
    for (args, want) in [
        (&["config", "check"][..], "configuration is valid (no file read)\n"),
        (&["config", "check", "--config", "x.toml"], "configuration is valid (read x.toml)\n"),
    ] {
        assert_eq!(report(&run(dir.path(), args, &[])), (Some(0), want.to_owned(), String::new()));
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_refused_not_guessed() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let mut command = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
    command.args(["config", "check"]).env_clear().env("BATCH_RETRY_PROXY__CA__DIRECTORY", OsStr::from_bytes(b"/ca/\xff"));
    assert_refused(&command.output().unwrap(), "BATCH_RETRY_PROXY__CA__DIRECTORY: not UTF-8 text");
}

#[test]
fn a_command_without_its_second_word_explains_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = report(&run(dir.path(), &["ca"], &[]));
    assert_eq!((code, &*stdout), (Some(2), ""));
    assert!(stderr.contains("Usage: "), "{stderr}");
}

#[test]
fn version_and_help_are_answers_not_errors() {
    let dir = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = report(&run(dir.path(), &["--version"], &[]));
    assert_eq!((code, &*stderr), (Some(0), ""));
    let revision = option_env!("BATCH_RETRY_PROXY_REVISION").unwrap_or("unknown");
    assert_eq!(stdout, format!("batch-retry-proxy {} ({revision})\n", env!("CARGO_PKG_VERSION")));
    for args in [
        &["--help"][..],
        &["serve", "--help"],
        &["run", "--help"],
        &["ca", "show", "--help"],
        &["ca", "export", "--help"],
        &["config", "show", "--help"],
        &["config", "check", "--help"],
        &["explain", "--help"],
        &["wait", "--help"],
        &["healthcheck", "--help"],
    ] {
        let (code, stdout, stderr) = report(&run(dir.path(), args, &[]));
        assert_eq!((code, &*stderr), (Some(0), ""), "{args:?}");
        assert!(stdout.contains("Example"), "{args:?} teaches nothing");
        assert!(stdout.contains("--config <FILE>") && stdout.contains("--set <KEY=VALUE>"), "{args:?}: {stdout}");
    }
    let help = report(&run(dir.path(), &["--help"], &[])).1;
    for code in ["0 done", "2 bad usage", "69 ", "70 ", "78 "] {
        assert!(help.contains(code), "{help}");
    }
}

/// One line that names the thing, whatever the parser of the command line would print below it.
#[test]
fn bad_usage_is_one_line_and_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    for (args, words) in [
        (&["frobnicate"][..], "unrecognized subcommand 'frobnicate'"),
        (&["serv"], "'serve'"),
        (&["--frob"], "unexpected argument '--frob'"),
        (&["run"], "<COMMAND>"),
        (&["explain", "GET"], "<TARGET>"),
        (&["--log-level", "loud"], "possible values: off, error, warn, info, debug, trace"),
        (&["--listen", "nowhere"], "'--listen <ADDR>'"),
        (&["--set", "novalue"], "KEY=VALUE"),
        (&["--publish", "trust", "config", "show"], "--publish"),
    ] {
        let (code, stdout, stderr) = report(&run(dir.path(), args, &[]));
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(2), "", 1), "{args:?}: {stderr}");
        assert!(stderr.starts_with("batch-retry-proxy: ") && stderr.contains(words), "{args:?}: {stderr}");
    }
}

#[test]
fn a_shell_that_reads_the_completions_completes_commands_and_options() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (code, stdout, stderr) = report(&run(dir.path(), &["completions", shell], &[]));
        assert_eq!((code, &*stderr), (Some(0), ""), "{shell}");
        assert!(stdout.contains("simulate") && stdout.contains("admin-listen"), "{shell}: {stdout}");
    }
    let asked = "source \"$1\"; COMP_WORDS=(batch-retry-proxy sim); COMP_CWORD=1; \
         _batch__retry__proxy batch-retry-proxy sim batch-retry-proxy; echo \"${COMPREPLY[@]}\"";
    let script = dir.path().join("completions");
    fs::write(&script, report(&run(dir.path(), &["completions", "bash"], &[])).1).unwrap();
    let bash = Command::new("bash").args(["-c", asked, "bash"]).arg(&script).output();
    let Ok(bash) = bash else { return eprintln!("skipped: there is no bash") };
    assert_eq!(String::from_utf8_lossy(&bash.stdout).trim(), "simulate", "{}", String::from_utf8_lossy(&bash.stderr));
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let dir = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = report(&run(dir.path(), &["man"], &[]));
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert!(stdout.contains(".TH batch-retry-proxy 1") && stdout.contains("BATCH_RETRY_PROXY_CONFIG"), "{stdout}");
    assert_eq!(report(&run(dir.path(), &["man", "--out", "pages/man1"], &[])), (Some(0), String::new(), String::new()));
    for page in ["batch-retry-proxy.1", "batch-retry-proxy-run.1", "batch-retry-proxy-ca-export.1"] {
        let text = fs::read_to_string(dir.path().join("pages/man1").join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
    }
    fs::write(dir.path().join("file"), "").unwrap();
    let (code, _, stderr) = report(&run(dir.path(), &["man", "--out", "file/man1"], &[]));
    assert!(code == Some(69) && stderr.contains("file/man1") && stderr.contains("--out"), "{stderr}");
}
