//! Counters, gauges and histograms that the host shows.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only ever grows. Adding to it is a load and a store, no call. Made by [`Cx::counter`](crate::Cx::counter).
#[derive(Debug, Clone, Copy)]
pub struct Counter(Cell);

/// A number that goes up and down. Made by [`Cx::gauge`](crate::Cx::gauge).
#[derive(Debug, Clone, Copy)]
pub struct Gauge(Cell);

/// The distribution of values; [`Cx::observe`](crate::Cx::observe) records one. Made by [`Cx::histogram`](crate::Cx::histogram).
#[derive(Debug, Clone, Copy)]
pub struct Histogram(Option<u32>);

/// A cell of the host, which lives as long as the process; `None` counts nothing.
///
/// It has one writer, the instance. Being moved with the instance to another thread is fine, being shared is not: an addition is two
/// steps, and one of two at the same time would be lost.
#[derive(Debug, Clone, Copy)]
struct Cell {
    value: Option<&'static AtomicU64>,
    _not_sync: PhantomData<std::cell::Cell<()>>,
}

impl Counter {
    pub(crate) fn new(value: Option<&'static AtomicU64>) -> Self {
        Self(Cell { value, _not_sync: PhantomData })
    }

    /// Adds.
    #[inline]
    pub fn add(self, n: u64) {
        if let Some(cell) = self.0.value {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        }
    }

    /// Adds one.
    #[inline]
    pub fn inc(self) {
        self.add(1);
    }
}

impl Gauge {
    pub(crate) fn new(value: Option<&'static AtomicU64>) -> Self {
        Self(Cell { value, _not_sync: PhantomData })
    }

    /// Sets.
    #[inline]
    pub fn set(self, value: i64) {
        if let Some(cell) = self.0.value {
            cell.store(value as u64, Ordering::Relaxed);
        }
    }
}

impl Histogram {
    pub(crate) fn new(id: Option<u32>) -> Self {
        Self(id)
    }

    pub(crate) fn id(self) -> Option<u32> {
        self.0
    }
}
