//! Changing the processors of a running bus: the orders that the shards carry out.

use std::time::{Duration, Instant};

use super::SwapError;
use super::life::{Life, decline_all};
use crate::emit::is_home;
use crate::processor::Upcoming;
use crate::sync::{Arc, lock};
use crate::worker::{Control, Edit, Order, Replies, Reply};

/// How a replacement goes through the shards: [at once](Self::at_once), or one shard first, which is watched.
///
/// ```
/// use keylane::{Bus, NoopProcessor, Rollout, ShardContext};
/// use std::time::Duration;
///
/// let bus = Bus::builder().shards(2).processor("a", |_: &ShardContext| NoopProcessor).build()?;
/// let rollout = Rollout::canary(1).events(1000).within(Duration::from_millis(20)).allowed_faults(0);
/// bus.replace_processor_gradually("a", |_: &ShardContext| NoopProcessor, rollout)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    canary: Option<usize>,
    events: u64,
    within: Duration,
    allowed_faults: u64,
}

impl Rollout {
    /// Every shard switches as soon as it comes to it.
    pub fn at_once() -> Self {
        Self { canary: None, events: 256, within: Duration::from_secs(1), allowed_faults: 0 }
    }

    /// The shard of that number switches first and is watched, the others follow. A number past the last shard stands for the last.
    pub fn canary(shard: usize) -> Self {
        Self { canary: Some(shard), ..Self::at_once() }
    }

    /// How many events the first shard's new instance has to process before the others follow. Default: 256.
    pub fn events(mut self, events: u64) -> Self {
        self.events = events;
        self
    }

    /// How long to wait for these events at most; when fewer have come by then, the others follow all the same. Default: 1 s.
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// With more faults than this meanwhile, the first shard goes back to its old instance, and no other switches. Default: 0.
    pub fn allowed_faults(mut self, faults: u64) -> Self {
        self.allowed_faults = faults;
        self
    }
}

/// One step of an order.
type StepOf = fn(Arc<Order>) -> Control;

impl Life {
    pub(super) fn change(&self, name: &str, edit: Edit, rollout: Rollout) -> Result<(), SwapError> {
        if is_home(self.mesh()) {
            return Err(SwapError::OnShard);
        }
        // A shard that a shutdown left behind in a stuck processor would never answer.
        if self.mesh().shards.iter().any(|shard| shard.gate.is_closed_acquire()) {
            return Err(SwapError::Closed);
        }
        let mut processors = lock(&self.processors);
        let generation = match (&edit, processors.get(name)) {
            (Edit::Add(..), Some(_)) => return Err(SwapError::Exists { name: name.to_owned() }),
            (Edit::Replace(_) | Edit::Remove, None) => {
                let known = processors.keys().cloned().collect();
                return Err(SwapError::Unknown { name: name.to_owned(), known });
            }
            (_, current) => current.copied().unwrap_or(0) + 1,
        };
        if let Edit::Add(_, make) | Edit::Replace(make) = &edit {
            let upcoming = Upcoming { processor: name, generation, shards: self.desks.len() };
            make.prepare(&upcoming).map_err(|error| SwapError::Prepare {
                processor: name.to_owned(),
                message: error.to_string(),
            })?;
        }
        let removed = matches!(edit, Edit::Remove);
        let order = Arc::new(Order {
            name: name.to_owned(),
            generation,
            edit,
            keep_old: rollout.canary.is_some(),
            replies: Replies::new(),
        });
        if let Err(error) = self.carry_out(&order, &rollout) {
            // The shards that did build an instance let go of it; those that have ended cannot and need not.
            let _ = self.send(&order, Control::Undo, 0..self.desks.len());
            return Err(error);
        }
        if removed {
            processors.remove(name);
        } else {
            processors.insert(name.to_owned(), generation);
        }
        tracing::info!(
            bus = self.mesh().id,
            processor = name,
            generation,
            removed,
            "processor changed"
        );
        Ok(())
    }

    fn carry_out(&self, order: &Arc<Order>, rollout: &Rollout) -> Result<(), SwapError> {
        let shards = self.desks.len();
        let failed = |(shard, message)| {
            let processor = order.name.clone();
            SwapError::Factory { processor, shard, message }
        };
        self.send(order, Control::Prepare, 0..shards)
            .map_err(|answer| answer.into_error(failed))?;
        let failed = |(shard, message)| {
            let processor = order.name.clone();
            SwapError::HandOver { processor, shard, message }
        };
        let mut kept = false;
        let canary = rollout.canary.map_or(0..0, |shard| {
            let shard = shard.min(shards - 1);
            shard..shard + 1
        });
        if let Some(shard) = canary.clone().next() {
            kept |= self
                .send(order, Control::Commit, canary.clone())
                .map_err(|answer| answer.into_error(failed))?;
            self.watch(shard, &order.name, rollout)?;
        }
        for rest in [0..canary.start, canary.end..shards] {
            kept |= self
                .send(order, Control::Commit, rest)
                .map_err(|answer| answer.into_error(failed))?;
        }
        if kept {
            // Every shard has switched; a bus that is closed meanwhile shuts the old instances down itself.
            let _ = self.send(order, Control::Finish, 0..shards);
        }
        Ok(())
    }

    /// Sends one step to these shards and waits for all answers. True when some shard keeps its old instance.
    fn send(
        &self,
        order: &Arc<Order>,
        step: StepOf,
        shards: std::ops::Range<usize>,
    ) -> Result<bool, Answer> {
        for index in shards.clone() {
            let (shard, desk) = (&self.mesh().shards[index], &self.desks[index]);
            desk.push(step(order.clone()));
            if !shard.gate.announce_control() {
                // The worker is past its last look. Whoever takes the record from the desk answers it.
                decline_all(desk);
            }
        }
        let mut result = Ok(false);
        for reply in order.replies.wait(shards.len()) {
            match reply {
                Reply::Done => {}
                Reply::Kept => result = result.map(|_| true),
                Reply::Closed => result = Err(Answer::Closed),
                Reply::Failed { shard, message } => return Err(Answer::Failed(shard, message)),
            }
        }
        result
    }

    /// Waits until the new instance on `shard` has shown what it can do.
    fn watch(&self, shard: usize, name: &str, rollout: &Rollout) -> Result<(), SwapError> {
        let until = Instant::now() + rollout.within;
        loop {
            let processors = self.mesh().shards[shard].cells.processors.load_full();
            let cells = processors.iter().find(|cells| cells.name == name);
            let (events, faults) = cells.map_or((0, 0), |cells| cells.of_its_own());
            if faults > rollout.allowed_faults {
                return Err(SwapError::Canary {
                    processor: name.to_owned(),
                    shard,
                    events,
                    faults,
                    allowed: rollout.allowed_faults,
                });
            }
            if self.mesh().shards[shard].gate.is_closed_acquire() {
                return Err(SwapError::Closed);
            }
            if events >= rollout.events || Instant::now() >= until {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Why a step did not succeed on all shards.
enum Answer {
    Closed,
    /// The shard, and what went wrong.
    Failed(usize, String),
}

impl Answer {
    fn into_error(self, failed: impl Fn((usize, String)) -> SwapError) -> SwapError {
        match self {
            Self::Closed => SwapError::Closed,
            Self::Failed(shard, message) => failed((shard, message)),
        }
    }
}
