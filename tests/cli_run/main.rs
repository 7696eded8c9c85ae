//! `keylane run` as its users meet it: the real binary, its output, its exit code.

mod bad_input;
mod command;
mod interrupt;
mod order;
mod outputs;
mod report;
mod terminal;
