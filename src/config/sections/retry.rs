//! The sections of `retry`.

use std::fmt::Display;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use ::config::{Value, ValueKind};
use http::StatusCode;

use super::{LONGEST, SHORTEST, positive};
use crate::config::error::Problem;
use crate::config::keys;
use crate::config::reader::{self, Reader};
use crate::proxy::ThrottleSettings;
use crate::retry::backoff::{ExponentialBackoff, InvalidBackoff};
use crate::retry::budget::{BudgetSettings, InvalidBudget};
use crate::retry::echo::{Creates, EchoSettings, Others};
use crate::retry::gate::{GateSettings, InvalidGate};
use crate::retry::policy::{Lane, PatientClient, RetrySettings};

pub(super) fn retry(reader: &mut Reader<'_>) -> Option<RetrySettings> {
    let max_attempts = reader.read("retry.max_attempts", |kind| {
        let tries = reader::whole(kind, 1..=u32::MAX)?;
        NonZeroU32::new(tries).ok_or_else(|| "must not be 0".to_owned())
    });
    let deadline = positive(reader, "retry.deadline");
    let deadline_for = deadline_for(reader);
    let statuses = reader.list("retry.statuses", |kind| {
        let status = reader::whole(kind, STATUSES)?;
        StatusCode::from_u16(status).map_err(|err| err.to_string())
    });
    let backoff = backoff(reader);
    let response_timeout = positive(reader, "upstream.response_timeout");
    let echo = echo(reader);
    let state = lane(reader, ["retry.state.attempts", "retry.state.wait"]);
    let quota = lane(reader, ["retry.quota.attempts", "retry.quota.wait"]);
    if let (Some(quota), Some(deadline), Some(patient)) = (quota, deadline, &deadline_for) {
        let longest = patient.iter().map(|client| client.deadline).fold(deadline, Duration::max);
        if quota.attempts > 0 && quota.wait >= longest {
            let reason = "must be shorter than retry.deadline or a deadline of retry.deadline_for, or no replay fits";
            reader.wrong("retry.quota.wait", reader.value("retry.quota.wait"), reason.to_owned());
        }
    }
    let read_after_create = from_zero(reader, "retry.read_after_create");
    let repeat_memory = from_zero(reader, "retry.repeat_memory");
    Some(RetrySettings {
        max_attempts: max_attempts?,
        deadline: deadline?,
        deadline_for: deadline_for?,
        statuses: statuses?,
        backoff: backoff?,
        response_timeout: response_timeout?,
        echo: echo?,
        state: state?,
        quota: quota?,
        read_after_create: read_after_create?,
        repeat_memory: repeat_memory?,
    })
}

pub(super) fn throttle(reader: &mut Reader<'_>) -> Option<ThrottleSettings> {
    let (gate, budget) = (gate(reader), budget(reader));
    Some(ThrottleSettings { gate: gate?, budget: budget? })
}

fn gate(reader: &mut Reader<'_>) -> Option<GateSettings> {
    let hint_max = from_zero(reader, "retry.throttle.hint_max");
    let initial_share = reader.read("retry.throttle.initial_share", reader::number);
    let growth = reader.read("retry.throttle.growth_per_second", reader::number);
    let cut = reader.read("retry.throttle.cut", reader::number);
    let max_waiting = reader.read("retry.throttle.max_waiting", |kind| reader::whole(kind, 0..=u32::MAX));
    let gate = GateSettings::new(hint_max?, initial_share?, growth?, cut?, max_waiting? as usize);
    built(reader, gate, |invalid| match invalid {
        InvalidGate::Cut => "retry.throttle.cut",
        InvalidGate::Growth => "retry.throttle.growth_per_second",
        InvalidGate::HintMax => "retry.throttle.hint_max",
        InvalidGate::InitialShare => "retry.throttle.initial_share",
        InvalidGate::MaxWaiting => "retry.throttle.max_waiting",
    })
}

fn budget(reader: &mut Reader<'_>) -> Option<BudgetSettings> {
    let ratio = reader.read("retry.budget.ratio", reader::number);
    let min_per_second = reader.read("retry.budget.min_per_second", |kind| reader::whole(kind, 0..=u32::MAX));
    let window = positive(reader, "retry.budget.window");
    let budget = BudgetSettings::new(ratio?, min_per_second?, window?);
    built(reader, budget, |invalid| match invalid {
        InvalidBudget::MinPerSecond => "retry.budget.min_per_second",
        InvalidBudget::Ratio => "retry.budget.ratio",
        InvalidBudget::Window => "retry.budget.window",
    })
}

fn echo(reader: &mut Reader<'_>) -> Option<EchoSettings> {
    let creates = reader.read("retry.echo.creates", |kind| reader::word(kind, &CREATES));
    let others = reader.read("retry.echo.others", |kind| reader::word(kind, &OTHERS));
    Some(EchoSettings { creates: creates?, others: others? })
}

fn lane(reader: &mut Reader<'_>, [attempts, wait]: [&str; 2]) -> Option<Lane> {
    let attempts = reader.read(attempts, |kind| reader::whole(kind, 0..=u32::MAX));
    let wait = positive(reader, wait);
    Some(Lane { attempts: attempts?, wait: wait? })
}

fn deadline_for(reader: &mut Reader<'_>) -> Option<Vec<PatientClient>> {
    let items = reader.items("retry.deadline_for")?;
    let clients: Vec<_> = items.iter().enumerate().map(|(n, item)| patient_client(reader, n, item)).collect();
    clients.into_iter().collect()
}

fn patient_client(reader: &mut Reader<'_>, n: usize, item: &Value) -> Option<PatientClient> {
    const FIELDS: [&str; 2] = ["deadline", "user_agent"];
    let key = format!("retry.deadline_for[{n}]");
    let form = "must be { user_agent = \"text\", deadline = \"90s\" }";
    let ValueKind::Table(fields) = &item.kind else {
        reader.wrong(&key, item, form.to_owned());
        return None;
    };
    let mut names: Vec<_> = fields.iter().filter(|(name, _)| !FIELDS.contains(&name.as_str())).collect();
    names.sort_by_key(|(name, _)| *name);
    for (name, value) in names {
        reader.note(Problem::UnknownKey {
            key: format!("{key}.{name}"),
            place: reader::place_of(value),
            nearest: keys::nearest_of(name, &FIELDS),
        });
    }
    let [Some(deadline), Some(user_agent)] = FIELDS.map(|field| fields.get(field)) else {
        reader.wrong(&key, item, form.to_owned());
        return None;
    };
    let user_agent =
        reader.judge(&format!("{key}.user_agent"), user_agent, |kind| reader::full_text(kind).map(str::to_owned));
    let deadline = reader.judge(&format!("{key}.deadline"), deadline, |kind| reader::duration(kind, SHORTEST..=LONGEST));
    Some(PatientClient { user_agent: user_agent?, deadline: deadline? })
}

fn backoff(reader: &mut Reader<'_>) -> Option<ExponentialBackoff> {
    let any = |kind: &ValueKind| reader::duration(kind, Duration::ZERO..=LONGEST);
    let initial = reader.read("retry.backoff.initial", any);
    let factor = reader.read("retry.backoff.factor", reader::number);
    let max = reader.read("retry.backoff.max", any);
    let jitter = reader.read("retry.backoff.jitter", reader::number);
    let backoff = ExponentialBackoff::new(initial?, factor?, max?, jitter?);
    built(reader, backoff, |invalid| match invalid {
        InvalidBackoff::Factor => "retry.backoff.factor",
        InvalidBackoff::Initial => "retry.backoff.initial",
        InvalidBackoff::Jitter => "retry.backoff.jitter",
        InvalidBackoff::Max => "retry.backoff.max",
    })
}

/// What was put together, or the fault with the key of the setting that `key` finds in it.
fn built<T, E: Display>(reader: &mut Reader<'_>, built: Result<T, E>, key: impl Fn(&E) -> &'static str) -> Option<T> {
    match built {
        Ok(built) => Some(built),
        Err(invalid) => {
            let key = key(&invalid);
            reader.wrong(key, reader.value(key), invalid.to_string());
            None
        }
    }
}

/// A duration that may be zero, for not at all.
fn from_zero(reader: &mut Reader<'_>, key: &str) -> Option<Duration> {
    reader.read(key, |kind| reader::duration(kind, Duration::ZERO..=LONGEST))
}

/// Only refusals and failures can be worth a replay.
const STATUSES: RangeInclusive<u16> = 400..=599;

const CREATES: [(&str, Creates); 3] = [("verify", Creates::Verify), ("trust", Creates::Trust), ("pass", Creates::Pass)];

const OTHERS: [(&str, Others); 2] = [("resolve", Others::Resolve), ("pass", Others::Pass)];
