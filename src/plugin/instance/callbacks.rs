//! The functions of `keylane_host`: what a plugin may ask of the host.
//!
//! Each is called by foreign code. None unwinds, since that would end the process: a panic in here, of a subscriber of the log say, ends
//! here and counts as a failure. None trusts a pointer further than the ABI says. The tags are checked: see
//! [`Context::may`].

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use keylane_plugin_abi::{self as abi, Bytes, Status, TYPE_UNKNOWN};

use super::context::{BatchInCall, Context};
use super::log_limit::Verdict;
use crate::clock;
use crate::event::{Event, EventType};
use crate::plugin::call::Role;
use crate::plugin::convert::wall_nanos;

/// The longest text that a plugin may hand over in one piece.
const MAX_TEXT: usize = 64 * 1024;
/// The most fields of a line of the log.
const MAX_FIELDS: usize = 64;
/// The longest rendered value.
const MAX_RENDERED: usize = 16 * 1024 * 1024;

/// A host without a context.
pub(super) fn host(max_log_level: *const u32) -> abi::Host {
    abi::Host {
        struct_size: size_of::<abi::Host>() as u32,
        abi_version: abi::ABI_VERSION,
        ctx: std::ptr::null_mut(),
        name: Bytes::text(env!("CARGO_PKG_NAME")),
        version: Bytes::text(env!("CARGO_PKG_VERSION")),
        max_log_level,
        log: Some(log),
        cell: Some(cell),
        histogram: Some(histogram),
        observe: Some(observe),
        emit: Some(emit),
        render: Some(render),
        type_id: Some(type_id),
        type_name: Some(type_name),
        request_flush: Some(request_flush),
        now_wall_ns: Some(now_wall_ns),
        now_mono_ns: Some(now_mono_ns),
        get_extension: Some(get_extension),
    }
}

/// Calls `f` with the context of a host; `otherwise` when there is none, or on a panic.
///
/// # Safety
/// `host` is null or the host pointer of an instance that has not been destroyed.
unsafe fn with<R>(host: *const abi::Host, otherwise: R, f: impl FnOnce(&Context) -> R) -> R {
    // SAFETY: passed on.
    let ctx = unsafe { host.as_ref() }.map(|host| host.ctx.cast::<Context>().cast_const());
    // SAFETY: the context outlives the instance.
    let Some(context) = ctx.and_then(|ctx| unsafe { ctx.as_ref() }) else { return otherwise };
    catch_unwind(AssertUnwindSafe(|| f(context))).unwrap_or_else(|payload| {
        // Its destructor may panic as well.
        std::mem::forget(payload);
        otherwise
    })
}

/// The text of borrowed bytes, shortened to the limit; invalid UTF-8 is replaced.
///
/// # Safety
/// The bytes live as long as `'a`.
unsafe fn text<'a>(bytes: Bytes) -> Option<std::borrow::Cow<'a, str>> {
    // SAFETY: passed on.
    let bytes = unsafe { bytes.get() }?;
    Some(String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_TEXT)]))
}

fn in_shard(role: Role) -> bool {
    matches!(role, Role::Process | Role::Shard)
}

fn in_process(role: Role) -> bool {
    role == Role::Process
}

fn any_role(_: Role) -> bool {
    true
}

unsafe extern "C" fn log(host: *const abi::Host, record: *const abi::LogRecord) {
    let line = |context: &Context| {
        if record.is_null() {
            return;
        }
        // SAFETY: the plugin passes a record of the size that it says.
        let Ok(record) = (unsafe { abi::read(record) }) else { return };
        if record.level == abi::log::OFF || record.level > context.shared.log_level() {
            return;
        }
        let dropped_before = match context.log_limit.line() {
            Verdict::Pass { dropped_before } => dropped_before,
            Verdict::Drop => return context.shared.counts.log_lines_dropped.add(1),
        };
        // SAFETY: what the record points to lives until this call returns.
        let line = unsafe { Line::read(&record, dropped_before) };
        line.write(context);
    };
    // SAFETY: passed on.
    unsafe { with(host, (), line) };
}

/// A line of the log in Rust's terms.
struct Line<'a> {
    level: u32,
    target: Option<std::borrow::Cow<'a, str>>,
    message: std::borrow::Cow<'a, str>,
    place: String,
    fields: String,
    dropped_before: u64,
}

impl Line<'_> {
    /// # Safety
    /// What the record points to lives as long as the line.
    unsafe fn read(record: &abi::LogRecord, dropped_before: u64) -> Self {
        let mut fields = String::new();
        let count =
            if record.kv.is_null() { 0 } else { (record.kv_count as usize).min(MAX_FIELDS) };
        for index in 0..count {
            // SAFETY: there are `kv_count` pairs.
            let pair = unsafe { record.kv.add(index).read() };
            // SAFETY: passed on.
            let (key, value) = unsafe { (text(pair.key), text(pair.value)) };
            let separator = if index == 0 { "" } else { " " };
            let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
            fields.push_str(&format!("{separator}{}={value:?}", key.escape_debug()));
        }
        // SAFETY: passed on.
        let (target, message, file) =
            unsafe { (text(record.target), text(record.message), text(record.file)) };
        let place = file.map_or(String::new(), |file| format!("{file}:{}", record.line));
        Self {
            level: record.level,
            target,
            message: message.unwrap_or_default(),
            place,
            fields,
            dropped_before,
        }
    }

    fn write(&self, context: &Context) {
        let identity = &context.identity;
        let Self { level, target, message, place, fields, dropped_before } = self;
        let target = target.as_deref().unwrap_or_default();
        // The level of an event is fixed where it is written.
        macro_rules! event {
            ($level:ident) => {
                tracing::$level!(
                    plugin = identity.plugin,
                    version = identity.version,
                    processor = identity.processor,
                    shard = identity.shard,
                    generation = identity.generation,
                    component = target,
                    place,
                    fields,
                    dropped_before,
                    "{message}"
                )
            };
        }
        match *level {
            abi::log::ERROR => event!(error),
            abi::log::WARN => event!(warn),
            abi::log::INFO => event!(info),
            abi::log::DEBUG => event!(debug),
            _ => event!(trace),
        }
    }
}

unsafe extern "C" fn cell(
    host: *const abi::Host,
    kind: u32,
    name: Bytes,
    labels: Bytes,
) -> *mut u64 {
    let find = |context: &Context| {
        if !context.may("cell()", any_role) {
            return None;
        }
        // SAFETY: the texts live until this call returns.
        let (name, labels) = unsafe { (text(name)?, text(labels).unwrap_or_default()) };
        let identity = &context.identity;
        let cells = &context.shared.cells;
        cells.cell(kind, &identity.processor, identity.shard, &name, &labels)
    };
    // SAFETY: passed on.
    let cell = unsafe { with(host, None, find) };
    cell.map_or(std::ptr::null_mut(), |cell| cell.as_ptr())
}

unsafe extern "C" fn histogram(host: *const abi::Host, name: Bytes, labels: Bytes) -> u32 {
    let find = |context: &Context| {
        if !context.may("histogram()", any_role) {
            return None;
        }
        // SAFETY: the texts live until this call returns.
        let (name, labels) = unsafe { (text(name)?, text(labels).unwrap_or_default()) };
        let identity = &context.identity;
        context.shared.cells.histogram(&identity.processor, identity.shard, &name, &labels)
    };
    // SAFETY: passed on.
    unsafe { with(host, None, find) }.unwrap_or(u32::MAX)
}

unsafe extern "C" fn observe(host: *const abi::Host, histogram: u32, value: u64) {
    // SAFETY: passed on.
    unsafe { with(host, false, |context| context.shared.cells.observe(histogram, value)) };
}

unsafe extern "C" fn emit(
    host: *const abi::Host,
    events: *const abi::Emit,
    n: usize,
    stride: usize,
    accepted: *mut usize,
) -> Status {
    let mut taken = 0;
    let take = |context: &Context| {
        if !context.may("emit()", in_shard) {
            return Status::E_UNSUPPORTED;
        }
        // SAFETY: this thread is inside of a call into the instance. Callbacks do not call each other, so this is the only reference.
        let state = unsafe { context.state() };
        if n > 0 && (events.is_null() || !events.is_aligned()) {
            return Status::E_INVALID;
        }
        if stride < size_of::<abi::Emit>() || !stride.is_multiple_of(8) {
            return Status::E_ABI;
        }
        while taken < n {
            // SAFETY: there are `n` events with that stride.
            let event =
                unsafe { events.cast::<u8>().add(taken * stride).cast::<abi::Emit>().read() };
            let Some(parent_hops) = parent_hops(state.batch, event.parent) else {
                return Status::E_INVALID;
            };
            if parent_hops >= state.hop_limit {
                return Status::E_HOPS;
            }
            // SAFETY: what the event points to lives until this call returns.
            match unsafe { state.outbox.push(&event, parent_hops) } {
                Status::OK => taken += 1,
                refused => return refused,
            }
        }
        Status::OK
    };
    // SAFETY: passed on.
    let status = unsafe { with(host, Status::E_FATAL, take) };
    if status != Status::OK {
        // SAFETY: passed on.
        unsafe {
            with(host, (), |context| context.shared.counts.emit_refused.add((n - taken) as u64))
        };
    }
    if !accepted.is_null() {
        // SAFETY: the plugin passes a place for a number, or null.
        unsafe { accepted.write(taken) };
    }
    status
}

/// The hops of a derived event's parent; `None` when there is no such event.
fn parent_hops(batch: Option<BatchInCall>, parent: u32) -> Option<u8> {
    let Some(batch) = batch else { return (parent == abi::NO_PARENT).then_some(0) };
    // SAFETY: `process` has the batch, and the plugin may only read it.
    let converted = unsafe { std::slice::from_raw_parts(batch.converted, batch.len) };
    if parent == abi::NO_PARENT {
        // The longest line: a cycle has to end.
        return Some(converted.iter().map(|event| event.hops).max().unwrap_or(0));
    }
    converted.get(parent as usize).map(|event| event.hops)
}

unsafe extern "C" fn render(
    host: *const abi::Host,
    event: *const abi::Event,
    form: u32,
    out: *mut Bytes,
) -> Status {
    if out.is_null() {
        return Status::E_INVALID;
    }
    let text = |context: &Context| {
        if !context.may("render()", in_process) {
            return Err(Status::E_UNSUPPORTED);
        }
        // SAFETY: as in `emit`.
        let state = unsafe { context.state() };
        let batch = state.batch.ok_or(Status::E_UNSUPPORTED)?;
        let event = batch.find(event).ok_or(Status::E_INVALID)?;
        let value = &event.body().value;
        let mut text = Capped(Vec::new());
        let written = match form {
            abi::render::JSON => value.write_json(&mut text).is_ok(),
            abi::render::TEXT => {
                std::io::Write::write_fmt(&mut text, format_args!("{value}")).is_ok()
            }
            _ => return Err(Status::E_UNSUPPORTED),
        };
        match written {
            true => Ok(state.rendered.bytes(&text.0)),
            false if text.0.len() > MAX_RENDERED => Err(Status::E_WOULD_BLOCK),
            false => Err(Status::E_UNSUPPORTED),
        }
    };
    // SAFETY: passed on.
    match unsafe { with(host, Err(Status::E_UNSUPPORTED), text) } {
        Ok(bytes) => {
            // SAFETY: the plugin passes a place for the result; null was refused.
            unsafe { out.write(bytes) };
            Status::OK
        }
        Err(status) => status,
    }
}

/// A buffer that refuses what is too long, with one byte more than allowed as the sign.
struct Capped(Vec<u8>);

impl std::io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() > MAX_RENDERED.saturating_sub(self.0.len()) {
            self.0.resize(MAX_RENDERED + 1, 0);
            return Err(std::io::Error::other("too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl BatchInCall {
    /// The event behind a converted one, by its address.
    fn find(&self, event: *const abi::Event) -> Option<&Event> {
        let offset = (event as usize).checked_sub(self.converted as usize)?;
        let index = offset / size_of::<abi::Event>();
        if !offset.is_multiple_of(size_of::<abi::Event>()) || index >= self.len {
            return None;
        }
        // SAFETY: the batch is `process`'s for as long as this is set, and the place of each converted event is one of the batch.
        unsafe {
            let place =
                if self.places.is_null() { index } else { *self.places.add(index) as usize };
            (*self.events.add(place)).as_ref()
        }
    }
}

unsafe extern "C" fn type_id(host: *const abi::Host, name: Bytes) -> u32 {
    let find = |context: &Context| {
        // SAFETY: the text lives until this call returns.
        let name = unsafe { text(name) }?;
        context.shared.names.kind(&name).map(|kind| kind.code().into())
    };
    // SAFETY: passed on.
    unsafe { with(host, None, find) }.unwrap_or(TYPE_UNKNOWN)
}

unsafe extern "C" fn type_name(host: *const abi::Host, type_id: u32) -> Bytes {
    let find = |context: &Context| {
        let Ok(code) = u16::try_from(type_id) else { return Bytes::text("UNKNOWN") };
        let mut names = context.type_names.lock().unwrap_or_else(PoisonError::into_inner);
        // A boxed text stays where it is when the map grows, and nothing is ever taken out.
        let name = names
            .entry(type_id)
            .or_insert_with(|| context.shared.names.name(EventType(code)).into());
        Bytes::text(name)
    };
    // SAFETY: passed on.
    unsafe { with(host, Bytes::text("UNKNOWN"), find) }
}

unsafe extern "C" fn request_flush(host: *const abi::Host, after_ns: u64) {
    let wish = |context: &Context| {
        context.wish.make(&context.shared.control, Duration::from_nanos(after_ns));
    };
    // SAFETY: passed on.
    unsafe { with(host, (), wish) };
}

unsafe extern "C" fn now_wall_ns(_host: *const abi::Host) -> i64 {
    wall_nanos(SystemTime::now())
}

unsafe extern "C" fn now_mono_ns(_host: *const abi::Host) -> u64 {
    clock::rate().to_nanos(clock::now())
}

unsafe extern "C" fn get_extension(_host: *const abi::Host, _id: *const c_char) -> *const c_void {
    // Major 1 begins with none.
    std::ptr::null()
}
