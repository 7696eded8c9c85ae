//! Plugins as the users of the command meet them: the real binary, real libraries, good ones and bad ones.

#[path = "../cli_serve/client.rs"]
#[allow(dead_code)]
mod client;
mod command;
mod inspect;
mod libraries;
mod new;
mod reload;
mod run;
#[path = "../cli_serve/server.rs"]
#[allow(dead_code)]
mod server;
mod validate;
