//! Composite keys: key group, key, namespace and map key in one run of bytes, as Flink's RocksDB backend composes them.

use highwater_types::{ByteReader, Error, KeyGroup, Length, MaxParallelism, Result, TypeSerializer};

/// How the keys of one state are composed:
///
/// ```text
/// key group (1 or 2 bytes) · key · [length of key] · namespace · [length of namespace] · [map key]
/// ```
///
/// The lengths are there only if both key and namespace are of variable size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyLayout {
    prefix_bytes: usize,
    with_lengths: bool,
}

impl KeyLayout {
    pub(crate) fn new(max_parallelism: MaxParallelism, key: Length, namespace: Length) -> Self {
        Self {
            prefix_bytes: max_parallelism.prefix_bytes(),
            with_lengths: key == Length::Variable && namespace == Length::Variable,
        }
    }

    /// Appends key group and serialized key; returns the length of the key alone.
    pub(crate) fn push_key<K: 'static>(
        prefix_bytes: usize,
        group: KeyGroup,
        key: &K,
        serializer: &dyn TypeSerializer<K>,
        out: &mut Vec<u8>,
    ) -> Result<usize> {
        push_key_group(prefix_bytes, group, out);
        let start = out.len();
        serializer.serialize(key, out)?;
        Ok(out.len() - start)
    }

    /// Appends what stands between the key and the map key.
    pub(crate) fn push_namespace<N: 'static>(
        self,
        key_length: usize,
        namespace: &N,
        serializer: &dyn TypeSerializer<N>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        if self.with_lengths {
            push_length(key_length, out);
        }
        let start = out.len();
        serializer.serialize(namespace, out)?;
        if self.with_lengths {
            push_length(out.len() - start, out);
        }
        Ok(())
    }

    /// Takes a composite key apart.
    pub(crate) fn split<'a, K: 'static, N: 'static>(
        self,
        composite: &'a [u8],
        key: &dyn TypeSerializer<K>,
        namespace: &dyn TypeSerializer<N>,
    ) -> Result<SplitKey<'a, K, N>> {
        let mut reader = ByteReader::new(composite);
        reader.read_bytes(self.prefix_bytes)?;
        let key = self.read_part(&mut reader, key)?;
        let namespace = self.read_part(&mut reader, namespace)?;
        let (scope, map_key) = composite.split_at(reader.position());
        Ok(SplitKey { key, namespace, scope, map_key })
    }

    fn read_part<T: 'static>(self, reader: &mut ByteReader<'_>, serializer: &dyn TypeSerializer<T>) -> Result<T> {
        let start = reader.position();
        let part = serializer.deserialize(reader)?;
        if self.with_lengths {
            let mut expected = Vec::with_capacity(size_of::<usize>());
            push_length(reader.position() - start, &mut expected);
            let offset = reader.position();
            if reader.read_bytes(expected.len())? != expected {
                return Err(Error::corrupt("a length inside a composite key is not that of the part before it")
                    .with("offset", offset));
            }
        }
        Ok(part)
    }
}

/// A composite key taken apart.
#[derive(Debug)]
pub(crate) struct SplitKey<'a, K, N> {
    pub(crate) key: K,
    pub(crate) namespace: N,
    /// Everything before the map key: the same for all entries of one key and namespace.
    pub(crate) scope: &'a [u8],
    /// Empty but in map state.
    pub(crate) map_key: &'a [u8],
}

/// Appends a key group, big-endian.
#[inline]
pub(crate) fn push_key_group(prefix_bytes: usize, group: KeyGroup, out: &mut Vec<u8>) {
    let [high, low] = group.to_be_bytes();
    if prefix_bytes > 1 {
        out.push(high);
    }
    out.push(low);
}

/// Appends a length: little-endian, as many bytes as it needs, at least one.
fn push_length(length: usize, out: &mut Vec<u8>) {
    let mut rest = length;
    loop {
        out.push((rest & 0xff) as u8);
        rest >>= 8;
        if rest == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use highwater_types::{DefaultSerializer, TimeWindow, VoidNamespace};
    use proptest::prelude::*;

    use super::*;

    fn compose<K: DefaultSerializer, N: DefaultSerializer>(
        max_parallelism: u32,
        group: KeyGroup,
        key: &K,
        namespace: &N,
    ) -> Vec<u8> {
        let (key_serializer, namespace_serializer) = (K::default_serializer(), N::default_serializer());
        let max_parallelism = MaxParallelism::new(max_parallelism).unwrap();
        let layout = KeyLayout::new(max_parallelism, key_serializer.length(), namespace_serializer.length());
        let mut out = Vec::new();
        let prefix_bytes = max_parallelism.prefix_bytes();
        let length = KeyLayout::push_key(prefix_bytes, group, key, &*key_serializer, &mut out).unwrap();
        layout.push_namespace(length, namespace, &*namespace_serializer, &mut out).unwrap();
        out
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn keys_are_composed_as_in_flink() {
        let text = str::to_owned;
        assert_eq!(hex(&compose(128, 5, &text("ab"), &VoidNamespace)), "0503616200");
        assert_eq!(hex(&compose(128, 5, &text("ab"), &text("n"))), "0503616203026e02");
        assert_eq!(hex(&compose(4096, 300, &42_i32, &text("n"))), "012c0000002a026e");
        assert_eq!(
            hex(&compose(128, 2, &0x30_i32, &TimeWindow { start: 1000, end: 2000 })),
            "020000003000000000000003e800000000000007d0"
        );
    }

    #[test]
    fn long_keys_have_longer_lengths() {
        let key = compose(128, 5, &"x".repeat(300), &"n".to_owned());
        assert_eq!(hex(&key[1 + 302..]), "2e01026e02");
        let key = compose(128, 5, &"x".repeat(254), &"n".to_owned());
        assert_eq!(hex(&key[1 + 256..]), "0001026e02");
    }

    #[test]
    fn lengths_take_as_many_bytes_as_they_need() {
        for (length, expected) in [(0, "00"), (2, "02"), (255, "ff"), (256, "0001"), (302, "2e01"), (65536, "000001")] {
            let mut out = Vec::new();
            push_length(length, &mut out);
            assert_eq!(hex(&out), expected, "{length}");
        }
    }

    #[test]
    fn a_wrong_length_is_corrupt() {
        let mut composite = compose(128, 5, &"ab".to_owned(), &"n".to_owned());
        composite[4] = 9;
        let layout = KeyLayout::new(MaxParallelism::new(128).unwrap(), Length::Variable, Length::Variable);
        let text = String::default_serializer();
        let error = layout.split(&composite, &*text, &*text).unwrap_err();
        assert_eq!((error.kind(), error.value("offset")), (highwater_types::ErrorKind::Corrupt, Some("4")));
    }

    proptest! {
        #[test]
        fn what_is_composed_is_taken_apart(
            key in ".{0,300}", namespace in ".{0,300}", map_key: Vec<u8>, group in 0_u16..4096,
            few_groups: bool, fixed: bool,
        ) {
            let (max_parallelism, group) = if few_groups { (128, group % 128) } else { (4096, group) };
            let text = String::default_serializer();
            let window = TimeWindow::default_serializer();
            let max = MaxParallelism::new(max_parallelism).unwrap();
            if fixed {
                let namespace = TimeWindow { start: i64::from(group), end: i64::MAX };
                let mut composite = compose(max_parallelism, group, &key, &namespace);
                composite.extend_from_slice(&map_key);
                let layout = KeyLayout::new(max, text.length(), window.length());
                let split = layout.split(&composite, &*text, &*window).unwrap();
                prop_assert_eq!((split.key, split.namespace, split.map_key), (key, namespace, &*map_key));
            } else {
                let mut composite = compose(max_parallelism, group, &key, &namespace);
                composite.extend_from_slice(&map_key);
                let layout = KeyLayout::new(max, text.length(), text.length());
                let split = layout.split(&composite, &*text, &*text).unwrap();
                prop_assert_eq!((split.key, split.namespace, split.map_key), (key, namespace, &*map_key));
            }
        }

        #[test]
        fn any_bytes_are_a_key_or_an_error(bytes: Vec<u8>) {
            let text = String::default_serializer();
            let layout = KeyLayout::new(MaxParallelism::new(4096).unwrap(), text.length(), text.length());
            let _ = layout.split(&bytes, &*text, &*text);
        }
    }
}
