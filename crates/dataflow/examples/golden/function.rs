//! The window functions of the cases.

use std::cell::Cell;
use std::rc::Rc;

use highwater_dataflow::{DataStream, Window, WindowedStream};
use highwater_state::{AggregateFunction, ValueStateDescriptor};
use serde_json::{Value, json};

use crate::run::Out;
use crate::scenario::Function;

/// Key and value.
pub(crate) type Event = (String, i64);

/// Number, sum, smallest and largest.
#[derive(Debug)]
struct Statistics;

impl AggregateFunction for Statistics {
    type Input = Event;
    type Accumulator = (i64, i64, i64, i64);
    type Output = (i64, i64, i64, i64);

    fn create_accumulator(&self) -> Self::Accumulator {
        (0, 0, i64::MAX, i64::MIN)
    }

    fn add(&self, (count, sum, min, max): &mut Self::Accumulator, (_, value): Event) {
        (*count, *sum) = (*count + 1, sum.wrapping_add(value));
        (*min, *max) = ((*min).min(value), (*max).max(value));
    }

    fn result(&self, accumulator: &Self::Accumulator) -> Self::Output {
        *accumulator
    }

    fn merge(&self, (count, sum, min, max): &mut Self::Accumulator, other: Self::Accumulator) {
        (*count, *sum) = (*count + other.0, sum.wrapping_add(other.1));
        (*min, *max) = ((*min).min(other.2), (*max).max(other.3));
    }
}

/// Adds a function to a stream. `span` tells the borders of a window.
pub(crate) fn apply<'s, W: Window>(
    stream: WindowedStream<'s, String, Event, W>,
    function: Function,
    is_keyed: bool,
    span: impl Fn(&W) -> Option<(i64, i64)> + 'static,
) -> DataStream<'s, Out> {
    let number = Rc::new(Cell::new(0));
    let row = move |key: &String, window: &W, value: Value| {
        number.set(number.get() + 1);
        Out { number: number.get(), key: is_keyed.then(|| key.clone()), value, window: span(window) }
    };
    let uid = "window";
    match function {
        Function::List => stream.process(
            uid,
            |_| Ok(()),
            move |(), context, records, out| {
                let values: Vec<_> = records.into_iter().map(|(_, value)| value).collect();
                out.collect(row(context.key(), context.window(), json!(values)));
                Ok(())
            },
        ),
        Function::Count => stream.aggregate_with(
            uid,
            Statistics,
            |_| Ok(()),
            move |(), context, result, out| {
                out.collect(row(context.key(), context.window(), json!(result.0)));
                Ok(())
            },
        ),
        Function::Sum => stream.reduce_with(
            uid,
            |sum, more| sum.1 = sum.1.wrapping_add(more.1),
            |_| Ok(()),
            move |(), context, (_, sum), out| {
                out.collect(row(context.key(), context.window(), json!(sum)));
                Ok(())
            },
        ),
        Function::Aggregate => stream.aggregate_with(
            uid,
            Statistics,
            |_| Ok(()),
            move |(), context, result, out| {
                out.collect(row(context.key(), context.window(), json!(result)));
                Ok(())
            },
        ),
        Function::Firings => stream.process(
            uid,
            |open| {
                let of_window = open.window_value_state(&ValueStateDescriptor::<i64>::new("of-window"))?;
                Ok((of_window, open.value_state(&ValueStateDescriptor::<i64>::new("of-key"))?))
            },
            move |(of_window, of_key), context, records, out| {
                let next = |count: &mut i64| {
                    *count += 1;
                    *count
                };
                let (of_window, of_key) = (of_window.modify(|| 0, next)?, of_key.modify(|| 0, next)?);
                out.collect(row(context.key(), context.window(), json!([records.len(), of_window, of_key])));
                Ok(())
            },
        ),
    }
}
