//! Namespaces: the void namespace, windows, and the unit type.

use std::fmt;
use std::sync::Arc;

use crate::snapshot::{GLOBAL_WINDOW, TIME_WINDOW, VOID_NAMESPACE, base};
use crate::{ByteReader, DefaultSerializer, Error, Length, Result, SerializerRef, SerializerSnapshot, TypeSerializer};

/// The namespace of state that has none: that of plain functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VoidNamespace;

/// `VoidNamespaceSerializer`: one zero byte, though the declared size is 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct VoidNamespaceSerializer;

/// The one window of all records (Flink's `GlobalWindow`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GlobalWindow;

impl fmt::Display for GlobalWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the global window")
    }
}

/// `GlobalWindow.Serializer`: one zero byte.
#[derive(Clone, Copy, Debug, Default)]
pub struct GlobalWindowSerializer;

/// `VoidSerializer`, for `()`: one zero byte.
#[derive(Clone, Copy, Debug, Default)]
pub struct VoidSerializer;

fn read_zero(input: &mut ByteReader<'_>) -> Result<()> {
    let offset = input.position();
    match input.read_u8()? {
        0 => Ok(()),
        found => {
            Err(Error::corrupt("not a void value").with("offset", offset).with("expected", 0).with("found", found))
        }
    }
}

macro_rules! voids {
    ($($serializer:ident: $type:ty, $value:expr, $length:literal, $class:expr;)*) => {$(
        impl TypeSerializer<$type> for $serializer {
            fn length(&self) -> Length {
                Length::Fixed($length)
            }

            fn serialize(&self, _: &$type, out: &mut Vec<u8>) -> Result<()> {
                out.push(0);
                Ok(())
            }

            fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<$type> {
                read_zero(input).map(|()| $value)
            }

            fn snapshot(&self) -> SerializerSnapshot {
                SerializerSnapshot::simple($class)
            }
        }

        impl DefaultSerializer for $type {
            fn default_serializer() -> SerializerRef<Self> {
                Arc::new($serializer)
            }
        }
    )*};
}

voids! {
    VoidNamespaceSerializer: VoidNamespace, VoidNamespace, 0, VOID_NAMESPACE;
    GlobalWindowSerializer: GlobalWindow, GlobalWindow, 1, GLOBAL_WINDOW;
    VoidSerializer: (), (), 1, base!("VoidSerializer");
}

/// A window of time: milliseconds since the epoch, from `start` up to but not including `end` (Flink's `TimeWindow`).
///
/// ```
/// use highwater_types::{DefaultSerializer, Length, TimeWindow};
///
/// let window = TimeWindow { start: 1000, end: 2000 };
/// assert_eq!(window.max_timestamp(), 1999);
/// assert_eq!(TimeWindow::default_serializer().length(), Length::Fixed(16));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeWindow {
    /// First millisecond.
    pub start: i64,
    /// First millisecond after the window.
    pub end: i64,
}

impl TimeWindow {
    /// The largest timestamp that belongs to the window.
    #[must_use]
    pub fn max_timestamp(self) -> i64 {
        self.end.wrapping_sub(1)
    }
}

impl fmt::Display for TimeWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

/// `TimeWindow.Serializer`: start, then end, sixteen bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimeWindowSerializer;

impl TypeSerializer<TimeWindow> for TimeWindowSerializer {
    fn length(&self) -> Length {
        Length::Fixed(16)
    }

    fn serialize(&self, value: &TimeWindow, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&value.start.to_be_bytes());
        out.extend_from_slice(&value.end.to_be_bytes());
        Ok(())
    }

    fn deserialize(&self, input: &mut ByteReader<'_>) -> Result<TimeWindow> {
        Ok(TimeWindow { start: input.read_i64()?, end: input.read_i64()? })
    }

    fn snapshot(&self) -> SerializerSnapshot {
        SerializerSnapshot::simple(TIME_WINDOW)
    }
}

impl DefaultSerializer for TimeWindow {
    fn default_serializer() -> SerializerRef<Self> {
        Arc::new(TimeWindowSerializer)
    }
}
