//! Thread-locals with the interface of the standard library's keys, one value for each thread of the model.

use std::cell::Cell;

use loom::thread::{AccessError, LocalKey};

macro_rules! model_local {
    ($($(#[$attribute:meta])* static $name:ident: $type:ty = const $init:block;)+) => {
        $($crate::sync::thread_local! { $(#[$attribute])* static $name: $type = $init; })+
    };
    ($(#[$attribute:meta])* static $name:ident: $type:ty = $init:expr;) => {
        $(#[$attribute])*
        static $name: $crate::sync::Local<$type> =
            $crate::sync::Local(loom::thread::LocalKey {
                init: || $init,
                _p: std::marker::PhantomData,
            });
    };
}

pub(crate) use model_local as thread_local;

#[derive(Debug)]
pub(crate) struct Local<T: 'static>(pub(crate) LocalKey<T>);

impl<T> Local<T> {
    pub(crate) fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.0.with(f)
    }

    pub(crate) fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        self.0.try_with(f)
    }
}

impl<T> Local<Cell<T>> {
    pub(crate) fn set(&'static self, value: T) {
        self.with(|cell| cell.set(value));
    }

    pub(crate) fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }

    pub(crate) fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    pub(crate) fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }
}
