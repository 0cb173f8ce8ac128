//! HAProxy as a reverse proxy.

use std::path::Path;
use std::process::Command;

use super::Site;
use crate::Result;
use crate::request::host;

pub(super) fn command(program: &Path, site: &Site<'_>) -> Result<Command> {
    let Site { listen, origin, pki, folder } = site;
    // It reads certificate and key from one file.
    let both = std::fs::read_to_string(&pki.leaf)? + &std::fs::read_to_string(&pki.leaf_key)?;
    site.write("leaf.pem", &both)?;
    let file = site.write(
        "haproxy.cfg",
        &format!(
            "
global
    nbthread 1
    maxconn 8192
defaults
    mode http
    maxconn 8192
    timeout connect 10s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 1h
    retries 3
    retry-on conn-failure empty-response response-timeout 500
    http-reuse always
frontend clients
    bind {listen} ssl crt {}/leaf.pem ssl-min-ver TLSv1.3
    default_backend origin
backend origin
    server origin {origin} ssl verify required ca-file {} sni str({}) ssl-min-ver TLSv1.3 pool-purge-delay 1h
",
            folder.display(),
            pki.ca.display(),
            host(0)
        ),
    )?;
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}
