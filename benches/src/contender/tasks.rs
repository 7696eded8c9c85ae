//! Contenders of the `async` scenario: tasks of a tokio runtime that emit, and wait for room as futures.
//!
//! Every task hashes, stamps and sends its own events; one consumer sees them all and checks that each task's events
//! come in order. The runtime is the same for everybody, one worker per core.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use ::tokio::runtime::{Builder, Handle};
use keylane::{Bus, Event, EventType, Processor, ShardContext};

use super::{Card, Joined, Role};
use crate::cpu::process_cpu;
use crate::measure::{Lap, STALLED};
use crate::workload::{Keys, Payload, RivalEvent, hash, stamp};

/// One round: so many tasks with so many events in all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) tasks: usize,
    pub(crate) events: u64,
    /// Slots for each worker of the runtime; a channel that they share gets the total.
    pub(crate) capacity: usize,
}

impl Crowd {
    fn share(&self, task: usize) -> u64 {
        let tasks = self.tasks as u64;
        self.events / tasks + u64::from((task as u64) < self.events % tasks)
    }
}

/// A contender of the scenario.
pub(crate) trait Tasks {
    fn card(&self) -> Card;

    /// One round.
    ///
    /// # Errors
    ///
    /// Says what was lost or out of order.
    fn run(&self, crowd: &Crowd, keys: &Arc<Keys>) -> Result<Lap, String>;
}

/// Everyone, keylane first.
pub(crate) fn tasks() -> Vec<Box<dyn Tasks>> {
    vec![
        Box::new(Keylane),
        Box::new(Rival::<Tokio>::new(Card::rival(
            "tokio",
            "tokio",
            "mpsc::channel; send().await; a thread with blocking_recv_many of up to 256",
        ))),
        Box::new(Rival::<TokioTask>::new(Card::rival(
            "tokio-task",
            "tokio",
            "mpsc::channel; send().await; a task on the same runtime with recv_many of up to 256",
        ))),
        Box::new(Rival::<Kanal>::new(Card::rival(
            "kanal",
            "kanal",
            "bounded_async; send().await; a thread with recv()",
        ))),
        Box::new(Rival::<Crossfire>::new(Card::rival(
            "crossfire",
            "crossfire",
            "mpsc::bounded_async_blocking; send().await; a thread with recv(); detect_backoff_cfg",
        ))),
    ]
}

/// A channel whose senders are futures.
trait AsyncChannel: 'static {
    type Sender: Clone + Send + Sync + 'static;
    /// Joins the consumer when dropped, once all senders are gone.
    type Consumer;

    fn open(
        capacity: usize,
        runtime: &Handle,
        see: impl FnMut(&RivalEvent) + Send + 'static,
    ) -> (Self::Sender, Self::Consumer);

    fn send(sender: &Self::Sender, event: RivalEvent) -> impl Future<Output = ()> + Send;
}

/// The consumer's end: counts, checks each task's order, and says when it has seen everything.
struct Roll {
    next: Vec<u32>,
    disordered: u64,
    left: u64,
    done: std::sync::mpsc::Sender<(Instant, u64)>,
}

impl Roll {
    #[inline]
    fn see(&mut self, payload: &Payload) {
        let next = &mut self.next[payload.key_id as usize];
        self.disordered += u64::from(*next != payload.seq);
        *next = payload.seq.wrapping_add(1);
        self.left = self.left.wrapping_sub(1);
        if self.left == 0 {
            // A listener that is gone has given the round up.
            let _ = self.done.send((Instant::now(), self.disordered));
        }
    }
}

impl Processor for Roll {
    fn process(&mut self, event: &Event) {
        if let Some(payload) = event.get::<Payload>() {
            self.see(payload);
        }
    }
}

/// Runs the tasks that `spawn` makes and times them to the last event's sight.
///
/// `open` gets the consumer's end and returns what is needed to spawn and, for later, to close; `close` ends the consumer.
fn time<O>(
    crowd: &Crowd,
    open: impl FnOnce(Roll, &Handle) -> Result<O, String>,
    spawn: impl Fn(&O, &Handle, usize),
    close: impl FnOnce(O),
) -> Result<Lap, String> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = Builder::new_multi_thread()
        .worker_threads(workers)
        .build()
        .map_err(|error| error.to_string())?;
    let (done, finished) = channel();
    let roll = Roll { next: vec![0; crowd.tasks], disordered: 0, left: crowd.events, done };
    let open = open(roll, runtime.handle())?;
    let cpu = process_cpu();
    let start = Instant::now();
    for task in 0..crowd.tasks {
        spawn(&open, runtime.handle(), task);
    }
    let finished = finished.recv_timeout(STALLED);
    close(open);
    // Tasks that never end would hang the drop of the runtime for ever.
    runtime.shutdown_timeout(Duration::from_secs(10));
    let cpu = process_cpu().saturating_sub(cpu);
    match finished {
        Ok((end, 0)) => Ok(Lap {
            operations: crowd.events,
            wall_ns: end.saturating_duration_since(start).as_nanos() as f64,
            cpu_ns: cpu.as_nanos() as f64,
        }),
        Ok((_, disordered)) => Err(format!("{disordered} events out of their task's order")),
        Err(_) => Err(format!("not all events came within {} s", STALLED.as_secs())),
    }
}

/// The shared capacity of all workers.
fn shared(crowd: &Crowd) -> usize {
    crowd.capacity * std::thread::available_parallelism().map_or(1, usize::from)
}

fn payload(task: usize, seq: u64) -> Payload {
    Payload { key_id: task as u32, seq: seq as u32, body: [seq, !seq, 0] }
}

struct Keylane;

impl Tasks for Keylane {
    fn card(&self) -> Card {
        Card {
            name: "keylane",
            role: Role::Keylane,
            package: Some("keylane"),
            settings: "Emitter shared by all tasks; emit().await; defaults otherwise",
        }
    }

    fn run(&self, crowd: &Crowd, keys: &Arc<Keys>) -> Result<Lap, String> {
        let open = |roll: Roll, _: &Handle| {
            let roll = std::sync::Mutex::new(Some(roll));
            let bus = Bus::builder().shards(1).capacity(crowd.capacity);
            bus.processor("roll", move |_: &ShardContext| {
                roll.lock().ok().and_then(|mut roll| roll.take()).expect("there is one shard")
            })
            .build()
            .map_err(|error| error.to_string())
        };
        let spawn = |bus: &Bus, runtime: &Handle, task: usize| {
            let (emitter, keys, share) = (bus.emitter(), Arc::clone(keys), crowd.share(task));
            runtime.spawn(async move {
                for seq in 0..share {
                    let key = keys.of_task(task, seq);
                    let kind = EventType::user((seq % 8) as u16);
                    // A bus that is closed too early shows as events that never come.
                    if emitter.emit(kind, payload(task, seq), key).await.is_err() {
                        return;
                    }
                }
            });
        };
        time(crowd, open, spawn, |bus| drop(bus.shutdown(STALLED)))
    }
}

struct Rival<C> {
    card: Card,
    channel: std::marker::PhantomData<C>,
}

impl<C> Rival<C> {
    fn new(card: Card) -> Self {
        Self { card, channel: std::marker::PhantomData }
    }
}

impl<C: AsyncChannel> Tasks for Rival<C> {
    fn card(&self) -> Card {
        self.card.clone()
    }

    fn run(&self, crowd: &Crowd, keys: &Arc<Keys>) -> Result<Lap, String> {
        ::crossfire::detect_backoff_cfg();
        let open = |mut roll: Roll, runtime: &Handle| {
            Ok(C::open(shared(crowd), runtime, move |event| roll.see(&event.payload)))
        };
        let spawn = |(sender, _): &(C::Sender, C::Consumer), runtime: &Handle, task: usize| {
            let (sender, keys, share) = (sender.clone(), Arc::clone(keys), crowd.share(task));
            runtime.spawn(async move {
                for seq in 0..share {
                    let key_hash = hash(keys.of_task(task, seq));
                    let event = RivalEvent {
                        kind: (seq % 8) as u16,
                        time: stamp(),
                        key_hash,
                        payload: payload(task, seq),
                        context: 0,
                    };
                    C::send(&sender, event).await;
                }
            });
        };
        time(crowd, open, spawn, |(sender, consumer)| {
            drop(sender);
            drop(consumer);
        })
    }
}

const GONE: &str = "the consumer outlives its producers";

struct Tokio;

impl AsyncChannel for Tokio {
    type Sender = ::tokio::sync::mpsc::Sender<RivalEvent>;
    type Consumer = Joined;

    fn open(
        capacity: usize,
        _runtime: &Handle,
        see: impl FnMut(&RivalEvent) + Send + 'static,
    ) -> (Self::Sender, Joined) {
        let (sender, receiver) = ::tokio::sync::mpsc::channel(capacity);
        (sender, Joined::spawn(move || super::tokio::receive_many(receiver, see)))
    }

    async fn send(sender: &Self::Sender, event: RivalEvent) {
        sender.send(event).await.expect(GONE);
    }
}

struct TokioTask;

impl AsyncChannel for TokioTask {
    type Sender = ::tokio::sync::mpsc::Sender<RivalEvent>;
    /// Ends with the runtime.
    type Consumer = ();

    fn open(
        capacity: usize,
        runtime: &Handle,
        mut see: impl FnMut(&RivalEvent) + Send + 'static,
    ) -> (Self::Sender, ()) {
        let (sender, mut receiver) = ::tokio::sync::mpsc::channel(capacity);
        runtime.spawn(async move {
            let mut events = Vec::with_capacity(256);
            while receiver.recv_many(&mut events, 256).await > 0 {
                events.drain(..).for_each(|event| see(&event));
            }
        });
        (sender, ())
    }

    async fn send(sender: &Self::Sender, event: RivalEvent) {
        sender.send(event).await.expect(GONE);
    }
}

struct Kanal;

impl AsyncChannel for Kanal {
    type Sender = ::kanal::AsyncSender<RivalEvent>;
    type Consumer = Joined;

    fn open(
        capacity: usize,
        _runtime: &Handle,
        mut see: impl FnMut(&RivalEvent) + Send + 'static,
    ) -> (Self::Sender, Joined) {
        let (sender, receiver) = ::kanal::bounded_async(capacity);
        let receiver = receiver.to_sync();
        let receive = move || {
            while let Ok(event) = receiver.recv() {
                see(&event);
            }
        };
        (sender, Joined::spawn(receive))
    }

    async fn send(sender: &Self::Sender, event: RivalEvent) {
        sender.send(event).await.expect(GONE);
    }
}

struct Crossfire;

impl AsyncChannel for Crossfire {
    type Sender = ::crossfire::MAsyncTx<::crossfire::mpsc::Array<RivalEvent>>;
    type Consumer = Joined;

    fn open(
        capacity: usize,
        _runtime: &Handle,
        mut see: impl FnMut(&RivalEvent) + Send + 'static,
    ) -> (Self::Sender, Joined) {
        let (sender, receiver) = ::crossfire::mpsc::bounded_async_blocking(capacity);
        let receive = move || {
            while let Ok(event) = receiver.recv() {
                see(&event);
            }
        };
        (sender, Joined::spawn(receive))
    }

    async fn send(sender: &Self::Sender, event: RivalEvent) {
        sender.send(event).await.expect(GONE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_heard_in_order() {
        let keys = Arc::new(Keys::new());
        for tasks in [1, 3, 500] {
            let crowd = Crowd { tasks, events: 10_007, capacity: 64 };
            for contender in super::tasks() {
                let lap = contender.run(&crowd, &keys);
                assert!(lap.is_ok(), "{}, {tasks} tasks: {lap:?}", contender.card().name);
            }
        }
    }
}
