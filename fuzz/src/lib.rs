//! What is fuzzed. See `targets`.

pub mod targets;
