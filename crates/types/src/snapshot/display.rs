//! The name of a type as people write it.

use std::fmt;

use super::class::{Class, Field, Shape};
use super::{Content, SerializerSnapshot};
use crate::ByteReader;

impl fmt::Display for SerializerSnapshot {
    /// For example `Long`, `Map<String, List<Long>>`, `Pojo<com.example.User>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Class::named(self.class_name).map_or(self.class_name, |class| class.label))?;
        match &self.content {
            Content::Plain(_) => match self.type_name() {
                Some(name) => write!(f, "<{name}>"),
                None => Ok(()),
            },
            Content::Named(name) | Content::Framed { type_name: name, .. } => write!(f, "<{name}>"),
            Content::Composite { nested, .. } => {
                for (i, part) in nested.iter().enumerate() {
                    write!(f, "{}{part}", if i == 0 { "<" } else { ", " })?;
                }
                f.write_str(if nested.is_empty() { "" } else { ">" })
            }
        }
    }
}

impl SerializerSnapshot {
    /// The Java class that a plain content begins with, if it does.
    pub(super) fn type_name(&self) -> Option<String> {
        match (&self.content, &Class::named(self.class_name)?.shape) {
            (Content::Plain(bytes), Shape::Plain([(_, [Field::Utf, ..]), ..])) => {
                ByteReader::new(bytes).read_utf().ok()
            }
            _ => None,
        }
    }
}
