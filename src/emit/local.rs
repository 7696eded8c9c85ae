//! The rings of each thread, for emitters: whatever thread calls an emitter uses rings of its own.

use std::cell::{Cell, RefCell};

use super::rings::Rings;
use crate::shard::Mesh;
use crate::sync::{Arc, thread_local};

thread_local! {
    /// One entry for each bus that this thread has emitted to.
    static RINGS: RefCell<Vec<Rings>> = RefCell::default();
}

thread_local! {
    /// The bus that this thread is a shard of, by its id; 0 for none.
    static HOME: Cell<u64> = Cell::default();
}

/// Calls `f` with this thread's rings of a bus.
///
/// When a thread ends, its thread-locals go one by one, and destructors that run later may still emit. Such emits, like emits
/// out of `f` itself, go through rings that all threads share.
#[inline]
pub(super) fn with<R>(mesh: &Arc<Mesh>, f: impl FnOnce(&mut Rings) -> R) -> R {
    let mut f = Some(f);
    let result = RINGS.try_with(|rings| {
        let mut rings = rings.try_borrow_mut().ok()?;
        let index = match rings.iter().position(|rings| Arc::ptr_eq(rings.mesh(), mesh)) {
            Some(index) => index,
            None => add(&mut rings, Rings::new(mesh.clone(), None)),
        };
        f.take().map(|f| f(&mut rings[index]))
    });
    match (result, f) {
        (Ok(Some(result)), _) => result,
        (_, Some(f)) => f(&mut Rings::common(mesh.clone())),
        (_, None) => unreachable!("a call that happened has a result"),
    }
}

#[cold]
fn add(list: &mut Vec<Rings>, rings: Rings) -> usize {
    // A thread that outlives many buses does not keep their rings.
    list.retain(|rings| !rings.mesh().is_over());
    list.push(rings);
    list.len() - 1
}

/// Makes the calling thread a shard's: from now on its emits are derived events, and never wait.
pub(crate) fn enter_shard(mesh: &Arc<Mesh>, shard: usize) {
    HOME.with(|home| home.set(mesh.id));
    RINGS.with(|rings| rings.borrow_mut().push(Rings::new(mesh.clone(), Some(shard))));
}

/// Whether the calling thread is a shard's of this bus, and so must never wait for it.
pub(crate) fn is_home(mesh: &Mesh) -> bool {
    HOME.try_with(|home| home.get() == mesh.id).unwrap_or(false)
}
