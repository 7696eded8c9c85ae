//! The server loop, over real sockets: what it sees of connections, and how it ends.

#[path = "../support/alone.rs"]
#[allow(dead_code)]
mod alone;
#[path = "../http_support/mod.rs"]
mod http_support;

mod hostile;
mod serving;
mod shutdown;
