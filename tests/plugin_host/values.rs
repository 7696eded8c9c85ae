//! Every kind of value in its C form, over a plugin that writes them down.

use std::borrow::Cow;
use std::process::Command;
use std::time::Duration;

use keylane::{Bus, EventType, Value};
use serde::Serialize;

use crate::plugin_support::{Folder, KIND, builder, compile, here};
use crate::support::within;

/// A type of the program's own.
#[derive(Debug, Serialize)]
struct Order {
    json: String,
}

/// One that nobody registered.
#[derive(Debug, Serialize)]
struct Secret {
    number: u8,
}

#[test]
fn each_type_has_its_form() {
    within(60, || {
        let folder = Folder::new();
        let (library, out) = (folder.path("writes.so"), folder.path("out.txt"));
        compile(Command::new("cc").arg("-std=gnu11").arg(here("writes.c")), &library);
        let host =
            builder().json_value(|order: &Order| order.json.as_str()).build().expect("a thread");
        host.name_event_type("order.placed", EventType::user(3));
        let plugin = host.load(&library).expect("it loads");
        let config = format!("{{\"path\":{:?}}}", out.display().to_string());
        let bus = Bus::builder()
            .shards(1)
            .processor("writes", plugin.processor(&config).expect("a factory"))
            .build()
            .expect("a bus");
        let emitter = bus.emitter();
        let order = Order { json: r#"{"n":1}"#.into() };
        let values = [
            Value::none(),
            true.into(),
            (-8_i8).into(),
            (-16_i16).into(),
            (-32_i32).into(),
            (-64_i64).into(),
            (-1_isize).into(),
            8_u8.into(),
            16_u16.into(),
            32_u32.into(),
            u64::MAX.into(),
            1_usize.into(),
            1.5_f32.into(),
            (-0.25_f64).into(),
            "static".into(),
            String::from("owned").into(),
            Box::<str>::from("boxed").into(),
            Cow::<'static, str>::Owned("a cow".into()).into(),
            String::new().into(),
            vec![1_u8, 2, 255].into(),
            b"bytes".as_slice().into(),
            Value::new(order),
            Value::new(serde_json::value::RawValue::from_string("[1, 2]".into()).expect("JSON")),
            Value::new(Secret { number: 7 }),
            Value::new(serde_json::json!({"a": null})),
        ];
        for value in values {
            emitter.emit_blocking(EventType::user(3), value, "key").expect("open");
        }
        emitter.emit_blocking(KIND, 1, keylane::Key::NONE).expect("open");
        assert!(bus.shutdown(Duration::from_secs(60)).is_clean());
        let text = std::fs::read_to_string(&out).expect("it was written");
        let expected = [
            "none",
            "bool 1",
            "i64 -8",
            "i64 -16",
            "i64 -32",
            "i64 -64",
            "i64 -1",
            "u64 8",
            "u64 16",
            "u64 32",
            "u64 18446744073709551615",
            "u64 1",
            "f64 1.5",
            "f64 -0.25",
            "utf8 static",
            "utf8 owned",
            "utf8 boxed",
            "utf8 a cow",
            "utf8 ",
            "bytes 3: 01 02 ff",
            "bytes 5: 62 79 74 65 73",
            r#"json {"n":1}"#,
            "json [1, 2]",
            r#"opaque {"number":7} Secret { number: 7 }"#,
            r#"opaque {"a":null} Object {"a": Null}"#,
        ];
        let expected: Vec<_> = expected
            .iter()
            .enumerate()
            .map(|(seq, line)| format!("order.placed {seq} keyed {line}"))
            .collect();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..expected.len()], expected);
        assert_eq!(lines[expected.len()..], [format!("USER(0) {} i64 1", expected.len())]);
    });
}
