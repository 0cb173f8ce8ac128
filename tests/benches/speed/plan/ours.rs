//! Our proxy: all settings as by default but for where things are. It logs at info, as JSON into a file.

use std::path::Path;
use std::process::Command;

use super::{Setup, Site};
use crate::Result;
use crate::request::host;

pub(super) fn command(program: &Path, site: &Site<'_>, setup: Setup) -> Result<Command> {
    let Site { listen, origin, pki, folder } = site;
    let entry = |account| format!("\"{}:{}\" = \"{origin}\"", host(account), origin.port());
    let resolve: Vec<String> = (0..setup.accounts.max(1)).map(entry).collect();
    let hasty = if setup.hasty { HASTY } else { "" };
    let file = site.write(
        "config.toml",
        &format!(
            r#"
[listen]
address = "{listen}"
[admin]
address = "127.0.0.1:0"
[ca]
publish = "{}"
[upstream]
ca_files = ["{}"]
resolve = {{ {} }}
{hasty}"#,
            folder.display(),
            pki.ca.display(),
            resolve.join(", ")
        ),
    )?;
    let mut command = Command::new(program);
    command.arg("--config").arg(file);
    Ok(command)
}

const HASTY: &str = r#"
[retry.backoff]
initial = "1ms"
max = "1ms"
[retry.budget]
ratio = 10
min_per_second = 100000
"#;
