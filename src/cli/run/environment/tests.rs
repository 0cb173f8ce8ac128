//! Parents and what becomes of their variables.

use super::*;

fn of(parent: &[(&str, &str)]) -> Environment {
    let hosts = HostSet::new(vec!["*.*.batch.azure.com".parse().unwrap()], Vec::new());
    let [bundle, node, truststore] = ["/t/bundle.pem", "/t/node.pem", "/t/truststore.p12"].map(Path::new);
    let files = ClientFiles { proxy: "127.0.0.1:4000".parse().unwrap(), bundle, node, truststore };
    environment(lookup(parent), &files, &hosts)
}

fn lookup(parent: &[(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
    move |name| parent.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
}

fn value(environment: &Environment, name: &str) -> String {
    let found = environment.variables.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no {name}")).1.to_str().unwrap().to_owned()
}

#[test]
fn a_bare_parent_gives_the_plain_variables() {
    let child = of(&[]);
    let java = "-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=4000 \
                -Dhttp.nonProxyHosts=\"169.254.169.254|168.63.129.16|localhost|*.localhost|127.0.0.1\" \
                -Djavax.net.ssl.trustStore=\"/t/truststore.p12\" -Djavax.net.ssl.trustStoreType=PKCS12 \
                -Djavax.net.ssl.trustStorePassword=changeit";
    let want = [
        ("HTTPS_PROXY", "http://127.0.0.1:4000"),
        ("https_proxy", "http://127.0.0.1:4000"),
        ("NO_PROXY", DIRECT),
        ("no_proxy", DIRECT),
        ("REQUESTS_CA_BUNDLE", "/t/bundle.pem"),
        ("SSL_CERT_FILE", "/t/bundle.pem"),
        ("CURL_CA_BUNDLE", "/t/bundle.pem"),
        ("NODE_EXTRA_CA_CERTS", "/t/node.pem"),
        ("JAVA_TOOL_OPTIONS", java),
    ];
    assert_eq!(child.variables, want.map(|(name, value)| (name, OsString::from(value))));
    assert_eq!(child.warnings, [""; 0]);
}

#[test]
fn hosts_that_the_user_reaches_directly_stay_so_and_are_listed_once() {
    for (parent, want) in [
        (
            &[("NO_PROXY", "a.example,.b.example")][..],
            "a.example,.b.example,169.254.169.254,168.63.129.16,localhost,127.0.0.1",
        ),
        (&[("no_proxy", " A.example , ,a.example")], "A.example,169.254.169.254,168.63.129.16,localhost,127.0.0.1"),
        (&[("NO_PROXY", "x,localhost"), ("no_proxy", "y,x")], "x,localhost,y,169.254.169.254,168.63.129.16,127.0.0.1"),
        (&[("NO_PROXY", DIRECT), ("no_proxy", DIRECT)], DIRECT),
    ] {
        let child = of(parent);
        assert_eq!((&*value(&child, "NO_PROXY"), &*value(&child, "no_proxy")), (want, want), "{parent:?}");
    }
}

#[test]
fn options_of_java_are_added_to_and_its_direct_hosts_kept() {
    let child = of(&[("JAVA_TOOL_OPTIONS", "-Xmx1g -Dhttp.nonProxyHosts='*.corp|box'"), ("NO_PROXY", ".b.example")]);
    let java = value(&child, "JAVA_TOOL_OPTIONS");
    assert!(java.starts_with("-Xmx1g -Dhttp.nonProxyHosts='*.corp|box' -Dhttps.proxyHost=127.0.0.1 "), "{java}");
    let direct = "-Dhttp.nonProxyHosts=\"*.b.example|169.254.169.254|168.63.129.16|localhost|*.localhost|127.0.0.1|*.corp|box|*.box\"";
    assert!(java.contains(direct), "{java}");
    assert_eq!(child.warnings, [""; 0]);
}

#[test]
fn what_would_surprise_is_warned_of() {
    for (parent, want) in [
        (
            ("NO_PROXY", "x,.azure.com"),
            "`.azure.com` in NO_PROXY keeps requests to Batch away from the proxy in all programs",
        ),
        (
            ("JAVA_TOOL_OPTIONS", "-Dhttp.nonProxyHosts=*.azure.com"),
            "`*.azure.com` in http.nonProxyHosts keeps requests to Batch away from the proxy in some programs (Go, Java)",
        ),
        (
            ("https_proxy", "http://user:secret@corp:8080"),
            "HTTPS_PROXY was set: the command uses this proxy instead, which connects directly",
        ),
        (
            ("JAVA_TOOL_OPTIONS", "-Djavax.net.ssl.trustStore=/x"),
            "the trustStore in JAVA_TOOL_OPTIONS is replaced, its certificates are not taken over",
        ),
    ] {
        assert_eq!(of(&[parent]).warnings, [want], "{parent:?}");
    }
}

#[test]
fn each_file_of_the_parents_certificates_is_named_once() {
    let parent =
        [("SSL_CERT_FILE", "/a"), ("REQUESTS_CA_BUNDLE", "/b"), ("CURL_CA_BUNDLE", "/a"), ("NODE_EXTRA_CA_CERTS", "")];
    let want = [("SSL_CERT_FILE", PathBuf::from("/a")), ("REQUESTS_CA_BUNDLE", PathBuf::from("/b"))];
    assert_eq!(certificate_files(lookup(&parent)), want);
}
