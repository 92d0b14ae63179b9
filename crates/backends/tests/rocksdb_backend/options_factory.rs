//! Options factories by name.

use std::sync::Arc;

use highwater_backends::{Configuration, KeyedStore, StateBackend};
use highwater_types::ErrorKind;

use crate::{Counting, FACTORY, context, embedded, factory_of, registry};

#[test]
fn options_factories_are_found_by_name() {
    let none: &[(&str, &str)] = &[];
    assert_eq!(factory_of(&embedded(), none).unwrap(), None);
    assert_eq!(factory_of(&embedded().with_options("plain"), none).unwrap().as_deref(), Some("plain"));
    assert_eq!(factory_of(&embedded(), &[(FACTORY, "plain")]).unwrap().as_deref(), Some("plain"));
    // The application's word holds, and a configurable factory sees the configuration either way.
    let keys = [(FACTORY, "plain"), ("my.own.key", "7")];
    let found = factory_of(&embedded().with_options("configurable"), &keys).unwrap();
    assert_eq!(found.as_deref(), Some("configurable 7"));
    let keys = [(FACTORY, "configurable"), ("my.own.key", "8")];
    assert_eq!(factory_of(&embedded(), &keys).unwrap().as_deref(), Some("configurable 8"));
    let given = embedded().with_options_factory(Counting::new("given"));
    assert_eq!(given.get_options(), Some("given"));
    assert_eq!(factory_of(&given, &keys).unwrap().as_deref(), Some("given"));
    // Flink's own factory applies the keys one by one, which is done in any case.
    let default = "org.apache.flink.contrib.streaming.state.DefaultConfigurableOptionsFactory";
    assert_eq!(factory_of(&embedded(), &[(FACTORY, default)]).unwrap(), None);
}

#[test]
fn an_unknown_options_factory_lists_what_exists() {
    for (backend, entries) in
        [(embedded().with_options("plan"), &[] as &[_]), (embedded(), &[(FACTORY, "plan")] as &[_])]
    {
        let error = factory_of(&backend, entries).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.message().contains("Cannot find configured options factory"), "{error}");
        assert_eq!(error.value("known"), Some("configurable, plain"));
        assert_eq!(error.value("did you mean"), Some("plain"));
        assert_eq!(error.value("key"), (!entries.is_empty()).then_some(FACTORY));
    }
    let error = factory_of(&embedded().with_options("configurable"), &[]).unwrap_err();
    assert_eq!((error.kind(), error.value("name")), (ErrorKind::Configuration, Some("configurable")));
    assert!(error.to_string().contains("my.own.key is missing"), "{error}");
    // Without a registry nothing is known by name; the store of such a backend says so.
    let unresolved = embedded().with_options("plain");
    assert!(unresolved.configure(&Configuration::new()).is_err());
    let KeyedStore::Bytes(stores) = unresolved.keyed_store() else { panic!("RocksDB is a byte store") };
    let error = stores.create(&context()).map(drop).unwrap_err();
    assert!(error.to_string().contains("Cannot find configured options factory"), "{error}");
}

#[test]
fn a_name_is_registered_once() {
    let mut registry = registry();
    let any = |_: &Configuration| Ok(Arc::new(Counting::new("any")) as _);
    for name in ["plain", "", " ", "org.apache.flink.contrib.streaming.state.DefaultConfigurableOptionsFactory"] {
        let error = registry.register_rocksdb_options_factory(name, any).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Program);
    }
}
