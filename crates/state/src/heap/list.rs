//! Lists in table entries: a few elements in the entry itself, more of them in chunks that copies share.

use std::sync::Arc;

use smallvec::SmallVec;

/// Elements per chunk: what an append to a shared list copies at most.
const CHUNK: usize = 256;
/// Elements kept in the table entry, where [`fits_entry`] says so.
const FEW: usize = 3;

/// Whether the first elements of a list may lie in the table entry: copying a segment copies them, so they must own
/// nothing and be small.
pub(super) const fn fits_entry<T>() -> bool {
    !std::mem::needs_drop::<T>() && size_of::<T>() <= 32
}

/// A list in a table entry. Cloning it is cheap; an append to what is shared copies one chunk.
pub(super) trait ListCell<T>: Clone + Send + Sync + 'static {
    fn one(element: T) -> Self;
    fn from_vec(elements: Vec<T>) -> Self;
    fn push(&mut self, element: T);
    fn iter<'a>(&'a self) -> impl Iterator<Item = &'a T>
    where
        T: 'a;
    /// Lets every element be changed and keeps those for which `keep` is true.
    fn retain(&mut self, keep: impl FnMut(&mut T) -> bool);

    fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// A list outside the table entry.
#[derive(Clone)]
pub(super) enum List<T> {
    /// Up to a chunk in one allocation.
    Flat(Arc<SmallVec<[T; 2]>>),
    /// Chunks, all of them full but for the last ones of a list that lost elements.
    Chunked(Arc<Vec<Arc<Vec<T>>>>),
}

impl<T: Clone + Send + Sync + 'static> ListCell<T> for List<T> {
    fn one(element: T) -> Self {
        Self::Flat(Arc::new(SmallVec::from_iter([element])))
    }

    fn from_vec(elements: Vec<T>) -> Self {
        if elements.len() <= CHUNK {
            return Self::Flat(Arc::new(SmallVec::from_vec(elements)));
        }
        let mut elements = elements.into_iter();
        let mut chunks = Vec::with_capacity(elements.len().div_ceil(CHUNK));
        while elements.len() > 0 {
            chunks.push(Arc::new(elements.by_ref().take(CHUNK).collect()));
        }
        Self::Chunked(Arc::new(chunks))
    }

    #[inline]
    fn push(&mut self, element: T) {
        match self {
            Self::Flat(elements) if elements.len() < CHUNK => Arc::make_mut(elements).push(element),
            Self::Flat(elements) => {
                let full = std::mem::take(Arc::make_mut(elements)).into_vec();
                *self = Self::Chunked(Arc::new(vec![Arc::new(full), Arc::new(vec![element])]));
            }
            Self::Chunked(chunks) => {
                let chunks = Arc::make_mut(chunks);
                match chunks.last_mut() {
                    Some(last) if last.len() < CHUNK => Arc::make_mut(last).push(element),
                    _ => chunks.push(Arc::new(vec![element])),
                }
            }
        }
    }

    #[inline]
    fn iter<'a>(&'a self) -> impl Iterator<Item = &'a T>
    where
        T: 'a,
    {
        let (flat, chunks) = match self {
            Self::Flat(elements) => (elements.as_slice(), [].as_slice()),
            Self::Chunked(chunks) => ([].as_slice(), chunks.as_slice()),
        };
        flat.iter().chain(chunks.iter().flat_map(|chunk| chunk.iter()))
    }

    fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        match self {
            Self::Flat(elements) => Arc::make_mut(elements).retain(keep),
            Self::Chunked(chunks) => {
                let chunks = Arc::make_mut(chunks);
                for chunk in chunks.iter_mut() {
                    Arc::make_mut(chunk).retain_mut(&mut keep);
                }
                chunks.retain(|chunk| !chunk.is_empty());
            }
        }
    }
}

/// A list whose first elements lie in the table entry: most lists of a stream job are short, and these need neither an
/// allocation nor a second wait for memory.
#[derive(Clone)]
pub(super) enum ShortList<T> {
    /// At most [`FEW`] elements, never spilled.
    Few(SmallVec<[T; FEW]>),
    Many(List<T>),
}

impl<T: Clone + Send + Sync + 'static> ListCell<T> for ShortList<T> {
    #[inline]
    fn one(element: T) -> Self {
        Self::Few(SmallVec::from_iter([element]))
    }

    fn from_vec(elements: Vec<T>) -> Self {
        if elements.len() <= FEW {
            // By way of an iterator: the elements move, the vector's own memory does not.
            Self::Few(elements.into_iter().collect())
        } else {
            Self::Many(List::from_vec(elements))
        }
    }

    #[inline]
    fn push(&mut self, element: T) {
        match self {
            Self::Few(elements) if elements.len() < FEW => elements.push(element),
            Self::Few(elements) => {
                let mut all = Vec::with_capacity(2 * FEW);
                all.extend(elements.drain(..));
                all.push(element);
                *self = Self::Many(List::from_vec(all));
            }
            Self::Many(list) => list.push(element),
        }
    }

    #[inline]
    fn iter<'a>(&'a self) -> impl Iterator<Item = &'a T>
    where
        T: 'a,
    {
        let (few, many) = match self {
            Self::Few(elements) => (elements.as_slice(), None),
            Self::Many(list) => ([].as_slice(), Some(list)),
        };
        few.iter().chain(many.into_iter().flat_map(List::iter))
    }

    fn retain(&mut self, keep: impl FnMut(&mut T) -> bool) {
        match self {
            Self::Few(elements) => elements.retain(keep),
            Self::Many(list) => list.retain(keep),
        }
    }
}
