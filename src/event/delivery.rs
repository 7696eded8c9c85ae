//! Which events a shard's thread is delivering, and which of them the processor has turned to.
//!
//! Two things hang on that: which event a panic belongs to, and which event a derived one descends from. A walk with
//! [`for_each`](crate::for_each), as in the default `process_batch`, tells; an override without it tells by looking at its events,
//! because every accessor of an event leaves a mark, which costs one store. What is looked at during a walk, be it an earlier
//! event of the batch or one that was refused and has come back, does not count.

use std::cell::Cell;

use super::Event;
use crate::sync::thread_local;

thread_local! {
    /// The event that this thread looked at last. Only its address is used.
    static TOUCHED: Cell<*const Event> = const { Cell::new(std::ptr::null()) };
    /// The event that a walk has come to; null outside of one. Only its address is used.
    static WALKED: Cell<*const Event> = const { Cell::new(std::ptr::null()) };
    /// The batch in delivery.
    static BATCH: Cell<&'static [&'static Event]> = const { Cell::new(&[]) };
    /// The hops of what events derived outside of a delivery descend from.
    static PARENT_HOPS: Cell<Option<u8>> = const { Cell::new(None) };
    /// Where in the batch the last search ended; derived events mostly come in order.
    static HINT: Cell<usize> = const { Cell::new(0) };
}

/// Notes that this thread looks at an event. One that is in no ring, and so in no batch, does not count.
#[inline(always)]
pub(crate) fn touch(event: &Event) {
    if event.slot.is_in_ring() {
        TOUCHED.set(event);
    }
}

/// Calls `f` with a function that notes which event the walk has come to. When `f` panics, the note stays.
#[inline(always)]
pub(crate) fn walk<R>(f: impl FnOnce(fn(&Event)) -> R) -> R {
    let outer = WALKED.get();
    let result = f(|event| WALKED.set(event));
    let last = WALKED.replace(outer);
    if !std::ptr::eq(last, outer) {
        // What was looked at meanwhile did not count; from here on the last event of the walk does. A walk without any changes nothing.
        TOUCHED.set(last);
    }
    result
}

/// The event that this thread has turned to.
fn current() -> *const Event {
    let walked = WALKED.get();
    if walked.is_null() { TOUCHED.get() } else { walked }
}

/// Calls `f`, during which this thread delivers `events`.
#[inline]
pub(crate) fn deliver<R>(events: &[&Event], f: impl FnOnce() -> R) -> R {
    struct End;

    impl Drop for End {
        fn drop(&mut self) {
            BATCH.set(&[]);
        }
    }

    // SAFETY: the lifetimes are stretched for the thread-local only. `End` takes the batch out before this call returns or
    // unwinds, and the functions below do not let it escape.
    let batch = unsafe { std::mem::transmute::<&[&Event], &'static [&'static Event]>(events) };
    TOUCHED.set(std::ptr::null());
    WALKED.set(std::ptr::null());
    HINT.set(0);
    let _end = End;
    BATCH.set(batch);
    f()
}

/// The place in `events` of the event that this thread has turned to, if it is one of them.
pub(crate) fn turned_to_in(events: &[&Event]) -> Option<usize> {
    let current = current();
    events.iter().position(|&event| std::ptr::eq(event, current))
}

/// Calls `f` outside of a delivery, in a flush or a fault hook say. What is derived in it descends from events of `hops` hops.
pub(crate) fn on_behalf_of<R>(hops: u8, f: impl FnOnce() -> R) -> R {
    struct End(Option<u8>);

    impl Drop for End {
        fn drop(&mut self) {
            PARENT_HOPS.set(self.0);
        }
    }

    let _end = End(PARENT_HOPS.replace(Some(hops)));
    f()
}

/// Calls `f`, also inside of a delivery; what is derived in it descends from an event of `hops` hops.
#[cfg(all(feature = "plugin", target_os = "linux"))]
pub(crate) fn descending_from<R>(hops: u8, f: impl FnOnce() -> R) -> R {
    struct End(&'static [&'static Event]);

    impl Drop for End {
        fn drop(&mut self) {
            BATCH.set(self.0);
        }
    }

    let _end = End(BATCH.replace(&[]));
    on_behalf_of(hops, f)
}

/// How many hops lie behind an event that is derived now on this thread: one more than its parent has.
///
/// The parent is the event that the thread has turned to. When a processor has not turned to any event of its batch, the
/// longest line in the batch counts; outside a delivery what [`on_behalf_of`] says. Without a parent it is the first hop.
pub(crate) fn hops_of_derived() -> u8 {
    let batch = BATCH.get();
    let current = current();
    let hint = HINT.get().min(batch.len());
    let from_hint = (hint..batch.len()).chain(0..hint);
    let parent = from_hint.into_iter().find(|&place| std::ptr::eq(batch[place], current));
    let hops = match parent {
        Some(place) => {
            HINT.set(place);
            batch[place].hops()
        }
        None => {
            let longest = batch.iter().map(|event| event.hops()).max();
            longest.or(PARENT_HOPS.get()).unwrap_or(0)
        }
    };
    hops.saturating_add(1)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::event::EventType;

    #[test]
    fn a_walk_through_nothing_forgets_nothing() {
        let mut events = [1, 2].map(|number| Event::new(EventType::user(0), number, 0));
        // As if they were in a ring.
        events.iter_mut().for_each(|event| _ = event.slot.address_to(1));
        let events: Vec<&Event> = events.iter().collect();
        let turned_to = |f: &dyn Fn()| {
            deliver(&events, || {
                touch(events[1]);
                f();
                turned_to_in(&events)
            })
        };
        assert_eq!(turned_to(&|| walk(|_| ())), Some(1));
        assert_eq!(turned_to(&|| walk(|come_to| come_to(events[0]))), Some(0));
    }
}
