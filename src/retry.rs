//! What an attempt's outcome means and whether to send the request again, as pure functions and values.
//!
//! Time and chance come in as arguments. Sending, waiting and counting is done in [`crate::proxy`]. [`policy`] judges one request, [`gate`] and
//! [`budget`] all of an account.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod backoff;
pub mod budget;
pub mod classify;
pub mod echo;
pub mod explain;
pub mod gate;
pub mod outcome;
pub mod policy;
pub mod resume;
pub mod retry_after;
mod slots;
pub mod subject;
