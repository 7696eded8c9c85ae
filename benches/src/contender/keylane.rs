//! keylane with its defaults: no pinned shards, the adaptive wait, one processor.
//!
//! The time ends with the last event's processing, as for the rivals. The shutdown afterwards is not
//! part of it; its report is one more witness that nothing was lost.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use keylane::{Bus, Emitter, Event, EventType, Key, Processor, Producer, ShardContext, Value};

use super::{Card, Role, Stream};
use crate::measure::{Counter, Course, Lap};
use crate::workload::{BATCH, Draw, Keys, Lane, Pace, Payload, Work};

impl Processor for Counter {
    fn process(&mut self, event: &Event) {
        // An event of another kind or with another value would be missing in the count.
        if let (Some(kind), Some(payload)) = (event.kind().user_number(), event.get::<Payload>()) {
            self.see(kind, payload);
        }
    }
}

/// Each producer thread has a handle and rings of its own.
#[derive(Debug)]
pub(crate) struct Exclusive;

impl Stream for Exclusive {
    fn card(&self) -> Card {
        Card {
            name: "keylane",
            role: Role::Keylane,
            package: Some("keylane"),
            settings: "Producer, emit_blocking, in batches emit_batch; defaults otherwise",
        }
    }

    fn run(&self, work: &Work, keys: &Arc<Keys>) -> Result<Lap, String> {
        stream(work, keys, Bus::producer, |lane, producer: &mut Producer| match work.pace {
            Pace::Single => {
                for Draw { key, kind, payload } in lane {
                    producer
                        .emit_blocking(EventType::user(kind), payload, key)
                        .expect("the bus outlives its producers");
                }
            }
            Pace::Batch => {
                while lane.len() > 0 {
                    let batch = lane.by_ref().take(BATCH).map(|Draw { key, kind, payload }| {
                        (EventType::user(kind), Value::new(payload), Key::from(key))
                    });
                    producer.emit_batch(batch).expect("the bus outlives its producers");
                }
            }
        })
    }
}

/// All producer threads use the shared handle.
#[derive(Debug)]
pub(crate) struct Shared;

impl Stream for Shared {
    fn card(&self) -> Card {
        Card {
            name: "keylane-emitter",
            role: Role::Variant,
            package: Some("keylane"),
            settings: "Emitter, emit_blocking; defaults otherwise",
        }
    }

    fn takes(&self, pace: Pace) -> bool {
        pace == Pace::Single
    }

    fn run(&self, work: &Work, keys: &Arc<Keys>) -> Result<Lap, String> {
        stream(work, keys, Bus::emitter, |lane, emitter: &mut Emitter| {
            for Draw { key, kind, payload } in lane {
                emitter
                    .emit_blocking(EventType::user(kind), payload, key)
                    .expect("the bus outlives its producers");
            }
        })
    }
}

fn stream<H: Send>(
    work: &Work,
    keys: &Arc<Keys>,
    handle: impl Fn(&Bus) -> H,
    emit: impl Fn(&mut Lane<'_>, &mut H) + Sync,
) -> Result<Lap, String> {
    let course = Course::new(work, keys);
    let counted = Arc::clone(&course);
    let bus = Bus::builder()
        .shards(work.shape.shards)
        .capacity(work.capacity)
        .processor("count", move |cx: &ShardContext| counted.counter(cx.shard()))
        .build()
        .map_err(|error| error.to_string())?;
    let started = thread::scope(|scope| {
        for index in 0..work.shape.producers {
            let (course, emit) = (&course, &emit);
            let mut handle = handle(&bus);
            scope.spawn(move || {
                course.produce(index, |lane| {
                    emit(lane, &mut handle);
                    handle
                });
            });
        }
        course.time()
    });
    let report = bus.shutdown(Duration::from_secs(60));
    let lap = started.joined(work.events);
    if !report.is_clean() || report.faulted > 0 || report.processed != work.events {
        return Err(format!("the shutdown report of {} events: {report:?}", work.events));
    }
    course.check()?;
    Ok(lap)
}
