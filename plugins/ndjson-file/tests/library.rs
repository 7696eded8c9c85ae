//! The same as a shared library: what `export_plugin!` exports, and that it works behind `dlopen`.

use std::path::PathBuf;

use keylane_plugin::abi;
use keylane_plugin::testing::{TestEvent, TestHost};

/// The library that cargo has built beside this test.
fn library() -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    test.with_file_name("libndjson_file.so")
}

#[test]
fn the_library_works() {
    // SAFETY: the library was built from this crate, and its constructors are those of the standard library.
    let library = unsafe { libloading::Library::new(library()) }.expect("it loads");
    // SAFETY: the symbol is what `export_plugin!` says.
    let entry: *const abi::Entry =
        unsafe { *library.get(abi::ENTRY_SYMBOL).expect("it has an entry") };
    // Never unloaded, as in a host.
    std::mem::forget(library);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("v");
    let config = serde_json::json!({"path": path, "lines": "value"}).to_string();
    // SAFETY: the library stays loaded.
    let mut host = unsafe { TestHost::from_entry(entry, Some("io.keylane.ndjson-file"), &config) }
        .expect("it is created");
    host.send(&[TestEvent::user(1).value("through a library")]);
    host.shutdown().expect("it writes");
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "\"through a library\"\n");
    // SAFETY: as above.
    let refused = unsafe { TestHost::from_entry(entry, Some("io.keylane.ndjson"), &config) }
        .expect_err("another id");
    assert_eq!(refused.message, "the plugin has no processor io.keylane.ndjson");
}

#[test]
fn the_manifest_can_be_read_without_loading() {
    let library = std::fs::read(library()).expect("it is there");
    let size = size_of::<abi::Manifest>() as u32;
    let mut header = [8_u32, size, abi::NOTE_TYPE].map(u32::to_ne_bytes).concat();
    header.extend_from_slice(&abi::NOTE_OWNER);
    let places: Vec<usize> = (0..library.len() - header.len())
        .step_by(4)
        .filter(|&at| library[at..].starts_with(&header))
        .collect();
    let [at] = places[..] else { panic!("one note, not {}", places.len()) };
    // SAFETY: the note is that long, and a manifest is integers and bytes.
    let manifest: abi::Manifest =
        unsafe { library[at + header.len()..].as_ptr().cast::<abi::Manifest>().read_unaligned() };
    assert_eq!((manifest.abi_version, manifest.layout()), (abi::ABI_VERSION, abi::LAYOUT));
    assert_eq!((manifest.processors, manifest.flags), (1, abi::plugin_flag::PANIC_UNWIND));
    assert!(manifest.id.starts_with(b"io.keylane.ndjson-file\0"));
    assert!(manifest.version.starts_with(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()));
    assert!(manifest.built_with.starts_with(b"rustc 1."));
}
