//! The plugin host, over real libraries that the system's compiler builds.

#[path = "../plugin_support/mod.rs"]
mod plugin_support;
#[path = "../support/mod.rs"]
mod support;

mod crash;
mod elf;
mod files;
mod interface;
mod logs;
mod reload;
mod results;
mod swaps;
mod values;
