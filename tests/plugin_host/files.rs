//! Files that are no plugin for this host: each is refused with its reason before any of its code runs, and the host goes on.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use keylane::plugin::{Distrust, LoadErrorKind, PluginHost, Sha256, TrustPolicy};

use crate::plugin_support::{Folder, builder, compile, good_library, host, refused};
use crate::support::within;

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its owner may");
}

#[test]
fn loading_is_off_unless_it_is_allowed() {
    let host = PluginHost::builder().build().expect("a thread");
    let error = host.load(good_library()).expect_err("not allowed");
    assert!(matches!(error.kind(), LoadErrorKind::Disabled));
    contains(&error.to_string(), &["does not load plugins", "allow_loading"]);
    assert_eq!(host.stats().refused["disabled"], 1);
    assert!(host.inspect(good_library()).would_load(), "looking is allowed");
}

#[test]
fn what_is_no_regular_file_is_refused() {
    within(60, || {
        let (host, folder) = (host(), Folder::new());
        let missing = folder.path("missing.so");
        contains(
            &refused(&host, &missing, "open"),
            &["missing.so", "cannot be opened", "No such file"],
        );
        contains(
            &refused(&host, &folder.0, "not_regular"),
            &["it is a folder, not a regular file"],
        );
        contains(&refused(&host, Path::new("/dev/zero"), "not_regular"), &["a device"]);

        let fifo = folder.path("fifo.so");
        let name = CString::new(fifo.as_os_str().as_bytes()).expect("no NUL");
        // SAFETY: the name is a C string.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        contains(&refused(&host, &fifo, "not_regular"), &["it is a pipe"]);

        let socket = folder.path("socket.so");
        let _listener = std::os::unix::net::UnixListener::bind(&socket);
        if socket.exists() {
            contains(&refused(&host, &socket, "not_regular"), &["a socket"]);
        }
    });
}

#[test]
fn what_is_no_elf_file_is_refused() {
    within(60, || {
        let (host, folder) = (host(), Folder::new());
        let path = folder.path("it.so");
        std::fs::write(&path, "").expect("a file");
        contains(&refused(&host, &path, "not_elf"), &["begins with \"\", not with"]);
        std::fs::write(&path, "#!/bin/sh\n").expect("a file");
        contains(&refused(&host, &path, "not_elf"), &["begins with \"#!/b\""]);
        std::fs::write(&path, "\x1b[2J").expect("a file");
        contains(&refused(&host, &path, "not_elf"), &["begins with \"\\x1b[2J\""]);
        std::fs::write(&path, "\x7fELF").expect("a file");
        contains(
            &refused(&host, &path, "truncated"),
            &["the file's header ends at byte 64, the file has 4"],
        );
    });
}

#[test]
fn a_file_that_is_too_large_is_refused_and_not_read() {
    within(60, || {
        let folder = Folder::new();
        let path = folder.path("large.so");
        let file = std::fs::File::create(&path).expect("a file");
        file.set_len(5 << 30).expect("a sparse file");
        let text = refused(&host(), &path, "too_large");
        contains(&text, &["it has 5368709120 bytes, and 268435456 are allowed"]);
        // One byte decides.
        let size = std::fs::metadata(good_library()).expect("built").len();
        let exact = builder().max_file_size(size).build().expect("a thread");
        exact.load(good_library()).expect("as large as allowed");
        let smaller = builder().max_file_size(size - 1).build().expect("a thread");
        let error = smaller.load(good_library()).expect_err("one byte too large");
        assert!(
            matches!(*error.kind(), LoadErrorKind::TooLarge { size: s, limit } if s == size && limit == size - 1)
        );
    });
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_refused() {
    within(120, || {
        let (host, folder) = (host(), Folder::new());
        let whole = std::fs::read(good_library()).expect("built");
        let path = folder.path("cut.so");
        let pages = (0..whole.len()).step_by(4096).skip(1);
        let edges = [1, 3, 4, 63, 64, 65, whole.len() - 1];
        for size in pages.chain(edges) {
            std::fs::write(&path, &whole[..size]).expect("a file");
            let error = host.load(&path).expect_err("cut off");
            match error.kind() {
                LoadErrorKind::Truncated { needs, size: found, .. } => {
                    assert_eq!(*found, size as u64);
                    assert!(needs > found, "{error}");
                }
                LoadErrorKind::NotElf { .. } => assert!(size < 4, "{error}"),
                _ => panic!("cut at {size}: {error}"),
            }
        }
        crate::plugin_support::works(&host);
    });
}

#[test]
fn a_file_for_another_machine_is_refused() {
    within(60, || {
        let (host, folder) = (host(), Folder::new());
        let whole = std::fs::read(good_library()).expect("built");
        let path = folder.path("other.so");
        let other = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
        let (theirs, ours) = if cfg!(target_arch = "aarch64") {
            ("x86-64", "aarch64")
        } else {
            ("aarch64", std::env::consts::ARCH)
        };
        let ours = ours.replace("x86_64", "x86-64");
        for (at, byte, parts) in [
            (4, 1, ["its word size is 32-bit", "needs 64-bit"]),
            (5, 2, ["its byte order is big-endian", "needs little-endian"]),
            (6, 9, ["its ELF version is 9", "needs 1"]),
            (7, 9, ["its system is OS/ABI 9", "needs Linux"]),
            (16, 1, ["its file type is an object file (ET_REL)", "a shared library (ET_DYN)"]),
            (16, 2, ["its file type is a program (ET_EXEC)", "a shared library (ET_DYN)"]),
            (18, other, [&format!("its machine is {theirs}"), &format!("needs {ours}")]),
        ] {
            let mut changed = whole.clone();
            changed[at] = byte;
            std::fs::write(&path, changed).expect("a file");
            contains(&refused(&host, &path, "wrong_target"), &parts);
        }
        let mut changed = whole;
        changed[54] = 57;
        std::fs::write(&path, changed).expect("a file");
        contains(&refused(&host, &path, "malformed"), &["its program headers have 57 bytes each"]);
    });
}

#[test]
fn a_library_that_is_no_plugin_is_refused_before_it_runs() {
    within(60, || {
        let (host, folder) = (host(), Folder::new());
        // Its constructor would end the process.
        let source = folder.path("deadly.c");
        std::fs::write(
            &source,
            "#include <stdlib.h>\n__attribute__((constructor)) static void f(void) { abort(); }\n",
        )
        .expect("a file");
        let deadly = folder.path("deadly.so");
        compile(Command::new("cc").arg(&source), &deadly);
        let text = refused(&host, &deadly, "no_entry");
        contains(&text, &["does not export keylane_plugin_entry_v1"]);
        let other = folder.build("v2.so", &["ENTRY_NAME=keylane_plugin_entry_v2"]);
        let text = refused(&host, &other, "no_entry");
        contains(
            &text,
            &["it exports keylane_plugin_entry_v2, and this program needs keylane_plugin_entry_v1"],
        );
    });
}

#[test]
fn a_manifest_that_does_not_fit_is_refused() {
    within(60, || {
        let (host, folder) = (host(), Folder::new());
        let good = std::fs::read(good_library()).expect("built");
        let note = good.windows(8).position(|bytes| bytes == b"keylane\0").expect("its note") + 8;
        let path = folder.path("note.so");
        for (at, byte, parts) in [
            (0, 100, ["struct_size is 100", "expected is 184"]),
            (1, 9, ["struct_size is 2488", "expected is 184 to 184"]),
            (6, 7, ["abi_version is 7.0", "expected is 1.x"]),
            (8, 0xee, ["layout is 0x", "expected is 0x"]),
            (24, b'O', ["id is \"Org.example.fixture\"", "a-z 0-9"]),
            (24, 0xff, ["id is \"\\xffrg.example.fixture\"", "UTF-8"]),
            (24, 0, ["id is \"\"", "1 to 63"]),
        ] {
            let mut changed = good.clone();
            changed[note + at] = byte;
            std::fs::write(&path, changed).expect("a file");
            contains(&refused(&host, &path, "manifest"), &parts);
        }
        let lies = folder.build("lies.so", &["MANIFEST_ID=\"org.example.other\""]);
        let text = refused(&host, &lies, "manifest");
        contains(
            &text,
            &[
                "id is \"org.example.other\"",
                "\"org.example.fixture\", as its first descriptor says",
            ],
        );
        let without = folder.build("without.so", &["NO_MANIFEST"]);
        let plugin = host.load(&without).expect("a plugin in C need not have one");
        assert_eq!((plugin.manifest(), host.stats().without_manifest), (None, 1));
    });
}

#[test]
fn files_that_anybody_could_have_written_are_refused() {
    within(60, || {
        let (host, folder) = (host(), Folder::new());
        let inner = folder.path("inner");
        std::fs::create_dir(&inner).expect("a folder");
        let path = inner.join("plugin.so");
        std::fs::copy(good_library(), &path).expect("a copy");
        chmod(&path, 0o646);
        let text = refused(&host, &path, "untrusted");
        contains(&text, &["everybody may write to", "plugin.so\" (mode 0646)", "chmod o-w"]);
        chmod(&path, 0o644);
        chmod(&inner, 0o1777);
        let text = refused(&host, &path, "untrusted");
        contains(&text, &["/inner\" (mode 1777)"]);
        // A link does not hide where it leads to, and a safe place does not depend on the link's.
        let link = folder.path("link.so");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        refused(&host, &link, "untrusted");
        assert!(!host.inspect(&link).would_load());
        chmod(&inner, 0o755);
        host.load(&link).expect("now it is safe");

        let any = PluginHost::builder()
            .allow_loading(TrustPolicy::any_owner())
            .build()
            .expect("a thread");
        chmod(&path, 0o666);
        any.load(&path).expect("it was told not to look");

        // SAFETY: geteuid has no preconditions.
        if unsafe { libc::geteuid() } == 0 {
            chmod(&path, 0o644);
            std::os::unix::fs::chown(&path, Some(12345), None).expect("root may");
            let error = host.load(&path).expect_err("another's file");
            let LoadErrorKind::Untrusted { why: Distrust::Owner { owner, user }, .. } =
                error.kind()
            else {
                panic!("{error}")
            };
            assert_eq!((*owner, *user), (12345, 0));
            contains(&error.to_string(), &["belongs to user 12345, but only root's and user 0's"]);
        }
    });
}

#[test]
fn only_listed_contents_are_loaded_when_there_is_a_list() {
    within(60, || {
        let folder = Folder::new();
        let good = Sha256::of(&std::fs::read(good_library()).expect("built"));
        let other = folder.build("other.so", &["PADDING=\"other\""]);
        let policy = TrustPolicy::owned().allow(good);
        let host = PluginHost::builder().allow_loading(policy).build().expect("a thread");
        let found = Sha256::of(&std::fs::read(&other).expect("built"));
        let text = refused(&host, &other, "digest_not_allowed");
        contains(&text, &[&found.to_string(), "is none of the 1 that are allowed"]);
        let none = PluginHost::builder()
            .allow_loading(TrustPolicy::owned().allow_only([]))
            .build()
            .expect("a thread");
        assert_eq!(
            none.load(good_library()).expect_err("none").kind().name(),
            "digest_not_allowed"
        );
    });
}

#[test]
fn inspection_tells_without_running() {
    let (host, folder) = (host(), Folder::new());
    let inspection = host.inspect(good_library());
    assert_eq!(inspection.to_string(), "would load: yes");
    let manifest = inspection.manifest.expect("it has one");
    assert_eq!((manifest.id.as_str(), manifest.version.as_str()), ("org.example.fixture", "1.0.0"));
    assert_eq!((manifest.abi_version, manifest.processors, manifest.flags), ((1, 0), 1, 1));
    assert!(manifest.built_with.contains("C"), "{manifest:?}");
    let elf = inspection.elf.expect("it is one");
    assert!(elf.needed.iter().any(|name| name.starts_with("libc.")), "{elf:?}");
    assert_eq!(elf.entries, ["keylane_plugin_entry_v1"]);

    let path = folder.path("stripped.so");
    std::fs::copy(good_library(), &path).expect("a copy");
    assert!(Command::new("strip").arg(&path).status().expect("binutils").success());
    assert!(host.inspect(&path).manifest.is_some(), "the note survives strip");
    host.load(&path).expect("so does the plugin");

    chmod(&path, 0o666);
    let inspection = host.inspect(&path);
    contains(&inspection.to_string(), &["would load: no, because everybody may write to"]);
    assert!(
        inspection.manifest.is_some() && inspection.sha256.is_some(),
        "the rest is told all the same"
    );
    assert_eq!(host.stats().resident_libraries, 1);
}
