//! `config.yaml` and `flink-conf.yaml` as they lie on disk.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;

use highwater_backends::{ConfigValue, Configuration, options};
use highwater_types::{Error, ErrorKind};
use proptest::prelude::*;
use tempfile::tempdir;

fn yaml(text: &str) -> Vec<(String, String)> {
    entries(&Configuration::from_yaml(text).unwrap())
}

fn flink_conf(text: &str) -> Vec<(String, String)> {
    entries(&Configuration::from_flink_conf(text).unwrap())
}

fn entries(configuration: &Configuration) -> Vec<(String, String)> {
    configuration.iter().map(|(key, text)| (key.to_owned(), text.to_owned())).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
}

fn load(name: &str, bytes: impl AsRef<[u8]>) -> Result<Configuration, Error> {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join(name), bytes).unwrap();
    Configuration::load(directory.path().join(name))
}

#[test]
fn yaml_nests_flattens_and_keeps_scalars_as_written() {
    let text = "
# a comment
state.backend.type: hashmap          # flat keys
execution:
  checkpointing:
    interval: 5 s
    dir: 'file:///data/#1'           # quoted
    timeout: \"10 min\"
execution.checkpointing.num-retained: 3
a: { b: 012, c: 1.50, d: no, e: 0x1F, f: TRUE }
empty: \"\"
not-set:
also-not-set: ~
and.null: null
quoted-null: 'null'
block: |
  two
  lines
";
    let expected = [
        ("a.b", "012"),
        ("a.c", "1.50"),
        ("a.d", "no"),
        ("a.e", "0x1F"),
        ("a.f", "TRUE"),
        ("block", "two\nlines\n"),
        ("empty", ""),
        ("execution.checkpointing.dir", "file:///data/#1"),
        ("execution.checkpointing.interval", "5 s"),
        ("execution.checkpointing.num-retained", "3"),
        ("execution.checkpointing.timeout", "10 min"),
        ("quoted-null", "null"),
        ("state.backend.type", "hashmap"),
    ];
    assert_eq!(yaml(text), pairs(&expected));
}

#[test]
fn yaml_lists_become_one_line() {
    let text = "
dirs: [/a, /b]
block:
  - file:///x
  - 'with, comma'
  - [1, 2]
  - {k: v}
none: []
";
    let expected = [("block", "[file:///x, \"with, comma\", [1, 2], {k: v}]"), ("dirs", "[/a, /b]"), ("none", "[]")];
    assert_eq!(yaml(text), pairs(&expected));
    let configuration = Configuration::from_yaml(text).unwrap();
    assert_eq!(Vec::<String>::parse(configuration.raw("dirs").unwrap()).unwrap(), ["/a", "/b"]);
}

#[test]
fn an_empty_yaml_file_sets_nothing() {
    for text in ["", "\n", "# only a comment\n", "---\n", "~", "{}", "---\n...\n"] {
        assert_eq!(yaml(text), [], "{text:?}");
    }
}

#[test]
fn what_is_no_configuration_in_yaml_is_an_error_with_its_line() {
    for (text, line, token) in [
        ("- a\n- b\n", "1", "keys and values"),
        ("just text", "1", "keys and values"),
        ("a: 1\nb: [1, 2\n", "", "not YAML"),
        ("a: b: c\n", "1", "not YAML"),
        ("a: 1\n\ta: 2\n", "", "not YAML"),
        ("a: 1\n---\nb: 2\n", "2", "one YAML document"),
        ("a:\n  b: 1\na.b: 2\n", "3", "twice"),
        ("a: 1\na: 2\n", "2", "twice"),
        ("a: &x 1\nb: *x\n", "2", "aliases"),
        ("[a, b]: 1\n", "1", "plain text"),
        ("'': 1\n", "1", "plain text"),
    ] {
        let error = Configuration::from_yaml(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{text:?}: {error}");
        assert!(error.message().contains(token), "{text:?}: {error}");
        assert!(line.is_empty() || error.value("line") == Some(line), "{text:?}: {error}");
    }
}

#[test]
fn yaml_that_wants_to_grow_or_dive_is_refused() {
    let mut bombs = String::from("a: &a [x, x]\n");
    for (name, before) in ('b'..='z').zip('a'..) {
        bombs.push_str(&format!("{name}: &{name} [*{before}, *{before}]\n"));
    }
    assert!(Configuration::from_yaml(&bombs).unwrap_err().message().contains("aliases"));

    let deep: String = (0..1000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(Configuration::from_yaml(&deep).unwrap_err().message().contains("deep"));
    assert!(Configuration::from_yaml(&format!("a: {}", "[".repeat(10_000))).is_err());
    assert!(Configuration::from_yaml(&format!("a: {}", "{a: ".repeat(10_000))).is_err());
}

#[test]
fn flink_conf_is_lines_of_key_and_value() {
    let text = "
# comment
state.backend: filesystem
  state.checkpoints.dir :  hdfs://nn:8020/flink # behind a value
env.java.opts: -Da: b: c
no-blank:value
just text
empty:
empty-value:  \t
: no key
quoted: \"kept\"
cut: a#b
twice: 1
twice: 2\r
nested:
  key: 1
";
    let expected = [
        ("cut", "a"),
        ("env.java.opts", "-Da: b: c"),
        ("key", "1"),
        ("quoted", "\"kept\""),
        ("state.backend", "filesystem"),
        ("state.checkpoints.dir", "hdfs://nn:8020/flink"),
        ("twice", "2"),
    ];
    assert_eq!(flink_conf(text), pairs(&expected));
}

#[test]
fn a_line_of_flink_conf_that_was_meant_for_us_is_not_skipped() {
    for text in ["\nstate.backend:filesystem", "#\nstate.checkpoints.dir = file:///x", "\nstate.backend.type=x"] {
        let error = Configuration::from_flink_conf(text).unwrap_err();
        assert_eq!((error.kind(), error.value("line")), (ErrorKind::Configuration, Some("2")), "{error}");
        assert!(error.message().contains("a colon and a blank"), "{error}");
    }
    assert_eq!(flink_conf("state.backend:\nstate.checkpoints.dir:   # not set"), []);
}

/// The keys of RocksDB were not known to be ours, so that a missing blank let the job run with RocksDB's defaults.
#[cfg(feature = "rocksdb")]
#[test]
fn a_line_of_flink_conf_that_was_meant_for_rocksdb_is_not_skipped() {
    let all = options::rocksdb::ALL.iter().chain(options::rocksdb::metrics::ALL);
    let keys: Vec<_> = all.flat_map(|option| option.keys()).collect();
    assert!(keys.len() > 40 && keys.contains(&"state.backend.incremental"), "{keys:?}");
    for key in keys {
        for line in [format!("{key}:1"), format!("{key}=1"), format!("{key} : 1").replace(": ", ":")] {
            let error = Configuration::from_flink_conf(&line).unwrap_err();
            assert_eq!(error.value("found"), Some(line.as_str()), "{error}");
            assert!(error.message().contains("a colon and a blank"), "{error}");
        }
    }
}

#[test]
fn files_are_told_apart_by_name() {
    let lines = "a: b: c\n";
    assert_eq!(load("flink-conf.yaml", lines).unwrap().raw("a"), Some("b: c"));
    let error = load("config.yaml", lines).unwrap_err();
    assert!(error.value("file").unwrap().ends_with("config.yaml"), "{error}");
    assert_eq!(load("my-job.yml", "a: {b: c}").unwrap().raw("a.b"), Some("c"));
}

#[test]
fn a_directory_gives_config_yaml_before_flink_conf() {
    let directory = tempdir().unwrap();
    let error = Configuration::load(directory.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains("config.yaml"), "{error}");

    fs::write(directory.path().join("flink-conf.yaml"), "state.backend: jobmanager\n").unwrap();
    let old = Configuration::load(directory.path()).unwrap();
    assert_eq!(old.get(&options::STATE_BACKEND).unwrap().as_deref(), Some("jobmanager"));

    fs::write(directory.path().join("config.yaml"), "state:\n  backend:\n    type: hashmap\n").unwrap();
    let new = Configuration::load(directory.path()).unwrap();
    assert_eq!(new.get(&options::STATE_BACKEND).unwrap().as_deref(), Some("hashmap"));
}

#[test]
fn a_missing_file_and_one_that_is_not_text_are_errors_with_the_file() {
    let missing = Configuration::load(Path::new("/nonexistent/config.yaml")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Configuration);
    assert_eq!(missing.value("file"), Some("/nonexistent/config.yaml"));

    let binary = load("config.yaml", [b'a', b':', 0xff, 0xfe]).unwrap_err();
    assert!(binary.message().contains("UTF-8"), "{binary}");
    assert!(binary.value("file").is_some());

    let marked = load("config.yaml", "\u{feff}a: 1\n").unwrap();
    assert_eq!(marked.raw("a"), Some("1"));
}

#[test]
fn a_huge_file_is_not_read() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let error = Configuration::load(&path).unwrap_err();
    assert!(error.message().contains("too large"), "{error}");
}

#[test]
fn an_own_key_that_does_not_exist_is_found_when_the_file_is_loaded() {
    for (name, text) in [
        ("config.yaml", "highwater:\n  memory:\n    max-state-siz: 1 mb\n"),
        ("flink-conf.yaml", "highwater.memory.max-state-siz: 1 mb\n"),
    ] {
        let error = load(name, text).unwrap_err();
        assert_eq!(error.value("did you mean"), Some("highwater.memory.max-state-size"), "{error}");
        assert!(error.value("file").unwrap().ends_with(name));
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_loader_panic(text in prop_oneof![
        any::<String>(),
        "([a-c]{1,2}:? ?[\\[\\]{}'\"&*#|>!,a-z0-9-]{0,6}\n? {0,3}){0,8}",
        "[ \t\n:,\\[\\]{}'\"&*#|>!%@`a-b?-]{0,40}",
    ]) {
        let _ = Configuration::from_yaml(&text);
        let _ = Configuration::from_flink_conf(&text);
    }

    #[test]
    fn plain_entries_are_the_same_in_both_files(entries in proptest::collection::btree_map(
        "[a-z]{1,5}(\\.[a-z]{1,5}){0,2}",
        "[a-z0-9/]{1,8}",
        0..6,
    )) {
        let nulls = ["null"];
        prop_assume!(!entries.values().any(|value| nulls.contains(&value.as_str())));
        let text: String = entries.iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
        let expected: Configuration = entries.into_iter().collect();
        prop_assert_eq!(&Configuration::from_yaml(&text).unwrap(), &expected);
        prop_assert_eq!(&Configuration::from_flink_conf(&text).unwrap(), &expected);
        prop_assert_eq!(expected.to_string(), text);
    }
}
