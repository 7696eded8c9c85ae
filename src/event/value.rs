//! What an event carries: any serialisable type, inline when it is small.

use std::any::TypeId;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};

use serde_core::Serialize;

/// Bytes that fit inline.
const INLINE: usize = 32;

/// A value of any type that can be sent, printed and serialised.
///
/// Values of up to 32 bytes (and an alignment of up to 8) are stored inline and cost no allocation; larger ones are boxed.
/// Every emit takes the value itself and converts it, so `Value` is rarely named.
///
/// Whoever knows the type borrows it back with [`get`](Self::get); whoever does not (a sink, a plugin, a live view) renders it as
/// JSON or prints it.
///
/// ```
/// use keylane::Value;
///
/// let value = Value::new("disk almost full");
/// assert_eq!(value.get::<&str>(), Some(&"disk almost full"));
/// assert_eq!(value.get::<String>(), None);
/// assert_eq!(value.to_json()?, r#""disk almost full""#);
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// # Panics
/// Dropping or rendering a value runs the code of its type. On a shard a panic in it is caught and becomes a
/// [`Fault`](crate::Fault).
pub struct Value {
    /// What is stored; `None` for no value.
    kind: Option<&'static Kind>,
    data: Data,
    /// What is stored need not be `Sync`, so neither is this: `&Value` leads to `&T`. Without the mark it would be, as words are.
    _not_sync: PhantomData<*mut ()>,
}

/// Room for an inline value, or for the pointer to a boxed one.
type Data = [Word; INLINE / 8];

/// A value taken apart into words, without a destructor, for the emit path.
///
/// NB: On that path a value must not live in memory on its way into the ring. Written to the stack in fields and read back in
/// vectors, it misses store forwarding, so the read waits until the stores are in the cache, and these queue behind the stores to
/// ring slots that another core still holds: three quarters of an emit's time. Words without an address stay in registers,
/// and that includes the arguments of functions that are not inlined, hence [`split`](Self::split).
#[derive(Clone, Copy)]
pub(crate) struct RawValue {
    kind: RawKind,
    data: Data,
}

/// One word of a value.
pub(crate) type Word = MaybeUninit<u64>;

/// What a raw value is.
#[derive(Clone, Copy)]
pub(crate) struct RawKind(Option<&'static Kind>);

impl RawValue {
    /// The value again.
    ///
    /// # Safety
    /// At most one of all copies of a raw value is turned back.
    #[inline(always)]
    pub(crate) unsafe fn into_value(self) -> Value {
        Value { kind: self.kind.0, data: self.data, _not_sync: PhantomData }
    }

    /// The words one by one, to be passed in registers.
    #[inline(always)]
    pub(crate) fn split(self) -> (RawKind, Word, Word, Word, Word) {
        let [a, b, c, d] = self.data;
        (self.kind, a, b, c, d)
    }

    /// Whether there is something to drop.
    #[inline(always)]
    pub(crate) fn needs_drop(self) -> bool {
        self.kind.0.is_some_and(|kind| kind.drop.is_some())
    }

    /// The inverse of [`split`](Self::split).
    #[inline(always)]
    pub(crate) fn join(kind: RawKind, a: Word, b: Word, c: Word, d: Word) -> Self {
        Self { kind, data: [a, b, c, d] }
    }
}

/// The operations on one stored type.
struct Kind {
    type_id: TypeId,
    type_name: fn() -> &'static str,
    inline: bool,
    /// `None` when there is nothing to drop.
    drop: Option<unsafe fn(*mut u8)>,
    debug: unsafe fn(*const u8, &mut fmt::Formatter<'_>) -> fmt::Result,
    json: unsafe fn(*const u8, &mut dyn io::Write) -> serde_json::Result<()>,
}

struct KindOf<T>(PhantomData<T>);

impl<T: Send + fmt::Debug + Serialize + 'static> KindOf<T> {
    const FITS: bool = size_of::<T>() <= INLINE && align_of::<T>() <= align_of::<u64>();

    const KIND: Kind = Kind {
        type_id: TypeId::of::<T>(),
        type_name: std::any::type_name::<T>,
        inline: Self::FITS,
        drop: if Self::FITS && !std::mem::needs_drop::<T>() { None } else { Some(Self::drop) },
        debug: Self::debug,
        json: Self::json,
    };

    /// # Safety
    /// `data` is the data of a value of this kind, which is not used again.
    unsafe fn drop(data: *mut u8) {
        if Self::FITS {
            // SAFETY: an inline value of this kind holds a `T`.
            unsafe { data.cast::<T>().drop_in_place() };
        } else {
            // SAFETY: a boxed value of this kind holds the pointer of a `Box<T>`.
            drop(unsafe { Box::from_raw(data.cast::<*mut T>().read()) });
        }
    }

    /// # Safety
    /// `data` is the data of a value of this kind and outlives the reference.
    unsafe fn borrow<'a>(data: *const u8) -> &'a T {
        if Self::FITS {
            // SAFETY: an inline value of this kind holds a `T`, aligned because `data` is aligned to 8.
            unsafe { &*data.cast::<T>() }
        } else {
            // SAFETY: a boxed value of this kind holds the pointer of a live `Box<T>`.
            unsafe { &**data.cast::<*const T>() }
        }
    }

    /// # Safety
    /// As for [`borrow`](Self::borrow).
    unsafe fn debug(data: *const u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: passed on.
        fmt::Debug::fmt(unsafe { Self::borrow(data) }, f)
    }

    /// # Safety
    /// As for [`borrow`](Self::borrow).
    unsafe fn json(data: *const u8, out: &mut dyn io::Write) -> serde_json::Result<()> {
        // SAFETY: passed on.
        serde_json::to_writer(out, unsafe { Self::borrow(data) })
    }
}

// SAFETY: a value only ever holds a `T: Send`, inline or in a box of its own.
unsafe impl Send for Value {}

impl Value {
    /// Stores a value.
    #[inline]
    pub fn new<T: Send + fmt::Debug + Serialize + 'static>(value: T) -> Self {
        let mut data: Data = [MaybeUninit::uninit(); INLINE / 8];
        if KindOf::<T>::FITS {
            // SAFETY: `T` fits into the data, by size and by alignment.
            unsafe { data.as_mut_ptr().cast::<T>().write(value) };
        } else {
            let boxed = Box::into_raw(Box::new(value));
            // SAFETY: a pointer fits into the data.
            unsafe { data.as_mut_ptr().cast::<*mut T>().write(boxed) };
        }
        Self { kind: Some(&KindOf::<T>::KIND), data, _not_sync: PhantomData }
    }

    /// The absence of a value: prints `none`, renders as `null`.
    pub const fn none() -> Self {
        Self { kind: None, data: [MaybeUninit::uninit(); INLINE / 8], _not_sync: PhantomData }
    }

    /// Takes the value apart.
    #[inline(always)]
    pub(crate) fn into_raw(self) -> RawValue {
        let this = ManuallyDrop::new(self);
        RawValue { kind: RawKind(this.kind), data: this.data }
    }

    /// Whether there is something to drop.
    #[inline(always)]
    pub(crate) fn needs_drop(&self) -> bool {
        self.kind.is_some_and(|kind| kind.drop.is_some())
    }

    /// Whether there is no value.
    pub const fn is_none(&self) -> bool {
        self.kind.is_none()
    }

    /// Borrows the value, if it is a `T`.
    #[inline]
    pub fn get<T: Send + fmt::Debug + Serialize + 'static>(&self) -> Option<&T> {
        match self.kind {
            Some(kind) if kind.type_id == TypeId::of::<T>() => {
                // SAFETY: the type is the one that was stored.
                Some(unsafe { KindOf::<T>::borrow(self.data.as_ptr().cast()) })
            }
            _ => None,
        }
    }

    /// Takes the value out, if it is a `T`; otherwise returns it unchanged.
    pub fn downcast<T: Send + fmt::Debug + Serialize + 'static>(self) -> Result<T, Self> {
        match self.kind {
            Some(kind) if kind.type_id == TypeId::of::<T>() => {
                let this = ManuallyDrop::new(self);
                let data = this.data.as_ptr();
                if KindOf::<T>::FITS {
                    // SAFETY: an inline value of this kind holds a `T`; `this` will not drop it.
                    Ok(unsafe { data.cast::<T>().read() })
                } else {
                    // SAFETY: a boxed value of this kind holds the pointer of a `Box<T>`; `this` will not free it.
                    Ok(*unsafe { Box::from_raw(data.cast::<*mut T>().read()) })
                }
            }
            _ => Err(self),
        }
    }

    /// The stored type's name, as [`std::any::type_name`] gives it; for diagnostics.
    pub fn type_name(&self) -> Option<&'static str> {
        self.kind.map(|kind| (kind.type_name)())
    }

    /// The stored type.
    #[cfg(all(feature = "plugin", target_os = "linux"))]
    #[inline(always)]
    pub(crate) fn type_id(&self) -> Option<TypeId> {
        self.kind.map(|kind| kind.type_id)
    }

    /// Tells stored types apart: values with the same mark have the same type; one type may have several marks.
    #[cfg(all(feature = "plugin", target_os = "linux"))]
    #[inline(always)]
    pub(crate) fn type_mark(&self) -> *const () {
        self.kind.map_or(std::ptr::null(), |kind| std::ptr::from_ref(kind).cast())
    }

    /// The bits of a number of 64 bits.
    ///
    /// # Safety
    /// A `u64`, an `i64` or an `f64` is stored.
    #[cfg(all(feature = "plugin", target_os = "linux"))]
    #[inline(always)]
    pub(crate) unsafe fn number_bits(&self) -> u64 {
        // SAFETY: such a value is inline, in the first word.
        unsafe { self.data[0].assume_init() }
    }

    /// Whether the value is stored without an allocation of its own.
    pub fn is_inline(&self) -> bool {
        self.kind.is_none_or(|kind| kind.inline)
    }

    /// Writes the value as JSON; `null` for no value.
    ///
    /// # Errors
    /// When the type's `Serialize` fails, when it has no JSON form (a map with keys that are not strings), or when `out` fails.
    pub fn write_json(&self, mut out: impl io::Write) -> serde_json::Result<()> {
        match self.kind {
            // SAFETY: the kind belongs to the data.
            Some(kind) => unsafe { (kind.json)(self.data.as_ptr().cast(), &mut out) },
            None => serde_json::to_writer(out, &()),
        }
    }

    /// The value as JSON text.
    ///
    /// # Errors
    /// As for [`write_json`](Self::write_json).
    pub fn to_json(&self) -> serde_json::Result<String> {
        let mut json = Vec::new();
        self.write_json(&mut json)?;
        Ok(String::from_utf8(json).expect("serde_json writes UTF-8"))
    }
}

impl Drop for Value {
    #[inline]
    fn drop(&mut self) {
        if let Some(drop) = self.kind.and_then(|kind| kind.drop) {
            // Moved first, so that the value itself needs no address where it might be dropped; see `RawValue`.
            let mut data = self.data;
            // SAFETY: the kind belongs to the data, and this is the last use of it.
            unsafe { drop(data.as_mut_ptr().cast()) };
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            // SAFETY: the kind belongs to the data.
            Some(kind) => unsafe { (kind.debug)(self.data.as_ptr().cast(), f) },
            None => f.write_str("none"),
        }
    }
}

impl fmt::Display for Value {
    /// Prints the value's `Debug` form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Default for Value {
    fn default() -> Self {
        Self::none()
    }
}

// NB: Coherent with `From<T> for T` only while `Value` itself is not `Serialize`.
impl<T: Send + fmt::Debug + Serialize + 'static> From<T> for Value {
    #[inline]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn thirty_two_bytes_stay_inline() {
        assert_eq!(size_of::<Value>(), 40);
        assert!(Value::new([7u64; 4]).is_inline());
        assert!(!Value::new([7u64; 5]).is_inline());
        assert!(!Value::new(1u128).is_inline() || align_of::<u128>() <= 8);
        assert_eq!(Value::new([7u64; 5]).get(), Some(&[7u64; 5]));
        assert_eq!(Value::new(1u128).get(), Some(&1u128));
    }

    #[test]
    fn only_the_stored_type_comes_back() {
        let value = Value::new(5u32);
        assert_eq!(value.get::<i32>(), None);
        assert_eq!(value.get::<u32>(), Some(&5));
        let value = value.downcast::<i32>().expect_err("not an i32");
        assert_eq!(value.downcast::<u32>().expect("a u32"), 5);
        assert_eq!(Value::none().get::<()>(), None);
    }

    #[derive(Debug)]
    struct Counted(#[expect(dead_code)] Arc<()>, [u64; 8]);

    impl Serialize for Counted {
        fn serialize<S: serde_core::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_u64(self.1[0])
        }
    }

    #[test]
    fn every_value_is_dropped_once() {
        let count = Arc::new(());
        let boxed = Value::new(Counted(count.clone(), [3; 8]));
        assert_eq!(boxed.to_json().expect("it serialises"), "3");
        assert_eq!(Arc::strong_count(&count), 2);
        drop(boxed);
        assert_eq!(Arc::strong_count(&count), 1);
        let out = Value::new(Counted(count.clone(), [3; 8])).downcast::<Counted>();
        assert_eq!(Arc::strong_count(&count), 2);
        drop(out);
        assert_eq!(Arc::strong_count(&count), 1);
    }

    #[test]
    fn renders_and_prints() {
        assert_eq!(Value::none().to_json().expect("null"), "null");
        assert_eq!(Value::none().to_string(), "none");
        assert_eq!(Value::new(vec![1, 2]).to_json().expect("a list"), "[1,2]");
        assert_eq!(Value::new(Some("a\n")).to_string(), r#"Some("a\n")"#);
    }
}
