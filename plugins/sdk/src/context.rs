//! What a processor can ask of its host.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use keylane_plugin_abi as abi;

use crate::batch::NotSend;
use crate::{Counter, Derived, EmitError, Event, EventType, Gauge, Histogram, Level};

/// The host, for the time of a call.
pub struct Cx<'a> {
    host: HostRef<'a>,
    /// How many events of the batch are done.
    pub(crate) cursor: Cell<u32>,
    /// The events of the batch, outside of a batch 0.
    events: u32,
    /// Both clocks, as the batch says.
    now: Option<(i64, u64)>,
    _not_send: NotSend,
}

/// The host's struct, and what this version of the SDK could read of it: an older host's is shorter.
#[derive(Clone, Copy)]
pub(crate) struct HostRef<'a> {
    /// What the host's functions are to be called with.
    raw: *const abi::Host,
    known: &'a abi::Host,
}

impl<'a> HostRef<'a> {
    /// # Safety
    /// `raw` leads to the host that `known` was read from, which outlives `'a` and is what it says.
    pub(crate) unsafe fn new(raw: *const abi::Host, known: &'a abi::Host) -> Self {
        Self { raw, known }
    }
}

impl<'a> Cx<'a> {
    /// Within a batch, or outside of one.
    pub(crate) fn new(host: HostRef<'a>, batch: Option<&abi::Batch>) -> Self {
        let now = batch.map(|batch| (batch.now_wall_ns, batch.now_mono_ns));
        let events = batch.map_or(0, |batch| batch.count);
        Self { host, cursor: Cell::new(0), events, now, _not_send: PhantomData }
    }

    /// The program's name and version.
    #[must_use]
    pub fn host_name(&self) -> (&'a str, &'a str) {
        // SAFETY: the host's texts live as long as it does.
        unsafe { (text(self.host.known.name), text(self.host.known.version)) }
    }

    /// Whether the log wants records of this level. The macros ask before they format.
    #[inline]
    #[must_use]
    pub fn log_enabled(&self, level: Level) -> bool {
        if self.host.known.max_log_level.is_null() {
            return false;
        }
        // SAFETY: the cell lives as long as the host, is aligned, and is only accessed atomically.
        let most = unsafe { AtomicU32::from_ptr(self.host.known.max_log_level.cast_mut()) };
        level as u32 <= most.load(Ordering::Relaxed)
    }

    /// Writes a record, whatever its level. Use the macros [`error!`](crate::error), [`warn!`](crate::warn),
    /// [`info!`](crate::info), [`debug!`](crate::debug) and [`trace!`](crate::trace), which look at the level first.
    pub fn log(
        &self,
        level: Level,
        target: &str,
        file: &str,
        line: u32,
        message: fmt::Arguments<'_>,
    ) {
        let Some(log) = self.host.known.log else { return };
        let formatted;
        let message = match message.as_str() {
            Some(message) => message,
            None => {
                formatted = message.to_string();
                &formatted
            }
        };
        let record = abi::LogRecord {
            struct_size: size_of::<abi::LogRecord>() as u32,
            level: level as u32,
            target: abi::Bytes::text(target),
            message: abi::Bytes::text(message),
            file: abi::Bytes::text(file),
            line,
            kv_count: 0,
            kv: std::ptr::null(),
        };
        // SAFETY: the record and its texts live until the call returns.
        unsafe { log(self.host.raw, &record) };
    }

    /// A counter of this shard, shown by the host under the plugin's name. The same name gives the same counter, also after a swap.
    ///
    /// Get it once, in `create`. When the host has too many, the counter counts nothing.
    #[must_use]
    pub fn counter(&self, name: &str) -> Counter {
        self.counter_with(name, &[])
    }

    /// A counter with labels.
    #[must_use]
    pub fn counter_with(&self, name: &str, labels: &[(&str, &str)]) -> Counter {
        Counter::new(self.cell(abi::cell::COUNTER, name, labels))
    }

    /// A gauge of this shard.
    #[must_use]
    pub fn gauge(&self, name: &str) -> Gauge {
        self.gauge_with(name, &[])
    }

    /// A gauge with labels.
    #[must_use]
    pub fn gauge_with(&self, name: &str, labels: &[(&str, &str)]) -> Gauge {
        Gauge::new(self.cell(abi::cell::GAUGE, name, labels))
    }

    fn cell(&self, kind: u32, name: &str, labels: &[(&str, &str)]) -> Option<&'static AtomicU64> {
        let cell = self.host.known.cell?;
        let labels = labels_json(labels);
        let labels = abi::Bytes::optional(labels.as_deref());
        // SAFETY: the texts live until the call returns.
        let cell = unsafe { cell(self.host.raw, kind, abi::Bytes::text(name), labels) };
        // SAFETY: null, or a cell that lives as long as the process and is only accessed atomically.
        (!cell.is_null()).then(|| unsafe { AtomicU64::from_ptr(cell) })
    }

    /// A histogram of this shard. The unit belongs to the name: `write_nanoseconds`.
    #[must_use]
    pub fn histogram(&self, name: &str) -> Histogram {
        let id = self.host.known.histogram.map(|histogram| {
            // SAFETY: the text lives until the call returns.
            unsafe { histogram(self.host.raw, abi::Bytes::text(name), abi::Bytes::ABSENT) }
        });
        Histogram::new(id)
    }

    /// Records a value.
    pub fn observe(&self, histogram: Histogram, value: u64) {
        if let (Some(observe), Some(id)) = (self.host.known.observe, histogram.id()) {
            // SAFETY: the number is one that this host, or the one that the processor was made by, gave.
            unsafe { observe(self.host.raw, id, value) };
        }
    }

    /// Emits a derived event. It descends from the event that the walk has come to; in a flush, from those since the last flush.
    ///
    /// It is sent when the call is over, so it never comes back while this call lasts.
    ///
    /// # Errors
    /// When the host has no room for it, or the event has too many ancestors, or is wrong.
    pub fn emit(&self, event: &Derived<'_>) -> Result<(), EmitError> {
        let emit = self.host.known.emit.ok_or(EmitError::Unsupported)?;
        let cursor = self.cursor.get();
        let parent = if cursor < self.events { cursor } else { abi::NO_PARENT };
        let raw = event.raw(parent);
        let mut accepted = 0;
        // SAFETY: the event and what it leads to live until the call returns.
        let status = unsafe { emit(self.host.raw, &raw, 1, size_of::<abi::Emit>(), &mut accepted) };
        if accepted == 1 { Ok(()) } else { Err(EmitError::of(status)) }
    }

    /// The value of an event of the current batch as JSON on one line, made by the host. It works for every value.
    ///
    /// # Errors
    /// When the value has no form as JSON, or is longer than the host allows.
    pub fn json<'e>(&self, event: &Event<'e>) -> Result<&'e str, RenderError> {
        self.render(event, abi::render::JSON)
    }

    /// The value of an event of the current batch as text for people.
    ///
    /// # Errors
    /// As for [`json`](Self::json).
    pub fn text<'e>(&self, event: &Event<'e>) -> Result<&'e str, RenderError> {
        self.render(event, abi::render::TEXT)
    }

    fn render<'e>(&self, event: &Event<'e>, form: u32) -> Result<&'e str, RenderError> {
        let render = self.host.known.render.ok_or(RenderError(abi::Status::E_UNSUPPORTED))?;
        let mut out = abi::Bytes::ABSENT;
        // SAFETY: the event is one of the batch, since it is borrowed from it.
        let status = unsafe { render(self.host.raw, event.raw(), form, &mut out) };
        if status != abi::Status::OK {
            return Err(RenderError(status));
        }
        // SAFETY: the text lives until `process` returns, as the event does.
        Ok(unsafe { text(out) })
    }

    /// The type with this name: `START_REQUEST`, `USER(3)`, or one that the program gave.
    #[must_use]
    pub fn event_type(&self, name: &str) -> Option<EventType> {
        // SAFETY: the text lives until the call returns.
        let code = unsafe { self.host.known.type_id?(self.host.raw, abi::Bytes::text(name)) };
        (code != abi::TYPE_UNKNOWN).then_some(EventType::from_code(code))
    }

    /// The name of a type, as the program has it.
    #[must_use]
    pub fn type_name(&self, kind: EventType) -> &'a str {
        match self.host.known.type_name {
            // SAFETY: the name lives as long as the host.
            Some(type_name) => unsafe { text(type_name(self.host.raw, kind.code())) },
            None => "",
        }
    }

    /// Asks for a flush when this time has passed, also if no event comes.
    pub fn request_flush(&self, after: Duration) {
        if let Some(request_flush) = self.host.known.request_flush {
            let nanos = after.as_nanos().try_into().unwrap_or(u64::MAX);
            // SAFETY: the host is what it says.
            unsafe { request_flush(self.host.raw, nanos) };
        }
    }

    /// The wall clock, in nanoseconds since 1970; within a batch, when the call began.
    #[must_use]
    pub fn now_wall_ns(&self) -> i64 {
        // SAFETY: the host is what it says.
        self.now.map_or_else(
            || self.host.known.now_wall_ns.map_or(0, |now| unsafe { now(self.host.raw) }),
            |now| now.0,
        )
    }

    /// A clock that never goes back, in nanoseconds; within a batch, when the call began.
    #[must_use]
    pub fn now_mono_ns(&self) -> u64 {
        // SAFETY: the host is what it says.
        self.now.map_or_else(
            || self.host.known.now_mono_ns.map_or(0, |now| unsafe { now(self.host.raw) }),
            |now| now.1,
        )
    }
}

/// # Safety
/// The bytes live as long as `'a`, and are UTF-8.
unsafe fn text<'a>(bytes: abi::Bytes) -> &'a str {
    // SAFETY: passed on.
    unsafe { std::str::from_utf8_unchecked(bytes.get().unwrap_or_default()) }
}

fn labels_json(labels: &[(&str, &str)]) -> Option<String> {
    if labels.is_empty() {
        return None;
    }
    let object: serde_json::Map<String, serde_json::Value> =
        labels.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect();
    Some(serde_json::Value::Object(object).to_string())
}

impl fmt::Debug for Cx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx").field("host", &self.host_name()).finish_non_exhaustive()
    }
}

/// Why the host did not render a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenderError(abi::Status);

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            abi::Status::E_UNSUPPORTED => f.write_str("the value has no such form"),
            abi::Status::E_WOULD_BLOCK => {
                f.write_str("the text of the value is longer than the host allows")
            }
            other => write!(f, "the host did not render the value: {other}"),
        }
    }
}

impl std::error::Error for RenderError {}

/// What [`Processor::create`](crate::Processor::create) is told: where the instance will work, and all that a [`Cx`] can do.
#[derive(Debug)]
pub struct Create<'a> {
    pub(crate) cx: Cx<'a>,
    pub(crate) args: abi::CreateArgs,
}

impl<'a> Create<'a> {
    /// The shard, from 0.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.args.shard as usize
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.args.shard_count as usize
    }

    /// The path for this shard's own file: `{shard}` becomes the shard's number. Without it, and with several shards, `.` and the number
    /// go in front of the extension, since no two instances should write one file.
    ///
    /// `events.ndjson` is `events.0.ndjson` on the first of several shards.
    #[must_use]
    pub fn shard_path(&self, path: &str) -> PathBuf {
        let shard = self.shard().to_string();
        if path.contains("{shard}") {
            return path.replace("{shard}", &shard).into();
        }
        let path = PathBuf::from(path);
        if self.shards() <= 1 {
            return path;
        }
        let mut name = path.file_stem().unwrap_or_default().to_owned();
        name.push(format!(".{shard}"));
        if let Some(extension) = path.extension() {
            name.push(".");
            name.push(extension);
        }
        path.with_file_name(name)
    }

    /// 1 at first, one more with each replacement.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.args.generation
    }

    /// The name that the processor was registered under.
    #[must_use]
    pub fn instance_name(&self) -> &'a str {
        // SAFETY: the text lives as long as the call.
        unsafe { text(self.args.instance_name) }
    }
}

impl<'a> Deref for Create<'a> {
    type Target = Cx<'a>;

    fn deref(&self) -> &Cx<'a> {
        &self.cx
    }
}
