//! Derived events on their way: copied when the plugin emits them, sent when its call is over.
//!
//! A derived event never comes back into the call that it was emitted from, and no emit waits. What finds its ring full stays here for the
//! next try; the outbox is bounded, and a plugin whose outbox is full is told so.

use std::collections::VecDeque;

use keylane_plugin_abi::{self as abi, Status, key_kind, value_kind};
use serde_json::value::RawValue;

use crate::emit::{Emitter, Reason};
use crate::event::delivery::descending_from;
use crate::event::{EventType, Value};
use crate::key::Key;
use crate::plugin::stats::Counts;

/// Bounds of one instance's outbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutboxLimits {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// A derived event that has not been sent.
#[derive(Debug)]
struct Outgoing {
    kind: EventType,
    value: Value,
    key: Key,
    /// Of the event that it descends from.
    parent_hops: u8,
    bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    limits: OutboxLimits,
    waiting: VecDeque<Outgoing>,
    bytes: usize,
}

impl Outbox {
    pub(crate) fn new(limits: OutboxLimits) -> Self {
        Self { limits, waiting: VecDeque::new(), bytes: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Copies one event.
    ///
    /// # Safety
    /// The bytes that `emit` points to live until this returns.
    pub(crate) unsafe fn push(&mut self, emit: &abi::Emit, parent_hops: u8) -> Status {
        let size = emit.value.len;
        if self.waiting.len() >= self.limits.events || size > self.limits.bytes - self.bytes {
            return Status::E_WOULD_BLOCK;
        }
        let Ok(code) = u16::try_from(emit.type_id) else { return Status::E_INVALID };
        // SAFETY: passed on.
        let (key, value) = unsafe { (emit.key.get(), emit.value.get()) };
        let key = match (emit.key_kind, key) {
            (key_kind::NONE, _) => Key::NONE,
            (key_kind::BYTES, Some(bytes)) => Key::from(bytes),
            (key_kind::HASH, _) => Key::from_hash(emit.key_hash),
            _ => return Status::E_INVALID,
        };
        // SAFETY: all members of the scalar are 64-bit words, and every bit pattern is a value of each.
        let (i64, u64, f64) = unsafe { (emit.scalar.i64, emit.scalar.u64, emit.scalar.f64) };
        let text = || std::str::from_utf8(value?).ok();
        let value = match emit.value_kind {
            value_kind::NONE => Value::none(),
            value_kind::BOOL => Value::new(u64 != 0),
            value_kind::I64 => Value::new(i64),
            value_kind::U64 => Value::new(u64),
            value_kind::F64 => Value::new(f64),
            value_kind::UTF8 => match text() {
                Some(text) => Value::new(text.to_owned()),
                None => return Status::E_INVALID,
            },
            value_kind::BYTES => match value {
                Some(bytes) => Value::new(bytes.to_vec()),
                None => return Status::E_INVALID,
            },
            value_kind::JSON => match text().map(|text| RawValue::from_string(text.to_owned())) {
                Some(Ok(json)) => Value::new(json),
                _ => return Status::E_INVALID,
            },
            _ => return Status::E_INVALID,
        };
        self.bytes += size;
        let kind = EventType(code);
        self.waiting.push_back(Outgoing { kind, value, key, parent_hops, bytes: size });
        Status::OK
    }

    /// Sends what there is room for, in order, and keeps the rest.
    pub(crate) fn send(&mut self, emitter: &Emitter, counts: &Counts) {
        while let Some(outgoing) = self.waiting.pop_front() {
            let Outgoing { kind, value, key, parent_hops, bytes } = outgoing;
            let sent = descending_from(parent_hops, || emitter.try_emit(kind, value, key));
            match sent {
                Ok(()) => counts.emitted.add(1),
                Err(error) if error.reason() == Reason::Full && !error.is_hop_limit() => {
                    let (kind, value, key) = error.into_event().into_parts();
                    self.waiting.push_front(Outgoing { kind, value, key, parent_hops, bytes });
                    return;
                }
                Err(_) => counts.emit_lost.add(1),
            }
            self.bytes -= bytes;
        }
    }

    /// Gives up what is left.
    pub(crate) fn give_up(&mut self, counts: &Counts) {
        counts.emit_lost.add(self.waiting.len() as u64);
        self.waiting.clear();
        self.bytes = 0;
    }
}
