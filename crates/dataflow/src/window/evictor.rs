//! What is left out when a window is emitted.

use std::time::Duration;

use highwater_types::StreamRecord;

/// Takes records out of a window, for good, when it is emitted: before its function runs, or after (Flink's `Evictor`).
/// A window with an evictor keeps all its records.
pub trait Evictor<T, W>: 'static {
    /// Takes records out before the function runs. If none is left, the function runs with none.
    fn evict_before(&mut self, records: &mut Vec<StreamRecord<T>>, window: &W);

    /// Takes records out after the function has run.
    fn evict_after(&mut self, records: &mut Vec<StreamRecord<T>>, window: &W);
}

macro_rules! evictor {
    ($(#[$doc:meta])* $name:ident $(<$parameter:ident>)? { $($field:ident: $type:ty),+ }) => {
        $(#[$doc])*
        #[must_use]
        pub struct $name $(<$parameter>)? {
            $($field: $type,)+
            is_after: bool,
        }

        impl $(<$parameter>)? $name $(<$parameter>)? {
            /// Evicts after the function has run, not before.
            pub fn after(mut self) -> Self {
                self.is_after = true;
                self
            }
        }

        impl $(<$parameter>)? std::fmt::Debug for $name $(<$parameter>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).field("is_after", &self.is_after).finish_non_exhaustive()
            }
        }
    };
}

evictor! {
    /// Keeps only so many records, the last ones.
    CountEvictor { most: usize }
}

impl CountEvictor {
    /// Keeps this many.
    pub fn of(most: usize) -> Self {
        Self { most, is_after: false }
    }

    fn evict<T>(&self, records: &mut Vec<T>) {
        records.drain(..records.len().saturating_sub(self.most));
    }
}

impl<T, W> Evictor<T, W> for CountEvictor {
    fn evict_before(&mut self, records: &mut Vec<StreamRecord<T>>, _: &W) {
        if !self.is_after {
            self.evict(records);
        }
    }

    fn evict_after(&mut self, records: &mut Vec<StreamRecord<T>>, _: &W) {
        if self.is_after {
            self.evict(records);
        }
    }
}

evictor! {
    /// Keeps only records that are not older than the newest by some time or more. Does nothing where records have no
    /// timestamps.
    TimeEvictor { size: i64 }
}

impl TimeEvictor {
    /// Keeps what is closer to the newest than this, in whole milliseconds.
    pub fn of(size: Duration) -> Self {
        Self { size: i64::try_from(size.as_millis()).unwrap_or(i64::MAX), is_after: false }
    }

    fn evict<T>(&self, records: &mut Vec<StreamRecord<T>>) {
        if records.first().is_none_or(|first| first.timestamp.is_none()) {
            return;
        }
        let time = |record: &StreamRecord<T>| record.timestamp.unwrap_or(i64::MIN);
        let newest = records.iter().map(time).max().unwrap_or(i64::MIN);
        let limit = newest.saturating_sub(self.size);
        records.retain(|record| time(record) > limit);
    }
}

impl<T, W> Evictor<T, W> for TimeEvictor {
    fn evict_before(&mut self, records: &mut Vec<StreamRecord<T>>, _: &W) {
        if !self.is_after {
            self.evict(records);
        }
    }

    fn evict_after(&mut self, records: &mut Vec<StreamRecord<T>>, _: &W) {
        if self.is_after {
            self.evict(records);
        }
    }
}

/// How far one record is from another.
type Delta<T> = Box<dyn Fn(&T, &T) -> f64>;

evictor! {
    /// Keeps only records that are closer to the last one than a threshold.
    DeltaEvictor<T> { threshold: f64, delta: Delta<T> }
}

impl<T> DeltaEvictor<T> {
    /// `delta` is given a record and the last one.
    pub fn of(threshold: f64, delta: impl Fn(&T, &T) -> f64 + 'static) -> Self {
        Self { threshold, delta: Box::new(delta), is_after: false }
    }

    fn evict(&self, records: &mut Vec<StreamRecord<T>>) {
        let Some(last) = records.pop() else { return };
        records.retain(|record| (self.delta)(&record.value, &last.value) < self.threshold);
        if (self.delta)(&last.value, &last.value) < self.threshold {
            records.push(last);
        }
    }
}

impl<T: 'static, W> Evictor<T, W> for DeltaEvictor<T> {
    fn evict_before(&mut self, records: &mut Vec<StreamRecord<T>>, _: &W) {
        if !self.is_after {
            self.evict(records);
        }
    }

    fn evict_after(&mut self, records: &mut Vec<StreamRecord<T>>, _: &W) {
        if self.is_after {
            self.evict(records);
        }
    }
}
