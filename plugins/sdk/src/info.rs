//! What a processor says about itself.

use keylane_plugin_abi as abi;

use crate::EventType;

/// What a processor says about itself; it becomes the descriptor that a host reads before it creates anything.
///
/// ```
/// use keylane_plugin::{EventType, Info};
///
/// const INFO: Info = Info::new("org.example.dedup", "1.2.0")
///     .description("Lets the first event of a key pass")
///     .stateful(1)
///     .emits()
///     .only(&[EventType::TRAFFIC, EventType::user(3)]);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Info {
    pub(crate) id: &'static str,
    pub(crate) version: &'static str,
    pub(crate) name: Option<&'static str>,
    pub(crate) vendor: Option<&'static str>,
    pub(crate) description: Option<&'static str>,
    pub(crate) license: Option<&'static str>,
    pub(crate) url: Option<&'static str>,
    pub(crate) config_schema: Option<&'static str>,
    pub(crate) event_types: Option<&'static [EventType]>,
    pub(crate) flags: u32,
    pub(crate) state_version: u32,
    pub(crate) preferred_batch: u32,
}

impl Info {
    /// A processor with this id, in reverse DNS (`org.example.dedup`), and version; mostly `env!("CARGO_PKG_VERSION")`.
    ///
    /// # Panics
    /// When the id is not 1 to 63 of `a-z 0-9 . - _`, or the version not 1 to 31 characters of ASCII. In a constant, as here, that is a
    /// compile error.
    #[must_use]
    pub const fn new(id: &'static str, version: &'static str) -> Self {
        let bytes = id.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() < 64, "an id has 1 to 63 characters");
        let mut i = 0;
        while i < bytes.len() {
            assert!(
                matches!(bytes[i], b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'),
                "an id consists of a-z 0-9 . - _"
            );
            i += 1;
        }
        assert!(!version.is_empty() && version.len() < 32, "a version has 1 to 31 characters");
        let bytes = version.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            assert!(bytes[i].is_ascii_graphic(), "a version is printable ASCII without spaces");
            i += 1;
        }
        Self {
            id,
            version,
            name: None,
            vendor: None,
            description: None,
            license: None,
            url: None,
            config_schema: None,
            event_types: None,
            flags: 0,
            state_version: 0,
            preferred_batch: 0,
        }
    }

    /// The name for people.
    #[must_use]
    pub const fn name(self, name: &'static str) -> Self {
        Self { name: Some(no_nul(name)), ..self }
    }

    /// Who made it.
    #[must_use]
    pub const fn vendor(self, vendor: &'static str) -> Self {
        Self { vendor: Some(no_nul(vendor)), ..self }
    }

    /// What it does, in a sentence.
    #[must_use]
    pub const fn description(self, description: &'static str) -> Self {
        Self { description: Some(no_nul(description)), ..self }
    }

    /// Its licence, as an SPDX expression.
    #[must_use]
    pub const fn license(self, license: &'static str) -> Self {
        Self { license: Some(no_nul(license)), ..self }
    }

    /// Where it lives.
    #[must_use]
    pub const fn url(self, url: &'static str) -> Self {
        Self { url: Some(no_nul(url)), ..self }
    }

    /// A JSON Schema of the configuration, mostly `include_str!("../config.schema.json")`.
    #[must_use]
    pub const fn config_schema(self, schema: &'static str) -> Self {
        Self { config_schema: Some(no_nul(schema)), ..self }
    }

    /// Only events of these types are delivered. Without this, all are.
    #[must_use]
    pub const fn only(self, types: &'static [EventType]) -> Self {
        Self { event_types: Some(types), ..self }
    }

    /// Has a state to be saved and loaded when the instance is replaced. `version` is the form of the saved state, from 1.
    ///
    /// # Panics
    /// When `version` is 0.
    #[must_use]
    pub const fn stateful(self, version: u32) -> Self {
        assert!(version > 0, "versions of the state begin with 1");
        Self { state_version: version, flags: self.flags | abi::plugin_flag::STATEFUL, ..self }
    }

    /// Emits derived events.
    #[must_use]
    pub const fn emits(self) -> Self {
        Self { flags: self.flags | abi::plugin_flag::EMITS, ..self }
    }

    /// An instance stays on one thread from its creation to its end.
    #[must_use]
    pub const fn thread_affine(self) -> Self {
        Self { flags: self.flags | abi::plugin_flag::THREAD_AFFINE, ..self }
    }

    /// Starts threads of its own.
    #[must_use]
    pub const fn spawns_threads(self) -> Self {
        Self { flags: self.flags | abi::plugin_flag::SPAWNS_THREADS, ..self }
    }

    /// Must not be loaded a second time in one process.
    #[must_use]
    pub const fn no_reload(self) -> Self {
        Self { flags: self.flags | abi::plugin_flag::NO_RELOAD, ..self }
    }

    /// How many events at once suit it best. A hint.
    #[must_use]
    pub const fn preferred_batch(self, events: u32) -> Self {
        Self { preferred_batch: events, ..self }
    }

    /// The flags that the descriptor says.
    pub(crate) const fn all_flags(&self) -> u32 {
        let unwind = if cfg!(panic = "unwind") { abi::plugin_flag::PANIC_UNWIND } else { 0 };
        self.flags | unwind
    }

    /// The manifest of a library whose first processor this is.
    #[doc(hidden)]
    #[must_use]
    pub const fn manifest(&self, processors: u32) -> abi::Manifest {
        let built_with = env!("KEYLANE_PLUGIN_BUILT_WITH");
        abi::Manifest::new(self.id, self.version, built_with, self.all_flags(), processors)
    }
}

/// The text again. A compile error when it holds a NUL, which would cut it off in the descriptor.
const fn no_nul(text: &'static str) -> &'static str {
    let bytes = text.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        assert!(bytes[i] != 0, "a text of a descriptor holds no NUL");
        i += 1;
    }
    text
}
