//! The user's own account: its name in DNS, a verified connection, and how far its clock is from ours. No credentials are sent.

use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::check::Check;
use super::shell::Shell;
use crate::batch::endpoint::HostPattern;
use crate::config::Settings;
use crate::upstream::{Destinations, Dialer};

/// A Batch account's host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Account(String);

/// Which account is looked at, and who named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// This one.
    Account(Account, &'static str),
    /// A variable names something else.
    Malformed(&'static str),
    /// None is named.
    None,
}

// === impl Account ===

impl FromStr for Account {
    type Err = &'static str;

    /// A host, or a URL with one.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "write it as https://NAME.REGION.batch.azure.com or NAME.REGION.batch.azure.com";
        let text = text.trim();
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => rest,
            Some(_) => return Err(FORM),
            None => text,
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.strip_suffix(":443").unwrap_or(authority).trim_end_matches('.').to_ascii_lowercase();
        let named = host.contains('.') && !host.contains('*') && host.parse::<HostPattern>().is_ok_and(|host| !host.is_ip());
        if named { Ok(Self(host)) } else { Err(FORM) }
    }
}

// === impl Choice ===

impl Choice {
    /// The one asked for, or else the one that the shell's variables name.
    pub(super) fn of(asked: Option<&Account>, shell: &Shell) -> Self {
        if let Some(account) = asked {
            return Self::Account(account.clone(), "--account");
        }
        match shell.first(&VARIABLES) {
            None => Self::None,
            Some(named) => match named.value.parse() {
                Ok(account) => Self::Account(account, named.name),
                Err(_) => Self::Malformed(named.name),
            },
        }
    }

    /// What is found of it. `tls` trusts what the proxy would trust.
    pub(super) async fn checks(&self, settings: &Settings, tls: Option<Arc<ClientConfig>>) -> Vec<Check> {
        let (account, source) = match self {
            Self::Account(account, source) => (account, source),
            Self::Malformed(name) => {
                let line = "batch-retry-proxy doctor --account https://NAME.REGION.batch.azure.com";
                return vec![Check::warn("account", format!("{name} names no Batch endpoint")).advise("name it", [line])];
            }
            Self::None => {
                return vec![Check::skip(
                    "account",
                    "none named; `doctor --account https://NAME.REGION.batch.azure.com` looks at one",
                )];
            }
        };
        let host = &account.0;
        let opened = if settings.route.intercept.contains(host) {
            Check::ok("account", format!("{host}, from {source}"))
        } else {
            Check::fail("account", format!("{host}, from {source}, is not among intercept.hosts: tunnelled, never replayed"))
                .advise("have it opened", [format!("batch-retry-proxy --set 'intercept.hosts=[\"{host}\"]'")])
        };
        let mut checks = vec![opened];
        let (dns, found) = resolve(host, settings).await;
        checks.push(dns);
        match tls {
            Some(tls) if found => checks.extend(reach(host, settings, tls).await),
            _ => checks.push(Check::skip("connection", "not tried")),
        }
        checks
    }
}

/// Looks its name up, as the proxy would, and tells whether there is an address.
async fn resolve(host: &str, settings: &Settings) -> (Check, bool) {
    const NAME: &str = "DNS";
    if let Some(address) = settings.upstream.resolve.get(&format!("{host}:443")) {
        return (Check::ok(NAME, format!("{address}, from upstream.resolve")), true);
    }
    let failed = |why: &str| {
        let check = Check::fail(NAME, format!("{host}: {why}"));
        (
            check.advise(
                "check the name, and whether this machine asks the DNS that knows it",
                [format!("getent ahosts {host}")],
            ),
            false,
        )
    };
    let addresses: Vec<SocketAddr> = match timeout(DNS, tokio::net::lookup_host((host, 443))).await {
        Err(_) => return failed("no answer from DNS"),
        Ok(Err(error)) => return failed(&error.to_string()),
        Ok(Ok(addresses)) => addresses.collect(),
    };
    let mut texts: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    texts.dedup();
    let private = addresses.iter().any(|address| is_private(address.ip()));
    let kind = if private { ", private: a private endpoint, reached from its network only" } else { "" };
    (Check::ok(NAME, format!("{}{kind}", texts.join(", "))), !texts.is_empty())
}

/// Connects, verifies, asks for nothing in particular, and compares the clocks.
async fn reach(host: &str, settings: &Settings, tls: Arc<ClientConfig>) -> Vec<Check> {
    const NAME: &str = "connection";
    match timeout(CONNECTION, exchange(host, settings, tls)).await {
        Ok(Ok((said, clock))) => vec![Check::ok(NAME, said), clock],
        Ok(Err(check)) => vec![check],
        Err(_) => vec![unreachable_by(host, &format!("no answer within {} s", CONNECTION.as_secs()))],
    }
}

async fn exchange(host: &str, settings: &Settings, tls: Arc<ClientConfig>) -> Result<(String, Check), Check> {
    let dialer = Dialer::new(&settings.upstream, Destinations::of(settings.listen.address));
    let tcp = dialer.dial(host, 443).await.map_err(|error| {
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        unreachable_by(host, &format!("{error}: {cause}"))
    })?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| unreachable_by(host, &error.to_string()))?;
    let stream = TlsConnector::from(tls).connect(name, tcp).await.map_err(|error| {
        Check::fail("connection", format!("{host} does not prove who it is: {error}")).advise(
            "if a gateway of yours opens TLS, have its certificate trusted",
            ["batch-retry-proxy --set 'upstream.ca_files=[\"/path/to/gateway.pem\"]'"],
        )
    })?;
    let failed = |error: &dyn std::fmt::Display| unreachable_by(host, &error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    // Its errors reach the exchange as well.
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get("/").header(header::HOST, host).header(header::CONNECTION, "close");
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| failed(&error))?;
    let sent = SystemTime::now();
    let answer = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let received = SystemTime::now();
    let status = answer.status().as_u16();
    let date = answer.headers().get(header::DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    // Without credentials it refuses, as it should.
    let said = format!("{host} proves who it is, and answers ({status} to a request without credentials)");
    Ok((said, clock(date, sent, received)))
}

/// Compares the answer's `Date` with our clock in the middle of the exchange.
fn clock(date: Option<SystemTime>, sent: SystemTime, received: SystemTime) -> Check {
    const NAME: &str = "clock";
    let Some(date) = date else { return Check::skip(NAME, "the answer has no Date to compare with") };
    let middle = sent + received.duration_since(sent).unwrap_or_default() / 2;
    // A Date has whole seconds, cut off.
    let date = date + Duration::from_millis(500);
    let (skew, side) = match middle.duration_since(date) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    let finding = format!(
        "this machine's is {} {side} the endpoint's",
        humantime::format_duration(Duration::from_secs(skew.as_secs()))
    );
    let advise = |check: Check| {
        check.advise(
            "set it (in a container, that of the host): a signature is good for 15 minutes",
            ["sudo timedatectl set-ntp true"],
        )
    };
    if skew >= FAIL {
        advise(Check::fail(NAME, finding))
    } else if skew >= WARN {
        advise(Check::warn(NAME, finding))
    } else {
        Check::ok(NAME, finding)
    }
}

fn unreachable_by(host: &str, why: &str) -> Check {
    Check::fail("connection", why).advise(
        format!("let this machine reach {host}, port 443, directly: the proxy goes through no other proxy"),
        [format!("curl --noproxy '*' -sS -o /dev/null https://{host}/")],
    )
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

/// Where programs commonly find the account's endpoint.
const VARIABLES: [&str; 6] = [
    "AZURE_BATCH_ACCOUNT_URL",
    "AZURE_BATCH_ENDPOINT",
    "BATCH_ACCOUNT_URL",
    "BATCH_ACCOUNT_ENDPOINT",
    "BATCH_ENDPOINT",
    "AZ_BATCH_ACCOUNT_URL",
];

const DNS: Duration = Duration::from_secs(5);
const CONNECTION: Duration = Duration::from_secs(10);

/// How far clocks may differ: a signature is refused after 15 minutes, and a replay needs what is left of them.
const WARN: Duration = Duration::from_mins(2);
const FAIL: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_a_host_or_its_url() {
        for (text, want) in [
            ("https://a.westeurope.batch.azure.com", Some("a.westeurope.batch.azure.com")),
            (" HTTPS://A.westeurope.batch.azure.com:443/?x=1", Some("a.westeurope.batch.azure.com")),
            ("a.westeurope.batch.azure.com.", Some("a.westeurope.batch.azure.com")),
            ("http://a.westeurope.batch.azure.com", None),
            ("a", None),
            ("https://user:word@a.b.batch.azure.com", None),
            ("10.0.0.1", None),
            ("*.b.batch.azure.com", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Account>().ok(), want.map(|host| Account(host.to_owned())), "{text}");
        }
    }

    #[test]
    fn clocks_apart_are_warned_of_and_then_refused() {
        use super::super::check::Status::{Fail, Ok, Warn};
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let minute = Duration::from_mins(1);
        for (date, want, words) in [
            (now, Ok, "0s behind"),
            (now - minute, Ok, "59s ahead of"),
            (now + minute, Ok, "1m behind"),
            (now + 3 * minute, Warn, "3m behind"),
            (now - 11 * minute, Fail, "10m 59s ahead of"),
        ] {
            let check = clock(Some(date), now, now);
            assert_eq!(check.status, want, "{check:?}");
            assert!(check.finding.contains(words), "{check:?}");
        }
    }
}
