use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, SupportedProtocolVersion, version};

use super::*;
use crate::tls::CaSettings;
use crate::tls::testing::{DAY, HOUR, TestClock, authority, client, hosts, settings, shake};

const BATCH: &[&str] = &["*.*.batch.azure.com", "127.0.0.1"];
const ACCOUNT: &str = "acct.westeurope.batch.azure.com";
const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS12, &version::TLS13];

struct Fixture {
    authority: Arc<CertificateAuthority>,
    clock: TestClock,
    configs: ServerConfigs,
}

impl Fixture {
    fn new(settings: &CaSettings) -> Self {
        let clock = TestClock::new();
        let authority = Arc::new(CertificateAuthority::open(&hosts(BATCH), settings, clock.now()).unwrap());
        let moved = clock.clone();
        let configs = ServerConfigs::new(authority.clone(), move || moved.now()).unwrap();
        Self { authority, clock, configs }
    }

    fn client(&self, versions: &[&'static SupportedProtocolVersion], alpn: &[&str]) -> Arc<ClientConfig> {
        client(self.authority.root_der(), &self.clock, versions, alpn)
    }

    fn config(&self, host: &str) -> Arc<ServerConfig> {
        self.configs.for_host(host).unwrap().0
    }

    fn issued(&self, host: &str) -> Issued {
        self.configs.for_host(host).unwrap().1
    }
}

#[test]
fn a_client_that_trusts_the_authority_is_served() {
    let fixture = Fixture::new(&settings(None));
    for (versions, want) in [
        (BOTH, ProtocolVersion::TLSv1_3),
        (&[&version::TLS12], ProtocolVersion::TLSv1_2),
        (&[&version::TLS13], ProtocolVersion::TLSv1_3),
    ] {
        let (client, _) = shake(&fixture.client(versions, &[]), fixture.config(ACCOUNT), ACCOUNT).unwrap();
        assert_eq!(client.protocol_version(), Some(want));
    }
}

#[test]
fn a_client_that_does_not_trust_the_authority_refuses() {
    let fixture = Fixture::new(&settings(None));
    let stranger = client(authority(BATCH).root_der(), &fixture.clock, BOTH, &[]);
    let error = shake(&stranger, fixture.config(ACCOUNT), ACCOUNT).unwrap_err();
    assert!(matches!(error, rustls::Error::InvalidCertificate(_)), "{error}");
}

/// The leaf is for the host of the CONNECT; no server name in the handshake is needed, and none is sent for an address.
#[test]
fn a_client_without_a_server_name_is_served() {
    let fixture = Fixture::new(&settings(None));
    let (_, server) = shake(&fixture.client(BOTH, &[]), fixture.config("127.0.0.1"), "127.0.0.1").unwrap();
    assert_eq!(server.server_name(), None);
    let mut nameless = ClientConfig::clone(&fixture.client(BOTH, &[]));
    nameless.enable_sni = false;
    let (_, server) = shake(&Arc::new(nameless), fixture.config(ACCOUNT), ACCOUNT).unwrap();
    assert_eq!(server.server_name(), None);
}

#[test]
fn http_1_is_chosen_wherever_it_is_offered() {
    let fixture = Fixture::new(&settings(None));
    for (offer, want) in [
        (&["h2", "http/1.1"][..], Some("http/1.1")),
        (&["http/1.1", "h2"], Some("http/1.1")),
        (&["http/1.1"], Some("http/1.1")),
        (&["h2"], Some("h2")),
        (&[], None),
    ] {
        let (_, server) = shake(&fixture.client(BOTH, offer), fixture.config(ACCOUNT), ACCOUNT).unwrap();
        assert_eq!(server.alpn_protocol(), want.map(str::as_bytes), "{offer:?}");
    }
    let error = shake(&fixture.client(BOTH, &["spdy/1"]), fixture.config(ACCOUNT), ACCOUNT).unwrap_err();
    assert_eq!(error, rustls::Error::NoApplicationProtocol);
}

#[test]
fn sessions_resume_across_connections_and_renewed_leaves() {
    for versions in [&[&version::TLS12], &[&version::TLS13]] {
        let fixture = Fixture::new(&CaSettings { leaf_lifetime: HOUR, ..settings(None) });
        let client = fixture.client(versions, &[]);
        let kind = || {
            let (_, server) = shake(&client, fixture.config(ACCOUNT), ACCOUNT).unwrap();
            server.handshake_kind().unwrap()
        };
        assert_eq!(kind(), HandshakeKind::Full, "{versions:?}");
        assert_eq!(kind(), HandshakeKind::Resumed, "{versions:?}");
        fixture.clock.set(fixture.clock.now() + HOUR * 3 / 4);
        assert_eq!(fixture.issued(ACCOUNT), Issued::New);
        assert_eq!(kind(), HandshakeKind::Resumed, "{versions:?}");
    }
}

/// Sessions live in tickets that the client keeps, so that many clients do not push each other out of a store of ours.
#[test]
fn a_session_resumes_after_many_others() {
    let fixture = Fixture::new(&settings(None));
    let client = fixture.client(BOTH, &[]);
    shake(&client, fixture.config(ACCOUNT), ACCOUNT).unwrap();
    for _ in 0..300 {
        shake(&fixture.client(BOTH, &[]), fixture.config(ACCOUNT), ACCOUNT).unwrap();
    }
    let (_, server) = shake(&client, fixture.config(ACCOUNT), ACCOUNT).unwrap();
    assert_eq!(server.handshake_kind(), Some(HandshakeKind::Resumed));
}

#[test]
fn a_leaf_is_kept_for_the_first_half_of_its_life() {
    let fixture = Fixture::new(&settings(None));
    let start = fixture.clock.now();
    let second = Duration::from_secs(1);
    for (time, want) in [
        (start, Issued::New),
        (start, Issued::Cached),
        (start + DAY / 2 - second, Issued::Cached),
        (start + DAY / 2, Issued::New),
        (start + DAY - second, Issued::Cached),
        (start + 10 * DAY, Issued::New),
        // A clock that was wrong and is put right: leaves from the future are of no use to anyone.
        (start, Issued::New),
        (start, Issued::Cached),
    ] {
        fixture.clock.set(time);
        assert_eq!(fixture.issued(ACCOUNT), want, "{:?}", time.duration_since(start));
        shake(&fixture.client(BOTH, &[]), fixture.config(ACCOUNT), ACCOUNT).unwrap();
    }
}

#[test]
fn nothing_expired_is_presented_at_the_end_of_the_authority() {
    let fixture = Fixture::new(&settings(None));
    let end = fixture.authority.not_after();
    for left in [HOUR, Duration::from_secs(60), Duration::from_secs(1)] {
        fixture.clock.set(end - left);
        shake(&fixture.client(BOTH, &[]), fixture.config(ACCOUNT), ACCOUNT).unwrap();
    }
    fixture.clock.set(end);
    assert_eq!(fixture.configs.for_host(ACCOUNT).unwrap_err(), IssueError::Expired { host: ACCOUNT.to_owned() });
}

#[test]
fn spelling_does_not_matter() {
    let fixture = Fixture::new(&settings(None));
    assert_eq!(fixture.issued(ACCOUNT), Issued::New);
    assert_eq!(fixture.issued("ACCT.westeurope.Batch.Azure.COM"), Issued::Cached);
}

#[test]
fn a_host_without_a_leaf_is_an_error_each_time() {
    let fixture = Fixture::new(&settings(None));
    for _ in 0..2 {
        assert_eq!(fixture.configs.for_host("x y").unwrap_err(), IssueError::InvalidHost { host: "x y".to_owned() });
        assert!(matches!(fixture.configs.for_host("example.com"), Err(IssueError::NotPermitted { .. })));
    }
    assert_eq!(fixture.issued(ACCOUNT), Issued::New);
}

/// Many connections to one new host at once, as a pool of workers starts, cost one key and one signature; so does a renewal.
#[test]
fn one_leaf_is_made_for_many_connections_at_once() {
    let fixture = Fixture::new(&settings(None));
    for round in 0..20 {
        fixture.clock.set(fixture.clock.now() + DAY * 3 / 4);
        let barrier = Barrier::new(8);
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        fixture.configs.for_host(ACCOUNT).unwrap()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|(_, issued)| *issued == Issued::New).count(), 1, "round {round}");
        assert!(results.iter().all(|(config, _)| Arc::ptr_eq(config, &results[0].0)), "round {round}");
    }
}
