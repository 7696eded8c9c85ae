//! Promise: the interface that the design names exists as it is written there, for a program that knows nothing else.

mod support;

use std::error::Error;
use std::fmt::Debug;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, SystemTime};

use keylane::{
    BatchError, BuildError, Builder, Bus, CommonErrorMeta, Emit, EmitError, Emitter, ErrorMeta,
    Event, EventType, Fault, FaultPolicy, Key, NoopProcessor, NoopProcessorFactory, Processor,
    ProcessorFactory, Producer, Reason, RequestMeta, RequestType, ResponseMeta, ShardContext,
    Shutdown, ShutdownReport, Stats, SwapError, TrafficMeta, Value, WaitStrategy,
};
use serde::Serialize;
use support::{LONG, within};

/// Runs a future with nothing but std, as an executor that the bus has never heard of.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[derive(Debug, Clone, Serialize)]
struct Order {
    id: u64,
    item: &'static str,
}

/// Not `Send`, on purpose: an instance lives on one thread.
struct Count {
    _shard: usize,
    _not_send: Rc<()>,
    total: Arc<AtomicU64>,
}

impl Count {
    fn new(shard: usize, total: &Arc<AtomicU64>) -> Self {
        Self { _shard: shard, _not_send: Rc::new(()), total: total.clone() }
    }
}

impl Processor for Count {
    fn process(&mut self, _event: &Event) {
        self.total.fetch_add(1, Ordering::Relaxed);
    }
}

/// Every method of the trait, with the signatures of the design.
struct Everything(u64);

impl Processor for Everything {
    fn process(&mut self, _event: &Event) {
        self.0 += 1;
    }
    fn process_batch(&mut self, events: &[&Event]) {
        for event in events {
            self.process(event)
        }
    }
    fn flush(&mut self) {}
    fn shutdown(&mut self) {}
}

struct EverythingFactory;

impl ProcessorFactory for EverythingFactory {
    type Processor = Everything;
    type Error = std::io::Error;

    fn create(&self, cx: &ShardContext) -> Result<Everything, Self::Error> {
        Ok(Everything(cx.shard() as u64))
    }
}

#[test]
fn the_program_of_the_design() {
    let result: Result<(), String> = within(60, || {
        async fn program() -> Result<(), Box<dyn Error>> {
            let total = Arc::new(AtomicU64::new(0));
            let faults = Arc::new(AtomicU64::new(0));
            let factory = EverythingFactory;
            let bus: Bus = Bus::builder()
                .shards(2)
                .capacity(1024)
                .wait(WaitStrategy::Adaptive)
                .pin_shards(false)
                .processor("count", {
                    let total = total.clone();
                    move |cx: &ShardContext| Count::new(cx.shard(), &total)
                })
                .processor_for("audit", [EventType::FAILED_AUTH], factory)
                .fault_policy(FaultPolicy::Restart)
                .on_fault({
                    let faults = faults.clone();
                    move |fault: &Fault| {
                        eprintln!("{fault}");
                        faults.fetch_add(1, Ordering::Relaxed);
                    }
                })
                .build()?;

            let kind = EventType::user(3);
            let order = Order { id: 17, item: "book" };
            let (value, key) = (Value::new(order.clone()), Key::from("order-17"));

            let emitter: Emitter = bus.emitter();
            emitter.try_emit(EventType::user(3), order.clone(), "order-17")?;
            emitter.emit(kind, value, key).await?;
            emitter.emit_blocking(kind, order.clone(), key)?;
            emitter.emit_timeout(kind, order.clone(), key, Duration::from_millis(5000))?;

            let mut producer: Producer = bus.producer();
            producer.try_emit(EventType::FAILED_AUTH, Value::none(), Key::NONE)?;
            producer.emit_blocking(kind, order.clone(), "order-17")?;
            producer.emit_timeout(kind, order.clone(), 17, Duration::from_millis(5000))?;
            let items = vec![(kind, Value::new(order), Key::from(17))];
            producer.emit_batch(items)?;
            let items = [(kind, Value::new(1), key), (kind, Value::none(), Key::NONE)];
            let accepted: usize = producer.emit_batch(items)?;
            assert_eq!(accepted, 2);

            let new_factory = {
                let total = total.clone();
                move |cx: &ShardContext| Count::new(cx.shard(), &total)
            };
            bus.replace_processor("count", new_factory)?;
            bus.add_processor("noop", |_: &ShardContext| NoopProcessor)?;
            bus.remove_processor("noop")?;
            let stats: Stats = bus.stats();
            assert!(serde_json::to_string(&stats)?.starts_with('{'));
            let report: ShutdownReport = bus.shutdown(Duration::from_secs(60));
            let same: ShutdownReport = bus.shutdown_async(Duration::from_secs(60)).await;
            assert_eq!(same.accepted, report.accepted);
            assert!(report.is_clean());
            let _ = (report.accepted, report.processed, report.faulted, report.abandoned);

            assert_eq!((report.accepted, report.processed), (10, 10));
            assert_eq!((report.faulted, report.abandoned), (0, 0));
            assert_eq!(total.load(Ordering::Relaxed), 10);
            assert_eq!(faults.load(Ordering::Relaxed), 0);
            Ok(())
        }
        block_on(program()).map_err(|error| error.to_string())
    });
    assert_eq!(result, Ok(()));
}

#[test]
fn factories_of_every_form() {
    within(60, || {
        #[derive(Debug)]
        struct Broken;
        impl std::fmt::Display for Broken {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("no licence")
            }
        }
        fn plain(_: &ShardContext) -> NoopProcessor {
            NoopProcessor
        }
        fn fallible(cx: &ShardContext) -> Result<Everything, Broken> {
            if cx.shard() < 2 { Ok(Everything(0)) } else { Err(Broken) }
        }
        fn boxed(_: &ShardContext) -> Box<dyn Processor> {
            Box::new(NoopProcessor)
        }
        let text = String::from("captured");
        let bus = Bus::builder()
            .shards(2)
            .processor("closure", move |cx: &ShardContext| {
                Everything((text.len() + cx.shard()) as u64)
            })
            .processor("fallible closure", |_: &ShardContext| {
                std::env::current_dir().map(|_| NoopProcessor)
            })
            .processor("boxed error", |_: &ShardContext| -> Result<_, Box<dyn Error>> {
                Ok(NoopProcessor)
            })
            .processor("function", plain)
            .processor("fallible function", fallible)
            .processor("boxed processor", boxed)
            .processor("own", EverythingFactory)
            .processor(String::from("noop"), NoopProcessorFactory)
            .build()
            .expect("all factories succeed");
        let names: Vec<_> = bus.stats().processors.into_iter().map(|p| p.name).collect();
        assert_eq!(names.len(), 8);
        assert_eq!(names[0], "closure");
        assert!(bus.shutdown(LONG).is_clean());

        let error = Bus::builder().shards(3).processor("f", fallible).build().expect_err("shard 2");
        let text = error.to_string();
        assert!(text.contains("\"f\""), "names the processor: {text}");
        assert!(text.contains("shard 2"), "names the shard: {text}");
        assert!(text.contains("no licence"), "gives the reason: {text}");
        assert!(matches!(error, BuildError::Factory { shard: 2, .. }));
    });
}

/// Keeps its emitter in a field, as processors that derive events do.
struct Echo {
    emitter: Emitter,
    seen: Arc<AtomicU64>,
}

impl Processor for Echo {
    fn process(&mut self, event: &Event) {
        self.seen.fetch_add(1, Ordering::Relaxed);
        if event.kind() == EventType::user(0) {
            self.emitter
                .try_emit(EventType::user(1), Value::none(), Key::NONE)
                .expect("there is room");
        }
    }
}

#[test]
fn a_processor_keeps_an_emitter() {
    within(60, || {
        let seen = Arc::new(AtomicU64::new(0));
        let bus = Bus::builder()
            .shards(2)
            .processor("echo", {
                let seen = seen.clone();
                move |cx: &ShardContext| Echo { emitter: cx.emitter(), seen: seen.clone() }
            })
            .build()
            .expect("it builds");
        for number in 0..10u64 {
            bus.emitter().emit_blocking(EventType::user(0), number, number).expect("it is open");
        }
        let report = bus.shutdown(LONG);
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.processed, 20);
        assert_eq!(seen.load(Ordering::Relaxed), 20);
    });
}

#[test]
fn batches_from_vectors_and_borrowing_iterators() {
    within(60, || {
        let bus = Bus::builder()
            .shards(3)
            .processor("noop", NoopProcessorFactory)
            .build()
            .expect("builds");
        let mut producer = bus.producer();
        let kind = EventType::user(0);
        let items: Vec<(EventType, Value, Key)> =
            (0..100u64).map(|n| (kind, Value::new(n), Key::from(n))).collect();
        assert_eq!(producer.emit_batch(items).expect("open"), 100);

        let orders = [Order { id: 1, item: "pen" }, Order { id: 2, item: "ink" }];
        let names = vec![String::from("a"), String::from("b")];
        let lazy = orders
            .iter()
            .zip(&names)
            .map(|(order, name)| (kind, order.clone().into(), name.as_str().into()));
        assert_eq!(producer.emit_batch(lazy).expect("open"), 2);
        assert_eq!(producer.emit_batch(std::iter::empty()).expect("nothing to refuse"), 0);
        assert_eq!(producer.emit_batch(Some((kind, Value::none(), Key::NONE))).expect("open"), 1);
        assert_eq!(bus.shutdown(LONG).processed, 103);

        let rest =
            [(kind, Value::new(7u64), Key::from("seven")), (kind, Value::new(8u64), Key::NONE)];
        let error: BatchError = producer.emit_batch(rest).expect_err("closed");
        assert_eq!((error.accepted(), error.reason()), (0, Reason::Closed));
        let text = error.to_string();
        assert!(text.contains("0 events") && text.contains("2 returned"), "{text}");
        let rest = error.into_rest();
        let back: Vec<_> =
            rest.iter().map(|(_, value, key)| (value.get::<u64>().copied(), *key)).collect();
        assert_eq!(back, [(Some(7), Key::from("seven")), (Some(8), Key::NONE)]);
    });
}

#[test]
fn every_reason_can_be_matched() {
    within(60, || {
        fn handled_by(reason: Reason) -> &'static str {
            // No wildcard: a program may rely on there being exactly these.
            match reason {
                Reason::Full => "again later",
                Reason::Closed => "stop",
                Reason::Timeout => "give up",
            }
        }
        let bus = Bus::builder().shards(1).build().expect("a bus without processors");
        let emitter = bus.emitter();
        assert!(bus.shutdown(LONG).is_clean());
        let error: EmitError =
            emitter.try_emit(EventType::TRAFFIC, "text", "key").expect_err("it is closed");
        assert_eq!(handled_by(error.reason()), "stop");
        let event: Event = error.into_event();
        assert_eq!(event.get::<&str>(), Some(&"text"));
        assert_eq!(event.kind(), EventType::TRAFFIC);
        assert_eq!(event.key_hash(), seahash::hash(b"key"));
        let time: SystemTime = event.time();
        // Some time ago, or just now: while the system's clock is being slowed down, the two may differ by a little.
        let age = (SystemTime::now() + Duration::from_millis(1)).duration_since(time);
        assert!(age.is_ok_and(|age| age < Duration::from_secs(600)), "{time:?}");
        assert_eq!(handled_by(Reason::Full), "again later");
        assert_eq!(handled_by(Reason::Timeout), "give up");
    });
}

#[test]
fn keys_and_values_of_every_kind_are_taken_as_they_are() {
    within(60, || {
        let bus = Bus::builder().shards(1).build().expect("it builds");
        let emitter = bus.emitter();
        let kind = EventType::user(0);
        let bytes: &[u8] = b"raw";
        let owned = String::from("owned");
        let results = [
            emitter.try_emit(kind, 1, "text"),
            emitter.try_emit(kind, "text", bytes),
            emitter.try_emit(kind, owned.clone(), b"array"),
            emitter.try_emit(kind, vec![1, 2], 17),
            emitter.try_emit(kind, Some(2.5), 17u64),
            emitter.try_emit(kind, (), &owned),
            emitter.try_emit(kind, Value::none(), Key::NONE),
            emitter.try_emit(kind, Value::new([0u64; 32]), Key::from("k")),
            emitter.try_emit(kind, [1u64; 4], owned.as_str()),
            emitter.try_emit(kind, Box::new(5), owned),
        ];
        assert!(results.iter().all(Result::is_ok));
        assert_eq!(bus.shutdown(LONG).processed, results.len() as u64);
    });
}

#[test]
fn names_and_numbers_of_event_types() {
    let predefined = [
        (EventType::NOT_SET, 0, "NOT_SET"),
        (EventType::COMMON_ERROR, 1, "COMMON_ERROR"),
        (EventType::NEW_CERTIFICATE, 2, "NEW_CERTIFICATE"),
        (EventType::DROP_CERTIFICATE, 3, "DROP_CERTIFICATE"),
        (EventType::FAILED_AUTH, 4, "FAILED_AUTH"),
        (EventType::START_REQUEST, 5, "START_REQUEST"),
        (EventType::FAILED_REQUEST, 6, "FAILED_REQUEST"),
        (EventType::FINISH_REQUEST, 7, "FINISH_REQUEST"),
        (EventType::TRAFFIC, 8, "TRAFFIC"),
        (EventType::USER_BASE, 256, "USER(0)"),
        (EventType::user(3), 259, "USER(3)"),
    ];
    for (kind, code, name) in predefined {
        assert_eq!(kind.code(), code);
        assert_eq!(kind.to_string(), name);
        assert_eq!(kind.is_user(), code >= 256);
    }
}

#[test]
fn metas_are_values_and_errors() {
    fn is_value<T: Send + Debug + Serialize + 'static>() {}
    fn is_error<T: Error + 'static>() {}
    is_value::<CommonErrorMeta>();
    is_value::<ErrorMeta>();
    is_value::<RequestMeta>();
    is_value::<ResponseMeta>();
    is_value::<TrafficMeta>();
    is_error::<CommonErrorMeta>();
    is_error::<ErrorMeta>();
    assert_eq!(RequestType::TLS.to_string(), "tunneled:no | tls:yes | upgraded:no");
    let both = RequestType::TUNNELED | RequestType::UPGRADED;
    assert_eq!(both.to_string(), "tunneled:yes | tls:no | upgraded:yes");
}

#[test]
fn an_event_prints_type_time_and_value() {
    let event = Event::new(EventType::START_REQUEST, "GET /", "client");
    let text = event.to_string();
    let (kind, rest) = text.split_once(' ').expect("a type and the rest");
    let (time, value) = rest.split_once(" -> ").expect("a time and a value");
    assert_eq!((kind, value), ("START_REQUEST", "\"GET /\""));
    assert_eq!((time.len(), &time[10..11], &time[26..]), (27, "T", "Z"), "{time}");
}

/// Which of the marker traits a type has, decided where the type is known: an inherent constant wins over the trait's.
macro_rules! has {
    ($type:ty: $($bound:tt)+) => {{
        // Which of the two constants is used depends on the type.
        #[allow(dead_code)]
        trait Otherwise {
            const HAS: bool = false;
        }
        impl<T: ?Sized> Otherwise for T {}
        #[allow(dead_code)]
        struct Probe<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code)]
        impl<T: ?Sized + $($bound)+> Probe<T> {
            const HAS: bool = true;
        }
        <Probe<$type>>::HAS
    }};
}

#[test]
fn handles_go_where_the_design_says() {
    assert!(has!(Emitter: Clone) && has!(Emitter: Send) && has!(Emitter: Sync));
    assert!(has!(Producer: Send) && !has!(Producer: Sync) && !has!(Producer: Clone));
    assert!(has!(Bus: Send) && has!(Bus: Sync));
    assert!(has!(Builder: Send));
    // What is in a value need not be `Sync`, and a shared value lends it out.
    assert!(has!(Event: Send) && has!(Value: Send));
    assert!(!has!(Event: Sync) && !has!(Value: Sync) && !has!(Fault<'static>: Send));
    // The usual boxes for errors, and `anyhow`, ask for `Send + Sync`.
    assert!(has!(EmitError: Send) && has!(EmitError: Sync) && has!(EmitError: Debug));
    assert!(has!(EmitError: Error));
    assert!(has!(BatchError: Send) && has!(BatchError: Sync) && has!(BatchError: Error));
    assert!(has!(BuildError: Send) && has!(BuildError: Sync) && has!(BuildError: Error));
    assert!(has!(SwapError: Send) && has!(SwapError: Sync) && has!(SwapError: Error));
    assert!(has!(Emit<'static>: Send) && has!(Shutdown: Send));
    assert!(has!(Stats: Send) && has!(Stats: Sync) && has!(ShutdownReport: Send));
    assert!(has!(Key: Copy) && has!(Key: Send) && has!(EventType: Copy) && has!(Reason: Copy));
    // The probe itself can say no.
    assert!(!has!(Rc<()>: Send) && !has!(Value: Serialize));
    assert_eq!((size_of::<Event>(), align_of::<Event>()), (64, 64));
}

#[test]
fn emit_futures_are_spawned_like_any_other() {
    within(60, || {
        let bus = Bus::builder().shards(2).build().expect("it builds");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let tasks: Vec<_> = (0..10u64)
                .map(|number| {
                    let emitter = bus.emitter();
                    tokio::spawn(async move {
                        emitter.emit(EventType::user(0), number, number).await?;
                        Ok::<_, EmitError>(())
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("no panic").expect("open");
            }
            let report = bus.shutdown_async(LONG).await;
            assert_eq!(report.processed, 10);
        });
    });
}
