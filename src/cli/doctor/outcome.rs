//! What a program's attempt to reach the account showed, read from what it wrote, and what two attempts mean together.

use super::check::Check;
use super::child::{End, Output};
use super::running::Running;

/// How one attempt went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It did not go through the proxy.
    Direct,
    /// It went wrong in another way.
    Failed(String),
    /// The client is not there; what is missing.
    Missing(String),
    /// The program did not say how it went.
    Unclear(String),
    /// It does not accept the proxy's certificate.
    Untrusted,
    /// It had its answer through the proxy.
    Works,
}

/// What a program uses to speak HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Aiohttp,
    Curl,
    Git,
    Go,
    Java,
    Node,
    Requests,
    Urllib,
}

/// One attempt, as a probe tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) client: Client,
    pub(super) version: String,
    pub(super) outcome: Outcome,
    /// The program that really ran and where its modules are, if the probe knows: a name on the PATH may be a wrapper.
    pub(super) executable: Option<String>,
}

/// Both attempts of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    pub(super) client: Client,
    /// With the version, for people.
    pub(super) name: String,
    /// As the shell has it.
    pub(super) as_is: Outcome,
    /// With what `run` sets.
    pub(super) with_run: Outcome,
}

/// What is known of the proxy that the shell's programs should use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation<'a> {
    pub(super) running: Option<&'a Running>,
    /// Whether the shell sends its programs to it.
    pub(super) in_use: bool,
    /// Whether there is an authority yet that a shell can trust.
    pub(super) trustable: bool,
}

// === impl Client ===

impl Client {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "aiohttp" => Self::Aiohttp,
            "go" => Self::Go,
            "java" => Self::Java,
            "node" => Self::Node,
            "requests" => Self::Requests,
            "urllib" => Self::Urllib,
            _ => return None,
        })
    }

    /// Has it tell its version, whatever that is.
    fn version(self) -> &'static str {
        match self {
            Self::Go => "version",
            Self::Java => "-version",
            _ => "--version",
        }
    }

    /// Makes it trust the proxy.
    fn variable(self) -> &'static str {
        match self {
            Self::Aiohttp | Self::Go | Self::Urllib => "SSL_CERT_FILE",
            Self::Curl => "CURL_CA_BUNDLE",
            Self::Git => "GIT_SSL_CAINFO",
            Self::Java => "JAVA_TOOL_OPTIONS",
            Self::Node => "NODE_EXTRA_CA_CERTS",
            Self::Requests => "REQUESTS_CA_BUNDLE",
        }
    }
}

// === impl Attempt ===

impl Attempt {
    /// The attempts in what a probe wrote; `client` is who made it where it did not get to say anything.
    pub(super) fn read(end: End, client: Client) -> Vec<Self> {
        let unclear = |why| vec![Self { client, version: String::new(), outcome: Outcome::Unclear(why), executable: None }];
        match exited(end) {
            Err(why) => unclear(why),
            Ok(output) => {
                let attempts: Vec<Self> = output.stdout.lines().filter_map(Self::parse).collect();
                if attempts.is_empty() { unclear(said(&output)) } else { attempts }
            }
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let ("doctor", client, version, outcome) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?) else {
            return None;
        };
        let detail = short(fields.next().unwrap_or_default());
        let outcome = match outcome {
            "direct" => Outcome::Direct,
            "failed" => Outcome::Failed(detail),
            "missing" => Outcome::Missing(detail),
            "untrusted" => Outcome::Untrusted,
            "works" => Outcome::Works,
            _ => return None,
        };
        let executable = fields.next().filter(|path| !path.is_empty()).map(str::to_owned);
        Some(Self { client: Client::named(client)?, version: version.trim_end().to_owned(), outcome, executable })
    }
}

/// What curl's exit code and the heads it wrote show.
pub(super) fn of_curl(end: End) -> Outcome {
    let output = match exited(end) {
        Ok(output) => output,
        Err(why) => return Outcome::Unclear(why),
    };
    let via = output.stdout.to_ascii_lowercase();
    match output.code {
        Some(0) if via.contains("proxy-status: batch-retry-proxy") => Outcome::Works,
        // Straight to where nobody listens, or somebody else.
        Some(7) => Outcome::Direct,
        Some(0) if via.contains("http/") => Outcome::Direct,
        Some(60) => Outcome::Untrusted,
        Some(code) if code != 0 && output.stderr.contains("curl:") => Outcome::Failed(said(&output)),
        _ => Outcome::Unclear(said(&output)),
    }
}

/// What git's words show. The account has no repositories: to be told so is the proof that it was reached.
pub(super) fn of_git(end: End) -> Outcome {
    let output = match exited(end) {
        Ok(output) => output,
        Err(why) => return Outcome::Unclear(why),
    };
    let text = &output.stderr;
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if !has(&["fatal:"]) {
        Outcome::Unclear(said(&output))
    } else if has(&["not found", "returned error: 4", "Authentication failed", "could not read Username"]) {
        Outcome::Works
    } else if has(&["certificate"]) {
        Outcome::Untrusted
    } else if has(&["port 443", "Could not resolve host"]) {
        Outcome::Direct
    } else {
        Outcome::Failed(said(&output))
    }
}

/// What a program left that ended by itself, or why there is nothing.
fn exited(end: End) -> Result<Output, String> {
    match end {
        End::Endless => Err("it writes without end, and was ended".to_owned()),
        End::Exited(output) => Ok(output),
        End::NotStarted(error) => Err(format!("it cannot be started: {error}")),
        End::TimedOut(limit) => Err(format!("it takes longer than {} s, and was ended", limit.as_secs())),
    }
}

/// The last thing a program said, or its status.
fn said(output: &Output) -> String {
    // Of the JVM's options, which can hold passwords.
    let lines = output.stdout.lines().chain(output.stderr.lines()).filter(|line| !line.contains("Picked up "));
    match lines.map(str::trim).rfind(|line| !line.is_empty()) {
        Some(line) => short(line),
        None => output.code.map_or_else(|| "a signal ended it".to_owned(), |code| format!("it ended with status {code}")),
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(LONGEST_WORDS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

// === impl Trial ===

impl Trial {
    /// Pairs the attempts of each client.
    pub(super) fn pair(label: &str, as_is: &[Attempt], with_run: &[Attempt]) -> Vec<Self> {
        let trial = |attempt: &Attempt| {
            let other = as_is.iter().find(|other| other.client == attempt.client);
            // A program that said nothing said it for all its clients.
            let other = other.or_else(|| as_is.iter().find(|other| matches!(other.outcome, Outcome::Unclear(_))));
            Self {
                client: attempt.client,
                name: format!("{label} {}", attempt.version).trim_end().to_owned(),
                as_is: other.map_or_else(|| Outcome::Unclear("it said nothing".to_owned()), |other| other.outcome.clone()),
                with_run: attempt.outcome.clone(),
            }
        };
        with_run.iter().map(trial).collect()
    }

    /// What they mean.
    pub(super) fn check(&self, situation: Situation<'_>) -> Check {
        let name = &self.name;
        match &self.with_run {
            Outcome::Missing(what) => return Check::skip(name, format!("not tried: {what}")),
            Outcome::Unclear(why) => {
                let (program, version) = (name.split(' ').next().unwrap_or_default(), self.client.version());
                return Check::warn(name, format!("not known: {why}")).advise(
                    "see whether it works at all, or put another one first on PATH",
                    [format!("command -v {program}; {program} {version}")],
                );
            }
            Outcome::Works => {}
            // Its hosts are not opened, so it has to trust nothing.
            Outcome::Untrusted if self.client == Client::Git => {}
            // Of its own accord or by NO_PROXY, which has a check of its own.
            Outcome::Direct => {
                return Check::fail(name, "goes around the proxy, even with what `run --` sets: see NO_PROXY above");
            }
            outcome => {
                return Check::fail(name, format!("does not work even with what `run --` sets: {}", outcome.words()))
                    .advise("look for its own settings that win over variables", [self.own_settings()]);
            }
        }
        if self.client == Client::Git {
            return Check::ok(name, self.git());
        }
        if self.as_is == Outcome::Works && situation.trustable {
            return Check::ok(name, if situation.in_use { USES_AND_TRUSTS } else { TRUSTS });
        }
        let variable = self.client.variable();
        let Some(running) = situation.running else {
            let way = if situation.trustable { self.as_is.words() } else { format!("needs {variable}") };
            return Check::ok(name, format!("works with `run --`; as this shell is: {way}"));
        };
        let finding = format!("works with `run --`; as this shell is: {}", self.as_is.words());
        let check = if situation.in_use { Check::fail(name, finding) } else { Check::ok(name, finding) };
        if self.as_is == Outcome::Direct && self.client != Client::Java {
            return check;
        }
        check.advise("in the shell of the program", running.lines(variable))
    }

    fn git(&self) -> String {
        let trust = match &self.as_is {
            Outcome::Works => "trusts the proxy",
            Outcome::Untrusted => "does not trust the proxy and need not",
            other => return format!("its hosts are tunnelled untouched; a Batch host it {}", other.words()),
        };
        format!("{trust}: its hosts are tunnelled untouched")
    }

    /// How to see what the client is told besides variables.
    fn own_settings(&self) -> String {
        match self.client {
            Client::Curl => "cat ~/.curlrc",
            Client::Git => "git config --get-regexp '^http'",
            Client::Go => "go env",
            Client::Java => "java -XshowSettings:properties -version",
            Client::Node => "node -p process.execArgv,process.env.NODE_OPTIONS",
            Client::Aiohttp | Client::Requests | Client::Urllib => {
                "python3 -c 'import ssl; print(ssl.get_default_verify_paths())'"
            }
        }
        .to_owned()
    }
}

// === impl Outcome ===

impl Outcome {
    fn words(&self) -> String {
        match self {
            Self::Direct => "goes around the proxy".to_owned(),
            Self::Failed(why) => format!("fails: {why}"),
            Self::Missing(what) => format!("is not there: {what}"),
            Self::Unclear(why) => format!("not known: {why}"),
            Self::Untrusted => "does not trust the proxy".to_owned(),
            Self::Works => "works".to_owned(),
        }
    }
}

const USES_AND_TRUSTS: &str = "uses and trusts the proxy, as this shell is";
/// It was tried with a proxy that the shell does not name.
const TRUSTS: &str = "trusts the proxy, as this shell is; see HTTPS_PROXY for whether it uses it";

/// In characters.
const LONGEST_WORDS: usize = 160;

#[cfg(test)]
mod tests;
