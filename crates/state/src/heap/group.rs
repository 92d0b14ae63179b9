//! Seven slots and their tags in one place, so that a lookup meets tag and entry on neighbouring cache lines.
//!
//! This file and [`table`](super::table) hold all unsafe code of the heap store: here, slots that are initialised exactly
//! where their tag says so.

use std::mem::MaybeUninit;

#[cfg(target_arch = "x86_64")]
const CACHE_LINE: usize = 64;
/// Slots of one group.
pub(super) const SLOTS: usize = 7;
const TAGS: u64 = 0x0080_8080_8080_8080;
const ONES: u64 = 0x0001_0101_0101_0101;

/// Seven slots, a tag byte for each, and a count of entries that found the group full.
///
/// A tag is zero for an empty slot, else `0x80` and seven bits of the hash. Invariant: slot `i` is initialised if and
/// only if tag `i` is not zero.
///
/// Aligned to cache lines, so that [`prefetch`](Self::prefetch) meets all of them: 120 bytes anywhere would often lie on
/// three lines, with the tags on the last.
#[repr(align(64))]
pub(super) struct Group<T> {
    /// Tags in the seven low bytes, the overflow count in the high one.
    meta: u64,
    slots: [MaybeUninit<T>; SLOTS],
}

/// Tag of a hash: its top seven bits.
#[inline]
pub(super) fn tag_of(hash: u64) -> u64 {
    (hash >> 57) | 0x80
}

impl<T> Group<T> {
    pub(super) fn empty() -> Self {
        Self { meta: 0, slots: [const { MaybeUninit::uninit() }; SLOTS] }
    }

    /// Begins to fetch the whole group. Which slot is wanted is known only once the tags are there; without this, a
    /// lookup outside the cache would wait twice.
    #[inline]
    pub(super) fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        if size_of::<Self>() <= 8 * CACHE_LINE {
            let start = std::ptr::from_ref(self).cast::<i8>();
            for line in (0..size_of::<Self>()).step_by(CACHE_LINE) {
                // SAFETY: the address lies within the group, and a prefetch reads nothing.
                unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(start.add(line)) };
            }
        }
    }

    /// Slots whose tag may be `tag` (with rare false hits), as a set for [`next_slot`].
    #[inline]
    fn candidates(&self, tag: u64) -> u64 {
        // A byte of `differing` is zero where the tag is the same; the borrow of the subtraction finds such bytes.
        let differing = self.meta ^ (tag * ONES);
        differing.wrapping_sub(ONES) & !differing & TAGS
    }

    /// A matching entry and its slot.
    #[inline]
    pub(super) fn find(&self, tag: u64, mut eq: impl FnMut(&T) -> bool) -> Option<(usize, &T)> {
        let mut candidates = self.candidates(tag);
        while candidates != 0 {
            let slot = next_slot(&mut candidates);
            // SAFETY: only one of the seven tag bytes can be a candidate, and the byte of an empty slot cannot: it
            // differs from every tag in its highest bit. So the slot exists and is initialised.
            let entry = unsafe { self.slots.get_unchecked(slot).assume_init_ref() };
            if eq(entry) {
                return Some((slot, entry));
            }
        }
        None
    }

    #[inline]
    fn is_occupied(&self, slot: usize) -> bool {
        self.meta & (0x80 << (8 * slot)) != 0
    }

    /// The entry in a slot.
    #[inline]
    pub(super) fn get(&self, slot: usize) -> Option<&T> {
        let entry = self.slots.get(slot)?;
        // SAFETY: the tag says that the slot is initialised.
        self.is_occupied(slot).then(|| unsafe { entry.assume_init_ref() })
    }

    /// The entry in a slot.
    #[inline]
    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut T> {
        let occupied = slot < SLOTS && self.is_occupied(slot);
        let entry = self.slots.get_mut(slot)?;
        // SAFETY: the tag says that the slot is initialised.
        occupied.then(|| unsafe { entry.assume_init_mut() })
    }

    /// Puts an entry into an empty slot and returns its index, or gives the entry back if there is none.
    #[inline]
    pub(super) fn insert(&mut self, tag: u64, entry: T) -> Result<usize, T> {
        let mut free = !self.meta & TAGS;
        if free == 0 {
            return Err(entry);
        }
        let slot = next_slot(&mut free);
        match self.slots.get_mut(slot) {
            Some(place) => {
                place.write(entry);
                self.meta |= tag << (8 * slot);
                Ok(slot)
            }
            None => Err(entry),
        }
    }

    /// Takes the entry out of a slot.
    pub(super) fn take(&mut self, slot: usize) -> Option<T> {
        let occupied = slot < SLOTS && self.is_occupied(slot);
        let entry = self.slots.get(slot)?;
        if !occupied {
            return None;
        }
        self.meta &= !(0xff << (8 * slot));
        // SAFETY: the slot was initialised, and its tag, cleared above, says no longer so: it is read out once.
        Some(unsafe { entry.assume_init_read() })
    }

    /// How many entries found this group full on their way; 255 means "255 or more" and stays.
    #[inline]
    pub(super) fn overflow(&self) -> u8 {
        (self.meta >> 56) as u8
    }

    pub(super) fn add_overflow(&mut self) {
        if self.overflow() < u8::MAX {
            self.meta += 1 << 56;
        }
    }

    pub(super) fn remove_overflow(&mut self) {
        if (1..u8::MAX).contains(&self.overflow()) {
            self.meta -= 1 << 56;
        }
    }

    /// All entries.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let mut occupied = self.meta & TAGS;
        std::iter::from_fn(move || (occupied != 0).then(|| next_slot(&mut occupied)).and_then(|slot| self.get(slot)))
    }

    /// Indexes of all entries.
    pub(super) fn occupied(&self) -> impl Iterator<Item = usize> + use<T> {
        let mut occupied = self.meta & TAGS;
        std::iter::from_fn(move || (occupied != 0).then(|| next_slot(&mut occupied)))
    }
}

/// Takes the lowest slot out of a non-empty set.
#[inline]
fn next_slot(set: &mut u64) -> usize {
    let slot = set.trailing_zeros() as usize / 8;
    *set &= *set - 1;
    slot
}

impl<T: Clone> Clone for Group<T> {
    fn clone(&self) -> Self {
        // The tag is set after the clone, one slot at a time: if a clone panics, what was cloned so far is dropped and
        // nothing else.
        let mut copy = Self::empty();
        for slot in self.occupied() {
            if let (Some(entry), Some(place)) = (self.get(slot), copy.slots.get_mut(slot)) {
                place.write(entry.clone());
                copy.meta |= self.meta & (0xff << (8 * slot));
            }
        }
        copy.meta = self.meta;
        copy
    }
}

impl<T> Drop for Group<T> {
    fn drop(&mut self) {
        if std::mem::needs_drop::<T>() {
            for slot in self.occupied() {
                drop(self.take(slot));
            }
        }
    }
}
