//! Timers as bytes: those of Flink's `TimerSerializer`.

use highwater_types::{ByteReader, Error, Result, SerializerRef};

use crate::timers::Timer;

/// How the timers of one queue are written.
pub(crate) struct TimerFormat<K, N> {
    pub(crate) key: SerializerRef<K>,
    pub(crate) namespace: SerializerRef<N>,
}

impl<K: 'static, N: 'static> TimerFormat<K, N> {
    /// Appends time, key and namespace. The time's sign is flipped, so that bytes sort as times do.
    pub(crate) fn push(&self, timestamp: i64, key: &K, namespace: &N, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&(timestamp ^ i64::MIN).to_be_bytes());
        self.key.serialize(key, out)?;
        self.namespace.serialize(namespace, out)
    }

    /// Reads a timer behind its key group.
    pub(crate) fn read(&self, entry: &[u8], prefix_bytes: usize) -> Result<Timer<K, N>> {
        let mut input = ByteReader::new(entry);
        input.read_bytes(prefix_bytes)?;
        let timestamp = input.read_i64()? ^ i64::MIN;
        let timer = Timer {
            timestamp,
            key: self.key.deserialize(&mut input)?,
            namespace: self.namespace.deserialize(&mut input)?,
        };
        if input.is_empty() {
            return Ok(timer);
        }
        Err(Error::corrupt("bytes are left over behind a timer")
            .with("offset", input.position())
            .with("found", format_args!("{} bytes", input.remaining())))
    }
}

impl<K, N> Clone for TimerFormat<K, N> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), namespace: self.namespace.clone() }
    }
}

/// The time of a timer behind its key group.
pub(crate) fn time_of(entry: &[u8], prefix_bytes: usize) -> Option<i64> {
    let bytes = entry.get(prefix_bytes..)?.first_chunk()?;
    Some(i64::from_be_bytes(*bytes) ^ i64::MIN)
}

#[cfg(test)]
mod tests {
    use highwater_types::{DefaultSerializer, VoidNamespace};

    use super::*;

    /// Flink's bytes for the timestamp 5, key "a" and no namespace.
    #[test]
    fn a_timer_is_written_as_flink_writes_it() {
        let format = TimerFormat { key: String::default_serializer(), namespace: VoidNamespace::default_serializer() };
        let mut bytes = vec![81];
        format.push(5, &"a".to_owned(), &VoidNamespace, &mut bytes).unwrap();
        assert_eq!(bytes, [81, 0x80, 0, 0, 0, 0, 0, 0, 5, 2, 0x61, 0]);
        assert_eq!(time_of(&bytes, 1), Some(5));
        let timer = format.read(&bytes, 1).unwrap();
        assert_eq!(timer, Timer { timestamp: 5, key: "a".to_owned(), namespace: VoidNamespace });
        bytes.push(0);
        assert!(format.read(&bytes, 1).is_err());
        assert!(format.read(&[81, 0x80], 1).is_err());
    }

    #[test]
    fn bytes_sort_as_times_do() {
        let format = TimerFormat { key: i64::default_serializer(), namespace: VoidNamespace::default_serializer() };
        let bytes = [i64::MIN, -5, -1, 0, 3, i64::MAX].map(|time| {
            let mut bytes = Vec::new();
            format.push(time, &7, &VoidNamespace, &mut bytes).unwrap();
            bytes
        });
        assert!(bytes.is_sorted());
    }
}
