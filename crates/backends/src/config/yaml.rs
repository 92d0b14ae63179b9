//! `config.yaml`: YAML 1.2 flattened to keys with dots, every scalar kept as it was written.

use std::collections::BTreeMap;

use highwater_types::{Error, Result};
use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};

use super::list;

/// Levels of nesting that are followed; Flink's deepest key has eight parts.
const MAX_DEPTH: usize = 32;

/// Reads a document: a mapping, nested mappings joined by dots, lists as one line in flow form. A key without a value
/// is not set. A key that stands twice and an alias are errors.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, String>> {
    let mut reader = Reader::new(text);
    let mut entries = BTreeMap::new();
    match reader.root()? {
        Event::StreamEnd => return Ok(entries),
        Event::Scalar(text, ScalarStyle::Plain, ..) if is_null(&text) => {}
        Event::MappingStart(..) => reader.mapping("", &mut entries, 0)?,
        _ => {
            return Err(reader
                .error("a configuration file holds keys and values, such as `execution.checkpointing.interval: 5 s`"));
        }
    }
    reader.end()?;
    Ok(entries)
}

/// Reads a text that is one list of scalars.
pub(super) fn flow_list(text: &str) -> Result<Vec<String>> {
    let mut reader = Reader::new(text);
    let Event::SequenceStart(..) = reader.root()? else {
        return Err(reader.error("expected a list, such as [a, b]"));
    };
    let mut elements = Vec::new();
    loop {
        match reader.next()? {
            Event::Scalar(text, ..) => elements.push(text.into_owned()),
            Event::SequenceEnd => break,
            _ => return Err(reader.error("the elements of this list must be plain values")),
        }
    }
    reader.end()?;
    Ok(elements)
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// The parser's events and the line of the last one.
struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    line: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self { parser: Parser::new_from_str(text), line: 1 }
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error::configuration(message).with("line", self.line)
    }

    fn next(&mut self) -> Result<Event<'a>> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(cause)) => Err(Error::configuration("this is not YAML")
                .with("line", cause.marker().line())
                .because(cause.info().to_owned())),
            None => Ok(Event::StreamEnd),
        }
    }

    /// The first event of the first document, or the end of the stream.
    fn root(&mut self) -> Result<Event<'a>> {
        loop {
            match self.next()? {
                Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
                event => return Ok(event),
            }
        }
    }

    /// Nothing but the end may follow.
    fn end(&mut self) -> Result<()> {
        loop {
            match self.next()? {
                Event::DocumentEnd | Event::Nothing => {}
                Event::StreamEnd => return Ok(()),
                _ => return Err(self.error("a configuration file is one YAML document")),
            }
        }
    }

    fn check_depth(&self, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(self.error("a configuration file is not nested this deep").with("limit", MAX_DEPTH));
        }
        Ok(())
    }

    /// The rest of a mapping whose start was read; its keys go below `prefix`.
    fn mapping(&mut self, prefix: &str, entries: &mut BTreeMap<String, String>, depth: usize) -> Result<()> {
        self.check_depth(depth)?;
        loop {
            let key = match self.next()? {
                Event::MappingEnd => return Ok(()),
                Event::Scalar(key, ..) if !key.is_empty() => key,
                _ => return Err(self.error("a key must be a plain text")),
            };
            let key = if prefix.is_empty() { key.into_owned() } else { format!("{prefix}.{key}") };
            match self.next()? {
                Event::MappingStart(..) => self.mapping(&key, entries, depth + 1)?,
                Event::Scalar(text, ScalarStyle::Plain, ..) if is_null(&text) => {
                    tracing::warn!(key, line = self.line, "the key has no value and counts as not set");
                }
                event => {
                    let text = self.value(event, depth + 1, false)?;
                    if entries.insert(key.clone(), text).is_some() {
                        return Err(self.error("a key is set twice").with("key", key));
                    }
                }
            }
        }
    }

    /// A value in one line. Inside a list, scalars are quoted where needed.
    fn value(&mut self, event: Event<'a>, depth: usize, in_list: bool) -> Result<String> {
        self.check_depth(depth)?;
        match event {
            Event::Scalar(text, ..) if in_list => Ok(list::scalar(&text)),
            Event::Scalar(text, ..) => Ok(text.into_owned()),
            Event::SequenceStart(..) => {
                let mut elements = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => return Ok(format!("[{}]", elements.join(", "))),
                        event => elements.push(self.value(event, depth + 1, true)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut pairs = Vec::new();
                loop {
                    let key = match self.next()? {
                        Event::MappingEnd => return Ok(format!("{{{}}}", pairs.join(", "))),
                        event => self.value(event, depth + 1, true)?,
                    };
                    let event = self.next()?;
                    pairs.push(format!("{key}: {}", self.value(event, depth + 1, true)?));
                }
            }
            Event::Alias(_) => Err(self.error("aliases (*name) are not read: write the value out")),
            _ => Err(Error::internal("the YAML parser broke its order of events").with("line", self.line)),
        }
    }
}
