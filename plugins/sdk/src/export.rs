//! The entry of a plugin: what `export_plugin!` expands to leads here.

use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::sync::OnceLock;

use keylane_plugin_abi as abi;

use crate::barrier::{guard, install_hook};
use crate::instance::{self, Failure, report};
use crate::{Info, Processor};

/// Exports processors as a plugin: the entry symbol, a factory of all of them, and the manifest, which names the first one.
///
/// Once per library, with a `crate-type` of `["cdylib"]`, or `["cdylib", "rlib"]` if its own tests need it.
///
/// ```
/// # use keylane_plugin::{Create, Cx, Error, Event, Info, NoConfig, Outcome, Processor};
/// struct Nothing;
///
/// impl Processor for Nothing {
///     type Config = NoConfig;
///     const INFO: Info = Info::new("org.example.nothing", "0.1.0");
///
///     fn create(_: NoConfig, _: &Create<'_>) -> Result<Self, Error> {
///         Ok(Self)
///     }
///
///     fn process(&mut self, _: &Event<'_>, _: &Cx<'_>) -> Outcome {
///         Ok(())
///     }
/// }
///
/// keylane_plugin::export_plugin!(Nothing);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_plugin {
    ($first:ty $(, $other:ty)* $(,)?) => {
        const _: () = {
            struct Exported;

            impl $crate::export::Plugin for Exported {
                const PROCESSORS: &'static [$crate::export::Registration] =
                    &[$crate::export::Registration::of::<$first>() $(, $crate::export::Registration::of::<$other>())*];

                fn descriptors() -> &'static ::std::sync::OnceLock<$crate::export::Descriptors> {
                    static DESCRIPTORS: ::std::sync::OnceLock<$crate::export::Descriptors> = ::std::sync::OnceLock::new();
                    &DESCRIPTORS
                }
            }

            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals)]
            static keylane_plugin_entry_v1: $crate::abi::Entry = $crate::export::entry::<Exported>();

            #[used]
            #[unsafe(link_section = ".note.keylane")]
            static NOTE: $crate::abi::Note = $crate::abi::Note::new(
                <$first as $crate::Processor>::INFO.manifest(<Exported as $crate::export::Plugin>::PROCESSORS.len() as u32),
            );
        };
    };
}

/// What a plugin exports. Implemented by [`export_plugin!`].
pub trait Plugin: 'static {
    /// The processors, in the order of their indices.
    const PROCESSORS: &'static [Registration];

    /// Where their descriptors are kept.
    fn descriptors() -> &'static OnceLock<Descriptors>;
}

type CreateFn =
    unsafe fn(*const abi::Host, *const abi::CreateArgs) -> Result<*mut abi::Processor, Failure>;

/// One processor of a plugin, without its type.
#[derive(Debug, Clone, Copy)]
pub struct Registration {
    info: Info,
    check_config: fn(&[u8]) -> Result<(), Failure>,
    create: CreateFn,
}

impl Registration {
    /// The registration of a processor.
    #[must_use]
    pub const fn of<P: Processor>() -> Self {
        Self {
            info: P::INFO,
            check_config: instance::check_config::<P>,
            create: instance::create::<P>,
        }
    }
}

/// Descriptors with the texts that they lead to.
#[derive(Debug)]
pub struct Descriptors {
    raw: Vec<abi::Descriptor>,
    _texts: Texts,
}

// SAFETY: nothing is changed once it is made; the pointers lead into the texts.
unsafe impl Send for Descriptors {}
// SAFETY: as above.
unsafe impl Sync for Descriptors {}

/// Owns texts in places that do not move.
#[derive(Debug, Default)]
struct Texts {
    texts: Vec<CString>,
    lists: Vec<Box<[*const c_char]>>,
}

impl Texts {
    fn keep(&mut self, text: impl Into<Vec<u8>>) -> *const c_char {
        let text = CString::new(text).expect("Info lets no NUL in");
        let pointer = text.as_ptr();
        self.texts.push(text);
        pointer
    }

    fn keep_optional(&mut self, text: Option<&str>) -> *const c_char {
        text.map_or(std::ptr::null(), |text| self.keep(text))
    }
}

impl Descriptors {
    /// The descriptors of these processors.
    #[must_use]
    pub fn new(processors: &[Registration]) -> Self {
        let mut texts = Texts::default();
        let raw = processors
            .iter()
            .map(|processor| Self::describe(&processor.info, &mut texts))
            .collect();
        Self { raw, _texts: texts }
    }

    fn describe(info: &Info, texts: &mut Texts) -> abi::Descriptor {
        let event_types = info.event_types.map_or(std::ptr::null(), |types| {
            let names = types.iter().map(|kind| texts.keep(kind.to_string()));
            let names: Box<[_]> =
                names.collect::<Vec<_>>().into_iter().chain([std::ptr::null()]).collect();
            let pointer = names.as_ptr();
            texts.lists.push(names);
            pointer
        });
        abi::Descriptor {
            struct_size: size_of::<abi::Descriptor>() as u32,
            flags: info.all_flags(),
            state_version: info.state_version,
            preferred_batch: info.preferred_batch,
            id: texts.keep(info.id),
            version: texts.keep(info.version),
            name: texts.keep_optional(info.name),
            vendor: texts.keep_optional(info.vendor),
            description: texts.keep_optional(info.description),
            license: texts.keep_optional(info.license),
            url: texts.keep_optional(info.url),
            config_schema_json: texts.keep_optional(info.config_schema),
            event_types,
        }
    }
}

/// The entry of a plugin.
#[must_use]
pub const fn entry<X: Plugin>() -> abi::Entry {
    abi::Entry {
        magic: abi::MAGIC,
        struct_size: size_of::<abi::Entry>() as u32,
        abi_version: abi::ABI_VERSION,
        layout: abi::LAYOUT,
        init: Some(init),
        deinit: None,
        get_factory: Some(get_factory::<X>),
    }
}

unsafe extern "C-unwind" fn init(
    _path: *const c_char,
    _host: u32,
    error: *mut abi::ErrorBuffer,
) -> abi::Status {
    match guard(install_hook) {
        Ok(()) => abi::Status::OK,
        // SAFETY: the buffer is the host's.
        Err(text) => unsafe { report(error, (abi::Status::E_PANIC, text)) },
    }
}

struct FactoryOf<X>(PhantomData<X>);

impl<X: Plugin> FactoryOf<X> {
    const FACTORY: abi::Factory = abi::Factory {
        struct_size: size_of::<abi::Factory>() as u32,
        reserved: 0,
        count: Some(count::<X>),
        descriptor: Some(descriptor::<X>),
        check_config: Some(check_config::<X>),
        create: Some(create::<X>),
    };
}

unsafe extern "C-unwind" fn get_factory<X: Plugin>(id: *const c_char) -> *const c_void {
    // SAFETY: null, or a text with a NUL at its end.
    if id.is_null() || unsafe { CStr::from_ptr(id) } != abi::FACTORY_ID {
        return std::ptr::null();
    }
    let factory: &'static abi::Factory = &const { FactoryOf::<X>::FACTORY };
    std::ptr::from_ref(factory).cast()
}

unsafe extern "C-unwind" fn count<X: Plugin>() -> u32 {
    X::PROCESSORS.len() as u32
}

unsafe extern "C-unwind" fn descriptor<X: Plugin>(index: u32) -> *const abi::Descriptor {
    let descriptors = guard(|| X::descriptors().get_or_init(|| Descriptors::new(X::PROCESSORS)));
    let descriptor = descriptors.ok().and_then(|all| all.raw.get(index as usize));
    descriptor.map_or(std::ptr::null(), std::ptr::from_ref)
}

/// The processor with this id.
///
/// # Safety
/// `id` is null or a text with a NUL at its end.
unsafe fn find<X: Plugin>(id: *const c_char) -> Result<&'static Registration, Failure> {
    // SAFETY: the caller vouches for the text.
    let id = if id.is_null() { c"" } else { unsafe { CStr::from_ptr(id) } };
    let found =
        X::PROCESSORS.iter().find(|processor| processor.info.id.as_bytes() == id.to_bytes());
    found.ok_or_else(|| {
        let ids: Vec<&str> = X::PROCESSORS.iter().map(|processor| processor.info.id).collect();
        let text = format!(
            "there is no processor \"{}\" in this plugin; there is {}",
            id.to_bytes().escape_ascii(),
            ids.join(", ")
        );
        (abi::Status::E_INVALID, text)
    })
}

unsafe extern "C-unwind" fn check_config<X: Plugin>(
    id: *const c_char,
    json: abi::Bytes,
    error: *mut abi::ErrorBuffer,
) -> abi::Status {
    let checked = guard(|| {
        // SAFETY: the host passes a text with a NUL, and bytes that live until the call returns.
        let (processor, json) = unsafe { (find::<X>(id)?, json.get().unwrap_or(b"{}")) };
        (processor.check_config)(json)
    });
    match checked.unwrap_or_else(|text| Err((abi::Status::E_PANIC, text))) {
        Ok(()) => abi::Status::OK,
        // SAFETY: the buffer is the host's.
        Err(failure) => unsafe { report(error, failure) },
    }
}

unsafe extern "C-unwind" fn create<X: Plugin>(
    id: *const c_char,
    host: *const abi::Host,
    args: *const abi::CreateArgs,
    out: *mut *mut abi::Processor,
    error: *mut abi::ErrorBuffer,
) -> abi::Status {
    // SAFETY: the host passes what the header says.
    let created = guard(|| unsafe { (find::<X>(id)?.create)(host, args) });
    match created.unwrap_or_else(|text| Err((abi::Status::E_PANIC, text))) {
        Ok(instance) => {
            // SAFETY: the host passes a place for the pointer.
            unsafe { out.write(instance) };
            abi::Status::OK
        }
        // SAFETY: the buffer is the host's.
        Err(failure) => unsafe { report(error, failure) },
    }
}
