//! Descriptions of states: there and back, and which restored state fits which program.

use highwater_checkpoint::DistributionMode;
use highwater_state::{KeyedHeader, KeyedKind, StateKind, StateMeta};
use highwater_types::{ByteReader, Compatibility, ErrorKind, SerializerSnapshot, TimeWindow, VoidNamespace};

use crate::support::{header, snapshot};

const KINDS: [KeyedKind; 7] = [
    KeyedKind::Unknown,
    KeyedKind::Value,
    KeyedKind::List,
    KeyedKind::Reducing,
    KeyedKind::Folding,
    KeyedKind::Aggregating,
    KeyedKind::Map,
];

fn keyed(kind: KeyedKind, value: SerializerSnapshot) -> StateMeta {
    StateMeta::key_value("s", kind, snapshot::<VoidNamespace>(), value)
}

fn map(key: SerializerSnapshot, value: SerializerSnapshot) -> StateMeta {
    keyed(KeyedKind::Map, SerializerSnapshot::map(key, value))
}

fn list(mode: DistributionMode, element: SerializerSnapshot) -> StateMeta {
    StateMeta::operator_list("s", mode, element)
}

#[test]
fn every_kind_is_written_and_read() {
    let mut metas: Vec<_> = KINDS.iter().map(|kind| keyed(*kind, snapshot::<i64>())).collect();
    metas.push(map(snapshot::<String>(), snapshot::<i64>()));
    metas.push(list(DistributionMode::SplitDistribute, snapshot::<String>()));
    metas.push(list(DistributionMode::Union, snapshot::<Vec<u8>>()));
    metas.push(StateMeta::broadcast("s", snapshot::<String>(), snapshot::<bool>()));
    let timer = SerializerSnapshot::timer(snapshot::<i64>(), snapshot::<TimeWindow>());
    metas.push(StateMeta::priority_queue("_timer_state/event_user-timers", timer));
    for meta in metas {
        let mut bytes = Vec::new();
        meta.write(&mut bytes).unwrap();
        let mut input = ByteReader::new(&bytes);
        assert_eq!(StateMeta::read(&mut input).unwrap(), meta);
        assert!(input.is_empty());
    }
}

/// Flink's own order of serializers, options of later releases, and asynchronous state survive.
#[test]
fn what_is_read_is_written_back() {
    let mut bytes = Vec::new();
    keyed(KeyedKind::Map, snapshot::<i64>()).write(&mut bytes).unwrap();
    // The code of asynchronous state, and one more option.
    bytes[6] = 4;
    bytes[10] = 2;
    bytes.splice(11..11, [0, 1, b'X', 0, 1, b'Y']);
    let meta = StateMeta::read(&mut ByteReader::new(&bytes)).unwrap();
    assert_eq!(meta.kind(), StateKind::KeyValueV2(KeyedKind::Map));
    let mut written = Vec::new();
    meta.write(&mut written).unwrap();
    assert_eq!(written, bytes);
    // It fits itself, as one subtask's state fits another's, but not the state of the plain API.
    assert_eq!(meta.check_compatible(&meta, "op").unwrap(), Compatibility::AsIs);
    let error = meta.check_compatible(&keyed(KeyedKind::Map, snapshot::<i64>()), "op").unwrap_err();
    assert_eq!(error.value("expected"), Some("MAP of the asynchronous state API"));
}

#[test]
fn descriptions_that_make_no_sense_are_corrupt() {
    let mut good = Vec::new();
    keyed(KeyedKind::Value, snapshot::<i64>()).write(&mut good).unwrap();
    let error = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        let error = StateMeta::read(&mut ByteReader::new(&bytes)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        error
    };
    let e = error(&|bytes| bytes[6] = 5);
    assert_eq!((e.value("found"), e.value("state")), (Some("5"), Some("s")));
    error(&|bytes| bytes[3] = 0xff);
    // The option's name, its value, the role of a serializer.
    error(&|bytes| bytes[13] = b'X');
    let e = error(&|bytes| bytes[31] = b'X');
    assert!(e.value("found").is_some_and(|found| found.starts_with('X')), "{e}");
    let role = good.windows(16).position(|window| window == b"VALUE_SERIALIZER").unwrap();
    let e = error(&|bytes| bytes[role] = b'W');
    assert_eq!(e.value("expected"), Some("VALUE_SERIALIZER"));
}

#[test]
fn a_header_holds_at_most_32767_states() {
    let one = header(1, false);
    let states = vec![one.states[0].clone(); 32768];
    let mut many = KeyedHeader { states, ..one };
    let error = many.write(&mut Vec::new()).unwrap_err();
    assert_eq!((error.kind(), error.value("found")), (ErrorKind::Program, Some("32768")));
    many.states.pop();
    let mut bytes = Vec::new();
    many.write(&mut bytes).unwrap();
    assert_eq!(KeyedHeader::read(&mut ByteReader::new(&bytes)).unwrap(), many);
}

#[test]
fn state_that_fits_is_taken_as_it_is() {
    let fits = |old: StateMeta, new: StateMeta| {
        assert_eq!(old.check_compatible(&new, "op").unwrap(), Compatibility::AsIs, "{old:?}");
    };
    for kind in KINDS {
        fits(keyed(kind, snapshot::<i64>()), keyed(kind, snapshot::<i64>()));
        fits(keyed(KeyedKind::Unknown, snapshot::<i64>()), keyed(kind, snapshot::<i64>()));
    }
    fits(map(snapshot::<String>(), snapshot::<i64>()), map(snapshot::<String>(), snapshot::<i64>()));
    let union = || list(DistributionMode::Union, snapshot::<String>());
    fits(union(), union());
    let broadcast = || StateMeta::broadcast("s", snapshot::<String>(), snapshot::<bool>());
    fits(broadcast(), broadcast());
}

/// Kind, sentence, what was expected, what was found; operator and state are always named.
#[test]
fn state_that_does_not_fit_is_refused_in_order() {
    let refused = |old: StateMeta, new: StateMeta, sentence: &str, expected: &str, found: &str| {
        let error = old.check_compatible(&new, "counter").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
        assert!(error.message().contains(sentence), "{error}");
        assert_eq!((error.value("operator"), error.value("state")), (Some("counter"), Some("s")));
        assert_eq!((error.value("expected"), error.value("found")), (Some(expected), Some(found)), "{error}");
        assert!(!error.message().contains("expected") && !error.message().contains("found"), "said twice: {error}");
    };
    let in_windows = |kind| StateMeta::key_value("s", kind, snapshot::<TimeWindow>(), snapshot::<String>());
    // Everything differs: the namespace is asked first.
    refused(
        keyed(KeyedKind::Value, snapshot::<i64>()),
        in_windows(KeyedKind::List),
        "the new namespace serializer must be compatible",
        "VoidNamespace",
        "TimeWindow",
    );
    // Then the kind.
    refused(
        keyed(KeyedKind::Value, snapshot::<i64>()),
        keyed(KeyedKind::Reducing, snapshot::<String>()),
        "Incompatible key/value state types. Was [VALUE], registered with [REDUCING]",
        "VALUE",
        "REDUCING",
    );
    // Then the value.
    refused(
        keyed(KeyedKind::Value, snapshot::<i64>()),
        keyed(KeyedKind::Value, snapshot::<String>()),
        "the new state serializer must not be incompatible",
        "Long",
        "String",
    );
    refused(
        map(snapshot::<String>(), snapshot::<i64>()),
        map(snapshot::<i64>(), snapshot::<i64>()),
        "must not be incompatible",
        "Map<String, Long>",
        "Map<Long, Long>",
    );
    refused(
        list(DistributionMode::Union, snapshot::<String>()),
        list(DistributionMode::SplitDistribute, snapshot::<String>()),
        "Incompatible state assignment modes. Was [UNION], registered with [SPLIT_DISTRIBUTE]",
        "UNION",
        "SPLIT_DISTRIBUTE",
    );
    refused(
        StateMeta::broadcast("s", snapshot::<String>(), snapshot::<i64>()),
        list(DistributionMode::Union, snapshot::<i64>()),
        "Incompatible state assignment modes. Was [BROADCAST], registered with [UNION]",
        "BROADCAST",
        "UNION",
    );
    refused(
        StateMeta::broadcast("s", snapshot::<String>(), snapshot::<i64>()),
        StateMeta::broadcast("s", snapshot::<i64>(), snapshot::<i64>()),
        "the new key serializer must not be incompatible",
        "String",
        "Long",
    );
    let timers = |key| StateMeta::priority_queue("s", SerializerSnapshot::timer(key, snapshot::<VoidNamespace>()));
    refused(
        timers(snapshot::<i64>()),
        keyed(KeyedKind::Value, snapshot::<i64>()),
        "Was [PRIORITY_QUEUE], registered with [VALUE]",
        "PRIORITY_QUEUE",
        "VALUE",
    );
    assert_eq!(
        timers(snapshot::<i64>()).check_compatible(&timers(snapshot::<String>()), "op").unwrap_err().kind(),
        ErrorKind::Incompatible
    );
}

/// What was expected and what was found used to be the one in the sentence and the other in the values behind it, and a
/// type under a new name was refused without a word of the way out.
#[test]
fn an_error_says_the_same_in_its_sentence_and_its_values() {
    let refused = |old, new| keyed(KeyedKind::Value, old).check_compatible(&keyed(KeyedKind::Value, new), "counter");
    let error = refused(SerializerSnapshot::ttl(snapshot::<i64>()), snapshot::<String>()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the new state serializer must not be incompatible: Ttl<Long, Long> in the snapshot, String in the program; \
         register the earlier type, or give the new state another name (expected: Ttl<Long, Long>, found: String, \
         operator: counter, state: s)"
    );
    let error = refused(SerializerSnapshot::custom("Old"), SerializerSnapshot::custom("New")).unwrap_err();
    assert!(error.message().contains("accepting([\"Old\"])"), "{error}");
}

#[test]
fn different_states_are_not_compared() {
    let other = StateMeta::key_value("t", KeyedKind::Value, snapshot::<VoidNamespace>(), snapshot::<i64>());
    let error = keyed(KeyedKind::Value, snapshot::<i64>()).check_compatible(&other, "op").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

/// The snapshot of a Java enum with these constants.
fn enumeration(constants: &[&str]) -> SerializerSnapshot {
    let utf = |text: &str| [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
    let class = "org.apache.flink.api.common.typeutils.base.EnumSerializer$EnumSerializerSnapshot";
    let mut bytes = [utf(class), vec![0, 0, 0, 3], utf("Color")].concat();
    bytes.extend_from_slice(&(constants.len() as i32).to_be_bytes());
    constants.iter().for_each(|constant| bytes.extend(utf(constant)));
    SerializerSnapshot::read_versioned(&mut ByteReader::new(&bytes)).unwrap()
}

/// Values and map values may be migrated; namespaces and map keys decide where an entry is kept, so they may not.
#[test]
fn only_values_migrate() {
    let (old, new) = (|| enumeration(&["RED", "GREEN"]), || enumeration(&["GREEN", "RED"]));
    let check = |old: StateMeta, new: StateMeta| old.check_compatible(&new, "op");
    let migrates = |old, new| assert_eq!(check(old, new).unwrap(), Compatibility::AfterMigration);
    let refused = |old, new, sentence| {
        let error = check(old, new).unwrap_err();
        assert!(error.message().contains(sentence), "{error}");
        assert_eq!(error.kind(), ErrorKind::Incompatible);
    };
    migrates(keyed(KeyedKind::Value, old()), keyed(KeyedKind::Value, new()));
    migrates(map(snapshot::<i64>(), old()), map(snapshot::<i64>(), new()));
    refused(map(old(), snapshot::<i64>()), map(new(), snapshot::<i64>()), "key of a map state cannot be migrated");
    let in_namespace = |namespace| StateMeta::key_value("s", KeyedKind::Value, namespace, snapshot::<i64>());
    refused(in_namespace(old()), in_namespace(new()), "new namespace serializer must be compatible");
    let mode = DistributionMode::Union;
    migrates(list(mode, old()), list(mode, new()));
    let broadcast = |key, value| StateMeta::broadcast("s", key, value);
    migrates(broadcast(old(), snapshot::<i64>()), broadcast(new(), snapshot::<i64>()));
    migrates(broadcast(snapshot::<i64>(), old()), broadcast(snapshot::<i64>(), new()));
}
