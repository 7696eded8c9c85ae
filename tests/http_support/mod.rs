//! What the tests of HTTP share: a server on a real socket, clients for HTTP/1.1 and HTTP/2, response bodies under control of the
//! test, and a bus whose events the test receives.

// Each test file is a crate of its own and uses a part of this.
#![allow(dead_code, unused_imports)]

mod body;
mod client;
#[path = "../support/panics.rs"]
mod panics;
#[path = "../support/random.rs"]
mod random;
mod server;
mod watched;

pub(crate) use body::{Script, TestBody, fixed};
pub(crate) use client::{Answer, Client, PROTOCOLS, Protocol, get, read_raw_head};
pub(crate) use panics::mute_deliberate_panics;
pub(crate) use random::Random;
pub(crate) use server::{BoxError, Incoming, serve, spawn_server};
pub(crate) use watched::{Seen, Watched, soon};
