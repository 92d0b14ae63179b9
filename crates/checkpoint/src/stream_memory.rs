//! Checkpoint streams into memory: every stream becomes an inline handle, up to a limit.

use std::io::{self, Write};

use highwater_types::{Error, Result};
use uuid::Uuid;

use crate::fs::into_io;
use crate::{CancelToken, CheckpointStream, CheckpointStreamFactory, StateScope, StreamHandle};

/// Largest stream of the memory backend unless told otherwise: 5 MiB (`DEFAULT_MAX_STATE_SIZE`).
pub const DEFAULT_MAX_STATE_SIZE: u64 = 5 * 1024 * 1024;

/// Streams that stay in memory (Flink's `MemCheckpointStreamFactory`). A stream that grows beyond the limit fails with
/// the write that crosses it, not when all of it was built; exactly the limit is allowed.
///
/// ```
/// use highwater_checkpoint::{CancelToken, CheckpointStreamFactory, MemoryStreamFactory, StateScope};
/// use std::io::Write;
///
/// let streams = MemoryStreamFactory::new(4, CancelToken::new());
/// let mut stream = streams.create_stream(StateScope::Exclusive)?;
/// stream.write_all(b"1234").unwrap();
/// assert!(stream.write_all(b"5").unwrap_err().to_string().contains("Size=5, maxSize=4"));
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryStreamFactory {
    max_state_size: u64,
    cancel: CancelToken,
}

impl MemoryStreamFactory {
    /// Streams of at most `max_state_size` bytes each, for the checkpoint that `cancel` belongs to.
    #[must_use]
    pub fn new(max_state_size: u64, cancel: CancelToken) -> Self {
        Self { max_state_size, cancel }
    }
}

impl CheckpointStreamFactory for MemoryStreamFactory {
    fn create_stream(&self, _scope: StateScope) -> Result<Box<dyn CheckpointStream>> {
        self.cancel.check()?;
        Ok(Box::new(MemoryStream { factory: self.clone(), bytes: Vec::new(), needed: 0 }))
    }

    /// Memory needs no deleting.
    fn discard(&self, _: &StreamHandle) {}
}

struct MemoryStream {
    factory: MemoryStreamFactory,
    bytes: Vec<u8>,
    /// Size the stream would have if every write had been accepted.
    needed: u64,
}

impl MemoryStream {
    fn check_usable(&self) -> Result<()> {
        self.factory.cancel.check()?;
        let max = self.factory.max_state_size;
        if self.needed <= max {
            return Ok(());
        }
        Err(Error::configuration(format!(
            "Size of the state is larger than the maximum permitted memory-backed state. Size={}, maxSize={max}. \
             Consider using a different state backend, like the File System State backend, or raise max_state_size",
            self.needed
        )))
    }
}

impl Write for MemoryStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.needed = self.needed.saturating_add(bytes.len() as u64);
        self.check_usable().map_err(into_io)?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl CheckpointStream for MemoryStream {
    fn position(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn finish(self: Box<Self>) -> Result<Option<StreamHandle>> {
        self.check_usable()?;
        if self.bytes.is_empty() {
            return Ok(None);
        }
        Ok(Some(StreamHandle::Inline { name: Uuid::new_v4().to_string(), bytes: self.bytes.into() }))
    }
}
