//! What a plugin writes into the log becomes an event of `tracing`. Its listener belongs to the whole process, hence a process each.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Mutex;
use std::time::Duration;

use keylane::Bus;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::plugin_support::{KIND, builder, good_library};
use crate::support::alone;

/// A line of the log: its level and its fields.
type Logged = (Level, BTreeMap<String, String>);

/// What came from a plugin.
static LINES: Mutex<Vec<Logged>> = Mutex::new(Vec::new());

struct Listener {
    level: Level,
}

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(self.level.into())
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        if fields.contains_key("component") {
            LINES.lock().unwrap().push((*event.metadata().level(), fields));
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Lets a plugin log, with a listener of that level. Returns what came, and how many lines were left out.
fn logged(level: Level, words: &[&'static str]) -> (Vec<Logged>, u64) {
    tracing::subscriber::set_global_default(Listener { level }).expect("the only one");
    let host = builder().log_lines_per_second(100).build().expect("a thread");
    let plugin = host.load(good_library()).expect("it loads");
    let bus = Bus::builder()
        .shards(1)
        .processor("speaks", plugin.processor("{}").expect("a factory"))
        .build()
        .expect("a bus");
    for word in words {
        bus.emitter().emit_blocking(KIND, *word, "key").expect("open");
    }
    assert!(bus.shutdown(Duration::from_secs(60)).is_clean());
    let lines = std::mem::take(&mut *LINES.lock().unwrap());
    (lines, host.stats().log_lines_dropped)
}

#[test]
fn a_line_says_whose_it_is() {
    alone("logs::a_line_says_whose_it_is", || {
        let (lines, dropped) = logged(Level::WARN, &["log"]);
        let [(Level::WARN, fields)] = lines.as_slice() else { panic!("{lines:?}") };
        for (name, value) in [
            ("plugin", "org.example.fixture"),
            ("version", "1.0.0"),
            ("processor", "speaks"),
            ("shard", "0"),
            ("generation", "1"),
            ("component", "fixture"),
            ("place", "fixture.c:77"),
            ("fields", r#"answer="42\n43""#),
            ("message", "a line of the plugin"),
        ] {
            assert_eq!(fields.get(name).map(String::as_str), Some(value), "{name} of {fields:?}");
        }
        assert_eq!(dropped, 0);
    });
}

#[test]
fn lines_that_nobody_listens_to_are_not_written() {
    alone("logs::lines_that_nobody_listens_to_are_not_written", || {
        assert_eq!(logged(Level::ERROR, &["log"]), (vec![], 0));
    });
}

#[test]
fn a_flood_is_cut_and_counted() {
    alone("logs::a_flood_is_cut_and_counted", || {
        let (lines, dropped) = logged(Level::WARN, &["flood the log"]);
        // 5000 lines, 100 a second.
        assert_eq!(lines.len() as u64 + dropped, 5000);
        assert!(lines.len() >= 100 && dropped > 0, "{} lines, {dropped} dropped", lines.len());
    });
}
