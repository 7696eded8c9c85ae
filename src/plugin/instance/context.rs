//! The host as one instance sees it: `keylane_host` and what is behind it.

use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use keylane_plugin_abi as abi;

use super::callbacks;
use super::log_limit::LogLimit;
use super::outbox::Outbox;
use super::wish::Wish;
use crate::event::Event;
use crate::plugin::call::{Identity, Role, role_in};
use crate::plugin::convert::Arena;
use crate::plugin::host::Shared;

/// What an instance's host pointer leads to. Lives from before `create` until after `destroy`.
pub(crate) struct Context {
    /// What the plugin gets; its `ctx` points back here.
    pub(super) host: abi::Host,
    pub(crate) identity: Identity,
    pub(crate) shared: Arc<Shared>,
    pub(crate) wish: Arc<Wish>,
    pub(super) log_limit: LogLimit,
    /// Names of types that the plugin has asked for; they stay where they are.
    pub(super) type_names: Mutex<HashMap<u32, Box<str>>>,
    /// Whether the plugin has called the host from where it may not.
    violated: AtomicBool,
    /// Of the thread that is inside of a call into the instance, or has the instance to itself.
    state: UnsafeCell<CallState>,
}

/// What belongs to the call that is going on, and what it leaves behind.
pub(crate) struct CallState {
    pub(crate) outbox: Outbox,
    /// The batch that `process` is in.
    pub(super) batch: Option<BatchInCall>,
    /// What was rendered for it.
    pub(super) rendered: Arena,
    /// What `flush` and `load_state` derive descends from events of that many hops.
    pub(crate) hop_limit: u8,
}

/// A batch while `process` has it.
#[derive(Clone, Copy)]
pub(super) struct BatchInCall {
    /// The structs that the plugin sees.
    pub(super) converted: *const abi::Event,
    pub(super) len: usize,
    /// The events themselves.
    pub(super) events: *const *const Event,
    /// Where in them each converted event is; null when all were converted.
    pub(super) places: *const u32,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("identity", &self.identity).finish_non_exhaustive()
    }
}

// SAFETY: everything but `state` and `host` is `Sync`. `host` is not written after `new`. `state` is only used by the thread that is
// inside of a call into the instance, or by the owner of the instance between its calls, and these never overlap.
unsafe impl Sync for Context {}
// SAFETY: as above; the pointers in `host` lead to the context itself and to statics.
unsafe impl Send for Context {}

impl Context {
    pub(crate) fn new(identity: Identity, shared: Arc<Shared>, outbox: Outbox) -> Box<Self> {
        let mut context = Box::new(Self {
            host: callbacks::host(shared.log_level_cell()),
            identity,
            log_limit: LogLimit::new(shared.settings.log_lines_per_second),
            shared,
            wish: Arc::default(),
            type_names: Mutex::default(),
            violated: AtomicBool::new(false),
            state: UnsafeCell::new(CallState {
                outbox,
                batch: None,
                rendered: Arena::default(),
                hop_limit: u8::MAX,
            }),
        });
        let ctx: *mut Self = &mut *context;
        context.host.ctx = ctx.cast();
        context
    }

    pub(crate) fn host(&self) -> *const abi::Host {
        &raw const self.host
    }

    /// The address by which calls know this instance.
    pub(crate) fn address(&self) -> *const () {
        std::ptr::from_ref(self).cast()
    }

    /// The state of the call.
    ///
    /// # Safety
    /// The caller is on the thread that is inside of a call into the instance, or owns the instance and no call is going on. No other
    /// reference to the state exists.
    #[expect(clippy::mut_from_ref, reason = "the cell is what guards it, see above")]
    pub(crate) unsafe fn state(&self) -> &mut CallState {
        // SAFETY: passed on.
        unsafe { &mut *self.state.get() }
    }

    /// Whether this thread is inside of a call in a role that `allowed` accepts, and may use the [state](Self::state). If not, the
    /// plugin has broken the rule of threads: that is counted, and said once.
    pub(super) fn may(&self, what: &str, allowed: fn(Role) -> bool) -> bool {
        let may = role_in(self.address()).is_some_and(allowed);
        if !may {
            self.violation(what);
        }
        may
    }

    fn violation(&self, what: &str) {
        self.shared.counts.thread_violations.add(1);
        if !self.violated.swap(true, Ordering::Relaxed) {
            let Identity { plugin, version, processor, shard, generation, .. } = &self.identity;
            tracing::error!(
                plugin,
                version,
                processor,
                shard,
                generation,
                "the plugin called {what} where it may not: on a thread of its own, or in the wrong call"
            );
        }
    }

    /// Whether the plugin has broken the rule of threads.
    pub(crate) fn is_violated(&self) -> bool {
        self.violated.load(Ordering::Relaxed)
    }
}
