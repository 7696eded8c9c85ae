//! What a shutdown reports.

use std::fmt;
use std::time::Duration;

use serde_core::ser::{Serialize, SerializeStruct, Serializer};

use crate::stats::serialize_fields;

/// The outcome of a shutdown: `accepted = processed + faulted + abandoned`.
///
/// ```
/// use keylane::{Bus, EventType, NoopProcessorFactory};
/// use std::time::Duration;
///
/// let bus = Bus::builder().shards(1).processor("noop", NoopProcessorFactory).build()?;
/// bus.emitter().try_emit(EventType::user(0), "x", "key")?;
/// let report = bus.shutdown(Duration::from_secs(5));
/// assert!(report.is_clean());
/// assert_eq!((report.accepted, report.processed), (1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Events that the bus accepted in its life.
    pub accepted: u64,
    /// Events that all their processors got through.
    pub processed: u64,
    /// Events that some processor panicked on, or did not get because it was in quarantine.
    pub faulted: u64,
    /// Events that were accepted and not processed, because the deadline ran out. An event that had been through some of its
    /// processors and not all, or was in the middle of one, is among them.
    pub abandoned: u64,
    /// How long the shutdown took; as JSON `elapsed_s`, in seconds.
    pub elapsed: Duration,
    /// Per shard.
    pub shards: Vec<ShardReport>,
}

/// One shard in a [`ShutdownReport`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ShardReport {
    /// The shard's index, from 0.
    pub shard: usize,
    /// Whether the shard drained its rings, shut its processors down and ended in time.
    pub ended: bool,
    /// Whether the shard had processed all it had got, and only waited for what the processors of others might derive.
    pub waiting: bool,
    /// Events accepted.
    pub accepted: u64,
    /// Events processed.
    pub processed: u64,
    /// Events faulted.
    pub faulted: u64,
    /// Events abandoned.
    pub abandoned: u64,
}

serialize_fields!(ShardReport { shard, ended, waiting, accepted, processed, faulted, abandoned });

impl ShutdownReport {
    pub(crate) fn of(shards: Vec<ShardReport>, elapsed: Duration) -> Self {
        let sum = |field: fn(&ShardReport) -> u64| shards.iter().map(field).sum();
        Self {
            accepted: sum(|shard| shard.accepted),
            processed: sum(|shard| shard.processed),
            faulted: sum(|shard| shard.faulted),
            abandoned: sum(|shard| shard.abandoned),
            elapsed,
            shards,
        }
    }

    /// Whether every shard ended in time and no accepted event was abandoned. Faults do not make a shutdown unclean; they were
    /// reported when they happened.
    pub fn is_clean(&self) -> bool {
        self.abandoned == 0 && self.shards.iter().all(|shard| shard.ended)
    }

    /// The shards that were still at work when the deadline ran out. Those that waited for them are not among them.
    pub fn stuck_shards(&self) -> impl Iterator<Item = usize> + '_ {
        let stuck = |shard: &&ShardReport| !shard.ended && !shard.waiting;
        self.shards.iter().filter(stuck).map(|shard| shard.shard)
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, processed, faulted, abandoned, elapsed, .. } = self;
        write!(
            f,
            "accepted {accepted}, processed {processed}, faulted {faulted}, abandoned {abandoned} in {elapsed:.1?}"
        )?;
        let stuck: Vec<_> = self.stuck_shards().map(|shard| shard.to_string()).collect();
        if !stuck.is_empty() {
            write!(f, "; did not end in time: shard {}", stuck.join(", "))?;
        }
        Ok(())
    }
}

impl Serialize for ShutdownReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("ShutdownReport", 7)?;
        out.serialize_field("clean", &self.is_clean())?;
        out.serialize_field("accepted", &self.accepted)?;
        out.serialize_field("processed", &self.processed)?;
        out.serialize_field("faulted", &self.faulted)?;
        out.serialize_field("abandoned", &self.abandoned)?;
        out.serialize_field("elapsed_s", &self.elapsed.as_secs_f64())?;
        out.serialize_field("shards", &self.shards)?;
        out.end()
    }
}
