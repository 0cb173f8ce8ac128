//! What is left of a key in the process's own memory.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use super::*;
use crate::tls::testing::openssl;

/// The secret number of a key's PKCS#8 text, each octet turned into another so that the test itself leaves no copy.
fn masked(pkcs8: &[u8]) -> Vec<u8> {
    // SEC 1's structure in PKCS#8: version 1, then the number, an octet string of 32 (RFC 5915).
    let start = pkcs8.windows(5).position(|octets| octets == [2, 1, 1, 4, 32]).unwrap() + 5;
    pkcs8[start..start + 32].iter().map(|octet| octet ^ MASK).collect()
}

/// How often it stands in memory that is written to, but for this thread's stack.
fn copies(masked: &[u8]) -> usize {
    let local = 0_u8;
    let stack = std::ptr::from_ref(&local) as usize;
    let memory = File::open("/proc/self/mem").unwrap();
    let mut found = 0;
    for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let mut words = line.split_whitespace();
        let (from, to) = words.next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|text| usize::from_str_radix(text, 16).unwrap());
        if !words.next().unwrap().starts_with("rw") || (from..to).contains(&stack) {
            continue;
        }
        // Mappings may go away meanwhile: other tests have threads of their own.
        let mut content = vec![0; to - from];
        if memory.read_exact_at(&mut content, from as u64).is_ok() {
            found += content.windows(masked.len()).filter(|window| is_it(window, masked)).count();
        }
        content.zeroize();
    }
    found
}

fn is_it(window: &[u8], masked: &[u8]) -> bool {
    window.iter().zip(masked).all(|(octet, masked)| octet ^ MASK == *masked)
}

/// Linux only, as it reads the process's memory.
#[test]
fn nothing_is_left_of_a_key_that_was_dropped() {
    // Made by others: to make one here leaves copies on stacks.
    let directory = tempfile::tempdir().unwrap();
    let [pem, der] = ["key.pem", "key.der"].map(|name| directory.path().join(name));
    let [pem_path, der_path] = [&pem, &der].map(|path| path.to_str().unwrap());
    for arguments in [
        &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", pem_path][..],
        &["pkcs8", "-topk8", "-nocrypt", "-in", pem_path, "-outform", "DER", "-out", der_path],
    ] {
        let done = openssl(&arguments.iter().map(AsRef::as_ref).collect::<Vec<_>>());
        assert!(done.status.success(), "{done:?}");
    }
    // Read at one go into a buffer of its length: one that grows leaves copies behind.
    let pkcs8 = Zeroizing::new(fs::read(&der).unwrap());
    let secret = masked(&pkcs8);
    let key = SecretKey::from_pkcs8(pkcs8).unwrap();
    assert!(key.sign(b"message").is_ok());
    assert!(copies(&secret) >= 1, "it would be found");
    drop(key);
    assert_eq!(copies(&secret), 0);
}

#[test]
fn a_key_is_the_same_after_it_was_written_as_pem() {
    let key = SecretKey::generate().unwrap();
    let text = format!("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n{}", *key.to_pem());
    assert_eq!(SecretKey::from_pem(&text).unwrap().public, key.public);
    assert!(SecretKey::from_pem("nonsense").is_err());
}

const MASK: u8 = 0x5a;
