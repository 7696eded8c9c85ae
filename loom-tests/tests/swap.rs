//! Hot swap: the old instance sees exactly the events before it, the new one exactly those after.
//!
//! | model | proves | threads, events, capacity | preemptions |
//! |---|---|---|---|
//! | `a_swap_cuts_the_stream_in_two` | a prefix to the old instance, the rest to the new one, each event once, in order | 3, 2, 2 | 1 |
//! | `a_swap_against_a_shutdown` | the swap happens or is refused, nobody hangs, and each instance that was made is shut down once | 3, 0, 1 | 2 |
//! | `two_swaps_at_once` | both happen, one after the other | 3, 0, 1 | 1 |
#![cfg(loom)]

use std::time::Duration;

use keylane::{Bus, Event, EventType, Processor, ShardContext, SwapError};
use keylane_loom_tests::{Log, Payload, check, finish, start};
use loom::sync::Arc;
use loom::thread;

const KIND: EventType = EventType::user(0);

/// Logs `10 * generation + number` for each event; `1000 + generation` when it is made, and `2000 + generation` when it is shut down.
struct Generation(u64, Log);

impl Processor for Generation {
    fn process(&mut self, event: &Event) {
        let number = event.get::<Payload>().expect("models emit payloads").number();
        self.1.push(10 * self.0 + number);
    }

    fn shutdown(&mut self) {
        self.1.push(2000 + self.0);
    }
}

fn generation(log: &Log) -> impl Fn(&ShardContext) -> Generation + Send + Sync + 'static {
    let log = log.clone();
    move |cx| {
        log.push(1000 + cx.generation());
        Generation(cx.generation(), log.clone())
    }
}

fn one_shard(capacity: usize) -> (Bus, Log) {
    let log = Log::default();
    let builder = Bus::builder().shards(1).capacity(capacity);
    (start(builder.processor("it", generation(&log))), log)
}

/// The log without the entries of making and ending, and whether each instance was ended once.
fn account(log: &Log) -> (Vec<u64>, bool) {
    let (events, lives): (Vec<_>, Vec<_>) =
        log.entries().into_iter().partition(|&entry| entry < 1000);
    let mut made: Vec<_> =
        lives.iter().filter(|&&life| life < 2000).map(|life| life + 1000).collect();
    let mut ended: Vec<_> = lives.iter().copied().filter(|&life| life >= 2000).collect();
    made.sort_unstable();
    ended.sort_unstable();
    (events, made == ended)
}

#[test]
fn a_swap_cuts_the_stream_in_two() {
    check(1, || {
        let (bus, log) = one_shard(2);
        let mut producer = bus.producer();
        let emits = thread::spawn(move || {
            for number in 0..2 {
                producer.try_emit(KIND, Payload::new(number), 0).unwrap();
            }
            producer
        });
        bus.replace_processor("it", generation(&log)).unwrap();
        let _producer = emits.join().unwrap();
        let report = finish(&bus);
        assert_eq!(report.processed, 2);
        let (events, ended) = account(&log);
        assert!(ended, "{:?}", log.entries());
        assert!([[10, 11], [10, 21], [20, 21]].iter().any(|cut| events == *cut), "{events:?}");
        // The old one ends behind its last event, and before the new one's first.
        let entries = log.entries();
        let end_of_old = entries.iter().position(|&entry| entry == 2001).unwrap();
        let others = |entry: &u64| (20..30).contains(entry);
        assert!(!entries[end_of_old..].iter().any(|entry| (10..20).contains(entry)));
        assert!(!entries[..end_of_old].iter().any(others), "{entries:?}");
    });
}

#[test]
fn a_swap_against_a_shutdown() {
    check(2, || {
        let (bus, log) = one_shard(1);
        let bus = Arc::new(bus);
        let swap = {
            let (bus, log) = (bus.clone(), log.clone());
            thread::spawn(move || bus.replace_processor("it", generation(&log)))
        };
        assert!(bus.shutdown(Duration::MAX).is_clean());
        let outcome = swap.join().unwrap();
        assert!(matches!(outcome, Ok(()) | Err(SwapError::Closed)), "{outcome:?}");
        let (_, ended) = account(&log);
        assert!(ended, "{:?}", log.entries());
    });
}

#[test]
fn two_swaps_at_once() {
    check(1, || {
        let (bus, log) = one_shard(1);
        let bus = Arc::new(bus);
        let other = {
            let (bus, log) = (bus.clone(), log.clone());
            thread::spawn(move || bus.replace_processor("it", generation(&log)))
        };
        bus.replace_processor("it", generation(&log)).unwrap();
        other.join().unwrap().unwrap();
        finish(&bus);
        assert_eq!(log.entries(), [1001, 1002, 2001, 1003, 2002, 2003]);
    });
}
