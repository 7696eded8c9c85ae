//! The ring between a producer and its shard, by itself.

use super::{CHUNK, Card, Item, Role, Slots, Timed};

pub(super) fn ring() -> Timed<Keylane> {
    Timed::new(Card {
        name: "keylane",
        role: Role::Keylane,
        package: Some("keylane"),
        settings: "the ring of a producer: publish one at a time, read up to 256, release once",
    })
}

pub(super) fn groups() -> Timed<Groups> {
    Timed::new(Card {
        name: "keylane-groups",
        role: Role::Variant,
        package: Some("keylane"),
        settings: "up to 64 written straight into their slots and published together; read up to 256, release once",
    })
}

pub(super) struct Keylane;

pub(super) struct Groups;

impl Slots for Groups {
    type Head<T: Item> = keylane::bare_ring::Head<T::Body>;
    type Tail<T: Item> = keylane::bare_ring::Tail<T::Body>;

    fn open<T: Item>(capacity: usize) -> (Self::Head<T>, Self::Tail<T>) {
        Keylane::open::<T>(capacity)
    }

    #[inline]
    fn put<T: Item>(head: &mut Self::Head<T>, from: u64, until: u64) -> u64 {
        let len = (until - from).min(CHUNK as u64);
        match head.push_group((from..until).map(T::Body::of), len as usize) {
            0 => Keylane::put::<T>(head, from, until),
            count => count as u64,
        }
    }

    #[inline]
    fn take<T: Item>(tail: &mut Self::Tail<T>, see: impl FnMut(u64)) -> u64 {
        Keylane::take::<T>(tail, see)
    }
}

impl Slots for Keylane {
    type Head<T: Item> = keylane::bare_ring::Head<T::Body>;
    type Tail<T: Item> = keylane::bare_ring::Tail<T::Body>;

    fn open<T: Item>(capacity: usize) -> (Self::Head<T>, Self::Tail<T>) {
        keylane::bare_ring::ring(capacity.next_power_of_two())
    }

    #[inline]
    fn put<T: Item>(head: &mut Self::Head<T>, from: u64, _until: u64) -> u64 {
        u64::from(head.push(T::Body::of(from)).is_ok())
    }

    #[inline]
    fn take<T: Item>(tail: &mut Self::Tail<T>, mut see: impl FnMut(u64)) -> u64 {
        tail.drain(256, |item| see(item.number())) as u64
    }
}
