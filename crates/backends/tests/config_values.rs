//! How texts become values: every rule of Flink's memory sizes, durations, booleans, numbers, enums and lists.

use std::time::Duration;

use highwater_backends::{
    CheckpointingMode, ClaimMode, ConfigValue, ExternalizedRetention, MemorySize, format_duration, parse_duration,
};
use highwater_types::ErrorKind;
use proptest::prelude::*;

const KB: u64 = 1 << 10;
const MB: u64 = 1 << 20;
const GB: u64 = 1 << 30;
const TB: u64 = 1 << 40;

#[test]
fn memory_sizes() {
    for (text, bytes) in [
        ("0", 0),
        ("1234", 1234),
        ("7b", 7),
        ("7 bytes", 7),
        ("7k", 7 * KB),
        ("7 kb", 7 * KB),
        ("7kibibytes", 7 * KB),
        ("20 kb", 20480),
        ("3m", 3 * MB),
        ("3 mb", 3 * MB),
        ("3 mebibytes", 3 * MB),
        ("2g", 2 * GB),
        ("2gb", 2 * GB),
        ("2 gibibytes", 2 * GB),
        ("1t", TB),
        ("1 tb", TB),
        ("1tebibytes", TB),
        ("64 MB", 64 * MB),
        ("64Mb", 64 * MB),
        ("  64   mb\t", 64 * MB),
        ("007 kb", 7 * KB),
        ("9223372036854775807", i64::MAX as u64),
        ("8388607 tb", 8_388_607 * TB),
    ] {
        assert_eq!(text.parse::<MemorySize>().unwrap().bytes(), bytes, "{text:?}");
    }
}

#[test]
fn what_is_no_memory_size() {
    for text in [
        "",
        " ",
        "mb",
        "abc",
        "-1",
        "+1",
        "-1 mb",
        "1.5 mb",
        "1,5mb",
        "1 mb 2",
        "1 mib",
        "1 kib",
        "1 pb",
        "1 kilobytes",
        "9223372036854775808",
        "8388608 tb",
        "99999999999999999999999",
        "٣ mb",
        "0x10",
        "1e3",
        "1_000",
    ] {
        let error = text.parse::<MemorySize>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{text:?}: {error}");
    }
}

#[test]
fn memory_sizes_are_printed_in_the_largest_whole_unit() {
    for (bytes, text) in [
        (0, "0 bytes"),
        (1, "1 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 kb"),
        (20480, "20 kb"),
        (20481, "20481 bytes"),
        (5 * MB, "5 mb"),
        (3 * TB, "3 tb"),
    ] {
        assert_eq!(MemorySize::from_bytes(bytes).to_string(), text);
    }
    assert_eq!(MemorySize::from_kibibytes(20), MemorySize::from_bytes(20480));
    assert_eq!(MemorySize::from_mebibytes(u64::MAX), MemorySize::MAX);
}

#[test]
fn durations() {
    let ms = Duration::from_millis;
    let s = Duration::from_secs;
    for (text, duration) in [
        ("0", ms(0)),
        ("10", ms(10)),
        ("200ms", ms(200)),
        ("200 milli", ms(200)),
        ("200 millis", ms(200)),
        ("1 millisecond", ms(1)),
        ("2 milliseconds", ms(2)),
        ("5 s", s(5)),
        ("5sec", s(5)),
        ("5 secs", s(5)),
        ("5 SECONDS", s(5)),
        ("1 second", s(1)),
        ("10 min", s(600)),
        ("10m", s(600)),
        ("1 minute", s(60)),
        ("2 minutes", s(120)),
        ("3h", s(3 * 3600)),
        ("3 hours", s(3 * 3600)),
        ("1 hour", s(3600)),
        ("2d", s(2 * 86_400)),
        ("2 days", s(2 * 86_400)),
        ("1 day", s(86_400)),
        ("7 ns", Duration::from_nanos(7)),
        ("7 nanos", Duration::from_nanos(7)),
        ("7 nanosecond", Duration::from_nanos(7)),
        ("7us", Duration::from_micros(7)),
        ("7 µs", Duration::from_micros(7)),
        ("7 micros", Duration::from_micros(7)),
        ("7 microseconds", Duration::from_micros(7)),
        ("  5   s ", s(5)),
        ("PT5S", s(5)),
        ("pt5s", s(5)),
        ("+PT5S", s(5)),
        ("PT1.5S", ms(1500)),
        ("PT1,5S", ms(1500)),
        ("PT0.000000001S", Duration::from_nanos(1)),
        ("PT10M", s(600)),
        ("PT8H6M12.345S", s(8 * 3600 + 6 * 60) + ms(12_345)),
        ("P2D", s(2 * 86_400)),
        ("P2DT3H4M", s(2 * 86_400 + 3 * 3600 + 240)),
        ("PT1H-30M", s(1800)),
        ("-PT-6S", s(6)),
        ("PT0S", ms(0)),
        ("9223372036854775807 s", s(i64::MAX as u64)),
    ] {
        assert_eq!(parse_duration(text).unwrap(), duration, "{text:?}");
    }
}

#[test]
fn what_is_no_duration() {
    for text in [
        "",
        " ",
        "s",
        "-1",
        "-1 s",
        "+1 s",
        "1.5 s",
        "1 week",
        "1 month",
        "1 s 2",
        "1 s 2 ms",
        "forever",
        "P",
        "PT",
        "P1W",
        "P1DT",
        "PT5",
        "PT5M3H",
        "PT.5S",
        "PT-5S",
        "-PT5S",
        "PT-0.5S",
        "PT1.0123456789S",
        "PT1.-5S",
        "P1M",
        "PT--5S",
        "PT5SX",
        "9223372036854775808",
        "9223372036854775807 d",
        "PT9223372036854775807H",
        "PT99999999999999999999S",
    ] {
        let error = parse_duration(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{text:?}: {error}");
    }
}

#[test]
fn durations_are_printed_in_the_largest_whole_unit() {
    for (duration, text) in [
        (Duration::ZERO, "0 ms"),
        (Duration::from_nanos(5), "5 ns"),
        (Duration::from_micros(5), "5 µs"),
        (Duration::from_millis(200), "200 ms"),
        (Duration::from_millis(1500), "1500 ms"),
        (Duration::from_secs(5), "5 s"),
        (Duration::from_secs(600), "10 min"),
        (Duration::from_secs(7200), "2 h"),
        (Duration::from_secs(30 * 86_400), "30 d"),
    ] {
        assert_eq!(format_duration(duration), text);
    }
}

#[test]
fn booleans_are_true_and_false_in_any_case() {
    for (text, value) in [("true", true), ("TRUE", true), ("True", true), ("false", false), ("FALSE", false)] {
        assert_eq!(bool::parse(text).unwrap(), value);
    }
    for text in ["yes", "no", "1", "0", "on", "", "t", "truee", " true"] {
        assert!(bool::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn numbers_have_no_units() {
    assert_eq!(i32::parse("4096").unwrap(), 4096);
    assert_eq!(i32::parse("-5").unwrap(), -5);
    assert_eq!(i32::parse("+5").unwrap(), 5);
    for text in ["8kb", "", "1.0", "2147483648", "-2147483649", "0x10", "abc"] {
        assert!(i32::parse(text).is_err(), "{text:?}");
    }
    assert_eq!(i64::parse("-1").unwrap(), -1);
    assert!(i64::parse("9223372036854775808").is_err());
    assert!((f64::parse("1.5").unwrap() - 1.5).abs() < f64::EPSILON);
    assert!(f64::parse("1.5 s").is_err());
}

#[test]
fn enums_ignore_case_but_not_separators() {
    let retain = ExternalizedRetention::RetainOnCancellation;
    assert_eq!(ExternalizedRetention::parse("retain_on_cancellation").unwrap(), retain);
    assert_eq!(ExternalizedRetention::parse("RETAIN_ON_CANCELLATION").unwrap(), retain);
    let error = ExternalizedRetention::parse("retain-on-cancellation").unwrap_err();
    for name in ["DELETE_ON_CANCELLATION", "RETAIN_ON_CANCELLATION", "NO_EXTERNALIZED_CHECKPOINTS"] {
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(ExternalizedRetention::parse(name).unwrap().to_string(), name);
    }
    for name in ["NO_CLAIM", "CLAIM", "LEGACY"] {
        assert_eq!(ClaimMode::parse(name).unwrap().to_string(), name);
    }
    for name in ["EXACTLY_ONCE", "AT_LEAST_ONCE"] {
        assert_eq!(CheckpointingMode::parse(&name.to_lowercase()).unwrap().to_string(), name);
    }
}

#[test]
fn lists_have_a_yaml_form_and_an_older_one() {
    for (text, elements) in [
        ("", &[][..]),
        ("[]", &[]),
        ("a", &["a"]),
        ("a;b; c ", &["a", "b", "c"]),
        ("a;;b;", &["a", "b"]),
        ("'a;b';c", &["a;b", "c"]),
        ("\"a\"\"b\" ; 'c''d'", &["a\"b", "c'd"]),
        ("[a, b]", &["a", "b"]),
        ("['a, b', \"c\\nd\"]", &["a, b", "c\nd"]),
        ("[file:///a/b, s3://x]", &["file:///a/b", "s3://x"]),
        ("file:///a;s3://x", &["file:///a", "s3://x"]),
    ] {
        assert_eq!(Vec::<String>::parse(text).unwrap(), elements, "{text:?}");
    }
    for text in ["'a", "'a'b", "[a", "[a, [b]]", "[a] b", "[a, {b: c}]"] {
        assert_eq!(Vec::<String>::parse(text).unwrap_err().kind(), ErrorKind::Configuration, "{text:?}");
    }
}

#[test]
fn an_absent_value_is_one_only_for_option() {
    assert_eq!(Option::<bool>::absent(), Some(None));
    assert_eq!(bool::absent(), None);
    assert_eq!(None::<bool>.print(), None);
    assert_eq!(Some(true).print().unwrap(), "true");
}

fn near_values() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[-+]?[0-9]{0,22} ?[a-zA-Zµ]{0,12}",
        "[-+]?P?[-+0-9DTHMS.,]{0,20}",
        "\\[?['\";a-z,:{} \\[\\]&*!|>\\\\]{0,20}",
    ]
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in near_values()) {
        let _ = text.parse::<MemorySize>();
        let _ = parse_duration(&text);
        let _ = bool::parse(&text);
        let _ = i32::parse(&text);
        let _ = ClaimMode::parse(&text);
        let _ = Vec::<String>::parse(&text);
    }

    #[test]
    fn a_printed_memory_size_is_read_back(bytes in 0..=i64::MAX as u64, shift in 0_u32..50) {
        let size = MemorySize::from_bytes(bytes >> shift << (shift % 41));
        prop_assert_eq!(size.to_string().parse::<MemorySize>().unwrap(), size);
    }

    #[test]
    fn a_printed_duration_is_read_back(seconds in 0_u64..9_000_000_000, nanos in 0_u32..1_000_000_000, unit in 0_u32..3) {
        let nanos = nanos / 1000_u32.pow(unit) * 1000_u32.pow(unit);
        let duration = Duration::new(seconds, nanos);
        prop_assert_eq!(parse_duration(&format_duration(duration)).unwrap(), duration);
    }

    #[test]
    fn an_iso_duration_means_the_sum_of_its_parts(d in 0_u64..1000, h in 0_u64..100, m in 0_u64..100, s in 0_u64..100, ms in 0_u64..1000) {
        let text = format!("P{d}DT{h}H{m}M{s}.{ms:03}S");
        let expected = Duration::from_millis((((d * 24 + h) * 60 + m) * 60 + s) * 1000 + ms);
        prop_assert_eq!(parse_duration(&text).unwrap(), expected);
    }

    #[test]
    fn a_printed_list_is_read_back(elements in proptest::collection::vec(any::<String>(), 0..5)) {
        let text = elements.print().unwrap();
        prop_assert_eq!(Vec::<String>::parse(&text).unwrap(), elements, "{}", text);
    }
}
