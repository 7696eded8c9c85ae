//! The rings of one producer, one per shard, opened when they are first needed.

use super::group::Group;
use crate::clock;
use crate::event::{Body, Event, EventType, Parts, RawKind, RawValue, Tag, Word, delivery};
use crate::key::{Key, route};
use crate::ring::{Inlet, Ring};
use crate::shard::{Merging, Mesh, Owner, Shard};
use crate::sync::{Arc, lock};

/// An event that was not accepted, and why.
pub(crate) struct Refused {
    pub(crate) parts: Parts,
    pub(crate) why: Why,
}

/// Why an event was not accepted.
pub(crate) enum Why {
    /// This ring is full.
    Full(Arc<Ring<Body>>),
    Closed,
    /// Derived too often.
    HopLimit,
}

/// Why a group was not accepted as a whole.
pub(super) enum GroupRefused {
    /// Some ring has no room for its share at the moment.
    Full,
    /// Some ring is not open yet, or is shared; the bus is closed; or a shard's own thread emits. Then events go one by one.
    Unfit,
}

/// The rings of one producer.
pub(crate) struct Rings {
    /// Tells all rings of the process apart, see [`Self::take_thread`].
    id: u64,
    mesh: Arc<Mesh>,
    /// A stamp serves for any shard.
    one_clock: bool,
    merging: Arc<Merging>,
    lanes: Box<[Lane]>,
    /// Chooses shards for events without a key.
    spread: u64,
    /// The shard whose thread these rings belong to: its emits are derived events.
    home: Option<usize>,
    /// Emits in a row that overtook waiting ones, see [`Self::may_overtake`].
    overtaken: u32,
}

/// The way to one shard.
enum Lane {
    Unopened,
    Own(Inlet<Body>),
    /// Through the ring that all share who have none of their own.
    Common,
}

/// How often an emit in a row may take room that others wait for, before it has to queue up behind them.
const MAX_OVERTAKING: u32 = 64;

impl std::fmt::Debug for Rings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rings").field("home", &self.home).finish_non_exhaustive()
    }
}

impl Rings {
    pub(crate) fn new(mesh: Arc<Mesh>, home: Option<usize>) -> Self {
        let lanes = mesh.shards.iter().map(|_| Lane::Unopened).collect();
        // Producers start at different shards, or their keyless events would meet. Shards are chosen by the upper bits, and the
        // clock differs in the lower ones, hence the hash.
        let start = (&raw const *mesh as u64) ^ clock::now();
        let spread = seahash::hash(&start.to_le_bytes());
        let one_clock = mesh.shards[0].clock.is_global();
        let merging = mesh.shards[0].merging().clone();
        Self { id: next_id(), mesh, one_clock, merging, lanes, spread, home, overtaken: 0 }
    }

    /// Rings without rings of their own: everything goes through the common ones.
    pub(crate) fn common(mesh: Arc<Mesh>) -> Self {
        let mut rings = Self::new(mesh, None);
        rings.lanes.fill_with(|| Lane::Common);
        rings
    }

    pub(crate) fn mesh(&self) -> &Arc<Mesh> {
        &self.mesh
    }

    /// The hash that routes an event: its key's, or for no key one that spreads evenly.
    #[inline(always)]
    pub(crate) fn hash(&mut self, key: Key) -> u64 {
        if !key.is_present() {
            // A Weyl sequence: its upper bits visit all shards equally often.
            self.spread = self.spread.wrapping_add(0x9e37_79b9_7f4a_7c15);
        }
        key.hash_or(self.spread)
    }

    /// Makes what this thread has published in other rings visible to all, before a stamp is taken for these.
    ///
    /// The worker's watermark relies on it that an event whose emit has returned is visible when a later one is stamped. Towards
    /// another thread that is so: whatever tells it of the first emit leaves this core behind the event. A thread
    /// itself may be ahead of its own stores: the event sits in the core's store buffer, the time stamp counter goes on, and
    /// a round that took its watermark in between would find the second ring's event and not the first one's. So it costs a full
    /// fence to change from one set of rings to another (an emitter and a producer on one thread, two producers), and
    /// nothing to stay. A counted clock needs none: its read-modify-write waits for the stores before it.
    #[inline(always)]
    fn take_thread(&self) {
        // The models count their stamps.
        #[cfg(loom)]
        let _ = self.id;
        #[cfg(not(loom))]
        {
            thread_local! {
                /// The rings that this thread has emitted through last.
                static LAST: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
            }
            if LAST.get() != self.id {
                LAST.set(self.id);
                crate::sync::fence(crate::sync::Ordering::SeqCst);
            }
        }
    }

    /// Publishes an event if there is room, and nobody has to be let in before; see [`may_overtake`](Self::may_overtake).
    #[inline(always)]
    pub(crate) fn try_emit_in_turn(
        &mut self,
        kind: EventType,
        value: RawValue,
        key: Key,
    ) -> Result<(), Refused> {
        let key_hash = self.hash(key);
        let tag = Tag::new(kind, 0, key.is_present());
        self.take_thread();
        if self.lanes.len() == 1 {
            return self.try_emit_in_turn_to(0, tag, None, key_hash, value);
        }
        let (index, stamp) = self.stamp_and_route(key_hash);
        self.try_emit_in_turn_to(index, tag, stamp, key_hash, value)
    }

    /// Publishes an event if there is room.
    #[inline(always)]
    pub(crate) fn try_emit(
        &mut self,
        kind: EventType,
        value: RawValue,
        key: Key,
    ) -> Result<(), Refused> {
        let key_hash = self.hash(key);
        self.try_emit_routed(Tag::new(kind, 0, key.is_present()), key_hash, value)
    }

    /// Publishes an event whose hash is known: a second call of [`hash`](Self::hash) would route a keyless one elsewhere.
    #[inline(always)]
    pub(crate) fn try_emit_routed(
        &mut self,
        tag: Tag,
        key_hash: u64,
        value: RawValue,
    ) -> Result<(), Refused> {
        self.take_thread();
        // Not by the formula, so that nothing has to wait for the hash, and in a branch of its own, or the compiler makes one
        // formula of both: see `stamp_and_route`.
        if self.lanes.len() == 1 {
            return self.try_emit_to(0, tag, None, key_hash, value);
        }
        let (index, stamp) = self.stamp_and_route(key_hash);
        self.try_emit_to(index, tag, stamp, key_hash, value)
    }

    /// The way of an event where there are several, and its stamp, if the shards share a clock.
    ///
    /// The stamp has a fence, which waits for all that was begun before it. The way from the hash to the ring takes half as long as the
    /// hash itself; behind the fence it runs while the next event is drawn and hashed. With one shard the ring is known
    /// beforehand and looked at while the hash is under way, so there the stamp comes when all that is done, in [`publish`]. Measured on one
    /// core: 33 ns an emit with hash, route, ring, and stamp in this order, 30 and 28 with these.
    #[inline(always)]
    fn stamp_and_route(&self, key_hash: u64) -> (usize, Option<u64>) {
        let stamp = self.global_stamp();
        (route(key_hash, self.lanes.len()), stamp)
    }

    /// A stamp for whatever shard, if they share a clock.
    #[inline(always)]
    fn global_stamp(&self) -> Option<u64> {
        self.one_clock.then(|| clock::global_stamp(self.merging.any()))
    }

    #[inline(always)]
    fn try_emit_in_turn_to(
        &mut self,
        index: usize,
        tag: Tag,
        stamp: Option<u64>,
        key_hash: u64,
        value: RawValue,
    ) -> Result<(), Refused> {
        match self.may_overtake(index) {
            Ok(()) => self.try_emit_to(index, tag, stamp, key_hash, value),
            Err(ring) => refuse(tag, key_hash, value, Why::Full(ring)),
        }
    }

    /// Publishes an event to a shard, if there is room. `stamp` is that of this emit, and not older.
    #[inline(always)]
    fn try_emit_to(
        &mut self,
        index: usize,
        tag: Tag,
        stamp: Option<u64>,
        key_hash: u64,
        value: RawValue,
    ) -> Result<(), Refused> {
        if self.home.is_none()
            && let Lane::Own(inlet) = &mut self.lanes[index]
        {
            let shard = &self.mesh.shards[index];
            return publish(inlet, shard, tag, stamp, key_hash, value);
        }
        let (kind, a, b, c, d) = value.split();
        self.try_emit_slowly(index, tag, key_hash, kind, a, b, c, d)
    }

    /// Publishes an event if that leaves a quarter of the ring free.
    #[cfg(feature = "http")]
    pub(crate) fn try_emit_sparing(
        &mut self,
        kind: EventType,
        value: RawValue,
        key: Key,
    ) -> Result<(), Refused> {
        let key_hash = self.hash(key);
        let tag = Tag::new(kind, 0, key.is_present());
        let index = route(key_hash, self.lanes.len());
        let shard = &self.mesh.shards[index];
        let short_of = |inlet: &mut Inlet<Body>| {
            let spare = inlet.ring().capacity() / 4;
            (!inlet.has_room_for(1 + spare)).then(|| inlet.ring().clone())
        };
        let short = match &mut self.lanes[index] {
            Lane::Own(inlet) => short_of(inlet),
            Lane::Common => lock(&shard.common).as_mut().and_then(short_of),
            Lane::Unopened => None,
        };
        let Some(ring) = short else {
            return self.try_emit_routed(tag, key_hash, value);
        };
        let closed = shard.gate.is_closed_acquire();
        let why = if closed { Why::Closed } else { Why::Full(ring) };
        refuse(tag, key_hash, value, why)
    }

    /// Where an event goes.
    #[inline(always)]
    pub(super) fn route(&self, key_hash: u64) -> usize {
        route(key_hash, self.lanes.len())
    }

    /// Asks for the slot that is `ahead` slots behind the next one of a lane: it is going to be written.
    #[inline(always)]
    pub(super) fn fetch_slot(&self, index: usize, ahead: usize) {
        if let Lane::Own(inlet) = &self.lanes[index] {
            inlet.fetch_slot(ahead as u64);
        }
    }

    /// Publishes a group of events under one stamp, all of them or none, and leaves the group as it is when it does not.
    pub(super) fn try_emit_group(&mut self, group: &mut Group) -> Result<(), GroupRefused> {
        self.take_thread();
        self.has_room_for(group)?;
        if !self.begin_group(group) {
            return Err(GroupRefused::Unfit);
        }
        self.publish_group(group);
        Ok(())
    }

    /// Whether all lanes of the group have room for their shares.
    fn has_room_for(&mut self, group: &Group) -> Result<(), GroupRefused> {
        if self.home.is_some() {
            return Err(GroupRefused::Unfit);
        }
        for &index in &group.touched {
            let Lane::Own(inlet) = &mut self.lanes[index] else { return Err(GroupRefused::Unfit) };
            if !inlet.has_room_for(group.lanes[index].len() as u64) {
                return Err(GroupRefused::Full);
            }
        }
        Ok(())
    }

    /// Marks all rings of the group busy. When one of them turns out to be closed the marks are taken back, so that no part of a
    /// group is accepted without the others.
    fn begin_group(&mut self, group: &Group) -> bool {
        for &index in &group.touched {
            if let Lane::Own(inlet) = &mut self.lanes[index] {
                inlet.begin();
            }
        }
        let closed = group.touched.iter().any(|&index| self.mesh.shards[index].gate.is_closed());
        if closed {
            self.end_group(group);
        }
        !closed
    }

    fn publish_group(&mut self, group: &mut Group) {
        let stamp = self.global_stamp();
        for &index in &group.touched {
            if let Lane::Own(inlet) = &mut self.lanes[index] {
                // A counted clock belongs to one shard.
                let stamp = stamp.unwrap_or_else(|| self.mesh.shards[index].stamp());
                let events = &mut group.lanes[index];
                events.iter_mut().for_each(|event| event.restamp(stamp));
                // SAFETY: there is room for the whole group, which gives up its events below.
                unsafe { inlet.publish_group(Event::slots_of(events)) };
            }
        }
        self.end_group(group);
        group.forget();
    }

    /// Clears the busy marks and wakes the shards.
    fn end_group(&mut self, group: &Group) {
        for &index in &group.touched {
            if let Lane::Own(inlet) = &mut self.lanes[index] {
                inlet.end();
                self.mesh.shards[index].gate.wake_if_asleep();
            }
        }
    }

    /// Publishes an event that was refused before, with a new stamp.
    pub(crate) fn offer(&mut self, parts: Parts) -> Result<(), Refused> {
        self.take_thread();
        let Parts { tag, body } = parts;
        let index = route(body.key_hash, self.lanes.len());
        let (kind, a, b, c, d) = body.value.into_raw().split();
        self.try_emit_slowly(index, tag, body.key_hash, kind, a, b, c, d)
    }

    /// As [`offer`](Self::offer), through the ring that all share.
    pub(crate) fn offer_common(&mut self, parts: Parts) -> Result<(), Refused> {
        let Parts { tag, body } = parts;
        let shard = &self.mesh.shards[route(body.key_hash, self.lanes.len())];
        publish_common(shard, tag, body.key_hash, body.value.into_raw())
    }

    /// For whatever is not the plain case. Takes the value in words, see [`RawValue`].
    #[cold]
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "a struct would be passed through memory")]
    fn try_emit_slowly(
        &mut self,
        index: usize,
        tag: Tag,
        key_hash: u64,
        kind: RawKind,
        a: Word,
        b: Word,
        c: Word,
        d: Word,
    ) -> Result<(), Refused> {
        let value = RawValue::join(kind, a, b, c, d);
        let shard = &self.mesh.shards[index];
        if let Lane::Unopened = self.lanes[index] {
            if shard.gate.is_closed() && self.home.is_none() {
                // No ring is opened only to be told that it is too late.
                return refuse(tag, key_hash, value, Why::Closed);
            }
            let owner = if self.home.is_some() { Owner::Shard } else { Owner::Producer };
            let opened = shard.open_ring(owner);
            self.lanes[index] = opened.map_or(Lane::Common, Lane::Own);
        }
        match (&mut self.lanes[index], self.home) {
            (Lane::Own(inlet), None) => publish(inlet, shard, tag, None, key_hash, value),
            (Lane::Own(inlet), Some(home)) => {
                let derived = tag.derived(delivery::hops_of_derived());
                if derived.hops() > self.mesh.hop_limit {
                    return refuse(derived, key_hash, value, Why::HopLimit);
                }
                publish_derived(inlet, shard, &self.mesh.shards[home], derived, key_hash, value)
            }
            (Lane::Common | Lane::Unopened, _) => publish_common(shard, tag, key_hash, value),
        }
    }

    /// Whether a fresh emit to this shard may take a free slot now, although others wait for room in the same ring.
    ///
    /// Tasks of one thread share its ring. Without a limit, the first one that runs after the ring had been full takes all the room
    /// that was made for the others, again and again. With no overtaking at all, every single emit would be a wake-up.
    #[inline]
    fn may_overtake(&mut self, index: usize) -> Result<(), Arc<Ring<Body>>> {
        if let Lane::Own(inlet) = &self.lanes[index]
            && inlet.ring().has_waiters()
        {
            if self.overtaken >= MAX_OVERTAKING {
                return Err(inlet.ring().clone());
            }
            self.overtaken += 1;
        } else {
            self.overtaken = 0;
        }
        Ok(())
    }

    /// A waiter has had its turn; the next emits may overtake again.
    pub(crate) fn turn_taken(&mut self) {
        self.overtaken = 0;
    }
}

impl Drop for Rings {
    fn drop(&mut self) {
        for (lane, shard) in self.lanes.iter().zip(&self.mesh.shards) {
            if let Lane::Own(inlet) = lane {
                shard.close_ring(inlet);
            }
        }
    }
}

fn next_id() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// Returns an event that was not published.
#[inline(always)]
fn refuse(tag: Tag, key_hash: u64, value: RawValue, why: Why) -> Result<(), Refused> {
    let (kind, a, b, c, d) = value.split();
    Err(refused(tag, key_hash, kind, a, b, c, d, why))
}

#[cold]
#[inline(never)]
#[expect(clippy::too_many_arguments, reason = "a struct would be passed through memory")]
fn refused(
    tag: Tag,
    key_hash: u64,
    kind: RawKind,
    a: Word,
    b: Word,
    c: Word,
    d: Word,
    why: Why,
) -> Refused {
    let value = RawValue::join(kind, a, b, c, d);
    // SAFETY: the value was not published, and the callers return what this returns.
    let body = Body { stamp: clock::now(), key_hash, value: unsafe { value.into_value() } };
    Refused { parts: Parts { tag, body }, why }
}

/// Publishes an event from outside the shards, with a stamp of its own if it has none.
#[inline(always)]
fn publish(
    inlet: &mut Inlet<Body>,
    shard: &Shard,
    tag: Tag,
    stamp: Option<u64>,
    key_hash: u64,
    value: RawValue,
) -> Result<(), Refused> {
    if !inlet.has_room() {
        let closed = shard.gate.is_closed_acquire();
        let why = if closed { Why::Closed } else { Why::Full(inlet.ring().clone()) };
        return refuse(tag, key_hash, value, why);
    }
    inlet.begin();
    if shard.gate.is_closed() {
        inlet.end();
        // A worker that drains may have gone to sleep because this ring was busy.
        shard.gate.wake_if_asleep();
        return refuse(tag, key_hash, value, Why::Closed);
    }
    // One from before a wait would make the event look older than it is; who has waited gives none.
    let stamp = stamp.unwrap_or_else(|| shard.stamp());
    let tag = tag.dropping(value.needs_drop());
    // SAFETY: this is the only use of the raw value.
    let value = unsafe { value.into_value() };
    // SAFETY: there is room, as asked above.
    unsafe { inlet.publish(tag.bits(), Body { stamp, key_hash, value }) };
    inlet.end();
    shard.gate.wake_if_asleep();
    Ok(())
}

/// Publishes an event through the ring that all share who have none of their own. Taking its lock orders the thread's earlier stores
/// before the stamp, so [`Rings::take_thread`] is not needed.
fn publish_common(shard: &Shard, tag: Tag, key_hash: u64, value: RawValue) -> Result<(), Refused> {
    let mut common = lock(&shard.common);
    let inlet = common.get_or_insert_with(|| {
        shard.open_ring(Owner::Everybody).expect("the common ring is not limited")
    });
    publish(inlet, shard, tag, None, key_hash, value)
}

/// Publishes an event that a processor on shard `home` derived. It is accepted while the bus drains.
fn publish_derived(
    inlet: &mut Inlet<Body>,
    shard: &Shard,
    home: &Shard,
    tag: Tag,
    key_hash: u64,
    value: RawValue,
) -> Result<(), Refused> {
    if !inlet.has_room() {
        let over = home.gate.is_over();
        let why = if over { Why::Closed } else { Why::Full(inlet.ring().clone()) };
        return refuse(tag, key_hash, value, why);
    }
    inlet.begin();
    if home.gate.is_over() {
        inlet.end();
        return refuse(tag, key_hash, value, Why::Closed);
    }
    home.count_derived();
    let stamp = shard.stamp();
    let tag = tag.dropping(value.needs_drop());
    // SAFETY: this is the only use of the raw value.
    let value = unsafe { value.into_value() };
    // SAFETY: there is room, as asked above.
    unsafe { inlet.publish(tag.bits(), Body { stamp, key_hash, value }) };
    inlet.end();
    shard.gate.wake_if_asleep();
    Ok(())
}
