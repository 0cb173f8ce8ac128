//! Which scenes are played and how their scores are shown.

use std::fmt::Write as _;
use std::time::Duration;

use batch_retry_proxy::config::Settings;
use batch_retry_proxy::retry::gate::GateSettings;

use crate::account::{Hint, Terms};
use crate::plot::{Bars, draw};
use crate::rule::{DEFAULTS, Rule};
use crate::score::Score;
use crate::world::{Scene, play};

/// A row: the means over all seeds.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    goodput: f64,
    waste: f64,
    fairness: f64,
    /// The worst of the seeds.
    least_fairness: f64,
    loss: f64,
    p50: f64,
    p99: f64,
}

/// The tables of results, and which of the project's targets they miss.
pub(crate) fn report() -> (String, Vec<String>) {
    let (mut text, mut missed) = (String::new(), Vec::new());
    for (title, terms) in ACCOUNTS {
        let _ = writeln!(text, "\n{title}:\n\n{HEAD}");
        for proxies in FLEETS {
            let rows = rules().map(|rule| Row::of(proxies, LOAD, terms, rule));
            for (rule, row) in rules().iter().zip(&rows) {
                let _ = writeln!(text, "| {proxies} | {} {row}", rule.name());
            }
            if !rows[0].reaches_target(proxies, terms, &rows[1..]) {
                missed.push(format!("{title}, {proxies}"));
            }
        }
    }
    let _ = writeln!(text, "\nThe proxy under other conditions:\n\n{}", HEAD.replacen("rule", "the account", 1));
    for (title, load, terms) in CONDITIONS {
        for proxies in FLEETS {
            let row = Row::of(proxies, load, terms, Rule::Proxy(DEFAULTS.throttle.gate));
            let _ = writeln!(text, "| {proxies} | {title} {row}");
        }
    }
    (text, missed)
}

/// The proxy alone under other numbers.
pub(crate) fn sweep() -> String {
    let mut text = String::from(
        "| initial_share | growth_per_second | cut | accepted at 1 | refused at 10 | least fairness at 10 | refused at 100 | fairness at 100 | given up at 100 |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    assert!(SWEPT.iter().any(|numbers| gate(*numbers) == DEFAULTS.throttle.gate), "the defaults are not among those swept");
    for numbers in SWEPT {
        let [one, ten, hundred] = FLEETS.map(|proxies| Row::of(proxies, LOAD, HINTED, Rule::Proxy(gate(*numbers))));
        let (share, growth, cut) = numbers;
        let _ = writeln!(
            text,
            "| {share} | {growth} | {cut} | {} | {} | {:.3} | {} | {:.3} | {} |",
            percent(one.goodput),
            percent(ten.waste),
            ten.least_fairness,
            percent(hundred.waste),
            hundred.fairness,
            percent(hundred.loss)
        );
    }
    text
}

/// Goodput and waste as bars, and the first minutes of a large fleet.
pub(crate) fn plot() -> String {
    let bars = |title, of: fn(&Score) -> f64| Bars {
        title,
        groups: FLEETS.map(|proxies| (proxies, rules().map(|rule| of(&play(scene(proxies, LOAD, COSTLY, rule, 1)))))),
    };
    let seconds = |rule| play(scene(10, LOAD, COSTLY, rule, 1)).seconds;
    let [proxy, _, envoy, _] = rules();
    let goodput = bars("accepted, share of the capacity", Score::goodput);
    let waste = bars("refused, share of all sends", Score::waste);
    draw(&rules().map(Rule::name), &[goodput, waste], &[(0, seconds(proxy)), (2, seconds(envoy))])
}

impl Row {
    fn of(proxies: usize, load: f64, terms: Terms, rule: Rule) -> Self {
        let scores: Vec<Score> = (1..=SEEDS).map(|seed| play(scene(proxies, load, terms, rule, seed))).collect();
        let mean = |of: fn(&Score) -> f64| scores.iter().map(of).sum::<f64>() / scores.len() as f64;
        Self {
            goodput: mean(Score::goodput),
            waste: mean(Score::waste),
            fairness: mean(Score::fairness),
            least_fairness: scores.iter().map(Score::fairness).fold(1.0, f64::min),
            loss: mean(Score::loss),
            p50: mean(|score| score.completion(0.5).as_secs_f64()),
            p99: mean(|score| score.completion(0.99).as_secs_f64()),
        }
    }

    /// What the project set itself: up to ten proxies full use, little waste, equal shares and no loss; beyond, better than every rule compared.
    fn reaches_target(&self, proxies: usize, terms: Terms, others: &[Self]) -> bool {
        if proxies <= 10 {
            return self.goodput >= 0.9 && self.waste < 0.05 && self.least_fairness >= 0.95 && self.loss == 0.0;
        }
        // Where refusals are free, whoever hammers without pause uses up everything: there is no better than that, only as good.
        let margin = if terms.refusal_cost > 0.0 { 0.0 } else { 0.001 };
        others.iter().all(|other| self.goodput > other.goodput - margin && self.waste < other.waste)
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { goodput, waste, fairness, least_fairness: _, loss, p50, p99 } = *self;
        let (goodput, waste, loss) = (percent(goodput), percent(waste), percent(loss));
        write!(f, "| {goodput} | {waste} | {p50:.2} s | {p99:.2} s | {fairness:.3} | {loss} |")
    }
}

fn percent(share: f64) -> String {
    // Nothing at all is worth telling from almost nothing.
    match share {
        0.0 => "0".to_owned(),
        0.0..0.001 => "< 0.1 %".to_owned(),
        _ => format!("{:.1} %", 100.0 * share),
    }
}

fn scene(proxies: usize, load: f64, terms: Terms, rule: Rule, seed: u64) -> Scene {
    Scene { proxies, load, terms, rule, length: Duration::from_secs(600), seed }
}

fn rules() -> [Rule; 4] {
    [Rule::Proxy(DEFAULTS.throttle.gate), Rule::Python, Rule::Envoy, Rule::Linkerd]
}

/// The default gate but for these numbers.
fn gate((share, growth, cut): (f64, f64, f64)) -> GateSettings {
    let text = format!("retry.throttle = {{ initial_share = {share:?}, growth_per_second = {growth:?}, cut = {cut:?} }}");
    Settings::from_toml(&text).expect("valid numbers").throttle.gate
}

const HEAD: &str = "| proxies | rule | accepted, of capacity | refused, of sends | p50 | p99 | Jain's index | given up |\n|---|---|---|---|---|---|---|---|";
const FLEETS: [usize; 3] = [1, 10, 100];
const LOAD: f64 = 4.0;
const SEEDS: u64 = 3;

const HINTED: Terms = Terms { rate: 100.0, burst: 100.0, hint: Hint::Seconds(1), refusal_cost: 0.0 };
const MUTE: Terms = Terms { hint: Hint::None, ..HINTED };
const COSTLY: Terms = Terms { refusal_cost: 0.1, ..HINTED };

const ACCOUNTS: [(&str, Terms); 4] = [
    ("Refusals with `Retry-After`, free of charge", HINTED),
    ("Refusals without a hint, free of charge", MUTE),
    ("Refusals with `Retry-After`, each costing a tenth of a request", COSTLY),
    ("Refusals without a hint, each costing a tenth of a request", Terms { hint: Hint::None, ..COSTLY }),
];

const CONDITIONS: [(&str, f64, Terms); 7] = [
    ("asked for 0.8 of what it gives", 0.8, HINTED),
    ("asked for 1.2 of what it gives", 1.2, HINTED),
    ("hints of 10 s", LOAD, Terms { hint: Hint::Seconds(10), ..HINTED }),
    ("hints of 60 s", LOAD, Terms { hint: Hint::Seconds(60), ..HINTED }),
    ("a bucket of 0.1 s", LOAD, Terms { burst: 10.0, ..HINTED }),
    ("25 a second, a bucket of 10 s", LOAD, Terms { rate: 25.0, burst: 250.0, ..HINTED }),
    ("1,000 a second, asked for twice that", 2.0, Terms { rate: 1000.0, burst: 1000.0, ..HINTED }),
];

/// `retry.throttle`'s initial_share, growth_per_second and cut, the defaults among them.
const SWEPT: &[(f64, f64, f64)] = &[
    (0.5, 0.005, 0.7),
    (0.5, 0.01, 0.7),
    (0.5, 0.02, 0.7),
    (0.5, 0.03, 0.7),
    (0.5, 0.05, 0.7),
    (0.5, 0.1, 0.7),
    (0.5, 0.02, 0.5),
    (0.5, 0.02, 0.85),
    (0.5, 0.01, 0.85),
    (0.25, 0.02, 0.7),
    (0.9, 0.02, 0.7),
];
