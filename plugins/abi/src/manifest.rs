//! What can be read of a plugin without running it: an ELF note.

/// The section that holds the note.
pub const NOTE_SECTION: &str = ".note.keylane";
/// The owner of the note, with the NUL that counts.
pub const NOTE_OWNER: [u8; 8] = *b"keylane\0";
/// The type of the note.
pub const NOTE_TYPE: u32 = 1;

/// What the note holds.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Manifest {
    /// The writer's `size_of`.
    pub struct_size: u32,
    /// Of the plugin's header.
    pub abi_version: u32,
    /// The lower half of [`LAYOUT`](crate::LAYOUT).
    pub layout_low: u32,
    /// The upper half.
    pub layout_high: u32,
    /// [`plugin_flag`](crate::plugin_flag).
    pub flags: u32,
    /// How many processors the library's factory makes.
    pub processors: u32,
    /// Of the first processor; ends with a NUL.
    pub id: [u8; 64],
    /// Ends with a NUL.
    pub version: [u8; 32],
    /// Compiler and target; ends with a NUL.
    pub built_with: [u8; 64],
}

impl Manifest {
    /// A manifest for this version of the ABI.
    ///
    /// # Panics
    /// When a text, with the NUL at its end, is too long for its place. In a constant that is a compile error.
    #[must_use]
    pub const fn new(
        id: &str,
        version: &str,
        built_with: &str,
        flags: u32,
        processors: u32,
    ) -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            abi_version: crate::ABI_VERSION,
            layout_low: crate::LAYOUT as u32,
            layout_high: (crate::LAYOUT >> 32) as u32,
            flags,
            processors,
            id: text(id),
            version: text(version),
            built_with: text(built_with),
        }
    }

    /// The layout word.
    #[must_use]
    pub const fn layout(&self) -> u64 {
        (self.layout_high as u64) << 32 | self.layout_low as u64
    }
}

/// The whole note, as a linker wants it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Note {
    /// The size of `name`.
    pub name_size: u32,
    /// The size of `manifest`.
    pub descriptor_size: u32,
    /// [`NOTE_TYPE`].
    pub kind: u32,
    /// [`NOTE_OWNER`].
    pub name: [u8; 8],
    /// The descriptor.
    pub manifest: Manifest,
}

impl Note {
    /// The note around a manifest.
    #[must_use]
    pub const fn new(manifest: Manifest) -> Self {
        Self {
            name_size: NOTE_OWNER.len() as u32,
            descriptor_size: size_of::<Manifest>() as u32,
            kind: NOTE_TYPE,
            name: NOTE_OWNER,
            manifest,
        }
    }
}

/// A text in a fixed place, filled up with NULs.
///
/// # Panics
/// When the text has `N` bytes or more.
#[must_use]
pub const fn text<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    assert!(bytes.len() < N, "a text of the manifest is too long");
    let mut place = [0; N];
    let mut i = 0;
    while i < bytes.len() {
        place[i] = bytes[i];
        i += 1;
    }
    place
}
