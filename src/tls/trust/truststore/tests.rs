//! The truststore as `keytool` reads it.

use std::process::Command;
use std::time::{Duration, SystemTime};

use super::*;
use crate::batch::endpoint::HostSet;
use crate::tls::CaSettings;

#[test]
fn java_trusts_every_certificate_of_the_truststore() {
    if Command::new("keytool").arg("-help").output().is_err() {
        println!("skipped: there is no keytool");
        return;
    }
    let day = Duration::from_secs(24 * 60 * 60);
    let settings = CaSettings { directory: None, publish: None, lifetime: 30 * day, leaf_lifetime: day };
    let hosts = HostSet::new(vec!["*.*.batch.azure.com".parse().unwrap()], Vec::new());
    let authority = CertificateAuthority::open(&hosts, &settings, SystemTime::now()).unwrap();
    let roots = Roots::load(&[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("truststore.p12");
    std::fs::write(&path, truststore_p12(&authority, &roots).unwrap()).unwrap();

    let mut keytool = Command::new("keytool");
    // What a tool prints depends on the language, and on options it picks up.
    keytool.env_remove("JAVA_TOOL_OPTIONS").args(["-J-Duser.language=en", "-list", "-storetype", "PKCS12"]);
    let output = keytool.args(["-storepass", TRUSTSTORE_PASSWORD, "-keystore"]).arg(&path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert_eq!(text.matches("trustedCertEntry").count(), roots.certificates().len() + 1, "{text}");
    assert!(text.contains("batch-retry-proxy, "), "{text}");
    let fingerprint = authority.fingerprint_sha256().replace(':', "").to_uppercase();
    assert!(text.replace(':', "").to_uppercase().contains(&fingerprint), "{fingerprint}: {text}");
}
