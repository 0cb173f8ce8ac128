//! hudsucker as a peer of `make bench`: opens every CONNECT, changes nothing, retries nothing.
//!
//! As its documentation has it, but for three things: TCP_NODELAY on both legs, without which a handshake waits 40 ms; ring instead of
//! aws-lc, as the proxy it is compared with; and every name leads to the origin of the bench, which is trusted.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use hudsucker::Proxy;
use hudsucker::certificate_authority::RcgenAuthority;
use hudsucker::rcgen::{Issuer, KeyPair};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpSocket;
use tower_service::Service;

/// Gives one address for every name.
#[derive(Clone)]
struct Origin(SocketAddr);

impl Service<Name> for Origin {
    type Response = std::iter::Once<SocketAddr>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        ready(Ok(std::iter::once(self.0)))
    }
}

/// Arguments: where to listen, the origin's address, the authority's certificate and key, the certificate to trust.
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, origin, ca, key, trusted] = arguments.as_slice() else {
        return Err("usage: speed-hudsucker LISTEN ORIGIN CA_PEM CA_KEY_PEM TRUSTED_PEM".into());
    };
    let issuer = Issuer::from_ca_cert_pem(&std::fs::read_to_string(ca)?, KeyPair::from_pem(&std::fs::read_to_string(key)?)?)?;
    let authority = RcgenAuthority::new(issuer, 1_000, ring::default_provider());

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted)?)?;
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new_with_resolver(Origin(origin.parse()?));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().wrap_connector(tcp);

    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    // Accepted sockets inherit it.
    socket.set_nodelay(true)?;
    socket.bind(listen.parse()?)?;
    let proxy = Proxy::builder().with_listener(socket.listen(1024)?).with_ca(authority).with_http_connector(connector).build()?;
    Ok(proxy.start().await?)
}
