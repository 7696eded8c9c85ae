//! What the models in `loom-tests` see of the inside. Exists under `--cfg loom` only and promises nothing.
//!
//! Most models drive a whole [`Bus`](crate::Bus). These are for the others: those that are too large with a whole bus around
//! them, and those that put the real parts together in a wrong way, to see that the checker notices.

use std::any::Any;
use std::task::Waker;

use crate::event::{Body, Event, EventType, Tag, Value};
use crate::ring::{self, WaiterId};
use crate::sync::{Arc, thread};
use crate::{shard, worker};

/// A ring.
#[derive(Debug)]
pub struct Ring<T>(Arc<ring::Ring<T>>);

impl<T> Clone for Ring<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Ring<T> {
    /// A ring of `capacity` slots.
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(ring::Ring::new(capacity)))
    }

    /// The producer's end.
    pub fn inlet(&self) -> Inlet<T> {
        Inlet(ring::Inlet::new(self.0.clone()))
    }

    /// The consumer's end.
    pub fn outlet(&self) -> Outlet<T> {
        Outlet(ring::Outlet::new(self.0.clone()))
    }

    /// Whether there is room.
    pub fn has_room(&self) -> bool {
        self.0.has_room()
    }

    /// Whether the producer is in the middle of an emit.
    pub fn is_busy(&self) -> bool {
        self.0.is_busy()
    }

    /// Whether the producer is gone.
    pub fn is_orphaned(&self) -> bool {
        self.0.is_orphaned()
    }

    /// Enters the list of waiters.
    pub fn enter_waiters(&self, waker: Waker) -> WaiterPlace<T> {
        WaiterPlace { ring: self.0.clone(), id: self.0.enter_waiters(waker).0 }
    }
}

/// A place in the list of waiters.
#[derive(Debug)]
pub struct WaiterPlace<T> {
    ring: Arc<ring::Ring<T>>,
    id: WaiterId,
}

impl<T> WaiterPlace<T> {
    /// Leaves the list; false when the waiter had been woken.
    pub fn leave(self) -> bool {
        self.ring.leave_waiters(self.id)
    }
}

/// The producer's end of a ring.
#[derive(Debug)]
pub struct Inlet<T>(ring::Inlet<T>);

impl<T> Inlet<T> {
    /// Whether a slot is free.
    pub fn has_room(&mut self) -> bool {
        self.0.has_room()
    }

    /// Whether so many slots are free.
    pub fn has_room_for(&mut self, count: u64) -> bool {
        self.0.has_room_for(count)
    }

    /// Marks the ring busy.
    pub fn begin(&mut self) {
        self.0.begin();
    }

    /// Publishes.
    ///
    /// # Panics
    /// When there is no room.
    pub fn publish(&mut self, body: T) {
        assert!(self.0.has_room(), "a model publishes without room");
        // SAFETY: there is room, as asked above.
        unsafe { self.0.publish(0, body) };
    }

    /// Publishes a group.
    ///
    /// # Panics
    /// When there is no room for all of it.
    pub fn publish_group(&mut self, bodies: impl IntoIterator<Item = T>) {
        let filled = |body| ring::Slot::filled(ring::DROPS, body);
        let mut group: Vec<_> = bodies.into_iter().map(filled).collect();
        assert!(self.0.has_room_for(group.len() as u64), "a model publishes without room");
        // SAFETY: there is room, as asked above, and slots drop nothing.
        unsafe { self.0.publish_group(&mut group) };
    }

    /// Clears the busy mark.
    pub fn end(&mut self) {
        self.0.end();
    }

    /// Declares the producer gone.
    pub fn orphan(&self) {
        self.0.orphan();
    }
}

/// The consumer's end of a ring.
#[derive(Debug)]
pub struct Outlet<T>(ring::Outlet<T>);

impl<T> Outlet<T> {
    /// Hands the next event to `f` and moves past it.
    pub fn read<R>(&mut self, f: impl FnOnce(&T) -> R) -> Option<R> {
        let slot = self.0.peek()?;
        // SAFETY: `peek` has found the slot filled, and it is released only by this outlet, which `slot` borrows.
        let result = f(unsafe { slot.body() });
        self.0.advance(ring::DROPS);
        Some(result)
    }

    /// Whether the next event is there.
    pub fn is_ready(&self) -> bool {
        self.0.peek().is_some()
    }

    /// Drops what was read and gives the slots back.
    pub fn release(&mut self, on_panic: impl FnMut(Box<dyn Any + Send>)) -> bool {
        self.0.release(on_panic)
    }

    /// Wakes those who wait for room.
    pub fn wake_waiters(&self) {
        self.0.wake_waiters();
    }
}

/// A shard without its thread.
#[derive(Debug)]
pub struct Shard(shard::Shard);

impl Shard {
    /// A shard whose rings have `capacity` slots.
    pub fn new(capacity: usize) -> Self {
        Self(shard::Shard::new(capacity, usize::MAX, Arc::default()))
    }

    /// A ring to the shard.
    pub fn open_ring(&self) -> Lane {
        Lane(self.0.open_ring(shard::Owner::Producer).expect("rings are not limited"))
    }

    /// A stamp for an event to the shard.
    pub fn stamp(&self) -> u64 {
        self.0.stamp()
    }

    /// A stamp that is in no order with what the thread has seen.
    pub fn unordered_stamp(&self) -> u64 {
        self.0.clock.stamp(false)
    }

    /// A watermark of the shard's clock.
    pub fn watermark(&self) -> u64 {
        self.0.clock.watermark()
    }

    /// Makes the calling thread the one that the gate wakes.
    pub fn set_worker(&self) {
        self.0.gate.set_worker(thread::current());
    }

    /// As the worker does before it looks for the last time.
    pub fn prepare_to_park(&self) -> bool {
        self.0.gate.prepare_to_park(false)
    }

    /// Sleeps until somebody wakes the worker.
    pub fn park(&self) {
        self.0.gate.park();
    }

    /// Takes the announcement back.
    pub fn stay_awake(&self) {
        self.0.gate.stay_awake();
    }

    /// Wakes the worker if it sleeps.
    pub fn wake_if_asleep(&self) {
        self.0.gate.wake_if_asleep();
    }

    /// Closes the gate.
    pub fn close(&self) {
        self.0.gate.close();
    }

    /// Whether the gate is closed.
    pub fn is_closed(&self) -> bool {
        self.0.gate.is_closed()
    }
}

/// A way to a [`Shard`].
#[derive(Debug)]
pub struct Lane(ring::Inlet<Body>);

impl Lane {
    /// Publishes a value with a stamp of the model's choice.
    ///
    /// # Panics
    /// When there is no room.
    pub fn publish(&mut self, stamp: u64, value: impl Into<Value>) {
        assert!(self.0.has_room(), "a model publishes without room");
        let value = value.into();
        let tag = Tag::new(EventType::user(0), 0, true).dropping(value.needs_drop());
        let body = Body { stamp, key_hash: 0, value };
        self.0.begin();
        // SAFETY: there is room, as asked above.
        unsafe { self.0.publish(tag.bits(), body) };
        self.0.end();
    }
}

/// The reading half of a worker.
#[derive(Debug, Default)]
pub struct Reader {
    outlets: Vec<ring::Outlet<Body>>,
    merge: worker::Merge,
}

impl Reader {
    /// Reads the shard's list of rings.
    pub fn watch(&mut self, shard: &Shard) {
        shard.0.gate.acknowledge();
        for (ring, _) in shard.0.rings() {
            if !self.outlets.iter().any(|outlet| Arc::ptr_eq(outlet.ring(), &ring)) {
                self.outlets.push(ring::Outlet::new(ring));
            }
        }
    }

    /// Whether some ring that is known has an event.
    pub fn is_ready(&self) -> bool {
        self.outlets.iter().any(|outlet| outlet.peek().is_some())
    }

    /// Merges the rings that are known below the watermark, and hands each event to `f`.
    pub fn round(&mut self, watermark: u64, mut f: impl FnMut(&Event)) {
        let mut batch = Vec::with_capacity(4);
        self.merge.read(&mut self.outlets, watermark, &mut batch);
        for event in batch {
            // SAFETY: the merge returns events in filled slots, which are released below.
            f(unsafe { &*event });
        }
        for outlet in &mut self.outlets {
            outlet.release(|payload| std::panic::resume_unwind(payload));
        }
    }
}
