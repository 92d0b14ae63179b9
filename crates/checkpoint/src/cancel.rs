//! Cancellation: one flag that ends the work of a checkpoint wherever it goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use highwater_types::{Error, Result};

/// A flag shared by everybody who works for one checkpoint or attempt. Once set it stays set.
///
/// ```
/// use highwater_checkpoint::CancelToken;
/// use highwater_types::ErrorKind;
///
/// let token = CancelToken::new();
/// let held_by_a_stream = token.clone();
/// token.cancel();
/// assert!(held_by_a_stream.is_cancelled());
/// assert_eq!(held_by_a_stream.check().unwrap_err().kind(), ErrorKind::Cancelled);
/// ```
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels the work of everybody who holds a clone.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the work was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// # Errors
    /// [`Cancelled`](highwater_types::ErrorKind::Cancelled) once the work was cancelled.
    pub fn check(&self) -> Result<()> {
        self.check_or("the checkpoint was cancelled while its state was being written")
    }

    /// As [`check`](Self::check), for who restores.
    ///
    /// # Errors
    /// [`Cancelled`](highwater_types::ErrorKind::Cancelled) once the work was cancelled.
    pub fn check_restore(&self) -> Result<()> {
        self.check_or("the attempt was cancelled while its state was being restored")
    }

    fn check_or(&self, text: &str) -> Result<()> {
        match self.is_cancelled() {
            true => Err(Error::cancelled(text)),
            false => Ok(()),
        }
    }
}
