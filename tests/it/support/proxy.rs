//! The real proxy in the test's own process, with waits short enough for tests.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use batch_retry_proxy::app::{App, Configuration, Controls, InForce, Reload};
use batch_retry_proxy::config::Sources;
use batch_retry_proxy::shutdown::{self, Drained, Shutdown};
use batch_retry_proxy::telemetry;
use tempfile::NamedTempFile;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use toml::{Table, Value};

use super::batch::HOST;
use super::client::{Client, Tunnel, request};
use super::guard;
use super::metric::sum;
use super::origin::Origin;

/// A running proxy. Dropped, it stops at once.
pub(crate) struct TestProxy {
    address: SocketAddr,
    admin: SocketAddr,
    ca_pem: String,
    settings: Builder,
    file: NamedTempFile,
    asked: Arc<Notify>,
    in_force: InForce,
    shutdown: Shutdown,
    task: JoinHandle<Drained>,
}

/// Settings to start with, or to go on with.
#[derive(Clone)]
pub(crate) struct Builder {
    settings: Table,
}

// === impl Builder ===

impl Builder {
    /// Sends what goes to port 443 of the origin's hosts to the origin, and trusts its certificate.
    pub(crate) fn upstream(mut self, origin: &Origin) -> Self {
        for host in origin.hosts() {
            self = self.resolve(&format!("{host}:443"), origin.address());
        }
        self.trust(origin.ca_file())
    }

    /// Trusts the certificates in `file` for what it reaches.
    pub(crate) fn trust(mut self, file: &Path) -> Self {
        let files = self.section("upstream").entry("ca_files").or_insert_with(|| Value::Array(Vec::new()));
        files.as_array_mut().unwrap().push(file.to_str().unwrap().into());
        self
    }

    /// Sends what goes to `authority` (`host:port`) to `address`.
    pub(crate) fn resolve(mut self, authority: &str, address: SocketAddr) -> Self {
        let table = self.section("upstream").entry("resolve").or_insert_with(|| Value::Table(Table::new()));
        table.as_table_mut().unwrap().insert(authority.to_owned(), address.to_string().into());
        self
    }

    /// Sets one key, such as `retry.deadline`.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        let (section, name) = key.rsplit_once('.').expect("a key has a section");
        self.section(section).insert(name.to_owned(), value.into());
        self
    }

    /// Starts.
    ///
    /// # Panics
    /// If the settings are refused or the proxy cannot start.
    pub(crate) async fn start(self) -> TestProxy {
        let file = NamedTempFile::with_suffix(".toml").unwrap();
        self.write(file.path());
        let reload = Reload::new(Sources { file: Some(file.path().to_owned()), ..Sources::default() }).unwrap();
        let logs = telemetry::init(reload.settings().log);
        let app = App::bind(reload.settings().clone()).await.unwrap();
        let (address, admin, ca_pem) = (app.proxy_address(), app.admin_address(), app.root_pem().to_owned());
        let (in_force, asked) = (app.in_force(), reload.asked());
        let (shutdown, drain) = shutdown::channel();
        let config = Configuration::Reloadable(Box::new(reload));
        let task = tokio::spawn(app.run(drain, Controls { logs, config, shutdown: shutdown.clone() }));
        TestProxy { address, admin, ca_pem, settings: self, file, asked, in_force, shutdown, task }
    }

    fn write(&self, file: &Path) {
        std::fs::write(file, self.settings.to_string()).unwrap();
    }

    fn section(&mut self, path: &str) -> &mut Table {
        path.split('.').fold(&mut self.settings, |table, name| {
            table.entry(name).or_insert_with(|| Value::Table(Table::new())).as_table_mut().expect("a section is a table")
        })
    }
}

// === impl TestProxy ===

impl TestProxy {
    /// Listens at ports the system picks and waits milliseconds where it would wait seconds, without chance.
    pub(crate) fn builder() -> Builder {
        Builder { settings: Table::new() }
            .set("listen.address", "127.0.0.1:0")
            .set("admin.address", "127.0.0.1:0")
            .set("log.level", "off")
            .set("retry.backoff.initial", "20ms")
            .set("retry.backoff.max", "100ms")
            .set("retry.backoff.jitter", 0.0)
    }

    /// Changes the settings and waits until the change is in force.
    pub(crate) async fn reload(&mut self, change: impl FnOnce(Builder) -> Builder) {
        let (name, applied) = ("batch_retry_proxy_config_reloads_total", [("result", "applied")]);
        let before = sum(&self.metrics().await, name, &applied);
        self.settings = change(self.settings.clone());
        self.settings.write(self.file.path());
        self.asked.notify_one();
        self.wait_for_metric(name, &applied, before + 1.0).await;
    }

    /// Where the proxy listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the admin server listens.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The certificate to trust the proxy by.
    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// A connection to port 443 of `host`, opened by the proxy.
    pub(crate) async fn client(&self, host: &str) -> Client {
        let tunnel = Tunnel::open(self.address, &format!("{host}:443"), None).await;
        tunnel.tls(&self.ca_pem, host, &["http/1.1"]).await.unwrap()
    }

    /// The metrics as they are now.
    pub(crate) async fn metrics(&self) -> String {
        self.admin_page("/metrics").await
    }

    /// What the admin server has at `path`.
    pub(crate) async fn admin_page(&self, path: &str) -> String {
        let mut client = Client::connect(self.admin).await;
        let response = client.request(&request("GET", path, "localhost", &[], "")).await;
        assert_eq!(response.status, 200, "{}", response.text());
        response.text()
    }

    /// Waits until the series of `name` with these labels have counted something.
    pub(crate) async fn until(&self, name: &str, labels: &[(&str, &str)]) {
        guard(&format!("{name}{labels:?}"), async {
            while sum(&self.metrics().await, name, labels) < 1.0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Waits until the series of `name` that carry all of `labels` add up to `want`: what is counted when something ends may be counted a
    /// moment after the client saw the end.
    pub(crate) async fn wait_for_metric(&self, name: &str, labels: &[(&str, &str)], want: f64) {
        guard(&format!("{name}{labels:?} at {want}"), async {
            while (sum(&self.metrics().await, name, labels) - want).abs() > 1e-9 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Waits until new connections are refused, which they are once draining has begun.
    pub(crate) async fn wait_for_refusal(&self) {
        guard("refused connections", async {
            while TcpStream::connect(self.address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Begins to drain.
    pub(crate) fn drain(&self) {
        self.shutdown.drain(self.in_force.grace());
    }

    /// Drains, waits for the end and tells whether anything had to be cut off.
    ///
    /// # Panics
    /// If the proxy panicked.
    pub(crate) async fn finish(mut self) -> Drained {
        self.drain();
        guard("the proxy's end", &mut self.task).await.unwrap()
    }
}

/// An origin that is the Batch account of the tests, behind a proxy with these further settings.
pub(crate) async fn start(set: impl FnOnce(Builder) -> Builder) -> (Origin, TestProxy) {
    let origin = Origin::start(&[HOST]).await;
    let proxy = set(TestProxy::builder().upstream(&origin)).start().await;
    (origin, proxy)
}

/// Ends the test: both have to end well.
pub(crate) async fn finish(proxy: TestProxy, origin: Origin) {
    proxy.finish().await;
    origin.finish().await;
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
