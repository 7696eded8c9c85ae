use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// Type, key and text of a line that is an event.
fn event(line: &str) -> (String, String, String) {
    let parsed = parse_line(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error:?}"));
    (parsed.type_name.into_owned(), parsed.record.key().into(), parsed.record.json().into())
}

/// Column and text of the refusal of a line that is none.
fn refusal(line: impl AsRef<[u8]>) -> (usize, String) {
    let error = parse_line(line.as_ref()).expect_err(&format!("{:?}", line.as_ref()));
    (error.column, error.defect.to_string())
}

const CLOUD: &str = r#"{"specversion":"1.0","id":"a","source":"s","type":"t","partitionkey":"k","data":{"n":1.10}}"#;

#[test]
fn a_cloud_event_is_kept_as_it_was_written() {
    assert_eq!(event(CLOUD), ("t".into(), "k".into(), CLOUD.into()));
}

#[test]
fn the_simple_form_is_kept_as_it_was_written() {
    let line = r#"{"type":"order.paid","key":"order-17","data":[1e400,-0.0],"more":null}"#;
    assert_eq!(event(line), ("order.paid".into(), "order-17".into(), line.into()));
    assert_eq!(event(r#"{"key":"k","type":"t"}"#).1, "k");
}

#[test]
fn source_is_the_key_of_a_cloud_event_without_partitionkey() {
    let without = r#"{"specversion":"1.0","id":"a","source":"git/nginx","type":"t","subject":"x"}"#;
    assert_eq!(event(without).1, "git/nginx");
    let null =
        r#"{"specversion":"1.0","id":"a","source":"s","type":"t","partitionkey":null,"key":"k"}"#;
    assert_eq!(event(null).1, "s");
}

#[test]
fn escapes_in_names_and_strings_are_understood() {
    let line = r#"{"\u0074ype":"a\u002fb","key":"\u00e9\n"}"#;
    assert_eq!(event(line), ("a/b".into(), "é\n".into(), line.into()));
    let version = r#"{"specversion":"1\u002e0","id":"a","source":"s","type":"t"}"#;
    assert_eq!(event(version).1, "s");
}

#[test]
fn what_surrounds_the_object_is_not_part_of_it() {
    let object = r#"{"type":"t","key":"k"}"#;
    for line in [
        format!("\u{feff}{object}"),
        format!("{object}\r"),
        format!("  \t{object} \r"),
        format!("\u{feff} {object}"),
    ] {
        assert_eq!(event(&line).2, object, "{line:?}");
    }
}

#[test]
fn extension_attributes_and_unknown_members_are_carried() {
    let line = r#"{"specversion":"1.0","id":"a","source":"s","type":"t","traceparent":"00-x","n":1,"o":{}}"#;
    assert_eq!(event(line).2, line);
}

#[test]
fn what_is_not_json_is_refused_at_its_column() {
    assert_eq!(refusal("hello"), (1, r#"not JSON: expected value, near "hello""#.into()));
    assert_eq!(
        refusal(r#"{"type":"t" "key":1}"#),
        (13, r#"not JSON: expected `,` or `}`, near "\"key\":1}""#.into())
    );
    assert_eq!(
        refusal(r#"  {"type":"t""#),
        (14, "not JSON: EOF while parsing an object, at its end".into())
    );
    assert_eq!(refusal(r#"{"type":"t","key":"k"} {}"#).0, 24);
    assert_eq!(
        refusal("{\"type\":\"\x1b[2J\",\"key\":\"k\"}"),
        (
            10,
            "not JSON: control character (\\u0000-\\u001F) found while parsing a string, \
             near \"\\u{1b}[2J\\\",\\\"key\\\":\\\"k\\\"}\""
                .into()
        )
    );
    assert!(refusal("\0").1.starts_with("not JSON: "));
    assert!(refusal(r#"{"type":"t","key":"k","n":01}"#).1.starts_with("not JSON: "));
}

#[test]
fn half_of_a_surrogate_pair_is_refused_wherever_it_stands() {
    let (column, reason) = refusal(r#"{"type":"\ud800","key":"k"}"#);
    assert_eq!(column, 10);
    assert!(
        reason.starts_with(
            "not JSON: half of a surrogate pair, which no character has, near \"\\\\ud800"
        ),
        "{reason}"
    );
    for (line, column) in [
        (r#"{"type":"t","key":"k","data":["\udc00"]}"#, 32),
        (r#"{"type":"t","key":"k","data":"\ud83d\ud83d\ude00"}"#, 31),
        (r#"{"type":"t","key":"k","data":"\\\ud83d\u0041"}"#, 33),
        // The parser itself decodes names, and says so at their end.
        (r#"{"type":"t","key":"k","\uDfFf":1}"#, 29),
        (r#"{"type":"t","key":"k","data":"\ud83d"}"#, 31),
    ] {
        assert_eq!(refusal(line).0, column, "{line}");
    }
    for line in [
        r#"{"type":"t","key":"k","data":"\ud83d\ude00\uD83D\uDE00\ud7ff\ue000"}"#,
        r#"{"type":"t","key":"k","data":"\\ud800"}"#,
    ] {
        assert_eq!(event(line).2, line);
    }
}

#[test]
fn what_is_not_utf8_is_refused_at_its_byte() {
    let (column, reason) = refusal(b"{\"type\":\"\xff\"}");
    assert_eq!(
        (column, reason.as_str()),
        (10, "invalid UTF-8: byte 0xff; convert the input to UTF-8")
    );
    assert_eq!(refusal(b"{\"type\":\"\xe2\x82").0, 10);
    // A surrogate written as three bytes, and an overlong slash.
    assert_eq!(refusal(b"\xed\xa0\x80").0, 1);
    assert_eq!(refusal(b" \xc0\xaf").0, 2);
}

#[test]
fn json_of_another_shape_is_refused() {
    for (line, found) in [
        ("[1,2]", "an array"),
        ("17", "the number 17"),
        ("null", "null"),
        (r#"  "text" "#, r#"the string "text""#),
    ] {
        let (_, reason) = refusal(line);
        assert_eq!(reason, format!("an event is a JSON object, but this is {found}"));
    }
    assert_eq!(refusal("  [1]").0, 3);
    for line in
        ["{}", r#"{"type":"t"}"#, r#"{"id":"a","source":"s","type":"t","partitionkey":"k"}"#]
    {
        assert!(refusal(line).1.starts_with("neither a CloudEvent"), "{line}");
    }
}

#[test]
fn a_missing_member_is_named() {
    for name in ["id", "source", "type"] {
        let line = CLOUD.replace(&format!("\"{name}\":"), &format!("\"{name}x\":"));
        assert_eq!(
            refusal(line).1,
            format!("\"{name}\" is missing; a CloudEvent has specversion, id, source and type")
        );
    }
    assert_eq!(
        refusal(r#"{"key":"k"}"#).1,
        "\"type\" is missing; an event without \"specversion\" has type and key"
    );
}

#[test]
fn a_member_of_the_wrong_type_is_shown_at_its_column() {
    let wrong = [
        (r#"{"type":"t","key":17}"#, 19, r#""key" must be a string, not the number 17"#),
        (r#"{"type":null,"key":"k"}"#, 9, r#""type" must be a string, not null"#),
        (r#"{"type":{"a":1},"key":"k"}"#, 9, r#""type" must be a string, not an object"#),
        (r#"{"type":"","key":"k"}"#, 9, r#""type" is an empty string; give it a value"#),
        (r#"{"type":"t","key":""}"#, 19, r#""key" is an empty string; give it a value"#),
    ];
    for (line, column, reason) in wrong {
        assert_eq!(refusal(line), (column, reason.into()), "{line}");
    }
    let at_start = r#""specversion":"1.0","id":"a","source":"s","type":"t""#;
    for name in ["subject", "time", "datacontenttype", "dataschema", "data_base64"] {
        let line = format!("{{{at_start},\"{name}\":[1]}}");
        assert_eq!(refusal(&line).1, format!("\"{name}\" must be a string, not an array"));
        assert_eq!(event(&format!("{{{at_start},\"{name}\":null}}")).1, "s");
    }
    assert_eq!(
        refusal(format!("{{{at_start},\"partitionkey\":true}}")).1,
        "\"partitionkey\" must be a string, not true"
    );
    assert_eq!(
        refusal(format!("{{{at_start},\"partitionkey\":\"\"}}")).1,
        "\"partitionkey\" is an empty string; give it a value"
    );
}

#[test]
fn other_versions_are_refused() {
    for (version, shown) in
        [("\"0.3\"", "the string \"0.3\""), ("\"1\\u0030\"", "the string \"1\\\\u0030\"")]
    {
        let line = CLOUD.replace("\"1.0\"", version);
        assert_eq!(
            refusal(line),
            (16, format!("\"specversion\" is {shown}; only CloudEvents \"1.0\" are read"))
        );
    }
    assert_eq!(
        refusal(CLOUD.replace("\"1.0\"", "1.0")).1,
        "\"specversion\" must be a string, not the number 1.0"
    );
}

#[test]
fn two_readers_cannot_see_two_events() {
    let (column, reason) = refusal(r#"{"type":"t","key":"a","key":"b"}"#);
    assert_eq!(
        (column, reason.as_str()),
        (29, r#""key" stands twice in the event; leave one out"#)
    );
    assert!(refusal(r#"{"type":"t","key":"a","\u006bey":"b"}"#).1.contains("twice"));
    assert!(
        refusal(r#"{"type":"t","key":"a","x":1,"y":1,"x":2}"#).1.contains("\"x\" stands twice")
    );
    let both =
        r#"{"specversion":"1.0","id":"a","source":"s","type":"t","data":1,"data_base64":"AA=="}"#;
    assert!(refusal(both).1.contains("allow one of them"));
    assert_eq!(event(&both.replace("\"data\":1", "\"data\":null")).0, "t");
}

#[test]
fn many_members_are_checked_in_time() {
    let members: Vec<_> = (0..100_000).map(|n| format!("\"m{n}\":0")).collect();
    let line = format!("{{\"type\":\"t\",\"key\":\"k\",{}}}", members.join(","));
    assert_eq!(event(&line).1, "k");
}

#[test]
fn nesting_ends_where_a_json_reader_would_end() {
    let nested = |levels: usize| {
        format!(
            r#"{{"type":"t","key":"k","data":{}{}}}"#,
            "[".repeat(levels - 1),
            "]".repeat(levels - 1)
        )
    };
    let deepest = nested(MAX_DEPTH);
    assert_eq!(event(&deepest).2, deepest);
    serde_json::from_str::<Value>(&deepest).expect("as deep as serde_json goes");
    let deeper = nested(MAX_DEPTH + 1);
    serde_json::from_str::<Value>(&deeper).expect_err("one level too deep");
    assert_eq!(
        refusal(&deeper),
        (
            29 + MAX_DEPTH,
            format!("brackets are nested more than {MAX_DEPTH} deep; nest the data less")
        )
    );
    assert!(refusal("[".repeat(1_000_000)).1.contains("nested"));
    let in_string = format!(r#"{{"type":"t","key":"k","data":"\"{}"}}"#, "[".repeat(500));
    assert_eq!(event(&in_string).2, in_string);
    let wide = format!(r#"{{"type":"t","key":"k","data":[{}1]}}"#, "[],".repeat(500));
    assert_eq!(event(&wide).2, wide);
}

#[test]
fn what_a_refusal_shows_cannot_act_on_a_terminal() {
    let line = "{\"type\":\"t\",\"key\":[\"\u{9b}2J\"],\"\u{202e}\":1,\"\u{202e}\":2}";
    let (_, reason) = refusal(line);
    assert_eq!(reason, r#""\u{202e}" stands twice in the event; leave one out"#);
    let long = format!(r#"{{"type":"t","key":{}}}"#, "7".repeat(5000));
    assert!(refusal(long).1.len() < 100);
}

#[test]
fn the_place_and_length_of_the_type_are_known() {
    let line = format!(" {{\"key\":\"k\",\"type\":\"{}\"}}", "t".repeat(MAX_TYPE_BYTES));
    assert_eq!(parse_line(line.as_bytes()).expect("just short enough").type_column, 20);
    let (column, reason) = refusal(line.replace("\"}", "t\"}"));
    assert_eq!(column, 20);
    assert!(reason.ends_with("is longer than 1024 bytes; use a shorter name"), "{reason}");
}

/// JSON values as text, written in ways that a parse and a print would not keep.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
        "\"([a-z\u{e9}\u{1f600} ]|\\\\u00[0-9a-f]{2}|\\\\n|\\\\\")*\"",
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|of| format!("[ {} ]", of.join(" ,"))),
            prop::collection::vec(("[a-z]{1,3}", inner), 0..4).prop_map(|of| {
                let members: Vec<_> =
                    of.into_iter().map(|(name, value)| format!("\"{name}\" :{value}")).collect();
                format!("{{{}}}", members.join(", "))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_answered(line in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = parse_line(&line) {
            prop_assert!(error.column >= 1 && error.column <= line.len() + 1);
        }
    }

    #[test]
    fn a_damaged_event_is_answered(at in 0..CLOUD.len(), byte: u8, cut: bool) {
        let mut line = CLOUD.as_bytes().to_vec();
        line[at] = byte;
        if cut {
            line.truncate(at);
        }
        match parse_line(&line) {
            Ok(parsed) => {
                // A record is one line, so breaks between its parts become spaces.
                let one_line: Vec<u8> = (line.trim_ascii().iter())
                    .map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte })
                    .collect();
                prop_assert_eq!(parsed.record.json().as_bytes(), one_line);
            }
            Err(error) => {
                prop_assert!(error.column >= 1 && error.column <= line.len() + 1);
                let shown = error.defect.to_string();
                prop_assert!(!shown.chars().any(char::is_control), "{shown:?}");
            }
        }
    }

    #[test]
    fn an_event_goes_through_unchanged(
        name in "[^\\p{C}]{1,12}",
        key in any::<String>().prop_filter("not empty", |key| !key.is_empty()),
        data in json_text(),
        order in Just(vec![0, 1, 2]).prop_shuffle(),
    ) {
        let members = [
            format!("\"type\":{}", serde_json::to_string(&name).unwrap()),
            format!("\"key\":{}", serde_json::to_string(&key).unwrap()),
            format!("\"data\":{data}"),
        ];
        let members: Vec<_> = order.into_iter().map(|i: usize| members[i].clone()).collect();
        let line = format!("{{{}}}", members.join(","));
        let parsed = parse_line(line.as_bytes()).map_err(|e| TestCaseError::fail(format!("{e:?}")))?;
        prop_assert_eq!(&*parsed.type_name, name);
        prop_assert_eq!(parsed.record.key(), key);
        prop_assert_eq!(parsed.record.json(), &line);
        prop_assert_eq!(serde_json::to_string(&parsed.record).unwrap(), line);
    }
}
