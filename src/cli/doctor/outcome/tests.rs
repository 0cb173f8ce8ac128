//! What programs write, and what is made of it.

use std::io;

use super::super::check::Status;
use super::*;

fn exited(code: i32, stdout: &str, stderr: &str) -> End {
    End::Exited(Output { code: Some(code), stdout: stdout.to_owned(), stderr: stderr.to_owned() })
}

#[test]
fn a_probe_is_read_line_by_line_and_anything_else_is_unclear() {
    let text = "noise\ndoctor\trequests\t3.11.7, requests 2.34.2\tworks\t\t/usr/bin/python3.11\ndoctor\taiohttp\t3.11.7\tfailed\twhy\n";
    let attempts = Attempt::read(exited(0, text, ""), Client::Requests);
    let of = |attempt: &Attempt| (attempt.client, attempt.outcome.clone(), attempt.executable.clone());
    assert_eq!(
        attempts.iter().map(of).collect::<Vec<_>>(),
        [
            (Client::Requests, Outcome::Works, Some("/usr/bin/python3.11".to_owned())),
            (Client::Aiohttp, Outcome::Failed("why".to_owned()), None),
        ]
    );
    for (end, want) in [
        (exited(1, "", "Traceback\n  boom\n\n"), "boom"),
        (exited(3, "", "Picked up JAVA_TOOL_OPTIONS: -Dpassword=x\n"), "it ended with status 3"),
        (exited(3, "", "NOTE: Picked up JDK_JAVA_OPTIONS: -Dpassword=x\n"), "it ended with status 3"),
        (exited(0, "doctor\tcobol\t1\tworks\n", ""), "doctor\tcobol\t1\tworks"),
        (exited(0, "doctor\tnode\t1\tsplendid\n", ""), "doctor\tnode\t1\tsplendid"),
        (End::Endless, "it writes without end, and was ended"),
        (End::TimedOut(std::time::Duration::from_secs(20)), "it takes longer than 20 s, and was ended"),
        (End::NotStarted(io::Error::other("no")), "it cannot be started: no"),
    ] {
        let attempts = Attempt::read(end, Client::Node);
        assert_eq!(attempts.iter().map(of).collect::<Vec<_>>(), [(Client::Node, Outcome::Unclear(want.to_owned()), None)]);
    }
}

#[test]
fn curl_and_git_are_read_by_their_codes_and_words() {
    let heads = "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nProxy-Status: batch-retry-proxy; attempts=1\r\n\r\n";
    let (failed, unclear) = (|why: &str| Outcome::Failed(why.to_owned()), |why: &str| Outcome::Unclear(why.to_owned()));
    for (end, want) in [
        (exited(0, heads, ""), Outcome::Works),
        (exited(0, "HTTP/1.1 200 OK\r\n\r\n", ""), Outcome::Direct),
        (exited(7, "", "curl: (7) Failed to connect"), Outcome::Direct),
        (exited(60, "", "curl: (60) SSL certificate problem"), Outcome::Untrusted),
        (
            exited(77, "", "curl: (77) error setting certificate verify locations"),
            failed("curl: (77) error setting certificate verify locations"),
        ),
        (exited(0, "hello", ""), unclear("hello")),
        (exited(1, "", ""), unclear("it ended with status 1")),
    ] {
        let said = format!("{end:?}");
        assert_eq!(of_curl(end), want, "{said}");
    }
    for (stderr, want) in [
        ("fatal: repository 'https://x/doctor.git/' not found", Outcome::Works),
        ("fatal: unable to access 'x': SSL certificate problem: unable to get local issuer certificate", Outcome::Untrusted),
        (
            "fatal: unable to access 'x': server certificate verification failed. CAfile: none CRLfile: none",
            Outcome::Untrusted,
        ),
        ("fatal: unable to access 'x': Failed to connect to demo port 443 after 0 ms", Outcome::Direct),
        (
            "fatal: unable to access 'x': Could not resolve proxy: corp",
            failed("fatal: unable to access 'x': Could not resolve proxy: corp"),
        ),
        ("hello", unclear("hello")),
    ] {
        assert_eq!(of_git(exited(128, "", stderr)), want, "{stderr}");
    }
}

#[test]
fn a_program_that_would_trust_the_proxy_is_not_said_to_use_it_where_the_shell_does_not_send_it_there() {
    let running = Running::example();
    let trial = Trial { client: Client::Curl, name: "it".to_owned(), as_is: Outcome::Works, with_run: Outcome::Works };
    for (running, in_use, want) in [
        (Some(&running), true, "uses and trusts the proxy, as this shell is"),
        (Some(&running), false, "trusts the proxy, as this shell is; see HTTPS_PROXY"),
        (None, false, "trusts the proxy, as this shell is; see HTTPS_PROXY"),
    ] {
        let finding = trial.check(Situation { running, in_use, trustable: true }).finding;
        assert!(finding.starts_with(want), "{finding}");
    }
}

#[test]
fn what_two_attempts_mean_depends_on_whether_the_shell_uses_the_proxy() {
    use Outcome::{Direct, Untrusted, Works};
    let running = Running::example();
    let unclear = || Outcome::Unclear("hello".to_owned());
    let none = Situation { running: None, in_use: false, trustable: false };
    let kept = Situation { trustable: true, ..none };
    let beside = Situation { running: Some(&running), in_use: false, trustable: true };
    let used = Situation { in_use: true, ..beside };
    for (client, as_is, with_run, situation, want, line) in [
        (Client::Requests, Untrusted, Works, none, Status::Ok, None),
        (Client::Requests, Untrusted, Works, kept, Status::Ok, None),
        (Client::Requests, Works, Works, kept, Status::Ok, None),
        (Client::Requests, Untrusted, Works, beside, Status::Ok, Some("export REQUESTS_CA_BUNDLE='/p/bundle.pem'")),
        (Client::Requests, Untrusted, Works, used, Status::Fail, Some("export REQUESTS_CA_BUNDLE='/p/bundle.pem'")),
        (Client::Requests, Direct, Works, used, Status::Fail, None),
        (Client::Node, Untrusted, Works, used, Status::Fail, Some("export NODE_EXTRA_CA_CERTS='/p/ca.pem'")),
        (Client::Java, Direct, Works, used, Status::Fail, Some("export JAVA_TOOL_OPTIONS='-Dx'")),
        (Client::Git, Untrusted, Untrusted, used, Status::Ok, None),
        (Client::Curl, Works, Untrusted, none, Status::Fail, Some("cat ~/.curlrc")),
        (Client::Curl, Direct, Direct, none, Status::Fail, None),
        (Client::Curl, unclear(), unclear(), none, Status::Warn, Some("command -v it; it --version")),
        (Client::Go, unclear(), unclear(), none, Status::Warn, Some("command -v it; it version")),
        (Client::Requests, unclear(), Outcome::Missing("no requests".to_owned()), none, Status::Skip, None),
    ] {
        let said = format!("{client:?} {as_is:?} {with_run:?} {situation:?}");
        let check = Trial { client, name: "it 1.0".to_owned(), as_is, with_run }.check(situation);
        let lines = check.advice.map(|advice| advice.lines);
        assert_eq!((check.status, lines), (want, line.map(|line| vec![line.to_owned()])), "{said}");
    }
}
