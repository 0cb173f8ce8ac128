//! The programs on `PATH` that Batch clients are written for, each tried twice: as the shell has it, and with what `run` sets.
//!
//! A probe of each asks the account once. It looks up no name of the account and sends nothing anywhere else.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::process::Command;

use super::check::Check;
use super::child::{self, End};
use super::outcome::{Attempt, Client, Outcome, Situation, Trial, of_curl, of_git};
use super::shell::Shell;
use super::stage::{Stage, Variables};
use crate::batch::endpoint::HostSet;
use crate::cli::run::bypass::Bypass;

/// Tries what there is.
pub(super) struct Runtimes<'a> {
    pub(super) stage: &'a Stage,
    pub(super) shell: &'a Shell,
    pub(super) situation: Situation<'a>,
    pub(super) progress: &'a ProgressBar,
}

// === impl Runtimes ===

impl Runtimes<'_> {
    /// How many there are to look for.
    pub(super) const COUNT: u64 = 8;

    /// All of them side by side.
    pub(super) async fn checks(&self) -> Vec<Check> {
        let (python, other_python, node, java, go, curl, git) = tokio::join!(
            self.python("python3"),
            self.python("python"),
            self.node(),
            self.java(),
            self.go(),
            self.curl(),
            self.git(),
        );
        let mut checks = Vec::new();
        match (python, other_python) {
            (None, None) => checks.push(Check::skip("python3", NOT_ON_PATH)),
            (Some((python, executable)), Some((other, same))) => {
                checks.extend(python);
                // Two names of one program, as in a virtual environment.
                if executable.is_none() || executable != same {
                    checks.extend(other);
                }
            }
            (Some((python, _)), None) | (None, Some((python, _))) => checks.extend(python),
        }
        checks.extend([node, java, go, curl, git, self.dotnet()].into_iter().flatten());
        checks
    }

    /// The checks of one Python, and which program it really is.
    async fn python(&self, name: &'static str) -> Option<(Vec<Check>, Option<String>)> {
        let Some(program) = self.find(name) else {
            self.progress.inc(1);
            return None;
        };
        let (trials, executable) = self.probe(name, &program, "probe.py", PYTHON, Client::Requests, &[]).await;
        Some((self.judge(&trials), executable))
    }

    async fn node(&self) -> Vec<Check> {
        let Some(program) = self.find("node") else { return self.absent("node") };
        let proxy = format!("http://{}", self.stage.proxy);
        let (mut trials, _) = self.probe("node", &program, "probe.js", NODE, Client::Node, &[&proxy]).await;
        // The probe takes the proxy that it is given; which one a program takes, and for what, is the rule of the Batch clients.
        let hosts = HostSet::new(self.stage.host.parse().into_iter().collect(), Vec::new());
        if self.shell.direct().iter().any(|(_, entry)| Bypass::of(entry, &hosts) == Some(Bypass::All)) {
            // `run` keeps what is in NO_PROXY.
            let known = trials.iter_mut().flat_map(|trial| [&mut trial.as_is, &mut trial.with_run]);
            known.filter(|outcome| !matches!(outcome, Outcome::Unclear(_))).for_each(|outcome| *outcome = Outcome::Direct);
        }
        self.judge(&trials)
    }

    async fn java(&self) -> Vec<Check> {
        let Some(program) = self.find("java") else { return self.absent("java") };
        let (trials, _) = self.probe("java", &program, "Probe.java", JAVA, Client::Java, &[]).await;
        let no_compiler = |trial: &Trial| match &trial.with_run {
            Outcome::Unclear(why) => NO_COMPILER.iter().any(|words| why.contains(words)),
            _ => false,
        };
        if trials.iter().any(no_compiler) {
            let finding = "found, not tried: it has no compiler (a JRE, or older than 11), and the probe is a source file";
            return self.skip("java", format!("{finding}; needs JAVA_TOOL_OPTIONS, which `run --` sets"));
        }
        self.judge(&trials)
    }

    async fn go(&self) -> Vec<Check> {
        let Some(program) = self.find("go") else { return self.absent("go") };
        let probe = match self.build_go(&program).await {
            Ok(probe) => probe,
            Err(why) => {
                return self.skip("go", format!("found, not tried: {why}; needs SSL_CERT_FILE, which `run --` sets"));
            }
        };
        let command = || {
            let mut command = Command::new(&probe);
            command.args([&self.stage.host, &self.stage.url()]);
            command
        };
        let [as_is, with_run] = self.twice(command).await.map(|end| Attempt::read(end, Client::Go));
        self.judge(&Trial::pair("go", &as_is, &with_run))
    }

    /// Compiles the probe, with what is on this machine alone, in a folder that belongs to no module of the user's. What a compiler that is
    /// ended leaves there goes away with the folder; what one compiles stays in its cache, without which it takes minutes.
    async fn build_go(&self, program: &Path) -> Result<PathBuf, String> {
        let source = self.stage.file("probe.go", GO).map_err(|error| error.to_string())?;
        let probe = self.stage.path("probe-go");
        let mut command = Command::new(program);
        command.args([Path::new("build"), Path::new("-o"), &probe, &source]);
        command.envs([("GOPROXY", "off"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", ""), ("GOWORK", "off")]);
        command.current_dir(self.stage.folder()).env("GOTMPDIR", self.stage.folder());
        match child::run(command, GO_BUILD).await {
            End::Exited(output) if output.code == Some(0) && probe.exists() => Ok(probe),
            End::TimedOut(limit) => Err(format!("its compiler takes longer than {} s", limit.as_secs())),
            _ => Err("it does not compile the probe".to_owned()),
        }
    }

    async fn curl(&self) -> Vec<Check> {
        let Some(program) = self.find("curl") else { return self.absent("curl") };
        let (host, url) = (&self.stage.host, self.stage.url());
        // Asked straight for the account it finds nobody, and asks no DNS.
        let nowhere = format!("{host}:443:127.0.0.1");
        let command = || {
            let mut command = Command::new(&program);
            command.args(["--silent", "--show-error", "--max-time", "8", "--output", "/dev/null", "--dump-header", "-"]);
            command.args(["--resolve", &nowhere, "--header", "Authorization: Bearer doctor", &url]);
            command
        };
        self.try_itself("curl", &program, Client::Curl, command, of_curl).await
    }

    async fn git(&self) -> Vec<Check> {
        let Some(program) = self.find("git") else { return self.absent("git") };
        let host = &self.stage.host;
        let nowhere = format!("http.curloptResolve={host}:443:127.0.0.1");
        let repository = format!("https://{host}/doctor.git");
        let command = || {
            let mut command = Command::new(&program);
            // Nobody is asked for a password, and no helper for a kept one.
            command.args(["-c", "credential.helper=", "-c", "core.askPass=", "-c", &nowhere]);
            command.args(["-c", "http.extraHeader=Authorization: Bearer doctor", "ls-remote", &repository]);
            command.envs([("GIT_TERMINAL_PROMPT", "0"), ("GIT_ASKPASS", ""), ("SSH_ASKPASS", ""), ("LC_ALL", "C")]);
            command
        };
        self.try_itself("git", &program, Client::Git, command, of_git).await
    }

    fn dotnet(&self) -> Vec<Check> {
        if self.find("dotnet").is_none() {
            return self.absent("dotnet");
        }
        self.skip("dotnet", "found, not tried; by its documentation it needs SSL_CERT_FILE, which `run --` sets")
    }

    /// Tries a program that is a client itself and needs no probe, twice; `outcome` reads what it left.
    async fn try_itself(
        &self,
        name: &str,
        program: &Path,
        client: Client,
        command: impl Fn() -> Command,
        outcome: impl Fn(End) -> Outcome,
    ) -> Vec<Check> {
        let (ends, version) = tokio::join!(self.twice(command), version(program));
        let [as_is, with_run] = ends.map(outcome);
        self.judge(&[Trial { client, name: format!("{name} {version}").trim_end().to_owned(), as_is, with_run }])
    }

    /// Has a source file run by `program`, twice.
    async fn probe(
        &self,
        label: &str,
        program: &Path,
        file: &str,
        source: &str,
        client: Client,
        more: &[&str],
    ) -> (Vec<Trial>, Option<String>) {
        let script = match self.stage.file(file, source) {
            Ok(script) => script,
            Err(error) => return (vec![unclear(label, client, &error.to_string())], None),
        };
        let url = self.stage.url();
        let command = || {
            let mut command = Command::new(program);
            if client == Client::Java {
                command.args(JAVA_OPTIONS);
            }
            command.arg(&script).args([&self.stage.host, &url]).args(more);
            command.env("PYTHONDONTWRITEBYTECODE", "1");
            command
        };
        let [as_is, with_run] = self.twice(command).await.map(|end| Attempt::read(end, client));
        let executable = with_run.iter().find_map(|attempt| attempt.executable.clone());
        (Trial::pair(label, &as_is, &with_run), executable)
    }

    /// As the shell has it, and with what `run` sets, side by side.
    async fn twice(&self, command: impl Fn() -> Command) -> [End; 2] {
        let with = |variables: &Variables| {
            let mut command = command();
            command.envs(variables.iter().map(|(name, value)| (name, value)));
            child::run(command, LIMIT)
        };
        let (as_is, with_run) = tokio::join!(with(&self.stage.as_is), with(&self.stage.with_run));
        [as_is, with_run]
    }

    fn judge(&self, trials: &[Trial]) -> Vec<Check> {
        self.progress.inc(1);
        trials.iter().map(|trial| trial.check(self.situation)).collect()
    }

    fn absent(&self, name: &str) -> Vec<Check> {
        self.skip(name, NOT_ON_PATH)
    }

    fn skip(&self, name: &str, finding: impl Into<String>) -> Vec<Check> {
        self.progress.inc(1);
        vec![Check::skip(name, finding)]
    }

    fn find(&self, name: &str) -> Option<PathBuf> {
        on_path(&self.shell.raw("PATH")?, name)
    }
}

/// The program that a shell would run for `name`.
pub(super) fn on_path(path: &OsString, name: &str) -> Option<PathBuf> {
    let executable = |file: &PathBuf| {
        file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path).map(|folder| folder.join(name)).find(executable)
}

/// The second or third word of what `--version` says.
async fn version(program: &Path) -> String {
    let mut command = Command::new(program);
    command.arg("--version");
    let End::Exited(output) = child::run(command, VERSION).await else { return String::new() };
    let numbered = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit()) && word.len() < 20;
    output.stdout.split_whitespace().take(4).find(numbered).unwrap_or_default().to_owned()
}

fn unclear(label: &str, client: Client, why: &str) -> Trial {
    let outcome = Outcome::Unclear(why.to_owned());
    Trial { client, name: label.to_owned(), as_is: outcome.clone(), with_run: outcome }
}

const NOT_ON_PATH: &str = "not on PATH";

const PYTHON: &str = include_str!("probes/probe.py");
const NODE: &str = include_str!("probes/probe.js");
const JAVA: &str = include_str!("probes/Probe.java");
const GO: &str = include_str!("probes/probe.go");

/// Starts soon, and leaves no files in the folder for temporary ones.
const JAVA_OPTIONS: [&str; 3] = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"];

/// What a Java says that cannot run a source file.
const NO_COMPILER: [&str; 3] = ["jdk.compiler", "Could not find or load main class", "ClassNotFoundException"];

/// A JVM that compiles first takes two or three seconds, and many times that on a machine that has other work.
const LIMIT: Duration = Duration::from_secs(20);

const GO_BUILD: Duration = Duration::from_secs(15);

const VERSION: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_program_of_that_name_is_found_and_nothing_else_is() {
        let [first, second] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let file = |folder: &tempfile::TempDir, name: &str, mode| {
            let path = folder.path().join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        file(&first, "node", 0o644);
        std::fs::create_dir(first.path().join("java")).unwrap();
        let node = file(&second, "node", 0o755);
        let path = std::env::join_paths([first.path(), Path::new("/no/such/folder"), second.path()]).unwrap();
        assert_eq!(on_path(&path, "node"), Some(node));
        assert_eq!(on_path(&path, "java"), None);
        assert_eq!(on_path(&OsString::new(), "node"), None);
    }
}
