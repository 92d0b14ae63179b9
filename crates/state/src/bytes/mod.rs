//! The byte store: ordered bytes behind one trait, and the five kinds of state once over all of them.

mod batch;
mod factory;
mod reference;
mod store;

pub use batch::{Write, WriteBatch};
pub use factory::{ByteStoreContext, ByteStoreFactory};
pub use reference::{ReferenceStore, ReferenceStoreFactory};
pub use store::{ByteStore, ColumnId, FrozenBytes, LIST_DELIMITER, VisitEntry};
