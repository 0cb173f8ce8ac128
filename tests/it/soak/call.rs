//! One call through the proxy: made, signed, sent, answered.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine};
use batch_retry_proxy::simulator::SimulatorSettings;
use fastrand::Rng;
use ring::hmac;
use rustls::ClientConfig;
use serde_json::Value;

use super::ground::Ground;
use super::plan::Ask;
use crate::support::client::{Client, Response, Tunnel, request};
use crate::support::pki::client_config_at;

/// How a caller proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    Bearer,
    SharedKey,
}

/// A client of the account, with one connection that it keeps.
pub(super) struct Caller {
    proxy: SocketAddr,
    tls: Arc<ClientConfig>,
    host: String,
    ground: Arc<Ground>,
    pub(super) credential: Credential,
    number: usize,
    calls: usize,
    account: String,
    key: hmac::Key,
    connection: Option<Connection>,
    /// Says when it connects anew without need.
    whim: Rng,
}

/// A connection, and which of the proxies that follow each other it leads to.
struct Connection {
    client: Client,
    era: u64,
}

/// An answer, and what the proxy says about it.
pub(super) struct Answer {
    pub(super) response: Response,
    /// The body, where it is JSON.
    pub(super) body: Value,
    /// Sends that the proxy made.
    pub(super) attempts: u32,
    /// What became of an echo.
    pub(super) echo: Option<String>,
}

// === impl Caller ===

impl Caller {
    pub(super) fn new(
        (proxy, ca_pem, host): (SocketAddr, &str, &str),
        credential: Credential,
        number: usize,
        ground: Arc<Ground>,
    ) -> Self {
        let SimulatorSettings { account, key, .. } = SimulatorSettings::demo();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64_STANDARD.decode(key).unwrap());
        let (tls, host) = (client_config_at(ca_pem, &["http/1.1"], ground.clock.clone()), host.to_owned());
        let whim = Rng::with_seed(number as u64);
        Self { proxy, tls, host, ground, credential, number, calls: 0, account, key, connection: None, whim }
    }

    /// The id of the next call: no two have the same.
    pub(super) fn next_id(&mut self) -> String {
        self.calls += 1;
        format!("w{}-{:07}", self.number, self.calls)
    }

    /// Ends the connection, for a rest that is asked for.
    pub(super) fn hang_up(&mut self) {
        self.connection = None;
    }

    /// Asks, and reads the whole answer. What a proxy that ends has not read is asked again of the one that follows, as every client does.
    ///
    /// # Errors
    /// Says what went wrong where a call was lost.
    pub(super) async fn call(&mut self, ask: &Ask, id: &str) -> Result<Answer, String> {
        loop {
            let Connection { mut client, era } = self.connected().await?;
            match client.exchange(&self.request(ask, id)).await {
                Ok(response) => {
                    self.ground.progress();
                    let closes = response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
                    let keeps = !closes && response.complete && !self.ground.is_fickle(&mut self.whim);
                    self.connection = keeps.then_some(Connection { client, era });
                    return Ok(Answer::new(response));
                }
                Err(_) if client.is_untouched() && self.ground.is_over(era) => {}
                Err(error) => return Err(format!("no answer: {error}")),
            }
        }
    }

    /// The connection there is, or a new one as soon as there is a proxy.
    async fn connected(&mut self) -> Result<Connection, String> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        loop {
            let era = self.ground.era();
            let authority = format!("{}:443", self.host);
            let connected = async {
                let tunnel = Tunnel::try_open(self.proxy, &authority, None).await?;
                tunnel.tls_with(self.tls.clone(), &self.host).await
            };
            match connected.await {
                Ok(client) => return Ok(Connection { client, era }),
                Err(_) if self.ground.is_over(era) => self.ground.running().await,
                Err(error) => return Err(format!("no connection: {error}")),
            }
        }
    }

    /// The path and query of a link that the account gave.
    pub(super) fn target_of(&self, link: &str) -> String {
        let target = link.split_once(&self.host).map_or(link, |(_, target)| target);
        // Ours to add, as with every call.
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let kept: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("api-version=")).collect();
        format!("{path}?{}", kept.join("&"))
    }

    fn request(&self, ask: &Ask, id: &str) -> Vec<u8> {
        let between = if ask.target.contains('?') { '&' } else { '?' };
        let target = format!("{}{between}api-version={API_VERSION}", ask.target);
        let body = ask.body.as_ref().map(Value::to_string).unwrap_or_default();
        let mut fields = vec![("client-request-id", id)];
        if ask.body.is_some() {
            fields.push(("Content-Type", JSON));
        } else if ask.verb == "POST" {
            fields.push(("Content-Length", "0"));
        }
        fields.extend(ask.if_match.as_deref().map(|etag| ("If-Match", etag)));
        let date = httpdate::fmt_http_date(self.ground.clock.now());
        let authorization = match self.credential {
            Credential::Bearer => "Bearer of-the-soak".to_owned(),
            Credential::SharedKey => {
                fields.push(("ocp-date", &date));
                let signature = hmac::sign(&self.key, self.string_to_sign(ask, &target, body.len(), &date).as_bytes());
                format!("SharedKey {}:{}", self.account, BASE64_STANDARD.encode(signature))
            }
        };
        fields.push(("Authorization", &authorization));
        request(ask.verb, &target, &self.host, &fields, body)
    }

    /// As the REST reference has it; written anew here, so that the account's reading is not its own judge.
    fn string_to_sign(&self, ask: &Ask, target: &str, length: usize, date: &str) -> String {
        let length = match (length, ask.verb) {
            (0, "POST") => "0".to_owned(),
            (0, _) => String::new(),
            (length, _) => length.to_string(),
        };
        let kind = if ask.body.is_some() { JSON } else { "" };
        let etag = ask.if_match.as_deref().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut pairs: Vec<String> = query.split('&').map(signed_pair).collect();
        pairs.sort();
        let (verb, account) = (ask.verb, &self.account);
        format!("{verb}\n\n\n{length}\n\n{kind}\n\n\n{etag}\n\n\n\nocp-date:{date}\n/{account}{path}\n{}", pairs.join("\n"))
    }
}

// === impl Answer ===

impl Answer {
    fn new(response: Response) -> Self {
        let status = response.header("proxy-status").unwrap_or_default();
        let said = |name: &str| {
            let found = status.split(';').filter_map(|part| part.trim().split_once('=')).find(|(key, _)| *key == name);
            found.map(|(_, value)| value.to_owned())
        };
        let attempts = said("attempts").and_then(|text| text.parse().ok()).unwrap_or(0);
        let (echo, body) = (said("echo"), serde_json::from_slice(&response.body).unwrap_or_default());
        Self { response, body, attempts, echo }
    }

    /// The code of an error.
    pub(super) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// All that matters, in one line.
    pub(super) fn told(&self) -> String {
        let status = self.response.header("proxy-status").unwrap_or("no Proxy-Status");
        format!("{} {} ({status})", self.response.status, self.code())
    }
}

/// A pair of the query as it is signed. No value here needs decoding.
fn signed_pair(pair: &str) -> String {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    format!("{}:{value}", name.to_ascii_lowercase())
}

const API_VERSION: &str = "2024-07-01.20.0";
const JSON: &str = "application/json; odata=minimalmetadata";
