//! The limit: TLS on both sides and nothing else. The bench's own binary runs as this child when told `relay`.
//!
//! It answers every CONNECT, makes one connection to the origin for each of its own, and copies bytes.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::Result;
use crate::http::lone_head;
use crate::pki::{self, Pki};
use crate::request::host;

/// Runs until killed. Arguments: where to listen, the origin's address, the folder of the certificates.
pub(crate) async fn run(arguments: &[String]) -> Result<()> {
    let [listen, origin, folder] = arguments else { return Err("relay LISTEN ORIGIN FOLDER".into()) };
    let (listen, origin): (SocketAddr, SocketAddr) = (listen.parse()?, origin.parse()?);
    let pki = Pki::of(&PathBuf::from(folder));
    let (acceptor, connector) = (TlsAcceptor::from(pki.server()?), TlsConnector::from(pki::client(&pki.ca)?));
    let listener = TcpListener::bind(listen).await?;
    let name = Arc::new(ServerName::try_from(host(0))?);
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, connector, name) = (acceptor.clone(), connector.clone(), name.clone());
        // The load generator counts what does not come back.
        tokio::spawn(async move { drop(relay(stream, origin, acceptor, connector, &name).await) });
    }
}

async fn relay(
    mut client: TcpStream,
    origin: SocketAddr,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    name: &ServerName<'static>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    lone_head(&mut client).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    let mut client = acceptor.accept(client).await?;
    let upstream = TcpStream::connect(origin).await?;
    upstream.set_nodelay(true)?;
    let mut upstream = connector.connect(name.clone(), upstream).await?;
    copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER).await?;
    Ok(())
}

const BUFFER: usize = 16 << 10;
