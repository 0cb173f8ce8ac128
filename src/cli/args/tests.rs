//! How arguments become sources.

use super::*;

fn parse(line: &str) -> Cli {
    Cli::try_parse_from(std::iter::once("batch-retry-proxy").chain(line.split_whitespace())).unwrap()
}

fn sources(line: &str) -> Sources {
    parse(line).sources(Vec::new()).unwrap()
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn set_works_before_between_and_after_the_words_and_keeps_its_order() {
    for line in [
        "--set a=1 --set b=2 --set c=3",
        "--set a=1 serve --set b=2 --set c=3",
        "--set a=1 config --set b=2 show --set c=3",
        "--set a=1 ca --set b=2 export --set c=3",
        "ca show --set a=1 --set b=2 --set c=3",
        "--set a=1 run --set b=2 --set c=3 -- x --set d=4",
        "--set a=1 healthcheck --set b=2 --set c=3",
        "--set a=1 explain --set b=2 GET /jobs --set c=3",
        "--set a=1 wait --set b=2 --set c=3",
        "--set a=1 --set b=2 config check --set c=3",
    ] {
        assert_eq!(sources(line).set, ["a=1", "b=2", "c=3"], "{line}");
    }
}

#[test]
fn other_global_flags_work_before_and_after_and_the_later_wins() {
    for (line, file, level) in [
        ("--config a --log-level warn", "a", "warn"),
        ("serve --config a --log-level warn", "a", "warn"),
        ("--config b --log-level info config show --config a --log-level warn", "a", "warn"),
        ("--config a config --log-level warn check", "a", "warn"),
    ] {
        let sources = sources(line);
        assert_eq!(sources.file, Some(PathBuf::from(file)), "{line}");
        assert_eq!(sources.flags, [Flag { name: "--log-level", key: "log.level", value: level.to_owned() }], "{line}");
    }
}

#[test]
fn flags_of_serve_are_taken_with_and_without_the_word() {
    let flags = "--listen 127.0.0.1:1 --admin-listen [::1]:2 --publish d";
    let want = [
        ("--listen", "listen.address", "127.0.0.1:1"),
        ("--admin-listen", "admin.address", "[::1]:2"),
        ("--publish", "ca.publish", "d"),
    ];
    for line in
        [flags.to_owned(), format!("serve {flags}"), format!("{flags} serve"), format!("--listen 127.0.0.1:9 serve {flags}")]
    {
        let found = sources(&line).flags;
        let found: Vec<_> = found.iter().map(|flag| (flag.name, flag.key, &*flag.value)).collect();
        assert_eq!(found, want, "{line}");
    }
    let err = parse("--publish d config show").sources(Vec::new()).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ArgumentConflict);
}

#[test]
fn the_file_of_the_variable_counts_where_no_flag_names_one() {
    let env = |value: &str| vec![(CONFIG_VARIABLE.to_owned(), value.to_owned())];
    for (line, value, want) in [("", "v", Some("v")), ("--config f", "v", Some("f")), ("", "", None)] {
        assert_eq!(parse(line).sources(env(value)).unwrap().file, want.map(PathBuf::from), "{line} {value}");
    }
}

#[test]
fn what_is_no_argument_is_refused() {
    for line in [
        "frobnicate",
        "--frobnicate",
        "ca",
        "config",
        "--set a",
        "--set =1",
        "--listen localhost:80",
        "--log-level loud",
        "wait --timeout 5",
        "ca export --format p13",
        "healthcheck --listen 127.0.0.1:1",
    ] {
        let words = std::iter::once("batch-retry-proxy").chain(line.split_whitespace());
        assert!(Cli::try_parse_from(words).is_err_and(|err| err.exit_code() == 2), "{line}");
    }
}

#[test]
fn wait_and_export_have_defaults() {
    assert!(matches!(parse("wait").command, Some(Command::Wait { wait, .. }) if wait.timeout == Duration::from_secs(30)));
    let Some(Command::Ca { command: CaCommand::Export { export, .. }, .. }) = parse("ca export").command else {
        panic!("not the command that was asked for")
    };
    assert_eq!((export.format, export.out), (ExportFormat::Pem, None));
}

/// The command lines that the help of `command` and its subcommands gives as examples.
fn examples(command: &clap::Command) -> Vec<Vec<String>> {
    let help = command.get_after_help().unwrap_or_else(|| panic!("{} has no examples", command.get_name())).to_string();
    let lines = help.lines().filter_map(|line| line.find("batch-retry-proxy ").map(|at| &line[at..]));
    let lines = lines.filter(|_| help.contains("Example")).map(|line| {
        // What the shell does with it, and what is said about it.
        let ends = ["   ", " | ", " > ", " && ", ")\""].iter().filter_map(|end| line.find(end));
        words(&line[..ends.min().unwrap_or(line.len())])
    });
    let mut found: Vec<_> = lines.collect();
    assert!(!found.is_empty() || command.get_name() == "healthcheck", "{} has no examples", command.get_name());
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        found.extend(examples(inner));
    }
    found
}

/// As a shell splits them, as far as the examples need it.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for sign in line.chars() {
        match (quote, sign) {
            (None, '\'' | '"') => quote = Some(sign),
            (Some(open), _) if open == sign => quote = None,
            (None, ' ') => words.push(String::new()),
            _ => words.last_mut().unwrap().push(sign),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_has_examples_and_each_of_them_is_accepted() {
    let examples = examples(&Cli::command());
    assert!(examples.len() > 30, "{}", examples.len());
    for example in examples {
        if let Err(error) = Cli::try_parse_from(&example) {
            panic!("{example:?}: {error}");
        }
    }
}
