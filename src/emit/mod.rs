//! Who sends events, and what happens when there is no room.
//!
//! * [`Producer`] is exclusive and owns its rings: the fastest path.
//! * [`Emitter`] is shared; it uses rings that belong to the calling thread.
//!
//! # Order
//! If one emit returned before another began, on whatever threads, tasks, emitters and producers, and both have the same key,
//! the first event is processed before the second.
//!
//! # Refusal
//! An emit is either accepted, and then its event is processed exactly once even when a shutdown races with it, or refused,
//! and then the event is in the [`EmitError`].
//!
//! # Allocation and locks
//! An emit with room in its ring neither allocates nor locks, except for a value of more than 32 bytes, which is boxed, and for the
//! first event from a producer or thread to a shard, which opens a ring. Waiting for room takes a lock and may allocate.

mod emitter;
mod error;
mod group;
mod local;
mod producer;
mod rings;
mod wait;

pub(crate) use emitter::Link;
pub use emitter::{Emit, Emitter};
pub use error::{BatchError, EmitError, Reason};
pub(crate) use local::{enter_shard, is_home};
pub use producer::Producer;
