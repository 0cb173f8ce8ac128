//! nginx as a reverse proxy. Bodies pass without being held on disk; the origin is named twice, since a replay needs another server.

use std::path::Path;
use std::process::Command;

use super::Site;
use crate::Result;
use crate::request::host;

pub(super) fn command(program: &Path, site: &Site<'_>) -> Result<Command> {
    let Site { listen, origin, pki, folder } = site;
    let folder = folder.display();
    let file = site.write(
        "nginx.conf",
        &format!(
            "
daemon off;
user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream origin {{
        server {origin} max_fails=0;
        server {origin} max_fails=0;
        keepalive 512;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen {listen} ssl backlog=1024;
        ssl_certificate {};
        ssl_certificate_key {};
        ssl_protocols TLSv1.3;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
        client_max_body_size 0;
        location / {{
            proxy_pass https://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $http_host;
            proxy_ssl_protocols TLSv1.3;
            proxy_ssl_server_name on;
            proxy_ssl_name {};
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {};
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
            proxy_next_upstream error timeout http_500;
        }}
    }}
}}
",
            pki.leaf.display(),
            pki.leaf_key.display(),
            host(0),
            pki.ca.display()
        ),
    )?;
    let mut command = Command::new(program);
    command.arg("-e").arg("stderr").arg("-c").arg(file);
    Ok(command)
}
