//! Tasks inside a model.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::{Condvar, Mutex};

/// Wakes a thread of the model. loom's own `block_on` adds wake-ups for no reason, and each of them doubles a model.
#[derive(Debug)]
pub struct Alarm {
    rings: Mutex<bool>,
    rang: Condvar,
}

impl Alarm {
    /// An alarm that has not gone off, and its waker.
    pub fn new() -> (Arc<Self>, Waker) {
        let alarm = Arc::new(Self { rings: Mutex::new(false), rang: Condvar::new() });
        let waker = alarm.clone().into();
        (alarm, waker)
    }

    /// Waits for the alarm, and sets it again.
    pub fn wait(&self) {
        let mut rings = self.rings.lock().expect("nothing panics with this lock in hand");
        while !*rings {
            rings = self.rang.wait(rings).expect("nothing panics with this lock in hand");
        }
        *rings = false;
    }

    /// Whether the alarm has gone off.
    pub fn has_rung(&self) -> bool {
        *self.rings.lock().expect("nothing panics with this lock in hand")
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        *self.rings.lock().expect("nothing panics with this lock in hand") = true;
        self.rang.notify_one();
    }
}

/// Runs a task on the calling thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let (alarm, waker) = Alarm::new();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        alarm.wait();
    }
}
