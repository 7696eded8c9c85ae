//! The ABI is frozen: `golden/abi_v1.txt` is what these types are, and what C and C++ compilers make of the header.
//!
//! To append to the ABI: extend the header, the types and the lists below, run with `KEYLANE_BLESS=1`, and look at the difference: lines
//! may only have been added, and the `size` of a struct that has grown may be larger.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use keylane_plugin_abi as abi;

const GOLDEN: &str = include_str!("../golden/abi_v1.txt");

/// Lines `struct NAME size N align N` and `member STRUCT.MEMBER offset N size N`.
macro_rules! layouts {
    ($out:ident; $($name:literal $type:ty { $($member:ident $(as $c_member:literal)?),* $(,)? })*) => {$(
        writeln!($out, "struct {} size {} align {}", $name, size_of::<$type>(), align_of::<$type>()).unwrap();
        let mut end = 0;
        $(
            let size = size_of_member(|all: &$type| &raw const all.$member);
            let offset = std::mem::offset_of!($type, $member);
            let c_member = [$($c_member,)? stringify!($member)][0];
            assert!(offset - end < 8, "a member in front of {}.{c_member} is not in the list", $name);
            end = offset + size;
            writeln!($out, "member {}.{c_member} offset {offset} size {size}", $name).unwrap();
        )*
        assert_eq!(end.next_multiple_of(align_of::<$type>()), size_of::<$type>(), "the last members of {} are not in the list", $name);
    )*};
}

fn size_of_member<S, M>(_: fn(&S) -> *const M) -> usize {
    size_of::<M>()
}

/// Lines `const NAME N`.
macro_rules! constants {
    ($out:ident; $($prefix:literal { $($module:ident::$name:ident),* $(,)? })*) => {$($(
        writeln!($out, "const {}{} {}", $prefix, stringify!($name), abi::$module::$name).unwrap();
    )*)*};
}

fn as_rust_has_it() -> String {
    let mut out = String::new();
    writeln!(out, "const KEYLANE_ABI_MAJOR {}", abi::ABI_MAJOR).unwrap();
    writeln!(out, "const KEYLANE_MAGIC {}", abi::MAGIC).unwrap();
    writeln!(out, "const KEYLANE_LAYOUT {}", abi::LAYOUT).unwrap();
    writeln!(out, "const KEYLANE_NOTE_TYPE {}", abi::NOTE_TYPE).unwrap();
    writeln!(out, "const KEYLANE_TYPE_UNKNOWN {}", abi::TYPE_UNKNOWN).unwrap();
    writeln!(out, "const KEYLANE_NO_PARENT {}", abi::NO_PARENT).unwrap();
    for number in -11..=1 {
        let status = abi::Status(number);
        writeln!(out, "const KEYLANE_{status} {number}").unwrap();
    }
    constants! { out;
        "KEYLANE_" {
            event_type::NOT_SET, event_type::COMMON_ERROR, event_type::NEW_CERTIFICATE, event_type::DROP_CERTIFICATE,
            event_type::FAILED_AUTH, event_type::START_REQUEST, event_type::FAILED_REQUEST, event_type::FINISH_REQUEST,
            event_type::TRAFFIC, event_type::USER_BASE,
        }
        "KEYLANE_V_" {
            value_kind::NONE, value_kind::BOOL, value_kind::I64, value_kind::U64, value_kind::F64, value_kind::UTF8,
            value_kind::BYTES, value_kind::JSON, value_kind::META, value_kind::OPAQUE,
        }
        "KEYLANE_EV_" { event_flag::KEYED, event_flag::REDELIVERED, event_flag::REPLAY }
        "KEYLANE_BATCH_" { batch_flag::DRAINING }
        "KEYLANE_REQUEST_" { request_type::TUNNELED, request_type::TLS, request_type::UPGRADED }
        "KEYLANE_AUTH_" {
            auth_reason::MISSING, auth_reason::OTHER_SCHEME, auth_reason::MALFORMED, auth_reason::REJECTED,
        }
        "KEYLANE_LOG_" { log::OFF, log::ERROR, log::WARN, log::INFO, log::DEBUG, log::TRACE }
        "KEYLANE_CELL_" { cell::COUNTER, cell::GAUGE }
        "KEYLANE_KEY_" { key_kind::NONE, key_kind::BYTES, key_kind::HASH }
        "KEYLANE_RENDER_" { render::JSON, render::TEXT }
        "KEYLANE_FLUSH_" { flush_reason::IDLE, flush_reason::REQUESTED, flush_reason::SWAP, flush_reason::SHUTDOWN }
        "KEYLANE_SHUTDOWN_" {
            shutdown_reason::BUS, shutdown_reason::SWAP, shutdown_reason::REMOVED, shutdown_reason::FAULT,
        }
        "KEYLANE_F_" {
            plugin_flag::STATEFUL, plugin_flag::THREAD_AFFINE, plugin_flag::PANIC_UNWIND, plugin_flag::NO_RELOAD,
            plugin_flag::EMITS, plugin_flag::SPAWNS_THREADS,
        }
    }
    layouts! { out;
        "keylane_bytes" abi::Bytes { ptr, len }
        "keylane_error" abi::ErrorBuffer { struct_size, code, message }
        "keylane_addr" abi::Addr { family, has_port, port, scope_id, ip }
        "keylane_kv" abi::Kv { key, value }
        "keylane_writer" abi::Writer { struct_size, reserved, ctx, write }
        "keylane_event" abi::Event {
            type_id, value_kind, hops, flags, key_len, value_len, seq, wall_ns, mono_ns, key_hash, key, value,
        }
        "keylane_batch" abi::Batch {
            struct_size, count, events, event_stride, shard, shard_count, flags, reserved, now_wall_ns, now_mono_ns,
        }
        "keylane_batch_result" abi::BatchResult { struct_size, processed, error, retry_after_ns }
        "keylane_meta" abi::Meta { struct_size, meta_id }
        "keylane_uri" abi::Uri { scheme, authority, path_and_query }
        "keylane_meta_common_error" abi::MetaCommonError { struct_size, meta_id, method, uri, err, addr }
        "keylane_meta_certificate" abi::MetaCertificate { struct_size, meta_id, host, cause, not_after_ns }
        "keylane_meta_failed_auth" abi::MetaFailedAuth {
            struct_size, meta_id, reason, reserved, request_id, scheme, user, peer, client,
        }
        "keylane_meta_request" abi::MetaRequest {
            struct_size, meta_id, request_type, reserved, request_id, method, uri, user, addr,
        }
        "keylane_meta_error" abi::MetaError { struct_size, meta_id, request_id, err }
        "keylane_meta_response" abi::MetaResponse { struct_size, meta_id, status_code, reserved, request_id }
        "keylane_meta_traffic" abi::MetaTraffic { struct_size, meta_id, id, addr, read_bytes, written_bytes }
        "keylane_log_record" abi::LogRecord { struct_size, level, target, message, file, line, kv_count, kv }
        "keylane_emit" abi::Emit {
            type_id, value_kind, key_kind, flags, parent, reserved, key, key_hash, value, scalar,
        }
        "keylane_host" abi::Host {
            struct_size, abi_version, ctx, name, version, max_log_level, log, cell, histogram, observe, emit, render,
            type_id, type_name, request_flush, now_wall_ns, now_mono_ns, get_extension,
        }
        "keylane_processor" abi::Processor {
            struct_size, reserved, data, process, flush, save_state, load_state, shutdown, destroy, get_extension,
        }
        "keylane_descriptor" abi::Descriptor {
            struct_size, flags, state_version, preferred_batch, id, version, name, vendor, description, license, url,
            config_schema_json, event_types,
        }
        "keylane_create_args" abi::CreateArgs {
            struct_size, shard, shard_count, reserved, generation, config_json, instance_name,
        }
        "keylane_factory" abi::Factory { struct_size, reserved, count, descriptor, check_config, create }
        "keylane_entry" abi::Entry { magic, struct_size, abi_version, layout, init, deinit, get_factory }
        "keylane_manifest" abi::Manifest {
            struct_size, abi_version, layout_low, layout_high, flags, processors, id, version, built_with,
        }
        "keylane_note" abi::Note { name_size, descriptor_size, kind as "type", name, manifest }
    }
    out
}

/// A program that prints the golden file's lines from what its compiler knows.
fn c_program() -> String {
    let mut out = String::from("#include \"keylane_plugin.h\"\n#include <stdio.h>\n");
    let mut body = String::new();
    let mut aligns = String::new();
    for line in GOLDEN.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["const", name, number] => {
                let cast =
                    if number.starts_with('-') { "(long long)" } else { "(unsigned long long)" };
                let form = if number.starts_with('-') { "%lld" } else { "%llu" };
                writeln!(body, "  printf(\"const {name} {form}\\n\", {cast}{name});").unwrap();
            }
            ["struct", name, ..] => {
                writeln!(aligns, "struct align_of_{name} {{ char c; {name} t; }};").unwrap();
                writeln!(
                    body,
                    "  printf(\"struct {name} size %zu align %zu\\n\", sizeof({name}), offsetof(struct align_of_{name}, t));"
                )
                .unwrap();
            }
            ["member", member, ..] => {
                let (name, member) = member.split_once('.').expect("a struct and its member");
                writeln!(
                    body,
                    "  printf(\"member {name}.{member} offset %zu size %zu\\n\", offsetof({name}, {member}), sizeof((({name} *)0)->{member}));"
                )
                .unwrap();
            }
            _ => panic!("the golden file has a line of another form: {line}"),
        }
    }
    out.push_str(&aligns);
    // The macros are used too, so that they compile as what they are.
    out.push_str("KEYLANE_PLUGIN_MANIFEST(\"org.example.golden\", \"1.2.3\", 0u, 1u);\n");
    writeln!(out, "int main(void) {{\n{body}  return 0;\n}}").unwrap();
    out
}

fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("golden-{name}"));
    std::fs::create_dir_all(&folder).expect("a folder for the test's files");
    folder
}

/// What a program with the header prints, compiled as `standard` by the machine's own compiler.
fn as_compiled(standard: &str) -> String {
    let cplusplus = standard.starts_with("c++");
    let (variable, fallback) = if cplusplus { ("CXX", "c++") } else { ("CC", "cc") };
    let compiler = std::env::var(variable).unwrap_or_else(|_| fallback.into());
    let folder = scratch(standard);
    let source = folder.join(if cplusplus { "golden.cpp" } else { "golden.c" });
    std::fs::write(&source, c_program()).expect("the program can be written");
    let program = folder.join("golden");
    let compiled = Command::new(&compiler)
        .arg(format!("-std={standard}"))
        .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-Wpadded", "-Wno-error=padded", "-I"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"))
        .arg("-o")
        .args([&program, &source])
        .output()
        .unwrap_or_else(|error| panic!("{compiler} does not start: {error}"));
    let messages = String::from_utf8_lossy(&compiled.stderr).into_owned();
    assert!(
        compiled.status.success(),
        "{compiler} -std={standard} refuses the header:\n{messages}"
    );
    let padded =
        messages.lines().find(|line| line.contains("keylane_plugin.h") && line.contains("padd"));
    assert_eq!(
        padded, None,
        "a struct of the header has a hole that compilers may fill as they like"
    );
    let run = Command::new(&program).output().expect("the program runs");
    assert!(run.status.success());
    String::from_utf8(run.stdout).expect("it prints text")
}

#[track_caller]
fn assert_golden(found: &str, by: &str) {
    for (number, (found, golden)) in found.lines().zip(GOLDEN.lines()).enumerate() {
        assert_eq!(found, golden, "line {} of golden/abi_v1.txt, by {by}", number + 1);
    }
    assert_eq!(
        found.lines().count(),
        GOLDEN.lines().count(),
        "lines of golden/abi_v1.txt, by {by}"
    );
}

#[test]
fn the_types_are_the_golden_ones() {
    let found = as_rust_has_it();
    if std::env::var_os("KEYLANE_BLESS").is_some() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/abi_v1.txt");
        std::fs::write(golden, &found).expect("the golden file can be written");
        return;
    }
    assert_golden(&found, "rustc");
}

#[test]
fn c99_agrees() {
    assert_golden(&as_compiled("c99"), "a C99 compiler");
}

#[test]
fn c11_agrees() {
    assert_golden(&as_compiled("c11"), "a C11 compiler");
}

#[test]
fn cplusplus11_agrees() {
    assert_golden(&as_compiled("c++11"), "a C++11 compiler");
}

#[test]
fn cplusplus17_agrees() {
    assert_golden(&as_compiled("c++17"), "a C++17 compiler");
}

/// Every enumerator and every struct of the header is in the golden file.
#[test]
fn nothing_of_the_header_is_missing() {
    let text = without_comments(abi::HEADER);
    for (i, _) in text.match_indices("enum {") {
        let body = &text[i + 6..][..text[i + 6..].find('}').expect("an enum ends")];
        for enumerator in body.split(',').filter_map(|part| part.split('=').next()).map(str::trim) {
            if !enumerator.is_empty() {
                assert!(
                    GOLDEN.contains(&format!("const {enumerator} ")),
                    "{enumerator} is not in golden/abi_v1.txt"
                );
            }
        }
    }
    for (i, _) in text.match_indices("typedef struct ") {
        let name = text[i + 15..]
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .expect("a name");
        assert!(
            GOLDEN.contains(&format!("struct {name} size ")),
            "{name} is not in golden/abi_v1.txt"
        );
    }
}

fn without_comments(header: &str) -> String {
    let mut text = String::new();
    let mut rest = header;
    while let Some((code, comment)) = rest.split_once("/*") {
        text.push_str(code);
        rest = comment.split_once("*/").expect("a comment ends").1;
    }
    text + rest
}
