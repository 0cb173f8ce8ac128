//! `ca show` and `ca export`: the authority kept in `ca.directory`, or else that of the running proxy.

use std::fs;
use std::net::SocketAddr;
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::Value;
use thiserror::Error;

use super::args::{ExportArgs, ExportFormat};
use super::probe::block_on;
use super::{Failure, print};
use crate::admin::probe::{self, ProbeError};
use crate::app::StartError;
use crate::config::Settings;
use crate::tls::authority::CertificateAuthority;
use crate::tls::roots::Roots;
use crate::tls::trust;

/// The authority is in the memory of a proxy that does not answer.
#[derive(Debug, Error)]
#[error("without ca.directory the certificate authority is in the memory of a running proxy")]
struct NotRunning {
    source: ProbeError,
}

/// Tells the authority's name, fingerprint and life.
pub(super) fn show(settings: &Settings) -> Result<(), Failure> {
    let text = match &settings.ca.directory {
        Some(directory) => {
            let authority = kept(settings)?;
            let expires = humantime::format_rfc3339_seconds(authority.not_after());
            let (subject, fingerprint) = (authority.subject(), authority.fingerprint_sha256());
            format!(
                "subject      {subject}\nsha256       {fingerprint}\nexpires      {expires}\nkept in      {}\n",
                directory.display()
            )
        }
        None => {
            let admin = settings.admin.address;
            let status: Value =
                serde_json::from_slice(&fetch(admin, "/status")?).map_err(|error| Failure::Internal(error.into()))?;
            let field = |name: &str| status["ca"][name].as_str().unwrap_or("unknown").to_owned();
            let (subject, fingerprint, expires) = (field("subject"), field("fingerprint"), field("not_after"));
            format!(
                "subject      {subject}\nsha256       {fingerprint}\nexpires      {expires}\nkept in      memory of the proxy at {admin}\n"
            )
        }
    };
    print(text.as_bytes())
}

/// Writes the authority's certificate in the form asked for, alone or with the roots that the proxy trusts.
pub(super) fn export(settings: &Settings, args: &ExportArgs) -> Result<(), Failure> {
    let contents = match &settings.ca.directory {
        Some(_) => from_kept(settings, args.format)?,
        None => fetch(settings.admin.address, path(args.format))?,
    };
    match &args.out {
        None => print(&contents)?,
        Some(path) => {
            fs::write(path, &contents)
                .map_err(|error| Failure::Start(format!("cannot write {} (--out): {error}", path.display()).into()))?;
        }
    }
    Ok(())
}

/// The same as the running proxy would answer, made from what is kept.
fn from_kept(settings: &Settings, format: ExportFormat) -> Result<Bytes, Failure> {
    let roots = || Roots::load(&settings.upstream.ca_files).map_err(StartError::from);
    let listen = settings.listen.address;
    Ok(match format {
        ExportFormat::Bundle => Bytes::from(trust::bundle_pem(&kept(settings)?, &roots()?)),
        // Only the running proxy knows which port it was given.
        ExportFormat::Env if listen.port() == 0 => fetch(settings.admin.address, path(format))?,
        ExportFormat::Env => Bytes::from(trust::proxy_env(listen, settings.ca.publish.as_deref())),
        ExportFormat::P12 => {
            let store = trust::truststore_p12(&kept(settings)?, &roots()?);
            Bytes::from(store.map_err(|error| Failure::Internal(error.into()))?)
        }
        ExportFormat::Pem => Bytes::from(kept(settings)?.root_pem().to_owned()),
    })
}

/// Where the admin server has it.
fn path(format: ExportFormat) -> &'static str {
    match format {
        ExportFormat::Bundle => "/bundle.pem",
        ExportFormat::Env => "/proxy.env",
        ExportFormat::P12 => "/truststore.p12",
        ExportFormat::Pem => "/ca.pem",
    }
}

fn kept(settings: &Settings) -> Result<CertificateAuthority, Failure> {
    let opened = CertificateAuthority::open(&settings.route.intercept, &settings.ca, SystemTime::now());
    Ok(opened.map_err(StartError::from)?)
}

fn fetch(admin: SocketAddr, path: &str) -> Result<Bytes, Failure> {
    block_on(probe::fetch(admin, path))?.map_err(|source| Failure::Start(NotRunning { source }.into()))
}
