//! The values of the predefined events: who asked for what, and what came of it.
//!
//! | meta | travels with |
//! |---|---|
//! | [`CommonErrorMeta`] | `COMMON_ERROR` |
//! | [`RequestMeta`] | `START_REQUEST` |
//! | [`ErrorMeta`] | `FAILED_REQUEST` |
//! | [`ResponseMeta`] | `FINISH_REQUEST` |
//! | [`TrafficMeta`] | `TRAFFIC` |
//!
//! All fields are public, so that a program builds and matches them as plain structs. They hold the
//! types of `http` and `std::net` where there is one, and an `Option` where the value may be missing.
//!
//! `Display` is one line of `name=value` fields, safe for a log: a missing value is `-`, and text
//! that a client can choose is quoted and escaped when it holds anything that could be mistaken for
//! the end of its field or of the line. As JSON, a meta is an object with the names of its fields;
//! a missing value is `null`.

mod common_error;
mod error;
mod event_error;
pub(crate) mod render;
mod request;
mod request_type;
mod response;
mod traffic;

pub use common_error::CommonErrorMeta;
pub use error::ErrorMeta;
pub use event_error::EventError;
pub use request::RequestMeta;
pub use request_type::RequestType;
pub use response::ResponseMeta;
pub use traffic::TrafficMeta;
