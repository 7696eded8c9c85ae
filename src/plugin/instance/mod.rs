//! One instance of a plugin's processor: created, called, destroyed.

mod callbacks;
mod context;
mod log_limit;
mod outbox;
mod wish;

use std::collections::HashSet;
use std::ffi::{CString, c_void};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keylane_plugin_abi::{self as abi, Status};

use super::call::{Identity, Role, enter};
use super::convert::{Converter, Times};
use super::create_error::PluginError;
use super::host::Shared;
use super::library::{Library, message};
use crate::event::Event;
use context::BatchInCall;
pub(crate) use context::Context;
pub(crate) use outbox::{Outbox, OutboxLimits};

/// What an instance is made from.
pub(crate) struct Recipe {
    pub(crate) library: Arc<Library>,
    /// Which of the library's descriptors.
    pub(crate) index: usize,
    pub(crate) config: Arc<str>,
    pub(crate) shared: Arc<Shared>,
}

/// Where an instance is to live.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub(crate) processor: String,
    pub(crate) shard: usize,
    pub(crate) shards: usize,
    pub(crate) generation: u64,
}

/// An instance. Dropping it destroys it, on the control thread unless it has to stay on its own.
pub(crate) struct Instance {
    raw: NonNull<abi::Processor>,
    /// The functions, as they were when it was created.
    functions: abi::Processor,
    /// `Some` until the destruction takes it along.
    context: Option<Box<Context>>,
    /// For what `process` has to say, which is mostly nothing: clearing all of it costs as much as a small batch.
    error: Box<abi::ErrorBuffer>,
    /// Its code; never unloaded, but its numbers are of interest.
    library: Arc<Library>,
    affine: bool,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance")
            .field("identity", &self.context().identity)
            .finish_non_exhaustive()
    }
}

// SAFETY: the ABI lets calls for one instance come from changing threads, one at a time, and `&mut self` makes them one at a time. An
// instance that is bound to its thread is made, used and dropped there.
unsafe impl Send for Instance {}

/// What `process` said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: Status,
    pub(crate) processed: usize,
    pub(crate) message: String,
    pub(crate) retry_after: Duration,
}

/// The addresses of all instances that have not been destroyed: two must not be the same.
static LIVE: Mutex<Option<HashSet<usize>>> = Mutex::new(None);

fn live<R>(f: impl FnOnce(&mut HashSet<usize>) -> R) -> R {
    f(LIVE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

impl Recipe {
    /// Creates an instance, on this thread.
    pub(crate) fn create(&self, home: &Home) -> Result<Instance, PluginError> {
        let result = self.try_create(home);
        if result.is_err() {
            self.shared.counts.create_failures.add(1);
        }
        result
    }

    fn try_create(&self, home: &Home) -> Result<Instance, PluginError> {
        let descriptor = &self.library.descriptors[self.index];
        let plugin = descriptor.id.clone();
        let Home { processor, shard, shards, generation } = home;
        let identity =
            Identity::new(&descriptor.id, &descriptor.version, processor, *shard, *generation);
        let outbox = Outbox::new(self.shared.settings.outbox);
        let context = Context::new(identity, self.shared.clone(), outbox);
        let id = CString::new(descriptor.id.as_str()).unwrap_or_default();
        let args = abi::CreateArgs {
            struct_size: size_of::<abi::CreateArgs>() as u32,
            shard: *shard as u32,
            shard_count: *shards as u32,
            reserved: 0,
            generation: *generation,
            config_json: abi::Bytes::text(&self.config),
            instance_name: abi::Bytes::text(processor),
        };
        let mut error = abi::ErrorBuffer::new();
        let mut raw: *mut abi::Processor = std::ptr::null_mut();
        let Some(create) = self.library.factory.create else {
            return Err(PluginError::null(&plugin, "factory.create"));
        };
        let status = enter(context.address(), Role::Control, &context.identity, || {
            // SAFETY: a function of a factory that was checked; everything it is given lives until it returns, the host until the
            // instance is destroyed.
            unsafe { create(id.as_ptr(), context.host(), &args, &mut raw, &mut error) }
        });
        if status != Status::OK {
            let message = message(&error);
            return Err(match status {
                Status::E_CONFIG => PluginError::Config { plugin, message },
                _ => PluginError::Create { plugin, status, message },
            });
        }
        let Some(instance) = NonNull::new(raw) else {
            return Err(PluginError::null(&plugin, "the instance that create returned"));
        };
        if !instance.is_aligned() {
            return Err(PluginError::Abi {
                plugin,
                field: "processor".into(),
                found: format!("{raw:p}"),
                expected: "an address that is a multiple of 8".into(),
            });
        }
        if !live(|live| live.insert(raw as usize)) {
            return Err(PluginError::Abi {
                plugin,
                field: "the instance that create returned".into(),
                found: format!("{raw:p}, which is that of another instance"),
                expected: "an instance of its own".into(),
            });
        }
        // SAFETY: the plugin returned an instance of the size that it says.
        let functions = match unsafe { abi::read(raw) } {
            Ok(functions) => functions,
            Err(error) => {
                live(|live| live.remove(&(raw as usize)));
                // Without its functions it cannot be destroyed either.
                return Err(PluginError::Abi {
                    plugin,
                    field: "processor.struct_size".into(),
                    found: error.found.to_string(),
                    expected: format!("{} or more", error.least),
                });
            }
        };
        self.shared.counts.created.add(1);
        let instance = Instance {
            raw: instance,
            functions,
            context: Some(context),
            error: Box::new(abi::ErrorBuffer::new()),
            library: self.library.clone(),
            affine: descriptor.is_thread_affine(),
        };
        let stateful = descriptor.is_stateful();
        let required = [
            ("processor.process", functions.process.is_none()),
            ("processor.destroy", functions.destroy.is_none()),
            (
                "processor.save_state (of a stateful plugin)",
                stateful && functions.save_state.is_none(),
            ),
            (
                "processor.load_state (of a stateful plugin)",
                stateful && functions.load_state.is_none(),
            ),
        ];
        match required.into_iter().find(|(_, missing)| *missing) {
            // Dropping the instance destroys it, if it can be.
            Some((what, _)) => Err(PluginError::null(&plugin, what)),
            None => Ok(instance),
        }
    }
}

impl Instance {
    pub(crate) fn context(&self) -> &Context {
        self.context.as_deref().expect("it is there until the drop")
    }

    /// The events on their way out.
    pub(crate) fn outbox(&mut self) -> &mut Outbox {
        // SAFETY: the instance is borrowed exclusively, so no call into it is going on.
        unsafe { &mut self.context().state().outbox }
    }

    /// Tells how often events may be derived from one another, when the instance has come to its bus.
    pub(crate) fn set_hop_limit(&mut self, hop_limit: u8) {
        // SAFETY: as above.
        unsafe { self.context().state().hop_limit = hop_limit };
    }

    fn call<R>(
        &mut self,
        role: Role,
        f: impl FnOnce(*mut abi::Processor, &abi::Processor) -> R,
    ) -> R {
        let context = self.context();
        enter(context.address(), role, &context.identity, || f(self.raw.as_ptr(), &self.functions))
    }

    /// Hands over the converted events from `from` on.
    pub(crate) fn process(
        &mut self,
        batch: &[&Event],
        converter: &Converter,
        from: usize,
        shard: (usize, usize),
        draining: bool,
        times: &Times,
    ) -> Answer {
        let converted = &converter.converted()[from..];
        let raw_batch = abi::Batch {
            struct_size: size_of::<abi::Batch>() as u32,
            count: converted.len() as u32,
            events: converted.as_ptr().cast(),
            event_stride: size_of::<abi::Event>(),
            shard: shard.0 as u32,
            shard_count: shard.1 as u32,
            flags: if draining { abi::batch_flag::DRAINING } else { 0 },
            reserved: 0,
            now_wall_ns: times.now_wall_ns,
            now_mono_ns: times.now_mono_ns,
        };
        let error: *mut abi::ErrorBuffer = &mut *self.error;
        let mut result = abi::BatchResult {
            struct_size: size_of::<abi::BatchResult>() as u32,
            processed: 0,
            error,
            retry_after_ns: 0,
        };
        // SAFETY: the instance is borrowed exclusively, so no call into it is going on; the reference ends before the call begins.
        let state = unsafe { self.context().state() };
        state.rendered.clear();
        let (events, places) = converter.origin(batch, from);
        state.batch = Some(BatchInCall {
            converted: converted.as_ptr(),
            len: converted.len(),
            events: events.as_ptr().cast(),
            places: places.map_or(std::ptr::null(), <[u32]>::as_ptr),
        });
        let status = self.call(Role::Process, |raw, functions| match functions.process {
            // SAFETY: a function of an instance that was checked; everything it is given lives until it returns.
            Some(process) => unsafe { process(raw, &raw_batch, &mut result) },
            None => Status::E_FATAL,
        });
        // SAFETY: the call is over.
        unsafe { self.context().state().batch = None };
        let message = if status == Status::OK {
            self.error.clear();
            String::new()
        } else {
            let message = message(&self.error);
            *self.error = abi::ErrorBuffer::new();
            message
        };
        Answer {
            status,
            processed: result.processed as usize,
            message,
            retry_after: Duration::from_nanos(result.retry_after_ns),
        }
    }

    /// `OK` when the plugin has no flush.
    pub(crate) fn flush(&mut self, reason: u32) -> (Status, String) {
        let mut error = abi::ErrorBuffer::new();
        let status = self.call(Role::Shard, |raw, functions| match functions.flush {
            // SAFETY: a function of an instance that was checked; the buffer lives until it returns.
            Some(flush) => unsafe { flush(raw, reason, &mut error) },
            None => Status::OK,
        });
        (status, if status == Status::OK { String::new() } else { message(&error) })
    }

    /// The saved state, of at most `limit` bytes.
    pub(crate) fn save_state(&mut self, limit: usize) -> Result<Vec<u8>, (Status, String)> {
        let mut target = Target { bytes: Vec::new(), limit, full: false };
        let writer = abi::Writer {
            struct_size: size_of::<abi::Writer>() as u32,
            reserved: 0,
            ctx: (&raw mut target).cast(),
            write: Some(write),
        };
        let mut error = abi::ErrorBuffer::new();
        let status = self.call(Role::Shard, |raw, functions| match functions.save_state {
            // SAFETY: a function of an instance that was checked; writer and buffer live until it returns.
            Some(save) => unsafe { save(raw, &writer, &mut error) },
            None => Status::E_UNSUPPORTED,
        });
        if target.full {
            let text = format!("the state has more than {limit} bytes, the host's limit");
            return Err((Status::E_NOMEM, text));
        }
        match status {
            Status::OK => Ok(target.bytes),
            status => Err((status, message(&error))),
        }
    }

    pub(crate) fn load_state(
        &mut self,
        state: &[u8],
        version: u32,
    ) -> Result<(), (Status, String)> {
        let mut error = abi::ErrorBuffer::new();
        let status = self.call(Role::Shard, |raw, functions| match functions.load_state {
            // SAFETY: a function of an instance that was checked; state and buffer live until it returns.
            Some(load) => unsafe { load(raw, abi::Bytes::new(state), version, &mut error) },
            None => Status::E_UNSUPPORTED,
        });
        if status == Status::OK { Ok(()) } else { Err((status, message(&error))) }
    }

    pub(crate) fn shutdown(&mut self, reason: u32) {
        self.call(Role::Shutdown, |raw, functions| {
            if let Some(shutdown) = functions.shutdown {
                // SAFETY: a function of an instance that was checked.
                unsafe { shutdown(raw, reason) };
            }
        });
    }
}

/// Where a state is saved.
struct Target {
    bytes: Vec<u8>,
    limit: usize,
    full: bool,
}

unsafe extern "C" fn write(ctx: *mut c_void, bytes: *const u8, len: usize) -> Status {
    // SAFETY: the writer's context is the target, which lives until `save_state` returns, and is used by nobody else.
    let Some(target) = (unsafe { ctx.cast::<Target>().as_mut() }) else { return Status::E_INVALID };
    if len > target.limit - target.bytes.len() {
        target.full = true;
        return Status::E_NOMEM;
    }
    // SAFETY: the plugin passes `len` bytes, or null for none.
    if let Some(bytes) = unsafe { abi::Bytes { ptr: bytes, len }.get() } {
        target.bytes.extend_from_slice(bytes);
    }
    Status::OK
}

impl Drop for Instance {
    fn drop(&mut self) {
        let Some(context) = self.context.take() else { return };
        context.wish.cancel();
        let end = End {
            raw: self.raw,
            destroy: self.functions.destroy,
            context,
            library: self.library.clone(),
        };
        if self.affine {
            end.destroy();
        } else {
            let shared = end.context.shared.clone();
            shared.control.post(move || end.destroy());
        }
    }
}

/// An instance on its last way.
struct End {
    raw: NonNull<abi::Processor>,
    destroy: Option<unsafe extern "C-unwind" fn(*mut abi::Processor)>,
    context: Box<Context>,
    library: Arc<Library>,
}

// SAFETY: as for `Instance`.
unsafe impl Send for End {}

impl End {
    fn destroy(self) {
        let Self { raw, destroy, mut context, library } = self;
        // SAFETY: no call into the instance is going on, and none will come but this.
        unsafe { context.state().outbox.give_up(&context.shared.counts) };
        let Some(destroy) = destroy else {
            // Nobody can free it; its host stays with it.
            std::mem::forget(context);
            return;
        };
        let address = context.address();
        enter(address, Role::Control, &context.identity, || {
            // SAFETY: a function of an instance that was checked, called once.
            unsafe { destroy(raw.as_ptr()) };
        });
        live(|live| live.remove(&(raw.as_ptr() as usize)));
        context.shared.counts.destroyed.add(1);
        // The host ends with the instance, its code does not.
        let _ = &mut context;
        drop(library);
    }
}
