//! Java hash codes: what decides the key group of a key, so they must agree with the JVM bit by bit.

use std::fmt::Debug;
use std::hash::Hash;

use crate::{JavaString, TimeWindow, VoidNamespace};

/// The hash code the corresponding Java object has (`Object.hashCode()`).
///
/// Equal values must have equal hashes. A wrong hash puts a key into the wrong key group, and Flink then loses its
/// state silently; a type whose state never meets Flink may use any formula that never changes.
///
/// ```
/// use highwater_types::JavaHash;
///
/// assert_eq!("hello".java_hash(), 99_162_322);
/// assert_eq!(("a", 1).java_hash(), 3008);
/// assert_eq!((-1_i64).java_hash(), 0);
///
/// // A key of your own: here as a POJO whose hashCode is that of its id.
/// #[derive(Clone, Debug, PartialEq, Eq, Hash)]
/// struct User {
///     id: i64,
/// }
///
/// impl JavaHash for User {
///     fn java_hash(&self) -> i32 {
///         self.id.java_hash()
///     }
/// }
/// ```
pub trait JavaHash {
    /// The hash code.
    fn java_hash(&self) -> i32;
}

/// A type that can be the key of keyed state. Implemented for every type that has what a key needs.
///
/// Floating-point numbers are not keys, because they have no total equality; wrap their bits in a type of your own.
pub trait Key: JavaHash + Eq + Hash + Clone + Debug + Send + Sync + 'static {}
impl<T: JavaHash + Eq + Hash + Clone + Debug + Send + Sync + 'static> Key for T {}

macro_rules! hash_is_value {
    ($($type:ty),*) => {$(
        impl JavaHash for $type {
            #[inline]
            fn java_hash(&self) -> i32 {
                i32::from(*self)
            }
        }
    )*};
}

hash_is_value!(i8, i16, i32);

impl JavaHash for bool {
    #[inline]
    fn java_hash(&self) -> i32 {
        if *self { 1231 } else { 1237 }
    }
}

impl JavaHash for i64 {
    #[inline]
    fn java_hash(&self) -> i32 {
        (self ^ self >> 32) as i32
    }
}

impl JavaHash for f32 {
    /// All NaNs are one value; `-0.0` and `0.0` differ.
    #[inline]
    fn java_hash(&self) -> i32 {
        canonical_f32(*self).to_bits() as i32
    }
}

impl JavaHash for f64 {
    /// All NaNs are one value; `-0.0` and `0.0` differ.
    #[inline]
    fn java_hash(&self) -> i32 {
        (canonical_f64(*self).to_bits() as i64).java_hash()
    }
}

/// Java writes and hashes every NaN as this one (`Float.floatToIntBits`).
#[inline]
pub(crate) fn canonical_f32(value: f32) -> f32 {
    if value.is_nan() { f32::from_bits(0x7fc0_0000) } else { value }
}

/// Java writes and hashes every NaN as this one (`Double.doubleToLongBits`).
#[inline]
pub(crate) fn canonical_f64(value: f64) -> f64 {
    if value.is_nan() { f64::from_bits(0x7ff8_0000_0000_0000) } else { value }
}

impl JavaHash for char {
    /// The code point; characters outside the Basic Multilingual Plane do not exist as Java `Character`.
    #[inline]
    fn java_hash(&self) -> i32 {
        u32::from(*self) as i32
    }
}

impl JavaHash for str {
    #[inline]
    fn java_hash(&self) -> i32 {
        if self.is_ascii() { hash_ascii(self.as_bytes()) } else { hash_units(self.encode_utf16()) }
    }
}

impl JavaHash for String {
    #[inline]
    fn java_hash(&self) -> i32 {
        self.as_str().java_hash()
    }
}

impl JavaHash for JavaString {
    fn java_hash(&self) -> i32 {
        hash_units(self.as_utf16().iter().copied())
    }
}

fn hash_units(units: impl Iterator<Item = u16>) -> i32 {
    units.fold(0, |hash, unit| step(hash, i32::from(unit)))
}

/// Four steps at once: the multiplications no longer wait for each other.
fn hash_ascii(bytes: &[u8]) -> i32 {
    let (chunks, tail) = bytes.as_chunks::<4>();
    let hash = chunks.iter().fold(0i32, |hash, chunk| {
        let [a, b, c, d] = chunk.map(i32::from);
        hash.wrapping_mul(31 * 31 * 31 * 31).wrapping_add(a * (31 * 31 * 31) + b * (31 * 31) + c * 31 + d)
    });
    tail.iter().fold(hash, |hash, byte| step(hash, i32::from(*byte)))
}

/// One step of Java's polynomial hashes.
#[inline]
fn step(hash: i32, next: i32) -> i32 {
    hash.wrapping_mul(31).wrapping_add(next)
}

impl<T: JavaHash> JavaHash for Option<T> {
    /// None is Java's `null`, which counts 0.
    #[inline]
    fn java_hash(&self) -> i32 {
        self.as_ref().map_or(0, T::java_hash)
    }
}

impl<T: JavaHash> JavaHash for Vec<T> {
    /// As `java.util.List`.
    fn java_hash(&self) -> i32 {
        self.iter().fold(1, |hash, element| step(hash, element.java_hash()))
    }
}

impl<T: JavaHash + ?Sized> JavaHash for &T {
    #[inline]
    fn java_hash(&self) -> i32 {
        (**self).java_hash()
    }
}

macro_rules! hash_tuples {
    ($($first:ident $($rest:ident)*;)*) => {$(
        impl<$first: JavaHash, $($rest: JavaHash),*> JavaHash for ($first, $($rest,)*) {
            /// As Flink's `Tuple`.
            #[inline]
            #[expect(non_snake_case, reason = "type parameters double as field names")]
            fn java_hash(&self) -> i32 {
                let ($first, $($rest,)*) = self;
                let hash = $first.java_hash();
                $(let hash = step(hash, $rest.java_hash());)*
                hash
            }
        }
    )*};
}

hash_tuples! {
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
    A B C D E F G;
    A B C D E F G H;
    A B C D E F G H I;
    A B C D E F G H I J;
    A B C D E F G H I J K;
    A B C D E F G H I J K L;
}

impl JavaHash for VoidNamespace {
    /// As Flink's `VoidNamespace`.
    #[inline]
    fn java_hash(&self) -> i32 {
        99
    }
}

impl JavaHash for TimeWindow {
    /// As Flink's `TimeWindow`: the sum of both ends, its bits mixed (`MathUtils.longToIntWithBitMixing`).
    #[inline]
    fn java_hash(&self) -> i32 {
        let mut bits = self.start.wrapping_add(self.end) as u64;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ bits >> 31) as i32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_hash_codes() {
        assert_eq!("".java_hash(), 0);
        assert_eq!("flink".java_hash(), 97_520_992);
        assert_eq!("user-1".java_hash(), -836_031_825);
        assert_eq!("😀".java_hash(), 1_772_899);
        assert_eq!((1_i64 << 40).java_hash(), 256);
        assert_eq!(i64::MIN.java_hash(), i32::MIN);
        assert_eq!((-0.0_f64).java_hash(), i32::MIN);
        assert_eq!(f64::from_bits(0xfff8_0000_0000_0001).java_hash(), 2_146_959_360);
        assert_eq!(f32::from_bits(0xffc0_0001).java_hash(), 2_143_289_344);
        assert_eq!(vec![1, 2].java_hash(), 994);
        assert_eq!((5_i64,).java_hash(), 5);
        assert_eq!((1, 2, 3).java_hash(), 1026);
        assert_eq!((None::<String>, 5).java_hash(), 5);
    }

    #[test]
    fn keys_may_be_composed() {
        fn is_key<K: Key>() {}
        is_key::<String>();
        is_key::<JavaString>();
        is_key::<(i64, Option<String>, Vec<(i32, bool)>)>();
        is_key::<TimeWindow>();
    }

    proptest! {
        #[test]
        fn string_hash_is_the_plain_polynomial(units in prop::collection::vec(any::<u16>(), 0..40), ascii in "[ -~]{0,40}") {
            let model = |units: &[u16]| units.iter().fold(0i64, |h, u| (h * 31 + i64::from(*u)) & 0xffff_ffff) as i32;
            prop_assert_eq!(JavaString::from_utf16(units.clone()).java_hash(), model(&units));
            let text = String::from_utf16_lossy(&units);
            prop_assert_eq!(text.java_hash(), model(&text.encode_utf16().collect::<Vec<_>>()));
            prop_assert_eq!(ascii.java_hash(), model(&ascii.encode_utf16().collect::<Vec<_>>()));
        }
    }
}
