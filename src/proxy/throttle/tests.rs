use http::Method;

use super::*;
use crate::metrics::BuildInfo;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const SECOND: Duration = Duration::from_secs(1);

fn settings() -> ThrottleSettings {
    ThrottleSettings {
        gate: GateSettings::new(300 * SECOND, 0.5, 0.02, 0.7, 3).unwrap(),
        budget: BudgetSettings::new(0.2, 10, 10 * SECOND).unwrap(),
    }
}

/// An account whose gate nobody has closed.
fn throttle() -> (Throttles, Arc<Throttle>, Metrics) {
    let metrics = Metrics::new(BuildInfo::current());
    let throttles = Throttles::new(settings(), &metrics);
    let throttle = throttles.of("acct.example", &metrics.account("acct.example"));
    (throttles, throttle, metrics)
}

fn get(throttle: &Throttle) -> Caller {
    throttle.arrive(&Subject::of(&Method::GET, "/jobs"), "/jobs", CLIENT)
}

fn enable(throttle: &Throttle, path: &str) -> Caller {
    throttle.arrive(&Subject::of(&Method::POST, path), path, CLIENT)
}

fn refuse(throttle: &Throttle, caller: Caller, hint: Duration) {
    throttle.throttled(caller, Some(hint), StatusCode::TOO_MANY_REQUESTS, Some("TooManyRequests"));
}

fn later(after: Duration) -> Instant {
    Instant::now() + after
}

#[tokio::test(start_paused = true)]
async fn nobody_passes_before_the_hint_and_then_one_after_the_other() {
    let (_throttles, throttle, _metrics) = throttle();
    let begun = Instant::now();
    assert_eq!(throttle.pass(get(&throttle), later(50 * SECOND)).await, Ok(()));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    refuse(&throttle, get(&throttle), 5 * SECOND);
    let passes = (0..3).map(|_| {
        let throttle = throttle.clone();
        tokio::spawn(async move {
            throttle.pass(get(&throttle), later(50 * SECOND)).await.unwrap();
            begun.elapsed()
        })
    });
    let mut times = Vec::new();
    for pass in passes.collect::<Vec<_>>() {
        times.push(pass.await.unwrap());
    }
    assert!(times[0] >= 5 * SECOND && times[0] < times[1] && times[1] < times[2], "{times:?}");
}

/// The place of a request that went away is free, and nothing is left of it.
#[tokio::test(start_paused = true)]
async fn who_hangs_up_leaves_the_queue() {
    let (_throttles, throttle, metrics) = throttle();
    refuse(&throttle, get(&throttle), 5 * SECOND);
    let waiting = tokio::spawn({
        let throttle = throttle.clone();
        async move { throttle.pass(get(&throttle), later(50 * SECOND)).await }
    });
    while throttle.show().waiting == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(metrics.summary().accounts[throttle.account.as_str()].throttle.as_ref().unwrap().waiting, 1);
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    assert_eq!((throttle.show().waiting, throttle.state().waiting.len()), (0, 0));
    while throttle.state().driven {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_cannot_wait_is_told_at_once_in_the_services_words() {
    let (_throttles, throttle, _metrics) = throttle();
    throttle.throttled(get(&throttle), Some(60 * SECOND), StatusCode::SERVICE_UNAVAILABLE, Some("ServerBusy"));
    let begun = Instant::now();
    let refused = throttle.pass(get(&throttle), later(50 * SECOND)).await.unwrap_err();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert!(refused.after >= 60 * SECOND, "{refused:?}");
    assert_eq!(refused.refusal, ServiceRefusal { status: StatusCode::SERVICE_UNAVAILABLE, code: "ServerBusy".to_owned() });
}

/// Three may wait here. The fourth learns when the account opens.
#[tokio::test(start_paused = true)]
async fn no_more_wait_than_may() {
    let (_throttles, throttle, _metrics) = throttle();
    refuse(&throttle, get(&throttle), 5 * SECOND);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let throttle = throttle.clone();
        waiting.spawn(async move { throttle.pass(get(&throttle), later(50 * SECOND)).await });
    }
    while throttle.show().waiting < 3 {
        tokio::task::yield_now().await;
    }
    let refused = throttle.pass(get(&throttle), later(50 * SECOND)).await.unwrap_err();
    assert!(refused.after >= 5 * SECOND, "{refused:?}");
    while let Some(passed) = waiting.join_next().await {
        assert!(passed.unwrap().is_ok());
    }
}

/// A queue too long for a deadline is left at the deadline, not later.
#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_leaves_at_the_deadline() {
    let (_throttles, throttle, _metrics) = throttle();
    refuse(&throttle, get(&throttle), SECOND);
    let waiting = |patience| {
        let throttle = throttle.clone();
        async move {
            let begun = Instant::now();
            (throttle.pass(get(&throttle), later(patience)).await, begun.elapsed())
        }
    };
    let first = tokio::spawn(waiting(50 * SECOND));
    while throttle.show().waiting == 0 {
        tokio::task::yield_now().await;
    }
    // Another refusal, met by what was on its way, keeps the account closed.
    let second = tokio::spawn(waiting(9 * SECOND));
    while throttle.show().waiting < 2 {
        tokio::task::yield_now().await;
    }
    refuse(&throttle, get(&throttle), 20 * SECOND);
    let (passed, elapsed) = second.await.unwrap();
    let left = passed.unwrap_err().after;
    assert!(left >= 11 * SECOND, "{left:?} of the 20 that were asked for are left");
    assert_eq!(elapsed, 9 * SECOND);
    let (passed, elapsed) = first.await.unwrap();
    assert_eq!(passed, Ok(()));
    assert!(elapsed >= 20 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn one_pools_interval_closes_neither_the_account_nor_another_pool() {
    let (_throttles, throttle, _metrics) = throttle();
    let [one, other] = ["/pools/a/enableautoscale", "/pools/b/enableautoscale"];
    let busy = Some("TooManyEnableAutoScaleRequests");
    throttle.throttled(enable(&throttle, one), None, StatusCode::SERVICE_UNAVAILABLE, busy);
    let by = later(50 * SECOND);
    let begun = Instant::now();
    assert_eq!(throttle.pass(get(&throttle), by).await, Ok(()));
    assert_eq!(throttle.pass(enable(&throttle, other), by).await, Ok(()));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(throttle.pass(enable(&throttle, one), by).await, Ok(()));
    assert!(begun.elapsed() >= 30 * SECOND);
}

/// 300 at once: 160 have a token at hand (a fifth of them and the floor of ten seconds), the others when the window has moved on.
#[tokio::test(start_paused = true)]
async fn replays_past_the_budget_are_put_off_and_not_refused() {
    let (_throttles, throttle, _metrics) = throttle();
    for _ in 0..300 {
        get(&throttle);
    }
    let (begun, mut at_once) = (Instant::now(), 0);
    for _ in 0..300 {
        while let Err(at) = throttle.withdraw() {
            assert!(at > Instant::now() && at < begun + 50 * SECOND, "within the least deadline");
            tokio::time::sleep_until(at).await;
        }
        at_once += u32::from(begun.elapsed().is_zero());
    }
    assert_eq!(at_once, 160);
    assert!(begun.elapsed() > SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_account_is_one_whatever_the_number_of_its_connections() {
    let (throttles, throttle, metrics) = throttle();
    let account = metrics.account("acct.example");
    assert!(Arc::ptr_eq(&throttles.of("acct.example", &account), &throttle));
    let other = throttles.of("other.example", &metrics.account("other.example"));
    refuse(&throttle, get(&throttle), 5 * SECOND);
    let begun = Instant::now();
    assert_eq!(other.pass(get(&other), later(SECOND)).await, Ok(()));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    // More hosts than are kept: those at rest make room, one that is closed stays closed.
    drop(throttle);
    for number in 0..2 * MOST {
        let host = format!("{number}.example");
        throttles.of(&host, &metrics.account(&host));
    }
    assert!(lock(&throttles.0).hosts.len() <= MOST + 1);
    let throttle = throttles.of("acct.example", &account);
    assert!(throttle.pass(get(&throttle), later(SECOND)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_gauges_tell_the_moment_they_are_read() {
    let (_throttles, throttle, metrics) = throttle();
    let line = |name: &str| {
        let text = String::from_utf8(metrics.encode()).unwrap();
        let found = text.lines().find(|line| line.starts_with(&format!("batch_retry_proxy_{name}{{")));
        found.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
    };
    assert_eq!((line("throttle_gate_closed"), line("throttle_pace_per_second")), (Some(0.0), None));
    assert_eq!(line("budget_balance"), Some(100.0));
    refuse(&throttle, get(&throttle), 5 * SECOND);
    assert_eq!(line("throttle_gate_closed"), Some(1.0));
    assert!(line("throttle_pace_per_second").unwrap() > 0.0);
    tokio::time::advance(6 * SECOND).await;
    assert_eq!(line("throttle_gate_closed"), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn other_numbers_hold_for_the_accounts_there_are_and_open_no_gate() {
    let (throttles, throttle, metrics) = throttle();
    let begun = Instant::now();
    refuse(&throttle, get(&throttle), 5 * SECOND);
    let waiting = tokio::spawn({
        let throttle = throttle.clone();
        async move {
            throttle.pass(get(&throttle), later(50 * SECOND)).await.unwrap();
            begun.elapsed()
        }
    });
    tokio::task::yield_now().await;
    let other = ThrottleSettings {
        gate: GateSettings::new(SECOND, 1.0, 1.0, 0.95, 1).unwrap(),
        budget: BudgetSettings::new(0.0, 1, SECOND).unwrap(),
    };
    throttles.reconfigure(other);
    assert!(throttle.is_closed());
    assert!(throttle.pass(get(&throttle), later(50 * SECOND)).await.is_err(), "one waits, and no more may");
    assert_eq!(throttle.show().budget_balance, 1.0);
    assert!(waiting.await.unwrap() >= 5 * SECOND);
    assert_eq!(throttles.of("new.example", &metrics.account("new.example")).show().budget_balance, 1.0);
}
