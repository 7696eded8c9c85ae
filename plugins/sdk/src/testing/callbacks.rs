//! What the test host does when it is called back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{c_char, c_void};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use keylane_plugin_abi as abi;

use crate::{EventType, Level, Payload};

/// A derived event that the test host was given.
#[derive(Debug, Clone, PartialEq)]
pub struct Emitted {
    /// Its type.
    pub kind: EventType,
    /// Its key.
    pub key: EmittedKey,
    /// Its value.
    pub value: Payload<'static>,
    /// The event of the batch that it descends from; `None` when it descends from the batch as a whole.
    pub parent: Option<usize>,
}

/// The key of a derived event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmittedKey {
    /// None.
    None,
    /// Given as bytes.
    Bytes(Vec<u8>),
    /// Given as its hash.
    Hash(u64),
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How important it is.
    pub level: Level,
    /// The module that wrote it.
    pub target: String,
    /// The text.
    pub message: String,
}

/// The kind of a cell or of a histogram, its name, and its labels as JSON.
pub(super) type Name = (u32, String, String);

/// The kind of names of histograms; the others are those of cells.
pub(super) const HISTOGRAM: u32 = u32::MAX;

/// What the callbacks work on, behind `Host::ctx`.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) max_log_level: AtomicU32,
    pub(super) state: RefCell<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) logs: Vec<LogLine>,
    /// Cells live as long as the process, as in a real host.
    pub(super) cells: BTreeMap<Name, &'static std::sync::atomic::AtomicU64>,
    pub(super) histograms: Vec<(Name, Vec<u64>)>,
    pub(super) emitted: Vec<Emitted>,
    /// Whether a call is on that may emit.
    pub(super) may_emit: bool,
    /// How many more derived events there is room for.
    pub(super) room: usize,
    /// The batch: where it is, the distance of its events, and their values as JSON.
    pub(super) batch: Option<(usize, usize, Vec<Option<String>>)>,
    /// What was rendered during the batch, so that it lives until it ends.
    pub(super) rendered: Vec<Box<str>>,
    pub(super) type_names: BTreeMap<u32, Box<str>>,
    pub(super) requested_flush: Option<Duration>,
    pub(super) now_wall_ns: i64,
    pub(super) now_mono_ns: u64,
}

/// The host's struct for this state.
pub(super) fn host_of(shared: &Shared) -> abi::Host {
    abi::Host {
        struct_size: size_of::<abi::Host>() as u32,
        abi_version: abi::ABI_VERSION,
        ctx: std::ptr::from_ref(shared).cast_mut().cast::<c_void>(),
        name: abi::Bytes::text("keylane-plugin test host"),
        version: abi::Bytes::text(env!("CARGO_PKG_VERSION")),
        max_log_level: shared.max_log_level.as_ptr(),
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

/// # Safety
/// `host` was made by [`host_of`] from a state that lives. A processor of a test calls on the test's thread only.
unsafe fn state<R>(host: *const abi::Host, f: impl FnOnce(&mut State) -> R) -> R {
    // SAFETY: the caller vouches for the host.
    let shared = unsafe { &*(*host).ctx.cast::<Shared>() };
    f(&mut shared.state.borrow_mut())
}

/// # Safety
/// The bytes live.
unsafe fn text(bytes: abi::Bytes) -> String {
    // SAFETY: passed on.
    let bytes = unsafe { bytes.get() }.unwrap_or_default();
    String::from_utf8(bytes.to_vec()).expect("texts of the ABI are UTF-8")
}

unsafe extern "C" fn log(host: *const abi::Host, record: *const abi::LogRecord) {
    // SAFETY: the plugin passes a record that is what it says.
    let record = unsafe { abi::read(record) }.expect("a log record of at least minor 0");
    let level = match record.level {
        1 => Level::Error,
        2 => Level::Warn,
        3 => Level::Info,
        4 => Level::Debug,
        5 => Level::Trace,
        other => panic!("{other} is not a level of the log"),
    };
    // SAFETY: as above.
    unsafe {
        if record.level <= (*(*host).ctx.cast::<Shared>()).max_log_level.load(Ordering::Relaxed) {
            let line =
                LogLine { level, target: text(record.target), message: text(record.message) };
            state(host, |state| state.logs.push(line));
        }
    }
}

/// A new one that lives as long as the process. It is kept in a list, so that tools that look for leaks do not take it for one.
pub(super) fn forever<T: Default + Sync>() -> &'static T {
    static LIST: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let value: &'static T = Box::leak(Box::default());
    LIST.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(std::ptr::from_ref(value).expose_provenance());
    value
}

unsafe extern "C" fn cell(
    host: *const abi::Host,
    kind: u32,
    name: abi::Bytes,
    labels: abi::Bytes,
) -> *mut u64 {
    // SAFETY: the plugin passes texts that live.
    let name = unsafe { (kind, text(name), text(labels)) };
    // SAFETY: the host is the one of this state.
    unsafe { state(host, |state| state.cells.entry(name).or_insert_with(forever).as_ptr()) }
}

unsafe extern "C" fn histogram(
    host: *const abi::Host,
    name: abi::Bytes,
    labels: abi::Bytes,
) -> u32 {
    // SAFETY: the plugin passes texts that live.
    let name = unsafe { (HISTOGRAM, text(name), text(labels)) };
    // SAFETY: the host is the one of this state.
    unsafe {
        state(host, |state| {
            let known = state.histograms.iter().position(|(known, _)| *known == name);
            let place = known.unwrap_or_else(|| {
                state.histograms.push((name, Vec::new()));
                state.histograms.len() - 1
            });
            place as u32
        })
    }
}

unsafe extern "C" fn observe(host: *const abi::Host, histogram: u32, value: u64) {
    // SAFETY: the host is the one of this state.
    unsafe { state(host, |state| state.histograms[histogram as usize].1.push(value)) };
}

unsafe extern "C" fn emit(
    host: *const abi::Host,
    events: *const abi::Emit,
    n: usize,
    stride: usize,
    accepted: *mut usize,
) -> abi::Status {
    assert!(stride >= size_of::<abi::Emit>(), "the stride of derived events is {stride}");
    let mut taken = 0;
    let mut status = abi::Status::OK;
    while taken < n {
        // SAFETY: the plugin passes `n` events at this stride.
        let event = unsafe { events.byte_add(taken * stride).read() };
        // SAFETY: the host is the one of this state, and what the event leads to lives.
        status = unsafe { state(host, |state| emit_one(state, &event)) };
        if status != abi::Status::OK {
            break;
        }
        taken += 1;
    }
    // SAFETY: the plugin passes a place for the number.
    unsafe { accepted.write(taken) };
    status
}

/// # Safety
/// What the event leads to lives.
unsafe fn emit_one(state: &mut State, event: &abi::Emit) -> abi::Status {
    use abi::value_kind as kind;

    if !state.may_emit {
        return abi::Status::E_UNSUPPORTED;
    }
    if event.flags != 0 || event.reserved != 0 || event.type_id > u16::MAX.into() {
        return abi::Status::E_INVALID;
    }
    let events = state.batch.as_ref().map_or(0, |(_, _, values)| values.len());
    let parent = match event.parent {
        abi::NO_PARENT => None,
        parent if (parent as usize) < events => Some(parent as usize),
        _ => return abi::Status::E_INVALID,
    };
    // SAFETY: the caller vouches for what the event leads to; every bit pattern is a number.
    let (key, value) = unsafe {
        let bytes = |bytes: abi::Bytes| bytes.get().unwrap_or_default().to_vec();
        let key = match event.key_kind {
            abi::key_kind::NONE => EmittedKey::None,
            abi::key_kind::BYTES => EmittedKey::Bytes(bytes(event.key)),
            abi::key_kind::HASH => EmittedKey::Hash(event.key_hash),
            _ => return abi::Status::E_INVALID,
        };
        let value = match event.value_kind {
            kind::NONE => Payload::None,
            kind::BOOL => Payload::Bool(event.scalar.u64 != 0),
            kind::I64 => Payload::I64(event.scalar.i64),
            kind::U64 => Payload::U64(event.scalar.u64),
            kind::F64 => Payload::F64(event.scalar.f64),
            kind::UTF8 => Payload::Str(text(event.value).into()),
            kind::BYTES => Payload::Bytes(bytes(event.value).into()),
            kind::JSON => {
                let json = text(event.value);
                if serde_json::from_str::<serde::de::IgnoredAny>(&json).is_err() {
                    return abi::Status::E_INVALID;
                }
                Payload::Json(json.into())
            }
            _ => return abi::Status::E_INVALID,
        };
        (key, value)
    };
    if state.room == 0 {
        return abi::Status::E_WOULD_BLOCK;
    }
    state.room -= 1;
    state.emitted.push(Emitted { kind: EventType::from_code(event.type_id), key, value, parent });
    abi::Status::OK
}

unsafe extern "C" fn render(
    host: *const abi::Host,
    event: *const abi::Event,
    form: u32,
    out: *mut abi::Bytes,
) -> abi::Status {
    // SAFETY: the host is the one of this state.
    let rendered = unsafe {
        state(host, |state| {
            let (base, stride, values) = state.batch.as_ref().ok_or(abi::Status::E_UNSUPPORTED)?;
            let offset = event.addr().checked_sub(*base).ok_or(abi::Status::E_INVALID)?;
            if offset % stride != 0 || offset / stride >= values.len() || form > abi::render::TEXT {
                return Err(abi::Status::E_INVALID);
            }
            let text = values[offset / stride].as_deref().ok_or(abi::Status::E_UNSUPPORTED)?;
            state.rendered.push(text.into());
            Ok(abi::Bytes::text(state.rendered.last().expect("it was just pushed")))
        })
    };
    match rendered {
        Ok(text) => {
            // SAFETY: the plugin passes a place for the bytes.
            unsafe { out.write(text) };
            abi::Status::OK
        }
        Err(status) => status,
    }
}

unsafe extern "C" fn type_id(host: *const abi::Host, name: abi::Bytes) -> u32 {
    // SAFETY: the plugin passes a text that lives.
    let name = unsafe { text(name) };
    // SAFETY: the host is the one of this state.
    let given = unsafe {
        state(host, |state| {
            state.type_names.iter().find(|(_, known)| ***known == *name).map(|(code, _)| *code)
        })
    };
    let codes = (0..=8).chain(256..=u16::MAX.into());
    let known = || codes.clone().find(|code| EventType::from_code(*code).to_string() == name);
    given.or_else(known).unwrap_or(abi::TYPE_UNKNOWN)
}

unsafe extern "C" fn type_name(host: *const abi::Host, code: u32) -> abi::Bytes {
    // SAFETY: the host is the one of this state.
    unsafe {
        state(host, |state| {
            let name = state.type_names.entry(code);
            abi::Bytes::text(name.or_insert_with(|| EventType::from_code(code).to_string().into()))
        })
    }
}

unsafe extern "C" fn request_flush(host: *const abi::Host, after_ns: u64) {
    // SAFETY: the host is the one of this state.
    unsafe { state(host, |state| state.requested_flush = Some(Duration::from_nanos(after_ns))) };
}

unsafe extern "C" fn now_wall_ns(host: *const abi::Host) -> i64 {
    // SAFETY: the host is the one of this state.
    unsafe { state(host, |state| state.now_wall_ns) }
}

unsafe extern "C" fn now_mono_ns(host: *const abi::Host) -> u64 {
    // SAFETY: the host is the one of this state.
    unsafe { state(host, |state| state.now_mono_ns) }
}

unsafe extern "C" fn get_extension(_: *const abi::Host, _: *const c_char) -> *const c_void {
    std::ptr::null()
}
