//! A list whose copies share structure by chunks.

use std::sync::Arc;

use smallvec::SmallVec;

/// Elements per chunk: what an append to a shared list copies at most.
const CHUNK: usize = 256;

/// A list in a table entry. Cloning shares all elements; the first append after it copies one chunk.
#[derive(Clone)]
pub(super) enum List<T> {
    /// Up to a chunk in one allocation.
    Flat(Arc<SmallVec<[T; 2]>>),
    /// Chunks, all of them full but for the last ones of a list that lost elements.
    Chunked(Arc<Vec<Arc<Vec<T>>>>),
}

impl<T: Clone> List<T> {
    pub(super) fn one(element: T) -> Self {
        Self::Flat(Arc::new(SmallVec::from_iter([element])))
    }

    pub(super) fn from_vec(elements: Vec<T>) -> Self {
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
    pub(super) fn push(&mut self, element: T) {
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

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let (flat, chunks) = match self {
            Self::Flat(elements) => (elements.as_slice(), [].as_slice()),
            Self::Chunked(chunks) => ([].as_slice(), chunks.as_slice()),
        };
        flat.iter().chain(chunks.iter().flat_map(|chunk| chunk.iter()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Lets every element be changed and keeps those for which `keep` is true.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
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
