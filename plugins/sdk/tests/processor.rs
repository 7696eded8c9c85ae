//! A processor behind the functions of the ABI: what each outcome, each panic and each request to the host comes to.

use std::time::Duration;

use keylane_plugin::testing::{Emitted, EmittedKey, TestEvent, TestHost, TestMeta};
use keylane_plugin::{
    Batch, Counter, Create, Cx, Derived, EmitError, Error, Event, EventType, FlushReason,
    Histogram, Info, Level, NoConfig, Outcome, Payload, Processor, ShutdownReason, StateWriter,
    Stop, Value, abi,
};

/// Does what the text of an event says.
struct Obedient {
    done: Counter,
    sizes: Histogram,
    words: Vec<String>,
    panic_when_dropped: bool,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    fail: String,
}

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Limits {
    #[serde(default)]
    words: u32,
}

impl Processor for Obedient {
    type Config = Config;
    const INFO: Info = Info::new("org.example.obedient", "1.0.0").stateful(2).emits();

    fn check_config(config: &Config) -> Result<(), Error> {
        if config.limits.words > 100 {
            return Err(format!("limits.words is {}, use at most 100", config.limits.words).into());
        }
        Ok(())
    }

    fn create(config: Config, cx: &Create<'_>) -> Result<Self, Error> {
        match config.fail.as_str() {
            "" => {}
            "panic" => panic!("no such luck"),
            other => return Err(format!("told to fail: {other}").into()),
        }
        keylane_plugin::info!(cx, "generation {} on shard {}", cx.generation(), cx.shard());
        Ok(Self {
            done: cx.counter("done"),
            sizes: cx.histogram("word_bytes"),
            words: Vec::new(),
            panic_when_dropped: false,
        })
    }

    fn process(&mut self, event: &Event<'_>, cx: &Cx<'_>) -> Outcome {
        match event.as_str().ok_or_else(|| Stop::bad_event("not a word"))? {
            "again" => return Err(Stop::again_after(Duration::from_millis(5), "the disk is full")),
            "fatal" => return Err(Stop::fatal("the disk is gone")),
            "panic" => panic!("told to"),
            "panic when dropped" => self.panic_when_dropped = true,
            "emit" => {
                let derived = Derived::new(EventType::user(9)).key_of(event).value("derived");
                cx.emit(&derived).map_err(Stop::again)?;
            }
            word => {
                self.words.push(word.to_owned());
                cx.observe(self.sizes, word.len() as u64);
            }
        }
        self.done.inc();
        Ok(())
    }

    fn flush(&mut self, reason: FlushReason, cx: &Cx<'_>) -> Outcome {
        let report = Derived::new(EventType::user(10)).key("words").value(self.words.len() as u64);
        if reason == FlushReason::Requested {
            cx.emit(&report).map_err(Stop::again)?;
        }
        Ok(())
    }

    fn save_state(&mut self, out: &mut StateWriter<'_>) -> Result<(), Error> {
        Ok(serde_json::to_writer(out, &self.words)?)
    }

    fn load_state(&mut self, state: &[u8], version: u32) -> Result<(), Error> {
        if version != 2 {
            return Err(format!("the state has version {version}, this plugin reads 2").into());
        }
        self.words = serde_json::from_slice(state)?;
        Ok(())
    }

    fn shutdown(&mut self, reason: ShutdownReason, cx: &Cx<'_>) {
        let refused = cx
            .emit(&Derived::new(EventType::user(0)))
            .expect_err("nothing can be emitted any more");
        assert_eq!(refused, EmitError::Unsupported);
        keylane_plugin::info!(cx, "down because of {reason:?} with {}", self.words.join(" "));
    }
}

impl Drop for Obedient {
    fn drop(&mut self) {
        assert!(!self.panic_when_dropped, "dropped");
    }
}

fn words(words: &[&'static str]) -> Vec<TestEvent> {
    words.iter().map(|&word| TestEvent::user(1).key(word).value(word)).collect()
}

fn host() -> TestHost {
    TestHost::new::<Obedient>("{}").expect("the configuration is right")
}

#[test]
fn a_batch_is_processed_in_order() {
    let mut host = host();
    host.send(&words(&["a", "bc", "d"]));
    host.send(&[]);
    assert_eq!(host.counter("done"), 3);
    assert_eq!(host.observed("word_bytes"), [1, 2, 1]);
    assert_eq!(host.save_state().expect("it saves"), br#"["a","bc","d"]"#);
}

#[test]
fn every_outcome_says_which_event_it_is_about() {
    for (word, status, message) in [
        ("again", abi::Status::AGAIN, "the disk is full"),
        ("fatal", abi::Status::E_FATAL, "the disk is gone"),
        ("panic", abi::Status::E_PANIC, "panicked: told to"),
    ] {
        let report = host().try_send(&words(&["a", "b", word, "c"]));
        assert_eq!(
            (report.status, report.processed, report.message.as_str()),
            (status, 2, message)
        );
        assert_eq!(report.retry_after, (word == "again").then_some(Duration::from_millis(5)));
    }
    let mut host = host();
    let report = host.try_send(&[TestEvent::user(1).value("a"), TestEvent::user(1).value(7_u64)]);
    assert_eq!((report.status, report.processed), (abi::Status::E_EVENT, 1));
    host.send(&words(&["goes", "on"]));
    assert_eq!(host.counter("done"), 3);
}

#[test]
fn after_a_panic_only_the_end_is_left() {
    let mut host = host();
    assert_eq!(host.try_send(&words(&["panic"])).status, abi::Status::E_PANIC);
    let report = host.try_send(&words(&["a"]));
    assert_eq!((report.status, report.processed), (abi::Status::E_FATAL, 0));
    assert_eq!(report.message, "the instance has panicked before and takes no more calls");
    assert_eq!(host.save_state().expect_err("it is poisoned").status, abi::Status::E_FATAL);
}

#[test]
fn a_panic_in_the_destructor_goes_to_the_log() {
    let mut host = host();
    host.send(&words(&["panic when dropped"]));
    host.swap(2).expect("the new one takes the state");
    let logs = host.logs();
    let last = logs.last().expect("a line");
    assert_eq!(
        (last.level, last.message.as_str()),
        (Level::Error, "the destructor panicked: dropped")
    );
    // The new instance is a sound one.
    host.send(&words(&["a"]));
}

#[test]
fn a_wrong_configuration_is_named() {
    let refused = |config: &str| {
        let report = TestHost::new::<Obedient>(config).expect_err("the configuration is wrong");
        assert_eq!(
            host().check_config(config).as_ref(),
            Err(&report),
            "check_config says the same as create"
        );
        (report.status, report.message)
    };
    let config = abi::Status::E_CONFIG;
    for (json, message) in [
        (
            r#"{"limits":{"words":"x"}}"#,
            "config: limits.words: invalid type: string \"x\", expected u32 at line 1 column 22",
        ),
        (
            r#"{"limit":{}}"#,
            "config: limit: unknown field `limit`, expected `limits` or `fail` at line 1 column 8",
        ),
        (r#"{"limits":{"words":101}}"#, "config: limits.words is 101, use at most 100"),
        ("{} x", "config: trailing characters at line 1 column 4"),
        ("", "config: EOF while parsing a value at line 1 column 0"),
    ] {
        assert_eq!(refused(json), (config, message.to_owned()), "{json}");
    }
}

#[test]
fn create_may_fail_and_panic() {
    let report = |fail: &str| {
        TestHost::new::<Obedient>(&format!(r#"{{"fail":"{fail}"}}"#)).expect_err("it fails")
    };
    assert_eq!(
        (report("disk").status, report("disk").message.as_str()),
        (abi::Status::E_FATAL, "told to fail: disk")
    );
    let panicked = report("panic");
    assert_eq!(
        (panicked.status, panicked.message.as_str()),
        (abi::Status::E_PANIC, "panicked: no such luck")
    );
}

#[test]
fn derived_events_know_their_parent() {
    let mut host = host();
    host.send(&words(&["a", "emit"]));
    host.flush().expect("it flushes");
    let hash = EmittedKey::Hash(seahash::hash(b"emit"));
    assert_eq!(
        host.emitted(),
        [
            Emitted {
                kind: EventType::user(9),
                key: hash,
                value: Payload::Str("derived".into()),
                parent: Some(1)
            },
            Emitted {
                kind: EventType::user(10),
                key: EmittedKey::Bytes(b"words".to_vec()),
                value: Payload::U64(1),
                parent: None
            },
        ]
    );
    host.set_room(0);
    let report = host.try_send(&words(&["emit"]));
    assert_eq!((report.status, report.processed), (abi::Status::AGAIN, 0));
    assert_eq!(report.message, "the host has no room for derived events right now");
}

#[test]
fn a_swap_hands_the_state_over() {
    let mut host = host();
    host.send(&words(&["before"]));
    host.swap(2).expect("the new one takes the state");
    host.send(&words(&["after"]));
    assert_eq!(host.save_state().expect("it saves"), br#"["before","after"]"#);
    let refused = host.swap(1).expect_err("another version");
    assert_eq!(
        (refused.status, refused.message.as_str()),
        (abi::Status::E_STATE, "the state has version 1, this plugin reads 2")
    );
    host.send(&words(&["still here"]));
    assert_eq!(host.save_state().expect("it saves"), br#"["before","after","still here"]"#);
    assert_eq!(host.counter("done"), 3);
    let logs: Vec<String> = host.logs().into_iter().map(|line| line.message).collect();
    assert_eq!(
        logs,
        [
            "generation 1 on shard 0",
            "generation 2 on shard 0",
            "down because of Swap with before",
            "generation 3 on shard 0"
        ]
    );
}

#[test]
fn nothing_is_formatted_for_a_log_that_does_not_listen() {
    struct Loud;
    struct Never;
    impl std::fmt::Display for Never {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("formatted")
        }
    }
    impl Processor for Loud {
        type Config = NoConfig;
        const INFO: Info = Info::new("org.example.loud", "1.0.0");
        fn create(_: NoConfig, _: &Create<'_>) -> Result<Self, Error> {
            Ok(Self)
        }
        fn process(&mut self, _: &Event<'_>, cx: &Cx<'_>) -> Outcome {
            keylane_plugin::debug!(cx, "{}", Never);
            Ok(())
        }
    }
    let mut host = TestHost::new::<Loud>("{}").expect("no configuration");
    host.set_log_level(Some(Level::Info));
    host.send(&[TestEvent::user(0)]);
    host.set_log_level(Some(Level::Debug));
    assert_eq!(host.try_send(&[TestEvent::user(0)]).message, "panicked: formatted");
}

/// Renders and checks what it gets, over the whole batch.
struct Reader {
    seen: Vec<String>,
}

impl Processor for Reader {
    type Config = NoConfig;
    const INFO: Info = Info::new("org.example.reader", "1.0.0").stateful(1);

    fn create(_: NoConfig, _: &Create<'_>) -> Result<Self, Error> {
        Ok(Self { seen: Vec::new() })
    }

    fn process(&mut self, _: &Event<'_>, _: &Cx<'_>) -> Outcome {
        unreachable!("the batch is overridden")
    }

    fn process_batch(&mut self, batch: &Batch<'_>, cx: &Cx<'_>) -> Outcome {
        assert_eq!(batch.iter().len(), batch.len());
        for event in batch {
            let json = cx.json(&event).map_err(Stop::bad_event)?;
            self.seen.push(format!("{} {:?} {json}", cx.type_name(event.kind()), event.value()));
        }
        // The first half was written out, say; the rest was not.
        batch.set_done(batch.len() / 2);
        Err(Stop::again("half"))
    }

    fn save_state(&mut self, out: &mut StateWriter<'_>) -> Result<(), Error> {
        use std::io::Write;
        Ok(out.write_all(self.seen.join("\n").as_bytes())?)
    }
}

#[test]
fn values_of_every_kind_arrive_and_render() {
    let mut host = TestHost::new::<Reader>("{}").expect("no configuration");
    host.name_type(EventType::user(7), "order.placed");
    let event = TestEvent::user;
    let report = host.try_send(&[
        event(0),
        event(1).value(true),
        event(2).value(-5_i64),
        event(3).value(5_u64),
        event(4).value(0.5),
        event(5).value("a\"b"),
        event(6).value(vec![1_u8, 2]),
        event(7).json(serde_json::json!({"n": 1})),
        event(8).opaque(serde_json::json!([1, 2])),
        TestEvent::response("id", 404),
    ]);
    assert_eq!(
        (report.status, report.processed, report.message.as_str()),
        (abi::Status::AGAIN, 5, "half")
    );
    let seen = String::from_utf8(host.save_state().expect("it saves")).expect("text");
    let expected = r#"USER(0) None null
USER(1) Bool(true) true
USER(2) I64(-5) -5
USER(3) U64(5) 5
USER(4) F64(0.5) 0.5
USER(5) Str("a\"b") "a\"b"
USER(6) Bytes([1, 2]) [1,2]
order.placed Json("{\"n\":1}") {"n":1}
USER(8) Opaque [1,2]
FINISH_REQUEST Meta(Response(Response { request_id: "id", status_code: 404 })) {"request_id":"id","status_code":404}"#;
    assert_eq!(seen, expected);
}

/// Prints the metas.
struct Metas(Vec<String>);

impl Processor for Metas {
    type Config = NoConfig;
    const INFO: Info = Info::new("org.example.metas", "1.0.0").stateful(1);

    fn create(_: NoConfig, _: &Create<'_>) -> Result<Self, Error> {
        Ok(Self(Vec::new()))
    }

    fn process(&mut self, event: &Event<'_>, _: &Cx<'_>) -> Outcome {
        let Value::Meta(meta) = event.value() else { return Err(Stop::bad_event("no meta")) };
        if let Some(request) = event.request() {
            self.0.push(format!("{} {} {}", request.method, request.uri, request.addr));
        }
        self.0.push(format!("{meta:?}"));
        Ok(())
    }

    fn save_state(&mut self, out: &mut StateWriter<'_>) -> Result<(), Error> {
        use std::io::Write;
        Ok(out.write_all(self.0.join("\n").as_bytes())?)
    }
}

#[test]
fn metas_arrive_whole() {
    let addr = Some("[::1]:443".parse().expect("an address"));
    let mut host = TestHost::new::<Metas>("{}").expect("no configuration");
    host.send(&[
        TestEvent::new(EventType::START_REQUEST).meta(TestMeta::Request {
            request_id: "r1".into(),
            method: "GET".into(),
            uri: "https://u:p@h:1/p?q=1".into(),
            user: Some("joe".into()),
            addr,
            request_type: abi::request_type::TLS,
        }),
        TestEvent::failed_request("r2", "eof"),
        TestEvent::traffic("c1", 1, 2),
        TestEvent::new(EventType::COMMON_ERROR).meta(TestMeta::CommonError {
            method: None,
            uri: None,
            err: "tls".into(),
            addr: None,
        }),
        TestEvent::new(EventType::DROP_CERTIFICATE).meta(TestMeta::Certificate {
            host: "h".into(),
            cause: Some("expired".into()),
            not_after_ns: 0,
        }),
        TestEvent::new(EventType::FAILED_AUTH).meta(TestMeta::FailedAuth {
            reason: abi::auth_reason::REJECTED,
            request_id: None,
            scheme: "basic".into(),
            user: Some("joe".into()),
            peer: None,
        }),
        // A meta on a type of the program's own is the same meta.
        TestEvent::user(3).meta(TestMeta::Response { request_id: "r3".into(), status_code: 200 }),
    ]);
    let seen = String::from_utf8(host.save_state().expect("it saves")).expect("text");
    let mut lines = seen.lines();
    assert_eq!(lines.next(), Some("GET https://u:p@h:1/p?q=1 [::1]:443"));
    assert!(lines.next().is_some_and(
        |line| line.contains(r#"user: Some("joe")"#) && line.contains("request_type: 2")
    ));
    assert_eq!(
        lines.next(),
        Some(r#"FailedRequest(FailedRequest { request_id: "r2", err: "eof" })"#)
    );
    assert!(lines.next().is_some_and(|line| line.ends_with("read_bytes: 1, written_bytes: 2 })")));
    assert!(
        lines
            .next()
            .is_some_and(|line| line.starts_with("CommonError(") && line.contains("method: None"))
    );
    assert!(lines.next().is_some_and(
        |line| line.starts_with("DropCertificate(") && line.contains(r#"Some("expired")"#)
    ));
    assert!(
        lines
            .next()
            .is_some_and(|line| line.starts_with("FailedAuth(") && line.contains("reason: 4"))
    );
    assert_eq!(lines.next(), Some(r#"Response(Response { request_id: "r3", status_code: 200 })"#));
}

#[test]
fn a_plugin_without_configuration_says_so() {
    let report =
        TestHost::new::<Metas>(r#"{"size":1}"#).expect_err("there is nothing to configure");
    assert_eq!(
        report.message,
        "config: unknown field `size`: this plugin has nothing to configure at line 1 column 7"
    );
}
