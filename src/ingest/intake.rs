//! From a request to the bus: everything is checked first, then emitted in order, as far as there is room.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use ::http::{HeaderMap, Response, StatusCode};
use bytes::Bytes;
use serde_json::{Map, Value as Json};

use super::body::{Findings, Origin, batched, ndjson, structured};
use super::event::{Forms, Parsed};
use super::mode::Mode;
use super::rejected::{Rejected, answer, problem};
use super::types::TypeTable;
use super::{Refusal, binary, in_flight};
use crate::bus::Bus;
use crate::emit::{Emitter, Reason};
use crate::event::{EventType, Value};
use crate::key::Key;

/// Takes events out of requests and emits them. See [the module](crate::ingest).
///
/// It is a handle: clones share the names of types and the counts.
#[derive(Debug, Clone)]
pub struct Intake {
    emitter: Emitter,
    shared: Arc<Shared>,
    types: Arc<RwLock<TypeTable>>,
    max_event: usize,
    max_in_flight: u64,
}

#[derive(Debug)]
struct Shared {
    accepted: AtomicU64,
    refused: AtomicU64,
    invalid: AtomicU64,
    rejected: AtomicU64,
}

/// What an [`Intake`] has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IntakeStats {
    /// Events that the bus accepted.
    pub accepted: u64,
    /// Good events that it did not: there was no room in time, or it was closed.
    pub refused: u64,
    /// Bad events.
    pub invalid: u64,
    /// Requests of which nothing was accepted because of what is in them, or for [`max_in_flight`](Intake::max_in_flight).
    pub rejected_requests: u64,
}

/// How far an [emit](Checked::emit) has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Everything was accepted.
    Done,
    /// There is no room for the next event now.
    Full,
    /// The bus has been shut down.
    Closed,
}

impl Intake {
    /// An intake that emits to `bus`: events of up to 1 MiB, 4096 names of types, 256 MiB in flight.
    #[must_use]
    pub fn new(bus: &Bus) -> Self {
        let shared = Shared {
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            invalid: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        };
        Self {
            emitter: bus.emitter(),
            shared: Arc::new(shared),
            types: Arc::new(RwLock::new(TypeTable::of_strangers(4096))),
            max_event: 1 << 20,
            max_in_flight: 256 << 20,
        }
    }

    /// The most bytes of one event.
    #[must_use]
    pub fn max_event(mut self, bytes: usize) -> Self {
        self.max_event = bytes;
        self
    }

    /// The most names of types, at most [`TypeTable::MAX`]. A new intake begins with none; call this before the first request.
    #[must_use]
    pub fn max_types(self, names: usize) -> Self {
        *self.types.write().unwrap_or_else(PoisonError::into_inner) =
            TypeTable::of_strangers(names);
        self
    }

    /// Uses a table of names that others know as well; mostly a [`TypeTable::of_strangers`]. For a program that has to give names to
    /// types before the first request. Who holds its lock holds up requests with new names.
    #[must_use]
    pub fn with_types(mut self, types: Arc<RwLock<TypeTable>>) -> Self {
        self.types = types;
        self
    }

    /// From how many bytes of [large events in flight](in_flight::bytes) on requests are refused.
    #[must_use]
    pub fn max_in_flight(mut self, bytes: u64) -> Self {
        self.max_in_flight = bytes;
        self
    }

    /// The names of types seen so far. New names wait while the guard is held.
    pub fn types(&self) -> RwLockReadGuard<'_, TypeTable> {
        self.types.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counts.
    #[must_use]
    pub fn stats(&self) -> IntakeStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        IntakeStats {
            accepted: read(&self.shared.accepted),
            refused: read(&self.shared.refused),
            invalid: read(&self.shared.invalid),
            rejected_requests: read(&self.shared.rejected),
        }
    }

    /// Takes the events out of a request, and emits none yet.
    ///
    /// # Errors
    /// When the request or any event in it is bad, or too much is in flight.
    pub fn check(&self, headers: &HeaderMap, body: &[u8]) -> Result<Checked, Rejected> {
        let checked = self.examine(headers, body);
        if let Err(rejected) = &checked {
            self.shared.rejected.fetch_add(1, Ordering::Relaxed);
            self.shared.invalid.fetch_add(rejected.bad_count() as u64, Ordering::Relaxed);
        }
        checked
    }

    fn examine(&self, headers: &HeaderMap, body: &[u8]) -> Result<Checked, Rejected> {
        let mode = Mode::of(headers)?;
        let in_flight = in_flight::bytes();
        if in_flight >= self.max_in_flight {
            return Err(Rejected::busy(format!(
                "{in_flight} bytes of large events wait to be processed, the limit is {}; send the request again later",
                self.max_in_flight
            )));
        }
        let findings = Findings::new(self.max_event);
        let json;
        let events = match mode {
            Mode::Structured => structured(body, findings)?,
            Mode::Batched => batched(body, findings)?,
            Mode::Ndjson => ndjson(body, findings)?,
            Mode::Binary => {
                json = binary::to_json(headers, body)
                    .map_err(|bad| Rejected::invalid(vec![bad], 1, 1))?;
                let mut findings = findings;
                findings.read(Origin::Headers, json.as_bytes(), Forms::CloudEvents);
                findings
            }
        };
        let events = events.finish()?;
        let types = self.types_of(&events)?;
        let rest = (types.into_iter().zip(events))
            .map(|(kind, (_, parsed))| {
                let key = Key::from(parsed.record.key());
                (kind, Value::new(parsed.record), key)
            })
            .collect();
        Ok(Checked { intake: self.clone(), rest, accepted: 0, closed: false })
    }

    /// The types of all these events; a request that is refused for one name adds none of the others.
    fn types_of(&self, events: &[(Origin<'_>, Parsed<'_>)]) -> Result<Vec<EventType>, Rejected> {
        let names = || events.iter().map(|(_, parsed)| &*parsed.type_name);
        let known: Option<Vec<_>> = {
            let types = self.types();
            names().map(|name| types.get(name)).collect()
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let mut types = self.types.write().unwrap_or_else(PoisonError::into_inner);
        types.intern_all(names()).map_err(|(at, defect)| {
            let (origin, parsed) = &events[at];
            let bad = origin.bad(Refusal { column: parsed.type_column, defect });
            Rejected::invalid(vec![bad], 1, events.len())
        })
    }
}

/// The events of a good request, on their way to the bus.
///
/// Dropping it drops what has not been emitted, and counts it as refused.
#[derive(Debug)]
#[must_use = "nothing is emitted until `emit` is called"]
pub struct Checked {
    intake: Intake,
    /// What has not been emitted yet, in order.
    rest: VecDeque<(EventType, Value, Key)>,
    accepted: usize,
    closed: bool,
}

impl Checked {
    /// Emits, in order, as many events as there is room for. Never waits; to be called again, after a pause, when it was not
    /// [`Done`](Progress::Done).
    ///
    /// A quarter of each ring stays free for events that matter more: the ends of requests.
    pub fn emit(&mut self) -> Progress {
        let before = self.accepted;
        let progress = loop {
            let Some((kind, value, key)) = self.rest.pop_front() else { break Progress::Done };
            match self.intake.emitter.try_emit_sparing(kind, value, key) {
                Ok(()) => self.accepted += 1,
                Err(refused) => {
                    self.closed = refused.reason() == Reason::Closed;
                    self.rest.push_front(refused.into_event().into_parts());
                    break if self.closed { Progress::Closed } else { Progress::Full };
                }
            }
        };
        let count = (self.accepted - before) as u64;
        self.intake.shared.accepted.fetch_add(count, Ordering::Relaxed);
        progress
    }

    /// How many events were emitted.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted
    }

    /// How many were not, so far.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The answer to the request as it stands now: 202 when everything was emitted, 429 when there was no room for the rest, 503 when
    /// the bus was closed. `accepted` and `refused` in it are counts; those that were accepted are the first ones.
    pub fn into_response<B: From<Bytes>>(self) -> Response<B> {
        let (accepted, refused) = (self.accepted, self.rest.len());
        if refused == 0 {
            let members = Map::from_iter([("accepted".to_owned(), Json::from(accepted))]);
            return answer(StatusCode::ACCEPTED, "application/json", members);
        }
        let (status, why) = if self.closed {
            (StatusCode::SERVICE_UNAVAILABLE, "the service shuts down")
        } else {
            (StatusCode::TOO_MANY_REQUESTS, "the bus is full")
        };
        let detail = match accepted {
            0 => format!("{why}; nothing was accepted, send the request again later"),
            _ => format!(
                "{why}; the first {accepted} of {} events were accepted, send the other {refused} again later",
                accepted + refused
            ),
        };
        let members = problem(status, &detail, accepted, refused);
        answer(status, "application/problem+json", members)
    }
}

impl Drop for Checked {
    fn drop(&mut self) {
        self.intake.shared.refused.fetch_add(self.rest.len() as u64, Ordering::Relaxed);
    }
}
