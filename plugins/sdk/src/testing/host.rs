//! The test host: creates an instance through its entry, and drives it.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::fmt;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use keylane_plugin_abi as abi;

use super::batch::RawEvents;
use super::callbacks::{Emitted, HISTOGRAM, LogLine, Shared, State, host_of};
use super::event::TestEvent;
use super::report::{Report, broken, check, report, unsupported};
use crate::export::{Descriptors, Plugin, Registration};
use crate::{Level, Processor};

/// Hosts one instance of a processor, on the test's thread. See [the module](super).
pub struct TestHost {
    instance: *mut abi::Processor,
    factory: abi::Factory,
    id: CString,
    config: Vec<u8>,
    generation: u64,
    seq: u64,
    shard: (u32, u32),
    host: Box<abi::Host>,
    shared: Box<Shared>,
    /// The descriptors' owner, for processors that come from no library.
    _not_send: PhantomData<*mut ()>,
}

/// The plugin that a processor of a test is alone in.
struct Only<P>(PhantomData<P>);

impl<P: Processor> Plugin for Only<P> {
    const PROCESSORS: &'static [Registration] = &[Registration::of::<P>()];

    fn descriptors() -> &'static OnceLock<Descriptors> {
        // A static cannot depend on `P`, so every host of a test has a cell of its own. It asks once.
        super::callbacks::forever()
    }
}

/// 2026-01-01T00:00:00Z, when every test begins.
const BEGIN_NS: i64 = 1_767_225_600_000_000_000;

impl TestHost {
    /// Creates an instance of a processor with this configuration.
    ///
    /// # Errors
    /// What the processor said when it refused.
    pub fn new<P: Processor>(config: &str) -> Result<Self, Report> {
        let entry = crate::export::entry::<Only<P>>();
        // `init` is left out: it is for libraries that have a standard library of their own.
        // SAFETY: the entry is that of a processor in this program.
        unsafe { Self::of_factory(&abi::Entry { init: None, ..entry }, None, config, (0, 1)) }
    }

    /// As [`new`](Self::new), for shard `shard` of `shards`.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn on_shard<P: Processor>(config: &str, shard: u32, shards: u32) -> Result<Self, Report> {
        let entry = crate::export::entry::<Only<P>>();
        // SAFETY: as for `new`.
        unsafe {
            Self::of_factory(&abi::Entry { init: None, ..entry }, None, config, (shard, shards))
        }
    }

    /// Creates an instance of a processor from the entry of a library that the test has loaded, or linked; `id` names it if there are
    /// several. It is the host for tests of plugins in C.
    ///
    /// # Errors
    /// What the plugin said when it refused; `E_ABI` when the entry is none, or the plugin lacks something that is required.
    ///
    /// # Safety
    /// `entry` is `keylane_plugin_entry_v1` of a library that stays loaded and keeps the rules of the header.
    pub unsafe fn from_entry(
        entry: *const abi::Entry,
        id: Option<&str>,
        config: &str,
    ) -> Result<Self, Report> {
        // SAFETY: the caller vouches for the entry.
        let entry = unsafe { abi::read(entry) }.map_err(|error| broken(&error.to_string()))?;
        if entry.magic != abi::MAGIC || entry.layout != abi::LAYOUT {
            return Err(broken(&format!(
                "the entry has magic {:#x} and layout {:#x}",
                entry.magic, entry.layout
            )));
        }
        if let Some(init) = entry.init {
            let mut error = abi::ErrorBuffer::new();
            // SAFETY: the caller vouches for the library.
            let status = unsafe { init(c"test".as_ptr(), abi::ABI_VERSION, &mut error) };
            check(status, &error)?;
        }
        // SAFETY: as the caller says.
        unsafe { Self::of_factory(&entry, id, config, (0, 1)) }
    }

    /// # Safety
    /// As for [`from_entry`](Self::from_entry); the entry is initialised.
    unsafe fn of_factory(
        entry: &abi::Entry,
        id: Option<&str>,
        config: &str,
        shard: (u32, u32),
    ) -> Result<Self, Report> {
        let get_factory = entry.get_factory.ok_or_else(|| broken("get_factory is NULL"))?;
        // SAFETY: the caller vouches for the functions of the plugin, here and below.
        let factory = unsafe { get_factory(abi::FACTORY_ID.as_ptr()) };
        if factory.is_null() {
            return Err(broken("the plugin has no factory"));
        }
        // SAFETY: the factory lives as long as the library.
        let factory = unsafe { abi::read(factory.cast::<abi::Factory>()) }
            .map_err(|error| broken(&error.to_string()))?;
        let (Some(count), Some(descriptor)) = (factory.count, factory.descriptor) else {
            return Err(broken("count or descriptor is NULL"));
        };
        // SAFETY: as above.
        let found = (0..unsafe { count() }).find_map(|index| unsafe {
            let found = abi::read(descriptor(index)).ok()?;
            let found = CStr::from_ptr(found.id);
            id.is_none_or(|id| id.as_bytes() == found.to_bytes()).then(|| found.to_owned())
        });
        let id = found.ok_or_else(|| {
            broken(&format!("the plugin has no processor {}", id.unwrap_or("at all")))
        })?;
        let state =
            State { now_wall_ns: BEGIN_NS, now_mono_ns: 1, room: usize::MAX, ..State::default() };
        let shared = Shared {
            max_log_level: AtomicU32::new(Level::Trace as u32),
            state: RefCell::new(state),
        };
        let shared = Box::new(shared);
        let mut this = Self {
            instance: std::ptr::null_mut(),
            factory,
            id,
            config: config.as_bytes().to_vec(),
            generation: 0,
            seq: 0,
            shard,
            host: Box::new(host_of(&shared)),
            shared,
            _not_send: PhantomData,
        };
        this.instance = this.create()?;
        Ok(this)
    }

    fn create(&mut self) -> Result<*mut abi::Processor, Report> {
        let create = self.factory.create.ok_or_else(|| broken("create is NULL"))?;
        self.generation += 1;
        let args = abi::CreateArgs {
            struct_size: size_of::<abi::CreateArgs>() as u32,
            shard: self.shard.0,
            shard_count: self.shard.1,
            reserved: 0,
            generation: self.generation,
            config_json: abi::Bytes::new(&self.config),
            instance_name: abi::Bytes::text("test"),
        };
        let mut error = abi::ErrorBuffer::new();
        let mut instance = std::ptr::null_mut();
        // SAFETY: everything lives until the call returns, the host as long as the instance.
        let status =
            unsafe { create(self.id.as_ptr(), &*self.host, &args, &mut instance, &mut error) };
        check(status, &error)?;
        if instance.is_null() {
            return Err(broken("create said OK but gave no instance"));
        }
        Ok(instance)
    }

    /// Asks the plugin about a configuration.
    ///
    /// # Errors
    /// What it said when it refused.
    pub fn check_config(&self, config: &str) -> Result<(), Report> {
        let Some(check_config) = self.factory.check_config else { return Ok(()) };
        let mut error = abi::ErrorBuffer::new();
        // SAFETY: everything lives until the call returns.
        let status =
            unsafe { check_config(self.id.as_ptr(), abi::Bytes::text(config), &mut error) };
        check(status, &error)
    }

    fn table(&self) -> abi::Processor {
        // SAFETY: the instance is one that the plugin made and that is not destroyed.
        unsafe { abi::read(self.instance) }.expect("an instance of at least minor 0")
    }

    fn state<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.shared.state.borrow_mut())
    }

    /// Has a batch processed.
    ///
    /// # Panics
    /// When not all of it were; the message has the report.
    #[track_caller]
    pub fn send(&mut self, events: &[TestEvent]) {
        let report = self.try_send(events);
        assert!(report.status == abi::Status::OK, "the batch was not processed: {report}");
    }

    /// Has a batch processed, and says what came of it. Events that were not done are not kept: send them again, or not.
    ///
    /// # Panics
    /// When the plugin breaks a rule: says that it has processed more than there was, or changes the events.
    #[track_caller]
    pub fn try_send(&mut self, events: &[TestEvent]) -> Report {
        let process = self.table().process.expect("process is required");
        let (now_wall_ns, now_mono_ns) = self.state(|state| (state.now_wall_ns, state.now_mono_ns));
        let raw = RawEvents::new(events, self.seq, now_wall_ns, now_mono_ns);
        let before = raw.bytes().to_vec();
        let batch = raw.batch(self.shard, now_wall_ns, now_mono_ns);
        let mut error = abi::ErrorBuffer::new();
        let mut result = abi::BatchResult {
            struct_size: size_of::<abi::BatchResult>() as u32,
            processed: 0,
            error: &mut error,
            retry_after_ns: 0,
        };
        self.state(|state| {
            let values = events.iter().map(TestEvent::render).collect();
            state.batch = Some((batch.events.addr(), batch.event_stride, values));
            state.may_emit = true;
        });
        // SAFETY: everything lives until the call returns.
        let status = unsafe { process(self.instance, &batch, &mut result) };
        self.state(|state| {
            state.batch = None;
            state.rendered.clear();
            state.may_emit = false;
        });
        assert_eq!(before, raw.bytes(), "the plugin has changed the events");
        let processed =
            if status == abi::Status::OK { events.len() } else { result.processed as usize };
        assert!(
            processed <= events.len(),
            "the plugin says that it has processed {processed} of {} events",
            events.len()
        );
        let lost = [abi::Status::E_EVENT, abi::Status::E_PANIC].contains(&status);
        self.seq += (processed + usize::from(lost)) as u64;
        let retry_after =
            (result.retry_after_ns > 0).then(|| Duration::from_nanos(result.retry_after_ns));
        Report { retry_after, processed, ..report(status, &error) }
    }

    /// Flushes.
    ///
    /// # Errors
    /// What the plugin said when it did not succeed.
    pub fn flush(&mut self) -> Result<(), Report> {
        self.flush_because(abi::flush_reason::REQUESTED)
    }

    fn flush_because(&mut self, reason: u32) -> Result<(), Report> {
        let Some(flush) = self.table().flush else { return Ok(()) };
        let mut error = abi::ErrorBuffer::new();
        self.state(|state| state.may_emit = true);
        // SAFETY: everything lives until the call returns.
        let status = unsafe { flush(self.instance, reason, &mut error) };
        self.state(|state| state.may_emit = false);
        check(status, &error)
    }

    /// Saves the state.
    ///
    /// # Errors
    /// What the plugin said when it did not succeed, `E_UNSUPPORTED` when it is not stateful.
    pub fn save_state(&mut self) -> Result<Vec<u8>, Report> {
        unsafe extern "C" fn write(
            ctx: *mut std::ffi::c_void,
            bytes: *const u8,
            len: usize,
        ) -> abi::Status {
            // SAFETY: the plugin passes the writer's `ctx`, and bytes that live.
            unsafe {
                let bytes = abi::Bytes { ptr: bytes, len }.get().unwrap_or_default();
                (*ctx.cast::<Vec<u8>>()).extend_from_slice(bytes);
            }
            abi::Status::OK
        }

        let save_state = self.table().save_state.ok_or_else(|| unsupported("save_state"))?;
        let mut saved: Vec<u8> = Vec::new();
        let writer = abi::Writer {
            struct_size: size_of::<abi::Writer>() as u32,
            reserved: 0,
            ctx: (&raw mut saved).cast(),
            write: Some(write),
        };
        let mut error = abi::ErrorBuffer::new();
        // SAFETY: everything lives until the call returns.
        let status = unsafe { save_state(self.instance, &writer, &mut error) };
        check(status, &error)?;
        Ok(saved)
    }

    /// Loads a state.
    ///
    /// # Errors
    /// What the plugin said when it refused, `E_UNSUPPORTED` when it is not stateful.
    pub fn load_state(&mut self, state: &[u8], version: u32) -> Result<(), Report> {
        let load_state = self.table().load_state.ok_or_else(|| unsupported("load_state"))?;
        let mut error = abi::ErrorBuffer::new();
        // SAFETY: everything lives until the call returns.
        let status =
            unsafe { load_state(self.instance, abi::Bytes::new(state), version, &mut error) };
        check(status, &error)
    }

    /// Replaces the instance by another one with the same configuration, as a host does: flush, save, load, shutdown, destroy.
    ///
    /// # Errors
    /// The first thing that went wrong; then the old instance goes on.
    pub fn swap(&mut self, state_version: u32) -> Result<(), Report> {
        let new = self.create()?;
        let old = self.instance;
        let handed_over = self.flush_because(abi::flush_reason::SWAP).and_then(|()| {
            if self.table().save_state.is_none() {
                return Ok(());
            }
            let state = self.save_state()?;
            self.instance = new;
            self.load_state(&state, state_version)
        });
        self.instance = if handed_over.is_ok() { new } else { old };
        let gone = if handed_over.is_ok() { old } else { new };
        // SAFETY: the instance is not used any more, and only one that had events is shut down.
        unsafe { end(gone, handed_over.is_ok().then_some(abi::shutdown_reason::SWAP)) };
        handed_over
    }

    /// Flushes and shuts down, and gives back what can be looked at afterwards.
    ///
    /// # Errors
    /// What the plugin said when the flush did not succeed; it is shut down all the same.
    pub fn shutdown(mut self) -> Result<(), Report> {
        let flushed = self.flush_because(abi::flush_reason::SHUTDOWN);
        self.end();
        flushed
    }

    fn end(&mut self) {
        let instance = std::mem::replace(&mut self.instance, std::ptr::null_mut());
        if !instance.is_null() {
            // SAFETY: the instance is one that the plugin made, and it is not used any more.
            unsafe { end(instance, Some(abi::shutdown_reason::BUS)) };
        }
    }

    /// The derived events since the last look.
    #[must_use]
    pub fn emitted(&mut self) -> Vec<Emitted> {
        self.state(|state| std::mem::take(&mut state.emitted))
    }

    /// Takes so many derived events from now on, and refuses more for lack of room.
    pub fn set_room(&mut self, events: usize) {
        self.state(|state| state.room = events);
    }

    /// The lines of the log since the last look.
    #[must_use]
    pub fn logs(&mut self) -> Vec<LogLine> {
        self.state(|state| std::mem::take(&mut state.logs))
    }

    /// Wants lines of this level and above; `None` for none.
    pub fn set_log_level(&mut self, level: Option<Level>) {
        self.shared.max_log_level.store(level.map_or(0, |level| level as u32), Ordering::Relaxed);
    }

    /// A counter; 0 when there is none.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        self.cell(abi::cell::COUNTER, name, "")
    }

    /// A counter with labels, as JSON.
    #[must_use]
    pub fn counter_with(&self, name: &str, labels_json: &str) -> u64 {
        self.cell(abi::cell::COUNTER, name, labels_json)
    }

    /// A gauge; 0 when there is none.
    #[must_use]
    pub fn gauge(&self, name: &str) -> i64 {
        self.cell(abi::cell::GAUGE, name, "") as i64
    }

    fn cell(&self, kind: u32, name: &str, labels: &str) -> u64 {
        self.state(|state| {
            let cell: Option<&&AtomicU64> =
                state.cells.get(&(kind, name.to_owned(), labels.to_owned()));
            cell.map_or(0, |cell| cell.load(Ordering::Relaxed))
        })
    }

    /// What was recorded in a histogram.
    #[must_use]
    pub fn observed(&self, name: &str) -> Vec<u64> {
        self.state(|state| {
            let of_that_name =
                |((kind, known, _), _): &&(_, Vec<u64>)| *kind == HISTOGRAM && known == name;
            state
                .histograms
                .iter()
                .find(of_that_name)
                .map(|(_, values)| values.clone())
                .unwrap_or_default()
        })
    }

    /// The flush that was asked for since the last look.
    #[must_use]
    pub fn requested_flush(&mut self) -> Option<Duration> {
        self.state(|state| state.requested_flush.take())
    }

    /// Lets time pass, on both clocks. A test begins at 2026-01-01T00:00:00Z.
    pub fn advance(&mut self, by: Duration) {
        self.state(|state| {
            state.now_wall_ns += by.as_nanos() as i64;
            state.now_mono_ns += by.as_nanos() as u64;
        });
    }

    /// The wall clock.
    #[must_use]
    pub fn now_wall_ns(&self) -> i64 {
        self.state(|state| state.now_wall_ns)
    }

    /// Gives a type a name, as a program may.
    pub fn name_type(&mut self, kind: crate::EventType, name: &str) {
        self.state(|state| state.type_names.insert(kind.code(), name.into()));
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for TestHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestHost")
            .field("id", &self.id)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// # Safety
/// The instance is one that its plugin made; it is not used any more. With a reason, it was given to the shard.
unsafe fn end(instance: *mut abi::Processor, shutdown: Option<u32>) {
    // SAFETY: the caller vouches for the instance.
    unsafe {
        let table = abi::read(instance).expect("an instance of at least minor 0");
        if let (Some(shutdown), Some(reason)) = (table.shutdown, shutdown) {
            shutdown(instance, reason);
        }
        table.destroy.expect("destroy is required")(instance);
    }
}
