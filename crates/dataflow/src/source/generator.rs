//! Records made by a function of their index.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Instant;

use highwater_types::{Error, Result};
use serde::Serialize;

use super::rate::RateLimiter;
use super::{FixedSplits, Source, SourceContext, SourceReader, SourceStatus, SplitEnumerator};

/// Stripes of a fresh start. More than any usual parallelism, so that a later one still shares them out evenly.
const STRIPES: i64 = 128;

/// A source that calls a function with 0, 1, 2, ... (Flink's `DataGeneratorSource`).
///
/// Every index is used exactly once over all subtasks, also after a restore with another parallelism. The indexes are
/// dealt to 128 stripes, each holding every 128th; a stripe is a split, its next index and the step to the one after it.
/// All stripes are dealt out at the start, so subtasks beyond the 128th have nothing to do. One subtask alone sees the
/// indexes in ascending order.
///
/// ```
/// use highwater_dataflow::{ExecutionConfig, GeneratorSource, Job};
///
/// let job = Job::new("squares", |env| {
///     let squares = GeneratorSource::new(|index| index * index).count(1_000).rate(100_000.0);
///     env.source("squares", squares).filter(|square: &u64| square % 2 == 0);
///     Ok(())
/// });
/// assert_eq!(job.execute(&ExecutionConfig::new().workers(2))?.progress.records_in, 1_000);
/// # Ok::<(), highwater_types::Error>(())
/// ```
pub struct GeneratorSource<F> {
    make: Arc<F>,
    count: Option<u64>,
    rate: Option<f64>,
}

impl<F> GeneratorSource<F> {
    /// An endless source of `make(0)`, `make(1)`, ... The function should depend on nothing but the index: after a
    /// restore it is called again for indexes behind the checkpoint.
    #[must_use]
    pub fn new<T>(make: F) -> Self
    where
        F: Fn(u64) -> T + Send + Sync + 'static,
    {
        Self { make: Arc::new(make), count: None, rate: None }
    }

    /// Ends after this many records over all subtasks. Default: never.
    #[must_use]
    pub fn count(mut self, records: u64) -> Self {
        self.count = Some(records);
        self
    }

    /// At most this many records per second over all subtasks, each of which has an equal share. Default: as fast as
    /// the job takes them.
    #[must_use]
    pub fn rate(mut self, records_per_second: f64) -> Self {
        self.rate = Some(records_per_second);
        self
    }
}

impl<F> Debug for GeneratorSource<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneratorSource").field("count", &self.count).field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl<T, F> Source for GeneratorSource<F>
where
    T: Serialize + 'static,
    F: Fn(u64) -> T + Send + Sync + 'static,
{
    type Record = T;
    type Split = StripeElement;

    fn create_enumerator(&self, restored: Option<&[u8]>) -> Result<Box<dyn SplitEnumerator<StripeElement>>> {
        FixedSplits::dealt_evenly((0..STRIPES).map(|next| (next, STRIPES)), restored)
    }

    fn create_reader(
        &self,
        context: &SourceContext<'_>,
    ) -> Result<Box<dyn SourceReader<Record = T, Split = StripeElement>>> {
        Ok(Box::new(GeneratorReader {
            make: Arc::clone(&self.make),
            stripes: Vec::new(),
            turn: 0,
            is_in_step: true,
            // Positions are `i64` in the state.
            count: self.count.unwrap_or(u64::MAX).min(i64::MAX as u64),
            remaining: 0,
            limiter: checked_rate(self.rate)?.map(|rate| RateLimiter::share(rate, context.parallelism, Instant::now())),
        }))
    }
}

/// Every element of a collection once, as a source for examples and tests.
///
/// ```
/// use highwater_dataflow::{CollectionSource, ExecutionConfig, Job};
///
/// let job = Job::new("words", |env| {
///     env.source("words", CollectionSource::new(vec!["to", "be", "or", "not", "to", "be"])).map(str::len);
///     Ok(())
/// });
/// assert_eq!(job.execute(&ExecutionConfig::new())?.progress.records_in, 6);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone)]
pub struct CollectionSource<T>(Arc<[T]>);

impl<T> CollectionSource<T> {
    /// A source of these elements. After a restore the collection must be the same, as the state holds positions only.
    #[must_use]
    pub fn new(elements: impl Into<Vec<T>>) -> Self {
        Self(elements.into().into())
    }
}

impl<T> Debug for CollectionSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectionSource").field("len", &self.0.len()).finish_non_exhaustive()
    }
}

impl<T: Clone + Serialize + Send + Sync + 'static> Source for CollectionSource<T> {
    type Record = T;
    type Split = StripeElement;

    fn create_enumerator(&self, restored: Option<&[u8]>) -> Result<Box<dyn SplitEnumerator<StripeElement>>> {
        self.generator().create_enumerator(restored)
    }

    fn create_reader(
        &self,
        context: &SourceContext<'_>,
    ) -> Result<Box<dyn SourceReader<Record = T, Split = StripeElement>>> {
        self.generator().create_reader(context)
    }
}

impl<T: Clone + Send + Sync + 'static> CollectionSource<T> {
    fn generator(&self) -> GeneratorSource<impl Fn(u64) -> T + Send + Sync + 'static> {
        let elements = Arc::clone(&self.0);
        let count = elements.len() as u64;
        #[expect(clippy::indexing_slicing, reason = "the count of the generator keeps the index within the collection")]
        GeneratorSource::new(move |index| elements[index as usize].clone()).count(count)
    }
}

/// Refuses rates that would never let a record pass.
pub(super) fn checked_rate(rate: Option<f64>) -> Result<Option<f64>> {
    match rate {
        Some(rate) if !(rate.is_finite() && rate > 0.0) => {
            Err(Error::configuration("the rate of a source must be a number of records per second above zero")
                .with("found", rate))
        }
        rate => Ok(rate),
    }
}

/// A stripe as a split: its next index, and the step to the one after it.
type StripeElement = (i64, i64);

/// The indexes `next`, `next + step`, `next + 2 * step`, ...
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stripe {
    next: u64,
    step: u64,
}

impl Stripe {
    fn remaining(self, count: u64) -> u64 {
        count.saturating_sub(self.next).div_ceil(self.step)
    }

    fn element(&self) -> StripeElement {
        (i64::try_from(self.next).unwrap_or(i64::MAX), i64::try_from(self.step).unwrap_or(i64::MAX))
    }
}

impl TryFrom<StripeElement> for Stripe {
    type Error = Error;

    fn try_from((next, step): StripeElement) -> Result<Self> {
        match (u64::try_from(next), u64::try_from(step)) {
            (Ok(next), Ok(step)) if step > 0 => Ok(Self { next, step }),
            _ => Err(Error::corrupt("a split of the generator's state is no stripe: use another snapshot")
                .with("found", format_args!("({next}, {step})"))),
        }
    }
}

struct GeneratorReader<F> {
    make: Arc<F>,
    stripes: Vec<Stripe>,
    /// Stripe whose turn it is: one record each, round and round, keeps the indexes in order.
    turn: usize,
    /// Whether going round keeps the indexes in order: stripes of several readers of a snapshot may be far apart.
    is_in_step: bool,
    count: u64,
    /// Records that the stripes of this subtask still hold.
    remaining: u64,
    limiter: Option<RateLimiter>,
}

impl<F> GeneratorReader<F> {
    /// Appends `records` records; the stripes hold at least that many.
    fn generate<T>(&mut self, mut records: usize, out: &mut Vec<T>)
    where
        F: Fn(u64) -> T,
    {
        out.reserve(records);
        while records > 0 && !self.is_in_step {
            self.catch_up(out);
            records -= 1;
        }
        while records > 0 {
            for stripe in self.stripes.iter_mut().skip(self.turn) {
                if records == 0 {
                    return;
                }
                if stripe.next < self.count {
                    out.push((self.make)(stripe.next));
                    stripe.next += stripe.step;
                    records -= 1;
                }
                self.turn += 1;
            }
            self.turn = 0;
        }
    }
}

impl<F> GeneratorReader<F> {
    /// Takes the smallest index, until no stripe is a whole round behind another.
    fn catch_up<T>(&mut self, out: &mut Vec<T>)
    where
        F: Fn(u64) -> T,
    {
        let count = self.count;
        if let Some(stripe) = self.stripes.iter_mut().filter(|stripe| stripe.next < count).min_by_key(|s| s.next) {
            out.push((self.make)(stripe.next));
            stripe.next += stripe.step;
        }
        self.look_at_steps();
    }

    fn look_at_steps(&mut self) {
        self.stripes.sort_unstable_by_key(|stripe| stripe.next);
        let left = || self.stripes.iter().filter(|stripe| stripe.next < self.count);
        let (first, last) = (left().next(), left().next_back());
        self.is_in_step = first.zip(last).is_none_or(|(first, last)| last.next - first.next <= first.step);
        self.turn = 0;
    }
}

impl<T, F: Fn(u64) -> T> SourceReader for GeneratorReader<F> {
    type Record = T;
    type Split = StripeElement;

    fn add_splits(&mut self, splits: Vec<StripeElement>) -> Result<()> {
        for split in splits {
            let stripe = Stripe::try_from(split)?;
            self.remaining = self.remaining.saturating_add(stripe.remaining(self.count));
            self.stripes.push(stripe);
        }
        self.look_at_steps();
        Ok(())
    }

    fn poll(&mut self, limit: usize, out: &mut Vec<T>) -> Result<SourceStatus> {
        if self.remaining == 0 {
            return Ok(SourceStatus::NeedsSplit);
        }
        let limit = limit.min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        let granted = match &mut self.limiter {
            Some(limiter) => limiter.take(limit, Instant::now()),
            None => limit,
        };
        self.generate(granted, out);
        self.remaining -= granted as u64;
        Ok(match &self.limiter {
            _ if self.remaining == 0 => SourceStatus::NeedsSplit,
            Some(limiter) if granted < limit => SourceStatus::Idle(limiter.wait()),
            _ => SourceStatus::Ready,
        })
    }

    fn snapshot_state(&mut self) -> Result<Vec<StripeElement>> {
        // Those that are through too: the next program may have a larger count.
        Ok(self.stripes.iter().map(Stripe::element).collect())
    }
}
