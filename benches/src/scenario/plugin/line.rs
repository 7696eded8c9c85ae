//! One bus with one shard, all contenders behind one another, and batches of one size in lock step.
//!
//! Every batch goes to each contender in turn, so whatever the machine does meanwhile meets all of them. The last processor in line
//! holds the shard back until the next batch is there as a whole, and the producer sends that only when it has seen the one before:
//! so the shard finds batches of exactly one size, and nothing else is under way while the clock runs.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::yield_now;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use keylane::plugin::PluginFactory;
use keylane::{
    Bus, Event, EventType, Key, Processor, ProcessorFactory, Refusal, ShardContext, Upcoming, Value,
};

use super::library::Library;
use super::linked::{KINDS, Ledger, Nothing, Tally};

/// Longer than any pause that a shared machine makes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Looks before a thread that waits lets others run.
const SPINS: u32 = 10_000;

/// What stands in line.
#[derive(Debug)]
pub(super) enum Contender {
    /// Shows what the clock and the call cost.
    Nothing,
    Linked(fn(Ledger) -> Box<dyn Processor>),
    Library(Library),
}

/// How far producer and shard are.
#[derive(Debug, Default)]
struct Steps {
    sent: CachePadded<AtomicU64>,
    seen: CachePadded<AtomicU64>,
}

/// Lets the shard go on to its end, however the producer ends.
struct NoMore<'a>(&'a Steps);

impl Drop for NoMore<'_> {
    fn drop(&mut self) {
        self.0.sent.store(u64::MAX, Ordering::Release);
    }
}

fn until(mut reached: impl FnMut() -> bool) {
    let mut looks = 0;
    while !reached() {
        if looks < SPINS {
            looks += 1;
            spin_loop();
        } else {
            yield_now();
        }
    }
}

/// Sends `batches` batches of `size` events through a line that begins with contender number `first`; returns for each contender,
/// in their own order, the nanoseconds that a batch took in it.
///
/// # Errors
///
/// When a batch came in pieces, an event was lost, or a contender counted anything else than what was sent.
pub(super) fn run(
    contenders: &[(&'static str, Contender)],
    first: usize,
    size: u64,
    batches: u64,
) -> Result<Vec<f64>, String> {
    let steps = Arc::new(Steps::default());
    let places: Vec<Place> =
        contenders.iter().map(|_| Place::new(size as usize, batches as usize)).collect();
    let mut bus = Bus::builder().shards(1).capacity(1024);
    for index in (0..contenders.len()).map(|index| (index + first) % contenders.len()) {
        let (name, contender) = &contenders[index];
        bus = bus.processor(*name, places[index].factory(contender)?);
    }
    let last = steps.clone();
    let bus = bus.processor("last", move |_: &ShardContext| Last { steps: last.clone(), seen: 0 });
    let counted_before = counted(contenders);
    let bus = bus.build().map_err(|error| error.to_string())?;
    let expected = send(&bus, &steps, size, batches)?;
    let report = bus.shutdown(PATIENCE);
    if report.processed != expected.counts.iter().sum::<u64>() || !report.is_clean() {
        return Err(format!("the shutdown report: {report:?}"));
    }
    let mut nanos = Vec::new();
    for (((name, contender), place), before) in contenders.iter().zip(&places).zip(counted_before) {
        let tally = match contender {
            Contender::Nothing => expected,
            Contender::Linked(_) => *place.ledger.lock().unwrap_or_else(PoisonError::into_inner),
            Contender::Library(library) => library.counted(name).since(before),
        };
        if tally != expected {
            return Err(format!("{name} counted {tally:?}, not {expected:?}"));
        }
        let mut times = std::mem::take(&mut *place.times());
        if (times.len() as u64) < batches {
            return Err(format!("{name} got {} batches whole, not {batches}", times.len()));
        }
        nanos.push(middle(&mut times));
    }
    Ok(nanos)
}

/// What the libraries have counted so far: their numbers go on from bus to bus.
fn counted(contenders: &[(&'static str, Contender)]) -> Vec<Tally> {
    let counted = |(name, contender): &(&str, Contender)| match contender {
        Contender::Library(library) => library.counted(name),
        _ => Tally::default(),
    };
    contenders.iter().map(counted).collect()
}

/// Sends a single event, with which the lock step begins, and then the batches; returns what is to be counted.
fn send(bus: &Bus, steps: &Steps, size: u64, batches: u64) -> Result<Tally, String> {
    let _no_more = NoMore(steps);
    let mut producer = bus.producer();
    let mut expected = Tally::default();
    let mut sent = 0;
    for size in std::iter::once(1).chain((0..batches).map(|_| size)) {
        let event = |number: u64| {
            expected.counts[number as usize % KINDS] += 1;
            expected.sum = expected.sum.wrapping_add(number);
            let kind = EventType::user((number % KINDS as u64) as u16);
            (kind, Value::new(number), Key::from_hash(number))
        };
        producer.emit_batch((sent..sent + size).map(event)).map_err(|error| error.to_string())?;
        sent += size;
        steps.sent.store(sent, Ordering::Release);
        until(|| steps.seen.load(Ordering::Acquire) >= sent);
    }
    Ok(expected)
}

/// The mean of the middle half: interruptions and cold caches lie outside of it, and it is finer than the clock.
fn middle(times: &mut [u32]) -> f64 {
    times.sort_unstable();
    let quarter = times.len() / 4;
    let half = &times[quarter..times.len() - quarter];
    half.iter().map(|nanos| f64::from(*nanos)).sum::<f64>() / half.len() as f64
}

/// A contender's place in line: builds it inside of a stop-watch.
#[derive(Debug)]
struct Place {
    size: usize,
    batches: usize,
    ledger: Ledger,
    times: Arc<Mutex<Vec<u32>>>,
}

impl Place {
    fn new(size: usize, batches: usize) -> Self {
        Self { size, batches, ledger: Ledger::default(), times: Arc::default() }
    }

    fn times(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn factory(&self, contender: &Contender) -> Result<Factory, String> {
        let make = match contender {
            Contender::Nothing => Make::Linked(|_| Box::new(Nothing)),
            Contender::Linked(make) => Make::Linked(*make),
            Contender::Library(library) => Make::Plugin(library.factory()?),
        };
        let Self { size, batches, ledger, times } = self;
        let place =
            Self { size: *size, batches: *batches, ledger: ledger.clone(), times: times.clone() };
        Ok(Factory { make, place })
    }
}

enum Make {
    Linked(fn(Ledger) -> Box<dyn Processor>),
    Plugin(PluginFactory),
}

struct Factory {
    make: Make,
    place: Place,
}

impl ProcessorFactory for Factory {
    type Processor = Timed;
    type Error = String;

    fn prepare(&self, upcoming: &Upcoming<'_>) -> Result<(), String> {
        match &self.make {
            Make::Linked(_) => Ok(()),
            Make::Plugin(plugin) => plugin.prepare(upcoming).map_err(|error| error.to_string()),
        }
    }

    fn create(&self, cx: &ShardContext) -> Result<Timed, String> {
        let inner = match &self.make {
            Make::Linked(make) => make(self.place.ledger.clone()),
            Make::Plugin(plugin) => Box::new(plugin.create(cx).map_err(|error| error.to_string())?),
        };
        let Place { size, batches, times, .. } = &self.place;
        let own = Vec::with_capacity(batches + 1);
        Ok(Timed { inner, size: *size, own, times: times.clone() })
    }
}

/// A processor with a stop-watch around every batch of the size that counts. All contenders are called in the same way.
struct Timed {
    inner: Box<dyn Processor>,
    size: usize,
    own: Vec<u32>,
    times: Arc<Mutex<Vec<u32>>>,
}

impl Processor for Timed {
    fn process(&mut self, event: &Event) {
        self.process_batch(&[event]);
    }

    fn process_batch(&mut self, events: &[&Event]) {
        let start = Instant::now();
        // As for the shard, nothing is known about who is called.
        black_box(&mut self.inner).process_batch(black_box(events));
        let nanos = start.elapsed().as_nanos();
        if events.len() == self.size {
            self.own.push(u32::try_from(nanos).unwrap_or(u32::MAX));
        }
    }

    fn flush(&mut self) {
        self.inner.flush();
    }

    fn shutdown(&mut self) {
        self.inner.shutdown();
        let own = std::mem::take(&mut self.own);
        *self.times.lock().unwrap_or_else(PoisonError::into_inner) = own;
    }

    fn refused(&mut self) -> Option<Refusal> {
        self.inner.refused()
    }
}

/// The end of the line: says that a batch is through, and holds the shard until the next one is there.
struct Last {
    steps: Arc<Steps>,
    seen: u64,
}

impl Processor for Last {
    fn process(&mut self, event: &Event) {
        self.process_batch(&[event]);
    }

    fn process_batch(&mut self, events: &[&Event]) {
        self.seen += events.len() as u64;
        self.steps.seen.store(self.seen, Ordering::Release);
        until(|| self.steps.sent.load(Ordering::Acquire) > self.seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_leaves_out_the_ends() {
        assert_eq!(middle(&mut [9000, 1, 10, 12, 11, 13, 0, 8000]), 11.5);
        assert_eq!(middle(&mut [7]), 7.0);
    }
}
