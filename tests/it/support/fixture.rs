//! Requests recorded from real clients: `tests/fixtures/wire`.

use std::path::PathBuf;

/// The bytes of one request, such as `azure-batch-15.1.0/03-create-job.http`.
pub(crate) fn wire(name: &str) -> Vec<u8> {
    let path = root().join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of all requests in a folder, in order.
pub(crate) fn wire_names(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".http"))
        .map(|name| format!("{folder}/{name}"))
        .collect();
    names.sort();
    names
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wire")
}
