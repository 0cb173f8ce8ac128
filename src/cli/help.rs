//! The texts of `--help`: what the program is for and an example of each command.

pub(super) const ABOUT: &str = "\
A local HTTP proxy for programs that talk to Azure Batch.

Point HTTPS_PROXY at it. Requests to a Batch account that fail are sent again when that is safe, until they \
succeed or until trying again would be wrong. Everything else is tunnelled untouched.";

pub(super) const ROOT: &str = "\
Examples:
  batch-retry-proxy run -- python a.py        run a program behind a proxy of its own
  batch-retry-proxy --publish /tmp/brp        clients find what to trust in /tmp/brp
  . /tmp/brp/proxy.env; python a.py           run a program behind it
  batch-retry-proxy --set retry.deadline=2m   have more patience
  batch-retry-proxy doctor                    what stands in the way on this machine
  batch-retry-proxy config show               all settings and their origin

Settings come from, later wins: built-in defaults, the file of --config (or BATCH_RETRY_PROXY_CONFIG), \
variables such as BATCH_RETRY_PROXY__RETRY__DEADLINE=40s, --set, other flags. Values of variables and \
--set are TOML or plain text.

Exit codes: 0 done, 2 bad usage, 69 cannot bind, start or be reached, or `doctor` found a failure, 70 internal error, 78 bad configuration. \
`run` returns its command's own.";

pub(super) const SERVE: &str = "\
Examples:
  batch-retry-proxy serve
  batch-retry-proxy serve --listen 127.0.0.1:8080 --publish ./trust
  batch-retry-proxy serve --config proxy.toml --set 'retry.statuses=[429,503]'

The first SIGTERM or SIGINT lets requests under way finish, a second one stops at once.

SIGHUP, or a change of the file of --config, reads the settings anew: requests that begin from then on have the new ones, and no \
connection is dropped. A file that cannot be used changes nothing. When the terminal that it was started on is closed, it ends as by \
SIGINT. listen.address, listen.max_connections, admin.address, ca.*, \
upstream.ca_files and log.format take effect after a restart.";

pub(super) const RUN: &str = "\
Examples:
  batch-retry-proxy run -- python submit.py --pool p1
  batch-retry-proxy run --set retry.deadline=2m -- node submit.js
  batch-retry-proxy run -- java Submit.java
  batch-retry-proxy run -- env                 what a command is given

The proxy listens on free ports of 127.0.0.1 and its certificate authority lives in memory, whatever the settings \
listen.address, admin.address and ca.* say. The command finds it by HTTPS_PROXY and, for Java, JAVA_TOOL_OPTIONS, and trusts it \
by REQUESTS_CA_BUNDLE, SSL_CERT_FILE, CURL_CA_BUNDLE and NODE_EXTRA_CA_CERTS, together with what these named before. \
NO_PROXY is added to, HTTP_PROXY is left alone. Logs begin at warn unless log.level is set.

SIGTERM, SIGINT, SIGHUP and SIGQUIT are passed on to the command; Ctrl-C and Ctrl-\\ of a terminal reach it anyway and are not sent \
twice. The exit code is the command's, 128+N if signal N ended it, 126 if it cannot be executed, 127 if there is none of that \
name. At the end one line on stderr counts requests, replays, give-ups and the time spent waiting.";

pub(super) const CA: &str = "\
Examples:
  batch-retry-proxy ca show
  batch-retry-proxy ca export --format bundle --out bundle.pem

With ca.directory both read what is kept there; without it they ask the proxy that runs (admin.address).";

pub(super) const CA_SHOW: &str = "\
Example:
  batch-retry-proxy ca show";

pub(super) const CA_EXPORT: &str = "\
Examples:
  batch-retry-proxy ca export --out ca.pem
  batch-retry-proxy ca export --format bundle --out bundle.pem
  batch-retry-proxy ca export --format p12 --out truststore.p12    for Java, password changeit
  eval \"$(batch-retry-proxy ca export --format env)\"             the shell's programs use the proxy that runs";

pub(super) const CONFIG: &str = "\
Examples:
  batch-retry-proxy config show --set retry.deadline=2m
  batch-retry-proxy config check --config proxy.toml";

pub(super) const CONFIG_SHOW: &str = "\
Examples:
  batch-retry-proxy config show
  batch-retry-proxy config show > proxy.toml    its output is a configuration file";

pub(super) const CONFIG_CHECK: &str = "\
Example:
  batch-retry-proxy config check --config proxy.toml";

pub(super) const DEMO: &str = "\
Examples:
  batch-retry-proxy demo
  batch-retry-proxy demo --scenario throttle --tasks 1000
  batch-retry-proxy demo --json | jq .passed

It exits 0 only if through the proxy nothing failed, no task is missing, and nothing was made or deleted twice.";

pub(super) const DOCTOR: &str = "\
Examples:
  batch-retry-proxy doctor
  batch-retry-proxy doctor --account https://name.westeurope.batch.azure.com
  batch-retry-proxy doctor --set admin.address=127.0.0.1:9465      a proxy that runs elsewhere
  batch-retry-proxy doctor --json | jq .passed

Each of Python (requests, aiohttp), Node, Java, Go, curl and git that is on PATH asks a simulated account through a proxy of the \
doctor's own, twice: as this shell has it, and with the variables that `run` sets. It sends nothing anywhere else, looks up no name \
but the account's, and leaves nothing behind but in the cache of Go's compiler. To the account, which \
AZURE_BATCH_ACCOUNT_URL, AZURE_BATCH_ENDPOINT or BATCH_ACCOUNT_URL may name as well, goes one request without credentials.

ok: as it should be. warn: works, or works for some. fail: a program would not get through. skip: not looked at, and why. Below \
the table stands what to do, in lines to paste. Exit codes: 0 nothing failed, 69 something did.";

pub(super) const EXPLAIN: &str = "\
Examples:
  batch-retry-proxy explain POST /jobs              every outcome, and the waits
  batch-retry-proxy explain POST /jobs --status 503 --retry-after 5
  batch-retry-proxy explain POST /pools/p/nodes/n/reboot --failure connection_lost
  batch-retry-proxy explain GET 'https://a.westeurope.batch.azure.com/jobs?api-version=2025-06-01'
  batch-retry-proxy explain --all                   the whole table, as Markdown";

pub(super) const SIMULATE: &str = "\
Examples:
  batch-retry-proxy simulate
  batch-retry-proxy simulate --scenario throttle --seed 7 --listen 127.0.0.1:0
  batch-retry-proxy simulate --scenario brownout           an outage to rehearse
  batch-retry-proxy simulate --scenario calm --limit 50    refuses what comes past 50 requests a second
  batch-retry-proxy simulate --scenario my.toml --ca-out /tmp/simulated-ca.pem

It prints the account, its key, and how a client reaches it, straight as https://localhost:8443 or through the proxy. On a \
terminal it shows what happens. The first SIGTERM or SIGINT ends it \
with a summary on standard output: what arrived, what went wrong, what was done twice.";

pub(super) const WAIT: &str = "\
Example:
  batch-retry-proxy wait --timeout 1m && python submit.py";

pub(super) const HEALTHCHECK: &str = "\
Example (Dockerfile):
  HEALTHCHECK CMD [\"batch-retry-proxy\", \"healthcheck\"]";

pub(super) const COMPLETIONS: &str = "\
Examples:
  batch-retry-proxy completions bash > /etc/bash_completion.d/batch-retry-proxy
  batch-retry-proxy completions zsh > \"${fpath[1]}/_batch-retry-proxy\"
  batch-retry-proxy completions fish > ~/.config/fish/completions/batch-retry-proxy.fish";

pub(super) const MAN: &str = "\
Examples:
  batch-retry-proxy man | man -l -
  batch-retry-proxy man --out /usr/local/share/man/man1";
