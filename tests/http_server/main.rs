//! The server loop, over real sockets: what it sees of connections, and how it ends.

#[path = "../http_support/mod.rs"]
mod http_support;

mod hostile;
mod serving;
mod shutdown;
