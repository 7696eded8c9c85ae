//! Binding threads to cores.

/// The cores that this process may use.
#[cfg(target_os = "linux")]
pub(super) fn cores() -> Vec<usize> {
    // SAFETY: a cpu_set_t is plain bits, for which zeroes are valid.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours and as large as we say.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } != 0 {
        return Vec::new();
    }
    (0..libc::CPU_SETSIZE as usize)
        // SAFETY: the index is below the size of the set.
        .filter(|&core| unsafe { libc::CPU_ISSET(core, &set) })
        .collect()
}

/// Binds the calling thread to a core.
#[cfg(target_os = "linux")]
pub(super) fn bind(core: usize) -> std::io::Result<()> {
    // SAFETY: a cpu_set_t is plain bits, for which zeroes are valid.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `cores` returns indices below the size of the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the set is ours and as large as we say.
    if unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn cores() -> Vec<usize> {
    tracing::warn!("binding shards to cores is only possible on Linux; they run unbound");
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn bind(_core: usize) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
