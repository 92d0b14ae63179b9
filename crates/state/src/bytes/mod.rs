//! The byte store: ordered bytes behind one trait, and the five kinds of state once over all of them.

mod backend;
mod batch;
mod column;
mod composite_key;
mod factory;
mod folding;
mod list;
mod map;
mod reference;
mod store;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use backend::ByteBackend;
pub use batch::{Write, WriteBatch};
pub(crate) use column::decode as decode_value;
pub(crate) use composite_key::KeyLayout;
pub use factory::{ByteStoreContext, ByteStoreFactory};
pub(crate) use list::for_each_element;
pub(crate) use map::decode_value as decode_map_value;
pub use reference::{ReferenceStore, ReferenceStoreFactory};
pub use store::{ByteStore, ColumnId, FrozenBytes, LIST_DELIMITER, VisitEntry};
