//! Where operators put their results.

/// Takes the results of a user function (Flink's `Collector`).
///
/// ```
/// use highwater_dataflow::Collector;
///
/// let mut out = Collector::default();
/// out.collect("to be");
/// out.extend(["or", "not"]);
/// assert_eq!(out.into_vec(), ["to be", "or", "not"]);
/// ```
#[derive(Debug)]
pub struct Collector<T> {
    batch: Vec<T>,
}

impl<T> Default for Collector<T> {
    fn default() -> Self {
        Self { batch: Vec::new() }
    }
}

impl<T> Collector<T> {
    /// Emits one record.
    #[inline]
    pub fn collect(&mut self, record: T) {
        self.batch.push(record);
    }

    /// What was emitted, for tests of user functions.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.batch
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.batch.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// The batch, to be taken or emptied.
    pub(crate) fn batch(&mut self) -> &mut Vec<T> {
        &mut self.batch
    }
}

impl<T> Extend<T> for Collector<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, records: I) {
        self.batch.extend(records);
    }
}
