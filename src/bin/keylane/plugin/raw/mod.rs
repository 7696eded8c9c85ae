//! A plugin at the level of its ABI: for checks that have to do what no bus would do to it.
//!
//! Only in a process that was started for a check, and that may die of it.

mod callbacks;
mod pages;
mod sample;

use std::ffi::{CStr, CString, c_void};
use std::path::Path;
use std::sync::PoisonError;

use keylane_plugin_abi::{self as abi, Status};

pub(crate) use callbacks::Desk;
use pages::Pages;
pub(crate) use sample::{Sample, Value};

/// A library that stays loaded.
pub(crate) struct Library {
    factory: abi::Factory,
    id: CString,
    pub(crate) flags: u32,
    pub(crate) state_version: u32,
    /// The types that it wants; `None` for all.
    wanted: Option<Vec<u32>>,
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: Status,
    /// How many events are done, as the plugin says.
    pub(crate) processed: usize,
    pub(crate) message: String,
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.status.name() {
            Some(name) => f.write_str(name)?,
            None => write!(f, "the status {}, which is none", self.status.0)?,
        }
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

fn answer(status: Status, processed: usize, error: &abi::ErrorBuffer) -> Answer {
    let message = String::from_utf8_lossy(error.message()).into_owned();
    Answer { status, processed, message }
}

impl Library {
    /// Loads a library that an inspection has found good, and asks for its processor `id`, or its first.
    pub(crate) fn load(path: &Path, id: Option<&str>) -> Result<Self, String> {
        // A name without a slash would be searched elsewhere.
        let path = &std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let flags = libc::RTLD_NOW | libc::RTLD_LOCAL;
        // SAFETY: this runs the library's constructors, in a process that is there for it.
        let library = unsafe { libloading::os::unix::Library::open(Some(path), flags) }
            .map_err(|error| error.to_string())?;
        // SAFETY: the symbol is data; its address is used.
        let symbol = unsafe { library.get::<*const c_void>(abi::ENTRY_SYMBOL.to_bytes_with_nul()) }
            .map_err(|error| error.to_string())?;
        let entry = symbol.as_raw_ptr().cast_const().cast::<abi::Entry>();
        std::mem::forget(library);
        // SAFETY: the symbol is an entry by its name; a host has loaded the same bytes before, and checked it.
        unsafe { Self::of_entry(entry, path, id) }
    }

    /// # Safety
    /// `entry` is that of a loaded library which keeps to the ABI, as far as that can be told.
    unsafe fn of_entry(
        entry: *const abi::Entry,
        path: &Path,
        id: Option<&str>,
    ) -> Result<Self, String> {
        // SAFETY: as the caller says; so are all calls below.
        let entry = unsafe { abi::read(entry) }.map_err(|error| error.to_string())?;
        if let Some(init) = entry.init {
            let path = CString::new(path.as_os_str().as_encoded_bytes()).unwrap_or_default();
            let mut error = abi::ErrorBuffer::new();
            // SAFETY: path and buffer live until it returns.
            let status = unsafe { init(path.as_ptr(), abi::ABI_VERSION, &mut error) };
            if status != Status::OK {
                return Err(format!("init: {}", answer(status, 0, &error)));
            }
        }
        let get = entry.get_factory.ok_or("get_factory is NULL")?;
        // SAFETY: the id lives for ever.
        let factory = unsafe { get(abi::FACTORY_ID.as_ptr()) }.cast::<abi::Factory>();
        if factory.is_null() {
            return Err("there is no factory".into());
        }
        // SAFETY: the factory lives as long as the library.
        let factory = unsafe { abi::read(factory) }.map_err(|error| error.to_string())?;
        let (Some(count), Some(descriptor)) = (factory.count, factory.descriptor) else {
            return Err("count or descriptor is NULL".into());
        };
        // SAFETY: [any] functions of the factory.
        let descriptors = (0..unsafe { count() })
            .filter_map(|index| unsafe { abi::read(descriptor(index)).ok() });
        for found in descriptors {
            // SAFETY: texts of a descriptor live as long as the library.
            let name = unsafe { CStr::from_ptr(found.id) };
            if id.is_none_or(|id| id.as_bytes() == name.to_bytes()) {
                let (flags, state_version) = (found.flags, found.state_version);
                // SAFETY: as above.
                let wanted = unsafe { wanted_types(found.event_types) };
                return Ok(Self { factory, id: name.to_owned(), flags, state_version, wanted });
            }
        }
        Err(format!("there is no processor {:?}", id.unwrap_or_default()))
    }

    pub(crate) fn is_stateful(&self) -> bool {
        self.flags & abi::plugin_flag::STATEFUL != 0
    }

    /// What `descriptor(count())` is, which has to be NULL.
    pub(crate) fn has_one_too_many(&self) -> bool {
        let (Some(count), Some(descriptor)) = (self.factory.count, self.factory.descriptor) else {
            return false;
        };
        // SAFETY: [any] functions of the factory.
        unsafe { !descriptor(count()).is_null() }
    }

    /// Asks about a configuration; `None` when the plugin has no function for it.
    pub(crate) fn check_config(&self, config: &str) -> Option<Answer> {
        let check = self.factory.check_config?;
        let mut error = abi::ErrorBuffer::new();
        // SAFETY: everything lives until the call returns.
        let status = unsafe { check(self.id.as_ptr(), abi::Bytes::text(config), &mut error) };
        Some(answer(status, 0, &error))
    }

    /// Creates an instance.
    pub(crate) fn create<'a>(
        &'a self,
        desk: &'a Desk,
        config: &str,
        (shard, shards): (u32, u32),
    ) -> Result<Instance<'a>, Answer> {
        let args = abi::CreateArgs {
            struct_size: size_of::<abi::CreateArgs>() as u32,
            shard,
            shard_count: shards,
            reserved: 0,
            generation: 1,
            config_json: abi::Bytes::text(config),
            instance_name: abi::Bytes::text("validate"),
        };
        let host = Box::new(desk.host());
        let mut error = abi::ErrorBuffer::new();
        let mut instance = std::ptr::null_mut();
        let broken = |message: String| Answer { status: Status::E_ABI, processed: 0, message };
        let Some(create) = self.factory.create else { return Err(broken("create is NULL".into())) };
        // SAFETY: everything lives until the call returns, and the host as long as the instance.
        let status = unsafe { create(self.id.as_ptr(), &*host, &args, &mut instance, &mut error) };
        if status != Status::OK {
            return Err(answer(status, 0, &error));
        }
        if instance.is_null() {
            return Err(broken("create returned OK and gave no instance".into()));
        }
        // SAFETY: create gave the instance.
        let table = unsafe { abi::read(instance) }.map_err(|error| broken(error.to_string()))?;
        if table.process.is_none() || table.destroy.is_none() {
            return Err(broken("process or destroy is NULL".into()));
        }
        Ok(Instance {
            raw: instance,
            table,
            desk,
            wanted: self.wanted.as_deref(),
            _host: host,
            seq: 0,
            shard,
            shards,
        })
    }
}

/// An instance, destroyed when it is dropped.
pub(crate) struct Instance<'a> {
    raw: *mut abi::Processor,
    table: abi::Processor,
    desk: &'a Desk,
    wanted: Option<&'a [u32]>,
    _host: Box<abi::Host>,
    seq: u64,
    shard: u32,
    shards: u32,
}

/// The types of a descriptor's list.
///
/// # Safety
/// `names` is null or a list of texts that ends with a null pointer.
unsafe fn wanted_types(names: *const *const std::ffi::c_char) -> Option<Vec<u32>> {
    if names.is_null() {
        return None;
    }
    let mut types = Vec::new();
    loop {
        // SAFETY: the list goes on to its null pointer, which has not come yet.
        let name = unsafe { names.add(types.len()).read() };
        if name.is_null() {
            return Some(types);
        }
        // SAFETY: texts of a descriptor live as long as the library.
        types.push(callbacks::code_of(&unsafe { CStr::from_ptr(name) }.to_string_lossy()));
    }
}

/// How far apart events lie: as a later minor might have it.
const STRIDE: usize = 96;

/// What is written behind each event.
const RUBBISH: u8 = 0xa5;

/// A batch in memory of its own.
pub(crate) struct Lent {
    pages: Pages,
    events: *const u8,
    count: usize,
    rendered: Vec<String>,
}

impl Instance<'_> {
    /// These events as far as they are of types that the plugin wants, because a host gives it no others; those of user types
    /// become events of wanted ones.
    pub(crate) fn fit(&self, samples: &[Sample]) -> Vec<Sample> {
        let Some(wanted) = self.wanted else { return samples.to_vec() };
        let turned = |(place, sample): (usize, &Sample)| {
            if wanted.contains(&sample.type_id) {
                return Some(sample.clone());
            }
            let type_id = *wanted.get(place % wanted.len().max(1))?;
            sample.turned_into(type_id)
        };
        samples.iter().enumerate().filter_map(turned).collect()
    }

    /// Puts a batch into memory of its own.
    pub(crate) fn lend(&self, samples: &[Sample]) -> Lent {
        let size = samples.iter().map(Sample::cost).sum::<usize>()
            + Pages::cost(samples.len() * STRIDE)
            + 64;
        let mut pages = Pages::new(size).expect("there is memory for a batch");
        let events = pages.room(samples.len() * STRIDE);
        for (index, sample) in samples.iter().enumerate() {
            let (wall, mono) = (self.desk.now_wall_ns(), self.desk.now_mono_ns());
            let event = sample.place(&mut pages, self.seq + index as u64, wall, mono);
            // SAFETY: the room holds that many strides.
            unsafe {
                let place = events.add(index * STRIDE);
                place.cast::<abi::Event>().write(event);
                let behind = STRIDE - size_of::<abi::Event>();
                place.add(size_of::<abi::Event>()).write_bytes(RUBBISH, behind);
            }
        }
        pages.seal();
        let rendered = samples.iter().map(Sample::rendered).collect();
        Lent { pages, events, count: samples.len(), rendered }
    }

    /// Has a batch processed, from event `from` on.
    pub(crate) fn process(&mut self, lent: &mut Lent, from: usize) -> Answer {
        let Some(process) = self.table.process else { unreachable!("create has looked") };
        // SAFETY: `from` is at most the number of events.
        let events = unsafe { lent.events.add(from * STRIDE) };
        let batch = abi::Batch {
            struct_size: size_of::<abi::Batch>() as u32,
            count: (lent.count - from) as u32,
            events: events.cast(),
            event_stride: STRIDE,
            shard: self.shard,
            shard_count: self.shards,
            flags: 0,
            reserved: 0,
            now_wall_ns: self.desk.now_wall_ns(),
            now_mono_ns: self.desk.now_mono_ns(),
        };
        let mut error = abi::ErrorBuffer::new();
        let mut result = abi::BatchResult {
            struct_size: size_of::<abi::BatchResult>() as u32,
            processed: 0,
            error: &mut error,
            retry_after_ns: 0,
        };
        let mut place = self.desk.batch.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some((lent.events.addr(), STRIDE, std::mem::take(&mut lent.rendered)));
        drop(place);
        // SAFETY: everything lives until the call returns.
        let status = unsafe { process(self.raw, &batch, &mut result) };
        let mut place = self.desk.batch.lock().unwrap_or_else(PoisonError::into_inner);
        lent.rendered = place.take().map(|(.., rendered)| rendered).unwrap_or_default();
        let left = lent.count - from;
        let processed = if status == Status::OK { left } else { result.processed as usize };
        self.seq += processed.min(left) as u64;
        answer(status, processed, &error)
    }

    /// Takes a batch's memory away for good.
    pub(crate) fn take_back(lent: Lent) {
        lent.pages.forbid();
    }

    pub(crate) fn flush(&mut self, reason: u32) -> Answer {
        let mut error = abi::ErrorBuffer::new();
        let Some(flush) = self.table.flush else { return answer(Status::OK, 0, &error) };
        // SAFETY: the buffer lives until the call returns.
        let status = unsafe { flush(self.raw, reason, &mut error) };
        answer(status, 0, &error)
    }

    /// Saves the state through a writer that takes at most `room` bytes.
    pub(crate) fn save(&mut self, room: usize) -> Result<Vec<u8>, Answer> {
        struct Saved {
            bytes: Vec<u8>,
            room: usize,
        }
        unsafe extern "C" fn write(ctx: *mut c_void, bytes: *const u8, len: usize) -> Status {
            // SAFETY: the plugin passes the writer's `ctx`, and bytes that live.
            let (saved, bytes) = unsafe {
                (
                    &mut *ctx.cast::<Saved>(),
                    abi::Bytes { ptr: bytes, len }.get().unwrap_or_default(),
                )
            };
            if saved.bytes.len() + bytes.len() > saved.room {
                return Status::E_NOMEM;
            }
            saved.bytes.extend_from_slice(bytes);
            Status::OK
        }
        let mut error = abi::ErrorBuffer::new();
        let Some(save) = self.table.save_state else {
            error.set("save_state is NULL");
            return Err(answer(Status::E_UNSUPPORTED, 0, &error));
        };
        let mut saved = Saved { bytes: Vec::new(), room };
        let writer = abi::Writer {
            struct_size: size_of::<abi::Writer>() as u32,
            reserved: 0,
            ctx: (&raw mut saved).cast(),
            write: Some(write),
        };
        // SAFETY: everything lives until the call returns.
        let status = unsafe { save(self.raw, &writer, &mut error) };
        if status == Status::OK { Ok(saved.bytes) } else { Err(answer(status, 0, &error)) }
    }

    /// Loads a state, which is taken away behind the call.
    pub(crate) fn load(&mut self, state: &[u8], version: u32) -> Answer {
        let mut error = abi::ErrorBuffer::new();
        let Some(load) = self.table.load_state else {
            error.set("load_state is NULL");
            return answer(Status::E_UNSUPPORTED, 0, &error);
        };
        let mut pages = Pages::new(Pages::cost(state.len())).expect("there is memory for a state");
        let ptr = pages.put(state);
        pages.seal();
        let bytes = abi::Bytes { ptr, len: state.len() };
        // SAFETY: everything lives until the call returns.
        let status = unsafe { load(self.raw, bytes, version, &mut error) };
        pages.forbid();
        answer(status, 0, &error)
    }

    pub(crate) fn shutdown(&mut self, reason: u32) {
        if let Some(shutdown) = self.table.shutdown {
            // SAFETY: the instance has not been destroyed.
            unsafe { shutdown(self.raw, reason) };
        }
    }

    /// Whether the instance has an extension under this id.
    pub(crate) fn has_extension(&self, id: &CStr) -> bool {
        // SAFETY: the instance has not been destroyed, and the id lives.
        self.table.get_extension.is_some_and(|get| unsafe { !get(self.raw, id.as_ptr()).is_null() })
    }
}

impl Drop for Instance<'_> {
    fn drop(&mut self) {
        if let Some(destroy) = self.table.destroy {
            // SAFETY: once, and nothing uses it afterwards.
            unsafe { destroy(self.raw) };
        }
    }
}
