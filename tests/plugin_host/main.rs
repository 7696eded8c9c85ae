//! The plugin host, over real libraries.

#[path = "../plugin_support/mod.rs"]
mod plugin_support;
#[path = "../support/mod.rs"]
mod support;

mod results;
