//! The events of the HTTP layer, over real sockets: one test for each thing that can happen to a request, over HTTP/1.1 and
//! HTTP/2 where it applies.

#[path = "../http_support/mod.rs"]
mod http_support;

mod auth;
mod completion;
mod context;
mod departure;
mod failure;
mod frameworks;
mod many;
mod overload;
mod panics;
mod upgrade;
