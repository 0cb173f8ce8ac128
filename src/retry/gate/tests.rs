use http::Method;
use proptest::prelude::*;

use super::*;
use crate::retry::subject::Subject;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn settings() -> GateSettings {
    GateSettings::new(300 * SECOND, 0.5, 0.02, 0.7, 10_000).unwrap()
}

/// A gate that was told of `rate` accepted requests a second for five seconds, and the instant after the last.
fn busy_gate(settings: GateSettings, rate: u32) -> (Gate, Instant) {
    let (mut gate, begun) = (Gate::new(settings), Instant::now());
    for n in 0..5 * rate {
        gate.accepted(begun + n * SECOND / rate);
    }
    (gate, begun + 5 * SECOND)
}

fn ticket(order: u64) -> Ticket {
    Ticket { order, lane: Lane::Read, client: 0, scope: None }
}

fn pace_of(gate: &Gate, now: Instant) -> f64 {
    gate.snapshot(now).pace.unwrap()
}

/// Asks for each ticket, all of which have to wait.
fn queue_up(gate: &mut Gate, now: Instant, tickets: &[Ticket]) {
    for ticket in tickets {
        assert_eq!(gate.admit(now, *ticket, now + 1000 * SECOND), Admission::Wait, "{ticket:?}");
    }
}

/// Drives the gate by its own wakes up to `end`: who passed, and when.
fn drain(gate: &mut Gate, end: Instant) -> Vec<(Instant, Ticket)> {
    let mut passed = Vec::new();
    while let Some(wake) = gate.next_wake().filter(|wake| *wake <= end) {
        let before = passed.len();
        while let Some(ticket) = gate.release(wake) {
            passed.push((wake, ticket));
        }
        assert!(
            passed.len() > before || gate.next_wake() != Some(wake),
            "a wake that releases nobody and comes again at once"
        );
    }
    passed
}

fn orders(passed: &[(Instant, Ticket)]) -> Vec<u64> {
    passed.iter().map(|(_, ticket)| ticket.order).collect()
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let new =
        |hint, share, growth, cut, waiting| GateSettings::new(Duration::from_secs(hint), share, growth, cut, waiting).err();
    for (got, want) in [
        (new(0, 0.5, 0.02, 0.7, 1), Some(InvalidGate::HintMax)),
        (new(1, 0.0, 0.02, 0.7, 1), Some(InvalidGate::InitialShare)),
        (new(1, 1.1, 0.02, 0.7, 1), Some(InvalidGate::InitialShare)),
        (new(1, f64::NAN, 0.02, 0.7, 1), Some(InvalidGate::InitialShare)),
        (new(1, 0.5, 0.0, 0.7, 1), Some(InvalidGate::Growth)),
        (new(1, 0.5, f64::INFINITY, 0.7, 1), Some(InvalidGate::Growth)),
        (new(1, 0.5, 0.02, 1.0, 1), Some(InvalidGate::Cut)),
        (new(1, 0.5, 0.02, 0.0, 1), Some(InvalidGate::Cut)),
        (new(1, 0.5, 0.02, 0.7, 0), Some(InvalidGate::MaxWaiting)),
        (new(1, 1.0, 1.0, 0.95, 1), None),
    ] {
        assert_eq!(got, want);
    }
}

#[test]
fn lanes_follow_the_operation() {
    for (method, path, want) in [
        (Method::GET, "/jobs/j", Lane::Read),
        (Method::POST, "/pools/p/evaluateautoscale", Lane::Read),
        (Method::POST, "/jobs", Lane::Write),
        (Method::POST, "/pools/p/nodes/n/reboot", Lane::Write),
        (Method::POST, "/jobs/j/addtaskcollection", Lane::Bulk),
        (Method::POST, "/unheard/of", Lane::Write),
    ] {
        assert_eq!(Lane::of(&Subject::of(&method, path)), want, "{method} {path}");
    }
}

#[test]
fn a_gate_that_met_no_refusal_is_out_of_the_way() {
    let (mut gate, now) = busy_gate(settings(), 100);
    for order in 0..1000 {
        assert_eq!(gate.admit(now, ticket(order), now), Admission::Pass);
    }
    assert_eq!(gate.snapshot(now), Snapshot { closed_until: None, waiting: 0, pace: None, next_opening: None });
    assert_eq!(gate.next_wake(), None);
}

#[test]
fn a_hint_closes_the_gate_until_it_passes() {
    let (mut gate, now) = busy_gate(settings(), 100);
    gate.throttled(now, Some(3 * SECOND), None, 0.0);
    queue_up(&mut gate, now + SECOND, &[ticket(1)]);
    let snapshot = gate.snapshot(now + SECOND);
    assert_eq!((snapshot.closed_until, snapshot.waiting), (Some(now + 3 * SECOND), 1));
    assert_eq!(gate.next_wake(), Some(now + 3 * SECOND));
    assert_eq!(gate.release(now + 3 * SECOND - MILLISECOND), None);
    assert_eq!(gate.release(now + 3 * SECOND), Some(ticket(1)));
    assert_eq!(gate.snapshot(now + 3 * SECOND).closed_until, None);
}

#[test]
fn a_later_hint_only_ever_closes_longer() {
    let (mut gate, now) = busy_gate(settings(), 100);
    gate.throttled(now, Some(10 * SECOND), None, 0.0);
    gate.throttled(now + SECOND, Some(2 * SECOND), None, 0.0);
    assert_eq!(gate.snapshot(now + SECOND).closed_until, Some(now + 10 * SECOND));
    gate.throttled(now + 2 * SECOND, Some(20 * SECOND), None, 0.0);
    assert_eq!(gate.snapshot(now + 2 * SECOND).closed_until, Some(now + 22 * SECOND));
}

#[test]
fn a_hint_past_the_longest_closes_for_the_longest() {
    let (mut gate, now) = busy_gate(settings(), 100);
    gate.throttled(now, Some(86_400 * SECOND), None, 0.0);
    assert_eq!(gate.snapshot(now).closed_until, Some(now + 300 * SECOND));
}

#[test]
fn other_numbers_open_nothing_and_lose_nobody() {
    let (mut gate, now) = busy_gate(settings(), 100);
    gate.throttled(now, Some(60 * SECOND), None, 0.0);
    queue_up(&mut gate, now, &[ticket(1), ticket(2)]);
    let before = gate.snapshot(now);
    gate.reconfigure(GateSettings::new(SECOND, 1.0, 1.0, 0.95, 1).unwrap());
    assert_eq!(gate.snapshot(now), before);
    assert_eq!(gate.admit(now, ticket(3), now + 600 * SECOND), Admission::Refuse, "as many wait as may");
    assert_eq!(gate.release(now + 59 * SECOND), None);
    assert_eq!(orders(&drain(&mut gate, now + 90 * SECOND)), [1, 2]);
}

#[test]
fn a_refusal_without_a_hint_closes_nothing_and_cuts_the_pace() {
    let (mut gate, now) = busy_gate(settings(), 100);
    gate.throttled(now, None, None, 0.0);
    assert_eq!(gate.snapshot(now).closed_until, None);
    assert!((pace_of(&gate, now) - 50.0).abs() < 1.0, "{}", pace_of(&gate, now));
    assert_eq!(gate.admit(now, ticket(0), now), Admission::Pass);
    assert_eq!(gate.admit(now, ticket(1), now + SECOND), Admission::Wait);
    assert_eq!(gate.next_wake(), Some(gate.opens_for(now, &ticket(1))));
}

#[test]
fn the_pace_is_cut_at_most_once_a_second() {
    let (mut gate, now) = busy_gate(settings(), 100);
    queue_up_after_refusal(&mut gate, now);
    let first = pace_of(&gate, now);
    for n in 1..100 {
        gate.throttled(now + n * 10 * MILLISECOND - MILLISECOND, None, None, 0.0);
    }
    assert_eq!(pace_of(&gate, now + SECOND), first);
    gate.throttled(now + SECOND, None, None, 0.0);
    assert!((pace_of(&gate, now + SECOND) - 0.7 * first).abs() < 0.01);
}

fn queue_up_after_refusal(gate: &mut Gate, now: Instant) {
    gate.throttled(now, None, None, 1.0);
    queue_up(gate, now, &[ticket(1), ticket(2)]);
}

#[test]
fn the_pace_climbs_back_to_where_it_was_refused_and_then_past_it() {
    let (mut gate, now) = busy_gate(settings(), 100);
    gate.throttled(now, None, None, 1.0);
    queue_up(&mut gate, now, &(0..10).map(ticket).collect::<Vec<_>>());
    let mut paces = Vec::new();
    for n in 1..=600 {
        gate.accepted(now + n * 100 * MILLISECOND);
        paces.push(pace_of(&gate, now));
    }
    assert!(paces.is_sorted());
    // From 0.5 with the cubic that takes 15 s from 0.7 it is 15 s * (0.5 / 0.3)^(1/3) = 17.8 s to the plateau.
    assert!(paces[50] > 65.0 && paces[50] < 95.0, "{}", paces[50]);
    assert!((paces[177] - 100.0).abs() < 2.0, "{}", paces[177]);
    assert!(paces[599] > 200.0, "{}", paces[599]);
}

#[test]
fn where_a_refusal_closes_for_long_the_limit_is_looked_for_later() {
    let pace_after = |hint: u32, climbed: u32| {
        let (mut gate, now) = busy_gate(settings(), 100);
        gate.throttled(now, Some(hint * SECOND), None, 1.0);
        queue_up(&mut gate, now, &(0..10).map(ticket).collect::<Vec<_>>());
        for n in 1..=climbed {
            gate.accepted(now + (hint + n) * SECOND);
        }
        pace_of(&gate, now)
    };
    // From 0.5 the plateau is (0.5 / 0.3)^(1/3) = 1.186 times as far as from the cut.
    assert!((pace_after(1, 18) - 100.0).abs() < 1.0);
    assert!((pace_after(10, 59) - 100.0).abs() < 1.0 && pace_after(10, 30) < 95.0);
    assert!((pace_after(100, 71) - 100.0).abs() < 1.0 && pace_after(100, 36) < 95.0);
}

#[test]
fn a_pace_that_holds_nobody_up_does_not_grow() {
    let (mut gate, now) = busy_gate(settings(), 100);
    gate.throttled(now, None, None, 0.0);
    let pace = pace_of(&gate, now);
    for n in 1..50 {
        gate.accepted(now + n * 100 * MILLISECOND);
    }
    assert_eq!(pace_of(&gate, now + 5 * SECOND), pace);
}

#[test]
fn after_a_quiet_time_the_gate_steps_out_of_the_way() {
    let (mut gate, now) = busy_gate(settings(), 100);
    gate.throttled(now, Some(SECOND), None, 0.0);
    // Counted from when it opened.
    let almost = now + 11 * SECOND - MILLISECOND;
    assert!(gate.snapshot(almost).pace.is_some());
    assert_eq!(gate.snapshot(now + 11 * SECOND).pace, None);
    for order in 0..1000 {
        assert_eq!(gate.admit(now + 11 * SECOND, ticket(order), now + 11 * SECOND), Admission::Pass);
    }
}

#[test]
fn a_long_hint_outlasts_the_quiet_time() {
    let (mut gate, now) = busy_gate(settings(), 100);
    gate.throttled(now, Some(60 * SECOND), None, 0.0);
    let later = now + 30 * SECOND;
    assert!(gate.snapshot(later).pace.is_some());
    assert_eq!(gate.admit(later, ticket(0), later + 90 * SECOND), Admission::Wait);
    assert_eq!(gate.opens_for(later, &ticket(0)), now + 60 * SECOND);
    assert_eq!(gate.next_wake(), Some(now + 60 * SECOND));
}

#[test]
fn a_request_that_cannot_wait_is_told_how_long_it_would_have_to() {
    let one = GateSettings::new(300 * SECOND, 0.5, 0.02, 0.7, 1).unwrap();
    let (mut gate, now) = busy_gate(one, 100);
    gate.throttled(now, Some(30 * SECOND), None, 0.0);
    // What it is told, how long that lasts, and how many wait then.
    let ask = |gate: &mut Gate, order, deadline| {
        let admission = gate.admit(now, ticket(order), now + deadline);
        (admission, gate.opens_for(now, &ticket(order)) - now, gate.waiting())
    };
    // There is room, but it opens too late.
    assert_eq!(ask(&mut gate, 0, 29 * SECOND), (Admission::Refuse, 30 * SECOND, 0));
    assert_eq!(ask(&mut gate, 1, 30 * SECOND), (Admission::Wait, 30 * SECOND, 1));
    assert_eq!(gate.next_wake(), Some(now + 30 * SECOND));
    // It opens in time, but there is no room.
    assert_eq!(ask(&mut gate, 2, 50 * SECOND), (Admission::Refuse, 30 * SECOND, 1));
    assert!(gate.leave(&ticket(1)));
    assert!(!gate.leave(&ticket(1)));
    assert_eq!(gate.next_wake(), None);
    assert_eq!(ask(&mut gate, 2, 50 * SECOND), (Admission::Wait, 30 * SECOND, 1));
    assert_eq!(gate.next_wake(), Some(now + 30 * SECOND));
}

#[test]
fn reads_go_before_bulk_writes_and_the_oldest_first() {
    let (mut gate, now) = busy_gate(settings(), 100);
    gate.throttled(now, Some(SECOND), None, 0.0);
    let bulk = |order| Ticket { lane: Lane::Bulk, ..ticket(order) };
    queue_up(&mut gate, now, &[bulk(0), bulk(1), ticket(3), ticket(2), ticket(4)]);
    assert_eq!(orders(&drain(&mut gate, now + 10 * SECOND)), [2, 3, 4, 0, 1]);
}

#[test]
fn no_lane_stands_still_while_others_have_more() {
    let (mut gate, now) = busy_gate(settings(), 100);
    gate.throttled(now, Some(SECOND), None, 0.0);
    let in_lane = |lane, from: u64| (from..from + 100).map(move |order| Ticket { lane, ..ticket(order) });
    let all: Vec<_> = in_lane(Lane::Read, 0).chain(in_lane(Lane::Write, 100)).chain(in_lane(Lane::Bulk, 200)).collect();
    queue_up(&mut gate, now, &all);
    let passed = drain(&mut gate, now + 60 * SECOND);
    assert_eq!(passed.len(), 300);
    for ten in passed[..100].chunks(10) {
        let count = |lane| ten.iter().filter(|(_, ticket)| ticket.lane == lane).count();
        let counts = (count(Lane::Read), count(Lane::Write), count(Lane::Bulk));
        assert!(counts.0 >= 4 && counts.1 >= 2 && counts.2 >= 1, "{counts:?}");
    }
}

#[test]
fn a_client_with_many_requests_delays_another_by_one_turn() {
    let (mut gate, now) = busy_gate(settings(), 100);
    gate.throttled(now, Some(SECOND), None, 0.0);
    let mut all: Vec<_> = (0..100).map(ticket).collect();
    all.push(Ticket { client: 1, ..ticket(100) });
    all.push(Ticket { client: 1, ..ticket(101) });
    queue_up(&mut gate, now, &all);
    assert_eq!(orders(&drain(&mut gate, now + 20 * SECOND))[..5], [0, 100, 1, 101, 2]);
}

#[test]
fn absence_earns_no_turns() {
    let (mut gate, now) = busy_gate(settings(), 100);
    gate.throttled(now, Some(SECOND), None, 0.0);
    queue_up(&mut gate, now, &(0..50).map(ticket).collect::<Vec<_>>());
    drain(&mut gate, now + SECOND + 500 * MILLISECOND);
    let late: Vec<_> = (100..110).map(|order| Ticket { client: 1, ..ticket(order) }).collect();
    queue_up(&mut gate, now + SECOND + 500 * MILLISECOND, &late);
    let passed = drain(&mut gate, now + 3 * SECOND);
    let of_late = passed[..10].iter().filter(|(_, ticket)| ticket.client == 1).count();
    assert!((4..=6).contains(&of_late), "{of_late}");
}

#[test]
fn a_replay_keeps_the_place_of_its_age() {
    let (mut gate, now) = busy_gate(settings(), 100);
    gate.throttled(now, Some(SECOND), None, 0.0);
    let all: Vec<_> = (0..10).map(|n| Ticket { client: n, ..ticket(n) }).collect();
    queue_up(&mut gate, now, &all);
    let first = gate.release(now + SECOND).unwrap();
    assert_eq!(first.order, 0);
    queue_up(&mut gate, now + SECOND, &[first]);
    assert_eq!(orders(&drain(&mut gate, now + 10 * SECOND)), (0..10).collect::<Vec<_>>());
}

#[test]
fn chance_moves_the_first_release_by_less_than_one_interval() {
    let first = |entropy| {
        let (mut gate, now) = busy_gate(settings(), 100);
        gate.throttled(now, Some(SECOND), None, entropy);
        queue_up(&mut gate, now, &[ticket(0)]);
        gate.next_wake().unwrap() - now
    };
    assert_eq!(first(0.0), SECOND);
    assert!(first(0.5) > SECOND + 9 * MILLISECOND && first(0.5) < SECOND + 11 * MILLISECOND, "{:?}", first(0.5));
}

#[test]
fn a_late_timer_is_caught_up_with_but_a_pause_is_not() {
    let (mut gate, now) = busy_gate(settings(), 2000);
    gate.throttled(now, Some(SECOND), None, 0.0);
    queue_up(&mut gate, now, &(0..100).map(ticket).collect::<Vec<_>>());
    let count = |gate: &mut Gate, at| std::iter::from_fn(|| gate.release(at)).count();
    assert_eq!(count(&mut gate, now + SECOND), 1);
    assert_eq!(count(&mut gate, now + SECOND + 5 * MILLISECOND), 5);
    let after_pause = count(&mut gate, now + 2 * SECOND);
    assert!((10..=12).contains(&after_pause), "{after_pause}");
}

mod scopes {
    use super::*;

    const POOL: Scope = Scope { key: 7, interval: Duration::from_secs(30) };

    fn scoped(order: u64) -> Ticket {
        Ticket { scope: Some(POOL), lane: Lane::Write, ..ticket(order) }
    }

    #[test]
    fn a_narrow_refusal_closes_its_scope_and_not_the_account() {
        let (mut gate, now) = busy_gate(settings(), 100);
        gate.throttled(now, None, Some(POOL), 0.0);
        assert_eq!(gate.snapshot(now).pace, None);
        assert_eq!(gate.admit(now, ticket(0), now), Admission::Pass);
        let other = Ticket { scope: Some(Scope { key: 8, ..POOL }), ..ticket(1) };
        assert_eq!(gate.admit(now, other, now), Admission::Pass);
        assert_eq!(gate.admit(now, scoped(2), now + 50 * SECOND), Admission::Wait);
        assert_eq!((gate.opens_for(now, &scoped(2)), gate.next_wake()), (now + 30 * SECOND, Some(now + 30 * SECOND)));
        assert_eq!(gate.admit(now, scoped(3), now + 29 * SECOND), Admission::Refuse);
        assert_eq!((gate.opens_for(now, &scoped(3)), gate.waiting()), (now + 30 * SECOND, 1));
        assert_eq!(orders(&drain(&mut gate, now + 30 * SECOND)), [2]);
    }

    #[test]
    fn those_that_wait_for_a_scope_pass_one_by_one() {
        let (mut gate, now) = busy_gate(settings(), 100);
        gate.throttled(now, Some(40 * SECOND), Some(POOL), 0.0);
        queue_up(&mut gate, now, &[scoped(0), scoped(1), scoped(2)]);
        let passed = drain(&mut gate, now + 200 * SECOND);
        let after: Vec<_> = passed.iter().map(|(at, ticket)| ((*at - now).as_secs(), ticket.order)).collect();
        assert_eq!(after, [(40, 0), (70, 1), (100, 2)]);
    }

    #[test]
    fn who_waited_for_a_scope_waits_for_a_closed_account_too() {
        let (mut gate, now) = busy_gate(settings(), 100);
        gate.throttled(now, None, Some(POOL), 0.0);
        queue_up(&mut gate, now, &[scoped(0)]);
        gate.throttled(now + 29 * SECOND, Some(10 * SECOND), None, 0.0);
        let passed = drain(&mut gate, now + 200 * SECOND);
        assert_eq!(passed, [(now + 39 * SECOND, scoped(0))]);
    }

    #[test]
    fn one_that_leaves_a_scope_is_gone() {
        let (mut gate, now) = busy_gate(settings(), 100);
        gate.throttled(now, None, Some(POOL), 0.0);
        queue_up(&mut gate, now, &[scoped(0)]);
        assert!(gate.leave(&scoped(0)));
        assert_eq!((gate.next_wake(), gate.snapshot(now).waiting), (None, 0));
    }

    #[test]
    fn memory_of_scopes_is_bounded() {
        let (mut gate, now) = busy_gate(settings(), 100);
        for key in 0..100_000 {
            gate.throttled(now + key as u32 * MILLISECOND, None, Some(Scope { key, ..POOL }), 0.0);
        }
        assert!(gate.scopes.remembered() <= 256, "{}", gate.scopes.remembered());
        let last = Ticket { scope: Some(Scope { key: 99_999, ..POOL }), ..ticket(0) };
        assert_eq!(gate.admit(now + 100 * SECOND, last, now + 200 * SECOND), Admission::Wait);
    }
}

/// Something that happens to a gate in the properties.
#[derive(Clone, Debug)]
enum Step {
    Accepted,
    Ask { lane: usize, client: u64 },
    Leave,
    Release,
    Throttled { hint: Option<u64>, entropy: f64 },
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let what = prop_oneof![
        4 => Just(Step::Accepted),
        6 => (0..3usize, 0..4u64).prop_map(|(lane, client)| Step::Ask { lane, client }),
        1 => Just(Step::Leave),
        6 => Just(Step::Release),
        1 => (prop::option::of(1..5000u64), 0.0..1.0f64).prop_map(|(hint, entropy)| Step::Throttled { hint, entropy }),
    ];
    (0..300u64, what)
}

proptest! {
    #[test]
    fn nothing_passes_before_the_hint_has_and_nobody_is_forgotten(steps in prop::collection::vec(step(), 1..300)) {
        let (mut gate, mut now) = busy_gate(settings(), 20);
        let (mut closed_until, mut waiting, mut order) = (now, Vec::<Ticket>::new(), 0);
        for (passed, step) in steps {
            now += Duration::from_millis(passed);
            match step {
                Step::Accepted => gate.accepted(now),
                Step::Throttled { hint, entropy } => {
                    let hint = hint.map(Duration::from_millis);
                    closed_until = closed_until.max(now + hint.unwrap_or_default());
                    gate.throttled(now, hint, None, entropy);
                }
                Step::Ask { lane, client } => {
                    order += 1;
                    let asking = Ticket { order, lane: [Lane::Read, Lane::Write, Lane::Bulk][lane], client, scope: None };
                    match gate.admit(now, asking, now + 1000 * SECOND) {
                        Admission::Pass => prop_assert!(now >= closed_until),
                        Admission::Wait => {
                            let until = gate.opens_for(now, &asking);
                            prop_assert!(until >= closed_until && until >= now);
                            waiting.push(asking);
                        }
                        Admission::Refuse => prop_assert!(false, "it could have waited"),
                    }
                }
                Step::Leave => {
                    if let Some(gone) = waiting.pop() {
                        prop_assert!(gate.leave(&gone));
                    }
                }
                Step::Release => {
                    while let Some(released) = gate.release(now) {
                        prop_assert!(now >= closed_until);
                        let oldest = waiting.iter().filter(|t| (t.lane, t.client) == (released.lane, released.client)).min_by_key(|t| t.order);
                        prop_assert_eq!(oldest, Some(&released), "the oldest of a client's lane goes first");
                        waiting.retain(|ticket| *ticket != released);
                    }
                }
            }
            prop_assert_eq!(gate.snapshot(now).waiting, waiting.len());
            prop_assert_eq!(gate.next_wake().is_some(), !waiting.is_empty());
        }
        // Left alone, the gate lets everybody through at no less than its least pace.
        let end = now.max(closed_until) + (waiting.len() as u32 + 2) * 10 * SECOND;
        let mut left: Vec<_> = drain(&mut gate, end).into_iter().map(|(_, ticket)| ticket).collect();
        left.sort_by_key(|ticket| ticket.order);
        waiting.sort_by_key(|ticket| ticket.order);
        prop_assert_eq!(left, waiting);
    }

    #[test]
    fn releases_keep_to_the_pace(rate in 1..500u32, wakes in prop::collection::vec(1..200u64, 1..100)) {
        let (mut gate, mut now) = busy_gate(settings(), rate);
        gate.throttled(now, Some(SECOND), None, 0.0);
        let begun = now + SECOND;
        queue_up(&mut gate, now, &(0..2000).map(ticket).collect::<Vec<_>>());
        let pace = pace_of(&gate, now);
        let mut released = 0;
        for wait in wakes {
            now += Duration::from_millis(wait);
            released += std::iter::from_fn(|| gate.release(now)).count();
            let most = now.saturating_duration_since(begun).as_secs_f64() * pace + 1.0;
            prop_assert!(released as f64 <= most + 1e-6 || now < begun && released == 0, "{released} > {most}");
        }
    }
}

/// One request in two seconds, and one more a second with each answer: a program that begins in somebody else's throttle is soon through, where the account lets it.
#[test]
fn a_gate_that_knows_nothing_of_the_account_learns_fast() {
    let (mut gate, now) = (Gate::new(settings()), Instant::now());
    gate.throttled(now, Some(SECOND), None, 0.0);
    let tickets: Vec<Ticket> = (0..40).map(ticket).collect();
    queue_up(&mut gate, now, &tickets);
    let mut passed = Vec::new();
    while let Some(wake) = gate.next_wake() {
        while gate.release(wake).is_some() {
            passed.push(wake - now);
            gate.accepted(wake);
        }
    }
    assert!(passed[0] >= SECOND && passed[39] < 8 * SECOND, "{passed:?}");
    // The next refusal ends the guessing.
    let now = now + passed[39];
    queue_up(&mut gate, now, &[ticket(50), ticket(51)]);
    gate.throttled(now, None, None, 0.0);
    let before = pace_of(&gate, now);
    gate.accepted(now + SECOND);
    assert!(pace_of(&gate, now + SECOND) < before + 0.9 * before.min(10.0) && before > 10.0, "{before}");
}

/// It never leaves a queue behind it, and is held up all the same.
#[test]
fn one_client_after_another_request_gets_its_pace_back_and_the_gate_out_of_its_way() {
    let (mut gate, mut now) = busy_gate(settings(), 20);
    gate.throttled(now, None, None, 0.0);
    assert!((pace_of(&gate, now) - 10.0).abs() < 0.5);
    for order in 0..1000 {
        if gate.admit(now, ticket(order), now + 50 * SECOND) == Admission::Wait {
            now = gate.next_wake().unwrap();
            assert_eq!(gate.release(now), Some(ticket(order)));
        }
        now += 50 * MILLISECOND;
        gate.accepted(now);
    }
    assert_eq!(gate.snapshot(now).pace, None, "it asks for 20 a second, and the pace came to more");
}

/// Those who were told to come back then come back then.
#[test]
fn the_gate_is_there_when_a_long_hint_ends_although_nobody_waited() {
    let (mut gate, now) = busy_gate(settings(), 100);
    gate.throttled(now, Some(60 * SECOND), None, 0.0);
    assert_eq!(gate.admit(now + SECOND, ticket(0), now + 50 * SECOND), Admission::Refuse);
    let opened = now + 60 * SECOND;
    assert_eq!(gate.admit(opened, ticket(1), opened + SECOND), Admission::Pass);
    assert_eq!(gate.admit(opened, ticket(2), opened + SECOND), Admission::Wait, "the second at once");
}
