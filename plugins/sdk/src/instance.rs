//! One instance of a processor behind the functions of the ABI.

use keylane_plugin_abi as abi;

use crate::barrier::guard;
use crate::context::HostRef;
use crate::{
    Batch, Create, Cx, FlushReason, Outcome, Processor, ShutdownReason, StateWriter, Stop, config,
};

/// What the host holds a pointer to. The ABI's struct comes first, so one pointer serves for both.
#[repr(C)]
struct Instance<P> {
    raw: abi::Processor,
    host: *const abi::Host,
    /// What of it this version of the SDK knows.
    known_host: abi::Host,
    /// Set by a panic: what the processor holds may be damaged, so only its end is left.
    poisoned: bool,
    processor: P,
}

/// What a call comes to when it went wrong: the status and the text.
pub(crate) type Failure = (abi::Status, String);

/// Writes a failure into the host's buffer.
///
/// # Safety
/// `error` is null or leads to the host's buffer.
pub(crate) unsafe fn report(error: *mut abi::ErrorBuffer, (status, text): Failure) -> abi::Status {
    // SAFETY: the caller vouches for the buffer.
    if let Some(error) = unsafe { error.as_mut() } {
        error.set(&text);
    }
    status
}

/// # Safety
/// The arguments are those of `keylane_factory.create`.
pub(crate) unsafe fn create<P: Processor>(
    host: *const abi::Host,
    args: *const abi::CreateArgs,
) -> Result<*mut abi::Processor, Failure> {
    // SAFETY: the host passes structs that are what they say.
    let args =
        unsafe { abi::read(args) }.map_err(|error| (abi::Status::E_ABI, error.to_string()))?;
    // SAFETY: as above.
    let known_host =
        unsafe { abi::read(host) }.map_err(|error| (abi::Status::E_ABI, error.to_string()))?;
    // SAFETY: the host outlives the instance, and this is what was read from it.
    let create = Create { cx: Cx::new(unsafe { HostRef::new(host, &known_host) }, None), args };
    // SAFETY: the configuration lives until the call returns.
    let json = unsafe { args.config_json.get() }.unwrap_or(b"{}");
    let processor = guard(|| {
        let config = checked_config::<P>(json)?;
        P::create(config, &create).map_err(|error| (abi::Status::E_FATAL, error.to_string()))
    })
    .map_err(|text| (abi::Status::E_PANIC, text))??;

    let stateful = P::INFO.state_version != 0;
    let raw = abi::Processor {
        struct_size: size_of::<abi::Processor>() as u32,
        reserved: 0,
        data: std::ptr::null_mut(),
        process: Some(process::<P>),
        flush: Some(flush::<P>),
        save_state: if stateful { Some(save_state::<P>) } else { None },
        load_state: if stateful { Some(load_state::<P>) } else { None },
        shutdown: Some(shutdown::<P>),
        destroy: Some(destroy::<P>),
        get_extension: None,
    };
    Ok(Box::into_raw(Box::new(Instance { raw, host, known_host, poisoned: false, processor }))
        .cast())
}

/// The configuration, which has the right form and passes the processor's own check.
fn checked_config<P: Processor>(json: &[u8]) -> Result<P::Config, Failure> {
    let config = config::parse::<P::Config>(json).map_err(|text| (abi::Status::E_CONFIG, text))?;
    P::check_config(&config)
        .map_err(|error| (abi::Status::E_CONFIG, format!("config: {error}")))?;
    Ok(config)
}

/// What `check_config` comes to.
pub(crate) fn check_config<P: Processor>(json: &[u8]) -> Result<(), Failure> {
    guard(|| checked_config::<P>(json).map(drop)).map_err(|text| (abi::Status::E_PANIC, text))?
}

/// # Safety
/// `this` is an instance made by [`create`] for the same `P`, which is not destroyed, and nobody else uses it now.
unsafe fn instance<'a, P>(this: *mut abi::Processor) -> &'a mut Instance<P> {
    // SAFETY: the instance begins with the ABI's struct.
    unsafe { &mut *this.cast::<Instance<P>>() }
}

impl<P: Processor> Instance<P> {
    /// Runs a call; a panic in it poisons the instance. Says also how many events of the batch are done.
    fn call<R>(
        &mut self,
        batch: Option<&abi::Batch>,
        f: impl FnOnce(&mut P, &Cx<'_>) -> R,
    ) -> (Result<R, Failure>, u32) {
        if self.poisoned {
            let text = "the instance has panicked before and takes no more calls".into();
            return (Err((abi::Status::E_FATAL, text)), 0);
        }
        // SAFETY: the host outlives the instance, and the other is what was read from it.
        let cx = Cx::new(unsafe { HostRef::new(self.host, &self.known_host) }, batch);
        let processor = &mut self.processor;
        let outcome = guard(|| f(processor, &cx)).map_err(|text| (abi::Status::E_PANIC, text));
        let done = cx.cursor.get();
        self.poisoned = outcome.is_err();
        (outcome, done)
    }
}

fn failure_of(stop: Stop) -> (Failure, u64) {
    match stop {
        Stop::Again { reason, retry_after } => {
            let nanos =
                retry_after.map_or(0, |after| after.as_nanos().try_into().unwrap_or(u64::MAX));
            ((abi::Status::AGAIN, reason), nanos)
        }
        Stop::BadEvent(reason) => ((abi::Status::E_EVENT, reason), 0),
        Stop::Fatal(reason) => ((abi::Status::E_FATAL, reason), 0),
    }
}

unsafe extern "C-unwind" fn process<P: Processor>(
    this: *mut abi::Processor,
    batch: *const abi::Batch,
    result: *mut abi::BatchResult,
) -> abi::Status {
    // SAFETY: the host calls with an instance of this function's, one call at a time, and with its own batch and result.
    let (instance, batch, result) =
        unsafe { (instance::<P>(this), abi::read(batch), &mut *result) };
    let batch = match batch {
        Ok(batch) => batch,
        Err(error) => {
            // SAFETY: the buffer is the host's.
            return unsafe { report(result.error, (abi::Status::E_ABI, error.to_string())) };
        }
    };
    let (outcome, done) = instance.call(Some(&batch), |processor, cx| {
        // SAFETY: the batch lives until this call returns.
        let batch = unsafe { Batch::new(batch, cx) };
        processor.process_batch(&batch, cx)
    });
    let ((mut status, mut text), retry_after) = match outcome {
        Ok(Ok(())) => {
            result.processed = batch.count;
            return abi::Status::OK;
        }
        Ok(Err(stop)) => failure_of(stop),
        Err(failure) => (failure, 0),
    };
    if status == abi::Status::E_EVENT && done >= batch.count {
        status = abi::Status::E_FATAL;
        text = format!("a bad event was reported when all of the batch were done: {text}");
    }
    result.processed = done;
    result.retry_after_ns = retry_after;
    // SAFETY: the buffer is the host's.
    unsafe { report(result.error, (status, text)) }
}

unsafe extern "C-unwind" fn flush<P: Processor>(
    this: *mut abi::Processor,
    reason: u32,
    error: *mut abi::ErrorBuffer,
) -> abi::Status {
    let reason = match reason {
        abi::flush_reason::REQUESTED => FlushReason::Requested,
        abi::flush_reason::SWAP => FlushReason::Swap,
        abi::flush_reason::SHUTDOWN => FlushReason::Shutdown,
        _ => FlushReason::Idle,
    };
    // SAFETY: as for `process`.
    let instance = unsafe { instance::<P>(this) };
    let (outcome, _) = instance.call(None, |processor, cx| processor.flush(reason, cx));
    let flushed = outcome.and_then(|outcome: Outcome| outcome.map_err(|stop| failure_of(stop).0));
    // SAFETY: the buffer is the host's.
    unsafe { answer(flushed, error) }
}

unsafe extern "C-unwind" fn save_state<P: Processor>(
    this: *mut abi::Processor,
    writer: *const abi::Writer,
    error: *mut abi::ErrorBuffer,
) -> abi::Status {
    // SAFETY: as for `process`; the host passes a writer that is what it says.
    let (instance, writer) = unsafe { (instance::<P>(this), abi::read(writer)) };
    let saved =
        writer.map_err(|error| (abi::Status::E_ABI, error.to_string())).and_then(|writer| {
            let (outcome, _) = instance.call(None, |processor, _| {
                // SAFETY: as above.
                let mut out = unsafe { StateWriter::new(&writer) };
                let saved = processor.save_state(&mut out);
                match (saved, out.refused) {
                    (Ok(()), None) => Ok(()),
                    // A buffered writer that is dropped keeps the error to itself.
                    (Ok(()), Some(status)) => {
                        Err((status, "the host took only a part of the state".to_owned()))
                    }
                    (Err(error), status) => {
                        Err((status.unwrap_or(abi::Status::E_STATE), error.to_string()))
                    }
                }
            });
            outcome?
        });
    // SAFETY: the buffer is the host's.
    unsafe { answer(saved, error) }
}

unsafe extern "C-unwind" fn load_state<P: Processor>(
    this: *mut abi::Processor,
    state: abi::Bytes,
    version: u32,
    error: *mut abi::ErrorBuffer,
) -> abi::Status {
    // SAFETY: as for `process`; the state lives until the call returns.
    let (instance, state) = unsafe { (instance::<P>(this), state.get().unwrap_or_default()) };
    let (outcome, _) = instance.call(None, |processor, _| processor.load_state(state, version));
    let loaded = outcome
        .and_then(|loaded| loaded.map_err(|error| (abi::Status::E_STATE, error.to_string())));
    // SAFETY: the buffer is the host's.
    unsafe { answer(loaded, error) }
}

/// # Safety
/// As for [`report`].
unsafe fn answer(outcome: Result<(), Failure>, error: *mut abi::ErrorBuffer) -> abi::Status {
    match outcome {
        Ok(()) => abi::Status::OK,
        // SAFETY: passed on.
        Err(failure) => unsafe { report(error, failure) },
    }
}

unsafe extern "C-unwind" fn shutdown<P: Processor>(this: *mut abi::Processor, reason: u32) {
    let reason = match reason {
        abi::shutdown_reason::SWAP => ShutdownReason::Swap,
        abi::shutdown_reason::REMOVED => ShutdownReason::Removed,
        abi::shutdown_reason::FAULT => ShutdownReason::Fault,
        _ => ShutdownReason::Bus,
    };
    // SAFETY: as for `process`.
    let instance = unsafe { instance::<P>(this) };
    let (outcome, _) = instance.call(None, |processor, cx| processor.shutdown(reason, cx));
    if let Err((abi::Status::E_PANIC, text)) = outcome {
        // SAFETY: the host outlives the instance, and the other is what was read from it.
        let host = unsafe { HostRef::new(instance.host, &instance.known_host) };
        crate::error!(Cx::new(host, None), "shutdown {text}");
    }
}

unsafe extern "C-unwind" fn destroy<P: Processor>(this: *mut abi::Processor) {
    // SAFETY: the instance was made by `create` for this `P`, and this is the last call for it.
    let instance = unsafe { Box::from_raw(this.cast::<Instance<P>>()) };
    let (host, known_host) = (instance.host, instance.known_host);
    if let Err(text) = guard(|| drop(instance)) {
        // SAFETY: the host lives until this call returns, and the other is what was read from it.
        let host = unsafe { HostRef::new(host, &known_host) };
        crate::error!(Cx::new(host, None), "the destructor {text}");
    }
}
