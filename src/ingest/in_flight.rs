//! How much memory the records hold that are on their way, so that reading can wait, or refuse, while it is too much.
//!
//! A ring bounds how many events wait for a shard, not how large they are: a thousand lines of a megabyte each are a gigabyte a ring.
//! Records of more than 1 KiB (`LARGE`) are therefore counted, from when they are made to when they are dropped. Smaller ones are
//! bounded well enough by the rings, and cost nothing here.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// From how many bytes on a record is counted.
pub(super) const LARGE: usize = 1024;

/// Bytes of large records that are alive.
///
/// One count for the process: a record has no room for a pointer to its own, being as large as an event can hold.
static ALIVE: Mutex<u64> = Mutex::new(0);

/// Signalled when a large record has been dropped.
static DROPPED: Condvar = Condvar::new();

fn alive() -> MutexGuard<'static, u64> {
    ALIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a record of `bytes`.
pub(super) fn add(bytes: usize) {
    if bytes >= LARGE {
        *alive() += bytes as u64;
    }
}

/// Takes a record of `bytes` off the count.
pub(super) fn remove(bytes: usize) {
    if bytes >= LARGE {
        *alive() -= bytes as u64;
        DROPPED.notify_all();
    }
}

/// How many bytes the large records hold that are on their way, in the whole process. Records below 1024 bytes are not counted.
#[must_use]
pub fn bytes() -> u64 {
    *alive()
}

/// Waits until the large records hold less than `limit` bytes. Blocks the thread.
pub fn wait_below(limit: u64) {
    let mut alive = alive();
    while *alive >= limit {
        alive = DROPPED.wait(alive).unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::super::record::Record;
    use super::*;

    /// Far above what the other tests of this process hold.
    const FAR: u64 = 1 << 20;

    #[test]
    fn waits_for_large_records_to_go() {
        let json = format!("{{\"a\":\"{}\"}}", "x".repeat(2 << 20));
        let record = Record::new(&json, "k");
        let (sender, receiver) = mpsc::channel();
        let waiter = std::thread::spawn(move || {
            wait_below(FAR);
            sender.send(()).unwrap();
        });
        // A wait that does not wait would be seen here at least some of the time; one that never ends, below always.
        assert!(receiver.recv_timeout(Duration::from_millis(50)).is_err());
        drop(record);
        receiver.recv_timeout(Duration::from_secs(60)).expect("the wait ends");
        waiter.join().unwrap();
    }

    #[test]
    fn small_records_are_not_counted() {
        let records: Vec<_> = (0..4000).map(|_| Record::new(&" ".repeat(LARGE - 1), "")).collect();
        assert!(*alive() < 4000 * (LARGE as u64 - 1));
        drop(records);
    }
}
