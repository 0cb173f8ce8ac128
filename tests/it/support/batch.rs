//! Answers in the shape the Batch service gives them: successes in chunks, errors with a length, a request id on each.

use super::action::{Action, respond, respond_chunked};

/// A success with a JSON body.
pub(crate) fn json(status: u16, body: &serde_json::Value) -> Action {
    let fields = [IDENTITY, &[("Content-Type", "application/json;odata=minimalmetadata")]].concat();
    respond_chunked(status, &fields, &[body.to_string()])
}

/// A success with nothing to say, such as 201 or 202.
pub(crate) fn empty(status: u16) -> Action {
    respond_chunked(status, &[IDENTITY, &[("DataServiceId", HOST_URL)]].concat(), &[""; 0])
}

/// The content of a file, in chunks of 16 KiB.
pub(crate) fn file(content: &[u8]) -> Action {
    let chunks: Vec<&[u8]> = content.chunks(16 * 1024).collect();
    let fields = [
        ("Content-Type", "application/octet-stream"),
        ("ETag", "\"0x8DE2A3B4C5D6E7F\""),
        ("Last-Modified", "Mon, 23 Nov 2026 03:40:00 GMT"),
        ("ocp-batch-file-isdirectory", "False"),
        ("ocp-batch-file-mode", "0o100644"),
    ];
    respond_chunked(200, &[IDENTITY, &fields].concat(), &chunks)
}

/// A refusal with the service's error code, and further fields such as `Retry-After`.
pub(crate) fn error(status: u16, code: &str, headers: &[(&str, &str)]) -> Action {
    let fields = [IDENTITY, &[("Content-Type", "application/json;odata=minimalmetadata")], headers].concat();
    respond(status, &fields, error_body(code))
}

/// The JSON body of a refusal.
pub(crate) fn error_body(code: &str) -> String {
    let message = format!("The service says {code}.\nRequestId:{REQUEST_ID}\nTime:2026-11-23T03:41:33.0000000Z");
    serde_json::json!({
        "odata.metadata": format!("{HOST_URL}/$metadata#Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element"),
        "code": code,
        "message": { "lang": "en-US", "value": message },
    })
    .to_string()
}

/// The account the fixtures and the tests use.
pub(crate) const HOST: &str = "testacct.westeurope.batch.azure.com";

const HOST_URL: &str = "https://testacct.westeurope.batch.azure.com";
const REQUEST_ID: &str = "0f7a5f5c-3f0e-4c1d-9a67-1d7f0c5b2a11";
const IDENTITY: &[(&str, &str)] = &[
    ("Server", "Microsoft-HTTPAPI/2.0"),
    ("request-id", REQUEST_ID),
    ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    ("DataServiceVersion", "3.0"),
    ("Date", "Mon, 23 Nov 2026 03:41:33 GMT"),
];
