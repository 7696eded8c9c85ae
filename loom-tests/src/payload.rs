//! A value whose life loom watches.

use loom::sync::Arc;
use serde_core::{Serialize, Serializer};

/// A number behind an [`Arc`] of loom's, which fails the model when it is leaked or dropped twice.
#[derive(Debug, Clone)]
pub struct Payload(Arc<u64>);

impl Payload {
    /// A payload with a number to know it by.
    pub fn new(number: u64) -> Self {
        Self(Arc::new(number))
    }

    /// The number.
    pub fn number(&self) -> u64 {
        *self.0
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.number())
    }
}
