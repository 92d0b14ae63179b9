//! The functions of users as keyed operators.

use std::rc::Rc;

use highwater_state::KeyedBackend;
use highwater_types::{Key, Result};

use super::KeyedOperator;
use crate::Collector;
use crate::function::{Context, KeyedProcessFunction, OperatorTime, TimeDomain, TimerContext};

/// A function of records alone.
pub(crate) struct Plain<F>(pub(crate) F);

impl<K, T, O, F> KeyedOperator<K, T, O> for Plain<F>
where
    F: FnMut(&K, T, &mut Collector<O>) -> Result<()> + 'static,
{
    #[inline]
    fn process(&mut self, key: &K, record: T, _: i64, out: &mut Collector<O>) -> Result<()> {
        (self.0)(key, record, out)
    }
}

/// A function with timers.
pub(crate) struct Timed<K, F> {
    backend: Rc<KeyedBackend<K>>,
    time: OperatorTime<K>,
    function: F,
}

impl<K: Key, F> Timed<K, F> {
    pub(crate) fn new(backend: &Rc<KeyedBackend<K>>, time: OperatorTime<K>, function: F) -> Self {
        Self { backend: Rc::clone(backend), time, function }
    }
}

impl<K: Key, T: 'static, O: 'static, F> KeyedOperator<K, T, O> for Timed<K, F>
where
    F: KeyedProcessFunction<K, T, O>,
{
    fn process(&mut self, key: &K, record: T, timestamp: i64, out: &mut Collector<O>) -> Result<()> {
        self.function.process_element(record, &Context::new(key, timestamp, &self.time), out)
    }

    fn advance(&mut self, watermark: i64, out: &mut Collector<O>) -> Result<()> {
        let Self { backend, time, function } = self;
        time.advance(watermark, out, |timestamp, _, out| {
            out.set_timestamp(timestamp);
            backend.with_current_key(|key| {
                function.on_timer(&TimerContext::new(key, timestamp, TimeDomain::EventTime, time), out)
            })
        })
    }

    fn tick(&mut self, out: &mut Collector<O>) -> Result<()> {
        let Self { backend, time, function } = self;
        time.tick(out, |timestamp, _, out| {
            out.set_timestamp(i64::MIN);
            backend.with_current_key(|key| {
                function.on_timer(&TimerContext::new(key, timestamp, TimeDomain::ProcessingTime, time), out)
            })
        })
    }

    fn next_tick(&self) -> Result<Option<i64>> {
        self.time.next_tick()
    }

    fn watermark(&self) -> Option<i64> {
        Some(self.time.watermark())
    }

    fn resume_at(&mut self, watermark: i64) {
        self.time.resume_at(watermark);
    }
}
