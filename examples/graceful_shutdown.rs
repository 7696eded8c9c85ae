//! Ctrl-C ends a program in order: what was accepted is processed, what was not comes back.
//!
//! ```console
//! $ cargo run --example graceful_shutdown              # until Ctrl-C
//! $ cargo run --example graceful_shutdown -- --for 2   # or for two seconds
//! ```
//!
//! Four tasks emit faster than the processor works, so at any moment some emits wait and hundreds of events are on
//! their way. A second Ctrl-C while the bus drains ends the program at once.

use std::future::pending;
use std::time::Duration;

use keylane::{Bus, EmitError, Emitter, Event, EventType, Processor, ShardContext};
use tokio::signal::ctrl_c;

const DEADLINE: Duration = Duration::from_secs(5);

/// Buffers what it sees, as a log would.
struct SlowLog {
    shard: usize,
    written: u64,
    buffered: u64,
}

impl Processor for SlowLog {
    fn process(&mut self, _event: &Event) {
        std::thread::sleep(Duration::from_micros(200));
        self.buffered += 1;
    }

    fn flush(&mut self) {
        self.written += std::mem::take(&mut self.buffered);
    }

    // Once, after the last event, and after a last flush.
    fn shutdown(&mut self) {
        println!("shard {}: {} events written, file closed", self.shard, self.written);
    }
}

/// Emits until the bus refuses; returns the refusal, which holds the event.
async fn work(emitter: Emitter, task: u64) -> EmitError {
    let mut number = 0_u64;
    loop {
        if let Err(refused) = emitter.emit(EventType::user(0), number, task).await {
            return refused;
        }
        number += 1;
    }
}

/// `--for SECONDS`, so that the example can be tried without a keyboard.
async fn time_is_up() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => pending().await,
        [flag, seconds] if flag == "--for" => {
            let seconds = seconds.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
            tokio::time::sleep(seconds.expect("--for takes seconds, such as 2 or 0.5")).await;
        }
        _ => panic!("usage: graceful_shutdown [--for SECONDS]"),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = Bus::builder()
        .shards(2)
        .capacity(256)
        .processor("log", |cx: &ShardContext| SlowLog {
            shard: cx.shard(),
            written: 0,
            buffered: 0,
        })
        .build()?;
    let tasks: Vec<_> = (0..4).map(|task| tokio::spawn(work(bus.emitter(), task))).collect();

    println!("working; Ctrl-C ends it");
    tokio::select! {
        signal = ctrl_c() => signal?,
        () = time_is_up() => {}
    }

    println!("closing with {} events on their way", bus.stats().depth);
    let report = tokio::select! {
        report = bus.shutdown_async(DEADLINE) => report,
        _ = ctrl_c() => std::process::exit(130),
    };
    for task in tasks {
        let refused = task.await?;
        let reason = refused.to_string();
        println!("came back: {reason}, value {}", refused.into_event().into_value());
    }
    println!("{report}");
    std::process::exit(if report.is_clean() { 0 } else { 1 });
}
