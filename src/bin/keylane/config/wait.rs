//! What a shard does while it has no events, by name.

use clap::ValueEnum;
use keylane::WaitStrategy;

/// `--wait`, and `wait` in `[bus]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// Spin: the lowest latency, a whole core for each shard
    BusySpin,
    /// Spin for a while, then sleep: low latency, and no cost when idle
    Adaptive,
    /// Sleep at once: the least CPU time
    Park,
    /// Look every 100 to 200 microseconds while events come: emits are cheapest, events wait a little
    Sleeping,
}

impl Wait {
    /// Reads the name.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Self::from_str(text, false)
            .map_err(|_| "no such strategy; write busy-spin, adaptive, park or sleeping".into())
    }
}

impl From<Wait> for WaitStrategy {
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::BusySpin => Self::BusySpin,
            Wait::Adaptive => Self::Adaptive,
            Wait::Park => Self::Park,
            Wait::Sleeping => Self::Sleeping,
        }
    }
}
