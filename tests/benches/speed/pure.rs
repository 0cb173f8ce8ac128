//! Functions of the pure core, each called by itself and again and again. The bench's own binary runs as this child when told `core`.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::{Duration, Instant, SystemTime};

use batch_retry_proxy::batch::fault;
use batch_retry_proxy::batch::operation::OperationTable;
use batch_retry_proxy::retry::backoff::ExponentialBackoff;
use batch_retry_proxy::retry::budget::{Budget, BudgetSettings};
use batch_retry_proxy::retry::classify::{Reading, classify};
use batch_retry_proxy::retry::echo::{Creates, EchoSettings, Others};
use batch_retry_proxy::retry::gate::{self, Gate, GateSettings, Ticket};
use batch_retry_proxy::retry::outcome::{Failure, Outcome, Transmission};
use batch_retry_proxy::retry::policy::{
    Earlier, Lane, LaneReplays, Origin, Replayable, RetryPolicy, RetrySettings, Situation,
};
use batch_retry_proxy::retry::retry_after;
use batch_retry_proxy::retry::subject::Subject;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::Result;

/// One function with its arguments.
pub(crate) struct Piece {
    /// On the command line.
    pub(crate) name: &'static str,
    /// In the table.
    pub(crate) title: &'static str,
    /// Calls it so many times, with the default settings.
    repeat: fn(u64) -> Result<()>,
}

/// Calls one function. Arguments: its name, how often.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let [name, count] = arguments else { return Err("core NAME COUNT".into()) };
    let piece = PIECES.iter().find(|piece| piece.name == name).ok_or_else(|| format!("there is no piece {name}"))?;
    (piece.repeat)(count.parse()?)
}

/// What is counted.
pub(crate) const PIECES: &[Piece] = &[
    Piece {
        name: "find",
        title: "`OperationTable::find` of a task",
        repeat: |count| times(count, || OperationTable::find(black_box(&Method::GET), black_box(PATH))),
    },
    Piece {
        name: "subject",
        title: "`Subject::of` a task",
        repeat: |count| times(count, || Subject::of(black_box(&Method::GET), black_box(PATH))),
    },
    Piece {
        name: "classify",
        title: "`classify` a 503 with a hint",
        repeat: |count| {
            let (subject, statuses, outcome) = (subject(), statuses(), busy());
            times(count, || classify(black_box(&subject), black_box(&outcome), black_box(&statuses), Reading::Current))
        },
    },
    Piece {
        name: "decide-success",
        title: "`RetryPolicy::decide` after a 200",
        repeat: |count| decide(count, Outcome::Responded { status: StatusCode::OK, hint: None, fault: None }),
    },
    Piece {
        name: "decide-busy",
        title: "`RetryPolicy::decide` after a 503 with a hint",
        repeat: |count| decide(count, busy()),
    },
    Piece {
        name: "decide-lost",
        title: "`RetryPolicy::decide` after a lost connection",
        repeat: |count| {
            decide(count, Outcome::Failed { failure: Failure::ConnectionLost, transmission: Transmission::Sent })
        },
    },
    Piece {
        name: "hint",
        title: "`retry_after::hint` of 7 seconds among 12 fields",
        repeat: |count| {
            let headers = headers();
            times(count, || retry_after::hint(black_box(&headers), SystemTime::UNIX_EPOCH))
        },
    },
    Piece {
        name: "code",
        title: "`fault::code` of an error body",
        repeat: |count| times(count, || fault::code(black_box(ERROR.as_bytes()), None)),
    },
    Piece {
        name: "admit",
        title: "`Gate::admit`, the gate out of the way",
        repeat: |count| {
            let mut gate = Gate::new(GateSettings::new(Duration::from_secs(300), 0.5, 0.02, 0.7, 10_000)?);
            let (now, mut ticket) = (Instant::now(), Ticket { order: 0, lane: gate::Lane::Read, client: 1, scope: None });
            times(count, || {
                ticket.order += 1;
                gate.admit(black_box(now), black_box(ticket), now + DEADLINE)
            })
        },
    },
    Piece {
        name: "deposit",
        title: "`Budget::deposit`",
        repeat: |count| {
            let (mut budget, now) = budget()?;
            times(count, || budget.deposit(black_box(now)))
        },
    },
    Piece {
        name: "withdraw",
        title: "`Budget::withdraw`, granted",
        repeat: |count| {
            let (mut budget, now) = budget()?;
            times(count, || budget.withdraw(black_box(now)))
        },
    },
];

fn times<T>(count: u64, mut call: impl FnMut() -> T) -> Result<()> {
    for _ in 0..count {
        black_box(call());
    }
    Ok(())
}

fn decide(count: u64, outcome: Outcome<'_>) -> Result<()> {
    let second = Duration::from_secs(1);
    let policy = RetryPolicy::new(RetrySettings {
        max_attempts: NonZeroU32::MIN.saturating_add(19),
        deadline: DEADLINE,
        deadline_for: Vec::new(),
        statuses: statuses(),
        backoff: ExponentialBackoff::new(2 * second, 2.0, 10 * second, 0.5)?,
        response_timeout: 35 * second,
        echo: EchoSettings { creates: Creates::Verify, others: Others::Resolve },
        state: Lane { attempts: 0, wait: 10 * second },
        quota: Lane { attempts: 0, wait: 120 * second },
        read_after_create: Duration::ZERO,
        repeat_memory: 300 * second,
    });
    let now = Instant::now();
    let situation = Situation {
        subject: subject(),
        body: Replayable::Held,
        attempts: 1,
        origin: Origin::Program,
        earlier: Earlier::Nothing,
        lane_replays: LaneReplays::default(),
        lags_until: None,
        now,
        deadline: now + DEADLINE,
        drain_by: None,
        fresh_until: None,
        entropy: 0.5,
    };
    times(count, || policy.decide(black_box(&situation), black_box(&outcome)))
}

fn subject() -> Subject {
    Subject::of(&Method::GET, PATH)
}

fn statuses() -> Vec<StatusCode> {
    use StatusCode as Status;
    vec![
        Status::REQUEST_TIMEOUT,
        Status::TOO_MANY_REQUESTS,
        Status::INTERNAL_SERVER_ERROR,
        Status::BAD_GATEWAY,
        Status::SERVICE_UNAVAILABLE,
        Status::GATEWAY_TIMEOUT,
    ]
}

fn busy() -> Outcome<'static> {
    let hint = Some(Duration::from_secs(7));
    Outcome::Responded { status: StatusCode::SERVICE_UNAVAILABLE, hint, fault: Some("ServerBusy") }
}

fn headers() -> HeaderMap {
    let others = ["content-length", "content-type", "last-modified", "etag", "server", "request-id", "client-request-id"];
    let more = ["strict-transport-security", "x-content-type-options", "dataserviceversion", "date"];
    let mut headers = HeaderMap::new();
    for name in others.into_iter().chain(more) {
        headers.insert(name, HeaderValue::from_static("x"));
    }
    headers.insert("retry-after", HeaderValue::from_static("7"));
    headers
}

/// One that never runs dry.
fn budget() -> Result<(Budget, Instant)> {
    let now = Instant::now();
    Ok((Budget::new(BudgetSettings::new(0.2, 1_000_000, Duration::from_secs(10))?, now), now))
}

const PATH: &str = "/jobs/nightly-render/tasks/frame-000042";
const DEADLINE: Duration = Duration::from_secs(50);
const ERROR: &str = r#"{"odata.metadata":"https://account.westeurope.batch.azure.com/$metadata#Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element","code":"ServerBusy","message":{"lang":"en-US","value":"Server is currently unable to receive requests. Please retry your request.\nRequestId:f2f1d9f1-2f0b-4a4f-9d63-0f9a4a3a8a11\nTime:2026-11-23T10:00:00.0000000Z"}}"#;
