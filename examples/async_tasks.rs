//! Tasks that emit with back-pressure, and keep their order although the runtime moves them between threads.
//!
//! ```console
//! $ cargo run --release --example async_tasks
//! ```
//!
//! Each task counts up under a key of its own. Its events travel through the rings of whatever thread it runs on
//! at the moment; the processor checks that they arrive in order all the same.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use keylane::{Bus, EmitError, Emitter, Event, EventType, Processor, ShardContext};

const STEP: EventType = EventType::user(0);
const TASKS: u64 = 64;
const STEPS: u64 = 5_000;

/// The last number of each key, and how often one was not the next.
#[derive(Default)]
struct Check {
    shard: usize,
    next: HashMap<u64, u64>,
    wrong: u64,
}

impl Processor for Check {
    fn process(&mut self, event: &Event) {
        let next = self.next.entry(event.key_hash()).or_default();
        let number = event.get::<u64>().copied();
        self.wrong += u64::from(number != Some(*next));
        *next = number.unwrap_or(0) + 1;
    }

    fn shutdown(&mut self) {
        let (shard, keys, wrong) = (self.shard, self.next.len(), self.wrong);
        println!("shard {shard}: {keys} keys, {wrong} events out of order");
    }
}

/// Emits all steps of one task; returns how often it went on on another thread.
async fn count_up(emitter: Emitter, task: u64) -> Result<u64, EmitError> {
    let mut moves = 0;
    for number in 0..STEPS {
        let before = thread::current().id();
        // Waits while the ring is full, and gives the thread to other tasks meanwhile.
        emitter.emit(STEP, number, task).await?;
        if number % 100 == 0 {
            tokio::task::yield_now().await;
        }
        moves += u64::from(thread::current().id() != before);
    }
    Ok(moves)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = Bus::builder()
        .shards(2)
        // Small on purpose, so that emits have to wait.
        .capacity(64)
        .processor("check", |cx: &ShardContext| Check { shard: cx.shard(), ..Check::default() })
        .build()?;

    let tasks: Vec<_> =
        (0..TASKS).map(|task| tokio::spawn(count_up(bus.emitter(), task))).collect();
    let mut moves = 0;
    for task in tasks {
        moves += task.await??;
    }
    println!("{TASKS} tasks emitted {} events and changed threads {moves} times", TASKS * STEPS);

    println!("{}", bus.shutdown_async(Duration::from_secs(5)).await);
    Ok(())
}
