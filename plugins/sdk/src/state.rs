//! Where a state is saved to.

use std::fmt;
use std::io;

use keylane_plugin_abi as abi;

/// Takes the bytes of a state. It is an [`io::Write`], so `serde_json::to_writer` suits; wrap it in an [`io::BufWriter`] for many small
/// pieces.
pub struct StateWriter<'a> {
    writer: &'a abi::Writer,
    /// What the host said when it refused.
    pub(crate) refused: Option<abi::Status>,
}

impl<'a> StateWriter<'a> {
    /// # Safety
    /// The writer is what it says.
    pub(crate) unsafe fn new(writer: &'a abi::Writer) -> Self {
        Self { writer, refused: None }
    }
}

impl io::Write for StateWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let write =
            self.writer.write.ok_or_else(|| io::Error::other("the host's writer has no write"))?;
        // SAFETY: the bytes live until the call returns.
        let status = unsafe { write(self.writer.ctx, bytes.as_ptr(), bytes.len()) };
        if status == abi::Status::OK {
            return Ok(bytes.len());
        }
        self.refused = Some(status);
        Err(io::Error::other(format!("the host takes no more of the state: {status}")))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for StateWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateWriter").finish_non_exhaustive()
    }
}
