//! The byte store: ordered bytes behind one trait, and the five kinds of state once over all of them.

mod backend;
mod batch;
mod column;
mod factory;
mod files;
mod folding;
mod list;
mod map;
mod reference;
mod store;
#[cfg(test)]
mod tests;
mod timers;
mod value;

pub(crate) use backend::ByteBackend;
pub use batch::{Write, WriteBatch};
pub(crate) use factory::not_native;
pub use factory::{ByteStoreContext, ByteStoreFactory};
pub use files::{FileRestore, FrozenFiles, NativeFiles};
pub use reference::{ReferenceStore, ReferenceStoreFactory};
pub use store::{ByteStore, ColumnId, FrozenBytes, VisitEntry};
