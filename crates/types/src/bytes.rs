//! A bounds-checked cursor over bytes that came from outside.

use crate::{Error, Result};

/// Reads big-endian values from a slice. Every read past the end is an [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt)
/// error with the offset; no read allocates more than the slice holds.
///
/// ```
/// use highwater_types::ByteReader;
///
/// let mut reader = ByteReader::new(&[0, 0, 0, 7, 1]);
/// assert_eq!(reader.read_i32()?, 7);
/// assert_eq!(reader.position(), 4);
/// assert!(reader.read_i32().is_err());
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ByteReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> ByteReader<'a> {
    /// A reader at the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Bytes read so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes not yet read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The bytes not yet read, without reading them.
    #[must_use]
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    /// Whether everything was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// The next `n` bytes.
    #[inline]
    pub fn read_bytes(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self.position.checked_add(n);
        match end.and_then(|end| self.bytes.get(self.position..end)) {
            Some(bytes) => {
                self.position += n;
                Ok(bytes)
            }
            None => Err(self.too_short(n)),
        }
    }

    /// The next `N` bytes as an array.
    #[inline]
    pub fn read_array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.rest().first_chunk::<N>() {
            Some(bytes) => {
                self.position += N;
                Ok(*bytes)
            }
            None => Err(self.too_short(N)),
        }
    }

    #[cold]
    fn too_short(&self, wanted: usize) -> Error {
        Error::corrupt("the bytes end too early")
            .with("offset", self.position)
            .with("expected", format_args!("{wanted} bytes"))
            .with("found", format_args!("{} bytes", self.remaining()))
    }
}

macro_rules! reads {
    ($($name:ident: $type:ty),* $(,)?) => {
        impl ByteReader<'_> {$(
            #[doc = concat!("A big-endian `", stringify!($type), "`.")]
            #[inline]
            pub fn $name(&mut self) -> Result<$type> {
                self.read_array().map(<$type>::from_be_bytes)
            }
        )*}
    };
}

reads! { read_u8: u8, read_i8: i8, read_u16: u16, read_i16: i16, read_u32: u32, read_i32: i32, read_i64: i64, read_f32: f32, read_f64: f64 }

impl ByteReader<'_> {
    /// A boolean byte; as in Flink, anything but zero is true.
    #[inline]
    pub fn read_bool(&mut self) -> Result<bool> {
        self.read_u8().map(|byte| byte != 0)
    }

    /// An `i32` that counts bytes or elements still to come. Negative counts, and counts larger than the bytes left
    /// could hold at `min_size` bytes each, are errors: they never become an allocation.
    pub fn read_count(&mut self, min_size: usize) -> Result<usize> {
        let offset = self.position;
        let count = self.read_i32()?;
        match usize::try_from(count) {
            Ok(n) if n.saturating_mul(min_size) <= self.remaining() => Ok(n),
            _ => Err(Error::corrupt("a count does not fit the bytes that follow it")
                .with("offset", offset)
                .with("found", count)
                .with("remaining", format_args!("{} bytes", self.remaining()))),
        }
    }
}
