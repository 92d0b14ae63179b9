//! Whether state that an older serializer wrote can be read by a new one.

use super::class::{Class, ENUM, POJO, ROW, Shape};
use super::{Content, Entry, Frame, SerializerSnapshot};
use crate::ByteReader;

/// Whether state written by an older serializer can be read by a new one (`TypeSerializerSchemaCompatibility`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Compatibility {
    /// Read and written as it is.
    AsIs,
    /// Readable, but the bytes have to be written anew.
    AfterMigration,
    /// Not readable; the text says what differs, as in `list element: String in the snapshot, Long in the program`.
    Incompatible(String),
}

impl Compatibility {
    /// Both together: the worse of the two decides.
    fn and(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::AsIs => other(),
            Self::AfterMigration => match other() {
                Self::AsIs => Self::AfterMigration,
                other => other,
            },
            Self::Incompatible(_) => self,
        }
    }

    /// Says where inside a type the difference lies.
    fn within(self, place: &str) -> Self {
        match self {
            Self::Incompatible(text) => Self::Incompatible(format!("{place}: {text}")),
            other => other,
        }
    }
}

impl SerializerSnapshot {
    /// Whether state described by this snapshot can be read by the serializer whose snapshot is `new`.
    ///
    /// The rules are Flink's: the snapshot class must be the same; the outer content and every nested snapshot must be
    /// compatible; one part that needs migration makes the whole need it.
    pub fn compatibility(&self, new: &Self) -> Compatibility {
        if self.class_name != new.class_name {
            return self.differs_from(new);
        }
        match (&self.content, &new.content) {
            (Content::Plain(old_bytes), Content::Plain(new_bytes)) => {
                if self.is_simple() || old_bytes == new_bytes {
                    Compatibility::AsIs
                } else if self.class_name == ENUM {
                    self.enum_compatibility(new)
                } else {
                    self.differs_from(new)
                }
            }
            (Content::Named(old_name), Content::Named(new_name)) => {
                if old_name == new_name || new.accepts.0.contains(old_name) {
                    Compatibility::AsIs
                } else {
                    self.differs_by_name(new, old_name)
                }
            }
            (
                Content::Composite { outer_version: old_version, outer: old_outer, nested: old_nested },
                Content::Composite { outer_version: new_version, outer: new_outer, nested: new_nested },
            ) => {
                let outer = if (old_version, old_outer) == (new_version, new_outer) {
                    Compatibility::AsIs
                } else if self.class_name == ROW {
                    row_compatibility((*old_version, old_outer), (*new_version, new_outer))
                } else if old_nested.len() != new_nested.len() {
                    self.differs_from(new)
                } else {
                    Compatibility::Incompatible(format!(
                        "{self} was written in another layout than {new} in the program"
                    ))
                };
                if old_nested.len() != new_nested.len() {
                    return outer.and(|| self.differs_from(new));
                }
                let pairs = old_nested.iter().zip(new_nested).enumerate();
                pairs.fold(outer, |so_far, (i, (old, new))| {
                    so_far.and(|| old.compatibility(new).within(&self.part_name(i)))
                })
            }
            (
                Content::Framed { type_name: old_type, maps: old },
                Content::Framed { type_name: new_type, maps: new_ },
            ) => {
                let ([old_fields, ..], [new_fields, ..]) = (old, new_);
                if old_type != new_type {
                    self.differs_from(new)
                } else if old == new_ {
                    Compatibility::AsIs
                } else if self.class_name == POJO {
                    pojo_compatibility(old_fields, new_fields)
                } else {
                    Compatibility::Incompatible(format!("{new} was written with other registrations"))
                }
            }
            _ => self.differs_from(new),
        }
    }

    fn is_simple(&self) -> bool {
        Class::named(self.class_name).is_some_and(|class| matches!(class.shape, Shape::Simple))
    }

    fn differs_from(&self, new: &Self) -> Compatibility {
        Compatibility::Incompatible(format!("{self} in the snapshot, {new} in the program"))
    }

    /// Types of the program are told apart by name alone, so a moved or renamed one looks like another.
    fn differs_by_name(&self, new: &Self, old_name: &str) -> Compatibility {
        Compatibility::Incompatible(format!(
            "{self} in the snapshot, {new} in the program; if this is the same type under a new name, say so with \
             `accepting([\"{old_name}\"])` on its serializer or snapshot"
        ))
    }

    fn part_name(&self, index: usize) -> String {
        match Class::named(self.class_name).map(|class| (&class.shape, class.label)) {
            Some((Shape::Composite { parts: Some(parts), .. }, label)) => {
                parts.get(index).map_or_else(|| format!("{label} part {index}"), |part| (*part).to_owned())
            }
            Some((_, label)) => format!("{} field {index}", label.to_lowercase()),
            None => format!("part {index}"),
        }
    }

    /// Ordinals are stored, so old constants must keep their places; new ones may follow.
    fn enum_compatibility(&self, new: &Self) -> Compatibility {
        if self.type_name() != new.type_name() {
            return self.differs_from(new);
        }
        let (old_names, new_names) = (self.enum_constants(), new.enum_constants());
        if let Some(missing) = old_names.iter().find(|name| !new_names.contains(name)) {
            return Compatibility::Incompatible(format!("{new} has no constant {missing} any more"));
        }
        if new_names.starts_with(&old_names) { Compatibility::AsIs } else { Compatibility::AfterMigration }
    }

    fn enum_constants(&self) -> Vec<String> {
        let Content::Plain(bytes) = &self.content else { return Vec::new() };
        let mut input = ByteReader::new(bytes);
        // The content was walked when it was read.
        let count = input.read_utf().and_then(|_| input.read_count(2)).unwrap_or_default();
        (0..count).map_while(|_| input.read_utf().ok()).collect()
    }
}

/// Rows with and without a row kind differ in their bytes only.
fn row_compatibility(old: (i32, &[u8]), new: (i32, &[u8])) -> Compatibility {
    let has_kind = |(version, outer): (i32, &[u8])| match version {
        2 => false,
        3 => true,
        _ => outer == [1],
    };
    if has_kind(old) == has_kind(new) { Compatibility::AsIs } else { Compatibility::AfterMigration }
}

/// Fields are matched by name; added and removed ones are a matter of migration.
fn pojo_compatibility(old: &[Entry], new: &[Entry]) -> Compatibility {
    let same_names = old.len() == new.len() && old.iter().zip(new).all(|(old, new)| old.name == new.name);
    let start = if same_names { Compatibility::AsIs } else { Compatibility::AfterMigration };
    let pairs = old.iter().filter_map(|entry| Some((entry, new.iter().find(|other| other.name == entry.name)?)));
    pairs.fold(start, |so_far, (old, new)| {
        so_far.and(|| {
            let verdict = match (&old.value, &new.value) {
                (Some(Frame::Snapshot(old)), Some(Frame::Snapshot(new))) => old.compatibility(new),
                (old, new) if old == new => Compatibility::AsIs,
                _ => Compatibility::Incompatible("written by a serializer that is not known".to_owned()),
            };
            verdict.within(&format!("field {}", old.name))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DefaultSerializer, write_utf};

    fn of<T: DefaultSerializer>() -> SerializerSnapshot {
        T::default_serializer().snapshot()
    }

    fn row(outer_version: i32, outer: &[u8], fields: Vec<SerializerSnapshot>) -> SerializerSnapshot {
        SerializerSnapshot::composite(ROW, outer_version, outer.to_vec(), fields)
    }

    fn color(constants: &[&str]) -> SerializerSnapshot {
        let mut bytes = Vec::new();
        write_utf("Color", &mut bytes).unwrap();
        bytes.extend((constants.len() as i32).to_be_bytes());
        constants.iter().for_each(|constant| write_utf(constant, &mut bytes).unwrap());
        SerializerSnapshot::new(ENUM, 3, Content::Plain(bytes))
    }

    fn pojo(fields: &[(&str, SerializerSnapshot)]) -> SerializerSnapshot {
        let entry = |(name, snapshot): &(&str, SerializerSnapshot)| Entry {
            name: (*name).to_owned(),
            key: None,
            value: Some(Frame::Snapshot(Box::new(snapshot.clone()))),
        };
        let maps = [fields.iter().map(entry).collect(), Vec::new(), Vec::new()];
        SerializerSnapshot::new(POJO, 2, Content::Framed { type_name: "User".to_owned(), maps })
    }

    fn incompatible(text: &str) -> Compatibility {
        Compatibility::Incompatible(text.to_owned())
    }

    #[test]
    fn the_same_type_is_as_is() {
        for snapshot in
            [of::<i64>(), of::<Vec<(String, Option<bool>)>>(), color(&["RED"]), pojo(&[("id", of::<i64>())])]
        {
            assert_eq!(snapshot.compatibility(&snapshot.clone()), Compatibility::AsIs);
        }
    }

    #[test]
    fn a_difference_is_named_with_its_place() {
        assert_eq!(
            of::<i64>().compatibility(&of::<String>()),
            incompatible("Long in the snapshot, String in the program")
        );
        assert_eq!(
            of::<Vec<String>>().compatibility(&of::<Vec<i64>>()),
            incompatible("list element: String in the snapshot, Long in the program")
        );
        assert_eq!(
            of::<std::collections::BTreeMap<i32, Vec<(i32, bool)>>>()
                .compatibility(&of::<std::collections::BTreeMap<i32, Vec<(i32, i8)>>>()),
            incompatible("map value: list element: tuple field 1: Boolean in the snapshot, Byte in the program")
        );
        assert_eq!(
            of::<(i32, i32)>().compatibility(&of::<(i32, i32, i32)>()),
            incompatible("Tuple<Integer, Integer> in the snapshot, Tuple<Integer, Integer, Integer> in the program")
        );
        assert_eq!(
            of::<Option<i32>>().compatibility(&of::<i32>()),
            incompatible("Nullable<Integer> in the snapshot, Integer in the program")
        );
    }

    #[test]
    fn padding_of_nulls_must_stay() {
        let padded = SerializerSnapshot::nullable(of::<i64>(), 8);
        assert!(matches!(padded.compatibility(&of::<Option<i64>>()), Compatibility::Incompatible(_)));
    }

    #[test]
    fn an_old_version_of_a_simple_snapshot_is_the_same() {
        let mut old = of::<i64>();
        old.version = 2;
        old.content = Content::Plain(vec![0, 1, b'x']);
        assert_eq!(old.compatibility(&of::<i64>()), Compatibility::AsIs);
    }

    #[test]
    fn migration_of_a_part_is_migration_of_the_whole() {
        let (with_kind, without) = (row(4, &[1], vec![of::<i64>()]), row(2, &[], vec![of::<i64>()]));
        assert_eq!(without.compatibility(&with_kind), Compatibility::AfterMigration);
        assert_eq!(row(3, &[], vec![of::<i64>()]).compatibility(&with_kind), Compatibility::AsIs);

        let pair = |first: &SerializerSnapshot, second| SerializerSnapshot::tuple(vec![first.clone(), second]);
        let old = pair(&without, of::<i64>());
        assert_eq!(old.compatibility(&pair(&with_kind, of::<i64>())), Compatibility::AfterMigration);
        // A later part that does not fit outweighs it.
        assert_eq!(
            old.compatibility(&pair(&with_kind, of::<bool>())),
            incompatible("tuple field 1: Long in the snapshot, Boolean in the program")
        );
    }

    #[test]
    fn enums_may_grow() {
        let old = color(&["RED", "GREEN"]);
        assert_eq!(old.compatibility(&color(&["RED", "GREEN", "BLUE"])), Compatibility::AsIs);
        assert_eq!(old.compatibility(&color(&["GREEN", "RED"])), Compatibility::AfterMigration);
        assert_eq!(old.compatibility(&color(&["RED"])), incompatible("Enum<Color> has no constant GREEN any more"));
    }

    #[test]
    fn pojos_may_gain_and_lose_fields() {
        let old = pojo(&[("id", of::<i64>()), ("name", of::<String>())]);
        assert_eq!(old.compatibility(&pojo(&[("id", of::<i64>())])), Compatibility::AfterMigration);
        assert_eq!(
            old.compatibility(&pojo(&[("age", of::<i32>()), ("id", of::<i64>()), ("name", of::<String>())])),
            Compatibility::AfterMigration
        );
        assert_eq!(
            old.compatibility(&pojo(&[("id", of::<i32>())])),
            incompatible("field id: Long in the snapshot, Integer in the program")
        );
    }
}
