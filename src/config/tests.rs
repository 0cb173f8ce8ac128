//! What configuration promises as a whole: defaults, layers, errors. Parts are tested beside their code.

use std::fs;

use super::keys::{KEYS, SECRETS};
use super::*;

/// Written down apart from `default.toml`, so that neither changes alone.
const DOCUMENTED: [(&str, &str); 56] = [
    ("listen.address", r#""127.0.0.1:3128""#),
    ("listen.max_connections", "4096"),
    ("listen.header_timeout", r#""10s""#),
    ("listen.idle_timeout", r#""5m""#),
    ("listen.allow", "[]"),
    ("listen.credentials", r#""""#),
    ("admin.address", r#""127.0.0.1:9464""#),
    ("admin.allow_shutdown", "false"),
    ("intercept.hosts", r#"["*.*.batch.azure.com", "*.*.batch.usgovcloudapi.net", "*.*.batch.chinacloudapi.cn"]"#),
    (
        "intercept.except",
        r#"["*.service.batch.azure.com", "*.service.batch.usgovcloudapi.net", "*.service.batch.chinacloudapi.cn"]"#,
    ),
    ("tunnel.ports", "[]"),
    ("tunnel.allow", "[]"),
    ("tunnel.deny", "[]"),
    ("tunnel.idle_timeout", r#""1h""#),
    ("forward.allow", "[]"),
    ("ca.directory", r#""""#),
    ("ca.publish", r#""""#),
    ("ca.lifetime", r#""365d""#),
    ("ca.leaf_lifetime", r#""24h""#),
    ("upstream.ca_files", "[]"),
    ("upstream.resolve", "{}"),
    ("upstream.connect_timeout", r#""10s""#),
    ("upstream.response_timeout", r#""35s""#),
    ("upstream.body_idle_timeout", r#""30s""#),
    ("upstream.pool_idle_timeout", r#""90s""#),
    ("retry.max_attempts", "20"),
    ("retry.deadline", r#""50s""#),
    (
        "retry.deadline_for",
        concat!(
            r#"[{ deadline = "240s", user_agent = "azsdk-python-batch" }, { deadline = "90s", user_agent = "msrest" }, "#,
            r#"{ deadline = "90s", user_agent = "azsdk-net" }, { deadline = "240s", user_agent = "azsdk-go" }, "#,
            r#"{ deadline = "240s", user_agent = "Node" }]"#
        ),
    ),
    ("retry.statuses", "[408, 429, 500, 502, 503, 504]"),
    ("retry.body_limit", r#""4MiB""#),
    ("retry.response_buffer", r#""8MiB""#),
    ("retry.memory_limit", r#""auto""#),
    ("retry.repeat_memory", r#""5m""#),
    ("retry.read_after_create", r#""0s""#),
    ("retry.backoff.initial", r#""2s""#),
    ("retry.backoff.factor", "2"),
    ("retry.backoff.max", r#""10s""#),
    ("retry.backoff.jitter", "0.5"),
    ("retry.throttle.hint_max", r#""300s""#),
    ("retry.throttle.initial_share", "0.5"),
    ("retry.throttle.growth_per_second", "0.02"),
    ("retry.throttle.cut", "0.7"),
    ("retry.throttle.max_waiting", "10000"),
    ("retry.budget.ratio", "0.2"),
    ("retry.budget.min_per_second", "10"),
    ("retry.budget.window", r#""10s""#),
    ("retry.echo.creates", r#""verify""#),
    ("retry.echo.others", r#""resolve""#),
    ("retry.state.attempts", "0"),
    ("retry.state.wait", r#""10s""#),
    ("retry.quota.attempts", "0"),
    ("retry.quota.wait", r#""2m""#),
    ("shutdown.grace", r#""25s""#),
    ("shutdown.delay", r#""0s""#),
    ("log.level", r#""info""#),
    ("log.format", r#""auto""#),
];

/// A key, a valid value that differs from its default, the setting it becomes, and what that then is.
type Change = (&'static str, &'static str, fn(&Settings) -> String, &'static str);

const CHANGES: [Change; 56] = [
    ("listen.address", r#""[::1]:3129""#, |s| show(&s.listen.address), "[::1]:3129"),
    ("listen.max_connections", "1", |s| show(&s.listen.max_connections), "1"),
    ("listen.header_timeout", r#""11s""#, |s| show(&s.listen.header_timeout), "11s"),
    ("listen.idle_timeout", r#""12s""#, |s| show(&s.listen.idle_timeout), "12s"),
    ("listen.allow", r#"["10.0.0.0/8", "::1"]"#, |s| show(&s.listen.allow), "[10.0.0.0/8, ::1/128]"),
    ("listen.credentials", r#""a:b""#, |s| show(&s.listen.credentials), "Some(Credentials(hidden))"),
    ("admin.address", r#""127.0.0.1:1""#, |s| show(&s.admin.address), "127.0.0.1:1"),
    ("admin.allow_shutdown", "true", |s| show(&s.admin.allow_shutdown), "true"),
    ("intercept.hosts", r#"["localhost"]"#, |s| show(&s.route.intercept.contains("localhost")), "true"),
    (
        "intercept.except",
        r#"["a.b.batch.azure.com"]"#,
        |s| show(&s.route.intercept.contains("a.b.batch.azure.com")),
        "false",
    ),
    ("tunnel.ports", "[443, 8443]", |s| show(&s.route.tunnel_ports), "[443, 8443]"),
    ("tunnel.allow", r#"["*.example.com"]"#, |s| show(&texts(&s.route.tunnel_allow)), r#"["*.example.com"]"#),
    ("tunnel.deny", r#"["10.0.0.1"]"#, |s| show(&texts(&s.route.tunnel_deny)), r#"["10.0.0.1"]"#),
    ("tunnel.idle_timeout", r#""1m""#, |s| show(&s.route.tunnel_idle_timeout), "60s"),
    ("forward.allow", r#"["169.254.169.254"]"#, |s| show(&texts(&s.route.forward_allow)), r#"["169.254.169.254"]"#),
    ("ca.directory", r#""ca""#, |s| show(&s.ca.directory), r#"Some("ca")"#),
    ("ca.publish", r#""trust""#, |s| show(&s.ca.publish), r#"Some("trust")"#),
    ("ca.lifetime", r#""30d""#, |s| show(&s.ca.lifetime), "2592000s"),
    ("ca.leaf_lifetime", r#""1h""#, |s| show(&s.ca.leaf_lifetime), "3600s"),
    ("upstream.ca_files", r#"["roots.pem"]"#, |s| show(&s.upstream.ca_files), r#"["roots.pem"]"#),
    (
        "upstream.resolve",
        r#"{ "A.b:443" = "127.0.0.1:8443" }"#,
        |s| show(&s.upstream.resolve),
        r#"{"a.b:443": 127.0.0.1:8443}"#,
    ),
    ("upstream.connect_timeout", r#""13s""#, |s| show(&s.upstream.connect_timeout), "13s"),
    ("upstream.response_timeout", r#""14s""#, |s| show(&s.retry.response_timeout), "14s"),
    ("upstream.body_idle_timeout", r#""15s""#, |s| show(&s.upstream.body_idle_timeout), "15s"),
    ("upstream.pool_idle_timeout", r#""16s""#, |s| show(&s.upstream.pool_idle_timeout), "16s"),
    ("retry.max_attempts", "1", |s| show(&s.retry.max_attempts), "1"),
    ("retry.deadline", r#""40s""#, |s| show(&s.retry.deadline), "40s"),
    (
        "retry.deadline_for",
        r#"[{ user_agent = "curl", deadline = "9s" }]"#,
        |s| show(&s.retry.deadline_for),
        r#"[PatientClient { user_agent: "curl", deadline: 9s }]"#,
    ),
    ("retry.statuses", "[599]", |s| show(&s.retry.statuses), "[599]"),
    ("retry.body_limit", r#""0B""#, |s| show(&s.bodies.request_limit), "0"),
    ("retry.response_buffer", r#""1B""#, |s| show(&s.bodies.response_buffer), "1"),
    ("retry.memory_limit", r#""3KiB""#, |s| show(&s.bodies.memory_limit), "3072"),
    ("retry.repeat_memory", r#""0s""#, |s| show(&s.retry.repeat_memory), "0ns"),
    ("retry.read_after_create", r#""10s""#, |s| show(&s.retry.read_after_create), "10s"),
    ("retry.backoff.initial", r#""1s""#, |s| show(&s.retry.backoff.initial()), "1s"),
    ("retry.backoff.factor", "1.5", |s| show(&s.retry.backoff.base(2)), "3s"),
    ("retry.backoff.max", r#""11s""#, |s| show(&s.retry.backoff.base(9)), "11s"),
    ("retry.backoff.jitter", "0", |s| show(&s.retry.backoff.jitter(1, 0.9)), "0ns"),
    ("retry.throttle.hint_max", r#""9s""#, |s| gate(s, "hint_max"), "9s"),
    ("retry.throttle.initial_share", "0.4", |s| gate(s, "initial_share"), "0.4"),
    ("retry.throttle.growth_per_second", "0.3", |s| gate(s, "growth_per_second"), "0.3"),
    ("retry.throttle.cut", "0.6", |s| gate(s, "cut"), "0.6"),
    ("retry.throttle.max_waiting", "7", |s| gate(s, "max_waiting"), "7"),
    ("retry.budget.ratio", "0.1", |s| field(&show(&s.throttle.budget), "ratio"), "0.1"),
    ("retry.budget.min_per_second", "3", |s| field(&show(&s.throttle.budget), "min_per_second"), "3"),
    ("retry.budget.window", r#""5s""#, |s| field(&show(&s.throttle.budget), "window"), "5s"),
    ("retry.echo.creates", r#""trust""#, |s| show(&s.retry.echo.creates), "Trust"),
    ("retry.echo.others", r#""pass""#, |s| show(&s.retry.echo.others), "Pass"),
    ("retry.state.attempts", "3", |s| show(&s.retry.state.attempts), "3"),
    ("retry.state.wait", r#""4s""#, |s| show(&s.retry.state.wait), "4s"),
    ("retry.quota.attempts", "2", |s| show(&s.retry.quota.attempts), "2"),
    ("retry.quota.wait", r#""20s""#, |s| show(&s.retry.quota.wait), "20s"),
    ("shutdown.grace", r#""0s""#, |s| show(&s.shutdown_grace), "0ns"),
    ("shutdown.delay", r#""7s""#, |s| show(&s.shutdown_delay), "7s"),
    ("log.level", r#""off""#, |s| show(&s.log.level), "None"),
    ("log.format", r#""json""#, |s| show(&s.log.format), "Some(Json)"),
];

fn gate(settings: &Settings, name: &str) -> String {
    field(&show(&settings.throttle.gate), name)
}

/// One field of a value whose fields are its own, as `Debug` shows it.
fn field(debug: &str, name: &str) -> String {
    let (_, rest) = debug.split_once(&format!("{name}: ")).unwrap();
    rest.split([',', ' ']).next().unwrap().to_owned()
}

fn show(value: &dyn std::fmt::Debug) -> String {
    format!("{value:?}")
}

fn texts(hosts: &[crate::batch::endpoint::HostPattern]) -> Vec<String> {
    hosts.iter().map(ToString::to_string).collect()
}

fn set(arguments: &[&str]) -> Sources {
    Sources { set: arguments.iter().map(|text| (*text).to_owned()).collect(), ..Sources::default() }
}

fn env(variables: &[(&str, &str)]) -> Sources {
    let env = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources { env, ..Sources::default() }
}

/// All that is wrong with `sources`, a line each.
fn complaint(sources: &Sources) -> String {
    Settings::load(sources).expect_err("the sources are wrong").to_string()
}

fn origin_of(sources: &Sources, key: &str) -> (String, String) {
    let effective = Effective::load(sources).unwrap();
    let entry = effective.entries.into_iter().find(|entry| entry.key == key).unwrap();
    (entry.value, entry.origin)
}

#[test]
fn the_built_in_defaults_are_the_documented_ones_in_the_same_order() {
    let effective = Effective::load(&Sources::default()).unwrap();
    let found: Vec<_> = effective.entries.iter().map(|entry| (&*entry.key, &*entry.value)).collect();
    assert_eq!(found, DOCUMENTED);
    assert!(effective.entries.iter().all(|entry| entry.origin == "default"));
}

#[test]
fn default_toml_holds_every_key_once_in_order_each_after_a_comment() {
    let mut section = "";
    let mut above = "";
    let mut keys = Vec::new();
    for line in DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with(['#', ' '])) {
            assert!(above.starts_with("# "), "{section}.{key} has no comment");
            keys.push(format!("{section}.{key}"));
        }
        above = line;
    }
    assert_eq!(keys, KEYS);
}

#[test]
fn the_defaults_become_the_settings_they_say() {
    let settings = Settings::load(&Sources::default()).unwrap();
    assert_eq!(settings.listen.address, "127.0.0.1:3128".parse().unwrap());
    assert_eq!(settings.listen.idle_timeout, Duration::from_secs(300));
    assert!(settings.route.intercept.contains("a.westeurope.batch.azure.com"));
    assert!(!settings.route.intercept.contains("westeurope.service.batch.azure.com"));
    assert_eq!(settings.bodies.request_limit, 4 << 20);
    assert!(settings.bodies.memory_limit <= 256 << 20);
    assert_eq!(settings.ca.directory, None);
    assert_eq!(settings.ca.lifetime, Duration::from_secs(365 * 86_400));
    assert_eq!(settings.retry.max_attempts.get(), 20);
    assert_eq!(settings.retry.statuses.len(), 6);
    assert_eq!(settings.retry.deadline_for[1].user_agent, "msrest");
    assert_eq!(settings.retry.deadline_for[1].deadline, Duration::from_secs(90));
    assert_eq!(settings.retry.backoff.initial(), Duration::from_secs(2));
    assert_eq!(settings.log.level, Some(tracing::Level::INFO));
    assert_eq!(settings.log.format, None);
    assert_eq!(settings.shutdown_grace, Duration::from_secs(25));
}

#[test]
fn every_key_changes_the_setting_it_names() {
    let defaults = Settings::load(&Sources::default()).unwrap();
    for (key, value, setting, want) in CHANGES {
        assert_ne!(setting(&defaults), want, "{key} is not tested, its default is the same");
        let changed = Settings::load(&set(&[&format!("{key}={value}")])).unwrap();
        assert_eq!(setting(&changed), want, "{key}");
    }
    assert_eq!(CHANGES.map(|(key, ..)| key), KEYS);
}

#[test]
fn each_layer_wins_over_the_ones_before_it_and_is_named_as_the_origin() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.toml");
    fs::write(&path, "[log]\nlevel = \"error\"\n").unwrap();
    let mut sources = Sources::default();
    let level = |sources: &Sources| origin_of(sources, "log.level");
    assert_eq!(level(&sources), (r#""info""#.to_owned(), "default".to_owned()));
    sources.file = Some(path.clone());
    assert_eq!(level(&sources), (r#""error""#.to_owned(), format!("{} line 2", path.display())));
    sources.env = vec![("BATCH_RETRY_PROXY__LOG__LEVEL".to_owned(), "warn".to_owned())];
    assert_eq!(level(&sources), (r#""warn""#.to_owned(), "BATCH_RETRY_PROXY__LOG__LEVEL".to_owned()));
    sources.set = vec!["log.level=debug".to_owned(), "log.level=trace".to_owned()];
    assert_eq!(level(&sources), (r#""trace""#.to_owned(), "--set".to_owned()));
    sources.flags = vec![Flag { name: "--log-level", key: "log.level", value: "off".to_owned() }];
    assert_eq!(level(&sources), (r#""off""#.to_owned(), "--log-level".to_owned()));
    assert_eq!(Settings::load(&sources).unwrap().log.level, None);
}

#[test]
fn values_of_variables_and_set_are_toml_or_else_plain_text() {
    for value in ["40s", "\"40s\"", "'40s'", " 40s "] {
        let settings = Settings::load(&set(&[&format!("retry.deadline={value}")])).unwrap();
        assert_eq!(settings.retry.deadline, Duration::from_secs(40), "{value}");
    }
    let settings = Settings::load(&env(&[
        ("BATCH_RETRY_PROXY__LISTEN__ADDRESS", "127.0.0.1:0"),
        ("BATCH_RETRY_PROXY__RETRY__BACKOFF__INITIAL", "3s"),
        ("BATCH_RETRY_PROXY__RETRY__STATUSES", "[429]"),
        ("BATCH_RETRY_PROXY__UPSTREAM", r#"{ connect_timeout = "4s" }"#),
    ]))
    .unwrap();
    assert_eq!(settings.listen.address.port(), 0);
    assert_eq!(settings.retry.backoff.initial(), Duration::from_secs(3));
    assert_eq!(settings.retry.statuses, [429]);
    assert_eq!(settings.upstream.connect_timeout, Duration::from_secs(4));
}

#[test]
fn the_value_of_a_flag_is_plain_text_even_where_it_looks_like_toml() {
    let flag = Flag { name: "--publish", key: "ca.publish", value: "5".to_owned() };
    let settings = Settings::load(&Sources { flags: vec![flag], ..Sources::default() }).unwrap();
    assert_eq!(settings.ca.publish, Some(PathBuf::from("5")));
}

#[test]
fn variables_without_the_double_underscore_are_not_ours() {
    let sources = env(&[
        ("BATCH_RETRY_PROXY_CONFIG", "x.toml"),
        ("BATCH_RETRY_PROXY_PORT", "tcp://10.0.0.1:3128"),
        ("BATCH_RETRY_PROXY_SERVICE_HOST", "10.0.0.1"),
        ("HOME", "/root"),
    ]);
    assert!(Settings::load(&sources).is_ok());
}

#[test]
fn lists_replace_and_names_to_resolve_are_added() {
    let file = "[retry]\nstatuses = [500, 503]\n[upstream]\nresolve = { \"A.b:443\" = \"127.0.0.1:1\", \"b:1\" = \"127.0.0.1:2\" }\n";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.toml");
    fs::write(&path, file).unwrap();
    let mut sources =
        set(&["retry.statuses=[429]", r#"upstream.resolve."a.B:443"="[::1]:3""#, "upstream.resolve.'c:5'=127.0.0.1:4"]);
    sources.file = Some(path.clone());
    let settings = Settings::load(&sources).unwrap();
    assert_eq!(settings.retry.statuses, [429]);
    let mut resolve: Vec<_> = settings.upstream.resolve.iter().map(|(host, to)| (&**host, to.to_string())).collect();
    resolve.sort();
    let want = [("a.b:443", "[::1]:3"), ("b:1", "127.0.0.1:2"), ("c:5", "127.0.0.1:4")];
    assert_eq!(resolve, want.map(|(host, to)| (host, to.to_owned())));
    let line = format!("{} line 4", path.display());
    assert_eq!(origin_of(&sources, r#"upstream.resolve."b:1""#), (r#""127.0.0.1:2""#.to_owned(), line));
    assert_eq!(origin_of(&sources, r#"upstream.resolve."a.b:443""#).1, "--set");
}

#[test]
fn patient_clients_may_be_written_as_an_array_of_tables() {
    let text = "[[retry.deadline_for]]\nuser_agent = \"a\"\ndeadline = \"1m\"\n\n[[retry.deadline_for]]\nuser_agent = \"b\"\ndeadline = \"2m\"\n";
    let settings = Settings::from_toml(text).unwrap();
    let found: Vec<_> = settings.retry.deadline_for.iter().map(|c| (&*c.user_agent, c.deadline.as_secs())).collect();
    assert_eq!(found, [("a", 60), ("b", 120)]);
}

#[test]
fn what_config_show_prints_is_a_configuration_with_the_same_settings() {
    let told = CHANGES.iter().filter(|(key, ..)| !SECRETS.contains(key));
    let arguments = told.map(|(key, value, ..)| format!("{key}={value}")).collect();
    let sources = Sources { set: arguments, ..Sources::default() };
    let again = Settings::from_toml(&Effective::load(&sources).unwrap().to_string()).unwrap();
    assert_eq!(format!("{again:?}"), format!("{:?}", Settings::load(&sources).unwrap()));
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_known_one() {
    let file = Settings::from_toml("[listen]\naddress = \"127.0.0.1:1\"\n\n[retry]\ndeadlin = \"3s\"\n").unwrap_err();
    assert_eq!(file.to_string(), "unknown key `retry.deadlin` (config line 5), did you mean `retry.deadline`?");
    for (sources, want) in [
        (
            env(&[("BATCH_RETRY_PROXY__RETRY__MAX_ATEMPTS", "3")]),
            "unknown key `retry.max_atempts` (BATCH_RETRY_PROXY__RETRY__MAX_ATEMPTS), did you mean `retry.max_attempts`?",
        ),
        (set(&["lisen.adress=x"]), "unknown key `lisen.adress` (--set), did you mean `listen.address`?"),
        (set(&["colour=red"]), "unknown key `colour` (--set), `config show` lists all"),
        (set(&["a key=1"]), "unknown key `a key` (--set), `config show` lists all"),
        (set(&["no-equals-sign"]), "unknown key `no-equals-sign` (--set), `config show` lists all"),
        (set(&["retry={dedline=\"3s\"}"]), "unknown key `retry.dedline` (--set), did you mean `retry.deadline`?"),
        (
            set(&["retry.deadline_for=[{user_agnet=\"x\",user_agent=\"x\",deadline=\"3s\"}]"]),
            "unknown key `retry.deadline_for[0].user_agnet` (--set), did you mean `user_agent`?",
        ),
    ] {
        assert_eq!(complaint(&sources), want);
    }
}

#[test]
fn all_problems_are_reported_in_the_order_of_the_file() {
    let err = Settings::from_toml("[retry]\nzeal = 1\nbody_limt = 2\n[admn]\naddress = 3\n").unwrap_err();
    let want = [
        "unknown key `retry.zeal` (config line 2), `config show` lists all",
        "unknown key `retry.body_limt` (config line 3), did you mean `retry.body_limit`?",
        "unknown key `admn.address` (config line 5), did you mean `admin.address`?",
    ];
    assert_eq!(err.to_string(), want.join("\n"));
    let err = Settings::from_toml("[retry]\ndeadline = 5\nstatuses = [\n  200,\n  503,\n  \"x\",\n]\n").unwrap_err();
    let want = [
        "`retry.deadline` = 5 (config line 2): a duration needs a unit, write it as \"5s\" or \"5m\"",
        "`retry.statuses[0]` = 200 (config line 4): must be a whole number from 400 to 599",
        "`retry.statuses[2]` = \"x\" (config line 6): must be a whole number from 400 to 599",
    ];
    assert_eq!(err.to_string(), want.join("\n"));
}

/// Key, value, and what is said after "`key` = value (--set): ".
#[test]
fn a_wrong_value_is_shown_with_what_is_expected() {
    let list = "not a list, write it as";
    let socket = "must be an IP address and a port such as \"127.0.0.1:3128\" or \"[::1]:3128\"";
    for (key, value, want) in [
        ("retry.deadline", r#""40 parsecs""#, "not a duration, write it as \"50s\" or \"2m\""),
        ("retry.deadline", "true", "not a duration, write it as \"50s\" or \"2m\""),
        ("retry.deadline", r#""0s""#, "must be at least 1ms"),
        ("retry.deadline", r#""3651d""#, "must be at most 3650d"),
        ("listen.header_timeout", r#""0s""#, "must be at least 1ms"),
        ("shutdown.grace", "0", "a duration needs a unit, write it as \"0s\" or \"0m\""),
        ("listen.address", r#""localhost:80""#, socket),
        ("listen.address", "3128", socket),
        ("listen.max_connections", "0", "must be a whole number from 1 to 1000000"),
        ("listen.max_connections", "-1", "must be a whole number from 1 to 1000000"),
        ("listen.max_connections", r#""99999999999999999999""#, "must be a whole number from 1 to 1000000"),
        ("listen.allow", r#""10.0.0.0/8""#, &format!("{list} [\"10.0.0.0/8\"]")),
        ("listen.allow", r#""[10.0.0.0/8]""#, "not a TOML list, write it as [\"one\", \"two\"]"),
        ("admin.allow_shutdown", r#""yes""#, "must be true or false"),
        ("admin.allow_shutdown", "1", "must be true or false"),
        ("ca.directory", "5", "not a text, put it in quotes"),
        ("ca.lifetime", r#""59m""#, "must be at least 1h"),
        ("ca.leaf_lifetime", r#""366d""#, "must not be longer than `ca.lifetime`"),
        ("upstream.resolve", r#""x""#, "not a table, write it as { \"host:port\" = \"ip:port\" }"),
        ("retry.max_attempts", "0", "must be a whole number from 1 to 4294967295"),
        ("retry.max_attempts", "2.5", "must be a whole number from 1 to 4294967295"),
        ("retry.statuses", "503", &format!("{list} [503]")),
        ("retry.body_limit", "4096", "a size needs a unit, write it as \"4096B\" or \"4096MiB\""),
        ("retry.body_limit", r#""4 apples""#, "not a size, write it as \"512KiB\" or \"4MiB\""),
        ("retry.memory_limit", r#""some""#, "not a size, write it as \"512KiB\" or \"4MiB\", or \"auto\""),
        ("retry.backoff.initial", r#""0s""#, "initial must be longer than 0s"),
        ("retry.backoff.factor", "0.5", "factor must be between 1 and 10"),
        ("retry.backoff.factor", "nan", "factor must be between 1 and 10"),
        ("retry.backoff.factor", r#""two""#, "not a number"),
        ("retry.backoff.max", r#""1s""#, "max must not be shorter than initial"),
        ("retry.backoff.jitter", "1.5", "jitter must be between 0 and 1"),
        ("retry.throttle.hint_max", r#""0s""#, "hint_max must be longer than 0s"),
        ("retry.throttle.initial_share", "0", "initial_share must be between 0.05 and 1"),
        ("retry.throttle.growth_per_second", "0", "growth_per_second must be between 0.001 and 1"),
        ("retry.throttle.cut", "1", "cut must be between 0.1 and 0.95"),
        ("retry.throttle.max_waiting", "0", "max_waiting must be at least 1"),
        ("retry.budget.ratio", "-1", "ratio must be between 0 and 10"),
        ("retry.budget.min_per_second", "0", "min_per_second must be between 1 and 1000000"),
        ("retry.budget.window", r#""61s""#, "window must be between 1s and 60s"),
        ("retry.echo.creates", r#""maybe""#, "must be one of verify, trust, pass"),
        ("retry.echo.others", "true", "must be one of resolve, pass"),
        ("retry.state.attempts", "-1", "must be a whole number from 0 to 4294967295"),
        ("retry.quota.wait", r#""0s""#, "must be at least 1ms"),
        ("log.level", r#""loud""#, "must be one of off, error, warn, info, debug, trace"),
        ("log.format", "true", "must be one of auto, json, text"),
        ("retry", "5", "it is a section, name the key inside it"),
        ("log.level", "{ a = 1 }", "it takes one value, not a table"),
    ] {
        assert_eq!(complaint(&set(&[&format!("{key}={value}")])), format!("`{key}` = {value} (--set): {want}"));
    }
}

/// Only where the lane is open does it matter.
#[test]
fn an_address_beyond_loopback_is_refused_until_it_is_said_who_may_use_it() {
    for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
        let address = format!("listen.address={address}");
        let said = complaint(&set(&[&address]));
        let want = "beyond loopback, `listen.allow` or `listen.credentials` must say who may use the proxy";
        assert!(said.starts_with("`listen.address` = ") && said.ends_with(want), "{said}");
        for who in ["listen.allow=[\"10.0.0.0/8\"]", "listen.credentials=a:b"] {
            assert!(Settings::load(&set(&[&address, who])).is_ok(), "{address} {who}");
        }
    }
    for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert!(Settings::load(&set(&[&format!("listen.address={address}")])).is_ok(), "{address}");
    }
}

#[test]
fn credentials_are_shown_nowhere() {
    for value in ["hunter2", "\"hunter2:\"", "[\"hunter2\"]", "{ a = \"hunter2\" }", "{}"] {
        let said = complaint(&set(&[&format!("listen.credentials={value}")]));
        assert!(said.starts_with("`listen.credentials` = (hidden) (--set): ") && !said.contains("hunter2"), "{said}");
    }
    let sources = set(&["listen.credentials=ann:hunter2"]);
    let loaded = Loaded::load(&sources).unwrap();
    let texts = [loaded.effective().to_string(), loaded.effective().to_json(), show(loaded.settings())];
    assert!(texts.iter().all(|text| !text.contains("hunter2") && !text.contains("ann")), "{texts:?}");
    assert_eq!(origin_of(&sources, "listen.credentials").0, "\"(hidden)\"");
}

#[test]
fn a_quota_wait_that_no_deadline_holds_is_refused() {
    let wait = "retry.quota.wait=4m";
    let want = "`retry.quota.wait` = \"4m\" (--set): must be shorter than retry.deadline or a deadline of retry.deadline_for, \
                or no replay fits";
    assert_eq!(complaint(&set(&["retry.quota.attempts=1", wait])), want);
    assert!(Settings::load(&set(&["retry.quota.attempts=1", wait, "retry.deadline=5m"])).is_ok());
    assert!(Settings::load(&set(&[wait])).is_ok());
}

/// Argument of `--set`, and the whole complaint.
#[test]
fn a_wrong_element_is_named_by_its_place_in_the_value() {
    let form = "must be { user_agent = \"text\", deadline = \"90s\" }";
    for (argument, want) in [
        (
            r#"intercept.hosts=["a.b", "a*.b"]"#,
            "`intercept.hosts[1]` = \"a*.b\" (--set): `a*.b` is not a host pattern: a `*` stands for a whole label"
                .to_owned(),
        ),
        (
            r#"listen.allow=["10.0.0.0/33"]"#,
            "`listen.allow[0]` = \"10.0.0.0/33\" (--set): must be a network such as \"10.0.0.0/8\" or an IP address"
                .to_owned(),
        ),
        ("tunnel.ports=[0]", "`tunnel.ports[0]` = 0 (--set): must be a whole number from 1 to 65535".to_owned()),
        (r#"upstream.ca_files=[""]"#, "`upstream.ca_files[0]` = \"\" (--set): must not be empty".to_owned()),
        (
            r#"upstream.resolve={"a:443"="b:443"}"#,
            "`upstream.resolve.\"a:443\"` = \"b:443\" (--set): must be an IP address and a port such as \"127.0.0.1:8443\""
                .to_owned(),
        ),
        (
            r#"upstream.resolve={"a"="127.0.0.1:1"}"#,
            "`upstream.resolve.\"a\"` = \"127.0.0.1:1\" (--set): the name before it must be \"host:port\"".to_owned(),
        ),
        ("retry.deadline_for=[5]", format!("`retry.deadline_for[0]` = 5 (--set): {form}")),
        (
            r#"retry.deadline_for=[{user_agent="x"}]"#,
            format!("`retry.deadline_for[0]` = {{ user_agent = \"x\" }} (--set): {form}"),
        ),
        (
            r#"retry.deadline_for=[{user_agent="",deadline="3s"}]"#,
            "`retry.deadline_for[0].user_agent` = \"\" (--set): must not be empty".to_owned(),
        ),
        (
            r#"retry.deadline_for=[{user_agent="x",deadline="3"}]"#,
            "`retry.deadline_for[0].deadline` = \"3\" (--set): a duration needs a unit, write it as \"3s\" or \"3m\""
                .to_owned(),
        ),
    ] {
        assert_eq!(complaint(&set(&[argument])), want, "{argument}");
    }
}

#[test]
fn a_host_given_twice_in_one_table_is_refused() {
    let err = Settings::from_toml("[upstream.resolve]\n\"a:1\" = \"127.0.0.1:1\"\n\"A:1\" = \"127.0.0.1:2\"\n").unwrap_err();
    assert!(err.to_string().contains("given twice"), "{err}");
}

#[test]
fn a_network_may_be_a_single_address() {
    let settings = Settings::load(&set(&[r#"listen.allow=["10.0.0.1", "fe80::1", "10.0.0.0/8"]"#])).unwrap();
    let networks: Vec<_> = settings.listen.allow.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.1/32", "fe80::1/128", "10.0.0.0/8"]);
}

#[test]
fn a_file_that_is_not_toml_is_one_line_with_its_place() {
    for (text, line) in [("[retry]\ndeadline = \n", 2), ("[retry\n", 1), ("a = 1\nb = 2\na = 3\n", 3), ("x = \"open\n", 1)] {
        let err = Settings::from_toml(text).unwrap_err();
        assert!(matches!(err, ConfigError::Syntax { line: at, .. } if at == line), "{text}: {err}");
        let err = err.to_string();
        assert!(err.starts_with(&format!("config line {line}: ")) && err.lines().count() == 1, "{err}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("missing.toml");
    let sources = Sources { file: Some(path.clone()), ..Sources::default() };
    assert!(complaint(&sources).starts_with(&format!("cannot read {}: ", path.display())));
    fs::write(&path, b"# fine\nlevel = \"\xff\"\n").unwrap();
    assert_eq!(complaint(&sources), format!("{} line 2: not UTF-8 text", path.display()));
}
