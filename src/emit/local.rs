//! The rings of each thread, for emitters: whatever thread calls an emitter uses rings of its own.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

use super::rings::Rings;
use crate::shard::Mesh;
use crate::sync::{Arc, thread_local};

thread_local! {
    /// One entry for each bus that this thread has emitted to.
    static OWNED: RefCell<Owned> = RefCell::default();
}

thread_local! {
    /// The bus of [`LAST`], unless the rings there are lent out.
    static LAST_MESH: Cell<*const Mesh> = const { Cell::new(ptr::null()) };
}

thread_local! {
    /// The rings that this thread has emitted through last; null before the first time, and again when the thread ends.
    ///
    /// NB: This and `LAST_MESH` have no destructor and a constant beginning, so that reading them is one load. The rings could
    /// be found in the list each time; taken together with the borrow of it that was a third of an emit.
    static LAST: Cell<*mut Rings> = const { Cell::new(ptr::null_mut()) };
}

thread_local! {
    /// The bus that this thread is a shard of, by its id; 0 for none.
    static HOME: Cell<u64> = Cell::default();
}

/// The rings of one thread, each allocated by itself, so that they stay in place when the list grows.
#[derive(Default)]
struct Owned(Vec<NonNull<Rings>>);

impl Owned {
    fn find(&self, mesh: &Arc<Mesh>) -> Option<NonNull<Rings>> {
        // SAFETY: the list owns what it points to; nobody borrows it mutably, because nothing is lent out: see `Lease::find`.
        self.0.iter().copied().find(|rings| Arc::ptr_eq(unsafe { rings.as_ref() }.mesh(), mesh))
    }

    fn add(&mut self, rings: Rings) -> NonNull<Rings> {
        // A thread that outlives many buses does not keep their rings.
        self.0.retain(|&rings| {
            // SAFETY: as in `find`.
            let over = unsafe { rings.as_ref() }.mesh().is_over();
            if over {
                // SAFETY: made by `Box::into_raw` below, and about to leave the list.
                drop(unsafe { Box::from_raw(rings.as_ptr()) });
            }
            !over
        });
        let rings = NonNull::from(Box::leak(Box::new(rings)));
        self.0.push(rings);
        rings
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Emits of destructors that run later find nothing, and take the common rings.
        let _ = LAST_MESH.try_with(|last| last.set(ptr::null()));
        for rings in self.0.drain(..) {
            // SAFETY: made by `Box::into_raw`; no lease is alive, because a lease does not outlive the call that took it.
            drop(unsafe { Box::from_raw(rings.as_ptr()) });
        }
    }
}

/// The exclusive use of this thread's rings of one bus, for the length of one emit.
pub(super) struct Lease {
    rings: NonNull<Rings>,
    mesh: *const Mesh,
}

impl Lease {
    /// Takes the rings. `None` when there are none for the caller: it was called out of another emit of this thread, or by a
    /// destructor when the thread ends and its thread-locals go one by one. Such emits go through rings that all threads share.
    #[inline(always)]
    pub(super) fn take(mesh: &Arc<Mesh>) -> Option<Self> {
        let wanted = Arc::as_ptr(mesh);
        let found = LAST_MESH.try_with(|last| {
            (last.get() == wanted).then(|| {
                last.set(ptr::null());
            })
        });
        match (found, LAST.try_with(Cell::get)) {
            (Ok(Some(())), Ok(rings)) => {
                // SAFETY: `LAST_MESH` is set only together with a pointer that is not null.
                Some(Self { rings: unsafe { NonNull::new_unchecked(rings) }, mesh: wanted })
            }
            _ => Self::find(mesh),
        }
    }

    /// As [`take`](Self::take), for rings that were not the last ones.
    #[cold]
    #[inline(never)]
    fn find(mesh: &Arc<Mesh>) -> Option<Self> {
        OWNED
            .try_with(|owned| {
                // Nothing is lent out: the rings that are would be the last ones, with `LAST_MESH` taken away. What `add` drops may
                // emit, and finds the list borrowed.
                let mut owned = owned.try_borrow_mut().ok()?;
                let lent = LAST_MESH.with(Cell::get).is_null() && !LAST.with(Cell::get).is_null();
                if lent {
                    return None;
                }
                LAST_MESH.with(|last| last.set(ptr::null()));
                let rings =
                    owned.find(mesh).unwrap_or_else(|| owned.add(Rings::new(mesh.clone(), None)));
                LAST.with(|last| last.set(rings.as_ptr()));
                Some(Self { rings, mesh: Arc::as_ptr(mesh) })
            })
            .ok()?
    }
}

impl Deref for Lease {
    type Target = Rings;

    #[inline(always)]
    fn deref(&self) -> &Rings {
        // SAFETY: the list of this thread owns the rings until the thread ends, and a lease is the only way to them: while it is
        // alive `LAST_MESH` is null and `LAST` is not, so no second one is given out.
        unsafe { self.rings.as_ref() }
    }
}

impl DerefMut for Lease {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Rings {
        // SAFETY: as above.
        unsafe { self.rings.as_mut() }
    }
}

impl Drop for Lease {
    #[inline(always)]
    fn drop(&mut self) {
        let _ = LAST_MESH.try_with(|last| last.set(self.mesh));
    }
}

/// Calls `f` with this thread's rings of a bus, or with the common ones.
pub(super) fn with<R>(mesh: &Arc<Mesh>, f: impl FnOnce(&mut Rings) -> R) -> R {
    match Lease::take(mesh) {
        Some(mut rings) => f(&mut rings),
        None => f(&mut Rings::common(mesh.clone())),
    }
}

/// Makes the calling thread a shard's: from now on its emits are derived events, and never wait.
pub(crate) fn enter_shard(mesh: &Arc<Mesh>, shard: usize) {
    HOME.with(|home| home.set(mesh.id));
    OWNED.with(|owned| owned.borrow_mut().add(Rings::new(mesh.clone(), Some(shard))));
}

/// Whether the calling thread is a shard's of this bus, and so must never wait for it.
pub(crate) fn is_home(mesh: &Mesh) -> bool {
    HOME.try_with(|home| home.get() == mesh.id).unwrap_or(false)
}
