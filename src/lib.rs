//! keylane
