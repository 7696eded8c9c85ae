//! What a call into a plugin came to.

use std::fmt;
use std::time::Duration;

use keylane_plugin_abi as abi;

/// What a call came to, when not to success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The status.
    pub status: abi::Status,
    /// How many events of the batch are done.
    pub processed: usize,
    /// What the plugin said.
    pub message: String,
    /// When it wants to be called again.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {} events: {}", self.status, self.processed, self.message)
    }
}

impl std::error::Error for Report {}

pub(super) fn check(status: abi::Status, error: &abi::ErrorBuffer) -> Result<(), Report> {
    if status == abi::Status::OK { Ok(()) } else { Err(report(status, error)) }
}

pub(super) fn report(status: abi::Status, error: &abi::ErrorBuffer) -> Report {
    let message = String::from_utf8_lossy(error.message()).into_owned();
    Report { status, processed: 0, message, retry_after: None }
}

pub(super) fn broken(message: &str) -> Report {
    Report {
        status: abi::Status::E_ABI,
        processed: 0,
        message: message.to_owned(),
        retry_after: None,
    }
}

pub(super) fn unsupported(function: &str) -> Report {
    let message = format!("the plugin has no {function}");
    Report { status: abi::Status::E_UNSUPPORTED, processed: 0, message, retry_after: None }
}
