//! The work linked into the program: on events as they are, and on events as a plugin sees them.
//!
//! `plugins/tally.c` and `plugins/tally-rs` do the same in libraries.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use keylane::{Event, Processor};
use keylane_plugin_abi as abi;

pub(super) const KINDS: usize = 8;

/// Events by type, and the sum of their values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) counts: [u64; KINDS],
    pub(super) sum: u64,
}

impl Tally {
    /// What has come since `before`.
    pub(super) fn since(self, before: Self) -> Self {
        let counts =
            std::array::from_fn(|kind| self.counts[kind].wrapping_sub(before.counts[kind]));
        Self { counts, sum: self.sum.wrapping_sub(before.sum) }
    }
}

/// Where a processor leaves what it has counted when it ends.
pub(super) type Ledger = Arc<Mutex<Tally>>;

fn hand_in(ledger: &Ledger, tally: Tally) {
    *ledger.lock().unwrap_or_else(PoisonError::into_inner) = tally;
}

/// The floor of any dispatch: nothing lies between the shard and the work.
#[derive(Debug)]
pub(super) struct Direct {
    tally: Tally,
    ledger: Ledger,
}

impl Direct {
    pub(super) fn boxed(ledger: Ledger) -> Box<dyn Processor> {
        Box::new(Self { tally: Tally::default(), ledger })
    }
}

impl Processor for Direct {
    fn process(&mut self, event: &Event) {
        self.process_batch(&[event]);
    }

    fn process_batch(&mut self, events: &[&Event]) {
        for event in events {
            self.tally.counts[usize::from(event.kind().code()) % KINDS] += 1;
            if let Some(value) = event.get::<u64>() {
                self.tally.sum = self.tally.sum.wrapping_add(*value);
            }
        }
    }

    fn shutdown(&mut self) {
        hand_in(&self.ledger, self.tally);
    }
}

/// The floor of any C interface: every event is written as the struct that a plugin reads, and the work is behind a call that
/// nothing is known about.
///
/// It does less than a host has to: it reads no clock, gives all events of a batch the time of the first, knows the value's
/// type without looking it up, and has nothing to contain, to restart or to send on.
#[derive(Debug)]
pub(super) struct Converted {
    tally: Tally,
    events: Vec<abi::Event>,
    seq: u64,
    ledger: Ledger,
}

impl Converted {
    pub(super) fn boxed(ledger: Ledger) -> Box<dyn Processor> {
        Box::new(Self { tally: Tally::default(), events: Vec::new(), seq: 0, ledger })
    }
}

impl Processor for Converted {
    fn process(&mut self, event: &Event) {
        self.process_batch(&[event]);
    }

    fn process_batch(&mut self, events: &[&Event]) {
        let Some(first) = events.first() else { return };
        let time = first.time().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        if self.events.len() < events.len() {
            self.events.resize(events.len(), abi::Event::BLANK);
        }
        // Member by member and in its place, as the host does it: a struct that is copied there waits for its own writes.
        for (converted, event) in self.events.iter_mut().zip(events) {
            let (kind, bits) = match event.get::<u64>() {
                Some(value) => (abi::value_kind::U64, *value),
                None => (abi::value_kind::OPAQUE, 0),
            };
            converted.type_id = event.kind().code().into();
            converted.value_kind = kind;
            converted.hops = event.hops();
            converted.flags = abi::event_flag::KEYED;
            converted.key_len = 0;
            converted.value_len = 0;
            converted.seq = self.seq;
            converted.wall_ns = time as i64;
            converted.mono_ns = time as u64;
            converted.key_hash = event.key_hash();
            converted.key = std::ptr::null();
            converted.value.u64 = bits;
            self.seq += 1;
        }
        let batch = abi::Batch {
            struct_size: size_of::<abi::Batch>() as u32,
            count: events.len() as u32,
            events: self.events.as_ptr().cast(),
            event_stride: size_of::<abi::Event>(),
            shard: 0,
            shard_count: 1,
            flags: 0,
            reserved: 0,
            now_wall_ns: time as i64,
            now_mono_ns: time as u64,
        };
        // SAFETY: the batch has as many events as it says, at the stride that it says, and they live until the call returns.
        unsafe { tally(&mut self.tally, &batch) };
    }

    fn shutdown(&mut self) {
        hand_in(&self.ledger, self.tally);
    }
}

/// The work, as `process` of `plugins/tally.c` has it.
///
/// # Safety
/// The batch is what it says while the call lasts.
#[inline(never)]
unsafe extern "C" fn tally(tally: &mut Tally, batch: &abi::Batch) {
    for index in 0..batch.count as usize {
        let at = batch.events.cast::<u8>().wrapping_add(index * batch.event_stride);
        // SAFETY: the caller vouches for the events.
        let event = unsafe { &*at.cast::<abi::Event>() };
        tally.counts[event.type_id as usize % KINDS] += 1;
        if event.value_kind == abi::value_kind::U64 {
            // SAFETY: the kind says that the value is that member.
            tally.sum = tally.sum.wrapping_add(unsafe { event.value.u64 });
        }
    }
}

/// Does nothing: what it takes is what the measuring takes.
#[derive(Debug)]
pub(super) struct Nothing;

impl Processor for Nothing {
    fn process(&mut self, _: &Event) {}

    fn process_batch(&mut self, _: &[&Event]) {}
}
