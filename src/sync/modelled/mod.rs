//! What the bus is built on, in a form that loom can see through.

mod atomic;
mod local;
pub(crate) mod thread;

use std::collections::VecDeque;
use std::sync::{Arc as StdArc, Mutex as StdMutex};

pub(crate) use atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
pub(crate) use local::{Local, thread_local};
pub(crate) use loom::cell::UnsafeCell;
pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};

#[derive(Debug)]
pub(crate) struct Queue<T>(Mutex<VecDeque<T>>);

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    pub(crate) fn push(&self, item: T) {
        self.0.lock().unwrap().push_back(item);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.0.lock().unwrap().pop_front()
    }
}

#[derive(Debug)]
pub(crate) struct Spare<T>(Mutex<Vec<T>>, usize);

impl<T> Spare<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Mutex::new(Vec::new()), limit)
    }

    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut items = self.0.lock().unwrap();
        if items.len() == self.1 {
            return Err(item);
        }
        items.push(item);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.0.lock().unwrap().pop()
    }
}

/// Every value that there ever was, and which of them is the current one. A load may find an old one, as far as an acquiring
/// load of a pointer may.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    values: StdMutex<Vec<StdArc<T>>>,
    current: AtomicU64,
}

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { values: StdMutex::new(vec![StdArc::new(value)]), current: AtomicU64::new(0) }
    }

    pub(crate) fn load(&self) -> StdArc<T> {
        self.get(self.current.load(Ordering::Acquire))
    }

    pub(crate) fn update(&self, mut change: impl FnMut(&T) -> T) {
        let mut index = self.current.load(Ordering::Acquire);
        loop {
            // What `change` does is part of the model, so no lock that loom does not know is held meanwhile.
            let next = StdArc::new(change(&self.get(index)));
            let next = {
                let mut values = self.values.lock().unwrap();
                values.push(next);
                values.len() as u64 - 1
            };
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            match self.current.compare_exchange_weak(index, next, success, failure) {
                Ok(_) => return,
                Err(newer) => index = newer,
            }
        }
    }

    fn get(&self, index: u64) -> StdArc<T> {
        self.values.lock().unwrap()[index as usize].clone()
    }
}
