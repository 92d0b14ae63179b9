//! Column families: their names, and handles that are reached without looking a name up.

use std::borrow::Cow;
use std::sync::Arc;

use highwater_state::ColumnId;
use highwater_types::{Error, Result};
use rust_rocksdb::BoundColumnFamily;

use crate::database::Database;

/// A column family that keeps its database open.
#[derive(Clone)]
pub(crate) struct Column {
    // Before the database: RocksDB wants its handles destroyed before it is closed.
    handle: Arc<BoundColumnFamily<'static>>,
    _database: Arc<Database>,
}

impl Column {
    /// The column family of this name, if the database has it.
    pub(crate) fn find(database: &Arc<Database>, family: &str) -> Option<Self> {
        // SAFETY: the handle is dropped before the database that is kept beside it.
        let db = unsafe { database.detached() };
        let handle = db.cf_handle(family)?;
        Some(Self { handle, _database: Arc::clone(database) })
    }

    /// The handle, for calls of this column's database.
    #[inline]
    pub(crate) fn handle(&self) -> &Arc<BoundColumnFamily<'static>> {
        &self.handle
    }
}

/// The columns of a store, by number. Clones share the list.
#[derive(Clone, Default)]
pub(crate) struct Columns(Arc<Vec<(String, Column)>>);

impl Columns {
    /// The number of the column of this name.
    pub(crate) fn find(&self, name: &str) -> Option<ColumnId> {
        let index = self.0.iter().position(|(known, _)| known == name)?;
        u32::try_from(index).ok().map(ColumnId::new)
    }

    /// Adds a column behind the others.
    pub(crate) fn push(&mut self, name: &str, column: Column) -> Result<ColumnId> {
        let number = u32::try_from(self.0.len()).map_err(|_| Error::program("more columns than a store can number"))?;
        Arc::make_mut(&mut self.0).push((name.to_owned(), column));
        Ok(ColumnId::new(number))
    }

    /// The column with this number.
    #[inline]
    pub(crate) fn get(&self, column: ColumnId) -> Result<&Column> {
        self.0.get(column.index()).map(|(_, column)| column).ok_or_else(|| unknown(column))
    }

    /// The name of a column, for errors.
    pub(crate) fn name(&self, column: ColumnId) -> &str {
        self.0.get(column.index()).map_or("?", |(name, _)| name)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Names and columns in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Column)> {
        self.0.iter().map(|(name, column)| (name.as_str(), column))
    }
}

#[cold]
fn unknown(column: ColumnId) -> Error {
    Error::program("the store has no such column: columns belong to the store that made them")
        .with("column", column.get())
}

/// Stands for what RocksDB cannot take: `␀` is the empty name, `␀0` NUL within a name, `␀␀` the sign itself.
const ESCAPE: char = '␀';

/// The column family of a column: of the same name, as in Flink, unless that is empty or holds NUL or the sign that
/// stands for it.
pub(crate) fn family_name(column: &str) -> Cow<'_, str> {
    if column.is_empty() {
        return Cow::Owned(ESCAPE.into());
    }
    if !column.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(column);
    }
    let mut name = String::with_capacity(column.len() + 8);
    for character in column.chars() {
        match character {
            '\0' => name.extend([ESCAPE, '0']),
            ESCAPE => name.extend([ESCAPE, ESCAPE]),
            other => name.push(other),
        }
    }
    Cow::Owned(name)
}

/// The column of a column family: the reverse of [`family_name`].
pub(crate) fn column_name(family: &str) -> Cow<'_, str> {
    if !family.contains(ESCAPE) {
        return Cow::Borrowed(family);
    }
    let mut name = String::with_capacity(family.len());
    let mut rest = family.chars();
    while let Some(character) = rest.next() {
        match character {
            ESCAPE => name.extend(rest.next().map(|escaped| if escaped == '0' { '\0' } else { escaped })),
            other => name.push(other),
        }
    }
    Cow::Owned(name)
}

#[cfg(test)]
mod tests {
    use super::{column_name, family_name};

    #[test]
    fn names_stay_as_they_are_and_never_meet() {
        for name in ["default", "words", "_timer_state/event_user-timers", "ä/😀"] {
            assert_eq!(family_name(name), name);
            assert_eq!(column_name(name), name);
        }
        let odd = ["", "\0", "␀", "␀0", "0", "␀␀", "\0\0", "␀\0", "\0␀"];
        assert!(odd.iter().all(|name| column_name(&family_name(name)) == *name));
        let families: std::collections::BTreeSet<_> = odd.iter().map(|name| family_name(name)).collect();
        assert_eq!(families.len(), odd.len());
        assert!(families.iter().all(|name| !name.is_empty() && !name.contains('\0')));
    }
}
