//! Promises 4 and 5: no lock and no allocation on the emit path, and memory that stays within what the builder names.
//!
//! What is measured is the whole process, so each test starts its own binary again and measures there.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use keylane::{
    Bus, EmitError, Event, EventType, Key, NoopProcessorFactory, Processor, Reason, ShardContext,
    Value, WaitStrategy,
};
use support::{
    LONG, Latch, Ledger, OrderCheck, Violations, alone, eventually, in_child_process,
    resident_bytes, within,
};

const KIND: EventType = EventType::user(0);
const MIB: u64 = 1024 * 1024;

/// The system's allocator, with a count of the calls by all threads.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A value of exactly the size that stays inline.
type Inline = [u64; 4];

/// Adds up what it sees, so that the events are really read.
struct Sum(Arc<AtomicU64>);

impl Processor for Sum {
    fn process(&mut self, event: &Event) {
        let number = event.get::<Inline>().expect("the test emits these")[0];
        self.0.fetch_add(number, Ordering::Relaxed);
    }
}

/// Emits `count` events, each as soon as there is room for it.
fn emit_with_room(count: u64, mut emit: impl FnMut(Value, Key) -> Result<(), EmitError>) {
    for number in 0..count {
        let mut value = Value::new::<Inline>([number, 1, 2, 3]);
        while let Err(error) = emit(value, Key::from(number)) {
            assert_eq!(error.reason(), Reason::Full);
            value = error.into_event().into_value();
            // Lets the shard run, with a system call that is no futex.
            thread::yield_now();
        }
    }
}

/// Emits through an emitter and a producer, first to warm up and then `count` times each. `at_edges` is called around the
/// second part.
fn emit_measured(count: u64, mut at_edges: impl FnMut()) {
    let sum = Arc::new(AtomicU64::new(0));
    let bus = Bus::builder()
        .shards(1)
        .capacity(4096)
        // A shard that sleeps must be woken, which is a system call and not what is measured.
        .wait(WaitStrategy::BusySpin)
        .processor("sum", {
            let sum = sum.clone();
            move |_: &ShardContext| Sum(sum.clone())
        })
        .build()
        .expect("it builds");
    let (emitter, mut producer) = (bus.emitter(), bus.producer());
    let mut both = |count| {
        emit_with_room(count, |value, key| emitter.try_emit(KIND, value, key));
        emit_with_room(count, |value, key| producer.try_emit(KIND, value, key));
    };
    let warm_up = 10_000;
    both(warm_up);
    at_edges();
    both(count);
    at_edges();
    let report = bus.shutdown(LONG);
    assert!(report.is_clean());
    assert_eq!(report.processed, 2 * (warm_up + count));
    assert!(sum.load(Ordering::Relaxed) > 0);
}

#[test]
fn no_allocation_in_a_million_emits() {
    alone("no_allocation_in_a_million_emits", || {
        let mut counts = Vec::with_capacity(2);
        emit_measured(1_000_000, || counts.push(ALLOCATIONS.load(Ordering::Relaxed)));
        assert_eq!(counts[1] - counts[0], 0, "allocations in two million emits");
        assert!(counts[0] > 0, "the count works");
    });
}

/// Larger values are boxed: one allocation each and no more. (And proof that the count sees what the emit path does.)
#[test]
fn one_allocation_for_a_large_value() {
    alone("one_allocation_for_a_large_value", || {
        let bus = Bus::builder()
            .shards(1)
            .wait(WaitStrategy::BusySpin)
            .processor("noop", NoopProcessorFactory)
            .build()
            .expect("it builds");
        let mut producer = bus.producer();
        let mut emit = |number: u64| {
            let mut value = Value::new([number; 5]);
            while let Err(error) = producer.try_emit(KIND, value, number) {
                value = error.into_event().into_value();
                thread::yield_now();
            }
        };
        (0..1000).for_each(&mut emit);
        eventually("the shard has warmed up", || bus.stats().processed == 1000);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        (0..1000).for_each(&mut emit);
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 1000);
    });
}

/// Runs itself under `strace`, with a harmless system call as a mark before and behind the emits.
#[test]
fn no_futex_while_there_is_room() {
    const NAME: &str = "no_futex_while_there_is_room";
    if in_child_process() {
        // SAFETY: getppid has no arguments and cannot fail.
        return emit_measured(20_000, || _ = unsafe { libc::getppid() });
    }
    let works = Command::new("strace").args(["-f", "-e", "trace=getppid", "true"]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: there is no strace here that may trace");
        return;
    }
    let binary = std::env::current_exe().expect("the path of the test binary");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "trace=futex,getppid,sched_yield"]).arg(binary);
    let output = support::command(&mut strace, NAME);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let trace = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = trace.lines().collect();
    let marks: Vec<_> = (0..lines.len()).filter(|&line| lines[line].contains("getppid(")).collect();
    let [begin, end] = marks[..] else { panic!("expected two marks: {trace}") };
    let futexes: Vec<_> = lines[begin..end].iter().filter(|line| line.contains("futex")).collect();
    assert!(futexes.is_empty(), "{futexes:#?}");
    // Outside of the marks there are some, at the latest when the shard's thread ends.
    assert!(lines.iter().any(|line| line.contains("futex")), "strace saw nothing: {trace}");
}

// ---- memory ----

/// 64 producers and 64 shards with rings of the default size: 256 MiB if every ring were touched as a whole.
fn mesh(name: &str, emit: fn(usize, &mut keylane::Producer) -> u64) {
    alone(name, || {
        let before = resident_bytes();
        let bus = Bus::builder()
            .shards(64)
            .capacity(1024)
            .processor("noop", NoopProcessorFactory)
            .build()
            .expect("it builds");
        let mut producers: Vec<_> = (0..64).map(|_| bus.producer()).collect();
        let emitted: u64 =
            producers.iter_mut().enumerate().map(|(index, producer)| emit(index, producer)).sum();
        eventually("all is processed", || bus.stats().processed == emitted);
        let grown = resident_bytes().saturating_sub(before);
        println!("{emitted} events: {:.1} MiB", grown as f64 / MIB as f64);
        assert!(grown < 64 * MIB, "{grown} bytes");
        assert!(bus.shutdown(LONG).is_clean());
    });
}

/// A key for each of 64 shards.
fn key_to(shard: usize) -> u64 {
    (0..).find(|&key: &u64| Key::from(key).shard(64) == Some(shard)).expect("there is one")
}

#[test]
fn a_mesh_in_which_each_producer_sent_one_event() {
    mesh("a_mesh_in_which_each_producer_sent_one_event", |index, producer| {
        producer.try_emit(KIND, 1u64, key_to(index)).expect("room");
        1
    });
}

#[test]
fn a_mesh_in_which_each_ring_carried_one_event() {
    mesh("a_mesh_in_which_each_ring_carried_one_event", |_, producer| {
        for shard in 0..64 {
            producer.try_emit(KIND, 1u64, key_to(shard)).expect("room");
        }
        64
    });
}

#[test]
fn a_stalled_processor_under_load() {
    alone("a_stalled_processor_under_load", || {
        struct Stalled(Latch, Latch);
        impl Processor for Stalled {
            fn process(&mut self, _: &Event) {
                self.0.open();
                self.1.wait();
            }
        }
        let (entered, release) = (Latch::new(), Latch::new());
        let bus = Bus::builder()
            .shards(1)
            .capacity(1024)
            .processor("stalled", {
                let (entered, release) = (entered.clone(), release.clone());
                move |_: &ShardContext| Stalled(entered.clone(), release.clone())
            })
            .build()
            .expect("it builds");
        bus.emitter().try_emit(KIND, 0u64, 0).expect("room");
        entered.wait();
        let refusals = AtomicU64::new(0);
        // The first loop fills the rings; the second must not cost anything any more.
        let load = |tries: u64| {
            thread::scope(|scope| {
                for thread in 0..4 {
                    let (emitter, mut producer) = (bus.emitter(), bus.producer());
                    let refusals = &refusals;
                    scope.spawn(move || {
                        for number in 0..tries {
                            let value = vec![number; 4];
                            let result = match (thread + number) % 4 {
                                0 => emitter.try_emit(KIND, value, number),
                                1 => producer.try_emit(KIND, value, number),
                                2 => producer.emit_timeout(KIND, value, number, Duration::ZERO),
                                _ => emitter.emit_timeout(KIND, value, number, Duration::ZERO),
                            };
                            refusals.fetch_add(u64::from(result.is_err()), Ordering::Relaxed);
                        }
                    });
                }
            });
        };
        load(5_000);
        load(5_000);
        let before = resident_bytes();
        let mut peak = before;
        for _ in 0..10 {
            load(20_000);
            peak = peak.max(resident_bytes());
        }
        let stats = bus.stats();
        println!("{stats}; {} KiB more", (peak - before) / 1024);
        assert_eq!(stats.refused, refusals.load(Ordering::Relaxed), "each refusal is counted");
        assert!(stats.refused > 700_000);
        assert_eq!(stats.accepted + stats.refused, 1 + 4 * (2 * 5_000 + 10 * 20_000));
        assert_eq!(stats.accepted, stats.depth, "nothing is processed");
        // Every round has eight new senders, and the stalled shard cannot drain the rings of those that are gone.
        let rings = stats.shards[0].rings as u64;
        assert!(rings <= 1 + 12 * 8, "{rings} rings");
        assert!(stats.accepted <= rings * 1024);
        let slots = rings * 1024 * (64 + 64);
        assert!(peak - before < slots + 8 * MIB, "{} bytes more", peak - before);
        release.open();
        assert!(bus.shutdown(LONG).is_clean());
    });
}

/// The load of the same few senders on a stalled shard: nothing grows at all.
#[test]
fn a_stalled_processor_under_the_load_of_the_same_threads() {
    alone("a_stalled_processor_under_the_load_of_the_same_threads", || {
        struct Stalled(Latch);
        impl Processor for Stalled {
            fn process(&mut self, _: &Event) {
                self.0.wait();
            }
        }
        let (release, refusals) = (Latch::new(), AtomicU64::new(0));
        let bus = Bus::builder()
            .shards(1)
            .processor("stalled", {
                let release = release.clone();
                move |_: &ShardContext| Stalled(release.clone())
            })
            .build()
            .expect("it builds");
        let (full, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..4 {
                let emitter = bus.emitter();
                let (refusals, full, stop) = (&refusals, &full, &stop);
                scope.spawn(move || {
                    let mut number = 0u64;
                    while emitter.try_emit(KIND, vec![number; 4], number).is_ok() {
                        number += 1;
                    }
                    refusals.fetch_add(1, Ordering::Relaxed);
                    full.fetch_add(1, Ordering::Relaxed);
                    while !stop.load(Ordering::Relaxed) {
                        let error = emitter.try_emit(KIND, vec![number; 4], number);
                        assert_eq!(error.expect_err("it is full").reason(), Reason::Full);
                        refusals.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            eventually("all rings are full", || full.load(Ordering::Relaxed) == 4);
            eventually("it goes on for a while", || refusals.load(Ordering::Relaxed) > 100_000);
            let before = resident_bytes();
            let mut peak = before;
            eventually("it goes on for long", || {
                peak = peak.max(resident_bytes());
                refusals.load(Ordering::Relaxed) > 2_000_000
            });
            stop.store(true, Ordering::Relaxed);
            println!("{} KiB more", (peak - before) / 1024);
            assert!(peak - before < MIB, "{} bytes more", peak - before);
        });
        assert_eq!(bus.stats().refused, refusals.load(Ordering::Relaxed));
        assert_eq!(bus.stats().accepted, 4 * 1024);
        release.open();
        assert!(bus.shutdown(LONG).is_clean());
    });
}

/// Threads that come, emit and go. Their rings are used again, or given back: twenty thousand would be over a gigabyte, and a page
/// of each over 80 MiB.
#[test]
fn ten_thousand_threads_of_one_event() {
    alone("ten_thousand_threads_of_one_event", || {
        let ledger = Ledger::new(20_000);
        let bus = Bus::builder()
            .shards(2)
            .max_rings(64)
            .processor("ledger", {
                let ledger = ledger.clone();
                move |_: &ShardContext| ledger.clone()
            })
            .build()
            .expect("it builds");
        let churn = |numbers: std::ops::Range<u64>| {
            for number in numbers {
                let emitter = bus.emitter();
                thread::spawn(move || emitter.try_emit(KIND, number, number).expect("room"))
                    .join()
                    .expect("no panic");
            }
        };
        churn(0..1_000);
        let before = resident_bytes();
        thread::scope(|scope| {
            // Side by side, so that one takes over what the other has just given up.
            for part in [1_000..4_000, 4_000..7_000, 7_000..10_000] {
                scope.spawn(|| churn(part));
            }
        });
        // And some with a producer, in a row.
        for number in 10_000..20_000u64 {
            bus.producer().emit_blocking(KIND, number, number).expect("open");
        }
        let grown = resident_bytes().saturating_sub(before);
        let report = bus.shutdown(LONG);
        assert!(report.is_clean());
        println!("{} KiB more", grown / 1024);
        ledger.assert_exactly(0..20_000);
        assert!(grown < 32 * MIB, "{grown} bytes more");
    });
}

// ---- the limit of rings ----

#[test]
fn no_more_rings_than_the_builder_allows() {
    within(120, || {
        for max_rings in [0, 1, 3, 8] {
            let violations = Violations::default();
            let bus = Bus::builder()
                .shards(2)
                .capacity(8)
                .max_rings(max_rings)
                .processor("order", {
                    let violations = violations.clone();
                    move |_: &ShardContext| OrderCheck::new(&violations)
                })
                .build()
                .expect("it builds");
            let (threads, each) = (12u64, 500u64);
            let (ready, stop) = (std::sync::Barrier::new(threads as usize), Latch::new());
            let most = AtomicU64::new(0);
            thread::scope(|scope| {
                for thread in 0..threads {
                    let (emitter, mut producer) = (bus.emitter(), bus.producer());
                    let (ready, stop, most, bus) = (&ready, &stop, &most, &bus);
                    scope.spawn(move || {
                        // All open their rings at the same moment.
                        ready.wait();
                        for number in 0..each {
                            // Two keys for each thread, numbers that grow per key, through both handles.
                            let key = thread * 2 + number % 2;
                            emitter.emit_blocking(KIND, number * 2, key).expect("open");
                            producer.emit_blocking(KIND, number * 2 + 1, key).expect("open");
                        }
                        for shard in bus.stats().shards {
                            most.fetch_max(shard.rings as u64, Ordering::Relaxed);
                        }
                        // Nobody gives rings back before all have been seen.
                        if ready.wait().is_leader() {
                            stop.open();
                        }
                        stop.wait();
                    });
                }
            });
            let report = bus.shutdown(LONG);
            assert!(report.is_clean(), "{report}");
            assert_eq!(report.processed, threads * each * 2);
            let violations = violations.lock().expect("unpoisoned");
            assert!(violations.is_empty(), "{max_rings} rings: {violations:#?}");
            // The shared ring comes on top.
            let most = most.load(Ordering::Relaxed);
            assert!(most <= max_rings as u64 + 1, "{most} rings instead of {max_rings}");
            assert!(most >= 1);
        }
    });
}

/// The rings between shards are the bus's own and take nothing away from the producers.
#[test]
fn rings_between_shards_do_not_count() {
    struct Spread(keylane::Emitter);
    impl Processor for Spread {
        fn process(&mut self, event: &Event) {
            if event.hops() == 0 {
                for key in 0..16u64 {
                    self.0.try_emit(KIND, key, key).expect("room");
                }
            }
        }
    }
    within(60, || {
        let bus = Bus::builder()
            .shards(2)
            .max_rings(2)
            .processor("spread", |cx: &ShardContext| Spread(cx.emitter()))
            .build()
            .expect("it builds");
        let mut first = bus.producer();
        for key in 0..16u64 {
            first.try_emit(KIND, key, key).expect("room");
        }
        eventually("all rings between shards exist", || {
            bus.stats().shards.iter().all(|shard| shard.rings == 3)
        });
        let mut second = bus.producer();
        for key in 0..16u64 {
            second.try_emit(KIND, key, key).expect("room");
        }
        // Two of shards and two of producers.
        for shard in bus.stats().shards {
            assert_eq!(shard.rings, 4);
        }
        let mut third = bus.producer();
        for key in 0..16u64 {
            third.try_emit(KIND, key, key).expect("room");
        }
        // And the shared one, which a fourth producer uses as well.
        bus.producer().try_emit(KIND, 1u64, 1).expect("room");
        for shard in bus.stats().shards {
            assert_eq!(shard.rings, 5);
        }
        assert!(bus.shutdown(LONG).is_clean());
    });
}

// ---- an idle bus ----

/// Processor time of this process, user and system.
fn processor_time() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the memory is as large as the call expects.
    let result = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    assert_eq!(result, 0, "getrusage");
    // SAFETY: the call has succeeded, so it has written the structure.
    let usage = unsafe { usage.assume_init() };
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

#[test]
fn an_idle_bus_takes_no_processor_time() {
    alone("an_idle_bus_takes_no_processor_time", || {
        let buses: Vec<_> = [WaitStrategy::Adaptive, WaitStrategy::Park, WaitStrategy::Sleeping]
            .into_iter()
            .map(|strategy| {
                let bus = Bus::builder()
                    .shards(4)
                    .wait(strategy)
                    .processor("noop", NoopProcessorFactory)
                    .build()
                    .expect("it builds");
                for number in 0..100u64 {
                    bus.emitter().emit_blocking(KIND, number, number).expect("open");
                }
                eventually("it is idle", || {
                    let stats = bus.stats();
                    stats.depth == 0 && stats.shards.iter().all(|shard| shard.parks > 0)
                });
                bus
            })
            .collect();
        let period = Duration::from_secs(2);
        let before = processor_time();
        // Not to wait for something: this is the period of the measurement.
        thread::sleep(period);
        let used = processor_time() - before;
        println!("{used:?} in {period:?} for both");
        assert!(used < period / 1000, "{used:?}");
        for bus in buses {
            assert!(bus.shutdown(LONG).is_clean());
        }
    });
}
