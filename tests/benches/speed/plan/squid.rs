//! Squid with ssl-bump: opens every CONNECT before it asks the origin, with certificates its helper makes. It keeps no answer.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::{Setup, Site};
use crate::Result;
use crate::request::host;

pub(super) fn command(program: &Path, site: &Site<'_>, setup: Setup) -> Result<Command> {
    let Site { listen, origin, pki, folder } = site;
    let mut hosts = String::new();
    for account in 0..setup.accounts.max(1) {
        let _ = writeln!(hosts, "{} {}", origin.ip(), host(account));
    }
    site.write("hosts", &hosts)?;
    // Started by root it works as a user of its own, which must get at what is here.
    for folder in [*folder, &pki.folder] {
        std::fs::set_permissions(folder, Permissions::from_mode(0o777))?;
    }
    let leaves = folder.join("leaves");
    let made = Command::new(HELPER).args(["-c", "-s"]).arg(&leaves).args(["-M", "64MB"]).output()?;
    if !made.status.success() {
        return Err(format!("{HELPER}: {}", String::from_utf8_lossy(&made.stderr)).into());
    }
    open_to_all(&leaves)?;
    let (folder, leaves) = (folder.display(), leaves.display());
    let file = site.write(
        "squid.conf",
        &format!(
            "
http_port {listen} ssl-bump tls-cert={} tls-key={} generate-host-certificates=on dynamic_cert_mem_cache_size=64MB
sslcrtd_program {HELPER} -s {leaves} -M 64MB
tls_outgoing_options cafile={} min-version=1.3
ssl_bump bump all
hosts_file {folder}/hosts
http_access allow all
cache deny all
cache_mem 0
access_log none
cache_log {folder}/cache.log
pid_filename {folder}/squid.pid
coredump_dir none
visible_hostname localhost
workers 1
pinger_enable off
client_persistent_connections on
server_persistent_connections on
client_idle_pconn_timeout 1 hour
pconn_lifetime 0
",
            pki.ca.display(),
            pki.ca_key.display(),
            pki.ca.display()
        ),
    )?;
    let mut command = Command::new(program);
    command.args(["-N", "-f"]).arg(file);
    Ok(command)
}

fn open_to_all(folder: &Path) -> Result<()> {
    std::fs::set_permissions(folder, Permissions::from_mode(0o777))?;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            open_to_all(&path)?;
        } else {
            std::fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        }
    }
    Ok(())
}

/// Where Debian has it.
pub(super) const HELPER: &str = "/usr/lib/squid/security_file_certgen";
