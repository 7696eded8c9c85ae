//! rtrb, one by one and in chunks.

use super::{CHUNK, Card, Item, Role, Slots, Timed};

pub(super) fn single() -> Timed<Single> {
    Timed::new(Card {
        name: "rtrb",
        role: Role::Rival,
        package: Some("rtrb"),
        settings: "push and pop, one item at a time",
    })
}

pub(super) fn chunks() -> Timed<Chunks> {
    Timed::new(Card {
        name: "rtrb-chunks",
        role: Role::Rival,
        package: Some("rtrb"),
        settings: "write_chunk_uninit and read_chunk of up to 64 items",
    })
}

pub(super) struct Single;

impl Slots for Single {
    type Head<T: Item> = rtrb::Producer<T>;
    type Tail<T: Item> = rtrb::Consumer<T>;

    fn open<T: Item>(capacity: usize) -> (Self::Head<T>, Self::Tail<T>) {
        rtrb::RingBuffer::new(capacity)
    }

    #[inline]
    fn put<T: Item>(head: &mut Self::Head<T>, from: u64, _until: u64) -> u64 {
        u64::from(head.push(T::of(from)).is_ok())
    }

    #[inline]
    fn take<T: Item>(tail: &mut Self::Tail<T>, mut see: impl FnMut(u64)) -> u64 {
        match tail.pop() {
            Ok(item) => {
                see(item.number());
                1
            }
            Err(_) => 0,
        }
    }
}

pub(super) struct Chunks;

impl Slots for Chunks {
    type Head<T: Item> = rtrb::Producer<T>;
    type Tail<T: Item> = rtrb::Consumer<T>;

    fn open<T: Item>(capacity: usize) -> (Self::Head<T>, Self::Tail<T>) {
        rtrb::RingBuffer::new(capacity)
    }

    #[inline]
    fn put<T: Item>(head: &mut Self::Head<T>, from: u64, until: u64) -> u64 {
        let wanted = CHUNK.min((until - from) as usize);
        // The cached count first: the exact one reads the consumer's line on every call.
        let room = match head.cached_slots() {
            cached if cached >= wanted => cached,
            _ => head.slots(),
        };
        match head.write_chunk_uninit(room.min(wanted)) {
            Ok(chunk) => chunk.fill_from_iter((from..until).map(T::of)) as u64,
            Err(_) => 0,
        }
    }

    #[inline]
    fn take<T: Item>(tail: &mut Self::Tail<T>, mut see: impl FnMut(u64)) -> u64 {
        let filled = match tail.cached_slots() {
            cached if cached >= CHUNK => cached,
            _ => tail.slots(),
        };
        let Ok(chunk) = tail.read_chunk(filled.min(CHUNK)) else { return 0 };
        let (first, second) = chunk.as_slices();
        for item in first.iter().chain(second) {
            see(item.number());
        }
        let count = chunk.len() as u64;
        chunk.commit_all();
        count
    }
}
