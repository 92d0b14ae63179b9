//! The copy-on-write hash table of the heap store.
//!
//! Entries lie in [segments](super::segment) of a few hundred; a directory lists the segments. A freeze takes one
//! reference to the directory, whatever the size of the table. The first write after it copies the directory (one
//! reference for each segment), and the first write to each segment copies that segment.
//!
//! The table grows by *linear hashing*: one segment is split for every few hundred new entries, so that no single
//! insert moves more than one segment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::segment::Segment;

/// Entries per segment, on average, above which the table splits one more segment. Small enough that copying a segment
/// is a matter of a microsecond, large enough that the directory stays in the cache.
const SEGMENT_ENTRIES: usize = 512;

/// A copy-on-write hash table. The caller brings hashes and equality; equal entries never occur twice as long as
/// [`insert`](Self::insert) is only called for absent ones.
pub(super) struct Table<T> {
    /// The first `segments` slots are in use; their number doubles like a vector's capacity.
    directory: Arc<[Slot<T>]>,
    segments: usize,
    /// `mask_of(segments)`
    mask: usize,
    len: usize,
    /// Counts freezes and clones. Invariant: a slot that carries the current epoch, and the directory it lies in, were
    /// found unshared or copied since the last freeze or clone. Atomic only because a clone takes `&self`.
    epoch: AtomicU32,
}

struct Slot<T> {
    segment: Segment<T>,
    epoch: u32,
}

impl<T> Slot<T> {
    fn empty() -> Self {
        Self { segment: Segment::default(), epoch: 0 }
    }

    fn share(&self) -> Self {
        Self { segment: self.segment.clone(), epoch: 0 }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { directory: Arc::new([Slot::empty()]), segments: 1, mask: 0, len: 0, epoch: AtomicU32::new(1) }
    }
}

/// A clone shares the entries; both sides copy before they write.
impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        Self {
            directory: Arc::clone(&self.directory),
            segments: self.segments,
            mask: self.mask,
            len: self.len,
            epoch: AtomicU32::new(epoch),
        }
    }
}

/// Bits that choose among `segments`.
fn mask_of(segments: usize) -> usize {
    segments.next_power_of_two() - 1
}

impl<T: Clone> Table<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Index of the segment of a hash: its low bits, one bit fewer for segments not yet split.
    #[inline]
    fn segment_of(&self, hash: u64) -> usize {
        let index = hash as usize & self.mask;
        if index < self.segments { index } else { index & (self.mask >> 1) }
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&T> {
        self.directory.get(self.segment_of(hash))?.segment.find(hash, eq)
    }

    /// Begins to fetch what a lookup of this hash will read.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(slot) = self.directory.get(self.segment_of(hash)) {
            slot.segment.prefetch(hash);
        }
    }

    /// An entry to be changed in place.
    #[inline]
    pub(super) fn find_mut(&mut self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&mut T> {
        let slot = self.own(self.segment_of(hash))?;
        // SAFETY: an owned slot's segment is not shared.
        unsafe { slot.segment.find_owned(hash, eq) }
    }

    /// Adds an entry that is known to be absent.
    pub(super) fn insert(&mut self, hash: u64, entry: T, rehash: &dyn Fn(&T) -> u64) -> Option<&mut T> {
        if self.len >= self.segments * SEGMENT_ENTRIES {
            self.split(rehash);
        }
        self.len += 1;
        let slot = self.own(self.segment_of(hash))?;
        // SAFETY: an owned slot's segment is not shared.
        unsafe { slot.segment.insert_owned(hash, entry, rehash) }
    }

    /// Makes room for this many entries in a table that is still empty, so that a restore neither splits nor grows
    /// segments.
    pub(super) fn reserve(&mut self, entries: usize) {
        if self.len > 0 || entries <= SEGMENT_ENTRIES {
            return;
        }
        // Only with a power of two have all segments the same share.
        let segments = entries.div_ceil(SEGMENT_ENTRIES).next_power_of_two();
        let slot = || Slot { segment: Segment::with_capacity(entries / segments), epoch: 0 };
        self.directory = std::iter::repeat_with(slot).take(segments).collect();
        (self.segments, self.mask) = (segments, mask_of(segments));
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, hash: u64, mut eq: impl FnMut(&T) -> bool) -> Option<T> {
        // A miss must not copy a shared segment.
        self.find(hash, &mut eq)?;
        let slot = self.own(self.segment_of(hash))?;
        // SAFETY: an owned slot's segment is not shared.
        let removed = unsafe { slot.segment.remove_owned(hash, eq) };
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// All entries in table order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.directory.iter().take(self.segments).flat_map(|slot| slot.segment.iter())
    }

    /// Lets every entry be changed and keeps those for which `keep` is true.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool, rehash: &dyn Fn(&T) -> u64) {
        let mut len = 0;
        for index in 0..self.segments {
            if let Some(slot) = self.own(index) {
                slot.segment.retain(&mut keep, rehash);
                len += slot.segment.len();
            }
        }
        self.len = len;
    }

    /// The table as it is now; later writes do not touch it.
    pub(super) fn freeze(&mut self) -> Frozen<T> {
        *self.epoch.get_mut() += 1;
        Frozen { directory: Arc::clone(&self.directory), segments: self.segments }
    }

    /// A slot whose segment, and the directory it lies in, is not shared with a frozen view or a clone.
    #[inline]
    fn own(&mut self, index: usize) -> Option<&mut Slot<T>> {
        let epoch = *self.epoch.get_mut();
        if self.directory.get(index)?.epoch != epoch {
            self.unshare(index, epoch);
        }
        // SAFETY: the slot carries the current epoch, so nobody else holds the directory (see `epoch`); the borrow of
        // `self` covers it.
        let directory = unsafe { &mut *Arc::as_ptr(&self.directory).cast_mut() };
        directory.get_mut(index)
    }

    /// Copies what is shared on the way to a slot and gives the slot the current epoch.
    #[cold]
    fn unshare(&mut self, index: usize, epoch: u32) {
        if Arc::get_mut(&mut self.directory).is_none() {
            self.directory = self.directory.iter().map(Slot::share).collect();
        }
        if let Some(slot) = Arc::get_mut(&mut self.directory).and_then(|directory| directory.get_mut(index)) {
            slot.segment.make_unique();
            slot.epoch = epoch;
        }
    }

    /// Grows the table by one segment.
    #[cold]
    fn split(&mut self, rehash: &dyn Fn(&T) -> u64) {
        let new = self.segments;
        let mask = mask_of(new + 1);
        let Some(source) = self.own(new & (mask >> 1)) else { return };
        let segment = source.segment.split_off(|hash| hash as usize & mask == new, rehash);
        if new == self.directory.len() {
            self.double_directory();
        }
        if let Some(slot) = self.own(new) {
            slot.segment = segment;
            self.segments += 1;
            self.mask = mask;
        }
    }

    /// Only called while a slot is owned, and so the directory too.
    fn double_directory(&mut self) {
        let spare = self.directory.len();
        if let Some(directory) = Arc::get_mut(&mut self.directory) {
            let slots = directory.iter_mut().map(|slot| std::mem::replace(slot, Slot::empty()));
            self.directory = slots.chain(std::iter::repeat_with(Slot::empty).take(spare)).collect();
        }
    }
}

/// A table as it was when it was frozen.
pub(super) struct Frozen<T> {
    directory: Arc<[Slot<T>]>,
    segments: usize,
}

impl<T> Default for Frozen<T> {
    fn default() -> Self {
        Self { directory: Arc::new([]), segments: 0 }
    }
}

impl<T> Frozen<T> {
    /// Visits all entries and lets each segment go as soon as it is done, so that the live table copies no more than it
    /// must.
    pub(super) fn drain<E>(&mut self, mut visit: impl FnMut(&T) -> Result<(), E>) -> Result<(), E> {
        let mut view = std::mem::take(self);
        for index in 0..view.segments {
            // Once the live table has a directory of its own, this one can be taken apart.
            let taken = Arc::get_mut(&mut view.directory)
                .and_then(|all| all.get_mut(index))
                .map(|slot| std::mem::take(&mut slot.segment));
            match (&taken, view.directory.get(index)) {
                (Some(segment), _) => segment.iter().try_for_each(&mut visit)?,
                (None, Some(slot)) => slot.segment.iter().try_for_each(&mut visit)?,
                (None, None) => {}
            }
        }
        Ok(())
    }
}
