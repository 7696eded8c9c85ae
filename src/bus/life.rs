//! The life of a bus: starting the shards, changing their processors, ending them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{BuildError, affinity};
use crate::diagnostics;
use crate::emit::{Emitter, Link, enter_shard, is_home};
use crate::processor::{FaultPolicy, Flusher, Hook, Make, Upcoming};
use crate::report::{ShardReport, ShutdownReport};
use crate::shard::{Mesh, Shard};
use crate::stats::Stats;
use crate::sync::{
    Arc, Condvar, Mutex, MutexGuard, Ordering, heavy_fence, lock, prepare_fences, thread,
};
use crate::worker::{Desk, Filter, Setup, Supervisor, WaitStrategy, Waiting, Worker};

/// What to start.
pub(super) struct Plan {
    pub(super) shards: usize,
    pub(super) capacity: usize,
    pub(super) max_rings: usize,
    pub(super) strategy: WaitStrategy,
    /// Cores that the caller may use.
    pub(super) parallelism: usize,
    pub(super) policy: FaultPolicy,
    pub(super) hook: Option<Hook>,
    pub(super) hop_limit: u8,
    pub(super) processors: Vec<(String, Filter, Make)>,
    /// Cores to bind the shards to, if any.
    pub(super) cores: Vec<usize>,
}

/// A running bus, as its handles see it.
pub(super) struct Life {
    mesh: Arc<Mesh>,
    pub(super) desks: Vec<Arc<Desk>>,
    /// The generation of each processor. Holding it serialises changes.
    pub(super) processors: Mutex<BTreeMap<String, u64>>,
    state: Arc<State>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

/// What the shards' threads report, and the final report.
struct State {
    progress: Mutex<Progress>,
    changed: Condvar,
}

struct Progress {
    shards: Vec<Phase>,
    /// Set once.
    report: Option<ShutdownReport>,
}

/// Where a shard's thread is.
enum Phase {
    Starting,
    Running,
    /// A factory failed: the processor's name and the reason.
    Failed(String, String),
    Ended,
}

impl State {
    fn set(&self, shard: usize, phase: Phase) {
        lock(&self.progress).shards[shard] = phase;
        self.changed.notify_all();
    }

    fn wait<'a>(&self, guard: MutexGuard<'a, Progress>) -> MutexGuard<'a, Progress> {
        self.changed.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Life {
    pub(super) fn start(plan: Plan) -> Result<Arc<Self>, BuildError> {
        for (processor, _, make) in &plan.processors {
            let upcoming = Upcoming { processor, generation: 1, shards: plan.shards };
            if let Err(error) = make.prepare(&upcoming) {
                let (processor, message) = (processor.clone(), error.to_string());
                return Err(BuildError::Prepare { processor, message });
            }
        }
        prepare_fences();
        let merging = Arc::default();
        let shard = |_| Shard::new(plan.capacity, plan.max_rings, Arc::clone(&merging));
        let shards: Box<[Shard]> = (0..plan.shards).map(shard).collect();
        let mesh = Arc::new(Mesh { id: next_id(), hop_limit: plan.hop_limit, shards });
        let desks: Vec<_> = (0..plan.shards).map(|_| Arc::new(Desk::new())).collect();
        let starting = (0..plan.shards).map(|_| Phase::Starting).collect();
        let state = Arc::new(State {
            progress: Mutex::new(Progress { shards: starting, report: None }),
            changed: Condvar::new(),
        });
        let generations = plan.processors.iter().map(|(name, ..)| (name.clone(), 1)).collect();
        let life = Arc::new(Self {
            mesh: mesh.clone(),
            desks: desks.clone(),
            processors: Mutex::new(generations),
            state,
            threads: Mutex::new(Vec::new()),
        });
        for (index, desk) in desks.into_iter().enumerate() {
            if let Err(error) = life.start_shard(&plan, index, desk) {
                lock(&life.state.progress).shards[index] = Phase::Ended;
                life.abort();
                return Err(BuildError::Thread { shard: index, error });
            }
        }
        life.wait_until_started()?;
        tracing::info!(
            bus = mesh.id,
            shards = plan.shards,
            capacity = plan.capacity,
            "bus started"
        );
        Ok(life)
    }

    fn start_shard(&self, plan: &Plan, index: usize, desk: Arc<Desk>) -> std::io::Result<()> {
        let mesh = self.mesh.clone();
        let state = self.state.clone();
        let link = Arc::new(Link { mesh: mesh.clone(), on_last_drop: None });
        let supervisor = Supervisor {
            shard: index,
            shards: plan.shards,
            policy: plan.policy,
            hook: plan.hook.clone(),
            emitter: Emitter::new(link),
            flusher: Flusher {
                mesh: mesh.clone(),
                desk: desk.clone(),
                shard: index,
                processor: "".into(),
            },
        };
        let processors = plan.processors.clone();
        let waiting = Waiting::new(plan.strategy, plan.parallelism);
        let core = plan.cores.get(index % plan.cores.len().max(1)).copied();
        let body = move || {
            if let Some(core) = core
                && let Err(error) = affinity::bind(core)
            {
                diagnostics::write(|| {
                    tracing::warn!(shard = index, core, %error, "shard runs unbound");
                });
            }
            enter_shard(&mesh, index);
            match Worker::new(Setup { index, mesh, desk, supervisor, waiting, processors }) {
                Ok(worker) => {
                    state.set(index, Phase::Running);
                    worker.run();
                    state.set(index, Phase::Ended);
                }
                Err((processor, message)) => state.set(index, Phase::Failed(processor, message)),
            }
        };
        let handle = thread::Builder::new().name(format!("keylane-{index}")).spawn(body)?;
        lock(&self.threads).push(handle);
        Ok(())
    }

    fn wait_until_started(&self) -> Result<(), BuildError> {
        let mut progress = lock(&self.state.progress);
        while progress.shards.iter().any(|phase| matches!(phase, Phase::Starting)) {
            progress = self.state.wait(progress);
        }
        let failed =
            progress.shards.iter_mut().enumerate().find_map(
                |(shard, phase)| match std::mem::replace(phase, Phase::Running) {
                    Phase::Failed(processor, message) => {
                        *phase = Phase::Ended;
                        Some(BuildError::Factory { processor, shard, message })
                    }
                    other => {
                        *phase = other;
                        None
                    }
                },
            );
        drop(progress);
        match failed {
            Some(error) => {
                self.abort();
                Err(error)
            }
            None => Ok(()),
        }
    }

    /// Ends a bus that never came to life.
    fn abort(&self) {
        for shard in &self.mesh.shards {
            shard.gate.close();
            shard.gate.abandon();
        }
        self.join();
    }

    fn join(&self) {
        for handle in std::mem::take(&mut *lock(&self.threads)) {
            if handle.join().is_err() {
                // Processors' panics are caught, so this is a fault of our own.
                tracing::error!("the thread of a shard panicked");
            }
        }
    }

    pub(super) fn mesh(&self) -> &Arc<Mesh> {
        &self.mesh
    }

    pub(super) fn stats(&self) -> Stats {
        let shards = self.mesh.shards.iter().enumerate();
        Stats::of(shards.map(|(index, shard)| shard.stats(index)).collect())
    }

    // ---- ending ----

    /// Refuses emits from now on, and wakes those that wait.
    pub(super) fn close(&self) {
        for shard in &self.mesh.shards {
            shard.gate.close();
        }
        heavy_fence();
        for shard in &self.mesh.shards {
            shard.wake_waiting();
        }
    }

    /// Drains the bus; see [`Bus::shutdown`](super::Bus::shutdown).
    pub(super) fn shut_down(&self, deadline: Duration) -> ShutdownReport {
        let began = Instant::now();
        if let Some(report) = &lock(&self.state.progress).report {
            return report.clone();
        }
        self.close();
        let mut progress = lock(&self.state.progress);
        if is_home(&self.mesh) {
            // A shard cannot wait for itself.
            return self.report(&progress, began.elapsed());
        }
        let until = began.checked_add(deadline);
        loop {
            if let Some(report) = &progress.report {
                return report.clone();
            }
            let ended = progress.shards.iter().all(|phase| matches!(phase, Phase::Ended));
            let left = until
                .map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            if ended || left.is_zero() {
                if !ended {
                    self.abandon(&progress);
                }
                let report = self.report(&progress, began.elapsed());
                progress.report = Some(report.clone());
                drop(progress);
                self.state.changed.notify_all();
                self.announce(&report);
                if ended {
                    self.join();
                }
                return report;
            }
            progress = match self.state.changed.wait_timeout(progress, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Tells the shards that have not ended to process nothing more. When this returns, what was accepted and what was processed
    /// do not change any more, but for the events that the shards are at.
    fn abandon(&self, progress: &Progress) {
        for ((shard, desk), phase) in self.mesh.shards.iter().zip(&self.desks).zip(&progress.shards)
        {
            if !matches!(phase, Phase::Ended) {
                shard.progress.stop.store(true, Ordering::Relaxed);
                shard.gate.abandon();
                // The shard may be stuck, and whoever waits for its answer with it.
                decline_all(desk);
            }
        }
        // An emit that found the gate open may be about to publish, and its event belongs into the report.
        heavy_fence();
        for shard in &self.mesh.shards {
            shard.wait_for_publications();
        }
    }

    fn report(&self, progress: &Progress, elapsed: Duration) -> ShutdownReport {
        let shards = self.mesh.shards.iter().zip(&progress.shards).enumerate();
        let report = |(shard, (state, phase)): (usize, (&Shard, &Phase))| {
            let processed = state.processed();
            let faulted = state.faulted();
            let accepted = state.accepted(processed + faulted);
            ShardReport {
                shard,
                ended: matches!(phase, Phase::Ended),
                waiting: state.progress.waiting.load(Ordering::Relaxed),
                accepted,
                processed,
                faulted,
                abandoned: accepted.saturating_sub(processed + faulted),
            }
        };
        ShutdownReport::of(shards.map(report).collect(), elapsed)
    }

    fn announce(&self, report: &ShutdownReport) {
        let (bus, clean) = (self.mesh.id, report.is_clean());
        if clean {
            tracing::info!(bus, %report, "bus shut down");
        } else {
            tracing::error!(bus, %report, "bus shut down, events abandoned");
        }
    }
}

/// Answers the control records of a shard that will not.
pub(super) fn decline_all(desk: &Desk) {
    while let Some(control) = desk.pop() {
        control.decline();
    }
}

fn next_id() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::worker::Control;
    use crate::{Bus, Event, EventType, Key, Processor, Reason, ShardContext};
    use std::sync::atomic::AtomicU64;

    /// Counts its last words.
    struct Counted(Arc<AtomicU64>);

    impl Processor for Counted {
        fn process(&mut self, _: &Event) {}

        fn shutdown(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_shard_that_collapses_leaves_nobody_waiting_and_the_others_at_work() {
        let last_words = Arc::new(AtomicU64::new(0));
        let bus = Bus::builder()
            .shards(2)
            .capacity(2)
            .processor("counted", {
                let last_words = last_words.clone();
                move |_: &ShardContext| Counted(last_words.clone())
            })
            .build()
            .expect("it builds");
        let key_of = |shard| {
            let mut numbers = (0u64..).map(Key::from);
            numbers.find(|key| key.shard(2) == Some(shard)).expect("there are many")
        };
        let (emitter, life) = (bus.emitter(), &bus.life);
        life.desks[0].push(Control::Panic);
        life.mesh.shards[0].gate.announce_control();
        // Blocks while the ring is full, and then is told.
        let refused = (0u64..)
            .find_map(|n| emitter.emit_blocking(EventType::user(0), n, key_of(0)).err())
            .expect("the shard accepts no more");
        assert_eq!(refused.reason(), Reason::Closed);
        for number in 0..100u64 {
            emitter.emit_blocking(EventType::user(0), number, key_of(1)).expect("it is at work");
        }
        let began = Instant::now();
        let report = bus.shutdown(Duration::from_secs(60));
        assert!(began.elapsed() < Duration::from_secs(50), "nobody waits for the dead");
        assert_eq!(report.shards[1].processed, 100);
        assert_eq!(report.accepted, report.processed + report.abandoned);
        assert_eq!(last_words.load(Ordering::Relaxed), 2);
    }
}
