//! From bytes to records: what is opened, how it is cut into lines, what a line has to be.
//!
//! `source` (what is read) -> `chunks` (whole lines, bounded) -> `line` (one event, or a `refusal`) -> `record` (what travels).

pub(crate) mod chunks;
pub(crate) mod in_flight;
pub(crate) mod line;
pub(crate) mod record;
pub(crate) mod refusal;
pub(crate) mod source;
