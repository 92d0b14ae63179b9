//! Functions of two inputs.

use highwater_types::{Result, TaggedUnion};

use super::context::{Context, KeyedProcessFunction, TimerContext};
use crate::Collector;

/// A function on two keyed streams, with timers (Flink's `KeyedCoProcessFunction`). Records of equal keys meet in one
/// subtask, whichever stream they come from, and share state and timers. In what order the two streams come is not known.
pub trait KeyedCoProcessFunction<K, L, R, O>: 'static {
    /// Handles a record of the first stream. What is emitted has its timestamp.
    ///
    /// # Errors
    /// An error fails the attempt.
    fn process_first(&mut self, record: L, context: &Context<'_, K>, out: &mut Collector<O>) -> Result<()>;

    /// Handles a record of the second stream.
    ///
    /// # Errors
    /// An error fails the attempt.
    fn process_second(&mut self, record: R, context: &Context<'_, K>, out: &mut Collector<O>) -> Result<()>;

    /// Handles a timer.
    ///
    /// # Errors
    /// An error fails the attempt.
    fn on_timer(&mut self, context: &TimerContext<'_, K>, out: &mut Collector<O>) -> Result<()> {
        let _ = (context, out);
        Ok(())
    }
}

/// A function of two inputs as one of records that come from either.
pub(crate) struct Connected<F>(pub(crate) F);

impl<K, L, R, O, F: KeyedCoProcessFunction<K, L, R, O>> KeyedProcessFunction<K, TaggedUnion<L, R>, O> for Connected<F> {
    fn process_element(
        &mut self,
        record: TaggedUnion<L, R>,
        context: &Context<'_, K>,
        out: &mut Collector<O>,
    ) -> Result<()> {
        match record {
            TaggedUnion::One(record) => self.0.process_first(record, context, out),
            TaggedUnion::Two(record) => self.0.process_second(record, context, out),
        }
    }

    fn on_timer(&mut self, context: &TimerContext<'_, K>, out: &mut Collector<O>) -> Result<()> {
        self.0.on_timer(context, out)
    }
}
