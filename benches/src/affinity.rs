//! Which cores this process may use, and how to keep a thread on one of them.

/// Cores that this process may run on.
#[cfg(target_os = "linux")]
pub(crate) fn allowed_cores() -> Vec<usize> {
    // SAFETY: a `cpu_set_t` is a bit field, for which zeroes are a valid value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is valid for writes of its own size.
    let failed = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } != 0;
    if failed {
        return Vec::new();
    }
    // SAFETY: the index stays below the number of bits in the set.
    (0..libc::CPU_SETSIZE as usize).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect()
}

/// Keeps the calling thread on `core`: two threads on one core would not ping through the cache.
#[cfg(target_os = "linux")]
pub(crate) fn pin(core: Option<&usize>) {
    let Some(core) = core else { return };
    // SAFETY: a `cpu_set_t` is a bit field, for which zeroes are a valid value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` came out of a set of the same size.
    unsafe { libc::CPU_SET(*core, &mut set) };
    // SAFETY: `set` is valid for reads of its own size. A refusal leaves the thread where it is,
    // and then the figure is higher and still true.
    unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn allowed_cores() -> Vec<usize> {
    (0..thread::available_parallelism().map_or(1, usize::from)).collect()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn pin(_core: Option<&usize>) {}
