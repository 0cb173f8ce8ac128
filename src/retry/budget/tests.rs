use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn budget(ratio: f64, floor: u32, window: u64) -> (Budget, Instant) {
    let now = Instant::now();
    (Budget::new(BudgetSettings::new(ratio, floor, Duration::from_secs(window)).unwrap(), now), now)
}

fn grants(budget: &mut Budget, now: Instant) -> usize {
    std::iter::from_fn(|| (budget.withdraw(now) == Withdrawal::Granted).then_some(())).count()
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let new = |ratio, floor, window| BudgetSettings::new(ratio, floor, Duration::from_secs(window)).err();
    for (got, want) in [
        (new(-0.1, 10, 10), Some(InvalidBudget::Ratio)),
        (new(f64::NAN, 10, 10), Some(InvalidBudget::Ratio)),
        (new(f64::INFINITY, 10, 10), Some(InvalidBudget::Ratio)),
        (new(0.2, 0, 10), Some(InvalidBudget::MinPerSecond)),
        (new(0.2, 10, 0), Some(InvalidBudget::Window)),
        (new(0.2, 10, 61), Some(InvalidBudget::Window)),
        (new(0.0, 1, 1), None),
    ] {
        assert_eq!(got, want);
    }
}

#[test]
fn a_quiet_client_has_the_floor_and_a_busy_one_its_share_too() {
    let (mut budget, now) = budget(0.2, 10, 10);
    assert_eq!(budget.balance(now), 100.0);
    for _ in 0..1000 {
        budget.deposit(now);
    }
    assert_eq!(budget.balance(now), 300.0);
    assert_eq!(grants(&mut budget, now), 300);
    assert_eq!(budget.balance(now), 0.0);
}

#[test]
fn what_is_not_granted_is_put_off_to_the_moment_when_it_will_be() {
    let (mut budget, now) = budget(0.2, 10, 10);
    assert_eq!(grants(&mut budget, now), 100);
    let Withdrawal::NotBefore(at) = budget.withdraw(now + 3 * SECOND) else { panic!("granted too much") };
    assert_eq!(at, now + 11 * SECOND);
    assert_eq!(budget.withdraw(at - Duration::from_nanos(1)), Withdrawal::NotBefore(at));
    assert_eq!(grants(&mut budget, at), 100);
}

#[test]
fn three_hundred_requests_reset_at_once_all_get_their_replay_within_fifty_seconds() {
    let (mut budget, now) = budget(0.2, 10, 10);
    for _ in 0..300 {
        budget.deposit(now);
    }
    let mut asking: BTreeSet<(Instant, u32)> = (0..300).map(|n| (now + 2 * SECOND, n)).collect();
    let mut asked = 0;
    while let Some((at, n)) = asking.pop_first() {
        asked += 1;
        assert!(at <= now + 50 * SECOND, "{:?}", at - now);
        if let Withdrawal::NotBefore(later) = budget.withdraw(at) {
            assert!(later > at);
            asking.insert((later, n));
        }
    }
    // Nobody asks in vain more than twice.
    assert!(asked <= 3 * 300, "{asked}");
}

#[test]
fn a_long_silence_is_forgotten_at_once() {
    let (mut budget, now) = budget(0.2, 10, 10);
    for _ in 0..1000 {
        budget.deposit(now);
    }
    grants(&mut budget, now);
    assert_eq!(budget.balance(now + 100_000_000 * SECOND), 100.0);
}

#[test]
fn another_rule_counts_what_was_spent_under_the_one_before() {
    for (ratio, floor, window, left) in
        [(0.2, 10, 10, 150.0), (0.2, 20, 10, 250.0), (0.0, 10, 10, 0.0), (0.2, 10, 60, 650.0)]
    {
        let (mut budget, now) = budget(0.2, 10, 10);
        for _ in 0..1000 {
            budget.deposit(now);
        }
        for _ in 0..150 {
            assert_eq!(budget.withdraw(now + SECOND), Withdrawal::Granted);
        }
        budget.reconfigure(BudgetSettings::new(ratio, floor, Duration::from_secs(window)).unwrap(), now + SECOND);
        assert_eq!(budget.balance(now + SECOND), left, "{ratio} {floor} {window}");
    }
}

#[test]
fn a_rule_with_the_same_window_forgets_replays_when_they_are_due() {
    let (mut budget, now) = budget(0.2, 1, 10);
    for _ in 0..10 {
        assert_eq!(budget.withdraw(now), Withdrawal::Granted);
    }
    for second in 1..=10 {
        let at = now + second * SECOND;
        budget.reconfigure(BudgetSettings::new(0.2, 1, 10 * SECOND).unwrap(), at);
        assert_eq!(budget.balance(at), 0.0);
    }
    assert_eq!(budget.balance(now + 11 * SECOND), 10.0);
}

proptest! {
    /// What was forgotten under a shorter window cannot count under a longer one.
    #[test]
    fn no_shorter_window_ever_holds_more_replays_than_its_rule(
        steps in prop::collection::vec((0..400u64, 0..8u32, 0..12u32), 1..200),
        change in 0..200usize,
        floors in (1..5u32, 1..5u32),
        windows in (1000..12_000u64, 1000..12_000u64),
    ) {
        let (before, after) = (windows.0.max(windows.1), windows.0.min(windows.1));
        let rule = |floor, window| BudgetSettings::new(0.2, floor, Duration::from_millis(window)).unwrap();
        let mut now = Instant::now();
        let mut budget = Budget::new(rule(floors.0, before), now);
        let (mut window, mut floor) = (Duration::from_millis(before), floors.0);
        let (mut requests, mut replays) = (Vec::new(), Vec::new());
        for (step, (passed, deposits, asks)) in steps.into_iter().enumerate() {
            now += Duration::from_millis(passed);
            if step == change {
                (window, floor) = (Duration::from_millis(after), floors.1);
                budget.reconfigure(rule(floor, after), now);
            }
            for _ in 0..deposits {
                budget.deposit(now);
                requests.push(now);
            }
            for _ in 0..asks {
                if budget.withdraw(now) == Withdrawal::Granted {
                    replays.push(now);
                    let within = |times: &[Instant]| times.iter().filter(|at| **at + window > now).count() as f64;
                    let most = 0.2 * within(&requests) + f64::from(floor) * window.as_secs_f64();
                    prop_assert!(within(&replays) <= most + 1e-9, "{} > {most}", within(&replays));
                }
            }
        }
    }

    #[test]
    fn no_window_ever_holds_more_replays_than_the_rule(
        steps in prop::collection::vec((0..400u64, 0..8u32, 0..12u32), 1..200),
        ratio in 0.0..1.0f64,
        floor in 1..5u32,
        window in 1..12u64,
    ) {
        let (mut budget, begun) = budget(ratio, floor, window);
        let window = Duration::from_secs(window);
        let (mut now, mut requests, mut replays) = (begun, Vec::new(), Vec::new());
        for (passed, deposits, asks) in steps {
            now += Duration::from_millis(passed);
            for _ in 0..deposits {
                budget.deposit(now);
                requests.push(now);
            }
            for _ in 0..asks {
                match budget.withdraw(now) {
                    Withdrawal::Granted => {
                        replays.push(now);
                        // The window that ends with this grant: what it allowed is what was known.
                        let within = |times: &[Instant]| times.iter().filter(|at| **at + window > now).count() as f64;
                        let most = ratio * within(&requests) + f64::from(floor) * window.as_secs_f64();
                        prop_assert!(within(&replays) <= most + 1e-9, "{} > {most}", within(&replays));
                    }
                    Withdrawal::NotBefore(at) => prop_assert!(at > now && at <= now + window.mul_f64(1.1001)),
                }
            }
        }
    }
}
