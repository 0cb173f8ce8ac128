//! `simulate`: a stand-in Batch account in the foreground, with a summary at its end.

mod screen;

use std::fmt::Write;
use std::pin::pin;
use std::time::Duration;

use tokio::runtime::Builder;

use self::screen::Screen;
use super::Failure;
use super::args::SimulateArgs;
use crate::shutdown::{self, Signals};
use crate::simulator::{Bound, Ledger, Scenario, ScenarioError, Simulator, SimulatorError, SimulatorSettings};

/// Runs the account until a signal ends it.
pub(super) fn run(args: &SimulateArgs) -> Result<(), Failure> {
    let mut scenario = Scenario::load(&args.scenario)?;
    if let Some(per_second) = args.limit {
        scenario = scenario.limited_to(per_second)?;
    }
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(simulate(args, scenario));
    runtime.shutdown_background();
    served
}

async fn simulate(args: &SimulateArgs, scenario: Scenario) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let helping: String = scenario.settings.iter().map(|setting| format!(" --set '{setting}'")).collect();
    let described = format!("{}: {}", scenario.name, scenario.description);
    let settings = SimulatorSettings { address: args.listen, scenario, seed: args.seed, ..SimulatorSettings::demo() };
    let (account, key) = (settings.account.clone(), settings.key.clone());
    let bound = Simulator::bind(settings).await?;
    std::fs::write(&args.ca_out, bound.ca_pem())
        .map_err(|source| Failure::Start(format!("cannot write {}: {source}", args.ca_out.display()).into()))?;
    println!("{}", instructions(&bound, args, (&account, &key), &described, &helping));
    let observer = bound.observer();
    let (shutdown, drain) = shutdown::channel();
    let mut serving = tokio::spawn(bound.serve(drain));
    let screen = Screen::new();
    let mut watching = pin!(screen.follow(observer.clone()));
    let ended = loop {
        tokio::select! {
            () = &mut watching => {}
            ended = &mut serving => break ended,
            _ = signals.next() => {
                if shutdown.has_started() {
                    break Ok(());
                }
                shutdown.drain(GRACE);
            }
        }
    };
    screen.clear();
    print!("{}", summary(&observer.ledger()));
    ended.map_err(|error| Failure::Internal(error.into()))
}

fn instructions(bound: &Bound, args: &SimulateArgs, (account, key): (&str, &str), scenario: &str, helping: &str) -> String {
    let (host, address, ca) = (bound.host(), bound.address(), args.ca_out.display());
    format!(
        "Simulated Batch account on {address}, scenario {scenario} Seed {seed}.\n\
         \x20 endpoint  https://{host}\n\
         \x20 account   {account}\n\
         \x20 key       {key}\n\
         \x20 CA        {ca}\n\
         Any bearer token is taken too. The host is in no DNS. Reach it through the proxy:\n\
         \x20 batch-retry-proxy --set 'upstream.resolve={{\"{host}:443\"=\"{address}\"}}' --set 'upstream.ca_files=[\"{ca}\"]'{helping} --publish trust\n\
         (with `run` and `-- PROGRAM` instead of `--publish trust` for one program), or straight, with the CA as REQUESTS_CA_BUNDLE, \
         SSL_CERT_FILE or NODE_EXTRA_CA_CERTS:\n\
         \x20 endpoint  https://localhost:{port}\n\
         \x20 curl --cacert {ca} -H 'Authorization: Bearer x' 'https://localhost:{port}/jobs?api-version=2024-07-01.20.0'\n\
         Control-C ends it.",
        port = address.port(),
        seed = args.seed,
    )
}

/// What happened, in lines.
fn summary(ledger: &Ledger) -> String {
    let mut text = String::new();
    let list = |counts: &mut dyn Iterator<Item = (&String, &u64)>| {
        let items: Vec<String> = counts.map(|(name, count)| format!("{name} {count}")).collect();
        if items.is_empty() { "none".to_owned() } else { items.join(", ") }
    };
    let done_twice = list(&mut ledger.executed_twice.iter());
    // A string takes every line.
    let _ = writeln!(text, "requests          {}", ledger.requests);
    let _ = writeln!(text, "  by operation    {}", list(&mut ledger.operations.iter()));
    let _ = writeln!(text, "let in            at most {} in a second", ledger.busiest_second());
    let _ = writeln!(text, "faults dealt      {}", list(&mut ledger.faults.iter()));
    let _ = writeln!(text, "answers lost      {}", list(&mut ledger.lost.iter()));
    let _ = writeln!(text, "came too early    {}", ledger.early);
    let _ = writeln!(text, "unauthenticated   {}", ledger.unauthenticated);
    let _ = writeln!(text, "tasks made        {}, of these more than once {}", ledger.tasks_made(), ledger.tasks_doubled());
    let _ = writeln!(text, "done twice        {done_twice}");
    text
}

impl From<ScenarioError> for Failure {
    fn from(error: ScenarioError) -> Self {
        Self::Setting(error.into())
    }
}

impl From<SimulatorError> for Failure {
    fn from(error: SimulatorError) -> Self {
        Self::Start(error.into())
    }
}

/// How long requests under way may take after a signal.
const GRACE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, Sources};

    #[test]
    fn the_settings_that_a_scenario_names_are_settings() {
        for name in Scenario::names() {
            let set = Scenario::load(name).unwrap().settings;
            Settings::load(&Sources { set, ..Sources::default() }).unwrap();
        }
    }

    #[test]
    fn the_summary_says_what_was_done_twice() {
        let mut ledger = Ledger { requests: 3, early: 2, ..Ledger::default() };
        assert!(summary(&ledger).contains("done twice        none"));
        ledger.lost.insert("Jobs_CreateJob".to_owned(), 3);
        ledger.let_in.extend([(0, 2), (1, 7), (9, 1)]);
        ledger.faults.insert("limit".to_owned(), 4);
        ledger.executed_twice.insert("Nodes_RebootNode".to_owned(), 1);
        ledger.tasks.entry("j".to_owned()).or_default().insert("t".to_owned(), 2);
        let text = summary(&ledger);
        for line in [
            "requests          3",
            "let in            at most 7 in a second",
            "faults dealt      limit 4",
            "answers lost      Jobs_CreateJob 3",
            "came too early    2",
            "1, of these more than once 1",
            "Nodes_RebootNode 1",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
