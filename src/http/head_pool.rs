//! Memory for request heads, reused by the thread that serves.
//!
//! The last one to let go of a head is the shard, as a rule. If that freed it, each head would be allocated on one thread and freed on another,
//! which general allocators are slow at: with glibc's, two threads that took turns on a lock made that a third of what the layer cost.
//! So each thread that serves keeps its last heads and takes the oldest again once nobody else has it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use super::{Captured, RequestHead};

/// Heads that a thread keeps. When the shards are further behind than that, new ones are allocated. A kept head keeps what it names: its
/// URI and captured headers, and the buffer of the connection that these point into.
const KEPT: usize = 32;

thread_local! {
    static HEADS: RefCell<VecDeque<Arc<RequestHead>>> = const { RefCell::new(VecDeque::new()) };
}

/// Puts a head into shared memory. `make` gets what an earlier head had captured, to do it again in the same memory.
pub(super) fn place(make: impl FnOnce(Captured) -> RequestHead) -> Arc<RequestHead> {
    let mut oldest = HEADS.try_with(take_oldest).ok().flatten();
    let placed = if let Some(place) = oldest.as_mut().and_then(Arc::get_mut) {
        *place = make(std::mem::take(&mut place.captured));
        oldest.expect("the head is in it")
    } else {
        Arc::new(make(Captured::default()))
    };
    // A thread that ends keeps nothing.
    let _ = HEADS.try_with(|heads| heads.borrow_mut().push_back(placed.clone()));
    placed
}

fn take_oldest(heads: &RefCell<VecDeque<Arc<RequestHead>>>) -> Option<Arc<RequestHead>> {
    let mut heads = heads.borrow_mut();
    if heads.len() < KEPT { None } else { heads.pop_front() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::RequestId;

    fn a_head(captured: Captured) -> RequestHead {
        RequestHead {
            id: RequestId::next(),
            inbound_id: None,
            trace: None,
            begin: 0,
            method: ::http::Method::GET,
            uri: ::http::Uri::default(),
            version: ::http::Version::HTTP_11,
            peer: None,
            client: None,
            captured,
            request_type: Default::default(),
            user: Default::default(),
            route: Default::default(),
            failure: Default::default(),
            read: Default::default(),
            completion: Default::default(),
        }
    }

    #[test]
    fn heads_that_nobody_has_are_taken_again_and_others_are_not() {
        let held = place(a_head);
        let id = held.id();
        let first = Arc::as_ptr(&place(a_head));
        for _ in 2..KEPT {
            place(a_head);
        }
        let beyond = place(a_head);
        assert!(!Arc::ptr_eq(&beyond, &held), "somebody has it");
        assert_eq!(held.id(), id);
        let again = place(a_head);
        assert_eq!(Arc::as_ptr(&again), first, "nobody has it");
    }
}
