//! `completions` and `man`: the command line as shells and `man` read it.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::args::Cli;
use super::{Failure, help, print};

/// Prints the completions for a shell.
pub(super) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    print(&script)
}

/// Prints the page of the program, or writes that of each command into a directory.
pub(super) fn pages(directory: Option<&Path>) -> Result<(), Failure> {
    let Some(directory) = directory else {
        let mut page = Vec::new();
        Man::new(command()).render(&mut page)?;
        return print(&page);
    };
    let write =
        |error: io::Error| Failure::Start(format!("cannot write to {} (--out): {error}", directory.display()).into());
    fs::create_dir_all(directory).map_err(write)?;
    clap_mangen::generate_to(command(), directory).map_err(write)
}

/// The command line with a first line short enough for the name of a page.
fn command() -> Command {
    let (name, _) = help::ABOUT.split_once(".\n").unwrap_or((help::ABOUT, ""));
    Cli::command().about(name).long_about(help::ABOUT)
}
