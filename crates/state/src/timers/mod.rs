//! Timers: what an operator wants to be told at a time, for each key and namespace.

mod heads;

use std::fmt;
use std::rc::Rc;

use highwater_types::{Result, VoidNamespace};

pub(crate) use self::heads::Heads;

/// A time at which a key and namespace are to be looked at again. There is never more than one of the same time, key and
/// namespace in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timer<K, N = VoidNamespace> {
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The key that was current when it was registered.
    pub key: K,
    /// The namespace: the window of a window operator, [`VoidNamespace`] of a plain function.
    pub namespace: N,
}

/// What a store does for one queue of timers.
pub(crate) trait TimerQueue<K, N> {
    /// Adds a timer of the current key. One that is there already stays.
    fn add(&self, timestamp: i64, namespace: &N) -> Result<()>;
    /// Removes a timer of the current key. A missing one is nothing.
    fn remove(&self, timestamp: i64, namespace: &N) -> Result<()>;
    /// The time of the earliest.
    fn next(&self) -> Result<Option<i64>>;
    /// Takes the earliest, if it is not later than this.
    fn pop(&self, until: i64) -> Result<Option<Timer<K, N>>>;
    /// How many there are.
    fn count(&self) -> Result<usize>;
}

/// The timers of one service of an operator (Flink's `InternalTimerService`): one queue by event time, one by processing
/// time. From [`KeyedBackend::timer_service`](crate::KeyedBackend::timer_service).
///
/// Timers are keyed state: they are in every snapshot, and with their key after a restore at another parallelism. Whoever
/// owns the service decides what time it is, and takes what is due in the order of its time; timers of equal time come
/// in any order. Between two of them the queue may change: what was registered meanwhile comes in its turn, what was
/// deleted does not come.
///
/// ```
/// use highwater_state::KeyedBackend;
/// use highwater_types::{DefaultSerializer, MaxParallelism, VoidNamespace};
///
/// let max = MaxParallelism::new(128)?;
/// let backend = KeyedBackend::<String>::builder(String::default_serializer(), max, max.all()).build()?;
/// let timers = backend.timer_service("user-timers", VoidNamespace::default_serializer())?;
///
/// backend.set_current_key("a".to_owned())?;
/// timers.event_time().register(2_000, &VoidNamespace)?;
/// timers.event_time().register(1_000, &VoidNamespace)?;
/// timers.event_time().register(1_000, &VoidNamespace)?;
///
/// let watermark = 1_500;
/// let due = timers.event_time().pop(watermark)?.unwrap();
/// assert_eq!((due.key.as_str(), due.timestamp), ("a", 1_000));
/// assert!(timers.event_time().pop(watermark)?.is_none());
/// assert_eq!(timers.event_time().next()?, Some(2_000));
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub struct TimerService<K, N = VoidNamespace> {
    event_time: Timers<K, N>,
    processing_time: Timers<K, N>,
}

impl<K, N> TimerService<K, N> {
    pub(crate) fn new(event_time: Rc<dyn TimerQueue<K, N>>, processing_time: Rc<dyn TimerQueue<K, N>>) -> Self {
        Self { event_time: Timers(event_time), processing_time: Timers(processing_time) }
    }

    /// The timers that wait for a watermark.
    #[must_use]
    pub fn event_time(&self) -> &Timers<K, N> {
        &self.event_time
    }

    /// The timers that wait for the clock.
    #[must_use]
    pub fn processing_time(&self) -> &Timers<K, N> {
        &self.processing_time
    }
}

/// One queue of timers. Clones are the same queue.
pub struct Timers<K, N = VoidNamespace>(Rc<dyn TimerQueue<K, N>>);

impl<K, N> Timers<K, N> {
    /// Registers a timer of the current key. If there is one of the same time and namespace already, nothing happens.
    ///
    /// # Errors
    /// `Program` without a current key; whatever a byte store or a serializer reports.
    pub fn register(&self, timestamp: i64, namespace: &N) -> Result<()> {
        self.0.add(timestamp, namespace)
    }

    /// Deletes a timer of the current key. If there is none, nothing happens.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub fn delete(&self, timestamp: i64, namespace: &N) -> Result<()> {
        self.0.remove(timestamp, namespace)
    }

    /// The time of the earliest timer.
    ///
    /// # Errors
    /// Whatever a byte store reports.
    pub fn next(&self) -> Result<Option<i64>> {
        self.0.next()
    }

    /// Takes away and returns the earliest timer, if its time is not later than `until`. The current key stays as it is:
    /// make that of the timer the current one.
    ///
    /// # Errors
    /// `Corrupt` or `Incompatible` for a timer of a restored snapshot that cannot be read or lies in the wrong key group;
    /// whatever a byte store reports.
    pub fn pop(&self, until: i64) -> Result<Option<Timer<K, N>>> {
        self.0.pop(until)
    }

    /// How many timers there are. A byte store counts them one by one.
    ///
    /// # Errors
    /// Whatever a byte store reports.
    pub fn count(&self) -> Result<usize> {
        self.0.count()
    }
}

/// The states of a service, as they are called in snapshots.
pub(crate) fn queue_names(service: &str) -> (String, String) {
    (format!("_timer_state/event_{service}"), format!("_timer_state/processing_{service}"))
}

impl<K, N> Clone for Timers<K, N> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<K, N> Clone for TimerService<K, N> {
    fn clone(&self) -> Self {
        Self { event_time: self.event_time.clone(), processing_time: self.processing_time.clone() }
    }
}

impl<K, N> fmt::Debug for Timers<K, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers").finish_non_exhaustive()
    }
}

impl<K, N> fmt::Debug for TimerService<K, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerService").finish_non_exhaustive()
    }
}
