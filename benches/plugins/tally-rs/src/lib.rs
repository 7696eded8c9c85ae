//! Counts events by type and sums up their values: the work of the benchmark `plugin`, as `../../tally.c` does it in C.
//!
//! What it has counted goes to the host at a flush, so that the benchmark can compare it with what was sent.

use keylane_plugin::{
    Counter, Create, Cx, Error, Event, FlushReason, Info, NoConfig, Outcome, Processor,
    export_plugin,
};

/// The processor.
#[derive(Debug)]
pub struct Tally {
    counts: [u64; 8],
    sum: u64,
    /// Where the host reads them.
    shown: [Counter; 9],
}

impl Processor for Tally {
    type Config = NoConfig;
    const INFO: Info = Info::new("io.keylane.bench.tally-rs", env!("CARGO_PKG_VERSION"));

    fn create(_: NoConfig, cx: &Create<'_>) -> Result<Self, Error> {
        let counter = |index: usize| match index {
            8 => cx.counter("sum"),
            kind => cx.counter(&format!("count{kind}")),
        };
        Ok(Self { counts: [0; 8], sum: 0, shown: std::array::from_fn(counter) })
    }

    #[inline]
    fn process(&mut self, event: &Event<'_>, _: &Cx<'_>) -> Outcome {
        self.counts[(event.kind().code() & 7) as usize] += 1;
        if let Some(value) = event.as_u64() {
            self.sum = self.sum.wrapping_add(value);
        }
        Ok(())
    }

    fn flush(&mut self, _: FlushReason, _: &Cx<'_>) -> Outcome {
        let (counts, sum) = (std::mem::take(&mut self.counts), std::mem::take(&mut self.sum));
        for (shown, count) in self.shown.iter().zip(counts.iter().chain([&sum])) {
            shown.add(*count);
        }
        Ok(())
    }
}

export_plugin!(Tally);
