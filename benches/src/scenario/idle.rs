//! `idle`: what a bus costs that has nothing to do.
//!
//! Everybody gets two consumers and one event each, so that whatever is set up with the first event is there, and then
//! nothing more.

use std::any::Any;
use std::thread;
use std::time::{Duration, Instant};

use keylane::{Bus, EventType, NoopProcessorFactory, WaitStrategy};
use tokio::runtime::Builder;

use super::Plan;
use crate::contender::{Card, Role};
use crate::cpu::{process_cpu, thread_cpu};
use crate::report::{Scenario, Table};

const CONSUMERS: usize = 2;
/// Seconds of a round.
const SECONDS: f64 = 1.0;
/// What is left of the first events is over by then.
const SETTLING: Duration = Duration::from_millis(50);

/// A bus or a set of channels with nothing to do, until it is dropped.
type Idle = Box<dyn Any>;

type Start = fn() -> Result<Idle, String>;

fn contenders() -> Vec<(Card, Start)> {
    let keylane = |name, role, settings| Card { name, role, package: Some("keylane"), settings };
    vec![
        (keylane("keylane", Role::Keylane, "WaitStrategy::Adaptive"), || {
            bus(WaitStrategy::Adaptive)
        }),
        (keylane("keylane-park", Role::Variant, "WaitStrategy::Park"), || bus(WaitStrategy::Park)),
        (
            keylane("keylane-spin", Role::Variant, "WaitStrategy::BusySpin, which never sleeps"),
            || bus(WaitStrategy::BusySpin),
        ),
        (Card::rival("crossbeam", "crossbeam-channel", "bounded; a thread in recv()"), crossbeam),
        (
            Card::rival("tokio", "tokio", "mpsc::channel; a thread in blocking_recv()"),
            tokio_threads,
        ),
        (
            Card::rival(
                "tokio-task",
                "tokio",
                "mpsc::channel; a task in recv().await, two workers",
            ),
            tokio_tasks,
        ),
    ]
}

pub(super) fn cards() -> Vec<Card> {
    contenders().into_iter().map(|(card, _)| card).collect()
}

pub(super) fn run(plan: &Plan) -> Result<Scenario, String> {
    let mut contenders = contenders();
    contenders.retain(|(card, _)| plan.admits(card));
    let cards: Vec<Card> = contenders.iter().map(|(card, _)| card.clone()).collect();
    let what = format!(
        "{CONSUMERS} consumers that have nothing to do; CPU of all threads but the one that \
         looks, and how often they wake up"
    );
    let mut scenario = Scenario::new("idle", what, &cards);
    let time = plan.seconds(SECONDS);
    scenario.note(format!(
        "{} rounds of {} s, taking turns",
        plan.rounds.count,
        time.as_secs_f64()
    ));
    eprintln!("idle: {} contenders, {} rounds and one more", cards.len(), plan.rounds.count);
    let rounds = plan.rounds.interleave(cards.len(), |index| {
        let idle = contenders[index].1()?;
        thread::sleep(SETTLING);
        let others = || process_cpu().saturating_sub(thread_cpu());
        let (cpu, wakes, start) = (others(), wakeups(), Instant::now());
        thread::sleep(time);
        let elapsed = start.elapsed().as_secs_f64();
        let share = others().saturating_sub(cpu).as_secs_f64() / elapsed * 100.0;
        let wakes = wakeups()
            .zip(wakes)
            .map(|(after, before)| after.saturating_sub(before) as f64 / elapsed);
        drop(idle);
        Ok::<_, String>((share, wakes))
    })?;
    let mut table = Table::new("idle", &[("CPU", "% of a core"), ("wake-ups", "per second")]);
    for (card, rounds) in cards.iter().zip(rounds) {
        let (shares, wakes): (Vec<_>, Vec<_>) = rounds.into_iter().unzip();
        table.row(card.name, card.role, [shares, wakes.into_iter().flatten().collect()]);
    }
    scenario.tables.push(table);
    Ok(scenario.done(plan))
}

/// How often the threads of this process but the calling one have gone to sleep so far, which is how often they were woken.
fn wakeups() -> Option<u64> {
    let own = std::process::id().to_string();
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        if task.file_name().to_str() == Some(&own) {
            continue;
        }
        // A thread that has ended meanwhile does not wake up any more.
        let Ok(status) = std::fs::read_to_string(task.path().join("status")) else { continue };
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"))?;
        sum += line.split_ascii_whitespace().last()?.parse::<u64>().ok()?;
    }
    Some(sum)
}

fn bus(strategy: WaitStrategy) -> Result<Idle, String> {
    let bus =
        Bus::builder().shards(CONSUMERS).wait(strategy).processor("nothing", NoopProcessorFactory);
    let bus = bus.build().map_err(|error| error.to_string())?;
    for key in 0..16_u64 {
        bus.emitter()
            .emit_blocking(EventType::user(0), key, key)
            .map_err(|error| error.to_string())?;
    }
    Ok(Box::new(bus))
}

fn crossbeam() -> Result<Idle, String> {
    let senders: Vec<_> = (0..CONSUMERS)
        .map(|consumer| {
            let (sender, receiver) = crossbeam_channel::bounded::<usize>(1024);
            thread::spawn(move || receiver.iter().count());
            sender.send(consumer).map(|()| sender).map_err(|error| error.to_string())
        })
        .collect::<Result<_, _>>()?;
    Ok(Box::new(senders))
}

fn tokio_threads() -> Result<Idle, String> {
    let senders: Vec<_> = (0..CONSUMERS)
        .map(|consumer| {
            let (sender, mut receiver) = tokio::sync::mpsc::channel::<usize>(1024);
            thread::spawn(move || while receiver.blocking_recv().is_some() {});
            sender.blocking_send(consumer).map(|()| sender).map_err(|error| error.to_string())
        })
        .collect::<Result<_, _>>()?;
    Ok(Box::new(senders))
}

fn tokio_tasks() -> Result<Idle, String> {
    let runtime = Builder::new_multi_thread().worker_threads(CONSUMERS).enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let senders: Vec<_> = (0..CONSUMERS)
        .map(|consumer| {
            let (sender, mut receiver) = tokio::sync::mpsc::channel::<usize>(1024);
            runtime.spawn(async move { while receiver.recv().await.is_some() {} });
            sender.blocking_send(consumer).map(|()| sender).map_err(|error| error.to_string())
        })
        .collect::<Result<_, _>>()?;
    Ok(Box::new((senders, runtime)))
}
