//! The `keylane` command.
fn main() {}
