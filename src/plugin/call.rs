//! A call into a plugin: which instance, in which role, on which thread.
//!
//! The ABI tags every function with the threads that may use it. What the tags mean is kept here: while a thread is inside a call into a
//! plugin, [`CURRENT`] says which one, so that a callback can tell whether it comes from where it may come from, and a signal
//! handler can tell whose fault a crash is.

use std::cell::Cell;
use std::fmt;
use std::ptr;

/// Who an instance is: for logs, errors and crash notes.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) plugin: String,
    pub(crate) version: String,
    /// The name that the processor is registered under.
    pub(crate) processor: String,
    pub(crate) shard: usize,
    pub(crate) generation: u64,
    /// The line that a signal handler writes, ready beforehand because it can do nothing but write.
    note: Box<str>,
}

impl Identity {
    pub(crate) fn new(
        plugin: &str,
        version: &str,
        processor: &str,
        shard: usize,
        generation: u64,
    ) -> Self {
        let note = format!(
            " in plugin {plugin} {version}, processor {:?}, shard {shard}, generation {generation}\n",
            super::error::printable(processor),
        );
        Self {
            plugin: plugin.to_owned(),
            version: version.to_owned(),
            processor: processor.to_owned(),
            shard,
            generation,
            note: note.into(),
        }
    }

    /// Of a library that is being loaded.
    pub(crate) fn of_library(plugin: &str, version: &str) -> Self {
        let mut identity = Self::new(plugin, version, "", 0, 0);
        identity.note = format!(" in plugin {plugin} {version}, while it was loaded\n").into();
        identity
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin {} {}", self.plugin, self.version)
    }
}

/// What kind of call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// `init`, `create`, `destroy`: \[control\].
    Control,
    /// `process`: \[shard\], with a batch.
    Process,
    /// `flush`, `save_state`, `load_state`: \[shard\], without one.
    Shard,
    /// `shutdown`: \[shard\], and nothing can be emitted any more.
    Shutdown,
}

/// The call that a thread is inside of.
#[derive(Clone, Copy)]
struct Current {
    /// The context of the instance; null for calls about a library.
    instance: *const (),
    role: Role,
    identity: *const Identity,
}

const NONE: Current = Current { instance: ptr::null(), role: Role::Control, identity: ptr::null() };

thread_local! {
    // Constant and without a destructor: a signal handler may read it.
    static CURRENT: Cell<Current> = const { Cell::new(NONE) };
}

/// Calls `f`, which calls into a plugin. What unwinds out of it, an exception that the plugin has let go, ends the process here and now,
/// while it is still known whose it is; no Rust code could catch it.
pub(crate) fn enter<R>(
    instance: *const (),
    role: Role,
    identity: &Identity,
    f: impl FnOnce() -> R,
) -> R {
    struct End(Current);

    impl Drop for End {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }

    let _end = End(CURRENT.replace(Current { instance, role, identity }));
    let (mut f, mut result) = (Some(f), None);
    no_further(&mut || result = f.take().map(|f| f()));
    result.expect("the call has returned")
}

/// Calls `f`. As the function is `extern "C"`, nothing unwinds out of it.
#[inline]
extern "C" fn no_further<F: FnMut()>(f: &mut F) {
    f();
}

/// The role in which this thread is inside of a call into `instance`, if it is.
pub(crate) fn role_in(instance: *const ()) -> Option<Role> {
    let current = CURRENT.get();
    (!current.identity.is_null() && ptr::eq(current.instance, instance)).then_some(current.role)
}

/// The crash note of the call that this thread is inside of. Safe to use in a signal handler.
pub(crate) fn crash_note<'a>() -> Option<&'a [u8]> {
    let identity = CURRENT.get().identity;
    // SAFETY: `enter` borrows the identity as long as it is set, and this thread is inside of that call.
    unsafe { identity.as_ref() }.map(|identity| identity.note.as_bytes())
}
