//! The operations of the Batch REST API, and which of them a request is.
//!
//! A replay is decided by what a second execution would do, and the HTTP method alone does not tell: most of Batch's POSTs
//! may be repeated, four must not. The rows stand in `table`; what an operation's failure means is [`super::fault`]'s
//! job, and whether to send again is that of [`crate::retry`].
//!
//! Sources of the rows: the Batch TypeSpec of Azure's REST API specifications (`routes.tsp`, for names and texts), and the
//! request builders of all released Python clients, 1.0 to 15.1 (for methods and paths of every API version since 2016).

mod path;
mod table;

use std::time::Duration;

use http::Method;

use self::path::Path;

/// One operation of the Batch REST API.
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    /// The operation id in the newest specification that has it, such as `Jobs_CreateJob`. It serves as metric label.
    pub name: &'static str,
    /// The method it is called with.
    pub method: Verb,
    /// The path template, such as `/jobs/{jobId}`.
    pub path: &'static str,
    /// What a second execution would do.
    pub idempotency: Idempotency,
    /// What sort of call it is, where a rule depends on that.
    pub kind: Kind,
    /// The time the service wants between two calls on the same resource; zero where it asks for none.
    pub min_interval: Duration,
    /// Which versions of the API have it.
    pub era: Era,
}

/// Which versions of the API have an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// In the newest stable version, 2025-06-01.
    Current,
    /// In the first version, 2016-07-01.3.1, only: file names with raw slashes.
    ///
    /// The template is the same as that of a current row. There the file path is one segment with encoded separators
    /// (`wd%2Fstdout.txt`, `wd%5Cstdout.txt`); the old client left them raw, so that two or more segments follow `files/`.
    /// Both are judged alike: the difference only decides the name.
    LegacyPath,
    /// In older versions only, which the service may still answer.
    Retired,
}

/// What a second execution of an operation would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// Twice has the same end state as once (RFC 9110, 9.2.2), though the second answer may differ.
    Idempotent,
    /// A second execution has an effect of its own.
    NonIdempotent,
    /// There is no effect on the server (RFC 9110, 9.2.1).
    Safe,
}

/// The sorts of operation that a rule treats differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Makes one resource under an id the client chose: a `...BeingDeleted` clears by itself, a `...Exists` may be an echo.
    Create,
    /// Makes up to 100 tasks at once and answers 200 with a result for each (addtaskcollection).
    CreateCollection,
    /// Removes a resource.
    Delete,
    /// Reads the content of a file, of any size: such an answer is streamed rather than held.
    FileRead,
    /// Everything else.
    Other,
}

/// The methods Batch uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// DELETE
    Delete,
    /// GET
    Get,
    /// HEAD
    Head,
    /// PATCH
    Patch,
    /// POST
    Post,
    /// PUT
    Put,
}

/// The operations of the Batch REST API since its first version.
#[derive(Clone, Copy, Debug)]
pub struct OperationTable;

/// Whether a version of the API has an operation, as far as the table knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It does not.
    Absent,
    /// It does.
    Present,
    /// The table does not say.
    Unknown,
}

// === impl Era ===

impl Era {
    /// Whether the version `api_version` (`2025-06-01`, `2024-07-01.20.0`) has an operation of this era. Only the first ten characters
    /// count, the date: no two versions share one.
    pub fn presence_in(self, api_version: &str) -> Presence {
        let date = api_version.get(..DATE_LENGTH).unwrap_or(api_version);
        match self {
            Self::Current if date == NEWEST_VERSION => Presence::Present,
            Self::LegacyPath if FIRST_VERSION.get(..DATE_LENGTH) == Some(date) => Presence::Present,
            Self::LegacyPath => Presence::Absent,
            Self::Retired if date >= NEWEST_VERSION => Presence::Absent,
            Self::Current | Self::Retired => Presence::Unknown,
        }
    }
}

// === impl Idempotency ===

impl Idempotency {
    /// What may be assumed of a request that no row of the table knows.
    pub fn of_method(method: &Method) -> Self {
        match *method {
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE => Self::Safe,
            Method::DELETE | Method::PUT => Self::Idempotent,
            // RFC 9110 promises nothing for these, and nothing is known of methods outside it.
            _ => Self::NonIdempotent,
        }
    }
}

// === impl Verb ===

impl Verb {
    /// The verb for an HTTP method, where Batch uses that method.
    pub fn of(method: &Method) -> Option<Self> {
        match *method {
            Method::DELETE => Some(Self::Delete),
            Method::GET => Some(Self::Get),
            Method::HEAD => Some(Self::Head),
            Method::PATCH => Some(Self::Patch),
            Method::POST => Some(Self::Post),
            Method::PUT => Some(Self::Put),
            _ => None,
        }
    }

    /// The method's name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

// === impl OperationTable ===

impl OperationTable {
    /// The operation that `method` on `path` is, if it is one.
    ///
    /// `path` is the raw path of the request target, without query. It is compared as it stands, in its exact case and
    /// without decoding; only the punctuation of a certificate's name may be percent-encoded. An id is one segment that is
    /// not empty. Whatever deviates (a trailing slash, another spelling) is no row, and such a request is judged by
    /// [`Idempotency::of_method`], which never takes a POST for harmless.
    ///
    /// Nothing is allocated: the path is cut into a fixed array of slices and compared with the rows of one resource.
    pub fn find(method: &Method, path: &str) -> Option<&'static Operation> {
        let verb = Verb::of(method)?;
        let path = Path::of(path)?;
        table::rows_for(&path).iter().find(|row| row.matches(verb, &path)).map(|row| &row.operation)
    }

    /// Every operation, grouped by resource.
    pub fn all() -> impl Iterator<Item = &'static Operation> {
        table::GROUPS.iter().copied().flatten().map(|row| &row.operation)
    }
}

/// The newest stable version of the API that the table was made from.
pub const NEWEST_VERSION: &str = "2025-06-01";

/// The first version of the API.
pub const FIRST_VERSION: &str = "2016-07-01.3.1";

/// `YYYY-MM-DD`, with which every version begins.
const DATE_LENGTH: usize = 10;

#[cfg(test)]
mod tests;
