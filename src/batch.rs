//! What the Azure Batch REST API is, as pure data and functions: hosts, operations, error codes, echoes, credentials.
//!
//! Nothing here reads a clock, a socket or a file, and nothing decides whether to replay: that is [`crate::retry`].
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod coding;
pub mod credential;
pub mod echo;
pub mod endpoint;
pub mod fault;
pub mod fields;
pub mod operation;
