//! What the headers show in their comments compiles without a warning, loads, and works.

use keylane_plugin::abi;
use keylane_plugin::testing::TestEvent;
use keylane_plugin_native_tests::{compiled, load};

/// The example in the comment at the head of a header: the lines from its `#include` to the one that defines the plugin.
fn example(header: &str, comment: &str, last: &str) -> String {
    let prefix = format!("{comment}   ");
    let lines = header
        .lines()
        .map(|line| line.strip_prefix(&prefix).unwrap_or(if line == comment { "" } else { line }));
    let mut code = String::new();
    let mut ends = false;
    for line in lines.skip_while(|line| !line.starts_with("#include \"keylane")) {
        code.push_str(line);
        code.push('\n');
        ends |= line.starts_with(last);
        if ends && line.ends_with(')') {
            return code;
        }
    }
    panic!("the header has no example");
}

#[track_caller]
fn counts_moved_bytes(standard: &str, source: &str) {
    let library = compiled(standard, source);
    let mut host = load(&library, "{}").expect("it is created");
    host.send(&[TestEvent::traffic("c", 40, 2), TestEvent::user(1), TestEvent::response("r", 200)]);
    assert_eq!(host.counter("moved_bytes"), 42);
    host.shutdown().expect("it has no flush that could fail");
}

#[test]
fn the_example_in_c_works() {
    let header = include_str!("../../abi/include/keylane_plugin_easy.h");
    let source = example(header, " *", "KEYLANE_EASY_PLUGIN");
    assert!(source.lines().count() <= 30, "a plugin in C has 30 lines");
    for standard in ["c99", "c11"] {
        counts_moved_bytes(standard, &source);
    }
}

#[test]
fn the_example_in_cplusplus_works() {
    let header = include_str!("../../abi/include/keylane_plugin.hpp");
    let source = example(header, "//", "KEYLANE_CPP_PLUGIN");
    for standard in ["c++17", "c++20"] {
        counts_moved_bytes(standard, &source);
    }
}

/// Without the conveniences: the header and nothing else.
const BARE: &str = r#"
#include "keylane_plugin.h"
#include <stdlib.h>
#include <string.h>
static keylane_status process(keylane_processor *self, const keylane_batch *batch, keylane_batch_result *result) {
  (void)self; (void)batch; (void)result;
  return KEYLANE_OK;
}
static void destroy(keylane_processor *self) { free(self); }
static uint32_t count(void) { return 1; }
static const keylane_descriptor *descriptor(uint32_t i) {
  static const keylane_descriptor d = {sizeof(keylane_descriptor), 0, 0, 0, "org.example.bare", "1", 0, 0, 0, 0, 0, 0, 0};
  return i == 0 ? &d : NULL;
}
static keylane_status create(const char *id, const keylane_host *host, const keylane_create_args *args, keylane_processor **out,
                             keylane_error *error) {
  keylane_processor *made = (keylane_processor *)calloc(1, sizeof *made);
  (void)id; (void)host; (void)args; (void)error;
  if (!made) return KEYLANE_E_NOMEM;
  made->struct_size = (uint32_t)sizeof *made;
  made->process = process;
  made->destroy = destroy;
  *out = made;
  return KEYLANE_OK;
}
static const void *get_factory(const char *id) {
  static const keylane_factory factory = {sizeof(keylane_factory), 0, count, descriptor, 0, create};
  return strcmp(id, KEYLANE_FACTORY_ID) == 0 ? &factory : NULL;
}
#ifdef __cplusplus
extern "C"
#endif
const keylane_entry keylane_plugin_entry_v1 = {KEYLANE_MAGIC, sizeof(keylane_entry), KEYLANE_ABI_VERSION, KEYLANE_LAYOUT, 0, 0, get_factory};
"#;

fn bare_plugin_works(standard: &str) {
    let mut host = load(&compiled(standard, BARE), "{}").expect("it is created");
    host.send(&[TestEvent::user(1), TestEvent::user(2)]);
    assert_eq!(host.save_state().expect_err("it has none").status, abi::Status::E_UNSUPPORTED);
}

#[test]
fn a_plugin_of_bare_c_works() {
    bare_plugin_works("c99");
    bare_plugin_works("c11");
}

#[test]
fn a_plugin_of_bare_cplusplus_works() {
    bare_plugin_works("c++11");
}
