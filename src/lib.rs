//! A local HTTP forward proxy for programs that talk to Azure Batch.
//!
//! A program sets `HTTPS_PROXY` to it. Requests to a Batch account are opened with a local certificate authority, sent on,
//! and, when they fail in a way that may be tried again, replayed until they succeed or until trying again would be wrong.
//! Everything else is tunnelled untouched.
//!
//! # Layout
//!
//! | module | task | may import |
//! |---|---|---|
//! | [`batch`] | pure: what the Batch REST API is: endpoints, operations, error codes, credentials | nothing |
//! | [`retry`] | pure: what an attempt's outcome means, whether to send again, and how fast an account is asked | `batch` |
//! | [`metrics`] | the Prometheus families and their bounded labels; the last replays | `retry`, `batch` |
//! | [`telemetry`] | logs | `metrics` |
//! | [`shutdown`] | signals and draining | nothing |
//! | [`tls`] | certificate authority, leaf certificates, trust files, upstream roots | `batch`, `metrics` |
//! | [`http1`] | HTTP/1.1 messages as they came: strict heads, bodies and where they end; bytes in, bytes out | `batch` |
//! | [`upstream`] | the pooled client towards Batch; errors that know whether anything was sent | `http1`, `retry`, `batch`, `tls`, `metrics` |
//! | [`proxy`] | accept, route, tunnel, intercept, forward: the replay loop | all of the above |
//! | [`admin`] | metrics, probes and the status page over HTTP | `metrics`, `tls`, `batch`, `telemetry`, `shutdown` |
//! | [`simulator`] | a stand-in Batch account for `simulate`, `demo` and tests | `batch`, `tls`, `shutdown`, `metrics` |
//! | [`config`] | raw TOML and environment, converted at start and at each reload to the settings each module declares | the modules that declare settings |
//! | [`app`] | composition: bind, then run until drained; reloads | all but `cli` |
//! | [`cli`] | arguments and subcommands | everything |
//! | `fuzzing` | what the fuzzers of `fuzz/` feed; built for them and for tests alone | `config`, `proxy`, `retry`, `batch` |
//!
//! `batch` and `retry` never look at a clock, a socket, a file or the environment: time and chance come in as arguments.
//! `tests/it/layering.rs` reads the imports and fails where this table is broken.
//!
//! # The life of a request
//!
//! [`proxy::Proxy::serve`] accepts a connection, `serve_conn` reads its first request (`serve_http1`, with [`http1`]), `Route::of` decides what it is.
//! A CONNECT to a Batch host goes to `intercept`, which ends TLS with a leaf made for that host and hands each request inside
//! to `Forwarder::forward`. That reads the body, recalls whether the client repeats what was given up, passes the account's gate (or answers
//! in its words), then loops: `Upstream::send`, `RetryPolicy::decide`, wait, take a token of the budget, pass the gate.
//! An answer that an earlier send may have brought about is settled first. Then it is delivered with a `Proxy-Status` header and its fate is
//! counted. One that breaks off while it streams is sent for again by `Download::repair`, and the client is given the rest.
//!
//! Settings are taken from the terms in force (`proxy::Terms`) when a connection or request begins. A reload replaces the terms and nothing that has
//! begun.

pub mod admin;
pub mod app;
pub mod batch;
pub mod cli;
pub mod config;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
pub mod http1;
pub mod metrics;
pub mod proxy;
pub mod retry;
pub mod shutdown;
pub mod simulator;
pub mod telemetry;
pub mod tls;
pub mod upstream;
