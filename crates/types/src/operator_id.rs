//! Operator ids: how a snapshot names the operator that owns a piece of state.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// Identity of an operator in checkpoints and savepoints: 16 bytes, derived from its uid (`OperatorID`).
///
/// ```
/// use highwater_types::OperatorId;
///
/// let id = OperatorId::from_uid("my-uid");
/// assert_eq!(id.to_string(), "8409efe6adc6d20787611f16017c808f");
/// assert_eq!("8409efe6adc6d20787611f16017c808f".parse::<OperatorId>()?, id);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperatorId([u8; 16]);

impl OperatorId {
    /// The id Flink gives an operator with this uid: 128-bit murmur3 (x64 variant, seed 0) of its UTF-8 bytes.
    #[must_use]
    pub fn from_uid(uid: &str) -> Self {
        Self(murmur3_x64_128(uid.as_bytes()))
    }

    /// An id from its bytes, in file order.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, in file order.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for OperatorId {
    /// 32 lower-case hex digits, as Flink prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for OperatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorId({self})")
    }
}

impl FromStr for OperatorId {
    type Err = Error;

    /// Reads 32 hex digits of either case, as given to Flink's `setUidHash`.
    fn from_str(text: &str) -> Result<Self> {
        let digits_only = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u128::from_str_radix(text, 16) {
            Ok(number) if digits_only => Ok(Self(number.to_be_bytes())),
            _ => Err(Error::configuration("an operator id is written as 32 hex digits").with("found", text)),
        }
    }
}

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

/// MurmurHash3, x64, 128 bits, seed 0; both halves little-endian, as Guava's `HashCode.asBytes` gives them.
fn murmur3_x64_128(bytes: &[u8]) -> [u8; 16] {
    let (mut h1, mut h2) = (0u64, 0u64);
    let (blocks, tail) = bytes.as_chunks::<16>();
    for block in blocks {
        let (k1, k2) = halves(*block);
        h1 = (h1 ^ mix_k1(k1)).rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ mix_k2(k2)).rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let mut last = [0; 16];
    last.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
    let (k1, k2) = halves(last);
    h1 ^= mix_k1(k1) ^ bytes.len() as u64;
    h2 ^= mix_k2(k2) ^ bytes.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    h1 = finish(h1);
    h2 = finish(h2);
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    // Two little-endian halves in file order are one little-endian number with h1 low.
    (u128::from(h2) << 64 | u128::from(h1)).to_le_bytes()
}

fn halves(block: [u8; 16]) -> (u64, u64) {
    let number = u128::from_le_bytes(block);
    (number as u64, (number >> 64) as u64)
}

fn mix_k1(k: u64) -> u64 {
    k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mix_k2(k: u64) -> u64 {
    k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finish(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ h >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_text_is_checked() {
        for text in ["", "+409efe6adc6d20787611f16017c808f", "8409", "8409efe6adc6d20787611f16017c808g"] {
            assert!(text.parse::<OperatorId>().is_err(), "{text}");
        }
        let id = OperatorId::from_uid("source");
        assert_eq!(id.to_string().to_uppercase().parse::<OperatorId>().unwrap(), id);
        assert_eq!(OperatorId::from_bytes(*id.as_bytes()), id);
    }
}
