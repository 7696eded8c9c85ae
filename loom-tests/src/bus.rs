//! A bus inside a model, and a processor that tells what it saw.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keylane::{Builder, Bus, Event, Processor, ShardContext, ShutdownReport};
use loom::sync::mpsc::{Receiver, Sender, channel};

use crate::Payload;

/// Starts a bus, without exploring how: `closing.rs` has a model of that. The worker sleeps when this returns.
pub fn start(builder: Builder) -> Bus {
    loom::stop_exploring();
    let bus = builder.build().expect("the settings are right");
    loom::explore();
    bus
}

/// Shuts a bus down, without exploring how: for models that are about something else. Everything that the model's threads did
/// before has been explored against the worker.
///
/// # Panics
/// When the bus does not end cleanly.
pub fn finish(bus: &Bus) -> ShutdownReport {
    loom::stop_exploring();
    let report = bus.shutdown(Duration::MAX);
    assert!(report.is_clean(), "{report}");
    report
}

/// What processors saw, in the order of the execution.
///
/// It is no part of the model: writing to it orders nothing between threads.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u64>>>);

impl Log {
    /// Appends a number.
    pub fn push(&self, number: u64) {
        self.0.lock().expect("nothing panics with the log in hand").push(number);
    }

    /// Everything so far.
    pub fn entries(&self) -> Vec<u64> {
        self.0.lock().expect("nothing panics with the log in hand").clone()
    }

    /// A factory of processors that write the number of every [`Payload`] to this log.
    pub fn record(&self) -> impl Fn(&ShardContext) -> Record + Send + Sync + 'static {
        let log = self.clone();
        move |_| Record { log: log.clone(), tell: None }
    }

    /// As [`record`](Self::record), and whoever holds the receiver learns of each event. For a bus of one shard.
    pub fn record_and_tell(
        &self,
    ) -> (impl Fn(&ShardContext) -> Record + Send + Sync + 'static, Receiver<()>) {
        let log = self.clone();
        let (sender, receiver) = channel();
        let sender = Mutex::new(sender);
        let factory = move |_: &ShardContext| {
            let tell = Some(sender.lock().expect("factories do not panic").clone());
            Record { log: log.clone(), tell }
        };
        (factory, receiver)
    }
}

/// Writes the number of every payload to a log.
#[derive(Debug)]
pub struct Record {
    log: Log,
    tell: Option<Sender<()>>,
}

impl Processor for Record {
    fn process(&mut self, event: &Event) {
        let payload = event.get::<Payload>().expect("models emit payloads");
        self.log.push(payload.number());
        if let Some(tell) = &self.tell {
            // The model may have seen enough and be gone.
            let _ = tell.send(());
        }
    }
}
