//! Every row of Flink's path rules, as observed on Flink's own classes.

use highwater_checkpoint::{StoragePath, validate_checkpoint_dir};
use highwater_types::ErrorKind;
use proptest::prelude::*;

use crate::support::path;

#[test]
fn paths_are_taken_apart_and_printed_as_flink_does() {
    // input, scheme, authority, path, printed form
    let rows: &[(&str, Option<&str>, Option<&str>, &str, &str)] = &[
        ("file:///data/cp/", Some("file"), None, "/data/cp", "file:/data/cp"),
        ("file:/data/x//y/", Some("file"), None, "/data/x/y", "file:/data/x/y"),
        ("file://var/checkpoints/", Some("file"), Some("var"), "/checkpoints", "file://var/checkpoints"),
        ("hdfs:///flink/cp", Some("hdfs"), None, "/flink/cp", "hdfs:/flink/cp"),
        ("hdfs://nn:8020/flink", Some("hdfs"), Some("nn:8020"), "/flink", "hdfs://nn:8020/flink"),
        ("file:///a/../b", Some("file"), None, "/b", "file:/b"),
        ("file:///a/./b/.", Some("file"), None, "/a/b", "file:/a/b"),
        ("file:///..", Some("file"), None, "/..", "file:/.."),
        ("file:///data/a b", Some("file"), None, "/data/a b", "file:/data/a b"),
        ("file:///data/%41", Some("file"), None, "/data/%41", "file:/data/%41"),
        ("file:\\\\\\data\\x", Some("file"), None, "/data/x", "file:/data/x"),
        ("/data/x", None, None, "/data/x", "/data/x"),
        ("data/x", None, None, "data/x", "data/x"),
        ("C:/x", None, None, "/C:/x", "C:/x"),
        ("file:///", Some("file"), None, "/", "file:/"),
        ("file:/", Some("file"), None, "/", "file:/"),
        ("file://", Some("file"), None, "/", "file:/"),
        ("hdfs://nn", Some("hdfs"), Some("nn"), "", "hdfs://nn"),
        ("hdfs://nn/", Some("hdfs"), Some("nn"), "/", "hdfs://nn/"),
        ("s3://bucket/", Some("s3"), Some("bucket"), "/", "s3://bucket/"),
    ];
    for &(input, scheme, authority, component, printed) in rows {
        let path = StoragePath::parse(input).unwrap_or_else(|error| panic!("{input}: {error}"));
        assert_eq!(path.scheme(), scheme, "{input}");
        assert_eq!(path.authority(), authority, "{input}");
        assert_eq!(path.path(), component, "{input}");
        assert_eq!(path.to_string(), printed, "{input}");
    }
}

#[test]
fn texts_that_are_no_paths_are_refused() {
    let rows = [
        ("", "empty path string"),
        (" file:///x", "URI syntax error: illegal character in the scheme"),
        (":/x", "URI syntax error: illegal character in the scheme"),
        ("1s:/x", "URI syntax error: illegal character in the scheme"),
        ("hdfs:", "URI syntax error: the path after the scheme is missing"),
        ("foo:bar", "URI syntax error: relative path in an absolute URI"),
    ];
    for (input, words) in rows {
        let error = StoragePath::parse(input).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{input}");
        assert!(error.to_string().contains(words), "{input}: {error}");
    }
}

#[test]
fn checkpoint_directories_are_validated_in_flinks_order() {
    for good in [
        "file:///data/cp/",
        "file:/data/x//y/",
        "hdfs:///flink/cp",
        "hdfs://nn:8020/flink",
        "file:///a/../b",
        "file:///data/a b",
        "file:///data/%41",
        "s3://bucket/x",
    ] {
        validate_checkpoint_dir(&path(good)).unwrap_or_else(|error| panic!("{good}: {error}"));
    }
    let rows = [
        ("/data/x", "the scheme (hdfs://, file://, ...) is null"),
        ("data/x", "scheme"),
        ("C:/x", "scheme"),
        ("/", "scheme"), // the first rule comes first
        ("file:///", "cannot use the root directory"),
        ("file:/", "cannot use the root directory"),
        ("file:///a/..", "cannot use the root directory"),
        ("hdfs://nn", "cannot use the root directory"),
        ("hdfs://nn/", "cannot use the root directory"),
        ("s3://bucket/", "cannot use the root directory"),
        ("file:///..", "above the root"),
        ("file:///a/../../b", "above the root"),
        ("file://var/checkpoints/", "Did you forget a slash? Write 'file:///var/checkpoints'"),
    ];
    for (input, words) in rows {
        let error = validate_checkpoint_dir(&path(input)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{input}");
        assert!(error.to_string().contains(words), "{input}: {error}");
    }
}

#[test]
fn only_file_paths_are_local() {
    assert_eq!(path("file:///data/a b").to_local_path().unwrap().to_str(), Some("/data/a b"));
    assert_eq!(path("data/x").to_local_path().unwrap().to_str(), Some("data/x"));
    let error = path("hdfs://nn/x").to_local_path().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.value("scheme"), Some("hdfs"));
    assert!(path("file://var/x").to_local_path().unwrap_err().to_string().contains("Did you forget a slash?"));
}

#[test]
fn local_paths_become_absolute() {
    let here = std::env::current_dir().unwrap();
    let relative = StoragePath::from_local("some/../where").unwrap();
    assert_eq!(relative.to_local_path().unwrap(), here.join("where"));
    assert_eq!(relative.scheme(), Some("file"));
    assert_eq!(path("where").qualified().unwrap(), relative);
    assert_eq!(path("hdfs://nn/x").qualified().unwrap(), path("hdfs://nn/x"));
    assert_eq!(StoragePath::from_local("a\\b").unwrap_err().kind(), ErrorKind::Configuration);
}

#[test]
fn children_parents_and_names() {
    let base = path("file:///data/cp");
    assert_eq!(base.join("chk-1").join("_metadata").to_string(), "file:/data/cp/chk-1/_metadata");
    assert_eq!(base.join("chk-1").parent(), Some(base.clone()));
    assert_eq!(base.join("chk-1").file_name(), Some("chk-1"));
    assert_eq!(path("file:///x").parent(), Some(path("file:///")));
    assert_eq!((path("file:///").parent(), path("file:///").file_name()), (None, None));
    assert_eq!(path("hdfs://nn").join("x"), path("hdfs://nn/x"));

    assert!(base.join("a/b").is_below(&base));
    assert!(base.is_below(&path("file:///")));
    for outside in ["file:///data/cp", "file:///data/cpx", "file:///data", "hdfs:///data/cp/x", "/data/cp/x"] {
        assert!(!path(outside).is_below(&base), "{outside}");
    }
    assert!(!base.join("../x").is_below(&base));
}

proptest! {
    #[test]
    fn any_text_is_refused_or_prints_to_itself(text in "[a-c:/\\\\. %]{0,12}|\\PC{0,12}|file:/{0,4}[a./:]{0,9}") {
        if let Ok(path) = StoragePath::parse(&text) {
            let printed = path.to_string();
            if !printed.is_empty() {
                prop_assert_eq!(StoragePath::parse(&printed).unwrap(), path);
            }
        }
    }

    #[test]
    fn normalised_paths_hold_no_detours(text in "/[a-c./]{0,16}") {
        let path = StoragePath::parse(&text).unwrap();
        prop_assert!(!path.path().contains("//"), "{}", path);
        let mut segments = path.path().split('/').skip(1).skip_while(|segment| *segment == "..");
        prop_assert!(segments.all(|segment| segment != ".." && segment != "."), "{}", path);
    }
}
