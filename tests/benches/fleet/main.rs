//! Fleets of independent proxies against one account, on virtual time: what they get out of it, what they waste, who gets how much.
//!
//! `cargo bench --bench fleet` prints the tables of docs/fleet.md, with `-- --sweep` those from which the gate's numbers were chosen. `-- --write` puts
//! tables and plot into docs. The seeds are fixed, so the same code prints the same. It fails
//! where a target is missed.

use std::path::Path;

use self::page::write_between;
use self::report::{plot, report, sweep};

mod account;
#[path = "../shared/page.rs"]
mod page;
mod plot;
mod report;
mod rule;
mod score;
mod world;

fn main() -> std::io::Result<()> {
    let asked = |flag: &str| std::env::args().any(|argument| argument == flag);
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let (results, missed) = report();
    let sweeps = if asked("--sweep") || asked("--write") { sweep() } else { String::new() };
    println!("{results}\n{sweeps}");
    if asked("--write") {
        write_between(&docs.join("fleet.md"), &[("results", &results), ("sweep", &sweeps)])?;
        std::fs::write(docs.join("fleet.svg"), plot())?;
    }
    if missed.is_empty() { Ok(()) } else { Err(std::io::Error::other(format!("targets missed: {missed:?}"))) }
}
