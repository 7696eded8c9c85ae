//! Emits whose future is dropped.
//!
//! | model | proves | threads, events, capacity | preemptions |
//! |---|---|---|---|
//! | `a_dropped_emit_was_not_accepted` | a future that is dropped while it waits takes its event along, and leaves no waker behind | 2, 2, 1 | 3 |
//! | `a_dropped_emit_passes_its_wake_up_on` | the task behind a dropped one is woken, whether the dropped one had been woken or not | 2, 3, 1 | 2 |
//! | `two_tasks_take_turns` | two tasks of one thread that wait for one ring both come in | 2, 3, 1 | 2 |
#![cfg(loom)]

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc as StdArc;
use std::task::{Context, Poll, Wake, Waker};

use keylane::{Bus, EmitError, EventType};
use keylane_loom_tests::{Alarm, Log, Payload, block_on, check, finish, start};

const KIND: EventType = EventType::user(0);

type Outcome = Result<(), EmitError>;

fn poll(future: Pin<&mut impl Future<Output = Outcome>>, waker: &Waker) -> Option<Outcome> {
    match future.poll(&mut Context::from_waker(waker)) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// Counts, as a waker, how often it is held.
#[derive(Debug)]
struct Held;

impl Wake for Held {
    fn wake(self: StdArc<Self>) {}
}

#[test]
fn a_dropped_emit_was_not_accepted() {
    check(2, || {
        let log = Log::default();
        let bus = start(Bus::builder().shards(1).capacity(1).processor("log", log.record()));
        let emitter = bus.emitter();
        emitter.try_emit(KIND, Payload::new(0), 0).unwrap();
        let held = StdArc::new(Held);
        let accepted = {
            let waker = held.clone().into();
            let emit = pin!(emitter.emit(KIND, Payload::new(1), 0));
            poll(emit, &waker).is_some_and(|outcome| outcome.is_ok())
        };
        let report = finish(&bus);
        assert_eq!(StdArc::strong_count(&held), 1, "a waker has stayed behind");
        assert_eq!(report.accepted, 1 + u64::from(accepted));
        assert_eq!(log.entries(), if accepted { vec![0, 1] } else { vec![0] });
    });
}

#[test]
fn a_dropped_emit_passes_its_wake_up_on() {
    check(2, || {
        let log = Log::default();
        let bus = start(Bus::builder().shards(1).capacity(1).processor("log", log.record()));
        let emitter = bus.emitter();
        emitter.try_emit(KIND, Payload::new(0), 0).unwrap();
        let mut first = Some(Box::pin(emitter.emit(KIND, Payload::new(1), 0)));
        let second = emitter.emit(KIND, Payload::new(2), 0);
        let (_, waker) = Alarm::new();
        let outcome = first.as_mut().and_then(|first| poll(first.as_mut(), &waker));
        let mut second = pin!(second);
        let (alarm, waker) = Alarm::new();
        let mut done = poll(second.as_mut(), &waker);
        drop(first.take());
        while done.is_none() {
            alarm.wait();
            done = poll(second.as_mut(), &waker);
        }
        assert!(done.is_some_and(|outcome| outcome.is_ok()));
        finish(&bus);
        let accepted = if outcome.is_some() { vec![0, 1, 2] } else { vec![0, 2] };
        assert_eq!(log.entries(), accepted);
    });
}

#[test]
fn two_tasks_take_turns() {
    check(2, || {
        let log = Log::default();
        let bus = start(Bus::builder().shards(1).capacity(1).processor("log", log.record()));
        let emitter = bus.emitter();
        emitter.try_emit(KIND, Payload::new(0), 0).unwrap();
        block_on(async {
            let mut first = pin!(emitter.emit(KIND, Payload::new(1), 0));
            let mut second = pin!(emitter.emit(KIND, Payload::new(2), 0));
            let (mut one, mut two) = (false, false);
            std::future::poll_fn(|cx| {
                one = one || first.as_mut().poll(cx).is_ready();
                two = two || second.as_mut().poll(cx).is_ready();
                if one && two { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        });
        finish(&bus);
        let mut seen = log.entries();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
    });
}
