//! A processor that panics by plan, and records of what became of it.

use std::panic::panic_any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keylane::{
    Builder, Bus, Event, Fault, FaultPolicy, FaultSite, Processor, ShardContext, ShutdownReport,
    for_each,
};

use super::KIND;

/// A fault, as the hook saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) site: FaultSite,
    pub(crate) shard: usize,
    pub(crate) processor: String,
    pub(crate) message: String,
    pub(crate) number: Option<u64>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(pub(crate) Arc<Mutex<Vec<Seen>>>);

impl Faults {
    pub(crate) fn watch(&self, builder: Builder) -> Builder {
        let list = self.0.clone();
        builder.on_fault(move |fault: &Fault| {
            let seen = Seen {
                site: fault.site(),
                shard: fault.shard(),
                processor: fault.processor().to_owned(),
                message: fault.message().to_owned(),
                number: fault.event().and_then(|event| event.get().copied()),
            };
            list.lock().expect("unpoisoned").push(seen);
        })
    }

    pub(crate) fn all(&self) -> Vec<Seen> {
        self.0.lock().expect("unpoisoned").clone()
    }

    pub(crate) fn at(&self, site: FaultSite) -> usize {
        self.all().iter().filter(|seen| seen.site == site).count()
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.all().iter().filter_map(|seen| seen.number).collect()
    }
}

/// What happened to the instances of a processor, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(pub(crate) Arc<Mutex<Vec<Step>>>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Made(u64),
    Processed(u64),
    Flushed,
    ShutDown,
    Dropped,
}

impl Log {
    pub(crate) fn write(&self, step: Step) {
        self.0.lock().expect("unpoisoned").push(step);
    }

    pub(crate) fn read(&self) -> Vec<Step> {
        self.0.lock().expect("unpoisoned").clone()
    }

    pub(crate) fn count(&self, step: &Step) -> usize {
        self.read().iter().filter(|&other| other == step).count()
    }

    pub(crate) fn made(&self) -> usize {
        self.read().iter().filter(|step| matches!(step, Step::Made(_))).count()
    }

    pub(crate) fn processed(&self) -> Vec<u64> {
        let number = |step| if let Step::Processed(number) = step { Some(number) } else { None };
        self.read().into_iter().filter_map(number).collect()
    }
}

/// How a processor goes through a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walk {
    Default,
    ForEach,
    Pieces,
    /// Without `for_each`: one event after the other.
    ByHand,
}

pub(crate) const WALKS: [Walk; 4] = [Walk::Default, Walk::ForEach, Walk::Pieces, Walk::ByHand];

/// What a panic carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    Text,
    /// Panics when it is dropped.
    Bomb,
}

pub(crate) struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("deliberate: the payload's destructor");
    }
}

impl Payload {
    pub(crate) fn throw(self, text: &str) -> ! {
        match self {
            Self::Text => panic!("deliberate: {text}"),
            Self::Bomb => panic_any(Bomb),
        }
    }
}

/// Panics where it is told to.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) walk: Walk,
    pub(crate) payload: Payload,
    pub(crate) process: Arc<dyn Fn(u64) -> bool + Send + Sync>,
    pub(crate) flush: Arc<AtomicBool>,
    pub(crate) shutdown: bool,
    pub(crate) drop: bool,
    pub(crate) log: Log,
}

impl Plan {
    pub(crate) fn new(panics_on: impl Fn(u64) -> bool + Send + Sync + 'static) -> Self {
        Self {
            walk: Walk::Default,
            payload: Payload::Text,
            process: Arc::new(panics_on),
            flush: Arc::default(),
            shutdown: false,
            drop: false,
            log: Log::default(),
        }
    }

    pub(crate) fn factory(&self) -> impl Fn(&ShardContext) -> Shaky + Send + Sync + 'static {
        let plan = self.clone();
        move |cx: &ShardContext| {
            plan.log.write(Step::Made(cx.generation()));
            Shaky(plan.clone())
        }
    }
}

pub(crate) struct Shaky(pub(crate) Plan);

impl Processor for Shaky {
    fn process(&mut self, event: &Event) {
        let &number: &u64 = event.get().expect("the test emits u64");
        if (self.0.process)(number) {
            self.0.payload.throw("process");
        }
        self.0.log.write(Step::Processed(number));
    }

    fn process_batch(&mut self, events: &[&Event]) {
        match self.0.walk {
            Walk::Default | Walk::ForEach => for_each(events, |event| self.process(event)),
            Walk::Pieces => {
                for piece in events.chunks(7) {
                    for_each(piece, |event| self.process(event));
                }
            }
            Walk::ByHand => {
                for event in events {
                    self.process(event);
                }
            }
        }
    }

    fn flush(&mut self) {
        if self.0.flush.load(Ordering::Relaxed) {
            self.0.payload.throw("flush");
        }
        self.0.log.write(Step::Flushed);
    }

    fn shutdown(&mut self) {
        self.0.log.write(Step::ShutDown);
        if self.0.shutdown {
            self.0.payload.throw("shutdown");
        }
    }
}

impl Drop for Shaky {
    fn drop(&mut self) {
        self.0.log.write(Step::Dropped);
        if self.0.drop {
            self.0.payload.throw("drop");
        }
    }
}

/// A bus of one shard whose events come in batches: they are emitted while the processor is held up.
pub(crate) fn emit_all(bus: &Bus, numbers: std::ops::Range<u64>) {
    let emitter = bus.emitter();
    for number in numbers {
        emitter.emit_blocking(KIND, number, number % 5).expect("open");
    }
}

#[track_caller]
pub(crate) fn assert_counts(report: &ShutdownReport, processed: u64, faulted: u64) {
    assert!(report.is_clean(), "{report}");
    let counts = (report.accepted, report.processed, report.faulted);
    assert_eq!(counts, (processed + faulted, processed, faulted), "{report}");
}

pub(crate) fn policies() -> [FaultPolicy; 3] {
    let within = Duration::from_secs(3600);
    [FaultPolicy::Skip, FaultPolicy::Restart, FaultPolicy::Quarantine { after: u32::MAX, within }]
}
