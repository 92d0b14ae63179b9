//! A segment: a small open-addressing hash table in one shared allocation.

use std::sync::Arc;

use super::group::{Group, SLOTS, tag_of};

/// A hash table of some hundred entries behind one [`Arc`]. A clone shares the entries.
///
/// The caller brings hash and equality. Changes happen in place, so they need the only reference to the entries: the
/// safe methods copy a shared segment first, the `owned` ones trust a caller who knows.
pub(super) struct Segment<T> {
    groups: Option<Arc<[Group<T>]>>,
    len: u32,
}

impl<T> Clone for Segment<T> {
    fn clone(&self) -> Self {
        Self { groups: self.groups.clone(), len: self.len }
    }
}

impl<T> Default for Segment<T> {
    fn default() -> Self {
        Self { groups: None, len: 0 }
    }
}

/// The group where the entries of a hash begin: bits 25 to 56. The bits below choose the segment, those above are the
/// tag.
#[inline]
fn home(hash: u64, groups: usize) -> usize {
    ((((hash >> 25) & 0xffff_ffff) * groups as u64) >> 32) as usize
}

#[inline]
fn after(group: usize, groups: usize) -> usize {
    if group + 1 == groups { 0 } else { group + 1 }
}

/// A matching entry with its group and slot: from the home group on, as long as groups report overflow.
#[inline]
fn locate<T>(groups: &[Group<T>], hash: u64, mut eq: impl FnMut(&T) -> bool) -> Option<(usize, usize, &T)> {
    let tag = tag_of(hash);
    let home = home(hash, groups.len());
    let mut at = home;
    groups.get(home)?.prefetch();
    loop {
        let group = groups.get(at)?;
        if let Some((slot, entry)) = group.find(tag, &mut eq) {
            return Some((at, slot, entry));
        }
        if group.overflow() == 0 {
            return None;
        }
        at = after(at, groups.len());
        if at == home {
            return None;
        }
    }
}

/// Puts an entry into the first group with room, from its home on. There must be room.
#[inline]
fn place<T>(groups: &mut [Group<T>], hash: u64, mut entry: T) -> Option<&mut T> {
    let count = groups.len();
    let mut at = home(hash, count);
    for _ in 0..count {
        match groups.get_mut(at)?.insert(tag_of(hash), entry) {
            Ok(slot) => return groups.get_mut(at)?.get_mut(slot),
            Err(back) => {
                entry = back;
                groups.get_mut(at)?.add_overflow();
            }
        }
        at = after(at, count);
    }
    assert!(count == 0, "a segment has a slot for every entry");
    None
}

/// Groups for `entries` at about half load, so that a segment grows about once before its table splits it.
fn groups_for(entries: usize) -> usize {
    (entries * 2).div_ceil(SLOTS).max(1)
}

fn empty_groups<T>(count: usize) -> Arc<[Group<T>]> {
    std::iter::repeat_with(Group::empty).take(count).collect()
}

impl<T> Segment<T> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    fn groups(&self) -> &[Group<T>] {
        self.groups.as_deref().unwrap_or_default()
    }

    /// # Safety
    /// No clone of this segment may exist.
    #[inline]
    unsafe fn groups_owned(&mut self) -> &mut [Group<T>] {
        match &self.groups {
            // SAFETY: the caller vouches that this is the only reference; the borrow of `self` covers the groups.
            Some(groups) => unsafe { &mut *Arc::as_ptr(groups).cast_mut() },
            None => &mut [],
        }
    }

    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        let groups = self.groups();
        if let Some(group) = groups.get(home(hash, groups.len())) {
            group.prefetch();
        }
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&T> {
        locate(self.groups.as_deref()?, hash, eq).map(|(_, _, entry)| entry)
    }

    /// An entry to be changed in place.
    ///
    /// # Safety
    /// No clone of this segment may exist.
    #[inline]
    pub(super) unsafe fn find_owned(&mut self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&mut T> {
        // SAFETY: passed on to the caller.
        let groups = unsafe { self.groups_owned() };
        let (group, slot, _) = locate(groups, hash, eq)?;
        groups.get_mut(group)?.get_mut(slot)
    }

    /// An empty segment with room for about `entries` without growing.
    pub(super) fn with_capacity(entries: usize) -> Self {
        // A little more than the average of a table's segments holds, at most five sixths full.
        let slots = (entries + entries / 8 + 16) * 6 / 5;
        Self { groups: Some(empty_groups(slots.div_ceil(SLOTS))), len: 0 }
    }

    /// Adds an entry that is known to be absent.
    ///
    /// # Safety
    /// No clone of this segment may exist.
    #[inline]
    pub(super) unsafe fn insert_owned(&mut self, hash: u64, entry: T, rehash: &dyn Fn(&T) -> u64) -> Option<&mut T>
    where
        T: Clone,
    {
        // Above six sevenths too many groups overflow.
        if (self.len() + 1) * SLOTS > self.groups().len() * SLOTS * (SLOTS - 1) {
            self.rebuild(groups_for(self.len() + 1), rehash);
        }
        self.len += 1;
        // SAFETY: passed on to the caller; a rebuilt segment is new.
        place(unsafe { self.groups_owned() }, hash, entry)
    }

    /// Takes an entry out.
    ///
    /// # Safety
    /// No clone of this segment may exist.
    pub(super) unsafe fn remove_owned(&mut self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<T> {
        // SAFETY: passed on to the caller.
        let groups = unsafe { self.groups_owned() };
        let (group, slot, _) = locate(groups, hash, eq)?;
        let entry = groups.get_mut(group)?.take(slot)?;
        // The groups this entry had overflowed no longer lead to it.
        let mut at = home(hash, groups.len());
        while at != group {
            groups.get_mut(at)?.remove_overflow();
            at = after(at, groups.len());
        }
        self.len -= 1;
        if self.len == 0 {
            self.groups = None;
        }
        Some(entry)
    }

    /// As [`find_owned`](Self::find_owned), after copying the entries if they are shared.
    pub(super) fn find_mut(&mut self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&mut T>
    where
        T: Clone,
    {
        self.make_unique();
        // SAFETY: made unique.
        unsafe { self.find_owned(hash, eq) }
    }

    /// As [`insert_owned`](Self::insert_owned), after copying the entries if they are shared.
    pub(super) fn insert(&mut self, hash: u64, entry: T, rehash: &dyn Fn(&T) -> u64) -> Option<&mut T>
    where
        T: Clone,
    {
        self.make_unique();
        // SAFETY: made unique.
        unsafe { self.insert_owned(hash, entry, rehash) }
    }

    /// As [`remove_owned`](Self::remove_owned), after copying the entries if they are shared.
    pub(super) fn remove(&mut self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<T>
    where
        T: Clone,
    {
        self.make_unique();
        // SAFETY: made unique.
        unsafe { self.remove_owned(hash, eq) }
    }

    /// Copies the entries if they are shared.
    #[inline]
    pub(super) fn make_unique(&mut self)
    where
        T: Clone,
    {
        if let Some(groups) = &mut self.groups
            && Arc::get_mut(groups).is_none()
        {
            *groups = groups.iter().cloned().collect();
        }
    }

    /// All entries in table order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.groups().iter().flat_map(Group::iter)
    }

    /// Lets every entry be changed and keeps those for which `keep` is true.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool, rehash: &dyn Fn(&T) -> u64)
    where
        T: Clone,
    {
        self.make_unique();
        let mut removed = 0;
        // SAFETY: made unique.
        for group in unsafe { self.groups_owned() } {
            for slot in group.occupied() {
                if group.get_mut(slot).is_some_and(|entry| !keep(entry)) {
                    drop(group.take(slot));
                    removed += 1;
                }
            }
        }
        if removed > 0 {
            // Overflow counts no longer fit the entries.
            self.len -= removed;
            if self.len == 0 {
                self.groups = None;
            } else {
                self.rebuild(groups_for(self.len()), rehash);
            }
        }
    }

    /// Moves all entries into fresh groups; shared ones are copied.
    #[cold]
    fn rebuild(&mut self, groups: usize, rehash: &dyn Fn(&T) -> u64)
    where
        T: Clone,
    {
        let mut fresh = empty_groups(groups);
        let mut len = 0;
        if let Some(groups) = Arc::get_mut(&mut fresh) {
            self.drain(|entry| {
                len += 1;
                place(groups, rehash(&entry), entry);
            });
        }
        *self = Self { groups: Some(fresh), len };
    }

    /// Moves the entries whose hash `leaves` into a segment of their own.
    #[cold]
    pub(super) fn split_off(&mut self, leaves: impl Fn(u64) -> bool, rehash: &dyn Fn(&T) -> u64) -> Self
    where
        T: Clone,
    {
        // Each part has room for all entries, should all go one way.
        let half = groups_for(self.len().div_ceil(2));
        let (mut stay, mut leave) = (empty_groups(half), empty_groups(half));
        let (mut staying, mut leaving) = (0, 0);
        if let (Some(stay), Some(leave)) = (Arc::get_mut(&mut stay), Arc::get_mut(&mut leave)) {
            self.drain(|entry| {
                let hash = rehash(&entry);
                if leaves(hash) {
                    leaving += 1;
                    place(leave, hash, entry);
                } else {
                    staying += 1;
                    place(stay, hash, entry);
                }
            });
        }
        *self = Self { groups: Some(stay), len: staying };
        Self { groups: Some(leave), len: leaving }
    }

    /// Gives all entries away; shared ones are copied.
    fn drain(&mut self, mut give: impl FnMut(T))
    where
        T: Clone,
    {
        let Some(mut groups) = std::mem::take(self).groups else { return };
        match Arc::get_mut(&mut groups) {
            Some(groups) => {
                for group in groups {
                    for slot in group.occupied() {
                        if let Some(entry) = group.take(slot) {
                            give(entry);
                        }
                    }
                }
            }
            None => groups.iter().flat_map(Group::iter).cloned().for_each(give),
        }
    }
}
