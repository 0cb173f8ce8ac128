//! Envoy: one listener ends CONNECT and hands the bytes to an internal one, which opens TLS with one certificate for all hosts and replays
//! what fails, at once.

use std::path::Path;
use std::process::Command;

use super::Site;
use crate::Result;
use crate::request::host;

pub(super) fn command(program: &Path, site: &Site<'_>) -> Result<Command> {
    let Site { listen, origin, pki, .. } = site;
    let text = TEMPLATE
        .replace("LISTEN_PORT", &listen.port().to_string())
        .replace("ORIGIN_PORT", &origin.port().to_string())
        .replace("LEAF_KEY", &pki.leaf_key.display().to_string())
        .replace("LEAF", &pki.leaf.display().to_string())
        .replace("TRUSTED", &pki.ca.display().to_string())
        .replace("HOST", &host(0));
    let file = site.write("envoy.yaml", &text)?;
    let mut command = Command::new(program);
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning", "-c"]).arg(file);
    Ok(command)
}

const TEMPLATE: &str = r#"
bootstrap_extensions:
- name: envoy.bootstrap.internal_listener
  typed_config: { "@type": type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener }
static_resources:
  listeners:
  - name: clients
    address: { socket_address: { address: 127.0.0.1, port_value: LISTEN_PORT } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          upgrade_configs: [{ upgrade_type: CONNECT }]
          stream_idle_timeout: 0s
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { connect_matcher: {} }
                route: { cluster: opened, timeout: 0s, upgrade_configs: [{ upgrade_type: CONNECT, connect_config: {} }] }
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  - name: opened
    internal_listener: {}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_params: { tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3 }
            tls_certificates: [{ certificate_chain: { filename: "LEAF" }, private_key: { filename: "LEAF_KEY" } }]
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: opened
          generate_request_id: false
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { prefix: / }
                route:
                  cluster: origin
                  timeout: 0s
                  retry_policy:
                    retry_on: 5xx,reset,connect-failure
                    num_retries: 19
                    retry_back_off: { base_interval: 0.001s, max_interval: 0.001s }
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  clusters:
  - name: opened
    type: STATIC
    connect_timeout: 10s
    circuit_breakers: { thresholds: [{ max_connections: 8192, max_pending_requests: 8192, max_requests: 8192 }] }
    load_assignment:
      cluster_name: opened
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { envoy_internal_address: { server_listener_name: opened, endpoint_id: opened } } }
    transport_socket:
      name: envoy.transport_sockets.internal_upstream
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport
        transport_socket:
          name: envoy.transport_sockets.raw_buffer
          typed_config: { "@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer }
  - name: origin
    type: STATIC
    connect_timeout: 10s
    circuit_breakers: { thresholds: [{ max_connections: 8192, max_pending_requests: 8192, max_requests: 8192, max_retries: 8192 }] }
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: ORIGIN_PORT } } }
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: HOST
        common_tls_context:
          tls_params: { tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3 }
          validation_context: { trusted_ca: { filename: "TRUSTED" } }
"#;
