//! The description of one state inside a snapshot.

use std::fmt;

use highwater_checkpoint::DistributionMode;
use highwater_types::{ByteReader, Compatibility, Error, Result, SerializerSnapshot, write_utf};

const KEYED_KIND: &str = "KEYED_STATE_TYPE";
const DISTRIBUTION: &str = "OPERATOR_STATE_DISTRIBUTION_MODE";
const KEY: &str = "KEY_SERIALIZER";
const NAMESPACE: &str = "NAMESPACE_SERIALIZER";
const VALUE: &str = "VALUE_SERIALIZER";

/// Kind of a keyed state (`StateDescriptor.Type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyedKind {
    /// Not known; fits every other kind.
    Unknown,
    /// One value.
    Value,
    /// A list.
    List,
    /// A folded value.
    Reducing,
    /// A folded value of Flink's removed `FoldingState`.
    Folding,
    /// An accumulator.
    Aggregating,
    /// A map.
    Map,
}

impl KeyedKind {
    const ALL: [Self; 7] =
        [Self::Unknown, Self::Value, Self::List, Self::Reducing, Self::Folding, Self::Aggregating, Self::Map];

    /// Flink's name, as it stands in snapshots.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Value => "VALUE",
            Self::List => "LIST",
            Self::Reducing => "REDUCING",
            Self::Folding => "FOLDING",
            Self::Aggregating => "AGGREGATING",
            Self::Map => "MAP",
        }
    }
}

impl fmt::Display for KeyedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Kind of a state (`BackendStateType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateKind {
    /// Keyed state.
    KeyValue(KeyedKind),
    /// Keyed state of Flink 2's asynchronous API; its list and map serializers are not wrapped.
    KeyValueV2(KeyedKind),
    /// Operator list state, split or union.
    OperatorList(DistributionMode),
    /// Broadcast state.
    Broadcast,
    /// Timers.
    PriorityQueue,
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyValue(kind) => kind.fmt(f),
            Self::KeyValueV2(kind) => write!(f, "{kind} of the asynchronous state API"),
            Self::OperatorList(mode) => f.write_str(mode_name(*mode)),
            Self::Broadcast => f.write_str(mode_name(DistributionMode::Broadcast)),
            Self::PriorityQueue => f.write_str("PRIORITY_QUEUE"),
        }
    }
}

/// Name, kind and serializers of one state, as the headers of keyed and of operator state hold them
/// (`StateMetaInfoSnapshot`). Whatever was read is written back byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateMeta {
    name: String,
    kind: StateKind,
    /// In the order they were read: Flink's own is a hash map's.
    options: Vec<(String, String)>,
    serializers: Vec<(String, SerializerSnapshot)>,
}

impl StateMeta {
    /// Describes a keyed state. `value` is what the store keeps: for a list the list's serializer, for a map the map's,
    /// for an aggregating state the accumulator's.
    #[must_use]
    pub fn key_value(
        name: impl Into<String>,
        kind: KeyedKind,
        namespace: SerializerSnapshot,
        value: SerializerSnapshot,
    ) -> Self {
        Self::new(name, StateKind::KeyValue(kind), vec![(VALUE, value), (NAMESPACE, namespace)])
    }

    /// Describes an operator list state: [`SplitDistribute`](DistributionMode::SplitDistribute) or
    /// [`Union`](DistributionMode::Union).
    #[must_use]
    pub fn operator_list(name: impl Into<String>, mode: DistributionMode, element: SerializerSnapshot) -> Self {
        Self::new(name, StateKind::OperatorList(mode), vec![(VALUE, element)])
    }

    /// Describes a broadcast state.
    #[must_use]
    pub fn broadcast(name: impl Into<String>, key: SerializerSnapshot, value: SerializerSnapshot) -> Self {
        Self::new(name, StateKind::Broadcast, vec![(KEY, key), (VALUE, value)])
    }

    /// Describes a queue of timers.
    #[must_use]
    pub fn priority_queue(name: impl Into<String>, element: SerializerSnapshot) -> Self {
        Self::new(name, StateKind::PriorityQueue, vec![(VALUE, element)])
    }

    fn new(name: impl Into<String>, kind: StateKind, serializers: Vec<(&str, SerializerSnapshot)>) -> Self {
        let option = match kind {
            StateKind::KeyValue(kind) | StateKind::KeyValueV2(kind) => Some((KEYED_KIND, kind.name())),
            StateKind::OperatorList(mode) => Some((DISTRIBUTION, mode_name(mode))),
            StateKind::Broadcast => Some((DISTRIBUTION, mode_name(DistributionMode::Broadcast))),
            StateKind::PriorityQueue => None,
        };
        Self {
            name: name.into(),
            kind,
            options: option.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            serializers: serializers.into_iter().map(|(role, snapshot)| (role.to_owned(), snapshot)).collect(),
        }
    }

    /// Name of the state.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kind of the state.
    #[must_use]
    pub fn kind(&self) -> StateKind {
        self.kind
    }

    /// How operator state is spread over subtasks; none for keyed state.
    #[must_use]
    pub fn distribution(&self) -> Option<DistributionMode> {
        match self.kind {
            StateKind::OperatorList(mode) => Some(mode),
            StateKind::Broadcast => Some(DistributionMode::Broadcast),
            StateKind::KeyValue(_) | StateKind::KeyValueV2(_) | StateKind::PriorityQueue => None,
        }
    }

    /// Serializer of the namespace; keyed state has one.
    #[must_use]
    pub fn namespace_serializer(&self) -> Option<&SerializerSnapshot> {
        self.serializer(NAMESPACE)
    }

    /// Serializer of the value, element or accumulator.
    #[must_use]
    pub fn value_serializer(&self) -> Option<&SerializerSnapshot> {
        self.serializer(VALUE)
    }

    /// Serializer of the map key; broadcast state has one.
    #[must_use]
    pub fn key_serializer(&self) -> Option<&SerializerSnapshot> {
        self.serializer(KEY)
    }

    fn serializer(&self, role: &str) -> Option<&SerializerSnapshot> {
        self.serializers.iter().find(|(r, _)| r == role).map(|(_, snapshot)| snapshot)
    }

    /// Appends the description.
    ///
    /// # Errors
    /// A name above 65535 bytes, or a serializer that cannot be written.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<()> {
        let code: i32 = match self.kind {
            StateKind::KeyValue(_) => 0,
            StateKind::OperatorList(_) => 1,
            StateKind::Broadcast => 2,
            StateKind::PriorityQueue => 3,
            StateKind::KeyValueV2(_) => 4,
        };
        write_utf(&self.name, out)?;
        out.extend_from_slice(&code.to_be_bytes());
        write_count(self.options.len(), out);
        for (key, value) in &self.options {
            write_utf(key, out)?;
            write_utf(value, out)?;
        }
        write_count(self.serializers.len(), out);
        for (role, snapshot) in &self.serializers {
            write_utf(role, out)?;
            snapshot.write_proxy(out)?;
        }
        Ok(())
    }

    /// Reads a description.
    ///
    /// # Errors
    /// `Corrupt` for damage, `Unsupported` for a kind or serializer that Highwater does not know.
    pub fn read(input: &mut ByteReader<'_>) -> Result<Self> {
        let name = input.read_utf()?;
        Self::read_named(input, &name).map_err(|error| error.with("state", &name))
    }

    fn read_named(input: &mut ByteReader<'_>, name: &str) -> Result<Self> {
        let offset = input.position();
        let code = input.read_i32()?;
        let options = read_pairs(input, 4, |input| input.read_utf())?;
        let serializers = read_pairs(input, 12, SerializerSnapshot::read_proxy)?;
        let option = |wanted: &str| options.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.as_str());
        let kind = match code {
            0 => StateKind::KeyValue(keyed_kind(option(KEYED_KIND))?),
            1 => StateKind::OperatorList(mode(option(DISTRIBUTION))?),
            2 => StateKind::Broadcast,
            3 => StateKind::PriorityQueue,
            4 => StateKind::KeyValueV2(keyed_kind(option(KEYED_KIND))?),
            _ => {
                return Err(Error::corrupt("there is no such kind of state")
                    .with("offset", offset)
                    .with("expected", "0 to 4")
                    .with("found", code));
            }
        };
        let meta = Self { name: name.to_owned(), kind, options, serializers };
        meta.check_complete()?;
        Ok(meta)
    }

    /// Every kind needs its serializers.
    fn check_complete(&self) -> Result<()> {
        let roles: &[&str] = match self.kind {
            StateKind::KeyValue(_) | StateKind::KeyValueV2(_) => &[NAMESPACE, VALUE],
            StateKind::OperatorList(_) | StateKind::PriorityQueue => &[VALUE],
            StateKind::Broadcast => &[KEY, VALUE],
        };
        match roles.iter().find(|role| self.serializer(role).is_none()) {
            None => Ok(()),
            Some(role) => Err(Error::corrupt("the description of a state lacks a serializer").with("expected", role)),
        }
    }

    /// Appends the number of states as two bytes and their descriptions.
    pub(crate) fn write_all<'a>(metas: impl ExactSizeIterator<Item = &'a Self>, out: &mut Vec<u8>) -> Result<()> {
        let Ok(count) = i16::try_from(metas.len()) else {
            return Err(Error::program("one operator cannot have more than 32767 states").with("found", metas.len()));
        };
        out.extend_from_slice(&count.to_be_bytes());
        metas.into_iter().try_for_each(|meta| meta.write(out))
    }

    /// Reads what [`write_all`](Self::write_all) wrote.
    pub(crate) fn read_all(input: &mut ByteReader<'_>) -> Result<Vec<Self>> {
        let offset = input.position();
        let count = input.read_i16()?;
        if count < 0 {
            return Err(Error::corrupt("a negative number of states").with("offset", offset).with("found", count));
        }
        (0..count).map(|_| Self::read(input)).collect()
    }

    /// Whether state described by `self`, as restored, can serve a program that registers it as `new`.
    ///
    /// The answer is never [`Compatibility::Incompatible`]: that is the error.
    ///
    /// # Errors
    /// `Incompatible`, in this order: another sort of state, another namespace serializer, another kind, a value
    /// serializer (or map key serializer) that does not fit.
    pub fn check_compatible(&self, new: &Self, operator: &str) -> Result<Compatibility> {
        self.check(new).map_err(|error| error.with("operator", operator).with("state", &self.name))
    }

    fn check(&self, new: &Self) -> Result<Compatibility> {
        if self.name != new.name {
            return Err(Error::internal("two different states were compared").with("found", &new.name));
        }
        match (self.kind, new.kind) {
            (StateKind::KeyValue(old), StateKind::KeyValue(kind))
            | (StateKind::KeyValueV2(old), StateKind::KeyValueV2(kind)) => {
                self.unchanged(new, NAMESPACE, "the new namespace serializer must be compatible")?;
                if old != kind && old != KeyedKind::Unknown && kind != KeyedKind::Unknown {
                    return Err(differ("Incompatible key/value state types", old, kind));
                }
                self.value_compatibility(new, old == KeyedKind::Map || kind == KeyedKind::Map)
            }
            (StateKind::OperatorList(old), StateKind::OperatorList(mode)) if old == mode => self.readable(new, VALUE),
            (StateKind::Broadcast, StateKind::Broadcast) => {
                let (key, value) = (self.readable(new, KEY)?, self.readable(new, VALUE)?);
                Ok(if key == Compatibility::AsIs { value } else { key })
            }
            (old @ (StateKind::OperatorList(_) | StateKind::Broadcast), kind) => {
                Err(differ("Incompatible state assignment modes", old, kind))
            }
            (StateKind::PriorityQueue, StateKind::PriorityQueue) => {
                self.unchanged(new, VALUE, "the new timer serializer must be compatible")?;
                Ok(Compatibility::AsIs)
            }
            (old, kind) => Err(differ("Incompatible key/value state types", old, kind)),
        }
    }

    /// The value may evolve; a map's key may not, because the key decides where an entry is kept.
    fn value_compatibility(&self, new: &Self, is_map: bool) -> Result<Compatibility> {
        let compatibility = self.readable(new, VALUE)?;
        let changed_key = |(old, new): (&SerializerSnapshot, &SerializerSnapshot)| {
            SerializerSnapshot::compatibility(old, new) != Compatibility::AsIs
        };
        if is_map && self.map_key().zip(new.map_key()).is_some_and(changed_key) {
            return Err(self.mismatch(
                new,
                VALUE,
                "the key of a map state cannot be migrated, only its value can: register the key's earlier serializer",
            ));
        }
        Ok(compatibility)
    }

    fn map_key(&self) -> Option<&SerializerSnapshot> {
        self.serializer(VALUE).and_then(|map| map.nested().first())
    }

    fn unchanged(&self, new: &Self, role: &str, rule: &str) -> Result<()> {
        match self.compatibility(new, role)? {
            Compatibility::AsIs => Ok(()),
            Compatibility::AfterMigration => Err(self.mismatch(new, role, rule)),
            Compatibility::Incompatible(why) => Err(self.mismatch(new, role, &format!("{rule}: {why}"))),
        }
    }

    fn readable(&self, new: &Self, role: &str) -> Result<Compatibility> {
        match self.compatibility(new, role)? {
            Compatibility::Incompatible(why) => {
                let rule = if role == KEY { "the new key serializer" } else { "the new state serializer" };
                let cure = "register the earlier type, or give the new state another name";
                Err(self.mismatch(new, role, &format!("{rule} must not be incompatible: {why}; {cure}")))
            }
            readable => Ok(readable),
        }
    }

    fn compatibility(&self, new: &Self, role: &str) -> Result<Compatibility> {
        match (self.serializer(role), new.serializer(role)) {
            (Some(old), Some(new)) => Ok(SerializerSnapshot::compatibility(old, new)),
            _ => Err(Error::internal("a serializer to compare is missing").with("expected", role)),
        }
    }

    #[cold]
    fn mismatch(&self, new: &Self, role: &str, sentence: &str) -> Error {
        let text = |meta: &Self| meta.serializer(role).map(ToString::to_string).unwrap_or_default();
        Error::incompatible(sentence).with("expected", text(self)).with("found", text(new))
    }
}

#[cold]
fn differ(what: &str, old: impl fmt::Display, new: impl fmt::Display) -> Error {
    Error::incompatible(format!("{what}. Was [{old}], registered with [{new}]"))
        .with("expected", old)
        .with("found", new)
}

fn mode_name(mode: DistributionMode) -> &'static str {
    match mode {
        DistributionMode::SplitDistribute => "SPLIT_DISTRIBUTE",
        DistributionMode::Union => "UNION",
        DistributionMode::Broadcast => "BROADCAST",
    }
}

fn keyed_kind(name: Option<&str>) -> Result<KeyedKind> {
    let found = name.unwrap_or("none");
    KeyedKind::ALL.into_iter().find(|kind| kind.name() == found).ok_or_else(|| {
        Error::corrupt("a keyed state is of no kind that Flink has").with("expected", KEYED_KIND).with("found", found)
    })
}

/// The mode of an operator list; [`DistributionMode::Broadcast`] is not one.
fn mode(name: Option<&str>) -> Result<DistributionMode> {
    let found = name.unwrap_or("none");
    [DistributionMode::SplitDistribute, DistributionMode::Union]
        .into_iter()
        .find(|m| mode_name(*m) == found)
        .ok_or_else(|| {
            Error::corrupt("an operator list state is spread in no way that Flink has")
                .with("expected", "SPLIT_DISTRIBUTE or UNION")
                .with("found", found)
        })
}

/// The counts of a description are its own, a handful, or were bounded when it was read.
fn write_count(count: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&i32::try_from(count).unwrap_or(i32::MAX).to_be_bytes());
}

fn read_pairs<V>(
    input: &mut ByteReader<'_>,
    min_size: usize,
    read: impl Fn(&mut ByteReader<'_>) -> Result<V>,
) -> Result<Vec<(String, V)>> {
    let count = input.read_count(min_size)?;
    (0..count).map(|_| Ok((input.read_utf()?, read(input)?))).collect()
}
