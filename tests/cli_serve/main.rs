//! `keylane serve` as its users meet it: the real binary, real sockets, its output, its exit code.

mod client;
mod configuration;
mod corpus;
mod endpoints;
mod full;
mod log;
mod metrics;
mod refusals;
mod server;
mod shutdown;
