//! The functions of `keylane_host`, for plugins that are being checked: they count, and refuse when they are told to.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_void};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use keylane_plugin_abi::{self as abi, Bytes, Status};

/// What the callbacks work on. Any thread may call some of them.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    log_level: AtomicU32,
    /// Cells and room are refused.
    scarce: AtomicBool,
    /// How many derived events there were.
    pub(crate) emitted: AtomicU64,
    pub(crate) log_lines: AtomicU64,
    wall_ns: AtomicI64,
    cells: Mutex<BTreeMap<(u32, String), &'static AtomicU64>>,
    /// The batch: where it is, the distance of its events, and their values rendered.
    pub(super) batch: Mutex<Option<(usize, usize, Vec<String>)>>,
}

/// 2026-01-01T00:00:00Z.
const BEGIN_NS: i64 = 1_767_225_600_000_000_000;

impl Desk {
    /// The host's struct, which leads here.
    pub(crate) fn host(&self) -> abi::Host {
        abi::Host {
            struct_size: size_of::<abi::Host>() as u32,
            abi_version: abi::ABI_VERSION,
            ctx: std::ptr::from_ref(self).cast_mut().cast::<c_void>(),
            name: Bytes::text("keylane plugin validate"),
            version: Bytes::text(env!("CARGO_PKG_VERSION")),
            max_log_level: self.log_level.as_ptr(),
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

    /// A desk that listens to logs down to this level.
    pub(crate) fn new(log_level: u32) -> Self {
        let desk = Self::default();
        desk.log_level.store(log_level, Ordering::Relaxed);
        desk
    }

    /// From now on there are no cells and there is no room for derived events, or there are again.
    pub(crate) fn set_scarce(&self, scarce: bool) {
        self.scarce.store(scarce, Ordering::Relaxed);
    }

    pub(crate) fn now_wall_ns(&self) -> i64 {
        BEGIN_NS + self.wall_ns.load(Ordering::Relaxed)
    }

    pub(crate) fn now_mono_ns(&self) -> u64 {
        1 + self.wall_ns.load(Ordering::Relaxed).unsigned_abs()
    }

    /// Lets time pass, on both clocks.
    pub(crate) fn advance(&self, nanos: i64) {
        self.wall_ns.fetch_add(nanos, Ordering::Relaxed);
    }

    /// All counters.
    pub(crate) fn counters(&self) -> BTreeMap<String, u64> {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = cells.iter().filter(|((kind, _), _)| *kind == abi::cell::COUNTER);
        counters.map(|((_, name), cell)| (name.clone(), cell.load(Ordering::Relaxed))).collect()
    }
}

/// # Safety
/// `host` was made by [`Desk::host`], of a desk that lives.
unsafe fn desk<'a>(host: *const abi::Host) -> &'a Desk {
    // SAFETY: passed on.
    unsafe { &*(*host).ctx.cast::<Desk>() }
}

/// # Safety
/// The bytes live for the call.
unsafe fn text(bytes: Bytes) -> String {
    // SAFETY: passed on.
    let bytes = unsafe { bytes.get() }.unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

unsafe extern "C" fn log(host: *const abi::Host, record: *const abi::LogRecord) {
    // SAFETY: the plugin passes the host's struct, and a record of the size that it says, which leads to texts.
    unsafe {
        if let Ok(record) = abi::read(record) {
            let _ = (text(record.target), text(record.message), text(record.file));
            desk(host).log_lines.fetch_add(1, Ordering::Relaxed);
        }
    }
}

unsafe extern "C" fn cell(
    host: *const abi::Host,
    kind: u32,
    name: Bytes,
    labels: Bytes,
) -> *mut u64 {
    // SAFETY: the plugin passes the host's struct and texts.
    let (desk, name, labels) = unsafe { (desk(host), text(name), text(labels)) };
    if desk.scarce.load(Ordering::Relaxed) {
        return std::ptr::null_mut();
    }
    let mut cells = desk.cells.lock().unwrap_or_else(PoisonError::into_inner);
    // As long as the process, as the ABI promises; a check has few of them.
    let cell = cells.entry((kind, name + &labels)).or_insert_with(|| Box::leak(Box::default()));
    cell.as_ptr()
}

unsafe extern "C" fn histogram(_: *const abi::Host, name: Bytes, labels: Bytes) -> u32 {
    // SAFETY: the plugin passes texts.
    let _ = unsafe { (text(name), text(labels)) };
    0
}

unsafe extern "C" fn observe(_: *const abi::Host, _: u32, _: u64) {}

unsafe extern "C" fn emit(
    host: *const abi::Host,
    events: *const abi::Emit,
    n: usize,
    stride: usize,
    accepted: *mut usize,
) -> Status {
    // SAFETY: the plugin passes the host's struct, `n` events `stride` apart, and a place for the number.
    unsafe {
        let desk = desk(host);
        let scarce = desk.scarce.load(Ordering::Relaxed);
        for index in 0..n {
            let event = &*events.cast::<u8>().add(index * stride).cast::<abi::Emit>();
            // Read as a host would, so that what is not there is missed.
            let bytes = event.key.get().unwrap_or_default().len()
                + event.value.get().unwrap_or_default().len();
            std::hint::black_box(bytes);
        }
        let taken = if scarce { 0 } else { n };
        if let Some(accepted) = accepted.as_mut() {
            *accepted = taken;
        }
        desk.emitted.fetch_add(taken as u64, Ordering::Relaxed);
        if taken < n { Status::E_WOULD_BLOCK } else { Status::OK }
    }
}

unsafe extern "C" fn render(
    host: *const abi::Host,
    event: *const abi::Event,
    _form: u32,
    out: *mut Bytes,
) -> Status {
    // SAFETY: the plugin passes the host's struct and a place for the text.
    let (desk, out) = unsafe { (desk(host), out.as_mut()) };
    let Some(out) = out else { return Status::E_INVALID };
    let batch = desk.batch.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((base, stride, rendered)) = &*batch else { return Status::E_INVALID };
    let offset = event.addr().wrapping_sub(*base);
    match rendered.get(offset / stride).filter(|_| offset.is_multiple_of(*stride)) {
        Some(text) => {
            *out = Bytes::text(text);
            Status::OK
        }
        None => Status::E_INVALID,
    }
}

/// Names for a few types, as a program would have given them.
const NAMED: [(&str, u32); 3] = [("order.paid", 256), ("order.placed", 257), ("alarm.raised", 258)];

unsafe extern "C" fn type_id(_: *const abi::Host, name: Bytes) -> u32 {
    // SAFETY: the plugin passes a text.
    let name = unsafe { text(name) };
    code_of(&name)
}

/// The type of a name. As in the command, where every name becomes a type.
pub(super) fn code_of(name: &str) -> u32 {
    if let Some((_, code)) = NAMED.iter().find(|(known, _)| *known == name) {
        return *code;
    }
    let kind: Option<keylane::EventType> = name.parse().ok();
    let user = || abi::event_type::USER_BASE + 1000 + name.len() as u32 % 1000;
    kind.map_or_else(user, |kind| kind.code().into())
}

unsafe extern "C" fn type_name(_: *const abi::Host, type_id: u32) -> Bytes {
    match NAMED.iter().find(|(_, code)| *code == type_id) {
        Some((name, _)) => Bytes::text(name),
        None if type_id == abi::event_type::START_REQUEST => Bytes::text("START_REQUEST"),
        None => Bytes::text("USER(7)"),
    }
}

unsafe extern "C" fn request_flush(_: *const abi::Host, _: u64) {}

unsafe extern "C" fn now_wall_ns(host: *const abi::Host) -> i64 {
    // SAFETY: the plugin passes the host's struct.
    unsafe { desk(host) }.now_wall_ns()
}

unsafe extern "C" fn now_mono_ns(host: *const abi::Host) -> u64 {
    // SAFETY: the plugin passes the host's struct.
    unsafe { desk(host) }.now_mono_ns()
}

unsafe extern "C" fn get_extension(_: *const abi::Host, _: *const c_char) -> *const c_void {
    std::ptr::null()
}
