//! What is known of a request before it is sent, as far as replaying goes.

use std::time::Duration;

use http::Method;

use crate::batch::operation::{Idempotency, Kind, Operation, OperationTable};

/// A request as the rules see it: its row in the operation table, or its HTTP method alone.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    operation: Option<&'static Operation>,
    idempotency: Idempotency,
}

// === impl Subject ===

impl Subject {
    /// Looks the request up by method and raw path. One that matches no row is judged by its method.
    pub fn of(method: &Method, path: &str) -> Self {
        let operation = OperationTable::find(method, path);
        let idempotency = operation.map_or_else(|| Idempotency::of_method(method), |row| row.idempotency);
        Self { operation, idempotency }
    }

    /// The subject that a request for this row of the table would be.
    pub fn of_operation(operation: &'static Operation) -> Self {
        Self { operation: Some(operation), idempotency: operation.idempotency }
    }

    /// The row of the table, if there is one.
    pub fn operation(&self) -> Option<&'static Operation> {
        self.operation
    }

    /// The operation's table name, or `unlisted`.
    pub fn name(&self) -> &'static str {
        self.operation.map_or("unlisted", |row| row.name)
    }

    /// Whether a second execution is harmless.
    pub fn idempotency(&self) -> Idempotency {
        self.idempotency
    }

    /// Whether it creates one thing under an id chosen by the client.
    pub fn creates(&self) -> bool {
        self.operation.is_some_and(|row| row.kind == Kind::Create)
    }

    /// Whether it makes many tasks at once, each under an id chosen by the client.
    pub fn creates_collection(&self) -> bool {
        self.operation.is_some_and(|row| row.kind == Kind::CreateCollection)
    }

    /// Whether its answer is the content of a file, of any size.
    pub fn reads_file(&self) -> bool {
        self.operation.is_some_and(|row| row.kind == Kind::FileRead)
    }

    /// The least time the service wants between two of these on one resource; zero for most.
    pub fn min_interval(&self) -> Duration {
        self.operation.map_or(Duration::ZERO, |row| row.min_interval)
    }
}
